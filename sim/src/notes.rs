//! The small files of simulated machines: what is synced outlives a power cut, what is not may be lost, or be there in part.
use std::{
    collections::{BTreeMap, VecDeque},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use cube::world::{notes::Notes, process::Process};

use tokio::time::Instant;

use crate::chance::Chance;

/// The small files of one machine. Cloning gives another handle to the same ones.
#[derive(Clone)]
pub struct Cabinet(Arc<Mutex<Inner>>);

struct Inner {
    files: BTreeMap<PathBuf, Note>,
    full: bool,
    chance: Chance,
}

#[derive(Clone, Default)]
struct Note {
    now: Vec<u8>,
    /// What a power cut leaves for sure; none: nothing.
    synced: Option<Vec<u8>>,
    /// What was written and not synced since, and when; oldest first.
    pending: VecDeque<(Instant, Vec<u8>)>,
}

impl Note {
    fn write(&mut self, bytes: Vec<u8>, synced: bool) {
        self.now = bytes;
        if synced {
            self.pending.clear();
            self.synced = Some(self.now.clone());
        } else {
            self.pending.push_back((Instant::now(), self.now.clone()));
        }
        self.write_back();
    }

    /// What is older than [`WRITE_BACK`] is on the disk.
    fn write_back(&mut self) {
        while self.pending.front().is_some_and(|(at, _)| at.elapsed() > WRITE_BACK) {
            self.synced = self.pending.pop_front().map(|(_, bytes)| bytes);
        }
    }
}

/// A system writes down what is not synced after so long at most, as Linux does by default.
pub const WRITE_BACK: Duration = Duration::from_secs(35);

impl Cabinet {
    /// Without any file.
    pub fn new(chance: Chance) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            files: BTreeMap::new(),
            full: false,
            chance,
        })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The files as one process has them.
    pub fn of(&self, process: Process) -> Arc<dyn Notes> {
        Arc::new(Handle {
            cabinet: self.clone(),
            process,
        })
    }

    /// The length of all files in bytes.
    pub fn size(&self) -> usize {
        self.inner().files.values().map(|note| note.now.len()).sum()
    }

    /// Whether there is no room any more.
    pub fn set_full(&self, full: bool) {
        self.inner().full = full;
    }

    /// The machine's power is cut: of what was not synced, some is there.
    pub fn power_cut(&self) {
        let mut inner = self.inner();
        let chance = inner.chance.clone();
        inner.files.retain(|_, note| {
            note.write_back();
            note.pending.clear();
            if note.synced.as_ref() == Some(&note.now) {
                return true;
            }
            match (chance.below(3), note.synced.take()) {
                (0, _) => {}
                // Of what was added, some has reached the disk.
                (_, Some(synced)) if note.now.starts_with(&synced) => {
                    let more = chance.range(synced.len() as u64, note.now.len() as u64);
                    note.now.truncate(usize::try_from(more).unwrap_or_default());
                }
                (_, Some(synced)) => note.now = synced,
                (_, None) => return false,
            }
            note.synced = Some(note.now.clone());
            true
        });
    }
}

struct Handle {
    cabinet: Cabinet,
    process: Process,
}

impl Handle {
    fn write(&self) -> io::Result<MutexGuard<'_, Inner>> {
        let inner = self.cabinet.inner();
        if inner.full || !self.process.is_alive() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(inner)
    }
}

impl Notes for Handle {
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        Ok(self.cabinet.inner().files.get(path).map(|note| note.now.clone()))
    }

    fn replace(&self, path: &Path, bytes: &[u8], synced: bool) -> io::Result<()> {
        let mut inner = self.write()?;
        inner
            .files
            .entry(path.to_owned())
            .or_default()
            .write(bytes.to_vec(), synced);
        Ok(())
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.write()?;
        let note = inner.files.entry(path.to_owned()).or_default();
        let whole = [&note.now, bytes].concat();
        note.write(whole, false);
        Ok(())
    }
}
