//! Which Tasks would move where, so that nodes are loaded more evenly: what is answered at `/apis/cube/v1/rebalance`.
use serde::{Deserialize, Serialize};

use crate::{is_default, placement::SchedulingPolicy};

/// The moves that make the nodes' load more even, in the order in which they are made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RebalancePlan {
    /// How a node is chosen for Tasks that do not say.
    pub policy: SchedulingPolicy,
    /// Each once; none where nothing would get better.
    pub moves: Vec<PlannedMove>,
    /// All nodes, by name, before the moves and after them.
    pub nodes: Vec<NodeBalance>,
    /// Tasks that are not moved, counted by why.
    #[serde(default, skip_serializing_if = "is_default")]
    pub stays: Vec<Staying>,
}

/// One Task that moves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedMove {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid: another Task of that name is not meant.
    pub uid: String,
    /// The node that it leaves.
    pub from: String,
    /// The node that it, or the Task in its place, gets.
    pub to: String,
    /// How it moves.
    pub how: MoveManner,
    /// What gets better, for people.
    #[serde(default, skip_serializing_if = "is_default")]
    pub why: String,
}

/// How a Task moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum MoveManner {
    /// Its Deployment has another one ready in its place before it stops.
    #[default]
    StartFirst,
    /// Its Deployment's strategy, or a port of the node, has it stop before another one starts.
    StopFirst,
    /// Nobody makes another one: it is stopped, and started on the other node.
    Restart,
}

impl MoveManner {
    /// In people's words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StartFirst => "start-first",
            Self::StopFirst => "stop-first",
            Self::Restart => "restart",
        }
    }
}

/// What a node carries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeBalance {
    /// Its name.
    pub name: String,
    /// Whether it takes part: it is ready, and neither cordoned nor drained.
    pub takes_part: bool,
    /// What it carries now.
    pub before: Burden,
    /// What it carries after the moves.
    pub after: Burden,
}

/// Tasks and load of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Burden {
    /// Its Tasks.
    pub tasks: u64,
    /// Thousandths of its CPU and memory that they ask for, the mean of both; a Task that asks for nothing counts as 100m of
    /// CPU and 200Mi.
    pub load: u64,
}

/// Tasks that are not moved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Staying {
    /// Why, for people.
    pub why: String,
    /// So many.
    pub tasks: u32,
}

/// Moves that are to be made now: some of a plan that was shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RebalanceRequest {
    /// All of them are made, or none.
    pub moves: Vec<PlannedMove>,
    /// Tasks may stop before another one starts.
    #[serde(default, skip_serializing_if = "is_default")]
    pub restarts: bool,
}
