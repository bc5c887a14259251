//! The bytes on disk: a log of what came last, then redb with a table of records and one of what describes the store.
//!
//! Owns the layout and its format number, and when what is in the log goes into the tables. Never decides what is written, and never serves a byte that is not what was
//! written: each value carries a checksum of ours, since redb checks its own only after a crash. Read [`Disk::open`] first.

use cube_planted::{Bug, planted};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use redb::{
    Builder, Database, ReadableDatabase, ReadableTable, RepairSession, StorageBackend, StorageError, Table,
    TableDefinition, TableError, WriteTransaction,
};

use super::backend::{Backends, Trees};
use super::encoding::{damaged, decode, encode};
use super::log::{self, Log};
use super::{Key, OpenError, Record, Revision, Snapshot, Trouble};

/// What redb may keep in memory. All objects are in memory once already, so it needs only the upper pages of its trees;
/// more makes large groups a little faster and the process larger.
const CACHE: usize = 4 << 20;

const RECORDS: TableDefinition<&str, &[u8]> = TableDefinition::new("records");
const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
const FORMAT_KEY: &str = "format";
const CLUSTER_KEY: &str = "cluster";
const REVISION_KEY: &str = "revision";
/// The lap of the log that counts: what was in earlier ones is in the tables.
const LAP_KEY: &str = "lap";

/// Takes a file from one format to the next.
pub(super) type Migration = fn(&WriteTransaction) -> Result<(), redb::Error>;

/// The way from each older format to the next: the first leads from 1 to 2. Entries are never removed.
const MIGRATIONS: &[Migration] = &[];

/// An open store file.
pub(super) struct Disk {
    database: Database,
    log: Log,
    /// What is in the log and not in the tables.
    gathered: Writes,
    /// The counter after it; none when nothing is.
    gathered_to: Option<Revision>,
}

/// What was found in it.
pub(super) struct Loaded {
    pub cluster: String,
    pub state: Snapshot,
}

/// The last state of each key that a group of commits wrote; `None`: removed.
pub(super) type Writes = BTreeMap<Key, Option<Arc<Record>>>;

/// Why something could not be written.
#[derive(Clone, Debug)]
pub(super) struct WriteError {
    pub step: &'static str,
    pub cause: Trouble,
    pub error: String,
}

impl WriteError {
    fn at(step: &'static str) -> impl Fn(redb::Error) -> Self {
        move |error| Self {
            step,
            cause: trouble(&error),
            error: error.to_string(),
        }
    }
}

fn trouble(error: &redb::Error) -> Trouble {
    match error {
        redb::Error::Io(error) => Trouble::of(error),
        redb::Error::Corrupted(_) => Trouble::Corrupt,
        _ => Trouble::Io,
    }
}

impl Disk {
    /// Opens what `backends` leads to, and reads all of it into memory. An empty one becomes a new store of `cluster`, or is
    /// refused when there is none.
    pub fn open(backends: &Backends, cluster: Option<&str>) -> Result<(Self, Loaded), OpenError> {
        Self::open_with(backends, cluster, MIGRATIONS)
    }

    pub(super) fn open_with(
        backends: &Backends,
        cluster: Option<&str>,
        migrations: &[Migration],
    ) -> Result<(Self, Loaded), OpenError> {
        let file: Arc<dyn StorageBackend> = backends().map_err(OpenError::Io)?.into();
        match (file.len().map_err(OpenError::Io)?, cluster) {
            (0, None) => return Err(OpenError::Empty),
            (0, Some(_)) => Log::make_room(&*file).map_err(OpenError::Io)?,
            (length, _) if length <= log::SIZE as u64 => return Err(OpenError::Damaged("it ends too early".into())),
            _ => {}
        }
        // The check reads the whole file, as loading does anyway. Without it redb trusts what it reads, and a flipped bit
        // in its own pages can end in a panic.
        let opened = Builder::new()
            .set_cache_size(CACHE)
            .set_check_integrity_on_open(true)
            .set_repair_callback(told_if_going_back)
            .create_with_backend(Trees(file.clone()));
        let database = match opened.map_err(|error| open_error(error.into())) {
            Err(OpenError::Damaged(error)) => return Err(name_damaged(backends, error)),
            opened => opened?,
        };
        let (format, lap) = described(&database).map_err(open_error)?;
        let (log, found) = match Log::open(file, lap).map_err(OpenError::Io)? {
            Ok(opened) => opened,
            Err(log::Damaged(what)) => return Err(name_damaged(backends, what.into())),
        };
        let mut disk = Self {
            database,
            log,
            gathered: found.writes,
            gathered_to: found.revision,
        };
        // A migration is of the tables alone.
        if let Some(revision) = disk.gathered_to
            && format.is_some_and(|format| format <= migrations.len() as u64)
        {
            (disk.settle(revision)).map_err(|failed| OpenError::Io(io::Error::other(failed.error)))?;
        }
        disk.prepare(cluster, migrations)?;
        let loaded = disk.load()?;
        Ok((disk, loaded))
    }

