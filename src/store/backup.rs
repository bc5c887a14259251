//! A whole store as one stream, and back.
//!
//! ```text
//! CUBEBAK\n, format (u32), cluster (u32 length, text), revision (u64)
//! for each record: 1 (u8), revision (u64), key (u32 length, text), object (u32 length, bytes)
//! 0 (u8), number of records (u64), crc32 of all before (u32)
//! ```
//!
//! Numbers are little-endian. A stream that was cut off, or changed anywhere, is refused as a whole.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::sync::Arc;

use super::disk::{Disk, Writes};
use super::{Key, Record, RestoreError, Revision, Store, file};

const MAGIC: &[u8; 8] = b"CUBEBAK\n";
const FORMAT: u32 = 1;

/// A restored store goes on so far above its backup and the store that it replaces, because revisions after the backup
/// were seen by workers and clients: none of them may ever mean something else.
const JUMP: Revision = 1_000_000_000;

/// So many bytes go into one commit while restoring. More takes more memory, less more time.
const CHUNK: usize = 4 << 20;

/// What to do about a store that is there already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Existing {
    /// Refuse to restore.
    Refuse,
    /// Put it aside, with `.replaced` at the end of its name.
    Replace,
}

/// What a restored store holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Restored {
    /// The cluster's id.
    pub cluster: String,
    /// The revision of the backup.
    pub backup: Revision,
    /// The revision at which the store goes on.
    pub revision: Revision,
    /// The number of objects.
    pub records: u64,
}

impl Store {
    /// Writes everything as of now to `out`. Commits go on meanwhile and are not in it. Returns the revision.
    pub fn backup(&self, out: impl Write) -> io::Result<Revision> {
        let snapshot = self.snapshot();
        let mut out = Summed::new(BufWriter::new(out));
        out.write_all(MAGIC)?;
        out.write_all(&FORMAT.to_le_bytes())?;
        write_block(&mut out, self.cluster().as_bytes())?;
        out.write_all(&snapshot.revision().to_le_bytes())?;
        for record in snapshot.range("") {
            out.write_all(&[1])?;
            out.write_all(&record.revision.to_le_bytes())?;
            write_block(&mut out, record.key.as_str().as_bytes())?;
            write_block(&mut out, &record.bytes)?;
        }
        out.write_all(&[0])?;
        out.write_all(&(snapshot.len() as u64).to_le_bytes())?;
        let sum = out.sum();
        out.inner.write_all(&sum.to_le_bytes())?;
        out.inner.flush()?;
        Ok(snapshot.revision())
    }

    /// Makes the store at `path` from a backup. No process may have it open.
    pub fn restore(path: &Path, input: impl Read, existing: Existing) -> Result<Restored, RestoreError> {
        let old = match File::options().read(true).write(true).open(path) {
            Ok(_) if existing == Existing::Refuse => return Err(RestoreError::Exists(path.into())),
            Ok(old) => Some(old),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        let held = old.map(|old| Replaced::hold(path, old)).transpose()?;
        let mut input = Summed::new(BufReader::new(input));
        let (cluster, backup) = read_header(&mut input)?;
        let replaced = held.as_ref().map_or(0, Replaced::revision);
        let revision = backup.max(replaced) + JUMP;
        let mut draft = file::Draft::new(path, &cluster)?;
        let records = read_records(&mut input, backup, |writes| {
            let written = draft.disk.write(&writes, revision);
            written.map_err(|failed| io::Error::other(format!("{}: {}", failed.step, failed.error)))
        })?;
        if held.is_some() {
            fs::rename(path, file::beside(path, ".replaced"))?;
        }
        draft.place()?;
        Ok(Restored {
            cluster,
            backup,
            revision,
            records,
        })
    }
}

/// The store that a backup takes the place of, held so that no process opens it meanwhile.
enum Replaced {
    /// It can be read, up to this revision.
    Whole(
        #[expect(dead_code, reason = "its lock is what counts")] Box<Disk>,
        Revision,
    ),
    /// It cannot.
    Broken(#[expect(dead_code, reason = "its lock is what counts")] File),
}

impl Replaced {
    fn hold(path: &Path, file: File) -> Result<Self, RestoreError> {
        file.try_lock().map_err(|_| RestoreError::InUse)?;
        // redb wants the lock for itself.
        file.unlock()?;
        match Disk::open(&file::existing(path), None) {
            Ok((disk, loaded)) => Ok(Self::Whole(Box::new(disk), loaded.state.revision())),
            Err(_) => {
                file.try_lock().map_err(|_| RestoreError::InUse)?;
                Ok(Self::Broken(file))
            }
        }
    }

