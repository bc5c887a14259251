//! The rules of removal, as a table, and what holds over all worlds.
use proptest::prelude::*;

use super::*;

fn id(n: usize) -> ObjectId {
    ObjectId {
        kind: Kind::Task,
        namespace: "default".to_owned(),
        name: format!("t{n:03}"),
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + seconds).unwrap()
}

fn ids(range: impl IntoIterator<Item = usize>) -> BTreeSet<ObjectId> {
    range.into_iter().map(id).collect()
}

/// A quiet directory that had `owned` and now says `said`.
fn seen(owned: impl IntoIterator<Item = usize>, said: impl IntoIterator<Item = usize>) -> Seen {
    Seen {
        now: at(0),
        owned: owned.into_iter().map(|n| (id(n), Owned::default())).collect(),
        scan: Scan::Complete(ids(said)),
        quiet_for: QUIET,
        directory: "/m 1:2".to_owned(),
        bound_to: Some("/m 1:2".to_owned()),
        removed: Vec::new(),
        waited: BTreeSet::new(),
        approved: None,
    }
}

fn removed(range: impl IntoIterator<Item = usize>, seconds: i64) -> Vec<(ObjectId, Timestamp)> {
    range.into_iter().map(|n| (id(n), at(seconds))).collect()
}

/// What goes and what waits, in numbers, and why.
fn outcome(seen: &Seen) -> (usize, usize, String) {
    let decision = decide_prune(seen);
    let why = decision.why.map(|why| why.to_string()).unwrap_or_default();
    (decision.remove.len(), decision.waiting.len(), why)
}

#[test]
fn removals_by_rule() {
    let all = |n: usize| digest(&(0..n).map(id).collect::<Vec<_>>());
    let cases: Vec<(&str, Seen, (usize, usize, &str))> = vec![
        ("nothing left", seen(0..5, 0..5), (0, 0, "")),
        ("what is new is not removed", seen(0..1, 0..9), (0, 0, "")),
        ("the only one", seen(0..1, 0..0), (1, 0, "")),
        ("three of three", seen(0..3, 0..0), (3, 0, "")),
        (
            "four of four",
            seen(0..4, 0..0),
            (0, 4, "4 of 4 objects are gone from the directory"),
        ),
        (
            "six of seven",
            seen(0..7, 6..7),
            (0, 6, "6 of 7 objects are gone from the directory"),
        ),
        ("30 of a hundred", seen(0..100, 30..100), (30, 0, "")),
        (
            "31 of a hundred",
            seen(0..100, 31..100),
            (0, 31, "31 of 100 objects are gone from the directory"),
        ),
        (
            "portions are counted together",
            Seen {
                removed: removed(0..3, -599),
                ..seen(3..9, 4..9)
            },
            (0, 1, "4 of 9 objects are gone from the directory"),
        ),
        (
            "what waits goes on waiting, however long ago the others left",
            Seen {
                removed: removed(0..3, -601),
                waited: ids(3..5),
                ..seen(3..9, 5..9)
            },
            (0, 2, "2 of 6 objects are gone from the directory and wait for a yes"),
        ),
        (
            "a yes that is given late",
            Seen {
                removed: removed(0..3, -601),
                waited: ids(3..5),
                approved: Some(digest(&[id(3), id(4)])),
                ..seen(3..9, 5..9)
            },
            (2, 0, ""),
        ),
        (
            "what came back waits no more",
            Seen {
                waited: ids(0..5),
                ..seen(0..9, 0..9)
            },
            (0, 0, ""),
        ),
        (
            "what left long ago does not count",
            Seen {
                removed: removed(0..3, -600),
                ..seen(3..9, 4..9)
            },
            (1, 0, ""),
        ),
        (
            "what left and came back does not count",
            Seen {
                removed: removed(0..3, -5),
                ..seen(0..9, (0..3).chain(4..9))
            },
            (1, 0, ""),
        ),
        (
            "a clock that was set back forgets nothing",
            Seen {
                removed: removed(0..3, 9999),
                ..seen(3..9, 4..9)
            },
            (0, 1, "4 of 9 objects are gone from the directory"),
        ),
        (
            "not quiet",
            Seen {
                quiet_for: Duration::from_millis(999),
                ..seen(0..2, 0..1)
            },
            (0, 1, "the directory changed a moment ago"),
        ),
        (
            "not complete",
            Seen {
                scan: Scan::Incomplete("a.yaml cannot be read".to_owned()),
                ..seen(0..2, 0..1)
            },
            (0, 0, "nothing is removed while a.yaml cannot be read"),
        ),
        (
            "not complete, whoever says yes",
            Seen {
                scan: Scan::Incomplete("x".to_owned()),
                approved: Some(all(2)),
                ..seen(0..2, 0..0)
            },
            (0, 0, "nothing is removed while x"),
        ),
        (
            "another directory",
            Seen {
                directory: "/m 1:3".to_owned(),
                ..seen(0..2, 0..1)
            },
            (0, 1, "the objects came from /m 1:2, this is /m 1:3"),
        ),
        (
            "nobody knows which directory",
            Seen {
                bound_to: None,
                ..seen(0..2, 0..1)
            },
            (0, 1, "nobody knows whether the objects came from /m 1:2"),
        ),
        (
            "a yes to exactly these",
            Seen {
                approved: Some(all(4)),
                ..seen(0..4, 0..0)
            },
            (4, 0, ""),
        ),
        (
            "a yes to others",
            Seen {
                approved: Some(all(3)),
                ..seen(0..4, 0..0)
            },
            (0, 4, "4 of 4 objects are gone from the directory"),
        ),
        (
            "a yes for another directory",
            Seen {
                directory: "/n 1:2".to_owned(),
                approved: Some(all(2)),
                ..seen(0..2, 0..0)
            },
            (2, 0, ""),
        ),
        (
            "a yes does not shorten the quiet",
            Seen {
                approved: Some(all(4)),
                quiet_for: Duration::ZERO,
                ..seen(0..4, 0..0)
            },
            (0, 4, "the directory changed a moment ago"),
        ),
    ];
    for (name, seen, (remove, waiting, why)) in cases {
        assert_eq!(outcome(&seen), (remove, waiting, why.to_owned()), "{name}");
    }
}

