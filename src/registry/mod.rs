//! What an API server means, without HTTP: admission, get, list, watch, the one generic write, the one apply.
//!
//! Owns the rules by which objects come, change and go. It never serves, schedules or runs anything, and keeps no state
//! beside the store's, so that any number of handles do. Read [`Registry`] first, then [`rules`] for what a write does.
//!
//! ```text
//! create, update, patch, delete ─┐
//! bind, report                   ├─► admit ─► rules (what it was, what is wished → what it becomes) ─► one transaction
//! transact, apply ───────────────┘                                └─ nothing changed: nothing written
//! ```
//!
//! Guarantees: a write is refused, or everyone sees it whole; a write without `resourceVersion` is decided again when
//! another came between. Assumption: the store is the only writer of its data.
mod admit;
mod apply;
mod commit;
mod error;
mod feed;
mod object;
mod patch;
mod recorder;
mod rules;
mod scale;
mod select;
mod task;
mod transact;
mod watch;
mod write;

#[cfg(test)]
mod tests;

use cube_api::{
    kinds::{Kind, Resource},
    namespace::{self, Namespace},
};

use crate::{
    store::{Key, Snapshot, Store},
    world::World,
};

pub use admit::{check, unknown_fields};
pub use apply::{Applied, ApplyRequest, Outcome, PERSON};
pub use cube_api::shape::UnknownFields;
pub use error::{ApiError, StatusReason};
pub use feed::{Feed, News, all};
pub use object::{Object, shown};
pub use patch::Patch;
pub use recorder::{Listener, Recorder, Told};
pub use rules::{CONTAINER_FINALIZER, NAMESPACE_FINALIZER};
pub use scale::scale;
pub use select::{FieldSelector, Filter};
pub use task::TaskReport;
pub use transact::Write;
pub use watch::{ObjectChange, ObjectWatch, WatchEvent, WatchOptions};
pub use write::{DeleteOptions, Deleted, Propagation, Subresource, WriteOptions};

/// The objects, and the rules by which they change. Cloning is cheap.
#[derive(Clone)]
pub struct Registry {
    store: Store,
    world: World,
}

/// What is listed.
#[derive(Clone, Debug)]
pub struct List {
    /// The revision at which it was so; a watch can go on from here.
    pub revision: u64,
    /// The objects, by namespace and name.
    pub items: Vec<Object>,
}

/// A piece of a list.
#[derive(Clone, Debug)]
pub struct Piece {
    /// Its objects, and the revision at which it was so, the same for all pieces of a list.
    pub list: List,
    /// The key of its last object, where more follow.
    pub rest: Option<Key>,
}

