//! Deployment: so many Tasks of one template, kept running, changed without a gap.
use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{
    condition::Condition,
    is_default,
    meta::{DEPLOYMENT_LABEL, ObjectMeta},
    selector::LabelSelector,
    task::TaskTemplate,
};

/// The value of a label has so many letters at most.
const LABEL_LENGTH: usize = 63;

/// So many Tasks of one template, kept running.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Deployment {
    /// Name, labels and the like.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What is wished.
    pub spec: DeploymentSpec,
    /// What is seen.
    #[serde(default, skip_serializing_if = "is_default")]
    pub status: DeploymentStatus,
}

impl Deployment {
    /// Its name as the value of a label: cut, where it is longer than one may be.
    pub fn label(&self) -> String {
        let name = &self.metadata.name;
        name[..name.len().min(LABEL_LENGTH)]
            .trim_end_matches(['.', '-'])
            .to_owned()
    }

    /// The selector of its Tasks, as text.
    pub fn selector(&self) -> String {
        if self.spec.selector.is_empty() {
            format!("{DEPLOYMENT_LABEL}={}", self.label())
        } else {
            self.spec.selector.to_string()
        }
    }
}

/// What is wished of a Deployment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeploymentSpec {
    /// How many Tasks; default 1.
    #[serde(default = "default_replicas", skip_serializing_if = "is_default_replicas")]
    #[schemars(range(max = 100_000))]
    #[schemars(extend("default" = 1))]
    pub replicas: u32,
    /// Which Tasks are its own; default: those labelled `cube/deployment: NAME`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub selector: LabelSelector,
    /// What its Tasks are made from.
    pub template: TaskTemplate,
    /// How a change of the template is carried out.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("default" = {}))]
    pub strategy: Strategy,
    /// Seconds for which a Task must have been ready before it counts as available; default 0.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(range(max = 86400))]
    #[schemars(extend("default" = 0))]
    pub min_ready_seconds: u32,
    /// How many old revisions are kept to go back to; default 10.
    #[serde(default = "default_history", skip_serializing_if = "is_default_history")]
    #[schemars(range(max = 1000))]
    #[schemars(extend("default" = 10))]
    pub revision_history_limit: u32,
}

impl Default for DeploymentSpec {
    fn default() -> Self {
        Self {
            replicas: default_replicas(),
            selector: LabelSelector::default(),
            template: TaskTemplate::default(),
            strategy: Strategy::default(),
            min_ready_seconds: 0,
            revision_history_limit: default_history(),
        }
    }
}

fn default_replicas() -> u32 {
    1
}

fn is_default_replicas(replicas: &u32) -> bool {
    *replicas == default_replicas()
}

fn default_history() -> u32 {
    10
}

fn is_default_history(limit: &u32) -> bool {
    *limit == default_history()
}

/// How a change of the template is carried out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Strategy {
    /// `RollingUpdate` (default) or `Recreate`.
    #[serde(rename = "type", default, skip_serializing_if = "is_default")]
    #[schemars(extend("default" = "RollingUpdate"))]
    pub kind: StrategyType,
    /// Bounds of a rolling update.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("default" = {}))]
    pub rolling_update: RollingUpdate,
}

/// A way to carry out a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StrategyType {
    /// New Tasks take the place of old ones little by little.
    #[default]
    RollingUpdate,
    /// All old Tasks end before the first new one starts.
    Recreate,
}

/// Bounds of a rolling update.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RollingUpdate {
    /// How many Tasks more than `replicas` there may be: a number or a share of `replicas`; default 25%.
    #[serde(default = "quarter")]
    pub max_surge: IntOrPercent,
    /// How many of `replicas` may be missing: a number or a share of `replicas`; default 25%.
    #[serde(default = "quarter")]
    pub max_unavailable: IntOrPercent,
}

impl Default for RollingUpdate {
    fn default() -> Self {
        Self {
            max_surge: quarter(),
            max_unavailable: quarter(),
        }
    }
}

fn quarter() -> IntOrPercent {
    IntOrPercent::Percent(25)
}

/// A number, or a share of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntOrPercent {
    /// A number.
    Int(u32),
    /// A share, in hundredths.
    Percent(u32),
}

impl IntOrPercent {
    /// Of `whole`, rounded down.
    pub fn floor_of(self, whole: u32) -> u32 {
        match self {
            Self::Int(number) => number,
            Self::Percent(share) => (u64::from(whole) * u64::from(share) / 100) as u32,
        }
    }

    /// Of `whole`, rounded up.
    pub fn ceil_of(self, whole: u32) -> u32 {
        match self {
            Self::Int(number) => number,
            Self::Percent(share) => (u64::from(whole) * u64::from(share)).div_ceil(100) as u32,
        }
    }

    /// Reads `3` or `25%`.
    ///
    /// # Errors
    /// What is wrong with the text, for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |_| format!("`{text}` is neither a number nor a share such as 25%");
        match text.strip_suffix('%') {
            Some(share) => share.parse().map(Self::Percent).map_err(wrong),
            None => text.parse().map(Self::Int).map_err(wrong),
        }
    }
}

impl Serialize for IntOrPercent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Int(number) => serializer.serialize_u32(*number),
            Self::Percent(share) => serializer.serialize_str(&format!("{share}%")),
        }
    }
}

impl<'de> Deserialize<'de> for IntOrPercent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Int(u32),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Int(number) => Ok(Self::Int(number)),
            Written::Text(text) => Self::parse(&text).map_err(de::Error::custom),
        }
    }
}

impl JsonSchema for IntOrPercent {
    fn schema_name() -> Cow<'static, str> {
        "IntOrPercent".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number, or a share such as 25%.",
            "anyOf": [{ "type": "integer", "minimum": 0, "maximum": 100_000 }, { "type": "string", "format": "int-or-percent" }],
        })
    }
}

/// What is seen of a Deployment; names and meanings are apps/v1's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeploymentStatus {
    /// Tasks that are not over and not being deleted.
    #[serde(default, skip_serializing_if = "is_default")]
    pub replicas: u32,
    /// Of those, of the newest revision.
    #[serde(default, skip_serializing_if = "is_default")]
    pub updated_replicas: u32,
    /// Of those, ready.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ready_replicas: u32,
    /// Of those, ready for long enough.
    #[serde(default, skip_serializing_if = "is_default")]
    pub available_replicas: u32,
    /// Wished and not available.
    #[serde(default, skip_serializing_if = "is_default")]
    pub unavailable_replicas: u32,
    /// Number of the newest revision.
    #[serde(default, skip_serializing_if = "is_default")]
    pub revision: u64,
    /// The selector as text, for `scale`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub selector: String,
    /// `Ready`, `Available`, `Progressing`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub conditions: Vec<Condition>,
    /// The generation that this was said of.
    #[serde(default, skip_serializing_if = "is_default")]
    pub observed_generation: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_fits_into_a_label() {
        let long = format!("{}-tail", "a".repeat(62));
        let cut = format!("cube/deployment={}", "a".repeat(62));
        for (name, selector) in [("web", "cube/deployment=web"), (long.as_str(), cut.as_str())] {
            let mut deployment = Deployment::default();
            deployment.metadata.name = name.to_owned();
            assert_eq!(deployment.selector(), selector);
        }
    }
}
