//! What ownership asks for: dependents go with their owners, or stay without them.
//!
//! [`decide`] takes one look at one object, its owners and its dependents. It never follows chains: each object that is
//! deleted is looked at in its turn.
//!
//! Laws (Kubernetes'): an object all of whose owners are gone goes. An owner deleted in the foreground goes after the
//! dependents that block its deletion; one that is orphaning goes after no dependent speaks of it any more. An owner in
//! another namespace, or of a kind that is not ours, is never taken for gone.
use cube_api::meta::{FOREGROUND_FINALIZER, ORPHAN_FINALIZER, ObjectMeta};

/// What is known of an owner that an object speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// There is no object of that uid.
    Gone,
    /// It is being deleted in the foreground: it waits for its dependents.
    Waits,
    /// It is there, or nobody can say.
    There,
}

/// A dependent of the object.
#[derive(Clone, Copy, Debug)]
pub struct Dependent<'a> {
    /// Its metadata.
    pub meta: &'a ObjectMeta,
    /// It has another owner that is there to stay.
    pub kept_by_another: bool,
    /// It has dependents itself.
    pub has_dependents: bool,
    /// One of its own dependents is being deleted in the foreground: waiting for it could mean waiting in a circle.
    pub in_circle: bool,
}

/// One look at an object.
#[derive(Clone, Debug)]
pub struct Look<'a> {
    /// Its metadata.
    pub meta: &'a ObjectMeta,
    /// Its owners, in the order of its references.
    pub owners: Vec<Owner>,
    /// Its dependents, itself left out.
    pub dependents: Vec<Dependent<'a>>,
}

/// One thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The object goes: its owners are gone.
    Delete,
    /// This dependent goes, with its own dependents before it if it has any.
    DeleteDependent {
        /// Which, in the order of the look.
        index: usize,
        /// Whether in the foreground.
        foreground: bool,
    },
    /// This dependent speaks of the object no more.
    Disown(usize),
    /// The object is no longer held back by this finalizer.
    Release(&'static str),
}

/// Why nothing is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitingOn {
    /// Its owners are there, or it has none.
    Owners,
    /// So many dependents have to be gone first.
    Dependents(usize),
    /// It is being deleted, and nothing of it is ours to do.
    Deletion,
}

/// What is to be done; each action stands for itself.
///
/// # Errors
/// Why nothing is.
pub fn decide(look: &Look) -> Result<Vec<Action>, WaitingOn> {
    let holds = |finalizer: &str| look.meta.finalizers.iter().any(|held| held == finalizer);
    if !look.meta.is_deleting() {
        let abandoned = !look.owners.is_empty() && look.owners.iter().all(|owner| *owner == Owner::Gone);
        return if abandoned {
            Ok(vec![Action::Delete])
        } else {
            Err(WaitingOn::Owners)
        };
    }
    if holds(ORPHAN_FINALIZER) {
        let disowned: Vec<Action> = (0..look.dependents.len()).map(Action::Disown).collect();
        return Ok(if disowned.is_empty() {
            vec![Action::Release(ORPHAN_FINALIZER)]
        } else {
            disowned
        });
    }
    if !holds(FOREGROUND_FINALIZER) {
        return Err(WaitingOn::Deletion);
    }
    let mut actions = Vec::new();
    let mut blocking = 0;
    for (index, dependent) in look.dependents.iter().enumerate() {
        let going = dependent.meta.is_deleting();
        if dependent.kept_by_another && !going {
            actions.push(Action::Disown(index));
            continue;
        }
        if !going {
            let foreground = dependent.has_dependents;
            actions.push(Action::DeleteDependent { index, foreground });
        }
        let owners = dependent.meta.owner_references.iter();
        let blocks = owners
            .filter(|owner| owner.uid == look.meta.uid)
            .any(|owner| owner.block_owner_deletion);
        if blocks && !dependent.in_circle {
            blocking += 1;
        }
    }
    if blocking == 0 {
        actions.push(Action::Release(FOREGROUND_FINALIZER));
    }
    if actions.is_empty() {
        Err(WaitingOn::Dependents(blocking))
    } else {
        Ok(actions)
    }
}

#[cfg(test)]
mod tests;
