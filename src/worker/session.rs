//! The worker's main loop: link, engine and clock wake it; the actor looks.
//!
//! Engine events can be lost: it subscribes, then lists, and lists again after every reconnect and once a minute. An
//! engine that does not answer says nothing about its containers.
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cube_api::node::Node;
use cube_api::task::Task;
use cube_plan::worker::Progress;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::actor::{Actor, ENGINE_STOPS, Message, Slot};
use super::form::Ground;
use super::journal::Journal;
use super::link::{Assignment, Link};
use super::node::{Identity, node};
use super::steps::Pace;
use super::subnets::Range;
use super::view::View;
use crate::engine::{Action, Container, Engine, EngineError, EngineEvent, EngineInfo, State};
use crate::world::{World, host};

/// How often the list is compared with the view even though nothing was heard.
const RELIST: Duration = Duration::from_secs(60);
/// The first wait before an engine that does not answer is asked again; it doubles.
const RECONNECT: Duration = Duration::from_millis(100);
/// The last one: how late at most an engine that is back is noticed.
const RECONNECT_MOST: Duration = Duration::from_secs(2);

/// What a worker is told at its start.
pub struct Options {
    /// Cluster, node name, publish address.
    pub ground: Ground,
    /// Labels and taints of the node.
    pub identity: Identity,
    /// Where the worker keeps its small files.
    pub data_dir: PathBuf,
    /// What networks are cut from.
    pub range: Range,
}

type Events = BoxStream<'static, crate::engine::Result<EngineEvent>>;

/// Runs a worker until `shutdown`; its containers run on after it.
///
/// # Errors
/// Where its small files cannot be used.
pub async fn run(
    options: Options,
    engine: Arc<dyn Engine>,
    link: Arc<dyn Link>,
    world: World,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let journal = Journal::open(&options.data_dir.join("made"))?;
    let contact_path = options.data_dir.join("contact");
    let contact = std::fs::read_to_string(&contact_path).unwrap_or_default();
    let (last_contact, last_engine) = contact.split_once('\n').unwrap_or_default();
    let last_contact = last_contact.parse().ok();
    let last_engine = Some(last_engine.to_owned()).filter(|id| !id.is_empty());
    let (sender, mut messages) = mpsc::unbounded_channel();
    let mut assignments = link.assignments().await;
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let mut actor = Actor {
        ground: Arc::new(options.ground),
        engine,
        link,
        world: world.clone(),
        pace: Arc::new(Pace::new(cores)),
        journal,
        range: options.range,
        slots: BTreeMap::new(),
        view: View::default(),
        networks: BTreeMap::new(),
        dirty: BTreeSet::new(),
        timers: BTreeSet::new(),
        inspecting: BTreeMap::new(),
        unsent: BTreeMap::new(),
        sending: false,
        engine_up: false,
        assigned: false,
        strays: BTreeMap::new(),
        with_engine: BTreeSet::new(),
        relist_now: false,
        sender,
    };
    let mut session = Session {
        identity: options.identity,
        node: Node::default(),
        contact_path,
        last_contact,
        went: false,
        last_engine,
        events: None,
        connecting: None,
        retry: RECONNECT,
        next_list: Instant::now(),
    };
    session.connect(&actor, Duration::ZERO);
    loop {
        actor.look_at_dirty();
        let wake = session.next_list.min(actor.next_timer());
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(assignment) = assignments.next() => actor.assign(assignment),
            Some(message) = messages.recv() => {
                actor.handle(message);
                // What is there already is taken in before the next look, so that one look serves all of it.
                while let Ok(message) = messages.try_recv() {
                    actor.handle(message);
                }
            }
            event = next_event(&mut session.events) => match event {
                Some(Ok(event)) => actor.event(event),
                Some(Err(error)) => session.lost(&mut actor, &error).await,
                None => {}
            },
            connected = finished(&mut session.connecting) => session.connected(&mut actor, connected).await,
            () = tokio::time::sleep_until(wake) => {}
        }
        actor.fire_timers();
        if actor.relist_now || (actor.engine_up && Instant::now() >= session.next_list) {
            actor.relist_now = false;
            session.next_list = Instant::now() + RELIST;
            if session.connecting.is_none() && actor.engine_up {
                session.list(&actor);
            }
        }
    }
    session.note_contact(world.now());
    Ok(())
}

