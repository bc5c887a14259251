//! The link of a worker in its manager's own process: straight to the registry.
//!
//! It carries words and decides nothing: which reports count is the registry's affair.
use std::sync::Arc;

use async_trait::async_trait;
use cube_api::event::{EventType, ObjectReference};
use cube_api::kinds::{Kind, Resource};
use cube_api::node::Node;
use cube_api::task::Task;
use cube_api::{API_VERSION, condition};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use super::link::{Assignment, Link, Taken};
use super::node::merged;
use crate::registry::{
    ApiError, FieldSelector, Filter, Object, ObjectWatch, Recorder, Registry, TaskReport, WatchEvent, WatchOptions,
    Write, WriteOptions,
};

/// How long a watch that cannot be had is waited for: the store is closing, or closed.
const AGAIN: std::time::Duration = std::time::Duration::from_secs(1);

/// Joins a worker to the registry.
pub struct LocalLink {
    registry: Registry,
    node: String,
    recorder: Recorder,
}

impl LocalLink {
    /// The link of the node's worker.
    pub fn new(registry: Registry, node: &str, recorder: Recorder) -> Self {
        Self {
            registry,
            node: node.to_owned(),
            recorder,
        }
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

    async fn write_node(&self, node: Node) -> Result<(), ApiError> {
        let object = match self.registry.get(Kind::Node, "", &self.node) {
            Ok(object) => object,
            Err(error) if error.is_not_found() => {
                let options = WriteOptions::new("worker");
                let value = merged(None, &node).to_value();
                self.registry.create(Kind::Node, "", value, &options).await?
            }
            Err(error) => return Err(error),
        };
        let wished = merged(Some(object.typed()), &node);
        let current: &Node = object.typed();
        let object = if wished.metadata == current.metadata && wished.spec == current.spec {
            object
        } else {
            let edit = Write::edit(&object, |value| {
                let wished = wished.to_value();
                for field in ["labels", "annotations"] {
                    value["metadata"][field] = wished["metadata"][field].clone();
                }
                value["spec"] = wished["spec"].clone();
            });
            self.registry.transact(vec![edit]).await?.pop().unwrap_or(object)
        };
        let mut status = node.status;
        // When a condition last changed is the object's to remember, not the worker's: it may have been restarted.
        let before = &object.typed::<Node>().status.conditions;
        let mut conditions = before.clone();
        for new in status.conditions {
            let at = new.last_transition_time.unwrap_or(self.registry.world().now());
            condition::set(&mut conditions, new, at);
        }
        status.conditions = conditions;
        if status != object.typed::<Node>().status {
            self.registry.transact(vec![Write::status(&object, &status)]).await?;
        }
        Ok(())
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

    async fn report_node(&self, node: Node) -> Result<(), String> {
        // Others write to the Node too (cordon, labels): who comes second looks again.
        let mut last = Ok(());
        for _ in 0..8 {
            last = self.write_node(node.clone()).await;
            match &last {
                Err(error) if error.is_conflict() => {}
                _ => break,
            }
        }
        last.map_err(|error| error.to_string())
    }

    fn event(&self, task: &Task, kind: EventType, reason: &str, message: String) {
        let meta = &task.metadata;
        let about = ObjectReference {
            api_version: API_VERSION.to_owned(),
            kind: Kind::Task.info().kind.to_owned(),
            namespace: meta.namespace().to_owned(),
            name: meta.name.clone(),
            uid: meta.uid.clone(),
            resource_version: meta.resource_version.clone().unwrap_or_default(),
            field_path: String::new(),
        };
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
