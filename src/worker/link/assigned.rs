//! Which node has which Tasks, told to the link of each node as it changes.
//!
//! It is one watch for all nodes: what a change costs does not grow with the number of links, and a link that comes is told
//! its Tasks without a look at others'. It decides nothing and keeps nothing that the registry does not say.
//!
//! ```text
//! registry ─► watch of all Tasks ─► who had it, who has it ─► the mail of these nodes ─► their links
//! ```
//!
//! Guarantee: who asks is told a snapshot first, then every later change of these Tasks in order, or a snapshot anew. A link
//! that does not take its mail costs a bounded amount of memory and holds nobody up.
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cube_api::kinds::Kind;
use cube_api::task::Task;
use tokio::sync::Notify;

use crate::registry::{Object, ObjectChange, ObjectWatch, Registry, WatchOptions};
use crate::store::Key;
use crate::world::Slice;

/// So many changes wait for a link at most; beyond that it is told all of its Tasks anew, which is shorter.
const WAITING: usize = 256;
/// How long a watch that cannot be had is waited for: the store is closing, or closed.
const AGAIN: Duration = Duration::from_secs(1);

/// The Tasks of all nodes. Cloning is cheap.
#[derive(Clone, Default)]
pub struct Assigned(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    /// All of it was told once.
    known: bool,
    nodes: BTreeMap<Arc<str>, OfNode>,
    given: u64,
}

/// What is known of one node, and who listens.
#[derive(Default)]
struct OfNode {
    tasks: BTreeMap<Key, Object>,
    listeners: Vec<(u64, Mail)>,
}

/// What waits for one link.
struct Mail {
    /// None: it is told everything anew.
    changes: Option<VecDeque<Told>>,
    news: Arc<Notify>,
}

/// What a link is told.
#[derive(Clone, Debug)]
pub enum Told {
    /// All Tasks of the node.
    Snapshot(Vec<Object>),
    /// A Task of the node, as it is now.
    Changed(Object),
    /// A Task that is no longer the node's, as it last was while it was.
    Removed(Object),
}

impl Assigned {
    /// Nothing is known yet; see [`Self::keep`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps it as the registry has it, for as long as it is waited for.
    pub async fn keep(self, registry: Registry) {
        loop {
            match self.open(&registry).await {
                Some(mut watch) => {
                    // Until the place is lost.
                    while let Ok(changes) = watch.next_changes().await {
                        let mut inner = self.inner();
                        changes.into_iter().for_each(|change| inner.take(change));
                    }
                }
                None => tokio::time::sleep(AGAIN).await,
            }
        }
    }

    /// Takes all as it is, and a watch from there.
    async fn open(&self, registry: &Registry) -> Option<ObjectWatch> {
        let list = registry.list(Kind::Task, None);
        let options = WatchOptions {
            after: Some(list.revision),
            ..WatchOptions::default()
        };
        let watch = registry.watch(Kind::Task, options).ok()?;
        let mut slice = Slice::begin();
        for task in &list.items {
            // Who looks first reads them, which takes most of the time.
            slice.share().await;
            node_of(task);
        }
        self.inner().take_all(list.items);
        Some(watch)
    }

    /// Listens for what becomes of a node's Tasks.
    pub fn listen(&self, node: &str) -> Listener {
        let mut inner = self.inner();
        inner.given += 1;
        let (number, news) = (inner.given, Arc::new(Notify::new()));
        news.notify_one();
        let mail = Mail {
            changes: None,
            news: Arc::clone(&news),
        };
        let node: Arc<str> = node.into();
        let of_node = inner.nodes.entry(Arc::clone(&node)).or_default();
        of_node.listeners.push((number, mail));
        drop(inner);
        Listener {
            assigned: self.clone(),
            node,
            number,
            news,
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn take_all(&mut self, tasks: Vec<Object>) {
        self.known = true;
        for of_node in self.nodes.values_mut() {
            of_node.tasks.clear();
            for (_, mail) in &mut of_node.listeners {
                mail.changes = None;
                mail.news.notify_one();
            }
        }
        for task in tasks {
            if let Some(node) = node_of(&task) {
                self.of(node).tasks.insert(task.record().key.clone(), task.clone());
            }
        }
        self.nodes.retain(|_, of_node| !of_node.is_idle());
    }

    fn take(&mut self, change: ObjectChange) {
        let ObjectChange { before, after } = change;
        let after = after.filter(|task| node_of(task).is_some());
        let stays = |before: &Object| {
            let same = |after: &Object| after.uid() == before.uid() && node_of(after) == node_of(before);
            after.as_ref().is_some_and(same)
        };
        if let Some(before) = before.filter(|before| !stays(before))
            && let Some(node) = node_of(&before)
            && let Some(of_node) = self.nodes.get_mut(node)
        {
            of_node.tasks.remove(&before.record().key);
            of_node.tell(&Told::Removed(before.clone()));
            if of_node.is_idle() {
                self.nodes.remove(node);
            }
        }
        if let Some(after) = after
            && let Some(node) = node_of(&after)
        {
            let of_node = self.of(node);
            of_node.tasks.insert(after.record().key.clone(), after.clone());
            of_node.tell(&Told::Changed(after.clone()));
        }
    }

    fn of(&mut self, node: &str) -> &mut OfNode {
        self.nodes.entry(node.into()).or_default()
    }
}

impl OfNode {
    fn tell(&mut self, told: &Told) {
        for (_, mail) in &mut self.listeners {
            if let Some(changes) = &mut mail.changes {
                changes.push_back(told.clone());
                if changes.len() > WAITING {
                    mail.changes = None;
                }
            }
            mail.news.notify_one();
        }
    }

    fn is_idle(&self) -> bool {
        self.tasks.is_empty() && self.listeners.is_empty()
    }
}

fn node_of(task: &Object) -> Option<&str> {
    task.typed::<Task>().status.node.as_deref()
}

/// Who listens for what becomes of one node's Tasks.
pub struct Listener {
    assigned: Assigned,
    node: Arc<str>,
    number: u64,
    news: Arc<Notify>,
}

impl Listener {
    /// What is new, in order: a snapshot first, and again when too much has come since the last time. Safe to drop while it
    /// waits.
    pub async fn next(&mut self) -> Vec<Told> {
        loop {
            self.news.notified().await;
            if let Some(told) = self.ready() {
                return told;
            }
        }
    }

    fn ready(&mut self) -> Option<Vec<Told>> {
        let mut inner = self.assigned.inner();
        let known = inner.known;
        let of_node = inner.nodes.get_mut(&self.node)?;
        let (_, mail) = of_node
            .listeners
            .iter_mut()
            .find(|(number, _)| *number == self.number)?;
        match &mut mail.changes {
            Some(changes) if changes.is_empty() => None,
            Some(changes) => Some(changes.drain(..).collect()),
            None if !known => None,
            none => {
                *none = Some(VecDeque::new());
                Some(vec![Told::Snapshot(of_node.tasks.values().cloned().collect())])
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut inner = self.assigned.inner();
        if let Some(of_node) = inner.nodes.get_mut(&self.node) {
            of_node.listeners.retain(|(number, _)| *number != self.number);
            if of_node.is_idle() {
                inner.nodes.remove(&self.node);
            }
        }
    }
}
