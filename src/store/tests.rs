use super::*;

fn key(name: &str) -> Key {
    Key::new("tasks", "default", name)
}

fn put(name: &str, bytes: &str) -> Transaction {
    Transaction {
        expects: vec![],
        changes: vec![Change::Put(key(name), bytes.into())],
    }
}

#[tokio::test]
async fn what_was_written_is_read_watched_and_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let options = Options {
        cluster: "c".into(),
        ..Options::default()
    };
    let store = Store::open(&path, options).unwrap();
    let mut watch = store.watch("tasks/", 0).unwrap();
    assert_eq!(store.commit(put("a", "1")).await.unwrap().revision, 1);
    assert_eq!(store.commit(put("a", "2")).await.unwrap().revision, 2);
    let events = [watch.next().await.unwrap(), watch.ready().unwrap()].concat();
    assert_eq!(events.iter().map(|event| event.revision).collect::<Vec<_>>(), [1, 2]);
    drop((watch, store));

    let store = Store::open(&path, Options::default()).unwrap();
    assert_eq!((store.cluster(), store.revision(), store.compacted()), ("c", 2, 2));
    assert_eq!(&*store.snapshot().get(&key("a")).unwrap().bytes, b"2");
}