impl Registry {
    /// The registry over a store; the namespace `default` is made if it is missing.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn open(store: Store, world: World) -> Result<Self, ApiError> {
        let registry = Self { store, world };
        let mut namespace = Namespace::default();
        namespace.metadata.name = namespace::DEFAULT.to_owned();
        if registry.get(Kind::Namespace, "", namespace::DEFAULT).is_err() {
            let options = WriteOptions::new("cube");
            let created = registry
                .create(Kind::Namespace, "", namespace.to_value(), &options)
                .await;
            created.map(drop).or_else(|error| match error.reason {
                StatusReason::AlreadyExists => Ok(()),
                _ => Err(error),
            })?;
        }
        Ok(registry)
    }

    /// The store beneath.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Where time and chance come from.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Everything as it is now.
    pub fn snapshot(&self) -> Snapshot {
        self.store.snapshot()
    }

    /// One object; `namespace` is empty for kinds of the whole cluster.
    ///
    /// # Errors
    /// 404 when there is none.
    pub fn get(&self, kind: Kind, namespace: &str, name: &str) -> Result<Object, ApiError> {
        find(&self.snapshot(), kind, namespace, name).ok_or_else(|| ApiError::not_found(kind, name))
    }

    /// All objects of a kind, or those of one namespace.
    pub fn list(&self, kind: Kind, namespace: Option<&str>) -> List {
        self.list_filtered(
            kind,
            &Filter {
                namespace: namespace.map(str::to_owned),
                ..Filter::default()
            },
        )
    }

    /// The objects of a kind that the filter means.
    pub fn list_filtered(&self, kind: Kind, filter: &Filter) -> List {
        list(&self.snapshot(), kind, filter)
    }

    /// Whether more than `many` objects have to be looked at to find `most` of those that the filter means: what a list costs.
    pub fn looks_at_more_than(&self, many: usize, kind: Kind, filter: &Filter, most: usize) -> bool {
        if only_key(kind, filter).is_some() || (most <= many && !filter.chooses()) {
            return false;
        }
        self.snapshot().range(&prefix(kind, filter)).nth(many).is_some()
    }

    /// At most so many of them: the first, or those after a key, as they were at the first piece's revision. No piece is
    /// held for the next: each is found anew.
    ///
    /// # Errors
    /// 410 when it is not known any more how it was then.
    pub fn list_piece(
        &self,
        kind: Kind,
        filter: &Filter,
        most: usize,
        after: Option<(u64, &Key)>,
    ) -> Result<Piece, ApiError> {
        let snapshot = match after {
            Some((revision, _)) => self.store.snapshot_at(revision).map_err(watch::refused)?,
            None => self.snapshot(),
        };
        if only_key(kind, filter).is_some() {
            let list = list(&snapshot, kind, filter);
            return Ok(Piece { list, rest: None });
        }
        let prefix = prefix(kind, filter);
        let begin = after.map_or(prefix.as_str(), |(_, key)| key.as_str());
        // No key is the prefix alone.
        let objects = snapshot.range_after(&prefix, begin).cloned().map(Object::new);
        let mut objects = objects.filter(|object| filter.matches(object));
        let items: Vec<Object> = objects.by_ref().take(most).collect();
        let last = items.last().map(|object| object.record().key.clone());
        let rest = objects.next().and(last);
        let revision = snapshot.revision();
        let list = List { revision, items };
        Ok(Piece { list, rest })
    }
}

/// One object of a snapshot.
pub fn find(snapshot: &Snapshot, kind: Kind, namespace: &str, name: &str) -> Option<Object> {
    // What cannot be a name is nobody's, and a slash would break the key.
    if namespace.contains('/') || name.contains('/') {
        return None;
    }
    snapshot
        .get(&object::key(kind, namespace, name))
        .cloned()
        .map(Object::new)
}

/// The objects of a kind in a snapshot that the filter means.
pub fn list(snapshot: &Snapshot, kind: Kind, filter: &Filter) -> List {
    let revision = snapshot.revision();
    if let Some(key) = only_key(kind, filter) {
        let items = snapshot.get(&key).cloned().map(Object::new).into_iter();
        return List {
            revision,
            items: items.filter(|object| filter.matches(object)).collect(),
        };
    }
    let prefix = prefix(kind, filter);
    let objects = snapshot.range(&prefix).cloned().map(Object::new);
    List {
        revision,
        items: objects.filter(|object| filter.matches(object)).collect(),
    }
}

/// The key of the one object that the filter can mean, if it names one.
fn only_key(kind: Kind, filter: &Filter) -> Option<Key> {
    let name = filter.fields.only_name()?;
    let namespace = match kind.info().namespaced {
        true => filter.namespace.as_deref()?,
        false => "",
    };
    (!namespace.contains('/') && !name.contains('/')).then(|| object::key(kind, namespace, name))
}

/// The range of keys that holds all that the filter can mean.
fn prefix(kind: Kind, filter: &Filter) -> String {
    let plural = kind.info().plural;
    match &filter.namespace {
        Some(namespace) if !namespace.contains('/') => format!("{plural}/{namespace}/"),
        _ => format!("{plural}/"),
    }
}
