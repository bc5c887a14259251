//! The log at the head of the file: what redb's trees do not hold yet, one entry a group of commits.
//!
//! A commit of redb's writes some ten pages all over the file, which takes a disk several times as long as one piece does. So
//! a small group is appended here, with one write and one sync, and what has gathered goes into the trees together, when the
//! room is used up. Owns how entries lie and which of them count. Never decides when to use it: [`super::disk`] does.
//!
//! ```text
//! file:  log (SIZE bytes) │ redb
//! log:   entry, from a sector of its own │ entry │ … │ what is left of earlier laps
//! entry: magic (4 bytes), crc32 of what follows (4), length (4), lap (8), number in the lap (8), revision (8), changes
//! change: 1, length of the record (4), record (`encoding`), or 0, length of the key (4), key
//! ```
//!
//! Guarantees: an entry counts whole or not at all, and only until the trees have it: they say which lap is the present one.
//! An entry that is broken while a later one is whole was damaged, and is told; a broken last one counts as never acknowledged.
//! A lap begins with an entry without changes once the trees have all of the one before. So trees that are older than the log, as
//! redb opens them where the newest are damaged, are told too.

use cube_planted::{Bug, planted};
use std::io;
use std::sync::Arc;

use redb::StorageBackend;

use super::disk::Writes;
use super::encoding::{self, encode};
use super::{Key, Revision};

/// The room for entries, at the head of the file, in bytes. Less means more commits of redb's; more makes each longer, and who waits for one waits too long.
pub const SIZE: usize = 128 << 10;

/// An entry begins at one of its own, so that a write that is torn cannot touch the entry before it.
const SECTOR: usize = 512;
const MAGIC: [u8; 4] = [0xC5, b'C', b'L', 0x01];
const HEAD: usize = 36;

/// Where the next entry goes.
pub(super) struct Log {
    file: Arc<dyn StorageBackend>,
    lap: u64,
    number: u64,
    end: usize,
}

/// What the log held when it was opened.
#[derive(Default)]
pub(super) struct Found {
    /// The last state of each key; `None`: removed.
    pub writes: Writes,
    /// The counter after the last entry; none without entries.
    pub revision: Option<Revision>,
}

