//! Backups come back whole or not at all, and files that are not what was written are refused.

use std::fs;

use super::*;

async fn filled(path: &Path) -> Store {
    let store = open(path);
    for n in 0..20 {
        store
            .commit(put(&format!("task-{n}"), format!("{{\"content\":{n}}}")))
            .await
            .unwrap();
    }
    store
}

#[tokio::test]
async fn a_backup_taken_while_writing_is_one_moment_and_comes_back_far_ahead() {
    let directory = tempfile::tempdir().unwrap();
    let store = filled(&directory.path().join("store")).await;
    let before = store.snapshot();
    let writer = tokio::spawn({
        let store = store.clone();
        async move {
            for n in 0..50 {
                let mut pair = put("left", n.to_string());
                pair.changes.extend(put("right", n.to_string()).changes);
                store.commit(pair).await.unwrap();
                tokio::task::yield_now().await;
            }
        }
    });
    tokio::task::yield_now().await;
    let mut backup = Vec::new();
    let revision = store.backup(&mut backup).unwrap();
    assert!(revision >= before.revision());
    writer.await.unwrap();

    let path = directory.path().join("restored");
    let restored = Store::restore(&path, &*backup, Existing::Refuse).unwrap();
    let store = open(&path);
    assert_eq!((&*restored.cluster, restored.backup), (store.cluster(), revision));
    assert_eq!(
        (store.revision(), restored.revision),
        (revision + 1_000_000_000, store.revision())
    );
    let state = store.snapshot();
    assert_eq!(
        state.get(&key("left")).map(|record| &record.bytes),
        state.get(&key("right")).map(|record| &record.bytes)
    );
    assert_eq!(
        store.commit(put("new", "")).await.unwrap().revision,
        revision + 1_000_000_001
    );
}

#[tokio::test]
async fn a_backup_that_was_cut_or_changed_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut backup = Vec::new();
    filled(&directory.path().join("store"))
        .await
        .backup(&mut backup)
        .unwrap();
    let path = directory.path().join("restored");
    for length in (0..backup.len()).step_by(23) {
        let refused = Store::restore(&path, &backup[..length], Existing::Refuse);
        assert!(matches!(refused, Err(RestoreError::Broken(_))), "cut to {length}");
    }
    for at in (0..backup.len()).step_by(29) {
        let mut changed = backup.clone();
        changed[at] ^= 0x10;
        Store::restore(&path, &*changed, Existing::Refuse).expect_err("a flipped bit");
    }
    let names: Vec<_> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["store"], "nothing is left behind");
}

#[tokio::test]
async fn a_store_is_replaced_only_when_told_and_not_in_use() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = filled(&path).await;
    let mut backup = Vec::new();
    store.backup(&mut backup).unwrap();
    assert!(matches!(
        Store::restore(&path, &*backup, Existing::Refuse),
        Err(RestoreError::Exists(_))
    ));
    assert!(matches!(
        Store::restore(&path, &*backup, Existing::Replace),
        Err(RestoreError::InUse)
    ));
    store.commit(put("later", "")).await.unwrap();
    drop(store);
    Store::restore(&path, &*backup, Existing::Replace).unwrap();
    assert_eq!(open(&path).snapshot().get(&key("later")).map(|_| ()), None);
    assert_eq!(open(&directory.path().join("store.replaced")).snapshot().len(), 21);
    // Once more: what was given since the first time is not given again.
    let store = open(&path);
    let later = store.commit(put("later", "")).await.unwrap().revision;
    drop(store);
    let again = Store::restore(&path, &*backup, Existing::Replace).unwrap();
    assert!(again.revision > later, "{} after {later}", again.revision);
    // One that cannot be read is replaced all the same.
    fs::write(&path, "broken").unwrap();
    assert_eq!(Store::restore(&path, &*backup, Existing::Replace).unwrap().records, 20);
}

#[tokio::test]
async fn a_flipped_byte_is_told_with_the_key_and_never_served() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    drop(filled(&path).await);
    let whole = fs::read(&path).unwrap();
    let text = b"{\"content\":13}";
    let mut damaged = whole.clone();
    // Older pages hold the same text: all of them are flipped.
    for at in (0..whole.len() - text.len()).filter(|&at| whole[at..].starts_with(text)) {
        damaged[at + 3] ^= 1;
    }
    fs::write(&path, &damaged).unwrap();
    let refused = Store::open(&path, options()).err().unwrap();
    assert!(
        matches!(&refused, OpenError::Corrupt { key, others: 0 } if key == "tasks/default/task-13"),
        "{refused}"
    );
    assert_eq!(fs::read(&path).unwrap(), damaged, "a refused file is left alone");
}

#[tokio::test]
async fn no_damage_ends_in_wrong_content_or_a_panic() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = filled(&path).await;
    let expected = contents(&store.snapshot());
    drop(store);
    let whole = fs::read(&path).unwrap();
    let used = whole.iter().rposition(|&byte| byte != 0).unwrap();
    for at in (0..used).step_by(1117) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x41;
        fs::write(&path, &damaged).unwrap();
        if let Ok(store) = Store::open(&path, options()) {
            assert_eq!(contents(&store.snapshot()), expected, "byte {at}");
        }
    }
}

#[tokio::test]
async fn a_truncated_file_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    drop(filled(&path).await);
    let whole = fs::read(&path).unwrap();
    for length in [0, 1, 100, 4096, whole.len() / 2, whole.len() - 700] {
        fs::write(&path, &whole[..length]).unwrap();
        let refused = Store::open(&path, options()).err().unwrap();
        assert!(
            matches!(
                refused,
                OpenError::Empty | OpenError::Damaged(_) | OpenError::Corrupt { .. }
            ),
            "{refused:?}"
        );
        assert_eq!(fs::read(&path).unwrap(), &whole[..length], "{refused}");
    }
    fs::write(&path, "not a store at all, but some text").unwrap();
    assert!(matches!(Store::open(&path, options()), Err(OpenError::Damaged(_))));
}
