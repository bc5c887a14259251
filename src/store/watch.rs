//! Telling what changed: a short history that all watchers share, each with a place of its own in it.
//!
//! The history and the state are published together, in one pointer (`Published`), so that a watcher that starts at a
//! snapshot's revision misses nothing and hears nothing twice. A watcher has no buffer: one that reads slowly costs
//! nothing, until the history has gone past its place and it is told to list again.

use cube_planted::{Bug, planted};
use std::pin::pin;
use std::sync::Arc;

use arc_swap::ArcSwap;
use imbl::Vector;
use thiserror::Error;

use super::bell::Bell;
use super::{Health, Key, Options, Record, Revision, Snapshot};

/// At most so many events at once (more only when one transaction has more). Too low costs wake-ups and locks of whoever
/// listens, too high holds up everything else on its thread.
const BATCH: usize = 256;

/// One change of one object.
#[derive(Clone, Debug)]
pub struct Event {
    /// The revision of this change.
    pub revision: Revision,
    /// The object.
    pub key: Key,
    /// The state before; `None` when it was created.
    pub before: Option<Arc<Record>>,
    /// The state after; `None` when it was deleted.
    pub after: Option<Arc<Record>>,
    /// When it was deleted: the last state, stamped with the deletion's revision.
    pub deleted: Option<Arc<Record>>,
    /// The last revision of its transaction: a batch never ends before it.
    pub(super) commit: Revision,
}

impl Event {
    fn size(&self) -> usize {
        let new = self.after.as_ref().or(self.deleted.as_ref());
        std::mem::size_of::<Self>() + self.key.as_str().len() + new.map_or(0, |record| record.bytes.len())
    }
}

/// Why a watch cannot start or go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum WatchError {
    /// The history no longer reaches back so far. List again, and watch from there.
    #[error("revision {asked} is too old: the history begins after {compacted}")]
    Compacted {
        /// Where the watch would have gone on.
        asked: Revision,
        /// The oldest revision to watch from.
        compacted: Revision,
    },
    /// No such revision yet: it comes from another cluster, or from before a restore. List again.
    #[error("revision {asked} is not there yet: the newest is {current}")]
    Future {
        /// Where the watch should have begun.
        asked: Revision,
        /// The newest revision.
        current: Revision,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

/// What everyone sees, replaced as a whole by each group of commits.
#[derive(Clone, Default)]
pub(super) struct Published {
    pub snapshot: Snapshot,
    /// The events after `compacted`, oldest first.
    pub events: Vector<Arc<Event>>,
    pub compacted: Revision,
    /// The size of `events`.
    bytes: usize,
}

impl Published {
    /// State without a history: after a start, or when the history is not known.
    pub fn bare(snapshot: Snapshot) -> Self {
        Self {
            compacted: snapshot.revision,
            snapshot,
            events: Vector::new(),
            bytes: 0,
        }
    }

    pub fn push(&mut self, event: Arc<Event>) {
        self.bytes += event.size();
        self.events.push_back(event);
    }

    /// Forgets what is too much, oldest transactions first. The newest one always stays.
    pub fn trim(&mut self, options: &Options) {
        let newest = self.events.back().map(|event| event.commit);
        while self.events.len() > options.history_events || self.bytes > options.history_bytes {
            let Some(commit) = self.events.front().map(|event| event.commit) else {
                break;
            };
            if Some(commit) == newest {
                break;
            }
            while self.events.front().is_some_and(|event| event.commit == commit) {
                self.bytes -= self.events.pop_front().map_or(0, |event| event.size());
            }
            self.compacted = commit;
        }
    }

    fn position_after(&self, revision: Revision) -> usize {
        (self.events.binary_search_by(|event| event.revision.cmp(&revision))).map_or_else(|at| at, |at| at + 1)
    }
}

/// What the writer and all readers share.
pub(super) struct Shared {
    pub cluster: String,
    pub published: ArcSwap<Published>,
    pub health: ArcSwap<Health>,
    /// Rings at each publication, and for good once the store is closed.
    news: Bell,
}

impl Shared {
    pub fn new(cluster: String, published: Published) -> Self {
        Self {
            cluster,
            published: ArcSwap::from_pointee(published),
            health: ArcSwap::default(),
            news: Bell::default(),
        }
    }

    pub fn publish(&self, published: Published) {
        self.published.store(Arc::new(published));
        self.news.ring();
    }

    pub fn close(&self) {
        self.news.close();
    }

    pub fn is_closed(&self) -> bool {
        self.news.is_closed()
    }
}

/// A place in the history, for the keys with one prefix.
pub struct Watch {
    shared: Arc<Shared>,
    /// Where at the bell it listens.
    place: usize,
    prefix: Box<str>,
    revision: Revision,
}

impl Watch {
    pub(super) fn new(shared: &Arc<Shared>, prefix: &str, after: Revision) -> Result<Self, WatchError> {
        let now = shared.published.load();
        let current = now.snapshot.revision;
        if after > current {
            return Err(WatchError::Future { asked: after, current });
        }
        let watch = Self {
            shared: shared.clone(),
            place: shared.news.place(),
            prefix: prefix.into(),
            revision: after,
        };
        watch.check(&now)?;
        Ok(watch)
    }

    fn check(&self, now: &Published) -> Result<(), WatchError> {
        if self.revision >= now.compacted || planted(Bug::CompactionUntold) {
            return Ok(());
        }
        Err(WatchError::Compacted {
            asked: self.revision,
            compacted: now.compacted,
        })
    }

    /// Everything up to this revision was delivered. It moves on with what others write too, so it makes a good bookmark.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Waits for the next events of the prefix: in order, without gaps, whole transactions, a bounded number at once.
    ///
    /// Safe to drop while it waits: no event is lost with it.
    pub async fn next(&mut self) -> Result<Vec<Arc<Event>>, WatchError> {
        loop {
            let shared = Arc::clone(&self.shared);
            // What rings from here on is heard below.
            let mut heard = pin!(shared.news.listen(self.place));
            heard.as_mut().enable();
            let closed = shared.is_closed();
            let events = self.ready()?;
            if !events.is_empty() {
                return Ok(events);
            }
            if closed {
                return Err(WatchError::Closed);
            }
            heard.await;
        }
    }

    /// The same without waiting: empty when nothing of the prefix is new.
    pub fn ready(&mut self) -> Result<Vec<Arc<Event>>, WatchError> {
        let now = self.shared.published.load_full();
        self.check(&now)?;
        let mut batch = Vec::new();
        let mut seen = self.revision;
        for event in now.events.focus().narrow(now.position_after(self.revision)..) {
            if batch.len() >= BATCH && event.commit != seen {
                self.revision = seen;
                return Ok(batch);
            }
            let is_first = seen == self.revision && batch.is_empty();
            if planted(Bug::WatchSkips) && is_first && event.revision.is_multiple_of(8) {
                continue;
            }
            if event.key.as_str().starts_with(&*self.prefix) {
                batch.push(event.clone());
            }
            seen = event.commit;
        }
        self.revision = now.snapshot.revision;
        Ok(batch)
    }
}
