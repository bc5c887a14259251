//! The files of a directory as they were last read, and which file says which object.
//!
//! It reads what has changed and remembers what a file said while it was last good. It never tells anyone, waits or
//! writes. Read [`Table::scan`] and [`Table::refresh`] first.
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use cube_plan::prune::ObjectId;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{
    parse::{Said, parse},
    walk,
};
use crate::{
    manifest::Diagnostic,
    world::files::{Changes, Directory, Files, Stamp, Watch},
};

/// Bytes of a file that are read at most; the manifest reader has the same bound.
const MOST_BYTES: u64 = 4 << 20;

/// What is wrong with a file.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub diagnostics: Vec<Diagnostic>,
    /// It may pass by itself (a half-written file): looked at again before it is told.
    pub fresh: bool,
    told: bool,
}

#[derive(Clone, Debug, Default)]
struct File {
    stamp: Option<Stamp>,
    hash: Option<[u8; 32]>,
    /// What it said while it was last good.
    said: BTreeMap<ObjectId, Arc<Value>>,
    fault: Option<Fault>,
}

/// The files of a directory.
pub(super) struct Table {
    files: Arc<dyn Files>,
    changes: Changes,
    watch: Option<Box<dyn Watch>>,
    /// Why no changes are told, if they are not.
    pub unwatched: Option<String>,
    given: PathBuf,
    /// The directory, or why there is none.
    pub directory: Result<Directory, String>,
    known: BTreeMap<PathBuf, File>,
    by_object: BTreeMap<ObjectId, BTreeSet<PathBuf>>,
    /// Objects about which a file has changed its word.
    pub dirty: BTreeSet<ObjectId>,
    /// Files that were bad and no longer are.
    pub mended: BTreeSet<PathBuf>,
}

impl Table {
    pub fn new(files: Arc<dyn Files>, given: PathBuf, changes: Changes) -> Self {
        Self {
            files,
            changes,
            watch: None,
            unwatched: None,
            given,
            directory: Err("it was not read yet".to_owned()),
            known: BTreeMap::new(),
            by_object: BTreeMap::new(),
            dirty: BTreeSet::new(),
            mended: BTreeSet::new(),
        }
    }

    /// Looks at the whole directory, and reads the files that are not as they were. While it cannot be read, all stays as
    /// it was last known.
    pub fn scan(&mut self) {
        if let Err(error) = self.try_scan() {
            self.directory = Err(match error.kind() {
                io::ErrorKind::NotFound => format!("{} does not exist", self.given.display()),
                io::ErrorKind::NotADirectory => format!("{} is not a directory", self.given.display()),
                _ => format!("{} cannot be read: {error}", self.given.display()),
            });
        }
    }

    fn try_scan(&mut self) -> io::Result<()> {
        let directory = self.files.directory(&self.given)?;
        if self.watch.is_none() {
            match self.files.watch(self.changes.clone()) {
                Ok(watch) => self.watch = Some(watch),
                Err(error) => self.unwatched = Some(error.to_string()),
            }
        }
        let walked = walk::walk(&*self.files, &directory.path, walk::Trust::Writers, self.watch.as_mut())?;
        if self.watch.is_some() {
            self.unwatched = walked.unwatched;
        }
        // Another directory came to the place while it was read: what was seen is of neither.
        if self.files.directory(&self.given)? != directory {
            return Err(io::Error::other("it is being replaced"));
        }
        self.directory = Ok(directory);
        let gone: Vec<PathBuf> = self
            .known
            .keys()
            .filter(|path| !walked.files.contains_key(*path) && !walked.refused.contains_key(*path))
            .cloned()
            .collect();
        for path in gone {
            self.forget(&path);
        }
        for (path, why) in walked.refused {
            self.refuse(&path, &why, false);
        }
        for (path, stamp) in walked.files {
            if self.known.get(&path).and_then(|file| file.stamp) != Some(stamp) {
                self.refresh(&path);
            }
        }
        Ok(())
    }

