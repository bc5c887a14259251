//! What is said of a Task that fits nowhere.
use cube_api::{
    condition::{self, Condition, SCHEDULED, Truth},
    task::{Task, TaskStatus},
};
use jiff::Timestamp;

use super::Explanation;

/// The reason of a Task that fits nowhere, and that nothing under way will make room for.
pub const UNSCHEDULABLE: &str = "Unschedulable";
/// The reason of a Task that fits nowhere now, while something is under way that may make room by itself.
pub const WAITING: &str = "WaitingForRoom";

/// Whether the Task was told that it fits nowhere.
pub fn is_told(task: &Task) -> bool {
    matches!(task.status.reason.as_str(), UNSCHEDULABLE | WAITING)
}

/// The status of a Task for which others make room on a node.
pub fn nominated(task: &Task, node: &str, now: Timestamp) -> TaskStatus {
    let why = Explanation {
        message: format!("waits for room on node {node}: less important tasks leave it"),
        under_way: true,
    };
    TaskStatus {
        nominated_node: Some(node.to_owned()),
        ..unschedulable(task, &why, now)
    }
}

/// The status of a Task that fits nowhere.
pub fn unschedulable(task: &Task, why: &Explanation, now: Timestamp) -> TaskStatus {
    let reason = if why.under_way { WAITING } else { UNSCHEDULABLE };
    let mut status = TaskStatus {
        reason: reason.to_owned(),
        message: why.message.clone(),
        observed_generation: task.metadata.generation,
        nominated_node: None,
        ..task.status.clone()
    };
    let condition = Condition {
        kind: SCHEDULED.to_owned(),
        status: Truth::False,
        reason: reason.to_owned(),
        message: why.message.clone(),
        last_transition_time: None,
        observed_generation: task.metadata.generation,
    };
    condition::set(&mut status.conditions, condition, now);
    status
}