    fn prepare(&self, cluster: Option<&str>, migrations: &[Migration]) -> Result<(), OpenError> {
        let newest = migrations.len() as u64 + 1;
        let run = || -> Result<Result<(), OpenError>, redb::Error> {
            let tx = self.database.begin_write()?;
            let mut meta = tx.open_table(META)?;
            let found = read_meta(&meta, FORMAT_KEY)?.map(|bytes| number(&bytes));
            match found {
                None => {
                    let Some(cluster) = cluster else {
                        return Ok(Err(OpenError::Empty));
                    };
                    tx.open_table(RECORDS)?;
                    write_meta(&mut meta, CLUSTER_KEY, cluster.as_bytes())?;
                    write_meta(&mut meta, REVISION_KEY, &0u64.to_le_bytes())?;
                }
                Some(found) if found == newest => return Ok(Ok(())),
                Some(found) if found > newest => return Ok(Err(OpenError::Newer { found, newest })),
                Some(found) => {
                    for step in &migrations[found.saturating_sub(1) as usize..] {
                        step(&tx)?;
                    }
                }
            }
            write_meta(&mut meta, FORMAT_KEY, &newest.to_le_bytes())?;
            drop(meta);
            tx.commit()?;
            Ok(Ok(()))
        };
        run().map_err(open_error)?
    }

    fn load(&self) -> Result<Loaded, OpenError> {
        let read = || -> Result<Result<Loaded, OpenError>, redb::Error> {
            let tx = self.database.begin_read()?;
            let meta = tx.open_table(META)?;
            let revision = read_meta(&meta, REVISION_KEY)?.map(|bytes| number(&bytes));
            let cluster = read_meta(&meta, CLUSTER_KEY)?;
            let (Some(revision), Some(cluster)) = (revision, cluster) else {
                return Err(redb::Error::Corrupted("its description is not complete".into()));
            };
            let mut state = Snapshot {
                revision,
                ..Snapshot::default()
            };
            for entry in tx.open_table(RECORDS)?.iter()? {
                let (key, value) = entry?;
                let Some(record) = decode(key.value(), value.value()).filter(|record| record.revision <= revision)
                else {
                    let key = key.value().into();
                    return Ok(Err(OpenError::Corrupt { key, others: 0 }));
                };
                state.records.insert(record.key.clone(), Arc::new(record));
            }
            for (key, record) in &self.gathered {
                state.apply(key, record.clone());
            }
            state.revision = self.gathered_to.unwrap_or(revision);
            let cluster = String::from_utf8_lossy(&cluster).into_owned();
            Ok(Ok(Loaded { cluster, state }))
        };
        read().map_err(open_error)?
    }

    /// Writes a group and the counter. When this returns, they are durable.
    pub fn write(&mut self, writes: &Writes, revision: Revision) -> Result<(), WriteError> {
        if !self.log.has_room(writes) {
            self.gathered.extend(writes.clone());
            return self.settle(revision);
        }
        let appended = self.log.append(writes, revision);
        appended.map_err(|error| WriteError::at("write")(redb::Error::Io(error)))?;
        self.gathered.extend(writes.clone());
        self.gathered_to = Some(revision);
        Ok(())
    }

