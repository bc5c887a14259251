//! Namespace: a room of names, and of one network. `default` is always there.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{condition::Condition, is_default, meta::ObjectMeta};

/// The namespace that objects without one are in.
pub const DEFAULT: &str = "default";

/// A room of names; containers of one namespace on one engine share a network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Namespace {
    /// Name and the like.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What is wished of it: nothing yet.
    #[serde(default, skip_serializing_if = "is_default")]
    pub spec: NamespaceSpec,
    /// What is seen of it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub status: NamespaceStatus,
}

/// What is wished of a Namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamespaceSpec {}

/// What is seen of a Namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamespaceStatus {
    /// `Active`, or `Terminating` while what is in it goes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub phase: NamespacePhase,
    /// What keeps it from going, while it is being deleted.
    #[serde(default, skip_serializing_if = "is_default")]
    pub conditions: Vec<Condition>,
}

/// Where a Namespace is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NamespacePhase {
    /// In use.
    #[default]
    Active,
    /// Being emptied, then removed.
    Terminating,
}
