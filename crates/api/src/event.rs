//! Event: something that happened to an object. Field for field Kubernetes' core/v1 Event.
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{is_default, meta::ObjectMeta};

/// Something that happened to an object; the same thing again is counted, not repeated.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Event {
    /// Name and the like.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// The object that it happened to.
    #[serde(default)]
    pub involved_object: ObjectReference,
    /// Why, in one word: `Pulled`, `Started`, `BackOff`, …
    #[serde(default)]
    pub reason: String,
    /// What happened, for people.
    #[serde(default)]
    pub message: String,
    /// `Normal` or `Warning`.
    #[serde(rename = "type", default)]
    pub kind: EventType,
    /// How often.
    #[serde(default)]
    pub count: u64,
    /// When first (UTC).
    #[serde(default, skip_serializing_if = "is_default", with = "crate::meta::time::optional")]
    #[schemars(with = "Option<String>")]
    pub first_timestamp: Option<Timestamp>,
    /// When last (UTC).
    #[serde(default, skip_serializing_if = "is_default", with = "crate::meta::time::optional")]
    #[schemars(with = "Option<String>")]
    pub last_timestamp: Option<Timestamp>,
    /// Who told it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub source: EventSource,
    /// Who told it, for newer clients.
    #[serde(default, skip_serializing_if = "is_default")]
    pub reporting_component: String,
    /// Which instance of it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub reporting_instance: String,
}

/// Whether an Event is a worry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum EventType {
    /// As it should be.
    #[default]
    Normal,
    /// Somebody should look.
    Warning,
}

/// Points to an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObjectReference {
    /// `cube/v1`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub api_version: String,
    /// Kind.
    #[serde(default, skip_serializing_if = "is_default")]
    pub kind: String,
    /// Namespace, if it has one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub namespace: String,
    /// Name.
    #[serde(default, skip_serializing_if = "is_default")]
    pub name: String,
    /// uid.
    #[serde(default, skip_serializing_if = "is_default")]
    pub uid: String,
    /// The revision that was seen.
    #[serde(default, skip_serializing_if = "is_default")]
    pub resource_version: String,
    /// The part of the object.
    #[serde(default, skip_serializing_if = "is_default")]
    pub field_path: String,
}

/// Who told an Event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EventSource {
    /// The part of Cube.
    #[serde(default, skip_serializing_if = "is_default")]
    pub component: String,
    /// Its node.
    #[serde(default, skip_serializing_if = "is_default")]
    pub host: String,
}
