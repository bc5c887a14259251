//! The disk beneath the store: what is synced is there, what is not may be lost or torn by a power cut, and it can fail.
use std::{
    collections::BTreeMap,
    fmt, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use cube::world::process::Process;
use redb::StorageBackend;

use crate::{chance::Chance, trap::Trap};

const PAGE: usize = 4096;

/// A file's bytes in pages, of which a copy costs little.
#[derive(Clone, Debug, Default)]
struct Image {
    pages: BTreeMap<usize, Arc<[u8; PAGE]>>,
    length: usize,
}

impl Image {
    fn read(&self, offset: usize, out: &mut [u8]) -> io::Result<()> {
        if offset + out.len() > self.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut done = 0;
        while done < out.len() {
            let (page, within) = ((offset + done) / PAGE, (offset + done) % PAGE);
            let piece = (PAGE - within).min(out.len() - done);
            match self.pages.get(&page) {
                Some(bytes) => out[done..done + piece].copy_from_slice(&bytes[within..within + piece]),
                None => out[done..done + piece].fill(0),
            }
            done += piece;
        }
        Ok(())
    }

    fn write(&mut self, offset: usize, data: &[u8]) {
        self.length = self.length.max(offset + data.len());
        let mut done = 0;
        while done < data.len() {
            let (page, within) = ((offset + done) / PAGE, (offset + done) % PAGE);
            let piece = (PAGE - within).min(data.len() - done);
            let bytes = self.pages.entry(page).or_insert_with(|| Arc::new([0; PAGE]));
            Arc::make_mut(bytes)[within..within + piece].copy_from_slice(&data[done..done + piece]);
            done += piece;
        }
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Write(offset, data) => self.write(*offset, data),
            Change::Length(length) => self.set_length(*length),
        }
    }

    fn set_length(&mut self, length: usize) {
        if length < self.length {
            self.pages.split_off(&length.div_ceil(PAGE));
            if let Some(last) = self.pages.get_mut(&(length / PAGE)) {
                Arc::make_mut(last)[length % PAGE..].fill(0);
            }
        }
        self.length = length;
    }
}

/// A change that was not synced yet.
#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

/// How the disk fails from now on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// It does not.
    #[default]
    None,
    /// There is no room for anything new.
    Full,
    /// The next sync fails, and what it should have written is lost although it can be read until the file is opened again.
    NextSync,
    /// Nothing can be written.
    Broken,
}

/// A disk that outlives who opens it. Cloning gives another handle to the same one.
#[derive(Clone)]
pub struct Platter(Arc<Mutex<Inner>>);

struct Inner {
    trap: Trap,
    /// What is read: the system's cache.
    cache: Image,
    /// What is there for sure.
    durable: Image,
    pending: Vec<Change>,
    fault: Fault,
    failed: bool,
    /// It has lost its power, or failed, since it was last opened.
    troubled: bool,
}

impl Inner {
    /// What a process finds that opens it.
    fn found(&self) -> Image {
        let mut found = self.durable.clone();
        self.pending.iter().for_each(|change| found.apply(change));
        found
    }

    fn fail(&mut self) {
        (self.failed, self.troubled) = (true, true);
    }
}

