//! What every object carries: names, identity, labels, ownership, and who manages it. Names and meanings are Kubernetes'.
use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    is_default,
    shared::{Pool, Shared},
};

/// The prefix that labels and annotations of Cube's own bear; users cannot set such labels.
pub const OWN_PREFIX: &str = "cube.";
/// `disabled`: a source never removes this object.
pub const PRUNE_ANNOTATION: &str = "cube/prune";
/// Set by `cube restart` to the moment of the wish; part of what forms a container.
pub const RESTARTED_ANNOTATION: &str = "cube/restartedAt";
/// Set by `cube restart --pull` beside [`RESTARTED_ANNOTATION`] and to the same value: the image is looked for anew.
pub const PULL_ANNOTATION: &str = "cube/pullAt";
/// On a Node: its name. As a topology key: the node itself.
pub const NODE_LABEL: &str = "cube/node";
/// On a Task of a Deployment: the Deployment's name.
pub const DEPLOYMENT_LABEL: &str = "cube/deployment";
/// On a Task of a Deployment: the number of its revision.
pub const REVISION_LABEL: &str = "cube/revision";
/// Dependents are deleted before the owner that carries this finalizer.
pub const FOREGROUND_FINALIZER: &str = "foregroundDeletion";
/// Dependents lose their owner before the owner that carries this finalizer goes.
pub const ORPHAN_FINALIZER: &str = "orphan";

/// Metadata of an object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObjectMeta {
    /// Name, unique among the objects of its kind in its namespace. Lowercase letters, digits, `-` and `.`; up to 253.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("format" = "dns-subdomain"))]
    pub name: String,
    /// With no `name`: the server makes one that starts with this.
    #[serde(default, skip_serializing_if = "is_default")]
    pub generate_name: Option<String>,
    /// Namespace of the object; absent for kinds that belong to the whole cluster. Default: `default`.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("format" = "dns-label"))]
    pub namespace: Option<String>,
    /// Labels, to select by. Example: `{app: web}`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub labels: Shared<BTreeMap<String, String>>,
    /// Annotations: notes that nothing selects by.
    #[serde(default, skip_serializing_if = "is_default")]
    pub annotations: BTreeMap<String, String>,
    /// Set by the server: this very object, over all time.
    #[serde(default, skip_serializing_if = "is_default")]
    pub uid: String,
    /// Set by the server: the revision of the last write.
    #[serde(default, skip_serializing_if = "is_default")]
    pub resource_version: Option<String>,
    /// Set by the server: counts the changes of what is desired.
    #[serde(default, skip_serializing_if = "is_default")]
    pub generation: u64,
    /// Set by the server: when it was created (UTC).
    #[serde(default, skip_serializing_if = "is_default", with = "time::optional")]
    #[schemars(with = "Option<String>")]
    pub creation_timestamp: Option<Timestamp>,
    /// Set by the server: when it will be, or should have been, gone (UTC). Present means: being deleted.
    #[serde(default, skip_serializing_if = "is_default", with = "time::optional")]
    #[schemars(with = "Option<String>")]
    pub deletion_timestamp: Option<Timestamp>,
    /// Set by the server: how long the deletion may take, in seconds.
    #[serde(default, skip_serializing_if = "is_default")]
    pub deletion_grace_period_seconds: Option<u64>,
    /// Objects that this one belongs to; when all are gone, it goes too.
    #[serde(default, skip_serializing_if = "is_default")]
    pub owner_references: Shared<Vec<OwnerReference>>,
    /// Names that hold the object back from being removed, until each has been taken off.
    #[serde(default, skip_serializing_if = "is_default")]
    pub finalizers: Vec<String>,
    /// Set by the server: who set what.
    #[serde(default, skip_serializing_if = "is_default")]
    pub managed_fields: Vec<ManagedFields>,
}

impl ObjectMeta {
    /// Has those parts be others', that others have too.
    pub(crate) fn share(&mut self) {
        static LABELS: Pool<BTreeMap<String, String>> = Pool::new();
        static OWNERS: Pool<Vec<OwnerReference>> = Pool::new();
        LABELS.share(&mut self.labels);
        OWNERS.share(&mut self.owner_references);
    }

    /// The namespace, or `""` for an object of the whole cluster.
    pub fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or("")
    }

    /// Whether its deletion has begun.
    pub fn is_deleting(&self) -> bool {
        self.deletion_timestamp.is_some()
    }

    /// The owner that controls it, if one does.
    pub fn controller(&self) -> Option<&OwnerReference> {
        self.owner_references.iter().find(|owner| owner.controller)
    }

    /// The manager that last applied the object: a source's name, or `cube` for a person's apply.
    pub fn manager(&self) -> Option<&str> {
        self.managed_fields
            .iter()
            .find(|entry| entry.operation == "Apply")
            .map(|entry| entry.manager.as_str())
    }
}

/// An owner of an object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OwnerReference {
    /// `cube/v1`.
    pub api_version: String,
    /// Kind of the owner.
    pub kind: String,
    /// Name of the owner, in the same namespace or of the whole cluster.
    pub name: String,
    /// uid of the owner; another object of the same name is not the owner.
    pub uid: String,
    /// Whether this owner controls the object; one at most does.
    #[serde(default, skip_serializing_if = "is_default")]
    pub controller: bool,
    /// Whether a foreground deletion of the owner waits for this object.
    #[serde(default, skip_serializing_if = "is_default")]
    pub block_owner_deletion: bool,
}

/// Fields that one manager has set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ManagedFields {
    /// Who: a source's name, `cube`, `kubectl`, …
    #[serde(default, skip_serializing_if = "is_default")]
    pub manager: String,
    /// `Apply` or `Update`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub operation: String,
    /// `cube/v1`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub api_version: String,
    /// When (UTC).
    #[serde(default, skip_serializing_if = "is_default", with = "time::optional")]
    #[schemars(with = "Option<String>")]
    pub time: Option<Timestamp>,
    /// `FieldsV1`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub fields_type: String,
    /// The fields, as Kubernetes writes such sets.
    #[serde(default, skip_serializing_if = "is_default")]
    pub fields_v1: Option<Value>,
    /// The subresource that was written, if one was.
    #[serde(default, skip_serializing_if = "is_default")]
    pub subresource: Option<String>,
}

/// Times on the wire: RFC 3339 in UTC, whole seconds, as Kubernetes' clients expect.
pub mod time {
    use jiff::Timestamp;

    /// RFC 3339 with whole seconds: `2030-01-02T03:04:05Z`.
    pub fn format(at: Timestamp) -> String {
        at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    /// Optional times with whole seconds.
    pub mod optional {
        use jiff::Timestamp;
        use serde::{Deserialize, Deserializer, Serializer};

        /// Writes `2030-01-02T03:04:05Z`.
        pub fn serialize<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
            match at {
                Some(at) => serializer.serialize_str(&super::format(*at)),
                None => serializer.serialize_none(),
            }
        }

        /// Reads any RFC 3339 time.
        pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
            let text = Option::<String>::deserialize(deserializer)?;
            text.map(|text| text.parse().map_err(serde::de::Error::custom))
                .transpose()
        }
    }
}
