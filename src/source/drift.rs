//! Others' writes: of the objects that the directory says, and of the Source itself (a yes).
//!
//! It only notices; what is not as its file says is applied again like everything else. Read [`Actor::heed`] first.
use cube_api::kinds::Kind;
use cube_plan::prune::ObjectId;
use cube_planted::{Bug, planted};
use futures_util::future::select_all;
use tokio::time::Instant;

use super::{actor::Actor, apply::Mark};
use crate::registry::{FieldSelector, Filter, Object, ObjectWatch, Registry, WatchEvent, WatchOptions};

/// The watches of a source.
pub(super) struct Drift {
    registry: Registry,
    name: String,
    watches: Vec<ObjectWatch>,
}

impl Drift {
    pub fn new(registry: &Registry, name: &str) -> Self {
        let (registry, name) = (registry.clone(), name.to_owned());
        let watches = Vec::new();
        let mut drift = Self {
            registry,
            name,
            watches,
        };
        drift.open();
        drift
    }

    fn open(&mut self) -> bool {
        let after = Some(self.registry.snapshot().revision());
        let kinds = Kind::ALL.iter().filter(|kind| kind.info().manifest);
        let objects = kinds.map(|kind| (*kind, Filter::default()));
        let own = Filter {
            fields: FieldSelector::name(&self.name),
            ..Filter::default()
        };
        let watches = objects.chain([(Kind::Source, own)]).map(|(kind, filter)| {
            let options = WatchOptions {
                filter,
                after,
                send_initial_events: false,
            };
            self.registry.watch(kind, options)
        });
        match watches.collect() {
            Ok(watches) => self.watches = watches,
            Err(_) => self.watches.clear(),
        }
        !self.watches.is_empty()
    }

    /// The next changes; none when changes were missed. Safe to drop while it waits.
    pub async fn next(&mut self) -> Option<Vec<WatchEvent>> {
        if self.watches.is_empty() {
            // The store is closing, or closed: no haste.
            tokio::time::sleep(super::actor::RETRY).await;
            self.open();
            return None;
        }
        let next = self.watches.iter_mut().map(|watch| Box::pin(watch.next()));
        let (events, _, _) = select_all(next).await;
        if events.is_err() {
            self.watches.clear();
            self.open();
        }
        events.ok()
    }
}

impl Actor {
    /// Takes word of others' writes.
    pub(super) fn heed(&mut self, events: Option<Vec<WatchEvent>>) {
        if planted(Bug::DriftLeft) {
            return;
        }
        let Some(events) = events else {
            self.dirty.extend(self.table.objects().cloned());
            self.prune_at = Some(Instant::now());
            return;
        };
        for event in events {
            let object = event.object();
            if object.kind() == Kind::Source {
                self.prune_at = Some(Instant::now());
                continue;
            }
            let id = id_of(object);
            if !self.refused.is_empty() && (id.kind == Kind::Namespace || self.refused.contains_key(&id)) {
                // What stood in the way may be gone.
                self.retry_at = Some(Instant::now());
            }
            if self.waiting.0.contains(&id) {
                self.prune_at = Some(Instant::now());
            }
            let deleted = matches!(event, WatchEvent::Deleted(_));
            if deleted {
                let was_ours = self.leaving.remove(&id);
                let known = self
                    .marks
                    .remove(&id)
                    .is_some_and(|mark| mark.revision < object.revision());
                if !self.table.sayers(&id).is_empty() {
                    if known && !was_ours {
                        self.drifted.insert(id.clone(), true);
                    }
                    self.dirty.insert(id);
                }
            } else if let Some(mark) = self.marks.get(&id)
                && mark.revision < object.revision()
                && !object.is_deleting()
                && *mark != Mark::of(object)
                && !self.table.sayers(&id).is_empty()
            {
                self.drifted.entry(id.clone()).or_insert(false);
                self.dirty.insert(id);
            }
        }
    }
}

/// Which object it is.
pub(super) fn id_of(object: &Object) -> ObjectId {
    ObjectId {
        kind: object.kind(),
        namespace: object.namespace().to_owned(),
        name: object.name().to_owned(),
    }
}
