//! Versioned bytes: one revision for every write, transactions, and a watch.
//!
//! Owns the state of the cluster and its order of events. Never looks into the bytes that it keeps: what they mean is the
//! registry's. Read [`Store::commit`] first.
//!
//! ```text
//!  commit ─► writer (thread) ─► core: judge, number ─► disk (log, redb): one sync a group ─► publish
//!                                                                                              │ one pointer
//!  snapshot, watch, backup ◄──────── state + short history (immutable, shared) ◄───────────────┘
//! ```
//!
//! Guarantees: a commit that was acknowledged is on disk, and is seen whole or not at all; revisions only grow, also over
//! crashes; readers never wait for writers. Assumptions: one process has the file; the disk keeps what it has synced.

mod backend;
mod backup;
mod bells;
mod core;
mod disk;
mod encoding;
mod error;
mod file;
mod key;
mod line;
mod log;
mod record;
mod snapshot;
#[cfg(test)]
mod tests;
mod transaction;
mod watch;
mod writer;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use redb::StorageBackend;
use redb::backends::InMemoryBackend;

use self::core::Core;
use self::disk::Disk;
use self::watch::{Scope, Shared};
use self::writer::Writer;

pub use self::backup::{Existing, Restored};
pub use self::error::{OpenError, RestoreError};
pub use self::key::Key;
pub use self::log::SIZE as LOG_SIZE;
pub use self::record::Record;
pub use self::snapshot::Snapshot;
pub use self::transaction::{Change, CommitError, Committed, Expect, Origin, Transaction, Trouble};
pub use self::watch::{Event, Watch, WatchError};

/// The number of a write. Each write of an object takes the next one.
pub type Revision = u64;

/// What can be set about a store.
#[derive(Clone, Debug)]
pub struct Options {
    /// The id that a new store is given. One that is there already keeps its own.
    pub cluster: String,
    /// So many events stay for watchers to catch up with, or a quarter as many as there are objects. Too few make slow
    /// ones list again, which costs more: the more objects there are, the more.
    pub history_events: usize,
    /// The events may keep alive so many bytes, or a quarter of what the objects have; whichever bound is met first holds.
    pub history_bytes: usize,
    /// A group of commits that share a sync ends when it has so many changes; of Cube's own loops it takes fewer. Too few waste syncs, too many make the first
    /// of the group wait for the last.
    pub group_changes: usize,
    /// The same in bytes.
    pub group_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cluster: String::new(),
            history_events: 10_000,
            history_bytes: 4 << 20,
            group_changes: 1024,
            group_bytes: 4 << 20,
        }
    }
}

/// Whether the store can do its work.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Health {
    /// Commits are taken. Reading always works: it is from memory.
    pub writable: bool,
    /// What is wrong, with a hint; `None` when all is well.
    pub error: Option<String>,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            writable: true,
            error: None,
        }
    }
}

/// A handle to the store; clones are the same store. The file is let go when the last one is dropped.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    writer: Arc<Writer>,
}

impl Store {
    /// Opens the store in the file at `path`, or makes a new one when there is no such file.
    ///
    /// Reads all of it, and refuses it when a single record is not as it was written.
    pub fn open(path: &Path, options: Options) -> Result<Self, OpenError> {
        let backends = file::existing(path);
        let found = match path.try_exists().map_err(OpenError::Io)? {
            true => Disk::open(&backends, None)?,
            false => (file::Draft::new(path, &options.cluster)?.place()).map_err(OpenError::Io)?,
        };
        let core = Core::new(found, backends, options.clone());
        Ok(Self {
            shared: core.shared().clone(),
            writer: Arc::new(Writer::thread(core, &options)?),
        })
    }

    /// A store that is gone with the process, for tests and trials. It has no thread: commits are done by who asks.
    pub fn memory(options: Options) -> Self {
        Self::over(|| Ok(InMemoryBackend::new()), options).expect("a store in memory opens: memory does not fail")
    }

    /// A store over a disk of the caller's, opened by `backends` at the start and again after each failure. Without a
    /// thread of its own, like [`Store::memory`].
    pub fn over<B: StorageBackend>(
        backends: impl Fn() -> io::Result<B> + Send + 'static,
        options: Options,
    ) -> Result<Self, OpenError> {
        let core = Core::over(boxed(backends), options)?;
        Ok(Self {
            shared: core.shared().clone(),
            writer: Arc::new(Writer::caller(core)),
        })
    }

    /// The same, carried on by a task of its own: each group of commits waits for as long as `disk` says that the disk
    /// takes, and gathers what comes meanwhile. To be called within a runtime.
    pub fn in_time<B: StorageBackend>(
        backends: impl Fn() -> io::Result<B> + Send + 'static,
        options: Options,
        disk: impl Fn() -> Duration + Send + Sync + 'static,
    ) -> Result<Self, OpenError> {
        let core = Core::over(boxed(backends), options.clone())?;
        Ok(Self {
            shared: core.shared().clone(),
            writer: Arc::new(Writer::task(core, &options, disk)),
        })
    }

    /// The state as of now. Never waits, and shares everything with other snapshots.
    pub fn snapshot(&self) -> Snapshot {
        self.shared.published.load().snapshot.clone()
    }

    /// The state as it was after the revision `revision`: what the history says has happened since is taken back.
    ///
    /// # Errors
    /// When the history does not reach back so far, or when there is no such revision yet.
    pub fn snapshot_at(&self, revision: Revision) -> Result<Snapshot, WatchError> {
        self.shared.published.load().at(revision)
    }

    /// Writes all of `transaction`, or nothing, and returns when it is durable and seen by everyone.
    ///
    /// Once the store has taken it up, it goes through even if the caller stops waiting.
    pub async fn commit(&self, transaction: Transaction) -> Result<Committed, CommitError> {
        self.writer.commit(transaction).await
    }

    /// What happens after the revision `after` to keys that begin with `prefix`.
    pub fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, WatchError> {
        Watch::new(&self.shared, Scope::Prefix(prefix.into()), after)
    }

    /// What happens after the revision `after` to one key.
    pub fn watch_one(&self, key: Key, after: Revision) -> Result<Watch, WatchError> {
        Watch::new(&self.shared, Scope::One(key), after)
    }

    /// The newest revision.
    pub fn revision(&self) -> Revision {
        self.shared.published.load().snapshot.revision
    }

    /// The oldest revision after which a watch can begin.
    pub fn compacted(&self) -> Revision {
        self.shared.published.load().compacted
    }

    /// Whether commits are taken, and what is wrong if not.
    pub fn health(&self) -> Health {
        Health::clone(&self.shared.health.load())
    }

    /// The id of the cluster whose state this is.
    pub fn cluster(&self) -> &str {
        &self.shared.cluster
    }

    /// Finishes what was asked for, then lets go of the file; from then on commits are refused and watches end.
    pub fn close(&self) {
        self.writer.close();
    }
}

fn boxed<B: StorageBackend>(backends: impl Fn() -> io::Result<B> + Send + 'static) -> backend::Backends {
    Box::new(move || backends().map(|backend| Box::new(backend) as Box<dyn StorageBackend>))
}
