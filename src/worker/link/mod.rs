//! The worker's one link to its manager: assignments down, observations up. Workers only call out.
//!
//! [`Link`] is the trait. [`local::LocalLink`] joins a worker to a manager in the same process; [`dial`] joins one to a
//! manager elsewhere, whose side of it is [`door`]. Both ends of that say [`frames`] to each other. What is here carries
//! words and decides nothing.
//!
//! ```text
//! worker ─► Link ─┬─ LocalLink ───────────────────────────► registry ─► assigned ─► the links
//!                 └─ RemoteLink ─ dial ═ frames ═ door ─► LocalLink ─► registry
//!                        └─ memory (last assignments, for when the manager is away)
//! ```
pub mod assigned;
pub mod dial;
pub mod door;
pub mod frames;
mod keeper;
pub mod local;
pub mod memory;
mod program;
mod stream;

use std::sync::Arc;

use async_trait::async_trait;
use cube_api::API_VERSION;
use cube_api::event::{EventType, ObjectReference};
use cube_api::kinds::Kind;
use cube_api::node::Node;
use cube_api::task::Task;
use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};

use crate::registry::TaskReport;

/// What the manager tells a worker.
#[derive(Clone, Debug)]
pub enum Assignment {
    /// The Tasks as a worker before this one knew them and told of them; a snapshot follows, and nothing is done before.
    Resume(Vec<Arc<Task>>),
    /// All Tasks of the node, as they are now; what is not in it is no longer the node's.
    Snapshot(Vec<Arc<Task>>),
    /// A Task of the node, as it is now.
    Changed(Arc<Task>),
    /// The Task of this uid is no longer the node's.
    Removed(String),
}

/// What becomes of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// To be asked for once.
    async fn assignments(&self) -> BoxStream<'static, Assignment>;

    /// What is seen and yet to be told, so that it is known also to a worker that starts while the manager is away. Never
    /// waits.
    fn remember(&self, _: &TaskReport) {}

    /// Tells what is seen, and what becomes of each. Waits while the manager is away.
    async fn report(&self, reports: Vec<TaskReport>) -> Vec<Taken>;

    /// Tells of the node itself, as it is now; the manager keeps it so, whoever writes or deletes the Node. Never waits.
    fn tell_node(&self, node: Node);

    /// Tells of something that happened to a Task. Never waits.
    fn event(&self, task: &Task, kind: EventType, reason: &str, message: String);
}

/// The Task, as events name it.
fn reference(task: &Task) -> ObjectReference {
    let meta = &task.metadata;
    ObjectReference {
        api_version: API_VERSION.to_owned(),
        kind: Kind::Task.info().kind.to_owned(),
        namespace: meta.namespace().to_owned(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone().unwrap_or_default(),
        field_path: String::new(),
    }
}