#[test]
fn what_says_so_is_kept_and_does_not_count() {
    let mut seen = seen(0..5, 0..0);
    for n in 0..2 {
        seen.owned.insert(id(n), Owned { keep: true, others: 0 });
    }
    let decision = decide_prune(&seen);
    assert_eq!((decision.remove.len(), decision.kept), (3, vec![id(0), id(1)]));
}

#[test]
fn a_namespace_that_holds_the_work_of_others_waits_and_goes_last() {
    let room = ObjectId {
        kind: Kind::Namespace,
        namespace: String::new(),
        name: "web".to_owned(),
    };
    let mut seen = seen(0..2, 1..2);
    seen.owned.insert(room.clone(), Owned { keep: false, others: 0 });
    assert_eq!(decide_prune(&seen).remove, [id(0), room.clone()]);
    seen.owned.insert(room.clone(), Owned { keep: false, others: 2 });
    let why = "with namespace/web 2 objects that are not the directory's would go".to_owned();
    assert_eq!(outcome(&seen), (0, 2, why));
}

#[test]
fn a_directory_is_accepted_when_it_has_all_that_came_from_the_other() {
    let moved = |owned, said| Seen {
        directory: "/n 1:2".to_owned(),
        ..seen(owned, said)
    };
    assert!(decide_prune(&moved(0..2, 0..3)).bind);
    assert!(!decide_prune(&moved(0..2, 1..2)).bind);
    assert!(!decide_prune(&seen(0..2, 0..2)).bind);
}

#[test]
fn a_digest_is_of_the_set() {
    assert_eq!(digest(&["a", "b"]), digest(&["b", "a"]));
    assert_ne!(digest(&["a", "b"]), digest(&["ab"]));
    assert_eq!(digest(&[id(1)]), digest(&["task/default/t001"]));
    assert_eq!("task/default/t001".parse(), Ok(id(1)));
    assert_eq!("web".parse::<ObjectId>(), Err(()));
}

