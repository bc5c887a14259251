//! What the store promises, over memory and real files; what it does on a failing disk is in `tests/faults.rs`.

mod backups;
mod faults;
mod log;
mod model;

use std::path::Path;

use super::*;

pub(super) fn key(name: &str) -> Key {
    Key::new("tasks", "default", name)
}

pub(super) fn put(name: &str, bytes: impl Into<Vec<u8>>) -> Transaction {
    Transaction {
        expects: vec![],
        changes: vec![Change::Put(key(name), bytes.into())],
        ..Transaction::default()
    }
}

pub(super) fn delete(name: &str) -> Transaction {
    Transaction {
        expects: vec![],
        changes: vec![Change::Delete(key(name))],
        ..Transaction::default()
    }
}

pub(super) fn open(path: &Path) -> Store {
    Store::open(path, options()).unwrap()
}

pub(super) fn options() -> Options {
    Options {
        cluster: "cluster-1".into(),
        ..Options::default()
    }
}

/// Everything there is, as text: `name@revision=bytes`.
pub(super) fn contents(snapshot: &Snapshot) -> Vec<String> {
    (snapshot.range("").map(|record| {
        let bytes = String::from_utf8_lossy(&record.bytes);
        format!("{}@{}={}", record.key.name(), record.revision, bytes)
    }))
    .collect()
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = open(&path);
    store.commit(put("a", "1")).await.unwrap();
    store.commit(put("b", "2")).await.unwrap();
    assert_eq!(store.commit(delete("b")).await.unwrap().revision, 3);
    drop(store);

    let store = Store::open(&path, Options::default()).unwrap();
    assert_eq!(
        (store.cluster(), store.revision(), store.compacted()),
        ("cluster-1", 3, 3)
    );
    assert_eq!(contents(&store.snapshot()), ["a@1=1"]);
    assert_eq!(store.commit(put("a", "3")).await.unwrap().revision, 4);
}