/// What a connection attempt gives.
struct Connected {
    info: Option<EngineInfo>,
    events: Option<Events>,
    containers: Vec<Container>,
    networks: Vec<String>,
}

type Attempt = tokio::task::JoinHandle<Result<Connected, EngineError>>;

struct Session {
    identity: Identity,
    node: Node,
    contact_path: PathBuf,
    last_contact: Option<Timestamp>,
    /// Whether this worker saw the engine go since.
    went: bool,
    /// Which engine it was then.
    last_engine: Option<String>,
    events: Option<Events>,
    connecting: Option<Attempt>,
    retry: Duration,
    next_list: Instant,
}

impl Session {
    /// Subscribes, then lists, in a task of its own.
    fn connect(&mut self, actor: &Actor, after: Duration) {
        let (engine, ground) = (actor.engine.clone(), actor.ground.clone());
        self.connecting = Some(tokio::spawn(async move {
            tokio::time::sleep(after).await;
            let info = engine.info().await?;
            let events = engine.events(&ground.cluster).await?;
            let mut listed = all(&*engine, &ground, &BTreeMap::new()).await?;
            listed.info = Some(info);
            listed.events = Some(events);
            Ok(listed)
        }));
    }

    /// Lists again, comparing with what is known.
    fn list(&mut self, actor: &Actor) {
        let (engine, ground) = (actor.engine.clone(), actor.ground.clone());
        let known = actor
            .view
            .containers()
            .map(|container| (container.id.clone(), container.clone()))
            .collect();
        self.connecting = Some(tokio::spawn(async move { all(&*engine, &ground, &known).await }));
    }

    /// Writes down when the engine was seen last, and which one it was, for a worker that starts after this one.
    fn note_contact(&self, now: Timestamp) {
        let engine = self.last_engine.as_deref().unwrap_or_default();
        if let Err(error) = std::fs::write(&self.contact_path, format!("{now}\n{engine}")) {
            tracing::warn!(%error, "cannot note when the engine was seen last");
        }
    }

    async fn connected(&mut self, actor: &mut Actor, connected: Result<Connected, EngineError>) {
        self.connecting = None;
        let connected = match connected {
            Ok(connected) => connected,
            Err(error) => return self.lost(actor, &error).await,
        };
        let now = actor.world.now();
        if let Some(events) = connected.events {
            self.events = Some(events);
        }
        let came_back = connected.info.is_some();
        if came_back {
            actor.with_engine = died_with_engine(
                &connected.containers,
                self.last_contact,
                self.went,
                connected
                    .info
                    .as_ref()
                    .and_then(|info| info.started_at)
                    .max(host::booted_at()),
            );
        }
        actor.listed(connected.containers, connected.networks, came_back);
        if let Some(info) = &connected.info {
            self.retry = RECONNECT;
            self.next_list = Instant::now() + RELIST;
            actor.engine_up = true;
            if self.last_engine.as_ref().is_some_and(|last| *last != info.id) {
                actor.forget_containers();
            }
            self.last_engine = Some(info.id.clone());
            self.note_contact(now);
            actor.dirty.extend(actor.slots.keys().cloned());
            actor.dirty.extend(actor.view.uids().cloned());
            self.tell_node(actor, Ok(info), now).await;
        }
    }

    /// The engine does not answer: nothing is known of its containers until it does.
    async fn lost(&mut self, actor: &mut Actor, error: &EngineError) {
        let now = actor.world.now();
        if actor.engine_up {
            self.last_contact = Some(now);
            self.went = true;
        }
        if actor.engine_up {
            actor.take_back_ends(now);
        }
        actor.engine_up = false;
        self.events = None;
        self.connect(actor, self.retry);
        self.retry = (self.retry * 2).min(RECONNECT_MOST);
        self.tell_node(actor, Err(&error.to_string()), now).await;
    }

