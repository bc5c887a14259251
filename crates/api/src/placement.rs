//! Where a Task may run, and where it would rather: affinity, spread, policy. Names and meanings are Kubernetes'; what it
//! says of Pods is said of Tasks.
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{is_default, selector::LabelSelector};

/// What a Task wants of its node, and of the Tasks that it is near to or far from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Affinity {
    /// Nodes that it must have, or would rather have.
    #[serde(default, skip_serializing_if = "is_default")]
    pub node_affinity: NodeAffinity,
    /// Tasks that it must be near to, or would rather be.
    #[serde(default, skip_serializing_if = "is_default")]
    pub task_affinity: TaskAffinity,
    /// Tasks that it must be far from, or would rather be. What is required keeps those Tasks away from this one too.
    #[serde(default, skip_serializing_if = "is_default")]
    pub task_anti_affinity: TaskAffinity,
}

/// Nodes that a Task must have, or would rather have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeAffinity {
    /// Only such nodes. Counts when the Task is placed; a node that changes later keeps it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub required_during_scheduling_ignored_during_execution: Option<NodeSelector>,
    /// Rather such nodes: the weights of all that match are added up.
    #[serde(default, skip_serializing_if = "is_default")]
    pub preferred_during_scheduling_ignored_during_execution: Vec<PreferredNodes>,
}

/// Nodes that satisfy one of the terms.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeSelector {
    /// One of these must hold.
    #[schemars(length(min = 1))]
    pub node_selector_terms: Vec<NodeSelectorTerm>,
}

impl NodeSelector {
    /// Whether a node with these labels satisfies it.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.node_selector_terms.iter().any(|term| term.matches(labels))
    }
}

/// What a node must be: all of it must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeSelectorTerm {
    /// What its labels must be.
    #[schemars(length(min = 1))]
    pub match_expressions: Vec<NodeSelectorRequirement>,
}

impl NodeSelectorTerm {
    /// Whether a node with these labels satisfies it; a term that says nothing fits none.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        !self.match_expressions.is_empty() && self.match_expressions.iter().all(|one| one.matches(labels))
    }
}

/// What one label of a node must be.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeSelectorRequirement {
    /// The label.
    #[schemars(extend("format" = "label-key"))]
    pub key: String,
    /// `In`, `NotIn`, `Exists`, `DoesNotExist`, `Gt` or `Lt`.
    pub operator: NodeSelectorOperator,
    /// Values for `In` and `NotIn`; one whole number for `Gt` and `Lt`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub values: Vec<String>,
}

impl NodeSelectorRequirement {
    /// Whether a node with these labels satisfies it.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        let compared = |holds: fn(&i64, &i64) -> bool| {
            let number = |text: Option<&String>| text.and_then(|text| text.parse::<i64>().ok());
            match (number(value), number(self.values.first())) {
                (Some(there), Some(bound)) => holds(&there, &bound),
                _ => false,
            }
        };
        match self.operator {
            NodeSelectorOperator::In => value.is_some_and(|value| self.values.contains(value)),
            NodeSelectorOperator::NotIn => value.is_none_or(|value| !self.values.contains(value)),
            NodeSelectorOperator::Exists => value.is_some(),
            NodeSelectorOperator::DoesNotExist => value.is_none(),
            NodeSelectorOperator::Gt => compared(i64::gt),
            NodeSelectorOperator::Lt => compared(i64::lt),
        }
    }
}

/// How a node's label is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum NodeSelectorOperator {
    /// It has one of the values.
    #[default]
    In,
    /// It has none of the values, or is not there.
    NotIn,
    /// It is there.
    Exists,
    /// It is not there.
    DoesNotExist,
    /// It is a whole number above the value.
    Gt,
    /// It is a whole number below the value.
    Lt,
}

/// Nodes that a Task would rather have.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PreferredNodes {
    /// How much: 1 to 100.
    #[schemars(range(min = 1, max = 100))]
    pub weight: u8,
    /// Which nodes.
    pub preference: NodeSelectorTerm,
}

/// Tasks that a Task must be near to (or far from), or would rather be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TaskAffinity {
    /// All of these must hold. Counts when the Task is placed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub required_during_scheduling_ignored_during_execution: Vec<TaskAffinityTerm>,
    /// Rather so: the weights of all that hold are added up.
    #[serde(default, skip_serializing_if = "is_default")]
    pub preferred_during_scheduling_ignored_during_execution: Vec<WeightedTaskAffinityTerm>,
}

