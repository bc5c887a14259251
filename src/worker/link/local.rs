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

use super::assigned::{Assigned, Told};
use super::keeper::keep;
use super::{Assignment, Link, Taken, reference};
use crate::registry::{ApiError, Object, Recorder, Registry, TaskReport};

/// Joins a worker to the registry.
pub struct LocalLink {
    registry: Registry,
    assigned: Assigned,
    node: String,
    recorder: Recorder,
    told: watch::Sender<Option<Node>>,
}

impl LocalLink {
    /// The link of the node's worker, and the loop that keeps its Node as it is told; it ends with the link.
    pub fn new(
        registry: Registry,
        assigned: Assigned,
        node: &str,
        recorder: Recorder,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (told, telling) = watch::channel(None);
        let keeping = keep(registry.clone(), node.to_owned(), telling);
        let link = Self {
            registry,
            assigned,
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
        let batches = stream::unfold(self.assigned.listen(&self.node), |mut listener| async {
            let batch = listener.next().await;
            Some((stream::iter(batch), listener))
        });
        batches.flatten().map(assignment).boxed()
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

fn assignment(told: Told) -> Assignment {
    match told {
        Told::Snapshot(tasks) => Assignment::Snapshot(tasks.iter().map(task).collect()),
        Told::Changed(object) => Assignment::Changed(task(&object)),
        Told::Removed(object) => Assignment::Removed(object.uid().to_owned()),
    }
}

fn task(object: &Object) -> Arc<Task> {
    let mut task = object.typed::<Task>().clone();
    task.metadata.resource_version = Some(object.revision().to_string());
    Arc::new(task)
}
