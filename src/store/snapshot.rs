//! The state at one revision.

use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;

use super::{Key, Record, Revision};

/// Everything as it was after one commit. Cheap to clone: copies share all that they have in common.
#[derive(Clone, Default)]
pub struct Snapshot {
    pub(super) revision: Revision,
    pub(super) records: OrdMap<Key, Arc<Record>>,
}

impl Snapshot {
    /// The revision of the commit after which this was taken.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The object at `key`.
    pub fn get(&self, key: &Key) -> Option<&Arc<Record>> {
        self.records.get(key)
    }

    /// The objects whose key begins with `prefix`, in order of their keys.
    pub fn range<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a Arc<Record>> + 'a {
        self.records
            .range::<_, str>((Bound::Included(prefix), Bound::Unbounded))
            .map(|(_, record)| record)
            .take_while(move |record| record.key.as_str().starts_with(prefix))
    }

    /// The same, less all up to the key `after`, which has that prefix too.
    pub fn range_after<'a>(&'a self, prefix: &'a str, after: &'a str) -> impl Iterator<Item = &'a Arc<Record>> + 'a {
        self.records
            .range::<_, str>((Bound::Excluded(after), Bound::Unbounded))
            .map(|(_, record)| record)
            .take_while(move |record| record.key.as_str().starts_with(prefix))
    }

    /// The number of objects.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is no object at all.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub(super) fn apply(&mut self, key: &Key, after: Option<Arc<Record>>) -> Option<Arc<Record>> {
        match after {
            Some(record) => self.records.insert(key.clone(), record),
            None => self.records.remove(key),
        }
    }

    /// Whether both hold the same keys in the same states.
    pub(super) fn same_states(&self, other: &Snapshot) -> bool {
        self.len() == other.len()
            && (self.records.iter().zip(other.records.iter()))
                .all(|((key, record), (other_key, other))| key == other_key && record.revision == other.revision)
    }
}
