//! The worker's one link to its manager: assignments down, observations up. Workers only call out.
//!
//! [`Link`] is the trait; [`LocalLink`](super::local::LocalLink) joins a worker to a manager in the same process. What is
//! here never decides anything.
use std::sync::Arc;

use async_trait::async_trait;
use cube_api::event::EventType;
use cube_api::node::Node;
use cube_api::task::{Task, TaskStatus};
use futures_util::stream::BoxStream;

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

/// What a worker tells of one Task.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The epoch that this was seen in; of an older one it counts for nothing.
    pub epoch: u64,
    /// What is seen.
    pub status: TaskStatus,
    /// Nothing of it is left on the node.
    pub gone: bool,
}

/// What becomes of an observation.
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
    async fn report(&self, observations: Vec<Observation>) -> Vec<Taken>;

    /// Tells of the node itself.
    async fn report_node(&self, node: Node) -> Result<(), String>;

    /// Tells of something that happened to a Task. Never waits.
    fn event(&self, task: &Task, kind: EventType, reason: &str, message: String);
}
