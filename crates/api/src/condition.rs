//! Conditions: what is true of an object, since when, and why. Keyed by type.
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::is_default;

/// The summary condition that every workload has.
pub const READY: &str = "Ready";
/// Of a Task: a node has it.
pub const SCHEDULED: &str = "Scheduled";
/// Of a Node: its disk is nearly full, and nothing new is placed there.
pub const DISK_PRESSURE: &str = "DiskPressure";
/// Of a Node: its memory is nearly used up, and nothing new is placed there.
pub const MEMORY_PRESSURE: &str = "MemoryPressure";
/// Of a Deployment: enough of its Tasks are available.
pub const AVAILABLE: &str = "Available";
/// Of a Deployment: a change moves on, or is done.
pub const PROGRESSING: &str = "Progressing";

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Truth {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Nobody knows.
    #[default]
    Unknown,
}

impl Truth {
    /// `True` or `False`.
    pub fn of(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// One fact about an object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Condition {
    /// What it is about; an object has one condition of each type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it holds.
    pub status: Truth,
    /// Why, in one word.
    #[serde(default)]
    pub reason: String,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "is_default")]
    pub message: String,
    /// When `status` last changed (UTC).
    #[serde(default, skip_serializing_if = "is_default", with = "crate::meta::time::optional")]
    #[schemars(with = "Option<String>")]
    pub last_transition_time: Option<Timestamp>,
    /// The generation that this was said of.
    #[serde(default, skip_serializing_if = "is_default")]
    pub observed_generation: u64,
}

/// Sets the condition of that type; its transition time moves only when its status does.
pub fn set(conditions: &mut Vec<Condition>, mut new: Condition, now: Timestamp) {
    match conditions.iter_mut().find(|old| old.kind == new.kind) {
        Some(old) => {
            new.last_transition_time = if old.status == new.status {
                old.last_transition_time.or(Some(now))
            } else {
                Some(now)
            };
            *old = new;
        }
        None => {
            new.last_transition_time = Some(now);
            conditions.push(new);
        }
    }
}

/// The condition of a type.
pub fn find<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.kind == kind)
}

/// Whether the condition of a type is there and true.
pub fn is_true(conditions: &[Condition], kind: &str) -> bool {
    find(conditions, kind).is_some_and(|condition| condition.status == Truth::True)
}
