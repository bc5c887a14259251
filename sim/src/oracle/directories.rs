//! The promises of watched directories: nothing goes that a file says, nor much at once without a yes (I8).
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use cube::registry::Object;
use cube_api::kinds::Kind;
use cube_plan::prune::{FEW, PERCENT, WINDOW};
use serde_json::Value;

use super::{Inner, id_of};
use crate::{cluster::MANAGER, manifests::NAMESPACES};

/// What a file says for so long is known, unless the manager stood still meanwhile.
const READ: Duration = Duration::from_secs(5);

/// What is known of directories and of who removes.
#[derive(Default)]
pub(super) struct Watched {
    /// What the files of each source said when they could last be read, and since when.
    said: BTreeMap<(String, String), (BTreeSet<String>, Duration)>,
    /// What files said before they were written again or removed: of a file that cannot be read now nobody knows which of its
    /// texts was read last, and one that is there again may never have been missed.
    ghosts: BTreeMap<(String, String), BTreeSet<String>>,
    /// What the files of each source say now; not those that cannot be read.
    texts: BTreeMap<(String, String), BTreeMap<String, Value>>,
    /// What each source has removed, and when.
    removed: BTreeMap<String, Vec<(String, Duration)>>,
    /// Sources to which somebody said yes.
    approved: BTreeSet<String>,
    /// What people have deleted.
    deleted: BTreeSet<String>,
    /// The window in which removals count is measured by a clock that was set.
    pub(super) clock_was_set: bool,
}

impl Watched {
    pub(super) fn approved(&mut self, source: &str) {
        self.approved.insert(source.to_owned());
    }

    pub(super) fn deleted(&mut self, key: &str) {
        self.deleted.insert(key.to_owned());
    }

    pub(super) fn clock_set(&mut self, machine: &str) {
        self.clock_was_set |= machine == MANAGER;
    }

    /// Since when a file of the source says the object.
    fn said_since(&self, source: &str, key: &str) -> Option<Duration> {
        let files = self.said.iter().filter(|((of, _), _)| of == source);
        let saying = files.filter(|(_, (said, _))| said.contains(key));
        saying.map(|(_, (_, since))| *since).min()
    }
}

impl Inner {
    /// A file has another text, or is gone; one that cannot be read says what it said.
    pub(super) fn file(&mut self, source: &str, file: &str, text: Option<&str>) {
        let now = self.history.now();
        let place = (source.to_owned(), file.to_owned());
        let before = self.directories.said.remove(&place);
        self.directories.texts.remove(&place);
        if let Some((said, _)) = &before {
            let ghosts = self.directories.ghosts.entry(place.clone()).or_default();
            ghosts.extend(said.iter().cloned());
        }
        let Some(text) = text else { return };
        let said = match objects(text) {
            Some(objects) => {
                let ids = objects.keys().cloned().collect();
                self.directories.texts.insert(place.clone(), objects);
                (ids, now)
            }
            None => before.unwrap_or_default(),
        };
        self.directories.said.insert(place, said);
    }

