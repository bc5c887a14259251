//! What leaves with its file: sees what is there, asks the brain, and carries out what it decides.
//!
//! Read [`Actor::prune`] first.
use cube_planted::{Bug, planted};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use cube_api::{kinds::Kind, meta::PRUNE_ANNOTATION, source::Source};
use cube_plan::prune::{
    APPROVED_ANNOTATION, Decision, ObjectId, Owned, Scan, Seen, Wait, decide_prune, digest, is_recent,
};
use futures_util::future::join_all;
use tokio::time::Instant;

use super::{
    Fact,
    actor::{Actor, RETRY},
    drift::id_of,
};
use crate::registry::{DeleteOptions, Object, StatusReason, Write};

/// A file that nobody closes is taken as it is after this time without a write. Too short takes what a slow program has
/// written so far for all there is.
const WRITTEN_AT_MOST: Duration = Duration::from_secs(60);

impl Actor {
    /// Judges what may leave, if that is due.
    pub(super) async fn prune(&mut self) {
        let now = Instant::now();
        if self.prune_at.is_none_or(|at| at > now) {
            return;
        }
        self.prune_at = None;
        let Some((seen, uids)) = self.seen(now) else {
            return self.wait(Vec::new(), Some(Wait::Incomplete(self.unread().unwrap_or_default())), 0);
        };
        let of = seen.owned.len();
        let decision = decide_prune(&seen);
        if decision.bind {
            self.bound_to = Some(seen.directory.clone());
        }
        let Decision {
            remove,
            approved,
            waiting,
            why,
            ..
        } = decision;
        if let Some(Wait::Quiet(left)) = why {
            // Who waits for a yes need not be told anew after each change.
            self.prune_at = Some(now + left);
            return;
        }
        if !remove.is_empty() && !self.verified {
            // Word may have been lost: nothing goes before the whole directory was looked at.
            self.verify();
            self.prune_at = Some(now);
            return;
        }
        let complete = matches!(seen.scan, Scan::Complete(_));
        self.wait(waiting, why, of);
        if !remove.is_empty() {
            self.remove(remove, approved, &uids).await;
        }
        // A yes is for one list, once.
        if complete && seen.approved.is_some() && (approved || seen.approved != Some(digest(&self.waiting.0))) {
            self.clear_approval().await;
        }
    }

    /// Why not all is known that the files say, if it is so.
    pub(super) fn unread(&self) -> Option<String> {
        if let Err(why) = &self.table.directory {
            return Some(why.clone());
        }
        let (path, _) = self.table.faults().next()?;
        Some(format!("{} is bad", path.display()))
    }

    /// Everything that the decision is made on; none without a directory.
    fn seen(&self, now: Instant) -> Option<(Seen, BTreeMap<ObjectId, String>)> {
        let directory = self.identity()?;
        let said: BTreeSet<ObjectId> = self.table.objects().cloned().collect();
        let objects = self.owned();
        let mut owned: BTreeMap<ObjectId, Owned> = BTreeMap::new();
        for object in &objects {
            let keep = object.meta().annotations.get(PRUNE_ANNOTATION).map(String::as_str) == Some("disabled");
            owned.insert(id_of(object), Owned { keep, others: 0 });
        }
        let rooms = owned
            .keys()
            .filter(|id| id.kind == Kind::Namespace && !said.contains(id));
        let rooms: Vec<ObjectId> = rooms.cloned().collect();
        for room in rooms {
            let others = self.others_in(&room.name, &owned, &said);
            if let Some(owned) = owned.get_mut(&room) {
                owned.others = others;
            }
        }
        let source = self.source();
        let approved = source.and_then(|source| source.meta().annotations.get(APPROVED_ANNOTATION).cloned());
        let scan = match self.unread() {
            Some(why) if !planted(Bug::PruneUnread) => Scan::Incomplete(why),
            _ => Scan::Complete(said),
        };
        let open = |at: &Instant| now.saturating_duration_since(*at) < WRITTEN_AT_MOST;
        let unsettled = !self.unsettled.is_empty() || self.being_written.values().any(open);
        let quiet_for = if unsettled {
            Duration::ZERO
        } else {
            now - self.last_change
        };
        let uids = objects.iter().map(|object| (id_of(object), object.uid().to_owned()));
        let seen = Seen {
            now: self.world.now(),
            owned,
            scan,
            quiet_for,
            directory,
            bound_to: self.bound_to.clone(),
            removed: self.history.clone(),
            waited: self.waited.clone(),
            approved,
        };
        Some((seen, uids.collect()))
    }

    /// The objects that this source manages and that are not on their way out.
    pub(super) fn owned(&self) -> Vec<Object> {
        let kinds = Kind::ALL.iter().filter(|kind| kind.info().manifest);
        let objects = kinds.flat_map(|kind| self.registry.list(*kind, None).items);
        objects
            .filter(|object| {
                let meta = object.meta();
                meta.manager() == Some(&self.name) && !meta.is_deleting() && meta.controller().is_none()
            })
            .collect()
    }

