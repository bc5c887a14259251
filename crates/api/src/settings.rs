//! Settings: what holds for the whole cluster and may be changed while it runs. There is one object, `cluster`, or none.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{is_default, meta::ObjectMeta};

/// The name of the one object.
pub const CLUSTER: &str = "cluster";

/// What holds for the whole cluster. Its name is `cluster`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// Name and the like.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What holds.
    #[serde(default, skip_serializing_if = "is_default")]
    pub spec: SettingsSpec,
}

/// What holds for the whole cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SettingsSpec {
    /// Tasks move by themselves to where nodes are loaded less; left out: only when `cube rebalance` says so.
    #[serde(default, skip_serializing_if = "is_default")]
    pub auto_rebalance: Option<AutoRebalance>,
}

/// How Tasks move by themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AutoRebalance {
    /// So many Tasks move in a minute at most, one after the other; default 4.
    #[serde(default = "four", skip_serializing_if = "is_four")]
    #[schemars(range(min = 1, max = 60), extend("default" = 4))]
    pub moves_per_minute: u32,
}

impl Default for AutoRebalance {
    fn default() -> Self {
        Self {
            moves_per_minute: four(),
        }
    }
}

/// Slow enough that whoever watches can stop it, fast enough that a new node is in use within minutes.
const fn four() -> u32 {
    4
}

fn is_four(number: &u32) -> bool {
    *number == four()
}