/// Something that was acknowledged is not as it was written: what.
#[derive(Debug)]
pub(super) struct Damaged(pub &'static str);

impl Log {
    /// Makes room at the head of a new file. It is filled, since a disk takes longer to fill a hole than to write again.
    pub fn make_room(file: &dyn StorageBackend) -> io::Result<()> {
        file.set_len(SIZE as u64)?;
        file.write(0, &[0; SIZE])
    }

    /// Reads the entries of a lap, and goes on after the last.
    pub fn open(file: Arc<dyn StorageBackend>, lap: u64) -> io::Result<Result<(Self, Found), Damaged>> {
        let mut bytes = vec![0; SIZE];
        file.read(0, &mut bytes)?;
        let (mut log, mut found) = (Self::at(file, lap), Found::default());
        while let Some(entry) = Entry::read(&bytes[log.end..]).filter(|entry| log.is_next(entry)) {
            let Some(writes) = entry.writes() else { break };
            if planted(Bug::LastEntryLost) && Entry::read(&bytes[log.end + sectors(entry.length)..]).is_none() {
                break;
            }
            found.writes.extend(writes);
            found.revision = Some(entry.revision);
            log.number += 1;
            log.end += sectors(entry.length);
        }
        let rest = bytes[log.end..].chunks(SECTOR).enumerate();
        for (sector, _) in rest.filter(|(_, bytes)| bytes.starts_with(&MAGIC)) {
            let Some(later) = Entry::read(&bytes[log.end + sector * SECTOR..]) else {
                continue;
            };
            if later.lap > lap && !planted(Bug::OldTablesTaken) {
                return Ok(Err(Damaged("its tables are older than its log")));
            }
            if later.lap == lap && later.number >= log.number {
                return Ok(Err(Damaged("its log is not what was written")));
            }
        }
        if found.revision.is_some() {
            // What was read may lie in the system's memory alone, after a sync that failed or never came.
            log.file.write(0, &bytes[..log.end])?;
            log.file.sync_data()?;
        }
        Ok(Ok((log, found)))
    }

    fn at(file: Arc<dyn StorageBackend>, lap: u64) -> Self {
        Self {
            file,
            lap,
            number: 0,
            end: 0,
        }
    }

    fn is_next(&self, entry: &Entry<'_>) -> bool {
        (entry.lap == self.lap || planted(Bug::OldLapTaken)) && entry.number == self.number
    }

    /// Whether a group has its place in what room is left.
    pub fn has_room(&self, writes: &Writes) -> bool {
        let size = |(key, state): (&Key, &Option<Arc<_>>)| {
            5 + state
                .as_ref()
                .map_or(key.as_str().len(), |record| encoding::size(record))
        };
        self.end + HEAD + writes.iter().map(size).sum::<usize>() <= SIZE
    }

    /// Appends a group that has room. When this returns, it is durable.
    pub fn append(&mut self, writes: &Writes, revision: Revision) -> io::Result<()> {
        let length = self.write(writes, revision)?;
        if !planted(Bug::LogUnsynced) {
            self.file.sync_data()?;
        }
        self.number += 1;
        self.end += length;
        Ok(())
    }

    /// Writes the next entry, without a sync; gives its length.
    fn write(&self, writes: &Writes, revision: Revision) -> io::Result<usize> {
        let mut entry = Vec::new();
        entry.extend(MAGIC);
        entry.extend([0; 8]);
        for number in [self.lap, self.number, revision] {
            entry.extend(number.to_le_bytes());
        }
        for (key, state) in writes {
            let record = state.as_ref().map(|record| encode(record));
            let content = record.as_deref().unwrap_or(key.as_str().as_bytes());
            entry.push(record.is_some().into());
            entry.extend((content.len() as u32).to_le_bytes());
            entry.extend(content);
        }
        let length = entry.len();
        entry[8..12].copy_from_slice(&(length as u32).to_le_bytes());
        let sum = crc32fast::hash(&entry[8..]);
        entry[4..8].copy_from_slice(&sum.to_le_bytes());
        // The last entry may end less than a sector before the room does.
        entry.resize(sectors(length), 0);
        self.file.write(self.end as u64, &entry)?;
        Ok(entry.len())
    }

    /// The lap that begins once the trees have everything.
    pub fn next_lap(&self) -> u64 {
        self.lap + 1
    }

    /// Begins it, the trees having all up to that revision for good.
    pub fn restart(&mut self, revision: Revision) {
        (self.lap, self.number, self.end) = (self.next_lap(), 0, 0);
        // The word that it has begun is no acknowledgement: the first entry takes its place, so that the two need no order. Without it
        // nothing is lost but that damage to the trees can be told, until that entry.
        let _ = self.write(&Writes::new(), revision);
    }
}

fn sectors(length: usize) -> usize {
    length.next_multiple_of(SECTOR)
}

/// A whole entry.
struct Entry<'a> {
    lap: u64,
    number: u64,
    revision: Revision,
    length: usize,
    changes: &'a [u8],
}

impl<'a> Entry<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let head = bytes.get(..HEAD).filter(|head| head.starts_with(&MAGIC))?;
        let sum = u32::from_le_bytes(*head[4..].first_chunk()?);
        let length = u32::from_le_bytes(*head[8..].first_chunk()?) as usize;
        let number = |at: usize| Some(u64::from_le_bytes(*head[at..].first_chunk()?));
        let changes = bytes.get(HEAD..length)?;
        (crc32fast::hash(&bytes[8..length]) == sum).then_some(Self {
            lap: number(12)?,
            number: number(20)?,
            revision: number(28)?,
            length,
            changes,
        })
    }

    fn writes(&self) -> Option<Writes> {
        let (mut writes, mut rest) = (Writes::new(), self.changes);
        while let Some((put, after)) = rest.split_first() {
            let (length, after) = after.split_first_chunk()?;
            let (content, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            rest = after;
            match put {
                0 => writes.insert(Key::parse(str::from_utf8(content).ok()?)?, None),
                _ => {
                    let record = encoding::whole(content)?;
                    writes.insert(record.key.clone(), Some(Arc::new(record)))
                }
            };
        }
        Some(writes)
    }
}