    async fn tell_node(&mut self, actor: &Actor, engine: Result<&EngineInfo, &str>, now: Timestamp) {
        let told = node(&self.identity, engine, &self.node, now);
        if told != self.node {
            match actor.link.report_node(told.clone()).await {
                Ok(()) => self.node = told,
                Err(error) => tracing::warn!(%error, "cannot report the node"),
            }
        }
    }
}

/// Everything of this cluster on the engine; what `known` has in the same state is not asked for again.
async fn all(
    engine: &dyn Engine,
    ground: &Ground,
    known: &BTreeMap<String, Container>,
) -> Result<Connected, EngineError> {
    let networks = engine
        .networks(&ground.cluster)
        .await?
        .into_iter()
        .filter(|network| network.labels.get(super::form::NODE_LABEL) == Some(&ground.node));
    let networks = networks
        .filter_map(|network| network.labels.get(super::form::NAMESPACE_LABEL).cloned())
        .collect();
    let mut containers = Vec::new();
    for listed in engine.list(&ground.cluster).await? {
        if listed
            .labels
            .get(super::form::NODE_LABEL)
            .is_some_and(|node| *node != ground.node)
        {
            continue;
        }
        let same = known
            .get(&listed.id)
            .filter(|known| known.state == listed.state && known.name == listed.name);
        let seen = match (same, &listed.state) {
            (Some(known), _) => Some(known.clone()),
            (None, State::Created) => Some(listed),
            (None, _) => engine.inspect(&listed.id).await?,
        };
        containers.extend(seen);
    }
    Ok(Connected {
        info: None,
        events: None,
        containers,
        networks,
    })
}

/// Of containers found dead when an engine comes (back): those that were stopped with it, which is nobody's failure.
fn died_with_engine(
    containers: &[Container],
    last_contact: Option<Timestamp>,
    went: bool,
    engine_start: Option<Timestamp>,
) -> BTreeSet<String> {
    // This worker saw it go: it took with it what ended from shortly before then on.
    if let Some(contact) = last_contact.filter(|_| went) {
        let since = contact.saturating_sub(ENGINE_STOPS).unwrap_or(contact);
        let died = |container: &&Container| {
            matches!(container.state, State::Exited { .. }) && container.finished_at.is_some_and(|at| at >= since)
        };
        return containers
            .iter()
            .filter(died)
            .map(|container| container.id.clone())
            .collect();
    }
    // Clocks of whole seconds, and an engine that takes its time to write down what it stopped.
    let slack = SignedDuration::from_secs(15);
    let died = |container: &&Container| {
        let (State::Exited { .. }, Some(started), Some(start)) = (&container.state, container.started_at, engine_start)
        else {
            return false;
        };
        let Some(finished) = container.finished_at else {
            return started < start;
        };
        let after_contact = last_contact
            .is_some_and(|contact| finished >= contact.saturating_sub(SignedDuration::from_secs(2)).unwrap_or(contact));
        let at_start = finished >= start.saturating_sub(slack).unwrap_or(start);
        started < start
            && (after_contact || at_start)
            && last_contact.is_none_or(|contact| start >= contact.saturating_sub(slack).unwrap_or(contact))
    };
    containers
        .iter()
        .filter(died)
        .map(|container| container.id.clone())
        .collect()
}

async fn next_event(events: &mut Option<Events>) -> Option<crate::engine::Result<EngineEvent>> {
    match events {
        Some(stream) => match stream.next().await {
            None => Some(Err(EngineError::Unreachable {
                message: "its events ended".to_owned(),
            })),
            event => event,
        },
        None => std::future::pending().await,
    }
}

async fn finished(attempt: &mut Option<Attempt>) -> Result<Connected, EngineError> {
    match attempt {
        Some(attempt) => attempt.await.unwrap_or_else(|error| {
            Err(EngineError::BadAnswer {
                message: error.to_string(),
            })
        }),
        None => std::future::pending().await,
    }
}

