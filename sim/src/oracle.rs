//! What Cube promises, held against what it does: after every step, and once all is calm.
//!
//! It only looks: at the store's own events, at every engine, at what clients were answered. It never takes Cube's word.
mod calm;
mod deployments;
mod directories;
mod engines;
mod statuses;
mod store;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use cube::{
    engine::{Container, sim::Verb},
    registry::Object,
    store::Store,
};

use crate::{
    engine::{Call, Docker, When},
    history::History,
    trap::Trap,
};

pub use store::id_of;

/// The one who looks. Cloning gives another handle to the same one.
#[derive(Clone)]
pub struct Oracle(Arc<Mutex<Inner>>);

struct Inner {
    history: History,
    cluster: String,
    dockers: BTreeMap<String, Docker>,
    store: store::Watched,
    engines: engines::Watched,
    deployments: deployments::Watched,
    directories: directories::Watched,
    statuses: statuses::Watched,
}

impl Oracle {
    /// For a cluster with these engines.
    pub fn new(
        history: History,
        cluster: &str,
        dockers: BTreeMap<String, Docker>,
        workers: BTreeMap<String, String>,
        trap: Trap,
    ) -> Self {
        let inner = Inner {
            history,
            cluster: cluster.to_owned(),
            dockers: dockers.clone(),
            store: store::Watched::default(),
            engines: engines::Watched::default(),
            deployments: deployments::Watched::default(),
            directories: directories::Watched::default(),
            statuses: statuses::Watched::default(),
        };
        let oracle = Self(Arc::new(Mutex::new(inner)));
        for (node, docker) in dockers {
            let (weak, node) = (Arc::downgrade(&oracle.0), node.clone());
            let (trap, worker) = (trap.clone(), workers.get(&node).cloned().unwrap_or_default());
            docker.set_listener(Arc::new(move |call, when| {
                if let Some(inner) = weak.upgrade() {
                    Self(inner).called(&node, call, when);
                }
                trap.called(&node, &worker, when);
            }));
        }
        oracle
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The manager has opened its store.
    pub fn opened(&self, store: &Store) {
        self.inner().opened(store);
    }

    /// It has died.
    pub fn closed(&self) {
        self.inner().store.closed();
    }

    /// It would not open its store.
    pub fn refused(&self, why: &str) {
        self.inner().refused(why);
    }

    /// Takes up what the store has told.
    pub fn catch_up(&self) {
        self.inner().catch_up();
    }

    /// A client was answered that its write was done, in this revision.
    pub fn acknowledged(&self, who: &str, key: &str, revision: u64) {
        self.inner().acknowledged(who, key, revision);
    }

    /// The same of a write whose revision was not told: it is newer than that.
    pub fn acknowledged_since(&self, who: &str, key: &str, before: u64) {
        self.inner().acknowledged_since(who, key, before);
    }

    /// The newest revision that was told.
    pub fn revision(&self) -> u64 {
        let mut inner = self.inner();
        inner.catch_up();
        inner.store.revision()
    }

    /// The bytes of all objects.
    pub fn live_bytes(&self) -> usize {
        let inner = self.inner();
        let sizes = inner.store.model.values().map(|object| object.record().bytes.len());
        sizes.sum()
    }

    /// The revision of an object, if it is there.
    pub fn revision_of(&self, key: &str) -> Option<u64> {
        let mut inner = self.inner();
        inner.catch_up();
        inner.store.model.get(key).map(Object::revision)
    }

    /// A client was told that these are all the objects of a kind at that revision.
    pub fn listed(&self, who: &str, plural: &str, revision: u64, objects: impl Iterator<Item = (String, u64)>) {
        self.inner().listed(who, plural, revision, objects);
    }

    /// A watcher that knew all up to `place` was told of a change (or, without a key, of none) up to `at`.
    pub fn followed(&self, who: &str, plural: &str, place: u64, at: u64, key: Option<&str>) {
        self.inner().followed(who, plural, place, at, key);
    }

    /// A node is cut off, or its process or engine is not as it should be: for a while it is not to be blamed.
    pub fn trouble(&self, node: &str) {
        self.inner().trouble(node);
    }

    /// A node's power was cut.
    pub fn power_cut(&self, node: &str) {
        self.inner().power_cut(node);
    }

    /// Someone else's container is there, which must stay as it is.
    pub fn foreign(&self, node: &str, container: Container) {
        let place = (node.to_owned(), container.name.clone());
        self.inner().engines.foreign.insert(place, container);
    }

    /// A file of a source was written, with this text, or removed.
    pub fn file(&self, source: &str, file: &str, text: Option<&str>) {
        self.inner().file(source, file, text);
    }

    /// Somebody says yes to what a source would remove.
    pub fn approves(&self, source: &str) {
        self.inner().directories.approved(source);
    }

    /// A person is about to delete an object; `by_force`: without waiting for its container.
    pub fn deletes(&self, key: &str, by_force: bool) {
        let mut inner = self.inner();
        inner.directories.deleted(key);
        if by_force {
            inner.statuses.forced(key);
        }
    }

    /// Something is done to a container, or to an image, past Cube.
    pub fn by_hand(&self) {
        let mut inner = self.inner();
        let now = inner.history.now();
        inner.deployments.by_hand(now);
    }

    /// These nodes go for good.
    pub fn nodes_are_lost(&self, lost: &[String]) {
        self.inner().deployments.nodes_are_lost |= !lost.is_empty();
    }

    /// A machine's clock is set.
    pub fn clock_set(&self, machine: &str) {
        self.inner().directories.clock_set(machine);
    }

    /// The first thing that is not yet as it must be once nothing is wrong any more; none when all is.
    pub fn unsettled(&self, lost: &[String]) -> Option<String> {
        self.inner().unsettled(lost)
    }

    /// What there is, without what chance decides.
    pub fn end(&self) -> Vec<String> {
        self.inner().end()
    }

    /// Whether there is something that can never be at rest: what ends again and again, what cannot be had.
    pub fn is_restless(&self) -> bool {
        self.inner().is_restless()
    }

    fn called(&self, node: &str, call: &Call, when: When) {
        let mut inner = self.inner();
        if when == When::Done && matches!(call.verb, Verb::Start | Verb::Create | Verb::Rename) {
            inner.catch_up();
            inner.check_node(node);
        }
        if when == When::Asked && call.verb == Verb::Start {
            inner.check_starts(node, call);
        }
        if when == When::Asked && matches!(call.verb, Verb::Signal | Verb::Remove) {
            inner.catch_up();
            inner.check_end(node, call);
        }
    }

    /// Looks at all engines as they are now.
    pub fn look(&self) {
        let mut inner = self.inner();
        inner.catch_up();
        inner.check_nodes();
        inner.check_ready();
    }
}
