//! Why a store does not open, or a backup does not come back.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::Trouble;

/// Why a store does not open. Nothing was changed on disk.
#[derive(Debug, Error)]
pub enum OpenError {
    /// A record is not as it was written. A retry does not help.
    #[error(
        "store: {key}{}: its bytes are not what was written: the disk or the file is damaged\n\
         hint: keep a copy of the file, check the disk, then restore the last backup with cube restore",
        match others { 0 => String::new(), more => format!(" (and {more} more)") }
    )]
    Corrupt {
        /// The key of the record, or of the first.
        key: String,
        /// So many more are damaged.
        others: usize,
    },
    /// The file as a whole is not as it was written, or is no store. A retry does not help.
    #[error(
        "store: the file is damaged: {0}\n\
         hint: keep a copy of the file, check the disk, then restore the last backup with cube restore"
    )]
    Damaged(String),
    /// There is a file, but it is empty. A retry does not help.
    #[error(
        "store: the file is empty, though it was made with content\n\
         hint: restore the last backup with cube restore, or remove the file to begin anew"
    )]
    Empty,
    /// A newer Cube wrote the file. A retry does not help.
    #[error(
        "store: the file has format {found}, this cube knows formats up to {newest}\nhint: run the newer cube again"
    )]
    Newer {
        /// The file's format.
        found: u64,
        /// The newest that is known here.
        newest: u64,
    },
    /// Another process has it. A retry helps once that one is gone.
    #[error("store: another process has the file open\nhint: is there a cube running already?")]
    InUse,
    /// The file cannot be reached. A retry helps when the cause is gone.
    #[error("store: open: {0}\n{hint}", hint = Trouble::of(.0).hint())]
    Io(#[source] io::Error),
}

impl OpenError {
    pub(super) fn trouble(&self) -> Trouble {
        match self {
            OpenError::Io(error) => Trouble::of(error),
            OpenError::InUse => Trouble::Io,
            OpenError::Corrupt { .. } | OpenError::Damaged(_) | OpenError::Empty | OpenError::Newer { .. } => {
                Trouble::Corrupt
            }
        }
    }
}

/// Why a backup was not restored. What was there before is untouched.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// There is a store already.
    #[error("restore: {} exists\nhint: say so explicitly to have it replaced", .0.display())]
    Exists(PathBuf),
    /// The store is being used. A retry helps once the process is gone.
    #[error("restore: another process has the store open\nhint: stop cube first")]
    InUse,
    /// This is no backup, or not a whole one.
    #[error("restore: the backup is not whole: {0}\nhint: use another backup; nothing was restored")]
    Broken(String),
    /// A newer Cube made the backup.
    #[error("restore: the backup has format {found}, this cube knows formats up to {newest}\nhint: use the newer cube")]
    Newer {
        /// The backup's format.
        found: u32,
        /// The newest that is known here.
        newest: u32,
    },
    /// The backup cannot be read, or the new file not be written.
    #[error("restore: {0}")]
    Io(#[from] io::Error),
    /// The new file cannot be made.
    #[error("restore: {0}")]
    Store(#[from] OpenError),
}
