//! The data directory of one process: made, locked, and told apart from another's.
//!
//! One process has a directory at a time. The lock is the kernel's, so that a killed process leaves none behind; the pid
//! beside it is for people, and for `cube down`.
use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::world::{
    World,
    notes::{Notes as _, OnDisk},
};

/// Name of the store's file.
const STORE: &str = "cube.redb";
/// Name of the file with the node's name.
const NODE: &str = "node";
/// Name of the file with the cluster's id, of a worker that has no store.
const CLUSTER: &str = "cluster";
/// Name of the file that is locked, with the pid in it.
const LOCK: &str = "lock";

/// Why a data directory cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process has it. A retry helps once that one has ended.
    #[error("data directory {}: another cube has it{}", path.display(), pid.map_or(String::new(), |pid| format!(" (pid {pid})")))]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The pid of that process, where it can be read.
        pid: Option<i32>,
    },
    /// It cannot be made or written. A retry helps when the cause is gone.
    #[error("data directory {}: {step}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// What could not be done.
        step: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// A data directory that is this process' alone until this is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Held as long as the file is open. The pid stays in it; without the lock it says nothing.
    _lock: File,
}

impl DataDir {
    /// Takes the directory, making it if it is missing (readable by its owner alone).
    ///
    /// # Errors
    /// Where another process has it, or it cannot be made or written.
    pub fn take(path: &Path) -> Result<Self, DataDirError> {
        let failed = |step| {
            move |source| DataDirError::Io {
                path: path.to_owned(),
                step,
                source,
            }
        };
        if !path.is_dir() {
            fs::create_dir_all(path).map_err(failed("cannot be made"))?;
            fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(failed("cannot be made private"))?;
        }
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join(LOCK))
            .map_err(failed("its lock cannot be opened"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let (path, pid) = (path.to_owned(), holder(&mut lock));
                return Err(DataDirError::InUse { path, pid });
            }
            Err(TryLockError::Error(error)) => return Err(failed("cannot be locked")(error)),
        }
        // The pid is for people alone: a full disk must not keep Cube from starting.
        let note = lock
            .set_len(0)
            .and_then(|()| lock.write_all(std::process::id().to_string().as_bytes()));
        if let Err(error) = note {
            tracing::warn!(%error, "cannot note the pid in the data directory");
        }
        let path = path.to_owned();
        Ok(Self { path, _lock: lock })
    }

    /// The pid of the process that has the directory, if one has.
    pub fn holder(path: &Path) -> Option<i32> {
        let mut lock = OpenOptions::new().read(true).write(true).open(path.join(LOCK)).ok()?;
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => holder(&mut lock),
            Ok(()) | Err(TryLockError::Error(_)) => None,
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The store's file.
    pub fn store(&self) -> PathBuf {
        store_file(&self.path)
    }

    /// The name of the node whose containers this directory's worker has made.
    pub fn node_name(&self) -> Option<String> {
        self.kept(NODE)
    }

    /// Keeps the node's name for every later start.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn keep_node_name(&self, name: &str) -> Result<(), DataDirError> {
        self.keep(NODE, name, "the node's name cannot be written")
    }

    /// The worker's own id, made at its first start: it tells this worker from another one that takes its node's name.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn worker_id(&self, world: &World) -> Result<String, DataDirError> {
        if let Some(known) = self.kept("worker/id") {
            return Ok(known);
        }
        let id = world.uuid().to_string();
        self.keep("worker/id", &id, "the worker's id cannot be written")?;
        Ok(id)
    }

    /// The cluster whose containers this directory's worker has made, where it has no store that says so.
    pub fn cluster(&self) -> Option<String> {
        self.kept(CLUSTER)
    }

    /// Keeps the cluster for every later start.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn keep_cluster(&self, cluster: &str) -> Result<(), DataDirError> {
        self.keep(CLUSTER, cluster, "the cluster's id cannot be written")
    }

    fn kept(&self, name: &str) -> Option<String> {
        let text = fs::read_to_string(self.path.join(name)).ok()?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    fn keep(&self, name: &str, text: &str, step: &'static str) -> Result<(), DataDirError> {
        let written = OnDisk.replace(&self.path.join(name), text.as_bytes(), false);
        written.map_err(|source| DataDirError::Io {
            path: self.path.clone(),
            step,
            source,
        })
    }

    /// The file of a worker's last assignments.
    pub fn remembered(&self) -> PathBuf {
        self.worker().join("assignments")
    }

    /// Where the worker keeps its small files.
    pub fn worker(&self) -> PathBuf {
        self.path.join("worker")
    }
}

/// Whether a data directory is that of a worker alone.
pub(super) fn is_workers(data_dir: &Path) -> bool {
    data_dir.join(CLUSTER).is_file()
}

/// The store's file in a data directory.
pub fn store_file(data_dir: &Path) -> PathBuf {
    data_dir.join(STORE)
}

fn holder(lock: &mut File) -> Option<i32> {
    let mut text = String::new();
    lock.rewind().ok()?;
    lock.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_one_process_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data");
        assert_eq!(DataDir::holder(&path), None);
        let first = DataDir::take(&path).unwrap();
        let pid = i32::try_from(std::process::id()).ok();
        assert_eq!(DataDir::holder(&path), pid);
        match DataDir::take(&path) {
            Err(DataDirError::InUse { pid: told, .. }) => assert_eq!(told, pid),
            other => panic!("{other:?}"),
        }
        drop(first);
        assert_eq!(DataDir::holder(&path), None);
        DataDir::take(&path).unwrap();
    }
}
