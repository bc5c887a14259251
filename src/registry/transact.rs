//! The verb of the loops: one decision, one transaction, on the condition that what it was made on is still so.
//!
//! It keeps every rule of the clients' verbs; what it adds is that several objects change together or not at all.
use cube_api::{kinds::Kind, shape::UnknownFields, task::Eviction};
use serde::Serialize;
use serde_json::Value;

use super::{
    ApiError, DeleteOptions, Object, Propagation, Registry,
    commit::{Failed, Step},
    rules::{self, Next, Part, metadata, object, text},
    task,
};
use crate::store::Origin;

/// One change of a decision.
#[derive(Clone, Debug)]
pub enum Write {
    /// A new object; its namespace is in its metadata.
    Create(Kind, Value),
    /// An object that was read, as it is to be; all but its status is taken.
    Update {
        /// The object as it was read.
        object: Object,
        /// As it is to be.
        value: Value,
    },
    /// What a part of Cube has seen of an object that was read.
    Status {
        /// The object as it was read.
        object: Object,
        /// Its status as it is to be.
        status: Value,
    },
    /// An object that was read is to go, by the rules of deletion.
    Delete {
        /// The object as it was read.
        object: Object,
        /// As [`DeleteOptions::grace_seconds`].
        grace_seconds: Option<u64>,
        /// As [`DeleteOptions::propagation`].
        propagation: Option<Propagation>,
    },
    /// A Task that was read gets a node.
    Bind {
        /// The Task as it was read.
        task: Object,
        /// The node.
        node: String,
    },
    /// A Task that was read is to leave its node: its worker stops it first.
    Evict {
        /// The Task as it was read.
        task: Object,
        /// Why.
        eviction: Eviction,
    },
    /// A Task that was read has no node any more, at once: its worker cannot be asked, or is asked no more. One that is
    /// being deleted goes.
    Release {
        /// The Task as it was read.
        task: Object,
        /// Why, in one word.
        reason: String,
        /// Why, for people.
        message: String,
    },
}

impl Write {
    /// A new status for an object that was read.
    pub fn status(object: &Object, status: &impl Serialize) -> Self {
        Self::Status {
            object: object.clone(),
            status: serde_json::to_value(status).unwrap_or_default(),
        }
    }

    /// An object that was read, with its JSON changed by `change`: for metadata and spec.
    pub fn edit(object: &Object, change: impl FnOnce(&mut Value)) -> Self {
        let mut value = object.to_value();
        change(&mut value);
        Self::Update {
            object: object.clone(),
            value,
        }
    }

    /// The deletion of an object that was read, with the grace that it has itself.
    pub fn delete(object: &Object) -> Self {
        Self::Delete {
            object: object.clone(),
            grace_seconds: None,
            propagation: None,
        }
    }
}

impl Registry {
    /// Writes all or nothing; the answers are the objects as they are then, in the order of the writes.
    ///
    /// # Errors
    /// 409 when an object is no longer as it was read, or what is to be created exists: look again, decide again. Else
    /// as for the clients' verbs.
    pub async fn transact(&self, writes: Vec<Write>) -> Result<Vec<Object>, ApiError> {
        let mut steps = Vec::with_capacity(writes.len());
        for write in writes {
            steps.push(self.step(write)?);
        }
        self.commit(&steps, false, Origin::Loop)
            .await
            .map_err(Failed::into_error)
    }

    fn step(&self, write: Write) -> Result<Step, ApiError> {
        Ok(match write {
            Write::Create(kind, mut value) => {
                let namespace = text(metadata(object(&mut value)), "namespace").to_owned();
                let value = rules::create(kind, &namespace, value, UnknownFields::Refuse, &self.world)?;
                Step::create(kind, value)
            }
            Write::Status { object, status } => {
                let next = rules::seen(&object, status)?;
                Step::change(object, next)
            }
            Write::Update { object, value } => {
                let current = object.stored();
                let value = as_written(&object, &current, value);
                let next = rules::update(&object, &current, value, Part::Main, UnknownFields::Refuse)?;
                Step::change(object, next)
            }
            Write::Delete {
                object,
                grace_seconds,
                propagation,
            } => {
                let options = DeleteOptions {
                    grace_seconds,
                    propagation,
                    ..DeleteOptions::default()
                };
                let next = rules::delete(&object, &options, self.world.now())?;
                Step::change(object, next)
            }
            Write::Bind { task, node } => {
                let next: Next = task::bound(&self.snapshot(), &task, &node, self.world.now())?;
                Step::change(task, next)
            }
            Write::Evict { task, eviction } => {
                let next = task::evicted(&task, &eviction)?;
                Step::change(task, next)
            }
            Write::Release { task, reason, message } => {
                let next = task::released(&task, &reason, &message, self.world.now())?;
                Step::change(task, next)
            }
        })
    }
}

/// A loop that wrote a typed object back has lost the defaults that its owner wrote out. Where the wish means the same,
/// it stays as its owner wrote it: nothing of ours writes into a spec.
fn as_written(before: &Object, current: &Value, mut value: Value) -> Value {
    if value["spec"] == current["spec"] {
        return value;
    }
    let kind = before.kind();
    let means = |value: &Value| kind.normalize(value.clone()).ok().map(|value| value["spec"].clone());
    if means(&value).is_some_and(|wish| means(current) == Some(wish)) {
        value["spec"] = current["spec"].clone();
    }
    value
}