    /// An object that is not as the one file that says it does, although its source has it.
    pub(super) fn drifted(&self) -> Option<String> {
        let mut said: BTreeMap<&String, Vec<(&String, &Value)>> = BTreeMap::new();
        for ((source, _), objects) in &self.directories.texts {
            for (key, object) in objects {
                said.entry(key).or_default().push((source, object));
            }
        }
        // What a file said that cannot be read now still counts.
        let said_by = self.directories.said.iter();
        let also = |key: &String| {
            let says = |place: &(String, String), ids: &BTreeSet<String>| {
                let unread = !self.directories.texts.contains_key(place);
                let ghost = self.directories.ghosts.get(place).filter(|_| unread);
                ids.contains(key) || ghost.is_some_and(|ids| ids.contains(key))
            };
            said_by.clone().filter(|(place, (ids, _))| says(place, ids)).count()
        };
        let once = said
            .into_iter()
            .filter(|(key, sayers)| sayers.len() == 1 && also(key) == 1);
        for (key, sayers) in once {
            let (source, wished) = sayers[0];
            let Some(object) = self.store.model.get(key) else {
                let room = wished["metadata"]["namespace"].as_str().unwrap_or(NAMESPACES[0]);
                let there = self.store.model.contains_key(&id_of(Kind::Namespace, "", room));
                if there || key.starts_with("namespaces/") {
                    return Some(format!("a file of {source} says {key}, and it is not there"));
                }
                continue;
            };
            let other = object.meta().manager() != Some(source.as_str());
            let now = object.to_value();
            let same = ["/spec/image", "/spec/replicas", "/spec/template/spec/image"]
                .iter()
                .all(|field| {
                    wished
                        .pointer(field)
                        .is_none_or(|wished| now.pointer(field) == Some(wished))
                });
            if !other && !same {
                return Some(format!("a file of {source} says {wished}, and it is {}", now["spec"]));
            }
        }
        None
    }

    /// An object is on its way out: if its source removes it, no file says it, and it is not one of many.
    pub(super) fn check_removal(&mut self, object: &Object) {
        let meta = object.meta();
        let key = id_of(object.kind(), object.namespace(), object.name());
        let room = id_of(Kind::Namespace, "", object.namespace());
        let with_its_room = self.store.model.get(&room).is_none_or(Object::is_deleting);
        let by_person = self.directories.deleted.contains(&key);
        let Some(source) = meta.manager().filter(|manager| manager.starts_with("manifests")) else {
            return;
        };
        if by_person || with_its_room || meta.controller().is_some() || object.kind() == Kind::Namespace {
            return;
        }
        let now = self.history.now();
        let said = self.directories.said_since(source, &key);
        if said.is_some_and(|since| since + READ < now) && !self.is_troubled(MANAGER) {
            let what = format!("{key} is removed by {source}, and a file says it since {said:?}");
            self.history.violated("I8: what a file says is not removed", what);
        }
        let source = source.to_owned();
        let removed = self.directories.removed.entry(source.clone()).or_default();
        removed.push((key, now));
        let leaving: BTreeSet<&String> = removed
            .iter()
            .filter(|(_, at)| now - *at < WINDOW)
            .map(|(key, _)| key)
            .collect();
        let owned = self.store.model.iter().filter(|(_, object)| {
            let meta = object.meta();
            meta.manager() == Some(&source) && !meta.is_deleting() && meta.controller().is_none()
        });
        let owned: BTreeSet<&String> = owned.map(|(key, _)| key).collect();
        let of = owned.union(&leaving).count();
        let unasked = !self.directories.approved.contains(&source) && !self.directories.clock_was_set;
        // What is there again, whoever made it, is not gone.
        let is_there = |key: &str| self.store.model.get(key).is_some_and(|object| !object.is_deleting());
        let gone = leaving.iter().filter(|key| !is_there(key)).count();
        if unasked && gone > FEW.max(of * PERCENT / 100) {
            let what = format!("{source} has removed {gone} of {of} objects, and nobody said yes");
            self.history.violated("I8: not much is removed without a yes", what);
        }
    }
}

/// What a text says; none: it cannot be read, or says an object twice.
fn objects(text: &str) -> Option<BTreeMap<String, Value>> {
    let mut objects = BTreeMap::new();
    for document in text.split("\n---\n") {
        let value: Value = serde_json::from_str(document).ok()?;
        let meta = &value["metadata"];
        let kind = Kind::from_kind(value["kind"].as_str()?)?;
        let namespace = meta["namespace"].as_str().unwrap_or(NAMESPACES[0]);
        if objects
            .insert(id_of(kind, namespace, meta["name"].as_str()?), value)
            .is_some()
        {
            return None;
        }
    }
    Some(objects)
}
