//! The store's promises: what was acknowledged is never lost, revisions only grow, no node is given more than it has (I3, I9).
use std::{collections::BTreeMap, ops::RangeInclusive};

use cube::{
    registry::{Object, all},
    store::{Event, Snapshot, Store, Watch},
};
use cube_api::{
    condition::{self, SCHEDULED},
    kinds::Kind,
    node::Node,
    task::Task,
};
use cube_plan::node_life::STRANDED;

use super::Inner;

/// All objects as the store last told them, by key.
pub type Model = BTreeMap<String, Object>;

/// What is known of the store.
#[derive(Default)]
pub(super) struct Watched {
    pub(super) model: Model,
    /// Who wrote which revision: the key.
    written: BTreeMap<u64, String>,
    /// The newest revision that was told.
    revision: u64,
    /// Revisions of which not all is known.
    gaps: Vec<RangeInclusive<u64>>,
    watch: Option<(Store, Watch)>,
}

impl Watched {
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) fn closed(&mut self) {
        self.watch = None;
    }
}

impl Inner {
    pub(super) fn opened(&mut self, store: &Store) {
        let snapshot = store.snapshot();
        let known = self.store.revision;
        if snapshot.revision() < known {
            self.history.violated(
                "I3: an acknowledged write is never lost",
                format_args!(
                    "the store was at revision {known}, and is opened at {}",
                    snapshot.revision()
                ),
            );
        }
        // What was told may be newer only by what was under way.
        let found = model_of(&snapshot);
        for (key, object) in &found {
            if object.revision() > known {
                self.store.written.insert(object.revision(), key.clone());
                continue;
            }
            let same = self
                .store
                .model
                .get(key)
                .is_some_and(|before| before.revision() == object.revision());
            if !same {
                let before = self.store.model.get(key).map(Object::revision);
                self.history.violated(
                    "I3: an acknowledged write is never lost",
                    format_args!(
                        "{key} is opened as of revision {}, and was last told as of {before:?}",
                        object.revision()
                    ),
                );
            }
        }
        let gone: Vec<&String> = self
            .store
            .model
            .keys()
            .filter(|key| !found.contains_key(*key))
            .collect();
        // A removal that was under way has a revision too.
        if !gone.is_empty() && snapshot.revision() <= known {
            self.history.violated(
                "I3: an acknowledged write is never lost",
                format_args!("gone after a start: {gone:?}"),
            );
        }
        self.store.model = found;
        self.store.revision = snapshot.revision().max(known);
        let watch = store.watch("", snapshot.revision());
        self.store.watch = watch.ok().map(|watch| (store.clone(), watch));
        self.check_rooms();
    }

    pub(super) fn refused(&mut self, why: &str) {
        self.history.violated("I3: the store opens after any crash", why);
    }

    pub(super) fn catch_up(&mut self) {
        let mut changed = false;
        while let Some((store, watch)) = &mut self.store.watch {
            let behind = watch.revision() < store.revision();
            let events = match watch.ready() {
                Ok(events) => events,
                Err(_) => {
                    self.skip();
                    continue;
                }
            };
            if events.is_empty() && !behind {
                break;
            }
            for event in events {
                changed = true;
                self.take(&event);
            }
            // A store that goes back tells the same again without end.
            if self.history.violation().is_some() {
                break;
            }
        }
        if changed {
            self.check_rooms();
        }
    }

    /// The store has forgotten what was not taken up yet (many transactions shared a sync): on from what is there now.
    fn skip(&mut self) {
        let Some((store, _)) = &self.store.watch else { return };
        let (store, from) = (store.clone(), self.store.revision);
        let snapshot = store.snapshot();
        let watch = store.watch("", snapshot.revision());
        self.store.watch = watch.ok().map(|watch| (store, watch));
        self.store.model = model_of(&snapshot);
        for (key, object) in &self.store.model {
            self.store.written.insert(object.revision(), key.clone());
        }
        self.store.revision = snapshot.revision();
        self.store.gaps.push(from + 1..=snapshot.revision());
    }