    /// How many objects would go with a namespace that would not go anyway.
    fn others_in(&self, room: &str, owned: &BTreeMap<ObjectId, Owned>, said: &BTreeSet<ObjectId>) -> usize {
        let kinds = Kind::ALL
            .iter()
            .filter(|kind| kind.info().manifest && kind.info().namespaced);
        let objects = kinds.flat_map(|kind| self.registry.list(*kind, Some(room)).items);
        let others = objects.filter(|object| {
            let id = id_of(object);
            let goes = owned.get(&id).is_some_and(|owned| !owned.keep) && !said.contains(&id);
            !goes && !object.is_deleting() && object.meta().controller().is_none()
        });
        others.count()
    }

    /// Remembers what waits, and tells it when it is new.
    fn wait(&mut self, waiting: Vec<ObjectId>, why: Option<Wait>, of: usize) {
        let new = (waiting, why);
        // That the same list still waits, since too much had left, is no news.
        let too_much = |why: &Option<Wait>| why.as_ref().and_then(Wait::too_much).is_some();
        let still = too_much(&new.1) && too_much(&self.waiting.1) && new.0 == self.waiting.0;
        if new == self.waiting || still {
            return;
        }
        self.waiting = new;
        // What is told to wait for a yes waits for it. Others' objects are another matter: they may leave by themselves.
        self.waited = match &self.waiting {
            (waiting, why) if too_much(why) => waiting.iter().cloned().collect(),
            (_, Some(Wait::Incomplete(_))) => std::mem::take(&mut self.waited),
            _ => BTreeSet::new(),
        };
        if let (waiting, Some(why)) = &self.waiting
            && why.needs_yes()
        {
            let (n, of) = why.too_much().unwrap_or((waiting.len(), of));
            let (source, why) = (self.name.clone(), why.clone());
            self.tell.tell(Fact::WaitsForYes { source, n, of, why });
        }
    }

    async fn remove(&mut self, remove: Vec<ObjectId>, approved: bool, uids: &BTreeMap<ObjectId, String>) {
        if !approved {
            let now = self.world.now();
            self.history
                .retain(|(id, at)| is_recent(*at, now) && !remove.contains(id));
            self.history.extend(remove.iter().map(|id| (id.clone(), now)));
            // First it is written that they count: a crash in between must not let more go.
            if !self.write_status().await {
                self.prune_at = Some(Instant::now() + RETRY);
                return;
            }
        }
        // A namespace after what is in it.
        for group in remove.chunk_by(|a, b| a.kind == b.kind) {
            let deletions = group.iter().map(|id| {
                let options = DeleteOptions {
                    uid: uids.get(id).cloned(),
                    actor: self.name.clone(),
                    ..DeleteOptions::default()
                };
                let registry = &self.registry;
                async move { registry.delete(id.kind, &id.namespace, &id.name, &options).await }
            });
            let results = join_all(deletions).await;
            for (id, result) in group.iter().zip(results) {
                match result {
                    Ok(deleted) => {
                        self.leaving.insert(id.clone());
                        tracing::debug!(%id, ?deleted, "left with its file");
                        self.tell.tell(Fact::Removed { object: id.clone() });
                    }
                    Err(error) if error.reason == StatusReason::NotFound => {}
                    Err(error) => {
                        tracing::warn!(%id, %error, "cannot be removed; tried again");
                        self.prune_at = Some(Instant::now() + RETRY);
                    }
                }
            }
        }
        // What is left may mean that the directory is now bound.
        self.prune_at.get_or_insert(Instant::now());
    }

    async fn clear_approval(&mut self) {
        let Some(source) = self.source() else { return };
        let write = Write::edit(&source, |value| {
            if let Some(annotations) = value["metadata"]["annotations"].as_object_mut() {
                annotations.remove(APPROVED_ANNOTATION);
            }
        });
        if self.registry.transact(vec![write]).await.is_err() {
            self.prune_at = Some(Instant::now() + RETRY);
        }
    }

    /// The Source object, if it is there.
    pub(super) fn source(&self) -> Option<Object> {
        self.registry.get(Kind::Source, "", &self.name).ok()
    }

    /// What its object remembers from earlier.
    pub(super) fn recall(&mut self) {
        let Some(object) = self.source() else { return };
        let status = &object.typed::<Source>().status;
        self.bound_to = Some(status.identity.clone()).filter(|identity| !identity.is_empty());
        let waiting = status.waiting.iter();
        self.waited = waiting.filter_map(|object| object.parse().ok()).collect();
        let removed = status.removed.iter();
        self.history = removed
            .filter_map(|entry| Some((entry.object.parse().ok()?, entry.at?)))
            .collect();
    }
}