proptest! {
    /// Without a yes never more than the bound leaves in a window, in whatever portions files go; never anything that a
    /// file says or that is to be kept; and deciding again after the removals yields nothing.
    #[test]
    fn small_portions_add_up(
        had in 1usize..60,
        portions in prop::collection::vec(prop::collection::btree_set(0usize..60, 0..6), 0..12),
        keep in prop::collection::btree_set(0usize..60, 0..4),
    ) {
        let mut world = seen(0..had, 0..had);
        for n in keep.iter().filter(|n| **n < had) {
            world.owned.insert(id(*n), Owned { keep: true, others: 0 });
        }
        let mut said: BTreeSet<usize> = (0..had).collect();
        let mut gone = BTreeSet::new();
        for (step, portion) in portions.into_iter().enumerate() {
            said.retain(|n| !portion.contains(n));
            world.now = at(step as i64);
            world.scan = Scan::Complete(ids(said.iter().copied()));
            let decision = decide_prune(&world);
            for object in &decision.remove {
                prop_assert!(!world.owned[object].keep);
                prop_assert!(!ids(said.iter().copied()).contains(object));
                world.owned.remove(object);
                world.removed.push((object.clone(), world.now));
                gone.insert(object.clone());
            }
            prop_assert!(decide_prune(&world).remove.is_empty());
        }
        prop_assert!(gone.len() <= FEW.max(had * PERCENT / 100));
    }

    /// However time passes, files go and come and people say yes to what they were shown: what leaves without a yes never
    /// comes to more than the bound within a window, and what was said to wait leaves with a yes alone.
    #[test]
    fn beyond_the_bound_nothing_goes_without_a_yes(
        had in 1usize..40,
        steps in prop::collection::vec((
            prop::collection::btree_set(0usize..40, 0..9),
            prop::collection::btree_set(0usize..40, 0..3),
            0i64..900,
            prop_oneof![3 => Just(0u8), 1 => Just(1), 1 => Just(2)],
        ), 1..12),
    ) {
        let mut world = seen(0..had, 0..had);
        let mut said: BTreeSet<usize> = (0..had).collect();
        let mut shown: Vec<ObjectId> = Vec::new();
        let mut second = 0;
        for (gone, back, passes, yes) in steps {
            said.retain(|n| !gone.contains(n));
            said.extend(back.iter().filter(|n| **n < had && world.owned.contains_key(&id(**n))));
            second += passes;
            world.now = at(second);
            world.scan = Scan::Complete(ids(said.iter().copied()));
            // A yes to what was shown last, or to something else.
            world.approved = match yes {
                0 => None,
                1 => Some(digest(&shown)),
                _ => Some(digest(&[id(41)])),
            };
            let had_now = world.owned.len();
            let decision = decide_prune(&world);
            if let Some(why) = &decision.why {
                prop_assert!(decision.remove.is_empty() && !decision.waiting.is_empty());
                prop_assert!(why.needs_yes(), "the directory is quiet and whole: {why}");
            }
            if decision.approved {
                prop_assert_eq!(world.approved.as_ref(), Some(&digest(&decision.remove)), "a yes is to exactly these");
            }
            let recent = world.removed.iter().filter(|(object, at)| is_recent(*at, world.now) && !decision.remove.contains(object));
            let all = recent.filter(|(object, _)| !ids(said.iter().copied()).contains(object)).count();
            for object in &decision.remove {
                prop_assert!(!ids(said.iter().copied()).contains(object), "{object} is in a file");
                prop_assert!(decision.approved || !world.waited.contains(object), "{object} waited for a yes");
                world.owned.remove(object);
                world.waited.remove(object);
                if !decision.approved {
                    world.removed.push((object.clone(), world.now));
                }
            }
            let left = all + decision.remove.len();
            let bound = FEW.max((had_now + all) * PERCENT / 100);
            prop_assert!(decision.approved || decision.remove.is_empty() || left <= bound, "{left} of {bound}");
            if decision.why.as_ref().is_some_and(|why| matches!(why, Wait::TooMany { .. } | Wait::StillWaits { .. })) {
                world.waited.extend(decision.waiting.iter().cloned());
            }
            world.waited.retain(|object| !ids(said.iter().copied()).contains(object));
            shown = decision.waiting;
        }
    }

    /// With a scan that is not complete nothing goes, whatever else is so.
    #[test]
    fn nothing_goes_unread(had in 0usize..20, quiet in 0u64..5, yes in any::<bool>()) {
        let mut world = seen(0..had, 0..0);
        world.scan = Scan::Incomplete("the directory is missing".to_owned());
        world.quiet_for = Duration::from_secs(quiet);
        world.approved = yes.then(|| digest(&(0..had).map(id).collect::<Vec<_>>()));
        let decision = decide_prune(&world);
        prop_assert!(decision.remove.is_empty() && !decision.bind);
    }
}