    /// Whether everything that was written in these revisions is known.
    fn is_known(&self, from: u64, to: u64) -> bool {
        !self
            .store
            .gaps
            .iter()
            .any(|gap| *gap.start() <= to && from <= *gap.end())
    }

    fn take(&mut self, event: &Event) {
        let (key, revision) = (event.key.as_str().to_owned(), event.revision);
        if revision <= self.store.revision {
            self.history.violated(
                "I3: revisions only grow",
                format_args!("{key} at {revision} after {}", self.store.revision),
            );
        }
        self.store.revision = revision;
        self.store.written.insert(revision, key.clone());
        let before = self.store.model.get(&key).cloned();
        match &event.after {
            Some(record) => {
                let object = Object::new(record.clone());
                self.note_change(before.as_ref(), &object);
                self.check_surge(before.as_ref(), &object);
                self.check_container(&object);
                self.check_lost(before.as_ref(), &object);
                if object.is_deleting() && !before.as_ref().is_some_and(Object::is_deleting) {
                    self.check_removal(&object);
                }
                self.learn_grace(&object);
                let changed = object.clone();
                self.store.model.insert(key, object);
                self.check_available(&changed);
            }
            None => {
                self.history.note("store", format_args!("{revision} {key} is gone"));
                if let Some(before) = &before {
                    self.check_gone(&key, before);
                }
                if let Some(before) = before.filter(|before| !before.is_deleting()) {
                    self.check_removal(&before);
                }
                self.store.model.remove(&key);
            }
        }
    }

    fn note_change(&self, before: Option<&Object>, object: &Object) {
        let (key, revision) = (object.record().key.as_str(), object.revision());
        let how = if before.is_some() { "changes" } else { "is made" };
        let more = match object.try_typed::<Task>() {
            Some(task) => {
                let status = &task.status;
                let node = status.node.as_deref().unwrap_or("-");
                let deleting = if object.is_deleting() { " leaves" } else { "" };
                format!(
                    ": {:?} {} on {node} epoch {} restarts {}{deleting}",
                    status.phase, status.reason, status.epoch, status.restarts
                )
            }
            None => String::new(),
        };
        self.history.note("store", format_args!("{revision} {key} {how}{more}"));
    }

    pub(super) fn acknowledged(&mut self, who: &str, key: &str, revision: u64) {
        self.catch_up();
        let known = self.store.written.get(&revision).map(String::as_str);
        if known != Some(key) && revision > 0 && self.is_known(revision, revision) {
            self.history.violated(
                "I3: an acknowledged write is there",
                format_args!(
                    "{who} was told that {key} is written in revision {revision}; the store knows {known:?} of it"
                ),
            );
        }
    }

    pub(super) fn acknowledged_since(&mut self, who: &str, key: &str, before: u64) {
        self.catch_up();
        if !self
            .store
            .written
            .range(before + 1..)
            .any(|(_, written)| written == key)
        {
            self.history.violated(
                "I3: an acknowledged write is there",
                format_args!("{who} was told that {key} is written; nothing of it was since revision {before}"),
            );
        }
    }

    pub(super) fn listed(
        &mut self,
        who: &str,
        plural: &str,
        revision: u64,
        objects: impl Iterator<Item = (String, u64)>,
    ) {
        self.catch_up();
        for (key, seen) in objects {
            let last = self
                .store
                .written
                .range(..=revision)
                .rev()
                .find(|(_, written)| **written == key);
            let stale = last.is_some_and(|(last, _)| *last != seen && self.is_known(seen, revision));
            if stale {
                self.history.violated(
                    "I5: reads are never stale",
                    format_args!(
                        "{who} is told in a list of {plural} at {revision} of {key} as of {seen}, not {last:?}"
                    ),
                );
            }
        }
    }

