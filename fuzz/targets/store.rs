//! The store's file and its backup, changed anywhere: they are refused, or give a state that was committed.
//!
//! An input is a byte that says which file, and then changes of eight bytes each: what is done (1), where (3), with what (4).
use std::{
    collections::BTreeMap,
    fs, io,
    ops::Range,
    process,
    sync::{Arc, LazyLock, Mutex},
};

use cube::store::{Change, Existing, Key, OpenError, Options, Snapshot, Store, Transaction};
use redb::StorageBackend;
use tokio::runtime::{Builder, Runtime};

/// Changes of an input; more only take longer.
const CHANGES: usize = 32;

/// Everything that a store says: its revision, and each key with its own and its bytes.
type State = (u64, Vec<(String, u64, Vec<u8>)>);

/// What is changed: made once, the same each time.
struct Originals {
    /// As after `kill -9`, with much in the log; and as after a good end.
    files: [Vec<u8>; 2],
    backup: Vec<u8>,
    /// Every state that was ever committed.
    committed: BTreeMap<u64, State>,
}

static ORIGINALS: LazyLock<Originals> = LazyLock::new(Originals::new);

pub fn run(bytes: &[u8]) {
    let Some((which, changes)) = bytes.split_first() else {
        return;
    };
    match which % 3 {
        2 => restored(changed(ORIGINALS.backup.clone(), changes)),
        file => opened(changed(ORIGINALS.files[usize::from(file)].clone(), changes)),
    }
}

/// The file after the changes. They fall where something is: most of the file is empty.
fn changed(mut file: Vec<u8>, changes: &[u8]) -> Vec<u8> {
    const PIECE: usize = 64;
    let full: Vec<usize> = file
        .chunks(PIECE)
        .enumerate()
        .filter(|(_, piece)| piece.iter().any(|byte| *byte != 0))
        .map(|(at, _)| at * PIECE)
        .collect();
    for change in changes.chunks_exact(8).take(CHANGES) {
        let number = |bytes: &[u8]| bytes.iter().fold(0, |all, byte| all << 8 | usize::from(*byte));
        let (place, with) = (number(&change[1..4]), &change[4..8]);
        let at = full[place / PIECE % full.len()] + place % PIECE;
        let run: Range<usize> = at.min(file.len())..(at + number(&with[2..])).min(file.len());
        match change[0] % 8 {
            0 => file.truncate(at),
            1 => file.extend(std::iter::repeat_n(with[0], number(&with[2..]))),
            2 => file[run].fill(with[0]),
            3 => {
                // What is elsewhere in the file: whole sectors that were right, once.
                let from = full[number(&with[..2]) % full.len()].min(file.len());
                let length = run.len().min(file.len().saturating_sub(from));
                file.copy_within(from..from + length, run.start);
            }
            4 => {
                let end = (at + 4).min(file.len());
                let start = at.min(end);
                let length = end - start;
                file[start..end].copy_from_slice(&with[..length]);
            }
            _ => {
                if let Some(byte) = file.get_mut(at) {
                    *byte ^= with[0].max(1);
                }
            }
        }
        if file.is_empty() {
            break;
        }
    }
    file
}

fn opened(file: Vec<u8>) {
    let disk = Platter(Arc::new(Mutex::new(file)));
    let Ok(store) = open(&disk) else { return };
    let found = state(&store.snapshot());
    assert_eq!(
        ORIGINALS.committed.get(&found.0),
        Some(&found),
        "that was never committed"
    );
    // And it goes on from there.
    let runtime = runtime();
    if let Ok(committed) = runtime.block_on(store.commit(put("after", b"it"))) {
        assert_eq!(committed.revision, found.0 + 1);
        let expected = state(&store.snapshot());
        drop(store);
        let again = open(&disk).expect("what was opened and written to opens again");
        assert_eq!(state(&again.snapshot()), expected);
    }
}

