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

use super::bells::{Bell, Bells};
use super::{Health, Key, Options, Record, Revision, Snapshot};

/// At most so many events at once (more only when one transaction has more). Too low costs wake-ups and locks of whoever
/// listens, too high holds up everything else on its thread.
const BATCH: usize = 256;
/// The history may have one part in so many of what there is, where that is more than its bounds.
const SHARE: usize = 4;
/// What the newest so many events superseded stays decoded. Fewer would have who listens decode again, more takes memory:
/// decoded, an object takes twice as much.
const YOUNG: usize = 4096;

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
        std::mem::size_of::<Self>() + new.map_or(0, |record| record.size())
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
    /// The size of all that is in `snapshot`.
    size: usize,
    /// The events up to here have been laid bare.
    bare: Revision,
}

impl Published {
    /// State without a history: after a start, or when the history is not known.
    pub fn bare(snapshot: Snapshot) -> Self {
        Self {
            compacted: snapshot.revision,
            size: snapshot.records.values().map(|record| record.size()).sum(),
            snapshot,
            events: Vector::new(),
            bytes: 0,
            bare: 0,
        }
    }

    pub fn push(&mut self, event: Arc<Event>) {
        let size = |record: &Option<Arc<Record>>| record.as_ref().map_or(0, |record| record.size());
        self.size = self.size + size(&event.after) - size(&event.before);
        self.bytes += event.size();
        self.events.push_back(event);
    }

    /// Forgets what is too much, oldest transactions first, and gives it. The newest one always stays.
    fn trim(&mut self, options: &Options) -> Vec<Arc<Event>> {
        let most = options.history_events.max(self.snapshot.len() / SHARE);
        let most_bytes = options.history_bytes.max(self.size / SHARE);
        let newest = self.events.back().map(|event| event.commit);
        let mut forgotten = Vec::new();
        while self.events.len() > most || self.bytes > most_bytes {
            let Some(commit) = self.events.front().map(|event| event.commit) else {
                break;
            };
            if Some(commit) == newest {
                break;
            }
            while self.events.front().is_some_and(|event| event.commit == commit) {
                if let Some(event) = self.events.pop_front() {
                    self.bytes -= event.size();
                    forgotten.push(event);
                }
            }
            self.compacted = commit;
        }
        forgotten
    }

    /// What all but the newest `young` events superseded is kept as it was written, and no longer decoded.
    fn lay_bare(&mut self, young: usize) {
        let old = self.events.len().saturating_sub(young);
        for at in self.position_after(self.bare)..old {
            let event = Arc::clone(&self.events[at]);
            self.bare = event.revision;
            let Some(before) = event.before.as_ref().filter(|record| record.is_decoded()) else {
                continue;
            };
            let before = Arc::new(before.stamped(before.revision));
            // The event that made it has it too.
            let maker = self
                .events
                .binary_search_by(|event| event.revision.cmp(&before.revision));
            if let Ok(maker) = maker {
                let after = Some(before.clone());
                let event = Event::clone(&self.events[maker]);
                self.events.set(maker, Arc::new(Event { after, ..event }));
            }
            let before = Some(before);
            let event = Event::clone(&event);
            self.events.set(at, Arc::new(Event { before, ..event }));
        }
    }

    /// The state after that revision.
    pub fn at(&self, asked: Revision) -> Result<Snapshot, WatchError> {
        let (compacted, current) = (self.compacted, self.snapshot.revision);
        if asked > current {
            return Err(WatchError::Future { asked, current });
        }
        if asked < compacted {
            return Err(WatchError::Compacted { asked, compacted });
        }
        let mut snapshot = self.snapshot.clone();
        let since = self.events.focus().narrow(self.position_after(asked)..);
        for event in since.into_iter().rev() {
            snapshot.apply(&event.key, event.before.clone());
        }
        snapshot.revision = asked;
        Ok(snapshot)
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
    /// Ring at each publication those whom it concerns, and all for good once the store is closed.
    bells: Bells,
}

impl Shared {
    pub fn new(cluster: String, published: Published) -> Self {
        Self {
            cluster,
            published: ArcSwap::from_pointee(published),
            health: ArcSwap::default(),
            bells: Bells::default(),
        }
    }

    /// Has everyone see it, but for that part of the history which is too much.
    pub fn publish(&self, mut published: Published, options: &Options) {
        let bells = self.bells.hold();
        let forgotten = published.trim(options);
        // Said before it is so: a watch may be told a moment too early that it has missed something, but never too late.
        for event in &forgotten {
            bells.forget(&event.key, event.revision);
        }
        published.lay_bare(YOUNG);
        let before = self.published.load().snapshot.revision;
        // Of a large group the first may be forgotten before anybody could hear of it; it rings all the same.
        let unheard = forgotten.iter().filter(|event| event.revision > before);
        let new = published.events.focus().narrow(published.position_after(before)..);
        let rung = bells.rung_by(unheard.chain(new).map(|event| &event.key));
        self.published.store(Arc::new(published));
        drop(bells);
        rung.ring();
    }

    pub fn close(&self) {
        self.bells.close();
    }

