//! What a writer asks for, and what it is answered.

use std::fmt;
use std::io;
use std::sync::Arc;

use thiserror::Error;

use super::{Key, Record, Revision};

/// What must hold of a key for a transaction to go through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expect {
    /// There is no such object.
    Absent,
    /// The object is in exactly this state.
    Revision(Revision),
    /// There is such an object, in any state.
    Present,
}

impl Expect {
    /// Whether `actual`, the revision of what is there, is as expected.
    pub fn holds(self, actual: Option<Revision>) -> bool {
        match self {
            Expect::Absent => actual.is_none(),
            Expect::Revision(revision) => actual == Some(revision),
            Expect::Present => actual.is_some(),
        }
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expect::Absent => f.write_str("that it does not exist"),
            Expect::Revision(revision) => write!(f, "revision {revision}"),
            Expect::Present => f.write_str("that it exists"),
        }
    }
}

/// One write. Each takes one revision.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// Creates or replaces the object.
    Put(Key, Vec<u8>),
    /// Removes the object; one that is not there is a conflict.
    Delete(Key),
}

impl Transaction {
    /// The bytes of its changes.
    pub(super) fn size(&self) -> usize {
        self.changes.iter().map(Change::size).sum()
    }
}

impl Change {
    /// The object that it writes.
    pub fn key(&self) -> &Key {
        match self {
            Change::Put(key, _) | Change::Delete(key) => key,
        }
    }

    pub(super) fn size(&self) -> usize {
        match self {
            Change::Put(key, bytes) => key.as_str().len() + bytes.len(),
            Change::Delete(key) => key.as_str().len(),
        }
    }
}

/// Who wishes for a transaction.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub enum Origin {
    /// Somebody who waits for the answer.
    #[default]
    Client,
    /// One of Cube's own loops, which may have thousands: clients' go ahead of them, and they never hold one up for long.
    Loop,
}

/// Changes that happen all together or not at all.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Transaction {
    /// Held against the state before the first change, in order; the first that fails refuses all.
    pub expects: Vec<(Key, Expect)>,
    /// Done in order.
    pub changes: Vec<Change>,
    /// Who wishes for it.
    pub origin: Origin,
}

/// A transaction that is durable and that everyone sees.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The last revision of the transaction; the current one when it changed nothing.
    pub revision: Revision,
    /// One for each change, in order. For a deletion: the last state, with the deletion's revision.
    pub records: Vec<Arc<Record>>,
}

/// Why a transaction was not acknowledged.
#[derive(Clone, Debug, Error)]
pub enum CommitError {
    /// Something else is there than was expected. Nothing was written; look again, decide again.
    #[error("{key}: expected {expected}, found {}", found(*.actual))]
    Conflict {
        /// The object in question.
        key: Key,
        /// What the transaction wanted of it.
        expected: Expect,
        /// The revision of what is there.
        actual: Option<Revision>,
    },
    /// The disk does not take writes. Reads go on; the store tries again by itself, so a later retry helps.
    #[error("store: {step}: {error}\n{}", cause.hint())]
    Unavailable {
        /// The step that failed.
        step: &'static str,
        /// What kind of trouble it is.
        cause: Trouble,
        /// The system's own words.
        error: String,
        /// Whether the write may still show up later (it failed half-way), or certainly never happened.
        in_doubt: bool,
    },
    /// The store was closed: the process is on its way out.
    #[error("store: it is closed")]
    Closed,
}

fn found(actual: Option<Revision>) -> String {
    actual.map_or_else(|| "nothing".into(), |revision| format!("revision {revision}"))
}

/// What hinders the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// No room, or no quota.
    Full,
    /// The file system, or the file, may not be written.
    ReadOnly,
    /// The bytes are not what was written.
    Corrupt,
    /// The object, or its name, is larger than any may be. A retry does not help.
    TooLarge,
    /// Any other failure.
    Io,
}

impl Trouble {
    /// What a person can do about it.
    pub fn hint(self) -> &'static str {
        match self {
            Trouble::Full => "hint: free some room where the store is; writing goes on by itself",
            Trouble::ReadOnly => "hint: make the place of the store writable again; writing goes on by itself",
            Trouble::Corrupt => "hint: check the disk, then restore the last backup with cube restore",
            Trouble::TooLarge => "hint: keep large content outside of the object",
            Trouble::Io => "hint: look at the disk and the system's log; writing goes on by itself once the disk works",
        }
    }

    pub(super) fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => Trouble::Full,
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => Trouble::ReadOnly,
            _ => Trouble::Io,
        }
    }
}
