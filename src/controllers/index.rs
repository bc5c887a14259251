//! Who owns whom, and which node has which Tasks, kept with each change, so that no loop passes over what does not concern it.
//!
//! Plain data: always what it would be if it were built from everything at once.
use std::collections::{BTreeMap, BTreeSet};

use cube_api::{
    kinds::Kind,
    meta::{DEPLOYMENT_LABEL, OwnerReference},
    task::Task,
};

use crate::{registry::Object, store::Key};

/// Who owns whom, and who is where.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Index {
    /// By the uid of an owner.
    dependents: BTreeMap<String, BTreeSet<Key>>,
    /// What no controller owns and what bears a Deployment's label, by namespace and label.
    strays: BTreeMap<(String, String), BTreeSet<Key>>,
    /// The Tasks that a node has, by its name, and whether they are to leave it.
    nodes: BTreeMap<String, BTreeMap<Key, bool>>,
    known: BTreeMap<Key, Known>,
}

/// What the index knows of one object.
#[derive(Clone, Debug, Default, PartialEq)]
struct Known {
    owners: Vec<OwnerReference>,
    stray: Option<(String, String)>,
    /// The Task's node, and whether it is to leave it.
    node: Option<(String, bool)>,
}

impl Index {
    /// Takes an object as it is now; answers with the owners that it had before, if they are others.
    pub fn set(&mut self, object: &Object) -> Option<Vec<OwnerReference>> {
        let (meta, key) = (object.meta(), &object.record().key);
        let stray = matches!(object.kind(), Kind::Task | Kind::Revision) && meta.controller().is_none();
        let label = meta.labels.get(DEPLOYMENT_LABEL).filter(|_| stray);
        let new = Known {
            owners: meta.owner_references.clone(),
            stray: label.map(|label| (object.namespace().to_owned(), label.clone())),
            node: object.try_typed::<Task>().and_then(|task| {
                let node = task.status.node.clone()?;
                Some((node, task.status.eviction.is_some()))
            }),
        };
        if self.known.get(key).is_some_and(|old| *old == new) {
            return None;
        }
        let nothing = new == Known::default();
        let old = self.remove(key);
        if nothing {
            return Some(old).filter(|old| !old.is_empty());
        }
        if let Some((node, leaves)) = &new.node {
            self.nodes.entry(node.clone()).or_default().insert(key.clone(), *leaves);
        }
        for owner in &new.owners {
            let dependents = self.dependents.entry(owner.uid.clone()).or_default();
            dependents.insert(key.clone());
        }
        if let Some(stray) = &new.stray {
            self.strays.entry(stray.clone()).or_default().insert(key.clone());
        }
        let same = old == new.owners;
        self.known.insert(key.clone(), new);
        (!same).then_some(old)
    }

    /// The object is gone; answers with the owners that it had.
    pub fn remove(&mut self, key: &Key) -> Vec<OwnerReference> {
        let Some(old) = self.known.remove(key) else {
            return Vec::new();
        };
        for owner in &old.owners {
            if let Some(dependents) = self.dependents.get_mut(&owner.uid) {
                dependents.remove(key);
                if dependents.is_empty() {
                    self.dependents.remove(&owner.uid);
                }
            }
        }
        if let Some(stray) = &old.stray
            && let Some(strays) = self.strays.get_mut(stray)
        {
            strays.remove(key);
            if strays.is_empty() {
                self.strays.remove(stray);
            }
        }
        if let Some((node, _)) = &old.node
            && let Some(tasks) = self.nodes.get_mut(node)
        {
            tasks.remove(key);
            if tasks.is_empty() {
                self.nodes.remove(node);
            }
        }
        old.owners
    }

    /// The Tasks that a node has.
    pub fn on_node(&self, node: &str) -> impl Iterator<Item = &Key> {
        self.nodes.get(node).into_iter().flatten().map(|(key, _)| key)
    }

    /// Those of them that are to leave it.
    pub fn leaving(&self, node: &str) -> impl Iterator<Item = &Key> {
        let tasks = self.nodes.get(node).into_iter().flatten();
        tasks.filter(|(_, leaves)| **leaves).map(|(key, _)| key)
    }

    /// What the owner of that uid owns.
    pub fn dependents(&self, uid: &str) -> impl Iterator<Item = &Key> {
        self.dependents.get(uid).into_iter().flatten()
    }

    /// What nobody owns and what bears the label of the Deployment of that name.
    pub fn strays(&self, namespace: &str, label: &str) -> impl Iterator<Item = &Key> {
        let place = (namespace.to_owned(), label.to_owned());
        self.strays.get(&place).into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cube_api::API_VERSION;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::store::Record;

    /// An object of a kind and number, owned by these (the first one controls it), perhaps with a Deployment's label.
    fn object(kind: Kind, number: u8, owners: &[u8], label: Option<u8>) -> Object {
        let owners: Vec<_> = owners
            .iter()
            .enumerate()
            .map(|(at, owner)| {
                json!({ "apiVersion": API_VERSION, "kind": "Deployment", "name": "x", "uid": owner.to_string(), "controller": at == 0 })
            })
            .collect();
        let name = format!("o{number}");
        let labels = label.map(|label| json!({ DEPLOYMENT_LABEL: format!("d{label}") }));
        let value = json!({
            "metadata": { "name": name, "namespace": "n", "ownerReferences": owners, "labels": labels.unwrap_or(json!({})) },
            "spec": { "image": "x", "template": { "spec": { "image": "x" } }, "revision": 1, "hash": "x" },
        });
        let mut value = value;
        let fields = value["spec"].as_object_mut().unwrap();
        let wanted: &[&str] = match kind {
            Kind::Task => &["image"],
            Kind::Revision => &["template", "revision", "hash"],
            _ => &["template"],
        };
        fields.retain(|field, _| wanted.contains(&field.as_str()));
        let key = Key::new(kind.info().plural, "n", &name);
        Object::new(Arc::new(Record::new(key, 1, serde_json::to_vec(&value).unwrap())))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn it_is_what_it_would_be_if_it_were_built_from_nothing(changes in prop::collection::vec(
            (0..3_usize, 0..5_u8, prop::collection::vec(0..4_u8, 0..3), prop::option::of(0..3_u8), any::<bool>()), 0..40,
        )) {
            let mut objects: BTreeMap<Key, Object> = BTreeMap::new();
            let mut index = Index::default();
            for (kind, number, owners, label, gone) in changes {
                let kind = [Kind::Task, Kind::Revision, Kind::Deployment][kind];
                let object = object(kind, number, &owners, label);
                let key = object.record().key.clone();
                let owners = |object: &Object| object.meta().owner_references.clone();
                let before = objects.get(&key).map(owners).unwrap_or_default();
                if gone {
                    prop_assert_eq!(index.remove(&key), before);
                    objects.remove(&key);
                } else {
                    let former = index.set(&object);
                    prop_assert!(former.is_none_or(|former| former == before));
                    objects.insert(key, object);
                }
            }
            let mut anew = Index::default();
            for object in objects.values() {
                anew.set(object);
                for owner in &object.meta().owner_references {
                    prop_assert!(index.dependents(&owner.uid).any(|key| *key == object.record().key));
                }
            }
            prop_assert_eq!(index, anew);
        }
    }
}