#[tokio::test]
async fn expectations_are_held_against_the_state_before() {
    use Expect::*;
    let cases: &[(&str, Expect, bool)] = &[
        ("there", Absent, false),
        ("there", Present, true),
        ("there", Revision(1), true),
        ("there", Revision(2), false),
        ("gone", Absent, true),
        ("gone", Present, false),
        ("gone", Revision(1), false),
    ];
    for &(name, expected, goes_through) in cases {
        let store = Store::memory(options());
        store.commit(put("there", "")).await.unwrap();
        let mut transaction = put("there", "new");
        transaction.expects.push((key(name), expected));
        let answer = store.commit(transaction).await;
        match answer {
            Ok(_) => assert!(goes_through, "{name} {expected:?}"),
            Err(CommitError::Conflict {
                key: found,
                expected: told,
                actual,
            }) => {
                assert!(!goes_through, "{name} {expected:?}");
                assert_eq!((found, told), (key(name), expected));
                assert_eq!(actual, (name == "there").then_some(1));
                assert_eq!(store.revision(), 1, "a refusal spends nothing");
            }
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn a_transaction_takes_a_run_of_revisions_and_tells_one_record_a_change() {
    let store = Store::memory(options());
    store.commit(put("a", "1")).await.unwrap();
    let changes = vec![
        Change::Put(key("b"), "2".into()),
        Change::Delete(key("a")),
        Change::Put(key("b"), "3".into()),
    ];
    let expects = vec![(key("b"), Expect::Absent)];
    let done = store
        .commit(Transaction {
            expects,
            changes,
            ..Transaction::default()
        })
        .await
        .unwrap();
    let told: Vec<_> = done.records.iter().map(|record| format!("{record:?}")).collect();
    assert_eq!(
        told,
        [
            "tasks/default/b@2 (1 bytes)",
            "tasks/default/a@3 (1 bytes)",
            "tasks/default/b@4 (1 bytes)"
        ]
    );
    assert_eq!(
        (done.revision, contents(&store.snapshot())),
        (4, vec!["b@4=3".to_string()])
    );

    let nothing = store.commit(Transaction::default()).await.unwrap();
    assert_eq!((nothing.revision, nothing.records.len()), (4, 0));
}

#[tokio::test]
async fn a_transaction_that_cannot_finish_leaves_nothing() {
    let store = Store::memory(options());
    let changes = vec![Change::Put(key("a"), vec![]), Change::Delete(key("never"))];
    let refused = store
        .commit(Transaction {
            changes,
            ..Transaction::default()
        })
        .await;
    assert!(matches!(
        refused,
        Err(CommitError::Conflict {
            expected: Expect::Present,
            actual: None,
            ..
        })
    ));
    assert!(store.snapshot().is_empty());
    assert_eq!(store.commit(put("a", "")).await.unwrap().revision, 1);
}

#[tokio::test]
async fn what_is_far_too_large_is_refused_alone() {
    let store = Store::memory(options());
    let refused = store.commit(put("a", vec![0; 65 << 20])).await.unwrap_err();
    assert!(refused.to_string().contains("tasks/default/a has"), "{refused}");
    assert_eq!(store.commit(put("b", "")).await.unwrap().revision, 1);
}

#[test]
fn a_group_shares_a_sync_but_not_a_fate() {
    let mut core = super::core::Core::over(boxed(|| Ok(InMemoryBackend::new())), options()).unwrap();
    let create = |name: &str| Transaction {
        expects: vec![(key(name), Expect::Absent)],
        ..put(name, "")
    };
    let answers = core.commit(Default::default(), vec![create("a"), create("a"), create("b")]);
    let told: Vec<_> = (answers.iter())
        .map(|answer| answer.as_ref().map(|done| done.revision).ok())
        .collect();
    assert_eq!(told, [Some(1), None, Some(2)]);
    let Err(refused) = &answers[1] else { unreachable!() };
    assert_eq!(
        refused.to_string(),
        "tasks/default/a: expected that it does not exist, found revision 1"
    );
}

#[tokio::test]
async fn ranges_are_what_begins_with_the_prefix() {
    let store = Store::memory(options());
    for (plural, namespace, name) in [
        ("nodes", "", "n"),
        ("tasks", "a", "x"),
        ("tasks", "b", "y"),
        ("tasks", "bb", "z"),
    ] {
        let changes = vec![Change::Put(Key::new(plural, namespace, name), vec![])];
        store
            .commit(Transaction {
                changes,
                ..Transaction::default()
            })
            .await
            .unwrap();
    }
    let state = store.snapshot();
    let names = |prefix| state.range(prefix).map(|record| record.key.name()).collect::<String>();
    assert_eq!(
        [
            names(""),
            names("tasks/"),
            names("tasks/b/"),
            names("nodes//"),
            names("v")
        ],
        ["nxyz", "xyz", "y", "n", ""]
    );
    let key = Key::new("tasks", "b", "y");
    assert_eq!(
        (key.plural(), key.namespace(), key.name(), key.as_str()),
        ("tasks", "b", "y", "tasks/b/y")
    );
}

#[test]
fn a_record_is_decoded_once() {
    let record = Record::new(key("a"), 1, *b"42");
    let first = record.decoded(|record| record.bytes.len());
    assert_eq!((*first, *record.decoded(|_| -> usize { unreachable!() })), (2, 2));
}

#[tokio::test]
async fn watches_tell_before_after_and_deletions() {
    let store = Store::memory(options());
    store.commit(put("a", "1")).await.unwrap();
    let mut watch = store.watch("tasks/default/a", 0).unwrap();
    store.commit(put("other", "")).await.unwrap();
    store.commit(put("a", "2")).await.unwrap();
    store.commit(delete("a")).await.unwrap();
    let told: Vec<_> = (watch.next().await.unwrap().iter())
        .map(|event| {
            let revision = |record: &Option<Arc<Record>>| record.as_ref().map(|record| record.revision);
            (
                event.revision,
                revision(&event.before),
                revision(&event.after),
                revision(&event.deleted),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (1, None, Some(1), None),
            (3, Some(1), Some(3), None),
            (4, Some(3), None, Some(4))
        ]
    );
    store.commit(put("other", "")).await.unwrap();
    assert!(watch.ready().unwrap().is_empty());
    assert_eq!(watch.revision(), 5, "what others write moves the bookmark on");
    drop(store);
    assert_eq!(watch.next().await.unwrap_err(), WatchError::Closed);
}

#[tokio::test]
async fn who_falls_behind_is_told_to_list_again() {
    let store = Store::memory(Options {
        history_events: 4,
        ..options()
    });
    let mut slow = store.watch("", 0).unwrap();
    for _ in 0..2 {
        let changes = (0..3).map(|n| Change::Put(key(&n.to_string()), vec![])).collect();
        store
            .commit(Transaction {
                changes,
                ..Transaction::default()
            })
            .await
            .unwrap();
    }
    let compacted = WatchError::Compacted { asked: 0, compacted: 3 };
    assert_eq!(
        slow.next().await.unwrap_err(),
        compacted,
        "transactions are forgotten whole"
    );
    assert_eq!(
        store.watch("", 2).err(),
        Some(WatchError::Compacted { asked: 2, compacted: 3 })
    );
    assert_eq!(
        store.watch("", 7).err(),
        Some(WatchError::Future { asked: 7, current: 6 })
    );
    assert_eq!(store.watch("", 3).unwrap().next().await.unwrap().len(), 3);
}

#[tokio::test]
async fn what_was_before_is_known_as_far_as_the_history_reaches() {
    let store = Store::memory(Options {
        history_events: 4,
        ..options()
    });
    let mut known = vec![contents(&store.snapshot())];
    for write in [
        put("a", "1"),
        put("b", "1"),
        put("a", "2"),
        delete("b"),
        put("c", "1"),
        delete("a"),
    ] {
        store.commit(write).await.unwrap();
        known.push(contents(&store.snapshot()));
    }
    for (revision, contents_then) in known.iter().enumerate().skip(2) {
        let then = store.snapshot_at(revision as u64).unwrap();
        assert_eq!((then.revision(), &contents(&then)), (revision as u64, contents_then));
    }
    let compacted = WatchError::Compacted { asked: 1, compacted: 2 };
    assert_eq!(store.snapshot_at(1).err(), Some(compacted));
    assert_eq!(
        store.snapshot_at(7).err(),
        Some(WatchError::Future { asked: 7, current: 6 })
    );
}

#[tokio::test]
async fn who_sleeps_through_what_is_others_has_missed_nothing() {
    let store = Store::memory(Options {
        history_events: 4,
        ..options()
    });
    store.commit(put("mine", "1")).await.unwrap();
    let (mut kind, mut one) = (
        store.watch("nodes/", 1).unwrap(),
        store.watch_one(key("mine"), 1).unwrap(),
    );
    for n in 0..20 {
        store.commit(put("other", n.to_string())).await.unwrap();
    }
    assert!(store.compacted() > 1, "the history has gone past their places");
    store.commit(put("mine", "2")).await.unwrap();
    let told = one.next().await.unwrap();
    assert_eq!((told.len(), told[0].revision), (1, 22));
    assert!(kind.ready().unwrap().is_empty());
    assert_eq!((kind.revision(), one.revision()), (22, 22));
    // What is its own, and forgotten, is missed.
    for n in 0..20 {
        store.commit(put("mine", n.to_string())).await.unwrap();
    }
    assert!(matches!(
        one.next().await.unwrap_err(),
        WatchError::Compacted { asked: 22, .. }
    ));
    assert!(kind.ready().unwrap().is_empty());
    // Another key that begins the same is another key.
    let mut one = store.watch_one(key("mine"), store.revision()).unwrap();
    store.commit(put("mine-too", "1")).await.unwrap();
    assert!(one.ready().unwrap().is_empty());
}

#[tokio::test]
async fn only_those_wake_whom_it_concerns() {
    let store = Store::memory(options());
    let woken = |watch: Watch| {
        tokio::spawn(async move {
            let mut watch = watch;
            watch.next().await.unwrap().len()
        })
    };
    let all: Vec<_> = ["", "tasks/", "tasks/default/"]
        .map(|prefix| woken(store.watch(prefix, 0).unwrap()))
        .into();
    let others: Vec<_> = ["nodes/", "tasks/other/"]
        .map(|prefix| woken(store.watch(prefix, 0).unwrap()))
        .into();
    let one = woken(store.watch_one(key("a"), 0).unwrap());
    tokio::task::yield_now().await;
    store.commit(put("a", "1")).await.unwrap();
    for watch in all.into_iter().chain([one]) {
        assert_eq!(watch.await.unwrap(), 1);
    }
    assert!(others.iter().all(|watch| !watch.is_finished()));
    store.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn watches_miss_nothing_and_see_whole_transactions_while_many_write() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory.path().join("store"));
    let watchers: Vec<_> = (0..4)
        .map(|_| {
            let mut watch = store.watch("tasks/", 0).unwrap();
            tokio::spawn(async move {
                let mut told = 0;
                while told < 8 * 50 * 2 {
                    for pair in watch.next().await.unwrap().chunks(2) {
                        assert_eq!((pair[0].revision, pair[1].revision), (told + 1, told + 2));
                        assert_eq!((pair[0].commit, &pair[0].key), (told + 2, &pair[1].key));
                        told += 2;
                    }
                    assert_eq!(watch.revision(), told);
                }
            })
        })
        .collect();
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for n in 0..50 {
                    let mut transaction = put(&writer.to_string(), n.to_string());
                    transaction.changes.extend(put(&writer.to_string(), "again").changes);
                    let done = store.commit(transaction).await.unwrap();
                    assert!(store.revision() >= done.revision, "what is acknowledged is seen");
                }
            })
        })
        .collect();
    for task in writers.into_iter().chain(watchers) {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn a_closed_store_refuses_and_finishes_what_it_took() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = open(&path);
    store.commit(put("a", "1")).await.unwrap();
    assert!(matches!(Store::open(&path, options()), Err(OpenError::InUse)));
    store.close();
    assert!(matches!(store.commit(put("a", "2")).await, Err(CommitError::Closed)));
    assert_eq!(contents(&store.snapshot()), ["a@1=1"], "reading goes on");
    assert_eq!(contents(&open(&path).snapshot()), ["a@1=1"]);
}
