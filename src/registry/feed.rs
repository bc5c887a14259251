//! Every change of every kind, in one order: what the loops of this process live on.
//!
//! It lists by itself when its place is lost, and says so. Read [`Feed::next`] first.
use cube_api::kinds::Kind;

use super::{Filter, Object, ObjectChange, ObjectWatch, Registry, list};
use crate::store::Snapshot;

/// A place in the order of all changes.
pub struct Feed {
    registry: Registry,
    watch: Option<ObjectWatch>,
    revision: u64,
}

/// What a feed brings.
pub enum News {
    /// These changes, after all that was told before.
    Changes(Vec<ObjectChange>),
    /// This is how everything is; what was told before is to be forgotten. The first news is always this.
    Anew(Snapshot),
}

impl Feed {
    /// A feed that begins with how everything is.
    pub fn new(registry: Registry) -> Self {
        Self {
            registry,
            watch: None,
            revision: 0,
        }
    }

    /// Everything up to this revision was told.
    pub fn revision(&self) -> u64 {
        self.watch.as_ref().map_or(self.revision, ObjectWatch::revision)
    }

    /// News that is there already.
    pub fn ready(&mut self) -> Option<News> {
        match &mut self.watch {
            Some(watch) => match watch.ready_changes() {
                Ok(changes) if changes.is_empty() => None,
                Ok(changes) => Some(News::Changes(changes)),
                Err(_) => self.anew(),
            },
            None => self.anew(),
        }
    }

    /// The next news. Safe to drop while it waits; waits for ever once the store is closed.
    pub async fn next(&mut self) -> News {
        if let Some(watch) = &mut self.watch {
            match watch.next_changes().await {
                Ok(changes) => return News::Changes(changes),
                Err(error) if error.is_expired() => self.watch = None,
                Err(_) => return std::future::pending().await,
            }
        }
        match self.anew() {
            Some(news) => news,
            None => std::future::pending().await,
        }
    }

    fn anew(&mut self) -> Option<News> {
        let snapshot = self.registry.snapshot();
        self.revision = snapshot.revision();
        self.watch = self.registry.watch_all(self.revision).ok();
        self.watch.is_some().then_some(News::Anew(snapshot))
    }
}

/// All objects of a snapshot, kind by kind.
pub fn all(snapshot: &Snapshot) -> impl Iterator<Item = Object> {
    Kind::ALL
        .iter()
        .flat_map(|kind| list(snapshot, *kind, &Filter::default()).items)
}
