//! Small files that a process keeps for its next start: read whole, replaced whole, or added to.
//!
//! Owns the writing of them; the store's file is the store's own affair. What is in them is whose they are's.
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::Path,
};

/// Keeping of small files. Calls block, shortly.
pub trait Notes: Send + Sync {
    /// All that a file says; none where there is no such file.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>>;

    /// Puts a whole file in the place of what was there, its directory made where it is missing: after a crash there is the
    /// old one or the new one. When this returns it is on the disk if it was to be `synced`, else soon.
    ///
    /// # Errors
    /// When it cannot be written; the old one then stays.
    fn replace(&self, path: &Path, bytes: &[u8], synced: bool) -> io::Result<()>;

    /// Adds to the end of a file, which is made where it is missing, not its directory. It is not synced.
    ///
    /// # Errors
    /// When it cannot be written; some of it may be there then.
    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
}

/// Files on the machine's own disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct OnDisk;

impl Notes for OnDisk {
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        match fs::read(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn replace(&self, path: &Path, bytes: &[u8], synced: bool) -> io::Result<()> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let beside = path.with_extension("new");
        let mut file = File::create(&beside)?;
        file.write_all(bytes)?;
        if synced {
            file.sync_data()?;
        }
        fs::rename(&beside, path)
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)?
            .write_all(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_was_written_last() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kept/note");
        assert_eq!(OnDisk.read(&path).unwrap(), None);
        assert!(OnDisk.append(&path, b"a").is_err());
        OnDisk.replace(&path, b"one", true).unwrap();
        OnDisk.replace(&path, b"two", false).unwrap();
        OnDisk.append(&path, b" and more").unwrap();
        assert_eq!(OnDisk.read(&path).unwrap().unwrap(), b"two and more");
        assert_eq!(fs::read_dir(directory.path().join("kept")).unwrap().count(), 1);
    }
}