    /// Brings what has gathered in the log into the tables, and the counter. When this returns, they are durable.
    pub fn settle(&mut self, revision: Revision) -> Result<(), WriteError> {
        let fill = || -> Result<WriteTransaction, redb::Error> {
            let mut tx = self.database.begin_write()?;
            if planted(Bug::TreesUnsynced) {
                tx.set_durability(redb::Durability::None)?;
            }
            {
                let mut records = tx.open_table(RECORDS)?;
                for (key, state) in &self.gathered {
                    match state {
                        Some(record) => records.insert(key.as_str(), encode(record).as_slice())?,
                        None if planted(Bug::DeletionUnsettled) => None,
                        None => records.remove(key.as_str())?,
                    };
                }
                let mut meta = tx.open_table(META)?;
                write_meta(&mut meta, REVISION_KEY, &revision.to_le_bytes())?;
                if !planted(Bug::LapNotRaised) {
                    write_meta(&mut meta, LAP_KEY, &self.log.next_lap().to_le_bytes())?;
                }
            }
            Ok(tx)
        };
        let tx = fill().map_err(WriteError::at("write"))?;
        tx.commit().map_err(|error| WriteError::at("commit")(error.into()))?;
        self.log.restart(revision);
        self.gathered.clear();
        self.gathered_to = None;
        Ok(())
    }

    /// Leaves nothing in the log, where redb cannot check it.
    pub fn close(mut self) {
        if let Some(revision) = self.gathered_to {
            // It stays in the log then, and counts from there.
            let _ = self.settle(revision);
        }
    }
}

/// The format, if there is one yet, and the lap of the log.
fn described(database: &Database) -> Result<(Option<u64>, u64), redb::Error> {
    let tx = database.begin_read()?;
    let meta = match tx.open_table(META) {
        Err(TableError::TableDoesNotExist(_)) => return Ok((None, 0)),
        meta => meta?,
    };
    let of = |key| Ok::<_, StorageError>(read_meta(&meta, key)?.map(|bytes| number(&bytes)));
    Ok((of(FORMAT_KEY)?, of(LAP_KEY)?.unwrap_or(0)))
}

/// The last commit before a power cut may be there in part. It was not acknowledged, so going back before it is right.
fn told_if_going_back(session: &mut RepairSession) {
    // redb calls with exactly this progress when the newest state does not verify, and it goes back to the one before.
    if (session.progress() - 0.3).abs() < 0.01 {
        tracing::warn!("store: the last commit was not whole and is left out, as after a power cut");
    }
}

fn name_damaged(backends: &Backends, error: String) -> OpenError {
    let read = || -> io::Result<Vec<u8>> {
        let backend = backends()?;
        let mut file = vec![0; backend.len()? as usize];
        backend.read(0, &mut file)?;
        backend.close()?;
        Ok(file)
    };
    let mut keys = read().map(|file| damaged(&file)).unwrap_or_default().into_iter();
    match keys.next() {
        Some(key) => OpenError::Corrupt {
            key,
            others: keys.len(),
        },
        None => OpenError::Damaged(error),
    }
}

fn checksum(key: &str, rest: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key.as_bytes());
    hasher.update(rest);
    hasher.finalize()
}

fn write_meta(
    meta: &mut Table<'_, &'static str, &'static [u8]>,
    key: &str,
    content: &[u8],
) -> Result<(), StorageError> {
    let mut value = checksum(key, content).to_le_bytes().to_vec();
    value.extend(content);
    meta.insert(key, value.as_slice())?;
    Ok(())
}

fn read_meta(
    meta: &impl ReadableTable<&'static str, &'static [u8]>,
    key: &str,
) -> Result<Option<Vec<u8>>, StorageError> {
    let Some(value) = meta.get(key)? else { return Ok(None) };
    match value.value().split_first_chunk() {
        Some((sum, content)) if u32::from_le_bytes(*sum) == checksum(key, content) => Ok(Some(content.to_vec())),
        _ => Err(StorageError::Corrupted(format!("the checksum of its {key} is wrong"))),
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_le_bytes)
}

pub(super) fn open_error(error: redb::Error) -> OpenError {
    match error {
        redb::Error::DatabaseAlreadyOpen => OpenError::InUse,
        redb::Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            OpenError::Damaged("it ends too early".into())
        }
        redb::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => OpenError::Damaged(error.to_string()),
        redb::Error::Io(error) => OpenError::Io(error),
        error => OpenError::Damaged(error.to_string()),
    }
}
