//! The scheduler's loop: what wakes it, and in which order it works. Read [`Actor::pass`] first.
mod edited;
mod waiting;

use cube_planted::{Bug, planted};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use cube_api::{
    event::EventType,
    kinds::Kind,
    node::Node,
    placement::SchedulingPolicy,
    task::{Eviction, Phase, Task},
};
use cube_plan::scheduler::{Demand, Explanation, Index, Queue, Rank, is_told};
use futures_util::{
    future::BoxFuture,
    stream::{FuturesUnordered, StreamExt},
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::{edited::Outgrown, waiting::Preemption};
use crate::{
    registry::{ApiError, Feed, News, Object, ObjectChange, Recorder, Registry, StatusReason, Write, all, find},
    store::Snapshot,
    world::{Slice, World, process::apart},
};

/// So many Tasks are bound in one transaction. More would make the first of them wait for the last.
const BATCH: usize = 128;
/// So many such transactions are under way at once. More would not fill a sync better, and each takes a megabyte.
const BINDING: usize = 16;
/// Why a Task fits nowhere is told anew after this time when something has changed. Shorter writes more, for people who
/// cannot read so fast; longer shows figures that are no longer so.
const RETELL: Duration = Duration::from_secs(1);
/// Wait after the first failure of the store, then twice as long each time, up to [`LONGEST`]: so that Tasks are placed
/// soon after a disk is mended.
const FIRST: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_secs(2);

/// A Task that is about to get a node.
struct Binding {
    key: String,
    task: Object,
    node: String,
}

enum Finished {
    Bound(Vec<Binding>, Result<(), ApiError>),
    /// Statuses were told, or some of them were not.
    Told(Vec<String>, bool),
    /// A Task was asked to leave a node that it no longer fits on.
    Outgrown(Outgrown, Result<(), ApiError>),
    /// Tasks were asked to give way.
    Preempted(Preemption, Result<(), ApiError>),
}

/// The scheduler at work.
pub(super) struct Actor {
    registry: Registry,
    world: World,
    recorder: Recorder,
    feed: Feed,
    policy: SchedulingPolicy,
    index: Index,
    queue: Queue,
    /// Nodes of bindings that the feed has not shown yet.
    assumed: BTreeMap<String, String>,
    /// Nodes on which room is made for Tasks, that the feed has not shown yet.
    nominated: BTreeMap<String, String>,
    /// Tasks that were asked to leave, that the feed has not shown yet.
    evicted: BTreeMap<String, Eviction>,
    /// Tasks that are being told why they wait.
    being_told: BTreeSet<String>,
    /// What was last said of Tasks of a demand.
    told: BTreeMap<Arc<Demand>, Explanation>,
    /// Tasks that have a node and may have been edited since they got it.
    edited: BTreeSet<String>,
    /// Demands of which some Task was told of an older wish.
    outdated: BTreeSet<Demand>,
    retell_at: Option<Instant>,
    /// The store has failed: nothing is tried before.
    pause: Option<Instant>,
    failures: u32,
    /// Tasks that are to be bound once others are.
    bindings: VecDeque<Binding>,
    /// So many transactions bind Tasks now.
    binding: usize,
    under_way: FuturesUnordered<BoxFuture<'static, Finished>>,
}

impl Actor {
    pub fn new(registry: Registry, world: World, recorder: Recorder, policy: SchedulingPolicy) -> Self {
        Self {
            feed: Feed::new(registry.clone()),
            registry,
            world,
            recorder,
            policy,
            index: Index::new(policy),
            queue: Queue::default(),
            assumed: BTreeMap::new(),
            nominated: BTreeMap::new(),
            evicted: BTreeMap::new(),
            being_told: BTreeSet::new(),
            told: BTreeMap::new(),
            edited: BTreeSet::new(),
            outdated: BTreeSet::new(),
            retell_at: None,
            pause: None,
            failures: 0,
            bindings: VecDeque::new(),
            binding: 0,
            under_way: FuturesUnordered::new(),
        }
    }

    pub async fn run(mut self, shutdown: CancellationToken) {
        loop {
            self.pass().await;
            let due = self.pause.or(self.retell_at.filter(|_| self.being_told.is_empty()));
            let idle = self.under_way.is_empty();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                Some(finished) = self.under_way.next(), if !idle => self.finish(finished),
                news = self.feed.next() => self.take(news).await,
                () = until(due) => {}
            }
        }
    }

    /// Places all that can be placed, and says of the rest why not.
    async fn pass(&mut self) {
        while let Some(news) = self.feed.ready() {
            self.take(news).await;
        }
        let now = Instant::now();
        if self.pause.is_some_and(|until| until > now) {
            return;
        }
        self.pause = None;
        let snapshot = self.registry.snapshot();
        self.look_at_edited(&snapshot);
        let mut bindings = Vec::new();
        let mut nowhere: BTreeMap<Arc<Demand>, Vec<Object>> = BTreeMap::new();
        self.queue.wake(&mut self.index);
        // What is placed may be what another waits for.
        let mut slice = Slice::begin();
        while let Some((rank, demand)) = self.next() {
            slice.share().await;
            let Some(task) = waiting_task(&snapshot, &rank.key) else {
                // The feed tells of it in a moment, or has.
                continue;
            };
            match self.index.place_task(&rank.key, &demand) {
                Some(node) => {
                    if !planted(Bug::RoomUncounted) {
                        self.index.set(&rank.key, task.typed(), &demand, Some(&node));
                    }
                    self.assumed.insert(rank.key.clone(), node.to_string());
                    let (key, node) = (rank.key, node.to_string());
                    bindings.push(Binding { key, task, node });
                }
                None => {
                    nowhere.entry(demand.clone()).or_default().push(task);
                    self.queue.wait(rank, demand);
                }
            }
        }
        let mut statuses = Vec::new();
        for (demand, mut tasks) in nowhere {
            // What came after it may have made a place for it.
            tasks.retain(|task| !self.assumed.contains_key(&key(task)));
            // Who has been told already is told anew with all others of its kind: each change of a node wakes all that wait.
            let waiting = tasks.len();
            tasks.retain(|task| !self.being_told.contains(&key(task)) && !is_told_of_its_wish(task.typed()));
            if tasks.len() < waiting {
                self.retell_soon();
            }
            if tasks.is_empty() {
                continue;
            }
            let why = self.index.explain(&demand);
            statuses.extend(self.answer(&snapshot, &tasks, &demand, &why));
            if tasks.len() == waiting {
                self.told.insert(demand, why);
            }
        }
        if !bindings.is_empty() && !self.queue.none_waiting() {
            self.retell_soon();
        }
        self.bindings.extend(bindings);
        self.bind_next();
        if self.retell_at.is_some_and(|at| at <= now) && self.being_told.is_empty() {
            self.retell_at = None;
            statuses.extend(self.retell(&snapshot));
        }
        if !statuses.is_empty() {
            self.tell(statuses);
        }
    }

    /// The next Task to be looked at.
    fn next(&mut self) -> Option<(Rank, Arc<Demand>)> {
        let next = self.queue.take();
        next.or_else(|| self.queue.wake(&mut self.index).then(|| self.queue.take())?)
    }

    fn bind_next(&mut self) {
        while self.binding < BINDING && !self.bindings.is_empty() {
            let most = self.bindings.len().min(BATCH);
            let next = self.bindings.drain(..most).collect();
            self.bind(next);
        }
    }

    fn bind(&mut self, bindings: Vec<Binding>) {
        self.binding += 1;
        let registry = self.registry.clone();
        self.under_way.push(Box::pin(apart(async move {
            let writes = bindings.iter().map(|binding| Write::Bind {
                task: binding.task.clone(),
                node: binding.node.clone(),
            });
            let written = registry.transact(writes.collect()).await.map(drop);
            Finished::Bound(bindings, written)
        })));
    }

    fn finish(&mut self, finished: Finished) {
        let (bindings, written) = match finished {
            Finished::Bound(bindings, written) => {
                self.binding -= 1;
                (bindings, written)
            }
            Finished::Told(keys, all) => {
                for key in &keys {
                    self.being_told.remove(key);
                }
                if !all {
                    self.told.clear();
                    self.retell_soon();
                }
                return;
            }
            Finished::Outgrown(outgrown, written) => return self.outgrown(outgrown, written),
            Finished::Preempted(preemption, written) => return self.preempted(preemption, written),
        };
        match written {
            Ok(()) => {
                self.failures = 0;
                for Binding { task, node, .. } in bindings {
                    let message = format!("given to node {node}");
                    self.recorder
                        .event(task.reference(), EventType::Normal, "Scheduled", message);
                }
            }
            // One of them has changed: it must not hold up the others.
            Err(error) if bindings.len() > 1 && is_race(&error) => {
                for binding in bindings {
                    self.bind(vec![binding]);
                }
            }
            Err(_) if planted(Bug::BindingForgotten) => {}
            Err(error) => {
                self.pause_after(&error);
                for Binding { key, .. } in bindings {
                    self.assumed.remove(&key);
                    self.look_again(&key);
                }
            }
        }
    }

    /// Nothing is tried for a while after the store has failed.
    fn pause_after(&mut self, error: &ApiError) {
        if !is_race(error) {
            tracing::warn!(%error, "Tasks could not be given to nodes; it is tried again");
            let wait = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
            self.failures += 1;
            let share = (self.world.random() % 1024) as f64 / 2048.0;
            self.pause = Some(Instant::now() + wait / 2 + wait.mul_f64(share));
        }
    }

    /// Takes the Task as it is, with nothing assumed of it.
    fn look_again(&mut self, key: &str) {
        match task(&self.registry.snapshot(), key) {
            Some(object) => self.set_task(&object),
            None => self.remove_task(key),
        }
    }

    async fn take(&mut self, news: News) {
        let mut slice = Slice::begin();
        match news {
            News::Changes(changes) => {
                for change in changes {
                    slice.share().await;
                    let object = change.object();
                    let gone = change.after.is_none();
                    match object.kind() {
                        Kind::Node if gone => self.remove_node(object.name()),
                        Kind::Node => self.set_node(object.typed()),
                        Kind::Task if gone => {
                            let key = key(object);
                            self.assumed.remove(&key);
                            self.nominated.remove(&key);
                            self.evicted.remove(&key);
                            self.remove_task(&key);
                        }
                        Kind::Task if says_nothing_new(&change) => {}
                        Kind::Task => self.set_task(object),
                        _ => {}
                    }
                }
            }
            News::Anew(snapshot) => {
                self.index = Index::new(self.policy);
                self.queue = Queue::default();
                self.told.clear();
                self.assumed.retain(|key, _| task(&snapshot, key).is_some());
                self.nominated.retain(|key, _| task(&snapshot, key).is_some());
                self.evicted.retain(|key, _| task(&snapshot, key).is_some());
                for object in all(&snapshot) {
                    slice.share().await;
                    match object.kind() {
                        Kind::Node => self.set_node(object.typed()),
                        Kind::Task => self.set_task(&object),
                        _ => {}
                    }
                }
            }
        }
    }

    fn set_node(&mut self, node: &Node) {
        if self.index.set_node(node) {
            self.retell_soon();
        }
    }

    fn remove_node(&mut self, name: &str) {
        self.index.remove_node(name);
        self.retell_soon();
    }

    fn set_task(&mut self, object: &Object) {
        let key = key(object);
        let task = self.with_preemption(&key, object.typed());
        let task = &*task;
        if task.status.node.is_some() {
            self.assumed.remove(&key);
        }
        let assumed = self.assumed.get(&key).cloned();
        let demand = Demand::of(task);
        self.note_edit(&key, task, &demand);
        if self.index.set(&key, task, &demand, assumed.as_deref()) {
            self.retell_soon();
        }
        if assumed.is_some() || !is_waiting(task) {
            self.queue.remove(&key);
            return;
        }
        if is_told(task) && task.status.observed_generation != task.metadata.generation {
            // What was said of it was said of an older wish.
            self.outdated.insert(demand.clone());
            self.retell_soon();
        }
        self.queue.set(&key, task, demand);
    }

    fn remove_task(&mut self, key: &str) {
        self.queue.remove(key);
        if self.index.remove_task(key) {
            self.retell_soon();
        }
    }

    /// What waits is told the new figures.
    fn retell_soon(&mut self) {
        if self.retell_at.is_none() && !self.queue.none_waiting() {
            self.retell_at = Some(Instant::now() + RETELL);
        }
    }
}

