//! Figures: what a node or a Task uses. Names are those of a kubelet's summary where it has them.
//!
//! Not stored: they are measured when they are asked for. What is not known is absent, never 0.
use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::is_default;

/// What something uses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Processors.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cpu: Option<CpuUsage>,
    /// Memory.
    #[serde(default, skip_serializing_if = "is_default")]
    pub memory: Option<MemoryUsage>,
    /// The network; of a Task on the machine's own network there is none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub network: Option<Traffic>,
    /// Disks, as blocks read and written.
    #[serde(default, skip_serializing_if = "is_default")]
    pub block_io: Option<Traffic>,
    /// Room on the engine's disk: of a node all that is taken, of a Task what its container has written into itself.
    #[serde(default, skip_serializing_if = "is_default")]
    pub disk: Option<DiskUsage>,
}

/// Use of processors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CpuUsage {
    /// Time used since it began, in nanoseconds of one processor.
    pub usage_core_nano_seconds: u64,
    /// Time used a second, in billionths of a processor; absent before there are two measurements.
    #[serde(default, skip_serializing_if = "is_default")]
    pub usage_nano_cores: Option<u64>,
}

/// Use of memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemoryUsage {
    /// Bytes that cannot be had back without harm: what is used, less what of files could be read again.
    pub working_set_bytes: u64,
}

/// Bytes both ways.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Traffic {
    /// Received, or read, since it began.
    pub in_bytes: u64,
    /// Sent, or written, since it began.
    pub out_bytes: u64,
    /// Received, or read, a second; absent before there are two measurements.
    #[serde(default, skip_serializing_if = "is_default")]
    pub in_bytes_per_second: Option<u64>,
    /// Sent, or written, a second; absent before there are two measurements.
    #[serde(default, skip_serializing_if = "is_default")]
    pub out_bytes_per_second: Option<u64>,
}

/// Use of a disk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DiskUsage {
    /// Bytes that are taken.
    pub used_bytes: u64,
    /// Bytes that there are, of a node.
    #[serde(default, skip_serializing_if = "is_default")]
    pub capacity_bytes: Option<u64>,
}

/// What a node uses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeFigures {
    /// Its name.
    pub name: String,
    /// When it was measured (UTC, the node's clock); absent where it was not.
    #[serde(default, skip_serializing_if = "is_default", with = "crate::meta::time::optional")]
    #[schemars(with = "Option<String>")]
    pub timestamp: Option<Timestamp>,
    /// What it uses.
    #[serde(default, skip_serializing_if = "is_default")]
    pub usage: Usage,
    /// Why there is nothing to tell.
    #[serde(default, skip_serializing_if = "is_default")]
    pub message: String,
}

/// What a Task uses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskFigures {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The node that has it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub node: Option<String>,
    /// When it was measured (UTC, the node's clock); absent where it was not.
    #[serde(default, skip_serializing_if = "is_default", with = "crate::meta::time::optional")]
    #[schemars(with = "Option<String>")]
    pub timestamp: Option<Timestamp>,
    /// What it uses.
    #[serde(default, skip_serializing_if = "is_default")]
    pub usage: Usage,
}

/// What a node and its containers use.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// When it was measured.
    pub at: Timestamp,
    /// The machine.
    pub node: Usage,
    /// Containers, by id; those of which nothing is known are missing.
    pub containers: BTreeMap<String, Usage>,
}