    pub fn is_closed(&self) -> bool {
        self.bells.is_closed()
    }
}

/// Which keys are watched.
pub(super) enum Scope {
    /// Those that begin so.
    Prefix(Box<str>),
    /// This one.
    One(Key),
}

impl Scope {
    /// Where its bell is: the narrowest that all its keys ring.
    fn bell(&self) -> &str {
        match self {
            Self::Prefix(prefix) => &prefix[..prefix.rfind('/').map_or(0, |at| at + 1)],
            Self::One(key) => key.as_str(),
        }
    }

    fn has(&self, key: &Key) -> bool {
        match self {
            Self::Prefix(prefix) => key.as_str().starts_with(&**prefix),
            Self::One(one) => key == one,
        }
    }
}

/// A place in the history, for certain keys.
pub struct Watch {
    shared: Arc<Shared>,
    bell: Arc<Bell>,
    /// Where at the bell it listens.
    place: usize,
    scope: Scope,
    revision: Revision,
}

impl Watch {
    pub(super) fn new(shared: &Arc<Shared>, scope: Scope, after: Revision) -> Result<Self, WatchError> {
        // What is forgotten from here on is heard of.
        let mut bells = shared.bells.hold();
        let now = shared.published.load();
        let current = now.snapshot.revision;
        if after > current {
            return Err(WatchError::Future { asked: after, current });
        }
        if after < now.compacted && !planted(Bug::CompactionUntold) {
            return Err(WatchError::Compacted {
                asked: after,
                compacted: now.compacted,
            });
        }
        let bell = bells.join(scope.bell());
        Ok(Self {
            shared: shared.clone(),
            place: bell.place(),
            bell,
            scope,
            revision: after,
        })
    }

    /// Everything up to this revision was delivered. It moves on with what others write too, whenever it is asked what is
    /// [`ready`](Self::ready), so it makes a good bookmark.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Waits for the next events of the prefix: in order, without gaps, whole transactions, a bounded number at once.
    ///
    /// Safe to drop while it waits: no event is lost with it.
    pub async fn next(&mut self) -> Result<Vec<Arc<Event>>, WatchError> {
        loop {
            let bell = Arc::clone(&self.bell);
            // What rings from here on is heard below.
            let mut heard = pin!(bell.listen(self.place));
            heard.as_mut().enable();
            let closed = self.shared.is_closed();
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
        // What it was not told of others' keys is no loss.
        let missed = self.revision < now.compacted && self.bell.forgotten() > self.revision;
        if missed && !planted(Bug::CompactionUntold) {
            return Err(WatchError::Compacted {
                asked: self.revision,
                compacted: now.compacted,
            });
        }
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
            if self.scope.has(&event.key) {
                batch.push(event.clone());
            }
            seen = event.commit;
        }
        self.revision = now.snapshot.revision;
        Ok(batch)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.bells.hold().leave(self.scope.bell(), &self.bell);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{key, options};
    use super::*;

    #[tokio::test]
    async fn who_waits_hears_also_of_what_was_forgotten_as_soon_as_it_was_written() {
        let shared = Arc::new(Shared::new(String::new(), Published::default()));
        let mut watch = Watch::new(&shared, Scope::One(key("mine")), 0).unwrap();
        let waits = tokio::spawn(async move { watch.next().await.unwrap_err() });
        tokio::task::yield_now().await;
        // One group of commits, of which the history keeps the last two.
        let mut published = Published::default();
        for (revision, name) in (1..).zip(["mine", "a", "b", "c"]) {
            published.push(Arc::new(Event {
                revision,
                key: key(name),
                before: None,
                after: None,
                deleted: None,
                commit: revision,
            }));
            published.snapshot.revision = revision;
        }
        let history_events = 2;
        shared.publish(
            published,
            &Options {
                history_events,
                ..options()
            },
        );
        let compacted = WatchError::Compacted { asked: 0, compacted: 2 };
        let heard = tokio::time::timeout(std::time::Duration::from_secs(10), waits).await;
        assert_eq!(heard.expect("it is woken").unwrap(), compacted);
    }

    #[test]
    fn what_was_superseded_long_ago_is_no_longer_decoded() {
        let key = Key::new("tasks", "default", "web");
        let mut published = Published::default();
        let mut before: Option<Arc<Record>> = None;
        for revision in 1..=10 {
            let record = Arc::new(Record::new(key.clone(), revision, vec![revision as u8]));
            record.decoded(|_| revision);
            published.push(Arc::new(Event {
                revision,
                key: key.clone(),
                before: before.replace(record.clone()),
                after: Some(record),
                deleted: None,
                commit: revision,
            }));
            published.lay_bare(3);
        }
        let is_decoded = |record: &Option<Arc<Record>>| record.as_ref().is_some_and(|record| record.is_decoded());
        for event in &published.events {
            let before = event
                .before
                .as_ref()
                .map(|record| (record.revision, record.bytes.to_vec()));
            let expected = event.revision - 1;
            assert_eq!(before, (expected > 0).then(|| (expected, vec![expected as u8])));
            assert_eq!(is_decoded(&event.before), event.revision > 7);
            assert_eq!(is_decoded(&event.after), event.revision >= 7);
        }
    }
}