impl Actor {
    fn assign(&mut self, assignment: Assignment) {
        match assignment {
            Assignment::Snapshot(tasks) => {
                self.assigned = true;
                let now: BTreeSet<String> = tasks.iter().map(|task| task.metadata.uid.clone()).collect();
                let left: Vec<String> = self.slots.keys().filter(|uid| !now.contains(*uid)).cloned().collect();
                for task in tasks {
                    self.assign_one(task);
                }
                for uid in left {
                    self.unassign(&uid);
                }
                let strays: Vec<String> = self
                    .view
                    .uids()
                    .filter(|uid| !self.slots.contains_key(*uid))
                    .cloned()
                    .collect();
                self.dirty.extend(strays);
                let mut alive: BTreeSet<String> = self.slots.keys().cloned().collect();
                alive.extend(self.view.uids().cloned());
                if self.engine_up
                    && let Err(error) = self.journal.keep(&alive)
                {
                    tracing::warn!(%error, "cannot tidy the worker's journal");
                }
            }
            Assignment::Changed(task) => self.assign_one(task),
            Assignment::Removed(uid) => self.unassign(&uid),
        }
    }

    fn assign_one(&mut self, task: Arc<Task>) {
        let uid = task.metadata.uid.clone();
        self.strays.remove(&uid);
        match self.slots.get_mut(&uid) {
            Some(slot) => {
                // What only tells back what this worker reported needs no second look.
                let echo = slot.assigned
                    && slot.task.metadata.generation == task.metadata.generation
                    && slot.task.metadata.annotations == task.metadata.annotations
                    && slot.task.metadata.labels == task.metadata.labels
                    && slot.task.metadata.deletion_timestamp == task.metadata.deletion_timestamp
                    && slot.task.status.epoch == task.status.epoch;
                let new_spec = slot.task.spec != task.spec;
                if slot.task.status.epoch != task.status.epoch {
                    slot.reported = None;
                }
                slot.assigned = true;
                slot.task = task;
                if echo {
                    return;
                }
                if new_spec {
                    slot.progress.image = cube_plan::worker::Image::Unknown;
                    slot.progress.obstacle = None;
                }
            }
            None => {
                let progress = Progress::resume(&task);
                let reported = Some(task.status.clone());
                self.slots
                    .insert(uid.clone(), Slot::new(task, true, progress, reported));
            }
        }
        self.dirty.insert(uid);
    }

