//! What is said of a Task that fits nowhere.
use cube_api::{
    condition::{self, Condition, SCHEDULED, Truth},
    task::{Task, TaskStatus},
};
use jiff::Timestamp;

use super::Explanation;

/// The reason of a Task that fits nowhere.
pub const UNSCHEDULABLE: &str = "Unschedulable";
/// The reason of its condition when something is under way that may make room by itself; else [`UNSCHEDULABLE`].
pub const WAITING: &str = "WaitingForRoom";

/// The status of a Task that fits nowhere.
pub fn unschedulable(task: &Task, why: &Explanation, now: Timestamp) -> TaskStatus {
    let mut status = TaskStatus {
        reason: UNSCHEDULABLE.to_owned(),
        message: why.message.clone(),
        observed_generation: task.metadata.generation,
        ..task.status.clone()
    };
    let condition = Condition {
        kind: SCHEDULED.to_owned(),
        status: Truth::False,
        reason: if why.under_way { WAITING } else { UNSCHEDULABLE }.to_owned(),
        message: why.message.clone(),
        last_transition_time: None,
        observed_generation: task.metadata.generation,
    };
    condition::set(&mut status.conditions, condition, now);
    status
}
