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
mod tests {
    use cube_api::meta::OwnerReference;

    use super::*;

    fn meta(uid: &str, deleting: bool, finalizers: &[&str]) -> ObjectMeta {
        ObjectMeta {
            uid: uid.to_owned(),
            deletion_timestamp: deleting.then_some(jiff::Timestamp::UNIX_EPOCH),
            finalizers: finalizers.iter().map(|name| (*name).to_owned()).collect(),
            ..ObjectMeta::default()
        }
    }

    fn child(deleting: bool, block: bool) -> ObjectMeta {
        let mut meta = meta("child", deleting, &[]);
        meta.owner_references = vec![OwnerReference {
            uid: "owner".to_owned(),
            block_owner_deletion: block,
            ..OwnerReference::default()
        }];
        meta
    }

    fn dependent(meta: &ObjectMeta) -> Dependent<'_> {
        Dependent {
            meta,
            kept_by_another: false,
            has_dependents: false,
            in_circle: false,
        }
    }

    #[test]
    fn goes_when_all_owners_are_gone() {
        for (owners, expected) in [
            (vec![], Err(WaitingOn::Owners)),
            (vec![Owner::There], Err(WaitingOn::Owners)),
            (vec![Owner::Gone, Owner::There], Err(WaitingOn::Owners)),
            (vec![Owner::Gone, Owner::Waits], Err(WaitingOn::Owners)),
            (vec![Owner::Gone, Owner::Gone], Ok(vec![Action::Delete])),
        ] {
            let decided = |deleting| {
                decide(&Look {
                    meta: &meta("x", deleting, &[]),
                    owners: owners.clone(),
                    dependents: Vec::new(),
                })
            };
            assert_eq!(decided(false), expected, "{owners:?}");
            assert_eq!(decided(true), Err(WaitingOn::Deletion), "{owners:?}");
        }
    }

    #[test]
    fn an_orphaning_owner_goes_when_nobody_speaks_of_it() {
        let (meta, child) = (meta("owner", true, &[ORPHAN_FINALIZER]), child(false, true));
        let look = |dependents| Look {
            meta: &meta,
            owners: Vec::new(),
            dependents,
        };
        let two = vec![dependent(&child), dependent(&child)];
        assert_eq!(decide(&look(two)), Ok(vec![Action::Disown(0), Action::Disown(1)]));
        assert_eq!(decide(&look(Vec::new())), Ok(vec![Action::Release(ORPHAN_FINALIZER)]));
    }

    #[test]
    fn in_the_foreground_the_owner_waits_for_those_that_block_it() {
        let meta = meta("owner", true, &[FOREGROUND_FINALIZER]);
        let decided = |dependents: Vec<Dependent>| {
            decide(&Look {
                meta: &meta,
                owners: Vec::new(),
                dependents,
            })
        };
        let delete = |foreground| Action::DeleteDependent { index: 0, foreground };
        let release = Action::Release(FOREGROUND_FINALIZER);
        let (fresh, going) = (child(false, true), child(true, true));
        let (free, going_free) = (child(false, false), child(true, false));
        assert_eq!(decided(vec![dependent(&fresh)]), Ok(vec![delete(false)]));
        let parent = Dependent {
            has_dependents: true,
            ..dependent(&fresh)
        };
        assert_eq!(decided(vec![parent]), Ok(vec![delete(true)]));
        assert_eq!(decided(vec![dependent(&going)]), Err(WaitingOn::Dependents(1)));
        assert_eq!(decided(vec![dependent(&free)]), Ok(vec![delete(false), release]));
        assert_eq!(decided(vec![dependent(&going_free)]), Ok(vec![release]));
        assert_eq!(decided(Vec::new()), Ok(vec![release]));
        let kept = Dependent {
            kept_by_another: true,
            ..dependent(&fresh)
        };
        assert_eq!(decided(vec![kept]), Ok(vec![Action::Disown(0), release]));
        let circle = Dependent {
            in_circle: true,
            ..dependent(&going)
        };
        assert_eq!(decided(vec![circle]), Ok(vec![release]));
    }
}
