//! The store's file: how it comes into being whole, and how a broken one is told from a new one.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;

use super::OpenError;
use super::backend::Backends;
use super::disk::Disk;

/// Leads to the file at `path`, which must be there.
pub(super) fn existing(path: &Path) -> Backends {
    let path = path.to_path_buf();
    Box::new(move || {
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        Ok(Box::new(FileBackend::new(file).map_err(io::Error::other)?))
    })
}

/// A new store file on its way. It lies beside its place until it is whole: so what is at the place is never half-made, and
/// an empty file there is always a damaged one.
pub(super) struct Draft {
    draft: PathBuf,
    place: PathBuf,
    /// Where its content goes.
    pub disk: Disk,
}

impl Draft {
    pub fn new(place: &Path, cluster: &str) -> Result<Self, OpenError> {
        let draft = beside(place, ".new");
        (OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft))
        .map_err(OpenError::Io)?;
        let (disk, _) = Disk::open(&existing(&draft), Some(cluster))?;
        Ok(Self {
            draft,
            place: place.into(),
            disk,
        })
    }

    /// Puts it in its place, for good.
    pub fn place(self) -> io::Result<()> {
        drop(self.disk);
        fs::rename(&self.draft, &self.place)?;
        sync_directory(&self.place)
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
