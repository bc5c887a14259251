//! Joins ownership's loop to its brain, `cube_plan::garbage`.
use cube_api::{
    kinds::Kind,
    meta::{FOREGROUND_FINALIZER, ORPHAN_FINALIZER, ObjectMeta, OwnerReference},
};
use cube_plan::garbage::{Action, Dependent, Look, Owner, decide};
use cube_planted::{Bug, planted};

use super::runner::{Change, Hand, Outcome, View, owner_key, release};
use crate::{
    registry::{Object, Propagation, Write},
    store::Key,
};

pub(super) struct Garbage;

impl Hand for Garbage {
    fn name(&self) -> &'static str {
        "garbage"
    }

    fn wakes(&mut self, change: &Change, view: &View, wake: &mut Vec<Key>) {
        let object = &change.object;
        let meta = object.meta();
        if change.gone {
            wake.extend(view.index.dependents(object.uid()).cloned());
        } else if holds_dependents(meta) || (change.former_owners.is_some() && !meta.owner_references.is_empty()) {
            wake.push(change.key().clone());
        }
        // An owner on its way out may have waited for it, or have to take it with it.
        let former = change.former_owners.iter().flatten();
        let now = meta.owner_references.iter().filter(|_| change.former_owners.is_some());
        let owners = former
            .chain(now)
            .filter_map(|owner| owner_key(owner, object.namespace()));
        wake.extend(owners.filter(|key| view.get(key).is_some_and(|owner| holds_dependents(owner.meta()))));
    }

    fn look(&mut self, key: &Key, view: &View) -> Outcome {
        let Some(object) = view.get(key) else {
            return Outcome::default();
        };
        let meta = object.meta();
        let owners = meta.owner_references.iter();
        let owners = owners.map(|owner| state(owner, object.namespace(), view)).collect();
        let around: Vec<Object> = if holds_dependents(meta) {
            let keys = view
                .index
                .dependents(object.uid())
                .filter(|dependent| *dependent != key);
            keys.filter_map(|key| view.get(key)).collect()
        } else {
            Vec::new()
        };
        let dependents = around
            .iter()
            .map(|dependent| self::dependent(dependent, &object, view))
            .collect();
        let Ok(actions) = decide(&Look {
            meta,
            owners,
            dependents,
        }) else {
            return Outcome::default();
        };
        let writes = actions.into_iter().map(|action| match action {
            Action::Delete => Write::delete(&object),
            Action::DeleteDependent { index, foreground } => Write::Delete {
                object: around[index].clone(),
                grace_seconds: None,
                propagation: foreground.then_some(Propagation::Foreground),
            },
            Action::Disown(index) => disown(&around[index], object.uid()),
            Action::Release(finalizer) => release(&object, finalizer),
        });
        Outcome {
            transactions: writes.map(|write| vec![write]).collect(),
            ..Outcome::default()
        }
    }
}

/// Whether it is being deleted in a way that its dependents have a part in.
fn holds_dependents(meta: &ObjectMeta) -> bool {
    let held = |held: &String| held == FOREGROUND_FINALIZER || held == ORPHAN_FINALIZER;
    meta.is_deleting() && meta.finalizers.iter().any(held)
}

fn waits_for_dependents(meta: &ObjectMeta) -> bool {
    meta.is_deleting() && meta.finalizers.iter().any(|held| held == FOREGROUND_FINALIZER)
}

fn state(owner: &OwnerReference, namespace: &str, view: &View) -> Owner {
    let ours = Kind::from_kind(&owner.kind).is_some() && owner.api_version == cube_api::API_VERSION;
    let Some(key) = owner_key(owner, namespace).filter(|_| ours) else {
        return Owner::There;
    };
    match view.get(&key).filter(|object| object.uid() == owner.uid) {
        None if !planted(Bug::OwnerUnasked) => Owner::Gone,
        None => Owner::There,
        Some(object) if waits_for_dependents(object.meta()) => Owner::Waits,
        Some(_) => Owner::There,
    }
}

fn dependent<'a>(dependent: &'a Object, of: &Object, view: &View) -> Dependent<'a> {
    let meta = dependent.meta();
    let mut others = meta.owner_references.iter().filter(|owner| owner.uid != of.uid());
    let mut own = view.index.dependents(dependent.uid()).peekable();
    Dependent {
        meta,
        kept_by_another: others.any(|owner| state(owner, dependent.namespace(), view) == Owner::There),
        has_dependents: own.peek().is_some(),
        in_circle: own.any(|key| view.get(key).is_some_and(|object| waits_for_dependents(object.meta()))),
    }
}

fn disown(object: &Object, uid: &str) -> Write {
    Write::edit(object, |value| {
        if let Some(owners) = value["metadata"]["ownerReferences"].as_array_mut() {
            owners.retain(|owner| owner["uid"] != uid);
        }
    })
}