    /// The Task is no longer the node's: what is left of it is stopped at once, for it may run elsewhere.
    fn unassign(&mut self, uid: &str) {
        self.unsent.remove(uid);
        let Some(slot) = self.slots.get_mut(uid) else { return };
        slot.assigned = false;
        if !slot.task.metadata.is_deleting() {
            let mut task = Task::clone(&slot.task);
            let grace = i64::from(task.spec.termination_grace_period_seconds);
            task.metadata.deletion_timestamp = self.world.now().saturating_add(SignedDuration::from_secs(grace)).ok();
            slot.task = Arc::new(task);
        }
        if slot.told_gone {
            self.slots.remove(uid);
        }
        self.dirty.insert(uid.to_owned());
        self.drop_unused_networks();
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Stepped {
                uid,
                step,
                outcome,
                took,
            } => {
                let gone = matches!(outcome, super::steps::Outcome::Gone);
                self.stepped(&uid, step, outcome, took);
                if gone {
                    self.drop_unused_networks();
                }
            }
            Message::Inspected(id, seen) => self.inspected(id, seen),
            Message::Network(namespace, result) => self.network(namespace, result),
            Message::Reported(batch, taken) => {
                self.reported(batch, taken);
                self.drop_unused_networks();
            }
        }
    }

    fn event(&mut self, event: EngineEvent) {
        let EngineEvent::Changed { id, action, .. } = event;
        match action {
            // Its own creation and start the actor learns from the calls themselves.
            Action::Create | Action::Kill { .. } | Action::Other(_) => {}
            Action::Start if self.view.get(&id).is_some_and(|container| self.is_starting(container)) => {}
            Action::Destroy => {
                if let Some(uid) = self.view.remove(&id) {
                    self.dirty.insert(uid);
                }
            }
            _ => self.inspect(id),
        }
    }

    /// The engine is another one than before: what ran on that one has not ended, it is only not here.
    fn forget_containers(&mut self) {
        for slot in self.slots.values_mut() {
            slot.progress.alive = None;
        }
    }

    /// The engine has gone: what ended shortly before was most likely stopped with it. It is judged anew when the engine
    /// is back and shows what became of it.
    fn take_back_ends(&mut self, now: Timestamp) {
        for slot in self.slots.values_mut() {
            let Some(before) = slot.before_end.take() else { continue };
            if now.duration_since(before.at) > ENGINE_STOPS {
                continue;
            }
            slot.progress = before.progress;
            if self.view.get(&before.id).is_none() {
                // Cleared by this worker in the meantime, not by anyone else.
                slot.progress.alive = None;
            }
        }
    }

    fn is_starting(&self, container: &Container) -> bool {
        let slot = container
            .labels
            .get(super::form::UID_LABEL)
            .and_then(|uid| self.slots.get(uid));
        slot.is_some_and(|slot| slot.busy == Some(cube_plan::worker::Step::Start(container.id.clone())))
    }

    fn inspected(&mut self, id: String, seen: Result<Option<Box<Container>>, EngineError>) {
        if self.inspecting.remove(&id) == Some(true) {
            // Something happened while it was looked at: what was seen may be old.
            return self.inspect(id);
        }
        let uid = match seen {
            Ok(Some(container)) if self.is_ours(&container) => self.view.put(*container),
            Ok(Some(_)) => None,
            Ok(None) => self.view.remove(&id),
            Err(error) => {
                tracing::debug!(id, %error, "cannot look at a container");
                self.relist_soon();
                None
            }
        };
        self.dirty.extend(uid);
    }

    fn is_ours(&self, container: &Container) -> bool {
        let label = |name: &str| container.labels.get(name);
        label(crate::engine::CLUSTER_LABEL) == Some(&self.ground.cluster)
            && label(super::form::NODE_LABEL).is_none_or(|node| *node == self.ground.node)
    }

    /// Takes in a list of all there is.
    fn listed(&mut self, containers: Vec<Container>, networks: Vec<String>, all: bool) {
        let mut gone = self.view.ids();
        for container in containers {
            gone.remove(&container.id);
            let known = self.view.get(&container.id);
            if known != Some(&container) && !self.inspecting.contains_key(&container.id) {
                // A step that is under way knows better than a list that was made before it.
                let busy = container
                    .labels
                    .get(super::form::UID_LABEL)
                    .and_then(|uid| self.slots.get(uid))
                    .is_some_and(|slot| slot.busy.is_some());
                if all || !busy {
                    let uid = self.view.put(container);
                    self.dirty.extend(uid);
                }
            }
        }
        for id in gone {
            // Made after the list, perhaps: ask for this one.
            self.inspect(id);
        }
        if all {
            self.networks
                .retain(|_, state| *state == super::actor::NetworkState::Busy);
            for namespace in networks {
                self.networks.insert(namespace, super::actor::NetworkState::Ready);
            }
            self.drop_unused_networks();
        }
    }

    /// Something is unclear: list soon.
    pub(super) fn relist_soon(&mut self) {
        self.relist_now = true;
    }

    fn next_timer(&self) -> Instant {
        let far = Instant::now() + Duration::from_secs(3600);
        let Some((at, _)) = self.timers.first() else { return far };
        let wait = at.duration_since(self.world.now());
        Instant::now()
            + Duration::try_from(wait)
                .unwrap_or(Duration::ZERO)
                .min(Duration::from_secs(3600))
    }

    fn fire_timers(&mut self) {
        let now = self.world.now();
        while let Some((at, uid)) = self.timers.first().cloned() {
            if at > now {
                break;
            }
            self.timers.remove(&(at, uid.clone()));
            self.dirty.insert(uid);
        }
    }
}
