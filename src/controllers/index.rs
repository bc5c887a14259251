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
}

/// What is to be known of one object.
#[derive(PartialEq)]
struct Known<'a> {
    owners: &'a [OwnerReference],
    stray: Option<(&'a str, &'a str)>,
    /// The Task's node, and whether it is to leave it.
    node: Option<(&'a str, bool)>,
}

impl<'a> Known<'a> {
    fn of(object: &'a Object) -> Self {
        let meta = object.meta();
        let stray = matches!(object.kind(), Kind::Task | Kind::Revision) && meta.controller().is_none();
        let label = meta.labels.get(DEPLOYMENT_LABEL).filter(|_| stray);
        Self {
            owners: &meta.owner_references,
            stray: label.map(|label| (object.namespace(), label.as_str())),
            node: object.try_typed::<Task>().and_then(|task| {
                let node = task.status.node.as_deref()?;
                Some((node, task.status.eviction.is_some()))
            }),
        }
    }
}

impl Index {
    /// Takes a change: the object as it was taken last, and as it is now.
    pub fn change(&mut self, before: Option<&Object>, after: Option<&Object>) {
        let (old, new) = (before.map(Known::of), after.map(Known::of));
        if old == new {
            return;
        }
        if let (Some(object), Some(old)) = (before, old) {
            self.remove(&object.record().key, &old);
        }
        if let (Some(object), Some(new)) = (after, new) {
            self.add(&object.record().key, &new);
        }
    }

    fn add(&mut self, key: &Key, new: &Known) {
        if let Some((node, leaves)) = new.node {
            self.nodes
                .entry(node.to_owned())
                .or_default()
                .insert(key.clone(), leaves);
        }
        for owner in new.owners {
            let dependents = self.dependents.entry(owner.uid.clone()).or_default();
            dependents.insert(key.clone());
        }
        if let Some((namespace, label)) = new.stray {
            let place = (namespace.to_owned(), label.to_owned());
            self.strays.entry(place).or_default().insert(key.clone());
        }
    }

    fn remove(&mut self, key: &Key, old: &Known) {
        for owner in old.owners {
            if let Some(dependents) = self.dependents.get_mut(&owner.uid) {
                dependents.remove(key);
                if dependents.is_empty() {
                    self.dependents.remove(&owner.uid);
                }
            }
        }
        if let Some((namespace, label)) = old.stray {
            let place = (namespace.to_owned(), label.to_owned());
            if let Some(strays) = self.strays.get_mut(&place) {
                strays.remove(key);
                if strays.is_empty() {
                    self.strays.remove(&place);
                }
            }
        }
        if let Some((node, _)) = old.node
            && let Some(tasks) = self.nodes.get_mut(node)
        {
            tasks.remove(key);
            if tasks.is_empty() {
                self.nodes.remove(node);
            }
        }
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
                let object = Some(object).filter(|_| !gone);
                index.change(objects.get(&key), object.as_ref());
                objects.remove(&key);
                objects.extend(object.map(|object| (key, object)));
            }
            let mut anew = Index::default();
            for object in objects.values() {
                anew.change(None, Some(object));
                for owner in &object.meta().owner_references {
                    prop_assert!(index.dependents(&owner.uid).any(|key| *key == object.record().key));
                }
            }
            prop_assert_eq!(index, anew);
        }
    }
}
