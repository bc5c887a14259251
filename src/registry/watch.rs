//! Watching a kind: what is there, then every change, in order and without gaps.
//!
//! An object that begins to satisfy the filter is told as added, one that ceases to as deleted, as Kubernetes does. It
//! never drops events in silence: one who reads too slowly is told that the place is lost, and lists again.
use std::sync::Arc;

use cube_api::kinds::Kind;

use super::{ApiError, Filter, List, Object, Registry, StatusReason, list, only_key, prefix};
use crate::store::{Event, Watch, WatchError};

/// What to watch, and from where.
#[derive(Clone, Debug, Default)]
pub struct WatchOptions {
    /// Only these objects.
    pub filter: Filter,
    /// Changes after this revision. None or 0: what is there now comes first, as added.
    pub after: Option<u64>,
    /// What is there now comes first, whatever `after` says.
    pub send_initial_events: bool,
}

/// One change of one object, as the watcher sees it.
#[derive(Clone, Debug)]
pub enum WatchEvent {
    /// It is there, and was not (or was not meant).
    Added(Object),
    /// It changed.
    Modified(Object),
    /// It is gone (or no longer meant): its last state, with the revision of the deletion.
    Deleted(Object),
}

impl WatchEvent {
    /// The object.
    pub fn object(&self) -> &Object {
        match self {
            Self::Added(object) | Self::Modified(object) | Self::Deleted(object) => object,
        }
    }
}

/// One change of one object, as it was before and is after it, whatever the filter means.
#[derive(Clone, Debug)]
pub struct ObjectChange {
    /// None: it was not there.
    pub before: Option<Object>,
    /// None: it is gone.
    pub after: Option<Object>,
}

impl ObjectChange {
    fn of(event: &Event) -> Self {
        Self {
            before: event.before.clone().map(Object::new),
            after: event.after.clone().map(Object::new),
        }
    }

    /// The object as it is, or as it was last.
    pub fn object(&self) -> &Object {
        match (&self.after, &self.before) {
            (Some(object), _) | (None, Some(object)) => object,
            (None, None) => unreachable!("a change is of an object"),
        }
    }
}

/// A watch under way.
pub struct ObjectWatch {
    watch: Watch,
    filter: Filter,
    initial: Option<List>,
}

impl Registry {
    /// Watches the objects of a kind.
    ///
    /// # Errors
    /// 410 when `after` is not known any more, or not yet.
    pub fn watch(&self, kind: Kind, options: WatchOptions) -> Result<ObjectWatch, ApiError> {
        let WatchOptions {
            filter,
            after,
            send_initial_events,
        } = options;
        let after = after.filter(|after| *after > 0 && !send_initial_events);
        let initial = after.is_none().then(|| list(&self.snapshot(), kind, &filter));
        let from = after.or(initial.as_ref().map(|list| list.revision)).unwrap_or_default();
        let watch = match only_key(kind, &filter) {
            Some(key) => self.store.watch_one(key, from),
            None => self.store.watch(&prefix(kind, &filter), from),
        };
        Ok(ObjectWatch {
            watch: watch.map_err(refused)?,
            filter,
            initial,
        })
    }
}

impl Registry {
    /// Watches the objects of all kinds, in one order, from after a revision: for the loops in this process.
    ///
    /// # Errors
    /// 410 when that revision is not known any more, or not yet.
    pub fn watch_all(&self, after: u64) -> Result<ObjectWatch, ApiError> {
        Ok(ObjectWatch {
            watch: self.store.watch("", after).map_err(refused)?,
            filter: Filter::default(),
            initial: None,
        })
    }
}

impl ObjectWatch {
    /// Changes that are there already, a bounded number; none: everything up to [`ObjectWatch::revision`] was told.
    ///
    /// # Errors
    /// 410 when the place is lost.
    pub fn ready(&mut self) -> Result<Vec<WatchEvent>, ApiError> {
        if let Some(list) = self.initial.take() {
            return Ok(list.items.into_iter().map(WatchEvent::Added).collect());
        }
        let events = self.watch.ready().map_err(refused)?;
        Ok(events.iter().filter_map(|event| self.told(event)).collect())
    }

    /// The next changes. Where what is there comes first, it comes whole in the first answer, which may be empty.
    /// Safe to drop while it waits.
    ///
    /// # Errors
    /// 410 when the place is lost: list again, and watch from there.
    pub async fn next(&mut self) -> Result<Vec<WatchEvent>, ApiError> {
        if let Some(list) = self.initial.take() {
            return Ok(list.items.into_iter().map(WatchEvent::Added).collect());
        }
        loop {
            let events = self.watch.next().await.map_err(refused)?;
            let events: Vec<_> = events.iter().filter_map(|event| self.told(event)).collect();
            if !events.is_empty() {
                return Ok(events);
            }
        }
    }

    /// Changes that are there already, with what was before them, a bounded number. Only for a watch that begins after a
    /// revision.
    ///
    /// # Errors
    /// 410 when the place is lost.
    pub fn ready_changes(&mut self) -> Result<Vec<ObjectChange>, ApiError> {
        let events = self.watch.ready().map_err(refused)?;
        Ok(events.iter().map(|event| ObjectChange::of(event)).collect())
    }

    /// The same, waiting for the next one. Safe to drop while it waits.
    ///
    /// # Errors
    /// 410 when the place is lost: list again, and watch from there.
    pub async fn next_changes(&mut self) -> Result<Vec<ObjectChange>, ApiError> {
        let events = self.watch.next().await.map_err(refused)?;
        Ok(events.iter().map(|event| ObjectChange::of(event)).collect())
    }

    /// Everything up to here was told: a bookmark. Of no meaning before the first answer; it moves on with what is not
    /// meant whenever it is asked what is [`ready`](Self::ready).
    pub fn revision(&self) -> u64 {
        self.watch.revision()
    }

    fn told(&self, event: &Arc<Event>) -> Option<WatchEvent> {
        let meant = |object: &Object| self.filter.matches(object);
        let before = event.before.clone().map(Object::new).filter(meant);
        let after = event.after.clone().map(Object::new);
        match (before, after) {
            (None, Some(after)) => meant(&after).then_some(WatchEvent::Added(after)),
            (Some(_), Some(after)) if meant(&after) => Some(WatchEvent::Modified(after)),
            // What is meant no longer is told as it was, at the revision that took it out of sight.
            (Some(before), Some(after)) => Some(WatchEvent::Deleted(before.at(after.revision()))),
            (Some(before), None) => {
                let last = event.deleted.clone().map(Object::new);
                Some(WatchEvent::Deleted(last.unwrap_or_else(|| before.at(event.revision))))
            }
            (None, None) => None,
        }
    }
}

pub(super) fn refused(error: WatchError) -> ApiError {
    match error {
        WatchError::Compacted { asked, compacted } => ApiError::expired(asked, compacted),
        // Kubernetes says 504 here; kube-rs lists again for 410 alone.
        WatchError::Future { asked, current } => {
            let message = format!("resource version {asked} is not there yet: the newest is {current}");
            ApiError::new(StatusReason::Expired, message)
        }
        WatchError::Closed => ApiError::unavailable(error),
    }
}
