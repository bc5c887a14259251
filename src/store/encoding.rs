//! How one record lies on disk, and how records are found in a file that is too broken to be opened.
//!
//! ```text
//! magic (4 bytes), crc32 of what follows (4), revision (8), length of the key (2), of the object (4), key, object
//! ```
//!
//! The key is in there a second time, and the lengths are, so that a record can be recognized wherever it lies: then the
//! refusal of a damaged file can name what is damaged, and whatever is whole can still be saved by hand.

use std::collections::BTreeMap;

use super::{Key, Record, Revision};

const MAGIC: [u8; 4] = [0xC5, b'C', b'R', 0x01];
const HEAD: usize = 22;

/// The length of a record as bytes.
pub(super) fn size(record: &Record) -> usize {
    HEAD + record.key.as_str().len() + record.bytes.len()
}

/// The record as bytes. Its key is shorter than 64 KiB and its object than 4 GiB, or decoding refuses it.
pub(super) fn encode(record: &Record) -> Vec<u8> {
    let key = record.key.as_str().as_bytes();
    let mut value = Vec::with_capacity(size(record));
    value.extend(MAGIC);
    value.extend([0; 4]);
    value.extend(record.revision.to_le_bytes());
    value.extend((key.len() as u16).to_le_bytes());
    value.extend((record.bytes.len() as u32).to_le_bytes());
    value.extend(key);
    value.extend(&*record.bytes);
    let sum = crc32fast::hash(&value[8..]);
    value[4..8].copy_from_slice(&sum.to_le_bytes());
    value
}

/// The record, if it is exactly what was written under `key`.
pub(super) fn decode(key: &str, value: &[u8]) -> Option<Record> {
    whole(value).filter(|record| record.key.as_str() == key)
}

/// The record, if it is exactly what was written.
pub(super) fn whole(value: &[u8]) -> Option<Record> {
    let found = Found::at(value).filter(|found| found.whole && found.length == value.len())?;
    Some(Record::new(Key::parse(found.key)?, found.revision, found.object))
}

/// What looks like a record.
struct Found<'a> {
    key: &'a str,
    revision: Revision,
    object: &'a [u8],
    length: usize,
    whole: bool,
}

impl<'a> Found<'a> {
    fn at(bytes: &'a [u8]) -> Option<Self> {
        let head = bytes.get(..HEAD).filter(|head| head.starts_with(&MAGIC))?;
        let sum = u32::from_le_bytes(*head[4..].first_chunk()?);
        let key_length = usize::from(u16::from_le_bytes(*head[16..].first_chunk()?));
        let object_at = HEAD + key_length;
        let length = object_at + u32::from_le_bytes(*head[18..].first_chunk()?) as usize;
        let covered = bytes.get(8..length)?;
        Some(Self {
            key: std::str::from_utf8(bytes.get(HEAD..object_at)?).ok()?,
            revision: u64::from_le_bytes(*head[8..].first_chunk()?),
            object: bytes.get(object_at..length)?,
            length,
            whole: crc32fast::hash(covered) == sum,
        })
    }
}

/// The keys of damaged records in a whole file, as far as can be told. Older states still lie around in it: one that is
/// damaged counts only if no newer state of its key is whole.
pub(super) fn damaged(file: &[u8]) -> Vec<String> {
    let mut newest_whole: BTreeMap<&str, Revision> = BTreeMap::new();
    let mut broken: BTreeMap<&str, Revision> = BTreeMap::new();
    for at in (0..file.len()).filter(|&at| file[at] == MAGIC[0]) {
        let Some(found) = Found::at(&file[at..]).filter(|found| Key::parse(found.key).is_some()) else {
            continue;
        };
        let seen = if found.whole { &mut newest_whole } else { &mut broken };
        let newest = seen.entry(found.key).or_default();
        *newest = found.revision.max(*newest);
    }
    let is_newest = |(key, revision): &(&str, Revision)| newest_whole.get(key).is_none_or(|whole| whole <= revision);
    broken
        .into_iter()
        .filter(is_newest)
        .map(|(key, _)| key.into())
        .collect()
}
