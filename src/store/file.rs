//! The store's file: how it comes into being whole, and how a broken one is told from a new one.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;

use super::OpenError;
use super::backend::Backends;
use super::disk::{Disk, Loaded};

/// Leads to the file at `path`, which must be there.
pub(super) fn existing(path: &Path) -> Backends {
    let path = path.to_path_buf();
    Box::new(move || {
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        // Where a sync has failed, the system's cache may show what never reached the disk, and no later sync writes it: the
        // next power cut would take it from under what was built on it. So what is read is what is there.
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
        Ok(Box::new(FileBackend::new(file).map_err(io::Error::other)?))
    })
}

/// A new store file on its way. It lies beside its place until it is whole: so what is at the place is never half-made, and
/// an empty file there is always a damaged one.
pub(super) struct Draft {
    /// Where its content goes. Before `leftover`, because fields are dropped in order.
    pub disk: Disk,
    loaded: Loaded,
    leftover: Leftover,
    place: PathBuf,
}

/// Removes what was not put in its place.
struct Leftover(PathBuf);

impl Drop for Leftover {
    fn drop(&mut self) {
        // Mostly it is not there any more; and if it cannot be removed, the next draft overwrites it.
        let _ = fs::remove_file(&self.0);
    }
}

impl Draft {
    pub fn new(place: &Path, cluster: &str) -> Result<Self, OpenError> {
        let draft = beside(place, ".new");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&draft);
        let file = file.map_err(OpenError::Io)?;
        file.try_lock().map_err(|_| OpenError::InUse)?;
        file.set_len(0).map_err(OpenError::Io)?;
        drop(file);
        let leftover = Leftover(draft);
        let (disk, loaded) = Disk::open(&existing(&leftover.0), Some(cluster))?;
        Ok(Self {
            disk,
            loaded,
            leftover,
            place: place.into(),
        })
    }

    /// Puts it in its place, for good. It stays open, as it was found when it was made.
    pub fn place(self) -> io::Result<(Disk, Loaded)> {
        fs::rename(&self.leftover.0, &self.place)?;
        sync_directory(&self.place)?;
        Ok((self.disk, self.loaded))
    }
}

/// `path` with something added to its name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}
