//! A watched directory in memory: files that are written at once, in halves, or put in another's place; word of it that can
//! be lost.
use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use cube::world::files::{Changes, Content, Directory, Files, Seen, Stamp, Watch};

/// The directory. Cloning gives another handle to the same one.
#[derive(Clone)]
pub struct Folder(Arc<Mutex<Inner>>);

struct Inner {
    path: PathBuf,
    /// None: it is gone.
    inode: Option<u64>,
    last: u64,
    files: BTreeMap<String, File>,
    watchers: Vec<Changes>,
    /// Word of changes gets lost.
    deaf: bool,
}

#[derive(Clone, Debug)]
struct File {
    bytes: Vec<u8>,
    stamp: Stamp,
}

impl Folder {
    /// An empty directory.
    pub fn new(path: &Path) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            path: path.to_owned(),
            inode: Some(1),
            last: 1,
            files: BTreeMap::new(),
            watchers: Vec::new(),
            deaf: false,
        })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether word of changes gets lost from now on.
    pub fn set_deaf(&self, deaf: bool) {
        self.inner().deaf = deaf;
    }

    /// Whoever watches is gone.
    pub fn forget_watchers(&self) {
        self.inner().watchers.clear();
    }

    /// Writes a file; `closed`: whoever writes is done.
    pub fn write(&self, name: &str, bytes: &[u8], closed: bool) {
        let mut inner = self.inner();
        inner.put(name, bytes);
        let path = inner.path.join(name);
        inner.tell(|changes| {
            changes.tell(|changed| {
                changed.open.insert(path.clone());
                if closed {
                    changed.closed.insert(path.clone());
                }
            });
        });
    }

    /// Puts a whole file in the place of that name, as editors do.
    pub fn put_in_place(&self, name: &str, bytes: &[u8]) {
        let mut inner = self.inner();
        inner.files.remove(name);
        inner.put(name, bytes);
        let path = inner.path.join(name);
        inner.tell(|changes| {
            changes.tell(|changed| {
                changed.moved.insert(path.clone());
            });
        });
    }

    /// Removes a file.
    pub fn remove(&self, name: &str) {
        let mut inner = self.inner();
        inner.files.remove(name);
        let path = inner.path.join(name);
        inner.tell(|changes| {
            changes.tell(|changed| {
                changed.moved.insert(path.clone());
            });
        });
    }

    /// What a file says, if it is there.
    pub fn text(&self, name: &str) -> Option<String> {
        let inner = self.inner();
        let file = inner.files.get(name)?;
        Some(String::from_utf8_lossy(&file.bytes).into_owned())
    }

    /// Gives a file another name; it stays the same file, written when it was.
    pub fn rename(&self, name: &str, to: &str) {
        let mut inner = self.inner();
        let Some(mut file) = inner.files.remove(name) else {
            return;
        };
        inner.last += 1;
        file.stamp.changed = (i64::try_from(inner.last).unwrap_or_default(), 0);
        inner.files.insert(to.to_owned(), file);
        let paths = [name, to].map(|name| inner.path.join(name));
        inner.tell(|changes| {
            changes.tell(|changed| {
                changed.moved.extend(paths.iter().cloned());
            });
        });
    }

    /// The whole directory goes, or is there again (the same one).
    pub fn set_there(&self, there: bool) {
        let mut inner = self.inner();
        inner.inode = there.then_some(1);
        let path = inner.path.clone();
        inner.tell(|changes| {
            changes.tell(|changed| {
                changed.directories.insert(path.clone());
            });
        });
    }
}

impl Inner {
    fn put(&mut self, name: &str, bytes: &[u8]) {
        self.last += 1;
        let known = self.files.get(name).map(|file| file.stamp.inode);
        let stamp = Stamp {
            inode: known.unwrap_or((1, self.last)),
            size: bytes.len() as u64,
            written: (i64::try_from(self.last).unwrap_or_default(), 0),
            changed: (i64::try_from(self.last).unwrap_or_default(), 0),
        };
        let bytes = bytes.to_vec();
        self.files.insert(name.to_owned(), File { bytes, stamp });
    }

    fn tell(&self, word: impl Fn(&Changes)) {
        if !self.deaf {
            self.watchers.iter().for_each(word);
        }
    }

    fn there(&self) -> io::Result<u64> {
        self.inode.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn file(&self, path: &Path) -> io::Result<&File> {
        self.there()?;
        let name = path.strip_prefix(&self.path).ok().and_then(Path::to_str);
        let file = name.and_then(|name| self.files.get(name));
        file.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Files for Folder {
    fn directory(&self, path: &Path) -> io::Result<Directory> {
        let inode = (1, self.inner().there()?);
        let path = path.to_owned();
        Ok(Directory { path, inode })
    }

    fn names(&self, _: &Path) -> io::Result<Vec<OsString>> {
        let inner = self.inner();
        inner.there()?;
        Ok(inner.files.keys().map(OsString::from).collect())
    }

    fn look(&self, path: &Path) -> io::Result<Seen> {
        let inner = self.inner();
        if path == inner.path {
            inner.there()?;
            return Ok(Seen::Directory);
        }
        Ok(Seen::File(inner.file(path)?.stamp))
    }

    fn read(&self, path: &Path, _: u64) -> io::Result<Content> {
        let inner = self.inner();
        let File { bytes, stamp } = inner.file(path)?.clone();
        Ok(Content { stamp, bytes })
    }

    fn watch(&self, changes: Changes) -> io::Result<Box<dyn Watch>> {
        self.inner().watchers.push(changes);
        Ok(Box::new(Watching))
    }
}

struct Watching;

impl Watch for Watching {
    fn add(&mut self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}
