//! Source: where manifests come from, what it has brought, and what waits for a yes.
use jiff::Timestamp;
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

impl Source {
    /// What is told to those who delete an object (`task/web`) of it.
    pub fn brings_back(&self, shown: &str) -> String {
        let directory = self.spec.directory.as_ref().unwrap_or(&self.metadata.name);
        format!("{shown} is said in {directory}: it will be brought back; remove it from its file there instead")
    }
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
    /// The very directory that the objects came from (path, device, inode); another one removes nothing without a yes.
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
    /// What was removed without a yes in the last ten minutes: it counts for what may leave yet.
    #[serde(default, skip_serializing_if = "is_default")]
    pub removed: Vec<Removal>,
    /// Whether it is in step.
    #[serde(default, skip_serializing_if = "is_default")]
    pub conditions: Vec<Condition>,
}

/// Something that left with its file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Removal {
    /// The object, as `kind/namespace/name`.
    pub object: String,
    /// When (UTC).
    #[serde(default, skip_serializing_if = "is_default", with = "crate::meta::time::optional")]
    #[schemars(with = "Option<String>")]
    pub at: Option<Timestamp>,
}
