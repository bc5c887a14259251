//! Node: a machine with an engine, as its worker tells it.
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{condition::Condition, is_default, meta::ObjectMeta, quantity::Quantity};

/// A machine with an engine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Node {
    /// Name, labels and the like.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What is wished of it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub spec: NodeSpec,
    /// What its worker tells.
    #[serde(default, skip_serializing_if = "is_default")]
    pub status: NodeStatus,
}

/// What is wished of a Node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeSpec {
    /// Nothing new is placed here.
    #[serde(default, skip_serializing_if = "is_default")]
    pub unschedulable: bool,
    /// What keeps Tasks away that do not tolerate it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub taints: Vec<Taint>,
    /// Its Tasks are to leave it, as far as they can. `cube drain` sets it, `cube uncordon` takes it away.
    #[serde(default, skip_serializing_if = "is_default")]
    pub drain: Option<Drain>,
}

/// How a Node is emptied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Drain {
    /// So many Tasks are on their way at once; default 1.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    #[schemars(range(min = 1), extend("default" = 1))]
    pub max_parallel: u32,
}

impl Default for Drain {
    fn default() -> Self {
        Self { max_parallel: one() }
    }
}

fn one() -> u32 {
    1
}

fn is_one(number: &u32) -> bool {
    *number == 1
}

/// Keeps Tasks away that do not tolerate it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Taint {
    /// Key.
    pub key: String,
    /// Value.
    #[serde(default, skip_serializing_if = "is_default")]
    pub value: String,
    /// What it does.
    pub effect: TaintEffect,
}

impl fmt::Display for Taint {
    /// `key=value:NoSchedule`, as the command line takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)?;
        if !self.value.is_empty() {
            write!(f, "={}", self.value)?;
        }
        write!(f, ":{:?}", self.effect)
    }
}

/// What a taint does to Tasks that do not tolerate it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TaintEffect {
    /// They are not placed here.
    #[default]
    NoSchedule,
    /// They are placed here only when nowhere else fits.
    PreferNoSchedule,
    /// They are not placed here, and those that run are moved away.
    NoExecute,
}

/// What a worker tells of its Node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeStatus {
    /// All there is.
    #[serde(default, skip_serializing_if = "is_default")]
    pub capacity: Resources,
    /// What Tasks can have of it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub allocatable: Resources,
    /// Ready, EngineReady, …
    #[serde(default, skip_serializing_if = "is_default")]
    pub conditions: Vec<Condition>,
    /// The engine's named volumes, by name.
    #[serde(default, skip_serializing_if = "is_default")]
    pub volumes: Vec<String>,
    /// The engine's images.
    #[serde(default, skip_serializing_if = "is_default")]
    pub images: Vec<NodeImage>,
    /// Engine, versions, system.
    #[serde(default, skip_serializing_if = "is_default")]
    pub node_info: NodeInfo,
}

/// Amounts that a Node has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resources {
    /// CPUs.
    #[serde(default)]
    pub cpu: Quantity,
    /// Bytes of memory.
    #[serde(default)]
    pub memory: Quantity,
    /// Bytes of the engine's disk.
    #[serde(default, skip_serializing_if = "is_default", rename = "ephemeral-storage")]
    pub ephemeral_storage: Quantity,
    /// Number of Tasks; absent: no limit.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tasks: Option<u64>,
}

/// An image that a Node has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeImage {
    /// What it is called there. Example: `nginx:1.27`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub names: Vec<String>,
    /// Its size in bytes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub size_bytes: u64,
}

/// What a Node runs on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeInfo {
    /// `docker` or `sim`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub engine: String,
    /// The engine's version.
    #[serde(default, skip_serializing_if = "is_default")]
    pub engine_version: String,
    /// The worker's version of Cube.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cube_version: String,
    /// Its worker's own id: another worker does not get the node's name while this one has it.
    #[serde(default, skip_serializing_if = "is_default", rename = "workerID")]
    pub worker_id: String,
    /// The operating system.
    #[serde(default, skip_serializing_if = "is_default")]
    pub operating_system: String,
}
