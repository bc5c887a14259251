//! From decided changes to one transaction of the store, and back to objects.
use cube_planted::{Bug, planted};
use std::collections::BTreeSet;

use cube_api::{
    kinds::Kind,
    namespace::{Namespace, NamespacePhase},
};
use serde_json::Value;

use super::{ApiError, Object, Registry, find, object, rules::Next};
use crate::store::{Change, CommitError, Expect, Key, Origin, Snapshot, Transaction};

/// What becomes of one object in a transaction.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub kind: Kind,
    pub namespace: String,
    pub name: String,
    /// The object that the decision was made on; none: it is to be created.
    pub before: Option<Object>,
    pub next: Next,
}

/// Why a transaction was not written.
#[derive(Debug)]
pub(super) enum Failed {
    /// Another write came between: decide again.
    Raced(Key, Expect),
    /// Deciding again does not help now.
    Refused(ApiError),
}

impl Failed {
    /// For a writer who meant exactly what it had read.
    pub fn into_error(self) -> ApiError {
        match self {
            Self::Refused(error) => error,
            Self::Raced(key, expected) => {
                let kind = Kind::from_plural(key.plural()).unwrap_or(Kind::Event);
                match expected {
                    Expect::Absent => ApiError::already_exists(kind, key.name()),
                    Expect::Revision(_) | Expect::Present => ApiError::modified(kind, key.name()),
                }
            }
        }
    }
}

impl Step {
    /// The creation of an admitted object.
    pub fn create(kind: Kind, value: Value) -> Self {
        let meta = &value["metadata"];
        let text = |name: &str| meta[name].as_str().unwrap_or_default().to_owned();
        Self {
            kind,
            namespace: text("namespace"),
            name: text("name"),
            before: None,
            next: Next::Put(value),
        }
    }

    /// A change of an object that is there.
    pub fn change(before: Object, next: Next) -> Self {
        Self {
            kind: before.kind(),
            namespace: before.namespace().to_owned(),
            name: before.name().to_owned(),
            before: Some(before),
            next,
        }
    }

    fn key(&self) -> Key {
        match &self.before {
            Some(before) => before.record().key.clone(),
            None => object::key(self.kind, &self.namespace, &self.name),
        }
    }

    /// The bytes that are to be stored, if any are.
    fn bytes(&self) -> Option<Vec<u8>> {
        match (&self.next, &self.before) {
            (Next::Put(value), _) => Some(object::encode(self.kind, value)),
            (Next::Status(status), Some(before)) => Some(before.with_status(status)),
            (Next::Status(_), None) | (Next::Same | Next::Gone, _) => None,
        }
    }

    /// What the object would be.
    fn would_be(&self) -> Result<Object, ApiError> {
        let revision = self.before.as_ref().map_or(0, Object::revision);
        match (self.bytes(), &self.before) {
            (Some(bytes), _) => Ok(Object::unsaved(self.key(), bytes, revision)),
            (None, Some(before)) => Ok(before.clone()),
            (None, None) => Err(ApiError::internal("a step without an object")),
        }
    }
}

impl Registry {
    /// Writes all steps or none. The answers are in the steps' order: the object as it is now, or as it was last.
    pub(super) async fn commit(&self, steps: &[Step], dry_run: bool, origin: Origin) -> Result<Vec<Object>, Failed> {
        let mut transaction = Transaction {
            origin,
            ..Transaction::default()
        };
        let snapshot = self.snapshot();
        let mut rooms = BTreeSet::new();
        for step in steps {
            let key = step.key();
            let expected =
                step.before
                    .as_ref()
                    .map_or(Expect::Absent, |before| match planted(Bug::RevisionUnchecked) {
                        true => Expect::Present,
                        false => Expect::Revision(before.revision()),
                    });
            // What stays as it is must still be so only if something else depends on it; it writes nothing.
            let change = match (&step.next, step.bytes()) {
                (Next::Gone, _) => Change::Delete(key.clone()),
                (_, Some(bytes)) => Change::Put(key.clone(), bytes),
                (_, None) => continue,
            };
            if step.before.is_none() && step.kind.info().namespaced {
                rooms.insert(step.namespace.as_str());
            }
            transaction.changes.push(change);
            transaction.expects.push((key, expected));
        }
        // A namespace that begins to go between the look and the write must not be left with a child.
        for room in rooms {
            let created_here = |step: &Step| step.kind == Kind::Namespace && step.name == room && step.before.is_none();
            if steps.iter().any(created_here) {
                continue;
            }
            let child = steps
                .iter()
                .find(|step| step.before.is_none() && step.namespace == room);
            let (kind, name) = child.map_or((Kind::Namespace, room), |step| (step.kind, step.name.as_str()));
            let namespace = open_namespace(&snapshot, room, kind, name).map_err(Failed::Refused)?;
            let key = object::key(Kind::Namespace, "", room);
            transaction.expects.push((key, Expect::Revision(namespace.revision())));
        }
        if dry_run {
            return steps
                .iter()
                .map(|step| step.would_be().map_err(Failed::Refused))
                .collect();
        }
        let mut records = if transaction.changes.is_empty() {
            Vec::new().into_iter()
        } else {
            let committed = self.store.commit(transaction).await.map_err(failed)?;
            committed.records.into_iter()
        };
        let answers = steps.iter().map(|step| match step.next {
            Next::Same => step.would_be(),
            Next::Put(_) | Next::Status(_) | Next::Gone => {
                let record = records
                    .next()
                    .ok_or_else(|| ApiError::internal("the store answered too few records"));
                record.map(Object::new)
            }
        });
        answers.collect::<Result<_, _>>().map_err(Failed::Refused)
    }
}

/// The namespace, if an object can be created in it.
pub(super) fn open_namespace(snapshot: &Snapshot, room: &str, kind: Kind, name: &str) -> Result<Object, ApiError> {
    let namespace = find(snapshot, Kind::Namespace, "", room);
    let namespace = namespace.ok_or_else(|| ApiError::not_found(Kind::Namespace, room))?;
    let going = namespace.typed::<Namespace>().status.phase == NamespacePhase::Terminating;
    if going || namespace.is_deleting() {
        let why = format!("unable to create new content in namespace {room} because it is being terminated");
        return Err(ApiError::forbidden(kind, name, why));
    }
    Ok(namespace)
}

fn failed(error: CommitError) -> Failed {
    match error {
        CommitError::Conflict { key, expected, .. } => Failed::Raced(key, expected),
        error @ (CommitError::Unavailable { .. } | CommitError::Closed) => {
            Failed::Refused(ApiError::unavailable(error))
        }
    }
}
