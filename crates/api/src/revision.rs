//! Revision: a Deployment's template as it was, kept so that one can go back to it.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{is_default, meta::ObjectMeta, task::TaskTemplate};

/// A template that a Deployment has or had.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Revision {
    /// Name and the like; owned by its Deployment.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What it holds; its hash never changes.
    pub spec: RevisionSpec,
}

/// What a Revision holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RevisionSpec {
    /// Its number, one above the highest of the Deployment's before it; taken up again it gets a new one.
    pub revision: u64,
    /// Hash of what forms and places the template's containers; two templates of one hash are one revision.
    pub hash: String,
    /// The template, with the newest of what does not count for the hash.
    #[serde(default, skip_serializing_if = "is_default")]
    pub template: TaskTemplate,
}
