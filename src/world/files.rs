//! Directories and files, as one who only reads sees them, and word of their changes.
//!
//! Owns the calls to the file system and its watcher (inotify, through notify); the simulation gives its own. It never
//! writes, never follows a link out of a directory, and never waits for a FIFO. Read [`Files`] first.
//!
//! Assumption: word of changes can be lost or late, so whoever acts on it also looks for himself now and then.
use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::{self, File, FileType, Metadata, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use notify::{
    EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode, CreateKind, ModifyKind, RemoveKind},
};
use rustix::fs::OFlags;
use tokio::sync::Notify;

/// So many changed paths are remembered until they are taken; beyond it, all counts as changed.
const MOST_CHANGES: usize = 4096;

/// What tells one state of a file from another without reading it. The time of the last change of the inode is part of
/// it, because the time of the last write can be set back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Device and inode.
    pub inode: (u64, u64),
    /// Bytes.
    pub size: u64,
    /// Last write: seconds, nanoseconds.
    pub written: (i64, i64),
    /// Last change of the inode: seconds, nanoseconds.
    pub changed: (i64, i64),
}

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A regular file.
    File(Stamp),
    /// A directory.
    Directory,
    /// A link to a regular file; where that really is.
    LinkToFile(PathBuf, Stamp),
    /// A link to something else, or to nothing.
    Link(&'static str),
    /// A FIFO, a socket, a device.
    Other(&'static str),
}

/// A directory that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// Its real path.
    pub path: PathBuf,
    /// Device and inode.
    pub inode: (u64, u64),
}

/// What was read of a file.
#[derive(Clone, Debug)]
pub struct Content {
    /// The state that was read.
    pub stamp: Stamp,
    /// All of it.
    pub bytes: Vec<u8>,
}

/// Reading of directories and files. Calls block.
pub trait Files: Send + Sync {
    /// The directory at a path, links resolved.
    ///
    /// # Errors
    /// When there is none, or it cannot be reached.
    fn directory(&self, path: &Path) -> io::Result<Directory>;

    /// The names in a directory, in order.
    ///
    /// # Errors
    /// When the directory cannot be read whole.
    fn names(&self, directory: &Path) -> io::Result<Vec<OsString>>;

    /// What is at a path.
    ///
    /// # Errors
    /// When there is nothing, or it cannot be reached.
    fn look(&self, path: &Path) -> io::Result<Seen>;

    /// Reads a regular file of at most `most` bytes; the last step of `path` may not be a link.
    ///
    /// # Errors
    /// When it cannot be read, is no regular file, or is larger (`FileTooLarge`).
    fn read(&self, path: &Path, most: u64) -> io::Result<Content>;

    /// Whether everybody on the machine may write in a directory.
    ///
    /// # Errors
    /// When there is none, or it cannot be reached.
    fn is_open_to_all(&self, directory: &Path) -> io::Result<bool> {
        let _ = directory;
        Ok(false)
    }

    /// Begins to tell `changes` of directories that are still to be named.
    ///
    /// # Errors
    /// When the system gives no watcher.
    fn watch(&self, changes: Changes) -> io::Result<Box<dyn Watch>>;
}

/// A watcher of directories. It ends when it is dropped.
pub trait Watch: Send + Sync {
    /// Tells of changes in this directory (not in those within it). To name it again is right and cheap: the directory
    /// at the path may be another one by now.
    ///
    /// # Errors
    /// When it cannot be watched: none is there, or the system's bound is reached.
    fn add(&mut self, directory: &Path) -> io::Result<()>;
}

/// What has changed since it was last asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Written and closed, renamed to, given other rights: to be read at once.
    pub closed: BTreeSet<PathBuf>,
    /// Made, or being written: to be read soon, if nobody closes it before.
    pub open: BTreeSet<PathBuf>,
    /// Gone, or renamed.
    pub moved: BTreeSet<PathBuf>,
    /// Directories that came, went, or became others.
    pub directories: BTreeSet<PathBuf>,
    /// Word was lost: anything may have changed.
    pub lost: bool,
}

/// Where a watcher leaves word. Cloning is cheap.
#[derive(Clone, Default)]
pub struct Changes(Arc<Shared>);

#[derive(Default)]
struct Shared {
    changed: Mutex<Changed>,
    notify: Notify,
}

impl Changes {
    /// Leaves word.
    pub fn tell(&self, word: impl FnOnce(&mut Changed)) {
        {
            let mut changed = self.0.changed.lock().unwrap_or_else(PoisonError::into_inner);
            word(&mut changed);
            let Changed {
                closed,
                open,
                moved,
                directories,
                ..
            } = &*changed;
            if closed.len() + open.len() + moved.len() + directories.len() > MOST_CHANGES {
                *changed = Changed {
                    lost: true,
                    ..Changed::default()
                };
            }
        }
        self.0.notify.notify_one();
    }

    /// What has changed, as soon as something has. Safe to drop while it waits.
    pub async fn next(&self) -> Changed {
        loop {
            let changed = self.take();
            if changed != Changed::default() {
                return changed;
            }
            self.0.notify.notified().await;
        }
    }