impl Platter {
    /// An empty disk.
    pub fn new(trap: Trap) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            trap,
            cache: Image::default(),
            durable: Image::default(),
            pending: Vec::new(),
            fault: Fault::None,
            failed: false,
            troubled: false,
        })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk as one process has it.
    pub fn of(&self, process: Process) -> OpenDisk {
        OpenDisk {
            platter: self.clone(),
            process,
        }
    }

    /// How it fails from now on.
    pub fn set_fault(&self, fault: Fault) {
        self.inner().fault = fault;
    }

    /// The power is cut: of what was not synced some is there, in any order, some of it in part.
    pub fn power_cut(&self, chance: &Chance) {
        let mut inner = self.inner();
        let mut pending = std::mem::take(&mut inner.pending);
        // A disk writes in an order of its own; the library's is another one in each run.
        pending.sort_by_key(|change| match change {
            Change::Length(_) => 0,
            Change::Write(offset, _) => *offset,
        });
        // Mostly a disk has written all, or nothing, or what came first.
        let manner = chance.below(4);
        let first = chance.below(pending.len() as u64 + 1) as usize;
        let mut after = inner.durable.clone();
        for (at, change) in pending.into_iter().enumerate() {
            let written = match manner {
                0 => false,
                1 => true,
                2 => at < first,
                _ => chance.once_in(2),
            };
            match change {
                change if written => after.apply(&change),
                Change::Write(offset, data) if chance.once_in(4) => {
                    let torn = chance.below(data.len() as u64 + 1) as usize;
                    after.write(offset, &data[..torn]);
                }
                Change::Length(_) | Change::Write(..) => {}
            }
        }
        inner.durable = after.clone();
        inner.cache = after;
        inner.troubled = true;
        inner.fault = Fault::None;
    }

    /// Another disk with what a process finds on this one when it begins. Nothing that happens to it is counted.
    pub fn copy(&self) -> Self {
        let found = self.inner().found();
        let copy = Self::new(Trap::default());
        copy.inner().cache = found.clone();
        copy.inner().durable = found;
        copy
    }

    /// Whether it has lost its power, or failed, since it was last opened well.
    pub fn is_troubled(&self) -> bool {
        self.inner().troubled
    }

    /// Flips a bit of a byte that says something, and gives its number; none where nothing is written.
    pub fn flip_bit(&self, chance: &Chance) -> Option<usize> {
        let mut inner = self.inner();
        let written: Vec<usize> = inner.cache.pages.keys().copied().collect();
        let page = (!written.is_empty()).then(|| *chance.pick(&written))?;
        let bytes = &inner.cache.pages[&page];
        let telling: Vec<usize> = (0..PAGE).filter(|at| bytes[*at] != 0).collect();
        let within = (!telling.is_empty()).then(|| *chance.pick(&telling))?;
        let (at, bit) = (page * PAGE + within, chance.below(8) as usize);
        let flipped = [bytes[within] ^ 1 << bit];
        let Inner { cache, durable, .. } = &mut *inner;
        cache.write(at, &flipped);
        durable.write(at, &flipped);
        Some(at * 8 + bit)
    }

    /// The file's length in bytes.
    pub fn size(&self) -> usize {
        self.inner().cache.length
    }

    /// Whether it has failed since it was last asked.
    pub fn has_failed(&self) -> bool {
        std::mem::take(&mut self.inner().failed)
    }
}

/// A disk in the hands of a process: a dead one changes nothing any more.
#[derive(Clone)]
pub struct OpenDisk {
    platter: Platter,
    process: Process,
}

impl OpenDisk {
    /// Opened once more: the system's cache is asked to forget what it has no need to write.
    pub fn reopened(&self) -> Self {
        let mut inner = self.platter.inner();
        inner.cache = inner.found();
        inner.troubled = false;
        drop(inner);
        self.clone()
    }

    fn modify(&self, larger: bool) -> io::Result<MutexGuard<'_, Inner>> {
        let mut inner = self.platter.inner();
        if !self.process.is_alive() {
            return Err(dead());
        }
        match inner.fault {
            Fault::Broken => {
                inner.fail();
                Err(io::Error::other("the disk is broken"))
            }
            Fault::Full if larger => {
                inner.fail();
                Err(io::ErrorKind::StorageFull.into())
            }
            Fault::None | Fault::NextSync | Fault::Full => Ok(inner),
        }
    }
}

fn dead() -> io::Error {
    io::Error::other("the process is dead")
}

impl fmt::Debug for OpenDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpenDisk")
    }
}

impl StorageBackend for OpenDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.platter.inner().cache.length as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if !self.process.is_alive() {
            return Err(dead());
        }
        self.platter.inner().cache.read(offset as usize, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let larger = len as usize > self.platter.inner().cache.length;
        let mut inner = self.modify(larger)?;
        inner.cache.set_length(len as usize);
        inner.pending.push(Change::Length(len as usize));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut inner = self.modify(false)?;
        if inner.fault == Fault::NextSync {
            // As Linux does it: the pages count as written from now on.
            inner.fault = Fault::None;
            inner.fail();
            inner.pending.clear();
            return Err(io::Error::other("the disk could not write"));
        }
        let Inner { pending, durable, .. } = &mut *inner;
        pending.drain(..).for_each(|change| durable.apply(&change));
        let trap = inner.trap.clone();
        drop(inner);
        trap.written(&self.process);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let larger = offset as usize + data.len() > self.platter.inner().cache.length;
        let mut inner = self.modify(larger)?;
        inner.cache.write(offset as usize, data);
        inner.pending.push(Change::Write(offset as usize, data.to_vec()));
        Ok(())
    }
}