fn restored(backup: Vec<u8>) {
    let path = std::env::temp_dir().join(format!("cube-fuzz-{}-{:?}", process::id(), std::thread::current().id()));
    let restored = Store::restore(&path, backup.as_slice(), Existing::Replace);
    match restored {
        Err(_) => assert!(!path.exists(), "a backup that is refused leaves nothing"),
        Ok(restored) => {
            let store = Store::open(&path, Options::default()).expect("what was restored opens");
            let expected = ORIGINALS.committed.get(&restored.backup).map(|(_, records)| records);
            assert_eq!(Some(&state(&store.snapshot()).1), expected, "that was never committed");
            drop(store);
            fs::remove_file(&path).expect("the trial can be removed");
        }
    }
}

fn open(disk: &Platter) -> Result<Store, OpenError> {
    let disk = disk.clone();
    let options = Options {
        cluster: "cluster".to_owned(),
        ..Options::default()
    };
    Store::over(move || Ok(disk.clone()), options)
}

fn runtime() -> Runtime {
    Builder::new_current_thread().build().expect("a runtime can be made")
}

fn put(name: &str, bytes: &[u8]) -> Transaction {
    Transaction {
        changes: vec![Change::Put(Key::new("tasks", "default", name), bytes.to_vec())],
        ..Transaction::default()
    }
}

fn state(snapshot: &Snapshot) -> State {
    let records = snapshot.range("").map(|record| {
        let key = record.key.as_str().to_owned();
        (key, record.revision, record.bytes.to_vec())
    });
    (snapshot.revision(), records.collect())
}

impl Originals {
    fn new() -> Self {
        let disk = Platter::default();
        let store = open(&disk).unwrap_or_else(|error| panic!("an empty place becomes a store: {error}"));
        let mut committed = BTreeMap::new();
        let mut note = |store: &Store| {
            let state = state(&store.snapshot());
            committed.insert(state.0, state);
        };
        note(&store);
        let runtime = runtime();
        for n in 0..40_usize {
            let name = (n % 7).to_string();
            // Some are larger than the log has room for: then what it holds goes into the tables.
            let size = if n % 13 == 5 { 140 << 10 } else { 20 + n };
            let transaction = match n % 9 {
                8 => Transaction {
                    changes: vec![Change::Delete(Key::new("tasks", "default", &((n - 1) % 7).to_string()))],
                    ..Transaction::default()
                },
                _ => put(&name, &vec![n as u8; size]),
            };
            let done = runtime.block_on(store.commit(transaction));
            done.unwrap_or_else(|error| panic!("a good disk takes it: {error}"));
            note(&store);
        }
        let killed = disk.bytes();
        let mut backup = Vec::new();
        store.backup(&mut backup).expect("memory takes a backup");
        store.close();
        drop(store);
        Self {
            files: [killed, disk.bytes()],
            backup,
            committed,
        }
    }
}

/// A disk in memory that outlives who opens it.
#[derive(Clone, Debug, Default)]
struct Platter(Arc<Mutex<Vec<u8>>>);

impl Platter {
    fn bytes(&self) -> Vec<u8> {
        self.0.lock().expect("nobody panics with it").clone()
    }
}

impl StorageBackend for Platter {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes_len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = self.0.lock().expect("nobody panics with it");
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let found = start.checked_add(out.len()).and_then(|end| bytes.get(start..end));
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        // A length that no machine has: as a disk would, it says that there is no room.
        if length > 64 << 20 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.lock().expect("nobody panics with it").resize(length as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut bytes = self.0.lock().expect("nobody panics with it");
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let place = start.checked_add(data.len()).and_then(|end| bytes.get_mut(start..end));
        place.ok_or(io::ErrorKind::UnexpectedEof)?.copy_from_slice(data);
        Ok(())
    }
}

impl Platter {
    fn bytes_len(&self) -> usize {
        self.0.lock().expect("nobody panics with it").len()
    }
}