    /// What has changed by now.
    pub fn take(&self) -> Changed {
        std::mem::take(&mut *self.0.changed.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The machine's own files.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Files for Disk {
    fn directory(&self, path: &Path) -> io::Result<Directory> {
        let path = fs::canonicalize(path)?;
        let found = fs::metadata(&path)?;
        if !found.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let inode = (found.dev(), found.ino());
        Ok(Directory { path, inode })
    }

    fn names(&self, directory: &Path) -> io::Result<Vec<OsString>> {
        let entries = fs::read_dir(directory)?;
        let mut names: Vec<_> = entries
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<Result<_, _>>()?;
        names.sort();
        Ok(names)
    }

    fn look(&self, path: &Path) -> io::Result<Seen> {
        let found = fs::symlink_metadata(path)?;
        if !found.is_symlink() {
            return Ok(match found.file_type() {
                kind if kind.is_file() => Seen::File(stamp(&found)),
                kind if kind.is_dir() => Seen::Directory,
                kind => Seen::Other(what(kind)),
            });
        }
        let target = fs::canonicalize(path).and_then(|real| fs::metadata(&real).map(|found| (real, found)));
        Ok(match target {
            Ok((real, found)) if found.is_file() => Seen::LinkToFile(real, stamp(&found)),
            Ok((_, found)) => Seen::Link(what(found.file_type())),
            Err(_) => Seen::Link("nothing that can be reached"),
        })
    }

    fn read(&self, path: &Path, most: u64) -> io::Result<Content> {
        // A FIFO that took the file's place would hold up who opens it; a link could lead out.
        let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file: File = OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits().cast_signed())
            .open(path)?;
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(io::Error::other(format!("is {}", what(found.file_type()))));
        }
        if found.len() > most {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut bytes = Vec::with_capacity(usize::try_from(found.len()).unwrap_or_default() + 1);
        file.take(most + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > most {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(Content {
            stamp: stamp(&found),
            bytes,
        })
    }

    fn is_open_to_all(&self, directory: &Path) -> io::Result<bool> {
        Ok(fs::metadata(directory)?.mode() & 0o002 != 0)
    }

    fn watch(&self, changes: Changes) -> io::Result<Box<dyn Watch>> {
        let watcher = notify::recommended_watcher(move |event| told(&changes, event)).map_err(io_error)?;
        Ok(Box::new(watcher))
    }
}

impl Watch for RecommendedWatcher {
    fn add(&mut self, directory: &Path) -> io::Result<()> {
        self.watch(directory, RecursiveMode::NonRecursive).map_err(io_error)
    }
}

fn io_error(error: notify::Error) -> io::Error {
    match error.kind {
        notify::ErrorKind::Io(error) => error,
        notify::ErrorKind::MaxFilesWatch => {
            io::Error::other("the system's bound on watches is reached (sysctl fs.inotify.max_user_watches)")
        }
        kind => io::Error::other(notify::Error::new(kind)),
    }
}

/// From notify's words to ours.
fn told(changes: &Changes, event: notify::Result<notify::Event>) {
    let Ok(event) = event else {
        return changes.tell(|changed| changed.lost = true);
    };
    if event.need_rescan() {
        return changes.tell(|changed| changed.lost = true);
    }
    let place: fn(&mut Changed) -> &mut BTreeSet<PathBuf> = match event.kind {
        // Reading (our own above all) changes nothing.
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => |changed| &mut changed.closed,
        EventKind::Access(_) => return,
        EventKind::Create(CreateKind::Folder) | EventKind::Remove(RemoveKind::Folder | RemoveKind::Other) => {
            |changed| &mut changed.directories
        }
        EventKind::Create(_) | EventKind::Modify(ModifyKind::Data(_)) => |changed| &mut changed.open,
        EventKind::Modify(ModifyKind::Metadata(_)) => |changed| &mut changed.closed,
        EventKind::Modify(_) | EventKind::Remove(_) => |changed| &mut changed.moved,
        EventKind::Any | EventKind::Other => return changes.tell(|changed| changed.lost = true),
    };
    changes.tell(|changed| place(changed).extend(event.paths));
}

fn stamp(found: &Metadata) -> Stamp {
    Stamp {
        inode: (found.dev(), found.ino()),
        size: found.len(),
        written: (found.mtime(), found.mtime_nsec()),
        changed: (found.ctime(), found.ctime_nsec()),
    }
}

fn what(kind: FileType) -> &'static str {
    match kind {
        kind if kind.is_dir() => "a directory",
        kind if kind.is_fifo() => "a FIFO",
        kind if kind.is_socket() => "a socket",
        kind if kind.is_block_device() || kind.is_char_device() => "a device",
        kind if kind.is_symlink() => "a link",
        _ => "no regular file",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_much_word_is_word_that_all_may_have_changed() {
        let changes = Changes::default();
        for n in 0..=MOST_CHANGES {
            changes.tell(|changed| {
                changed.closed.insert(PathBuf::from(n.to_string()));
            });
        }
        let lost = Changed {
            lost: true,
            ..Changed::default()
        };
        assert_eq!(changes.take(), lost);
        let overflow = notify::Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan);
        told(&changes, Ok(overflow));
        assert_eq!(changes.take(), lost);
        assert_eq!(changes.take(), Changed::default());
    }
}
