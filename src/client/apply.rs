//! The one apply, over the wire.
use cube_api::kinds::Kind;
use serde_json::{Value, json};

use super::Refusal;
use crate::registry::PERSON;

/// A batch to be applied: all of it, or nothing.
#[derive(Clone, Debug, Default)]
pub struct Apply {
    /// Objects of other managers become this one's, instead of being refused.
    pub take_over: bool,
    /// Everything is done but the writing.
    pub dry_run: bool,
    /// The objects, whole.
    pub objects: Vec<Value>,
}

impl Apply {
    pub(super) fn to_json(&self) -> Value {
        json!({
            "manager": PERSON, "takeOver": self.take_over, "dryRun": self.dry_run, "failFast": true,
            "objects": self.objects,
        })
    }
}

/// What has become of one object of a batch.
#[derive(Clone, Debug)]
pub struct Applied {
    /// Its kind, if it has one that there is.
    pub kind: Option<Kind>,
    /// Its namespace; empty for kinds of the whole cluster.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What has become of it.
    pub outcome: Outcome,
    /// The object as it is then.
    pub object: Option<Value>,
}

/// What has become of one object of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was not there.
    Created,
    /// It was there and has changed.
    Configured,
    /// It was so already.
    Unchanged,
    /// It is good, but another of the batch is not.
    Withheld,
    /// It was refused.
    Refused(Refusal),
}

impl Applied {
    /// Reads the answer to a batch; none if it is none.
    pub(super) fn read(mut answer: Value) -> Option<Vec<Self>> {
        let Value::Array(results) = answer.get_mut("results")?.take() else {
            return None;
        };
        results.into_iter().map(Self::read_one).collect()
    }

    fn read_one(mut result: Value) -> Option<Self> {
        let object = result.get_mut("object").map(Value::take).unwrap_or_default();
        let text = |field: &str| result[field].as_str().unwrap_or_default();
        let outcome = match text("outcome") {
            "created" => Outcome::Created,
            "configured" => Outcome::Configured,
            "unchanged" => Outcome::Unchanged,
            "withheld" => Outcome::Withheld,
            "refused" => Outcome::Refused(Refusal::from_status(&result["error"]).unwrap_or_default()),
            _ => return None,
        };
        Some(Self {
            kind: Kind::from_kind(text("kind")),
            namespace: text("namespace").to_owned(),
            name: text("name").to_owned(),
            outcome,
            object: Some(object).filter(Value::is_object),
        })
    }
}
