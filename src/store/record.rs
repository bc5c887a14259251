//! A stored object: bytes with a revision, decoded at most once.

use std::any::Any;
use std::fmt;
use std::sync::OnceLock;

use super::{Key, Revision};

/// One state of one object. It never changes; the next write of the object makes another.
pub struct Record {
    /// Where it is kept.
    pub key: Key,
    /// The commit that made this state.
    pub revision: Revision,
    /// The object as it was written.
    pub bytes: Box<[u8]>,
    decoded: OnceLock<Box<dyn Any + Send + Sync>>,
}

impl Record {
    /// A record that nobody has decoded yet.
    pub fn new(key: Key, revision: Revision, bytes: impl Into<Box<[u8]>>) -> Self {
        Self {
            key,
            revision,
            bytes: bytes.into(),
            decoded: OnceLock::new(),
        }
    }

    /// The decoded form, made once by the first who asks and then shared by all.
    ///
    /// All who ask for one kind must ask for one type: another one is a bug of ours, and panics.
    pub fn decoded<T: Any + Send + Sync>(&self, decode: impl FnOnce(&Record) -> T) -> &T {
        self.decoded
            .get_or_init(|| Box::new(decode(self)))
            .downcast_ref()
            .unwrap_or_else(|| panic!("{}: decoded before as another type", self.key))
    }

    /// Whether somebody has decoded it.
    pub(super) fn is_decoded(&self) -> bool {
        self.decoded.get().is_some()
    }

    /// The bytes of the object and its key.
    pub(super) fn size(&self) -> usize {
        self.key.as_str().len() + self.bytes.len()
    }

    /// The same bytes with a revision, perhaps another: how a deletion tells what it deleted.
    pub(super) fn stamped(&self, revision: Revision) -> Self {
        Self::new(self.key.clone(), revision, self.bytes.clone())
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{} ({} bytes)", self.key, self.revision, self.bytes.len())
    }
}
