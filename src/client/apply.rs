//! The one apply, over the wire.
use cube_api::kinds::Kind;
use serde::{Deserialize, Serialize};
use serde_json::Value;

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
    pub(super) fn to_json(&self) -> Vec<u8> {
        let batch = Batch {
            manager: PERSON,
            take_over: self.take_over,
            dry_run: self.dry_run,
            fail_fast: true,
            objects: &self.objects,
        };
        // It cannot fail: the keys of objects are text.
        serde_json::to_vec(&batch).unwrap_or_default()
    }
}

/// The batch on the wire.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Batch<'a> {
    manager: &'a str,
    take_over: bool,
    dry_run: bool,
    fail_fast: bool,
    objects: &'a [Value],
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
    /// How often in a row it has failed, as its status says.
    pub failures: u64,
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

/// The answer on the wire. Of the objects, which are most of it, only what is needed is kept.
#[derive(Deserialize)]
struct Answer {
    results: Vec<Told>,
}

#[derive(Deserialize)]
struct Told {
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    name: String,
    outcome: String,
    #[serde(default)]
    error: Value,
    #[serde(default)]
    object: Option<Object>,
}

#[derive(Default, Deserialize)]
struct Object {
    #[serde(default)]
    status: Status,
}

#[derive(Default, Deserialize)]
struct Status {
    #[serde(default)]
    failures: u64,
}

impl Applied {
    /// Reads the answer to a batch; none if it is none.
    pub(super) fn read(answer: &[u8]) -> Option<Vec<Self>> {
        let answer: Answer = serde_json::from_slice(answer).ok()?;
        answer.results.into_iter().map(Self::of).collect()
    }

    fn of(told: Told) -> Option<Self> {
        let outcome = match told.outcome.as_str() {
            "created" => Outcome::Created,
            "configured" => Outcome::Configured,
            "unchanged" => Outcome::Unchanged,
            "withheld" => Outcome::Withheld,
            "refused" => Outcome::Refused(Refusal::from_status(&told.error).unwrap_or_default()),
            _ => return None,
        };
        Some(Self {
            kind: told.kind.as_deref().and_then(Kind::from_kind),
            namespace: told.namespace,
            name: told.name,
            outcome,
            failures: told.object.map_or(0, |object| object.status.failures),
        })
    }
}
