//! Who owns whom, kept with each change, so that no loop passes over what does not concern it.
//!
//! Plain data: always what it would be if it were built from everything at once.
use std::collections::{BTreeMap, BTreeSet};

use cube_api::{
    kinds::Kind,
    meta::{DEPLOYMENT_LABEL, OwnerReference},
};

use crate::{registry::Object, store::Key};

/// Who owns whom.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Index {
    /// By the uid of an owner.
    dependents: BTreeMap<String, BTreeSet<Key>>,
    /// What no controller owns and what bears a Deployment's label, by namespace and label.
    strays: BTreeMap<(String, String), BTreeSet<Key>>,
    known: BTreeMap<Key, Known>,
}

/// What the index knows of one object.
#[derive(Clone, Debug, Default, PartialEq)]
struct Known {
    owners: Vec<OwnerReference>,
    stray: Option<(String, String)>,
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
        };
        if self.known.get(key).is_some_and(|old| *old == new) {
            return None;
        }
        let nothing = new == Known::default();
        let old = self.remove(key);
        if nothing {
            return Some(old).filter(|old| !old.is_empty());
        }
        for owner in &new.owners {
            let dependents = self.dependents.entry(owner.uid.clone()).or_default();
            dependents.insert(key.clone());
        }
        if let Some(stray) = &new.stray {
            self.strays.entry(stray.clone()).or_default().insert(key.clone());
        }
        self.known.insert(key.clone(), new);
        Some(old)
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
        old.owners
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