/// Tasks, and what counts as near to them.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TaskAffinityTerm {
    /// Which Tasks; `{}` is all of the namespaces.
    pub label_selector: LabelSelector,
    /// Nodes with the same value of this label are near to one another. `cube/node`: the node itself.
    #[schemars(extend("format" = "label-key"))]
    pub topology_key: String,
    /// Namespaces of the Tasks; default: the Task's own.
    #[serde(default, skip_serializing_if = "is_default")]
    pub namespaces: Vec<String>,
}

/// A term that a Task would rather have hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WeightedTaskAffinityTerm {
    /// How much: 1 to 100.
    #[schemars(range(min = 1, max = 100))]
    pub weight: u8,
    /// The term.
    pub task_affinity_term: TaskAffinityTerm,
}

/// How evenly Tasks are spread over the values of a node's label.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TopologySpreadConstraint {
    /// No value may have so many more of them than the one that has the fewest.
    #[schemars(range(min = 1))]
    pub max_skew: u32,
    /// The label. Example: `zone`. `cube/node`: the node itself.
    #[schemars(extend("format" = "label-key"))]
    pub topology_key: String,
    /// `DoNotSchedule` (the Task waits) or `ScheduleAnyway` (it rather goes where there are fewest).
    pub when_unsatisfiable: WhenUnsatisfiable,
    /// Which Tasks of the namespace are counted; default: those of the Task's own controller.
    #[serde(default, skip_serializing_if = "is_default")]
    pub label_selector: Option<LabelSelector>,
}

/// What is done where a spread cannot be had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum WhenUnsatisfiable {
    /// The Task waits.
    #[default]
    DoNotSchedule,
    /// The Task goes where there are fewest.
    ScheduleAnyway,
}

/// Which of the nodes that can take a Task gets it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SchedulingPolicy {
    /// The one with the fewest Tasks of the same controller, then the least loaded.
    #[default]
    Spread,
    /// The most loaded: others stay free for what is large.
    Binpack,
    /// The next one by name.
    RoundRobin,
    /// The first one by name.
    Greedy,
    /// The one where the Task costs the least opportunity (Amir and others, 2000).
    EPvm,
}

impl SchedulingPolicy {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Spread, Self::Binpack, Self::RoundRobin, Self::Greedy, Self::EPvm];

    /// As manifests write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Spread => "spread",
            Self::Binpack => "binpack",
            Self::RoundRobin => "round-robin",
            Self::Greedy => "greedy",
            Self::EPvm => "e-pvm",
        }
    }
}

/// Whether a Task may take the place of less important ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum PreemptionPolicy {
    /// It may, when it fits nowhere otherwise.
    #[default]
    PreemptLowerPriority,
    /// It waits.
    Never,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_matched_as_kubernetes_does() {
        let labels: BTreeMap<String, String> = [("disk", "ssd"), ("cores", "16")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        for (key, operator, values, expected) in [
            ("disk", NodeSelectorOperator::In, vec!["hdd", "ssd"], true),
            ("disk", NodeSelectorOperator::NotIn, vec!["ssd"], false),
            ("gpu", NodeSelectorOperator::NotIn, vec!["a"], true),
            ("gpu", NodeSelectorOperator::In, vec!["a"], false),
            ("disk", NodeSelectorOperator::Exists, vec![], true),
            ("disk", NodeSelectorOperator::DoesNotExist, vec![], false),
            ("cores", NodeSelectorOperator::Gt, vec!["8"], true),
            ("cores", NodeSelectorOperator::Gt, vec!["16"], false),
            ("cores", NodeSelectorOperator::Lt, vec!["17"], true),
            ("disk", NodeSelectorOperator::Lt, vec!["17"], false),
            ("gpu", NodeSelectorOperator::Gt, vec!["0"], false),
        ] {
            let requirement = NodeSelectorRequirement {
                key: key.to_owned(),
                operator,
                values: values.iter().map(|value| (*value).to_owned()).collect(),
            };
            assert_eq!(requirement.matches(&labels), expected, "{requirement:?}");
        }
        assert!(
            !NodeSelectorTerm::default().matches(&labels),
            "what says nothing fits none"
        );
    }

    #[test]
    fn policies_are_written_as_they_are_read() {
        for policy in SchedulingPolicy::ALL {
            assert_eq!(serde_json::to_value(policy).unwrap(), policy.as_str());
        }
    }
}