fn is_race(error: &ApiError) -> bool {
    matches!(error.reason, StatusReason::Conflict | StatusReason::NotFound)
}

/// Whether a Task of a node goes on there as it was, whatever its worker said of it: most changes are such.
fn says_nothing_new(change: &ObjectChange) -> bool {
    let (Some(before), Some(after)) = (&change.before, &change.after) else {
        return false;
    };
    let (before, after): (&Task, &Task) = (before.typed(), after.typed());
    let (old, new) = (&before.status, &after.status);
    let meta = |task: &Task| (task.metadata.generation, task.metadata.is_deleting());
    new.node.is_some()
        && (&old.node, old.epoch) == (&new.node, new.epoch)
        && (old.phase.is_over(), old.leaves_now()) == (new.phase.is_over(), new.leaves_now())
        && meta(before) == meta(after)
        && before.metadata.labels == after.metadata.labels
        && before.metadata.owner_references == after.metadata.owner_references
}

/// Whether it was told why it waits, and that as it is now.
fn is_told_of_its_wish(task: &Task) -> bool {
    is_told(task) && task.status.observed_generation == task.metadata.generation
}

/// Whether it is the scheduler's turn.
fn is_waiting(task: &Task) -> bool {
    task.status.node.is_none() && task.status.phase == Phase::Pending && !task.metadata.is_deleting()
}

fn key(object: &Object) -> String {
    format!("{}/{}", object.namespace(), object.name())
}

fn task(snapshot: &Snapshot, key: &str) -> Option<Object> {
    let (namespace, name) = key.split_once('/')?;
    find(snapshot, Kind::Task, namespace, name)
}

fn waiting_task(snapshot: &Snapshot, key: &str) -> Option<Object> {
    task(snapshot, key).filter(|object| is_waiting(object.typed()))
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
