//! The link of a worker in its manager's own process: straight to the registry.
//!
//! It carries words and decides nothing: which reports count is the registry's affair.
use std::sync::Arc;

use async_trait::async_trait;
use cube_api::event::EventType;
use cube_api::kinds::Kind;
use cube_api::node::Node;
use cube_api::task::Task;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::sync::watch;

use super::keeper::keep;
use super::{Assignment, Link, Taken, reference};
use crate::registry::{
    ApiError, FieldSelector, Filter, Object, ObjectWatch, Recorder, Registry, TaskReport, WatchEvent, WatchOptions,
};

/// How long a watch that cannot be had is waited for: the store is closing, or closed.
const AGAIN: std::time::Duration = std::time::Duration::from_secs(1);

/// Joins a worker to the registry.
pub struct LocalLink {
    registry: Registry,
    node: String,
    recorder: Recorder,
    told: watch::Sender<Option<Node>>,
}

impl LocalLink {
    /// The link of the node's worker, and the loop that keeps its Node as it is told; it ends with the link.
    pub fn new(registry: Registry, node: &str, recorder: Recorder) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (told, telling) = watch::channel(None);
        let keeping = keep(registry.clone(), node.to_owned(), telling);
        let link = Self {
            registry,
            node: node.to_owned(),
            recorder,
            told,
        };
        (link, keeping)
    }

    fn taken(&self, report: &TaskReport, result: Result<(), ApiError>) -> Taken {
        let Err(error) = result else { return Taken::Written };
        if error.is_not_found() {
            return Taken::Refused;
        }
        let task = self.registry.get(Kind::Task, &report.namespace, &report.name);
        let counts = task.is_ok_and(|task| {
            let status = &task.typed::<Task>().status;
            task.uid() == report.uid
                && status.epoch == report.epoch
                && status.node.as_deref() == Some(self.node.as_str())
        });
        match counts {
            true => Taken::TryAgain(error.to_string()),
            false => Taken::Refused,
        }
    }
}

#[async_trait]
impl Link for LocalLink {
    async fn assignments(&self) -> BoxStream<'static, Assignment> {
        let watching = Watching {
            registry: self.registry.clone(),
            node: self.node.clone(),
            watch: None,
        };
        let batches = stream::unfold(watching, |mut watching| async {
            let batch = watching.next().await;
            Some((stream::iter(batch), watching))
        });
        batches.flatten().boxed()
    }

    async fn report(&self, reports: Vec<TaskReport>) -> Vec<Taken> {
        let results = self.registry.report(&self.node, &reports).await;
        let answers = reports.iter().zip(results);
        answers.map(|(report, result)| self.taken(report, result)).collect()
    }

    fn tell_node(&self, node: Node) {
        self.told.send_replace(Some(node));
    }

    fn event(&self, task: &Task, kind: EventType, reason: &str, message: String) {
        let about = reference(task);
        self.recorder.event(about, kind, reason, message);
    }
}

/// A watch of the node's Tasks that begins anew when its place is lost.
struct Watching {
    registry: Registry,
    node: String,
    watch: Option<ObjectWatch>,
}

impl Watching {
    /// The next assignments, a snapshot first.
    async fn next(&mut self) -> Vec<Assignment> {
        loop {
            let Some(watch) = &mut self.watch else {
                match self.open().await {
                    Ok(snapshot) => return vec![snapshot],
                    Err(error) => {
                        tracing::debug!(%error, "cannot watch the node's Tasks");
                        tokio::time::sleep(AGAIN).await;
                        continue;
                    }
                }
            };
            match watch.next().await {
                Ok(events) => return events.iter().map(told).collect(),
                Err(_) => self.watch = None,
            }
        }
    }

    async fn open(&mut self) -> Result<Assignment, ApiError> {
        let filter = Filter {
            fields: FieldSelector::parse(Kind::Task, &format!("status.node={}", self.node))?,
            ..Filter::default()
        };
        let options = WatchOptions {
            filter,
            ..WatchOptions::default()
        };
        let mut watch = self.registry.watch(Kind::Task, options)?;
        let there = watch.next().await?;
        self.watch = Some(watch);
        Ok(Assignment::Snapshot(
            there.iter().map(|event| task(event.object())).collect(),
        ))
    }
}

fn told(event: &WatchEvent) -> Assignment {
    match event {
        WatchEvent::Added(object) | WatchEvent::Modified(object) => Assignment::Changed(task(object)),
        WatchEvent::Deleted(object) => Assignment::Removed(object.uid().to_owned()),
    }
}

fn task(object: &Object) -> Arc<Task> {
    let mut task = object.typed::<Task>().clone();
    task.metadata.resource_version = Some(object.revision().to_string());
    Arc::new(task)
}
