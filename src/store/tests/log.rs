//! The log before the tables: what it holds is never lost, never doubled, and never believed when it is damaged.

use std::fs;

use super::super::log::SIZE;
use super::*;

/// What `kill -9` leaves behind at this moment, opened again.
fn killed(path: &Path) -> Result<Store, OpenError> {
    let copy = path.with_extension("copy");
    fs::copy(path, &copy).unwrap();
    Store::open(&copy, options())
}

/// Where a text lies in the log.
fn in_log(file: &[u8], text: &str) -> usize {
    let found = file[..SIZE]
        .windows(text.len())
        .position(|found| found == text.as_bytes());
    found.unwrap()
}

#[tokio::test]
async fn laps_of_the_log_lose_and_double_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = open(&path);
    for n in 0..400 {
        let name = (n % 23).to_string();
        let transaction = match n % 11 {
            // Larger than the whole log, larger than what is left of it, and nearly nothing.
            0 => put(&name, vec![b'l'; SIZE + n]),
            1 => put(&name, vec![b'm'; SIZE / 3]),
            2 if store.snapshot().get(&key(&name)).is_some() => delete(&name),
            _ => put(&name, vec![b's'; n]),
        };
        store.commit(transaction).await.unwrap();
        if n % 7 == 0 {
            let found = killed(&path).unwrap();
            assert_eq!(found.revision(), store.revision(), "{n}");
            assert_eq!(contents(&found.snapshot()), contents(&store.snapshot()), "{n}");
            // And it goes on from there.
            let next = found.commit(put("next", "")).await.unwrap();
            assert_eq!(next.revision, store.revision() + 1);
            let copy = path.with_extension("copy");
            drop(found);
            assert_eq!(open(&copy).revision(), next.revision);
        }
    }
    let last = contents(&store.snapshot());
    drop(store);
    assert_eq!(contents(&open(&path).snapshot()), last);
}

#[tokio::test]
async fn an_end_that_was_not_written_whole_is_left_out() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = open(&path);
    for n in 0..5 {
        store.commit(put(&n.to_string(), format!("content-{n}"))).await.unwrap();
    }
    let mut torn = fs::read(&path).unwrap();
    let at = in_log(&torn, "content-4");
    torn[at..at + 4].fill(0);
    let copy = directory.path().join("torn");
    fs::write(&copy, &torn).unwrap();
    let found = open(&copy);
    assert_eq!((found.revision(), found.snapshot().len()), (4, 4));
    found.commit(put("after", "it")).await.unwrap();
    drop(found);
    assert_eq!(open(&copy).snapshot().len(), 5);
}

#[tokio::test]
async fn a_damaged_entry_is_told_with_the_key() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = open(&path);
    for n in 0..5 {
        store.commit(put(&n.to_string(), format!("content-{n}"))).await.unwrap();
    }
    let mut damaged = fs::read(&path).unwrap();
    let at = in_log(&damaged, "content-2");
    damaged[at] ^= 1;
    let copy = directory.path().join("damaged");
    fs::write(&copy, &damaged).unwrap();
    let refused = Store::open(&copy, options()).err().unwrap();
    assert!(
        matches!(&refused, OpenError::Corrupt { key, others: 0 } if key == "tasks/default/2"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_store_that_was_closed_needs_no_log() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = open(&path);
    store.commit(put("a", "1")).await.unwrap();
    store.close();
    let mut file = fs::read(&path).unwrap();
    file[..SIZE].fill(0x5A);
    fs::write(&path, &file).unwrap();
    let store = open(&path);
    assert_eq!(contents(&store.snapshot()), ["a@1=1"]);
    assert_eq!(store.commit(put("b", "2")).await.unwrap().revision, 2);
    assert_eq!(killed(&path).unwrap().snapshot().len(), 2);
}

/// What is wrong in the tables, after what was in the log has gone there, is told, although redb could go back to the tables before it.
#[tokio::test]
async fn a_flipped_bit_takes_nothing_back_that_was_settled() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = open(&path);
    for n in 0..12 {
        store.commit(put(&n.to_string(), vec![b'x'; SIZE / 3])).await.unwrap();
    }
    let before = fs::read(&path).unwrap();
    // Beyond the log's room: it goes straight to the tables, and the log begins anew.
    store.commit(put("large", vec![b'y'; SIZE])).await.unwrap();
    for later in 0..2 {
        let whole = fs::read(&path).unwrap();
        let expected = contents(&store.snapshot());
        // What is new in the tables.
        let is_new = |at: &usize| before.get(*at) != Some(&whole[*at]) && whole[*at] != 0;
        let used: Vec<usize> = (SIZE..whole.len()).filter(is_new).collect();
        let copy = directory.path().join("flipped");
        for at in used.iter().step_by(used.len().div_ceil(40)) {
            let mut flipped = whole.clone();
            flipped[*at] ^= 1;
            fs::write(&copy, &flipped).unwrap();
            if let Ok(found) = Store::open(&copy, options()) {
                assert_eq!(contents(&found.snapshot()), expected, "byte {at}, {later} later");
            }
        }
        store.commit(put("later", "a little")).await.unwrap();
    }
}
