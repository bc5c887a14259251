//! Source: where manifests come from, what it has brought, and what waits for a yes.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{condition::Condition, is_default, meta::ObjectMeta};

/// A place that manifests come from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Source {
    /// Name and the like.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// Where.
    #[serde(default, skip_serializing_if = "is_default")]
    pub spec: SourceSpec,
    /// How it goes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub status: SourceStatus,
}

/// Where manifests come from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SourceSpec {
    /// A directory of the manager's machine: its real path.
    #[serde(default, skip_serializing_if = "is_default")]
    pub directory: Option<String>,
}

/// How a Source goes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SourceStatus {
    /// The very directory that the objects came from (path and device); another one removes nothing without a yes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub identity: String,
    /// Files that were read.
    #[serde(default, skip_serializing_if = "is_default")]
    pub files: u64,
    /// Objects that it manages.
    #[serde(default, skip_serializing_if = "is_default")]
    pub objects: u64,
    /// What is wrong, one entry a file.
    #[serde(default, skip_serializing_if = "is_default")]
    pub errors: Vec<String>,
    /// What would be removed if someone says yes, as `kind/namespace/name`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub waiting: Vec<String>,
    /// Why it waits, for people.
    #[serde(default, skip_serializing_if = "is_default")]
    pub waiting_reason: String,
    /// Whether it is in step.
    #[serde(default, skip_serializing_if = "is_default")]
    pub conditions: Vec<Condition>,
}
