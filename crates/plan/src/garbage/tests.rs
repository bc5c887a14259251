//! Tables for what each look answers, and properties over worlds of objects that own one another.
use std::collections::BTreeMap;

use cube_api::meta::OwnerReference;
use proptest::prelude::*;

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
    }]
    .into();
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

/// Objects by their uids, and a loop that looks at one after the other.
#[derive(Clone, Debug, Default)]
struct World(BTreeMap<usize, ObjectMeta>);

fn uid(number: usize) -> String {
    number.to_string()
}

impl World {
    fn waits(&self, meta: &ObjectMeta) -> bool {
        meta.is_deleting() && meta.finalizers.iter().any(|held| held == FOREGROUND_FINALIZER)
    }

    fn owner(&self, owner: &OwnerReference) -> Owner {
        match self.0.get(&owner.uid.parse().unwrap()) {
            None => Owner::Gone,
            Some(meta) if self.waits(meta) => Owner::Waits,
            Some(_) => Owner::There,
        }
    }

    fn dependents(&self, of: &str) -> Vec<usize> {
        let speaks = |meta: &ObjectMeta| meta.owner_references.iter().any(|owner| owner.uid == of);
        let all = self
            .0
            .iter()
            .filter(|(number, meta)| uid(**number) != of && speaks(meta));
        all.map(|(number, _)| *number).collect()
    }

    fn decide(&self, number: usize) -> (Result<Vec<Action>, WaitingOn>, Vec<usize>) {
        let meta = &self.0[&number];
        let around = self.dependents(&meta.uid);
        let dependent = |number: &usize| {
            let dependent = &self.0[number];
            let own = self.dependents(&dependent.uid);
            let mut others = dependent.owner_references.iter().filter(|owner| owner.uid != meta.uid);
            Dependent {
                meta: dependent,
                kept_by_another: others.any(|owner| self.owner(owner) == Owner::There),
                has_dependents: !own.is_empty(),
                in_circle: own.iter().any(|own| self.waits(&self.0[own])),
            }
        };
        let look = Look {
            meta,
            owners: meta.owner_references.iter().map(|owner| self.owner(owner)).collect(),
            dependents: around.iter().map(dependent).collect(),
        };
        (decide(&look), around)
    }

    fn delete(&mut self, number: usize, finalizer: Option<&str>) {
        let Some(meta) = self.0.get_mut(&number) else { return };
        meta.deletion_timestamp = Some(jiff::Timestamp::UNIX_EPOCH);
        meta.finalizers.extend(finalizer.map(str::to_owned));
        self.bury(number);
    }

    fn bury(&mut self, number: usize) {
        let gone = |meta: &ObjectMeta| meta.is_deleting() && meta.finalizers.is_empty();
        if self.0.get(&number).is_some_and(gone) {
            self.0.remove(&number);
        }
    }

    /// One look at each object, carried out; whether anything was done.
    fn turn(&mut self, deleted: &mut Vec<usize>) -> bool {
        let mut busy = false;
        for number in self.0.keys().copied().collect::<Vec<_>>() {
            if !self.0.contains_key(&number) {
                continue;
            }
            let (Ok(actions), around) = self.decide(number) else {
                continue;
            };
            busy = true;
            for action in actions {
                match action {
                    Action::Delete => {
                        deleted.push(number);
                        self.delete(number, None);
                    }
                    Action::DeleteDependent { index, foreground } => {
                        deleted.push(around[index]);
                        self.delete(around[index], foreground.then_some(FOREGROUND_FINALIZER));
                    }
                    Action::Disown(index) => {
                        if let Some(meta) = self.0.get_mut(&around[index]) {
                            meta.owner_references.retain(|owner| owner.uid != uid(number));
                        }
                    }
                    Action::Release(finalizer) => {
                        if let Some(meta) = self.0.get_mut(&number) {
                            meta.finalizers.retain(|held| held != finalizer);
                        }
                        self.bury(number);
                    }
                }
            }
        }
        busy
    }
}

/// Up to eight objects; each speaks of some others as its owners, in circles too, and of some that never were.
fn objects() -> impl Strategy<Value = World> {
    let owners = prop::collection::vec((0..10_usize, any::<bool>()), 0..3);
    prop::collection::vec(owners, 1..8).prop_map(|all| {
        let objects = all.into_iter().enumerate().map(|(number, owners)| {
            let mut meta = meta(&uid(number), false, &[]);
            let owner = |(owner, block)| OwnerReference {
                uid: uid(owner),
                block_owner_deletion: block,
                ..OwnerReference::default()
            };
            meta.owner_references = owners.into_iter().map(owner).collect();
            meta.owner_references.dedup_by(|a, b| a.uid == b.uid);
            (number, meta)
        });
        World(objects.collect())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 256, ..ProptestConfig::default() })]

    /// However objects own one another, and in whatever way some are deleted: it comes to rest, nothing waits for ever, what
    /// has no owner or has one that stays is never taken, and nothing stays whose owners are all gone.
    #[test]
    fn what_is_owned_goes_with_its_owners_and_nothing_else_does(
        world in objects(),
        deletions in prop::collection::vec((0..8_usize, 0..3_usize), 0..4),
    ) {
        let mut world = world;
        // At first nothing but looks.
        for (number, way) in std::iter::once((usize::MAX, 0)).chain(deletions) {
            let way = [None, Some(FOREGROUND_FINALIZER), Some(ORPHAN_FINALIZER)][way];
            let before = world.clone();
            if before.0.get(&number).is_some_and(|meta| !meta.is_deleting()) {
                world.delete(number, way);
            }
            let mut turns = 0;
            let mut deleted = Vec::new();
            while world.turn(&mut deleted) {
                turns += 1;
                prop_assert!(turns < 100, "it does not come to rest: {:#?}", world);
            }
            for taken in &deleted {
                let Some(meta) = before.0.get(taken) else { continue };
                prop_assert!(!meta.owner_references.is_empty(), "{} has no owner, and was taken", taken);
                // One that is there, and that nobody asked to go, keeps what it owns.
                let stays = |owner: &OwnerReference| {
                    let number: usize = owner.uid.parse().unwrap();
                    before.0.contains_key(&number) && world.0.contains_key(&number) && owner.uid != meta.uid
                };
                prop_assert!(!meta.owner_references.iter().any(stays), "{} has an owner that stays", taken);
            }
        }
        for (number, meta) in &world.0 {
            prop_assert!(!meta.is_deleting(), "{} waits for ever: {:#?}", number, world);
            let owners = &meta.owner_references;
            let gone = |owner: &OwnerReference| self::World::owner(&world, owner) == Owner::Gone;
            prop_assert!(owners.is_empty() || !owners.iter().all(gone), "{} stays without an owner", number);
        }
    }
}