    /// The last revision that it is known to have given.
    fn revision(&self) -> Revision {
        match self {
            Self::Whole(_, revision) => *revision,
            Self::Broken(_) => 0,
        }
    }
}

fn read_header(input: &mut Summed<impl Read>) -> Result<(String, Revision), RestoreError> {
    if &read_array(input)? != MAGIC {
        return Err(RestoreError::Broken("it does not begin like a backup of cube".into()));
    }
    let format = u32::from_le_bytes(read_array(input)?);
    if format > FORMAT {
        return Err(RestoreError::Newer {
            found: format,
            newest: FORMAT,
        });
    }
    let cluster = text(read_block(input)?)?;
    Ok((cluster, u64::from_le_bytes(read_array(input)?)))
}

/// Reads the records up to the end of the stream, and hands them on in pieces.
fn read_records(
    input: &mut Summed<impl Read>,
    backup: Revision,
    mut put: impl FnMut(Writes) -> io::Result<()>,
) -> Result<u64, RestoreError> {
    let (mut count, mut size, mut writes) = (0, 0, Writes::new());
    while read_array(input)? == [1] {
        let revision = u64::from_le_bytes(read_array(input)?);
        let key = text(read_block(input)?)?;
        let Some(key) = Key::parse(&key).filter(|_| revision <= backup) else {
            return Err(RestoreError::Broken(format!("it has no sense at record {key:?}")));
        };
        let bytes = read_block(input)?;
        size += bytes.len();
        count += 1;
        writes.insert(key.clone(), Some(Arc::new(Record::new(key, revision, bytes))));
        if size >= CHUNK {
            size = 0;
            put(std::mem::take(&mut writes))?;
        }
    }
    let told = u64::from_le_bytes(read_array(input)?);
    let sum = input.sum();
    if told != count || u32::from_le_bytes(read_array(input)?) != sum {
        return Err(RestoreError::Broken("its checksum does not match its content".into()));
    }
    put(writes)?;
    Ok(count)
}

fn write_block(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(bytes)
}

fn read_block(input: &mut impl Read) -> Result<Vec<u8>, RestoreError> {
    let length = u32::from_le_bytes(read_array(input)?);
    let mut bytes = Vec::new();
    // Bit by bit: a damaged length must not ask for memory that the stream does not fill.
    input.by_ref().take(length.into()).read_to_end(&mut bytes)?;
    if bytes.len() < length as usize {
        return Err(cut_off());
    }
    Ok(bytes)
}

fn read_array<const N: usize>(input: &mut impl Read) -> Result<[u8; N], RestoreError> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => cut_off(),
        _ => error.into(),
    })?;
    Ok(bytes)
}

fn cut_off() -> RestoreError {
    RestoreError::Broken("it ends too early".into())
}

fn text(bytes: Vec<u8>) -> Result<String, RestoreError> {
    String::from_utf8(bytes).map_err(|_| RestoreError::Broken("a name in it is no text".into()))
}

/// A stream that sums up what goes through it.
struct Summed<S> {
    inner: S,
    hasher: crc32fast::Hasher,
}

impl<S> Summed<S> {
    fn new(inner: S) -> Self {
        Self {
            inner,
            hasher: crc32fast::Hasher::new(),
        }
    }

    fn sum(&self) -> u32 {
        self.hasher.clone().finalize()
    }
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Read for Summed<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(bytes)?;
        self.hasher.update(&bytes[..read]);
        Ok(read)
    }
}
