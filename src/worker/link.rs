//! The worker's one link to its manager: assignments down, observations up. Workers only call out.
//!
//! [`Link`] is the trait; [`LocalLink`](super::local::LocalLink) joins a worker to a manager in the same process. What is
//! here never decides anything.
use std::sync::Arc;

use async_trait::async_trait;
use cube_api::event::EventType;
use cube_api::node::Node;
use cube_api::task::Task;
use futures_util::stream::BoxStream;

use crate::registry::TaskReport;

/// What the manager tells a worker.
#[derive(Clone, Debug)]
pub enum Assignment {
    /// All Tasks of the node, as they are now; what is not in it is no longer the node's.
    Snapshot(Vec<Arc<Task>>),
    /// A Task of the node, as it is now.
    Changed(Arc<Task>),
    /// The Task of this uid is no longer the node's.
    Removed(String),
}

/// What becomes of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Written, or as it was.
    Written,
    /// Refused for good: the Task is another's by now, or gone.
    Refused,
    /// Not taken this time; to be told again.
    TryAgain(String),
}

/// The link.
#[async_trait]
pub trait Link: Send + Sync + 'static {
    /// The node's assignments: a snapshot, then changes, and a snapshot again whenever something may have been missed.
    async fn assignments(&self) -> BoxStream<'static, Assignment>;

    /// Tells what is seen, and what becomes of each.
    async fn report(&self, reports: Vec<TaskReport>) -> Vec<Taken>;

    /// Tells of the node itself.
    async fn report_node(&self, node: Node) -> Result<(), String>;

    /// Tells of something that happened to a Task. Never waits.
    fn event(&self, task: &Task, kind: EventType, reason: &str, message: String);
}
