//! The uids of Tasks that this worker made containers of: proof that a container is Cube's own, for when the registry
//! no longer knows its Task.
//!
//! One uid a line, appended before the container is made, so that a crash leaves a line too many and never one too few.
//! It is not synced: a power cut that loses a line leaves a container behind that is told of, never a stranger's removed.
use cube_planted::{Bug, planted};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::world::notes::Notes;

/// A Task of which nothing is left is remembered for so long: an engine that gave no answer may still make the container
/// that it was asked for.
const LATE: Duration = Duration::from_secs(600);

/// The journal.
pub struct Journal {
    notes: Arc<dyn Notes>,
    path: PathBuf,
    uids: BTreeSet<String>,
    /// Of which of them nothing is left, and since when that is known.
    gone: BTreeMap<String, Instant>,
    /// The file is there.
    begun: bool,
}

impl Journal {
    /// Reads the journal at `path`, or begins one.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn open(notes: Arc<dyn Notes>, path: &Path) -> io::Result<Self> {
        let found = notes.read(path)?;
        let begun = found.is_some();
        // What a power cut has made of it may be no text.
        let text = String::from_utf8_lossy(&found.unwrap_or_default()).into_owned();
        let uids = text
            .lines()
            .filter(|line| line.len() == 36)
            .map(str::to_owned)
            .collect();
        Ok(Self {
            notes,
            path: path.to_owned(),
            uids,
            gone: BTreeMap::new(),
            begun,
        })
    }

    /// Whether this worker made containers of the Task.
    pub fn has(&self, uid: &str) -> bool {
        self.uids.contains(uid)
    }

    /// Notes that it is about to.
    ///
    /// # Errors
    /// Where it cannot be written; the container must then not be made.
    pub fn add(&mut self, uid: &str) -> io::Result<()> {
        if self.uids.contains(uid) || planted(Bug::ProofUnwritten) {
            return Ok(());
        }
        if !self.begun {
            self.notes.replace(&self.path, b"", false)?;
            self.begun = true;
        }
        // The line break comes first as well: a line that a full disk cut short spoils no other.
        self.notes.append(&self.path, format!("\n{uid}\n").as_bytes())?;
        self.uids.insert(uid.to_owned());
        Ok(())
    }

    /// Forgets the Tasks that nothing has been left of for some time, keeping `alive`.
    ///
    /// # Errors
    /// Where it cannot be written; the old journal then stays.
    pub fn keep(&mut self, alive: &BTreeSet<String>) -> io::Result<()> {
        let now = Instant::now();
        self.gone.retain(|uid, _| !alive.contains(uid));
        for uid in self.uids.difference(alive) {
            self.gone.entry(uid.clone()).or_insert(now);
        }
        let is_over = |uid: &String| self.gone.get(uid).is_some_and(|since| now - *since >= LATE);
        let kept: BTreeSet<String> = self.uids.iter().filter(|uid| !is_over(uid)).cloned().collect();
        if kept.len() == self.uids.len() {
            return Ok(());
        }
        let text: String = kept.iter().map(|uid| format!("{uid}\n")).collect();
        // Synced, or a power cut could take the lines that were on the disk already.
        self.notes.replace(&self.path, text.as_bytes(), true)?;
        self.gone.retain(|uid, _| kept.contains(uid));
        self.uids = kept;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notes() -> Arc<dyn Notes> {
        Arc::new(crate::world::notes::OnDisk)
    }

    #[tokio::test(start_paused = true)]
    async fn remembers_over_a_restart_and_forgets_what_has_been_gone_for_long() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("worker/made");
        let uid = |n: u8| format!("0192aaaa-bbbb-7ccc-8ddd-eeeeffff000{n}");
        let mut journal = Journal::open(notes(), &path).unwrap();
        journal.add(&uid(1)).unwrap();
        journal.add(&uid(2)).unwrap();
        let mut journal = Journal::open(notes(), &path).unwrap();
        assert!(journal.has(&uid(1)) && journal.has(&uid(2)) && !journal.has(&uid(3)));
        journal.keep(&[uid(2)].into()).unwrap();
        assert!(journal.has(&uid(1)), "an engine may be late");
        tokio::time::advance(LATE).await;
        journal.keep(&[uid(2)].into()).unwrap();
        journal.add(&uid(3)).unwrap();
        let journal = Journal::open(notes(), &path).unwrap();
        assert!(!journal.has(&uid(1)) && journal.has(&uid(2)) && journal.has(&uid(3)));
    }
}
