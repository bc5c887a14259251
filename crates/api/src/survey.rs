//! Where a Task could run, and why: what is answered at `…/tasks/NAME/placement`.
use serde::{Deserialize, Serialize};

use crate::{is_default, placement::SchedulingPolicy};

/// Every node, and what each filter and score makes of it for one Task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlacementSurvey {
    /// How a node is chosen among those that can take it and that the preferences find alike.
    pub policy: SchedulingPolicy,
    /// The node that it has now.
    #[serde(default, skip_serializing_if = "is_default")]
    pub node: Option<String>,
    /// The node that it would get now; of a Task that has one, if it had none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub chosen: Option<String>,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub message: String,
    /// All nodes, by name.
    pub nodes: Vec<SurveyedNode>,
}

/// What filters and scores make of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SurveyedNode {
    /// Its name.
    pub name: String,
    /// Whether it can take the Task: no filter refuses it.
    pub fits: bool,
    /// All filters, in their order.
    pub filters: Vec<Verdict>,
    /// Its scores, whether it fits or not.
    pub scores: Scores,
}

/// What a filter says of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// The filter.
    pub filter: String,
    /// Whether the node passes it.
    pub passes: bool,
    /// Why it does not, for people.
    #[serde(default, skip_serializing_if = "is_default")]
    pub message: String,
}

/// The scores of a node, in the order in which they are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Scores {
    /// Taints with `PreferNoSchedule` that it does not tolerate; fewer is better.
    pub prefer_no_schedule: u32,
    /// Weights of the preferred affinities that are met; more is better.
    pub preferred: i32,
    /// Tasks at the place with which it would rather be spread; fewer is better.
    pub crowded: u64,
    /// Tasks of the same controller, where the policy counts them; fewer is better.
    pub same_controller: u32,
    /// What the policy makes of it, in its own unit; less is better.
    pub cost: u64,
    /// Tasks there, where the policy counts them; fewer is better.
    pub tasks: u32,
}