    pub(super) fn followed(&mut self, who: &str, plural: &str, place: u64, at: u64, key: Option<&str>) {
        self.catch_up();
        let of_kind = |key: &str| key.split('/').next() == Some(plural);
        if let Some(key) = key {
            if at <= place {
                let what = format!("{who} is told of {key} at {at}, after {place}");
                self.history
                    .violated("I4: a watch is in order, without a gap, and nothing twice", what);
            }
            let known = self.store.written.get(&at).map(String::as_str);
            if known != Some(key) && self.is_known(at, at) {
                let what = format!("{who} is told of {key} at {at}; what was written then is {known:?}");
                self.history
                    .violated("I4: a watch is in order, without a gap, and nothing twice", what);
            }
        }
        let up_to = if key.is_some() { at.saturating_sub(1) } else { at };
        if up_to > place {
            let missed = self
                .store
                .written
                .range(place + 1..=up_to)
                .find(|(_, key)| of_kind(key));
            if let Some((revision, missed)) = missed {
                let what =
                    format!("{who} knew all up to {place}, is told of {at}, and never of {missed} at {revision}");
                self.history
                    .violated("I4: a watch is in order, without a gap, and nothing twice", what);
            }
        }
    }

    /// No node is given more than it has. One that was edited where it is counts once all is calm: until then the scheduler
    /// may not have looked.
    fn check_rooms(&self) {
        if let Some(over) = self.overcommitted(false) {
            self.history.violated("I9: no node is given more than it has", over);
        }
    }

    /// A node that was given more than it has.
    pub(super) fn overcommitted(&self, edited_count: bool) -> Option<String> {
        let mut used: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        let mut ports: BTreeMap<(&str, u16), &str> = BTreeMap::new();
        for object in self.store.model.values() {
            let Some(task) = object.try_typed::<Task>() else {
                continue;
            };
            let Some(node) = task.status.node.as_deref().filter(|_| !task.status.phase.is_over()) else {
                continue;
            };
            let bound = condition::find(&task.status.conditions, SCHEDULED);
            let edited = bound.is_none_or(|bound| bound.observed_generation < task.metadata.generation);
            // What is stranded stays where its data is, whatever it wishes for meanwhile.
            let stranded = task.status.reason == STRANDED;
            if edited && (stranded || !edited_count) {
                continue;
            }
            let (cpu, memory) = used.entry(node).or_default();
            *cpu += task.spec.resources.cpu_request_milli();
            *memory += task.spec.resources.memory_request();
            let own = task.spec.ports.iter().filter_map(|port| port.host_port);
            for port in own.filter(|_| !edited) {
                let name = task.metadata.name.as_str();
                let other = ports.insert((node, port), name);
                if let Some(other) = other {
                    return Some(format!("{node}: port {port} is given to {other} and to {name}"));
                }
            }
        }
        for (name, (cpu, memory)) in used {
            let Some(node) = self.store.model.get(&id_of(Kind::Node, "", name)) else {
                continue;
            };
            let room = &node.typed::<Node>().status.allocatable;
            // A Node that was deleted is made again before its worker's word of its room is written.
            let known = room.cpu.milli() > 0;
            if known && (cpu > room.cpu.milli() || memory > room.memory.units()) {
                return Some(format!(
                    "{name}: {cpu} m of {} m, {memory} of {} bytes",
                    room.cpu.milli(),
                    room.memory.units()
                ));
            }
        }
        None
    }
}

/// All objects of a snapshot.
fn model_of(snapshot: &Snapshot) -> Model {
    let named = |object: Object| (object.record().key.as_str().to_owned(), object);
    all(snapshot).map(named).collect()
}

/// `plural/namespace/name` of an object as clients have it.
pub fn id_of(kind: Kind, namespace: &str, name: &str) -> String {
    let info = kind.info();
    let namespace = if info.namespaced { namespace } else { "" };
    cube::store::Key::new(info.plural, namespace, name).as_str().to_owned()
}