    /// Looks at one manifest; says whether the whole directory must be looked at instead.
    pub fn refresh(&mut self, path: &Path) -> bool {
        let Ok(directory) = self.directory.clone() else {
            return true;
        };
        let look = walk::look(&*self.files, &directory.path, path);
        match look {
            Ok(Ok(_)) => {}
            Ok(Err(why)) if why == "is a directory" => return true,
            Ok(Err(why)) => {
                self.refuse(path, &why, false);
                return false;
            }
            Err(error) if is_absence(&error) => {
                self.forget(path);
                // What is gone may have been a directory with such a name, or all of it may be gone.
                return self.files.directory(&self.given).ok().as_ref() != Some(&directory);
            }
            Err(error) => {
                self.refuse(path, &format!("cannot be read: {error}"), true);
                return false;
            }
        }
        match self.content(&directory, path) {
            Ok((stamp, bytes)) => self.take(path, stamp, &bytes),
            Err(error) if is_absence(&error) => self.forget(path),
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                self.refuse(path, &format!("is larger than {} MiB", MOST_BYTES >> 20), false);
            }
            Err(error) => self.refuse(path, &format!("cannot be read: {error}"), true),
        }
        false
    }

    /// A file's bytes as they are now.
    fn content(&self, directory: &Directory, path: &Path) -> io::Result<(Stamp, Vec<u8>)> {
        let mut full = directory.path.join(path);
        if let crate::world::files::Seen::LinkToFile(real, _) = self.files.look(&full)? {
            if !real.starts_with(&directory.path) {
                return Err(io::Error::other("the link leads out of the directory"));
            }
            full = real;
        }
        let content = self.files.read(&full, MOST_BYTES)?;
        Ok((content.stamp, content.bytes))
    }

    /// A file's bytes as they are now, for showing what is wrong with them.
    pub fn bytes(&self, path: &Path) -> Vec<u8> {
        let directory = self.directory.as_ref().ok();
        let content = directory.and_then(|directory| self.content(directory, path).ok());
        content.map(|(_, bytes)| bytes).unwrap_or_default()
    }

    fn take(&mut self, path: &Path, stamp: Stamp, bytes: &[u8]) {
        let hash: [u8; 32] = Sha256::digest(bytes).into();
        let file = self.known.entry(path.to_owned()).or_default();
        file.stamp = Some(stamp);
        if file.hash == Some(hash) {
            return;
        }
        file.hash = Some(hash);
        match parse(path, bytes) {
            Ok(said) => {
                if file.fault.take().is_some_and(|fault| fault.told) {
                    self.mended.insert(path.to_owned());
                }
                self.say(path, said);
            }
            Err(diagnostics) => {
                file.fault = Some(Fault {
                    diagnostics,
                    fresh: true,
                    told: false,
                });
            }
        }
    }

    /// A file that cannot be read keeps what it last said. What may pass by itself is told after a second look only.
    fn refuse(&mut self, path: &Path, why: &str, fresh: bool) {
        let file = self.known.entry(path.to_owned()).or_default();
        (file.stamp, file.hash) = (None, None);
        let diagnostics = vec![Diagnostic::of_file(&path.to_string_lossy(), format!("the file {why}"))];
        if file.fault.as_ref().is_none_or(|fault| fault.diagnostics != diagnostics) {
            file.fault = Some(Fault {
                diagnostics,
                fresh,
                told: false,
            });
        }
    }

    fn forget(&mut self, path: &Path) {
        self.say(path, Vec::new());
        if let Some(file) = self.known.remove(path)
            && file.fault.is_some_and(|fault| fault.told)
        {
            self.mended.insert(path.to_owned());
        }
    }

    fn say(&mut self, path: &Path, said: Vec<Said>) {
        let Some(file) = self.known.get_mut(path) else {
            return;
        };
        let new: BTreeMap<ObjectId, Arc<Value>> = said.into_iter().map(|said| (said.id, said.value)).collect();
        let old = std::mem::replace(&mut file.said, new);
        for (id, value) in &old {
            if file.said.get(id) != Some(value) {
                self.dirty.insert(id.clone());
            }
            if !file.said.contains_key(id)
                && let Some(paths) = self.by_object.get_mut(id)
            {
                paths.remove(path);
                if paths.is_empty() {
                    self.by_object.remove(id);
                }
            }
        }
        for id in file.said.keys().filter(|id| !old.contains_key(id)) {
            self.dirty.insert(id.clone());
            self.by_object.entry(id.clone()).or_default().insert(path.to_owned());
        }
    }

    /// The files that say an object.
    pub fn sayers(&self, id: &ObjectId) -> Vec<&Path> {
        let paths = self.by_object.get(id).into_iter().flatten();
        paths.map(PathBuf::as_path).collect()
    }

    /// What a file says of an object.
    pub fn value(&self, path: &Path, id: &ObjectId) -> Option<&Arc<Value>> {
        self.known.get(path).and_then(|file| file.said.get(id))
    }

    /// All objects that files say.
    pub fn objects(&self) -> impl Iterator<Item = &ObjectId> {
        self.by_object.keys()
    }

    /// The files that are there.
    pub fn count(&self) -> usize {
        self.known.len()
    }

    /// The bad files.
    pub fn faults(&self) -> impl Iterator<Item = (&Path, &Fault)> {
        self.known
            .iter()
            .filter_map(|(path, file)| Some((path.as_path(), file.fault.as_ref()?)))
    }

    /// A file's fault is there to stay; what was not told of it yet.
    pub fn settle(&mut self, path: &Path) -> Option<Vec<Diagnostic>> {
        let fault = self.known.get_mut(path)?.fault.as_mut()?;
        fault.fresh = false;
        let told = std::mem::replace(&mut fault.told, true);
        (!told).then(|| fault.diagnostics.clone())
    }
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
