//! The worker's main loop: link, engine and clock wake it; the actor looks.
//!
//! Engine events can be lost: it subscribes, then lists, and lists again after every reconnect and once a minute. An
//! engine that does not answer says nothing about its containers.
use cube_planted::{Bug, planted};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cube_api::node::Node;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::actor::{Actor, ENGINE_STOPS, Message};
use super::engine_ends::{died_with_engine, ended_since};
use super::form::Ground;
use super::journal::Journal;
use super::link::{Assignment, Link};
use super::node::{Identity, Room, node, tell_room, tell_there};
use super::pulls::Pulls;
use super::steps::Pace;
use super::subnets::Range;
use super::view::View;
use crate::engine::{Container, Engine, EngineError, EngineEvent, EngineInfo, NamedImage, State};
use crate::world::{World, clock::ClockWatch};

/// How often the list is compared with the view even though nothing was heard.
const RELIST: Duration = Duration::from_secs(60);
/// How often it is looked whether memory or disk are short: two small files of the kernel's. Longer would let more be
/// placed on a machine that has no room.
const ROOM: Duration = Duration::from_secs(15);
/// The first wait before an engine that does not answer is asked again; it doubles.
const RECONNECT: Duration = Duration::from_millis(100);
/// The last one: how late at most an engine that is back is noticed.
const RECONNECT_MOST: Duration = Duration::from_secs(2);
/// So long an engine may be away before it is said of its Tasks that nobody knows whether they work: most are back by then
/// (an upgrade), and each word about each Task is a write.
const DOUBTED: Duration = Duration::from_secs(8);

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
    let journal = Journal::open(world.notes(), &options.data_dir.join("made"))?;
    let contact_path = options.data_dir.join("contact");
    let contact = world
        .notes()
        .read(&contact_path)
        .ok()
        .flatten()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .unwrap_or_default();
    let (last_contact, last_engine) = contact.split_once('\n').unwrap_or_default();
    let last_contact = last_contact.parse().ok();
    let last_engine = Some(last_engine.to_owned()).filter(|id| !id.is_empty());
    let (sender, mut messages) = mpsc::unbounded_channel();
    let mut assignments = link.assignments().await;
    let cores = world.machine().cores();
    let mut actor = Actor {
        ground: Arc::new(options.ground),
        engine,
        link,
        world: world.clone(),
        pace: Arc::new(Pace::new(cores)),
        pulls: Pulls::default(),
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
        signalled: BTreeSet::new(),
        relist_now: false,
        healthchecks: BTreeMap::new(),
        exec_turns: Arc::default(),
        volumes: BTreeSet::new(),
        sender,
    };
    let mut session = Session {
        identity: options.identity,
        node: Node::default(),
        said: Node::default(),
        contact_path,
        last_contact,
        went: false,
        last_engine,
        events: None,
        connecting: None,
        retry: RECONNECT,
        gone_since: None,
        next_list: Instant::now(),
        engine_root: PathBuf::new(),
        next_room: Instant::now() + ROOM,
    };
    session.connect(&actor, Duration::ZERO);
    let mut clock = ClockWatch::new(&world);
    loop {
        actor.look_at_dirty();
        // Without an engine there is nothing to list, and nothing to look at.
        let wake = match actor.engine_up {
            true => session.next_list.min(session.next_room).min(actor.next_timer()),
            false => Instant::now() + RELIST,
        };
        let woke = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(assignment) = assignments.next() => Woke::Assigned(assignment),
            Some(message) = messages.recv() => Woke::Told(message),
            event = next_event(&mut session.events) => Woke::Event(event),
            connected = finished(&mut session.connecting) => Woke::Connected(Box::new(connected)),
            () = tokio::time::sleep_until(wake) => Woke::Due,
        };
        // First of all, or a wait that is begun now would be moved as if it had been begun before.
        if let Some(by) = clock.set_by(&world) {
            actor.clock_was_set(by);
            let contact = session.last_contact;
            session.last_contact = contact.map(|at| at.saturating_add(by).unwrap_or(at));
        }
        match woke {
            Woke::Assigned(assignment) => actor.assign(assignment),
            Woke::Told(message) => {
                actor.handle(message);
                // What is there already is taken in before the next look, so that one look serves all of it.
                while let Ok(message) = messages.try_recv() {
                    actor.handle(message);
                }
            }
            Woke::Event(Some(Ok(event))) => actor.event(event),
            Woke::Event(Some(Err(error))) => session.lost(&mut actor, &error),
            Woke::Connected(connected) => session.connected(&mut actor, *connected),
            Woke::Event(None) | Woke::Due => {}
        }
        actor.fire_timers();
        if actor.engine_up && session.next_room <= Instant::now() {
            session.look_for_room(&actor);
        }
        if actor.relist_now || (actor.engine_up && Instant::now() >= session.next_list) {
            actor.relist_now = false;
            session.next_list = Instant::now() + RELIST;
            if session.connecting.is_none() && actor.engine_up && !planted(Bug::ListSkipped) {
                session.list(&actor);
            }
        }
    }
    session.note_contact(&world);
    Ok(())
}

/// Why the loop went on.
enum Woke {
    Assigned(Assignment),
    Told(Message),
    Event(Option<crate::engine::Result<EngineEvent>>),
    Connected(Box<Result<Connected, EngineError>>),
    Due,
}

/// What a connection attempt gives.
struct Connected {
    info: Option<EngineInfo>,
    events: Option<Events>,
    containers: Vec<Container>,
    networks: Vec<String>,
    scratch: BTreeSet<String>,
    volumes: BTreeSet<String>,
    images: Vec<NamedImage>,
}

type Attempt = tokio::task::JoinHandle<Result<Connected, EngineError>>;

struct Session {
    identity: Identity,
    /// The Node, as far as it is known.
    node: Node,
    /// As it was told last.
    said: Node,
    contact_path: PathBuf,
    last_contact: Option<Timestamp>,
    /// Whether this worker saw the engine go since.
    went: bool,
    /// Which engine it was then.
    last_engine: Option<String>,
    events: Option<Events>,
    connecting: Option<Attempt>,
    retry: Duration,
    /// Since when it does not answer.
    gone_since: Option<Instant>,
    next_list: Instant,
    /// Where the engine keeps its data.
    engine_root: PathBuf,
    next_room: Instant,
}

impl Session {
    /// Subscribes, then lists, in a task of its own.
    fn connect(&mut self, actor: &Actor, after: Duration) {
        let (engine, ground) = (actor.engine.clone(), actor.ground.clone());
        self.connecting = Some(crate::world::spawn(async move {
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
        self.connecting = Some(crate::world::spawn(async move { all(&*engine, &ground, &known).await }));
    }

    /// Writes down when the engine was seen last, and which one it was, for a worker that starts after this one.
    fn note_contact(&self, world: &World) {
        let engine = self.last_engine.as_deref().unwrap_or_default();
        let note = format!("{}\n{engine}", world.now());
        if let Err(error) = world.notes().replace(&self.contact_path, note.as_bytes(), false) {
            tracing::warn!(%error, "cannot note when the engine was seen last");
        }
    }

    fn connected(&mut self, actor: &mut Actor, connected: Result<Connected, EngineError>) {
        self.connecting = None;
        let connected = match connected {
            Ok(connected) => connected,
            Err(error) => return self.lost(actor, &error),
        };
        let now = actor.world.now();
        if let Some(events) = connected.events {
            self.events = Some(events);
        }
        let came_back = connected.info.is_some();
        if let Some(info) = &connected.info {
            let started = info.started_at;
            let contact = self.last_contact;
            // An engine whose connection alone was lost has stopped nothing.
            let restarted =
                started.is_none_or(|at| contact.is_none_or(|contact| at.as_second() + 1 >= contact.as_second()));
            let went = std::mem::take(&mut self.went);
            actor.with_engine = match contact.filter(|_| went) {
                Some(contact) if restarted => {
                    actor.take_back_ends(contact);
                    ended_since(
                        &connected.containers,
                        contact.saturating_sub(ENGINE_STOPS).unwrap_or(contact),
                    )
                }
                Some(_) => BTreeSet::new(),
                None => died_with_engine(
                    &connected.containers,
                    contact,
                    started.max(actor.world.machine().booted_at()),
                ),
            };
        }
        if !(came_back && planted(Bug::RelistSkipped)) {
            actor.listed(connected.containers, connected.networks, came_back);
        }
        let volumes = &connected.volumes - &connected.scratch;
        let mut told = self.node.clone();
        tell_there(&mut told, &volumes, connected.images);
        actor.volumes = volumes;
        actor.drop_unwished_scratch(connected.scratch);
        match came_back {
            // What else there is to say of it follows.
            true => self.node = told,
            false => self.tell(actor, told),
        }
        if let Some(info) = &connected.info {
            self.retry = RECONNECT;
            self.gone_since = None;
            self.next_list = Instant::now() + RELIST;
            actor.engine_up = true;
            if self.last_engine.as_ref().is_some_and(|last| *last != info.id) {
                actor.forget_containers();
            }
            self.last_engine = Some(info.id.clone());
            self.note_contact(&actor.world);
            actor.dirty.extend(actor.slots.keys().cloned());
            actor.dirty.extend(actor.view.uids().cloned());
            self.engine_root = PathBuf::from(&info.root_dir);
            self.tell_node(actor, Ok(info), now);
        }
    }

    /// The engine does not answer: nothing is known of its containers until it does.
    fn lost(&mut self, actor: &mut Actor, error: &EngineError) {
        let now = actor.world.now();
        if actor.engine_up {
            self.last_contact = Some(now);
            self.went = true;
        }
        actor.engine_up = planted(Bug::EngineAwayIsGone);
        if planted(Bug::EngineAwayIsGone) {
            actor.view = View::default();
            actor.dirty.extend(actor.slots.keys().cloned());
        }
        if self.gone_since.get_or_insert_with(Instant::now).elapsed() >= DOUBTED {
            actor.doubt_all();
        }
        self.events = None;
        self.connect(actor, self.retry);
        self.retry = (self.retry * 2).min(RECONNECT_MOST);
        self.tell_node(actor, Err(&error.to_string()), now);
    }

    fn tell_node(&mut self, actor: &Actor, engine: Result<&EngineInfo, &str>, now: Timestamp) {
        let mut told = node(&self.identity, engine, &self.node, now);
        tell_room(&self.identity, &mut told, self.room(&actor.world), now);
        self.tell(actor, told);
    }

    /// Looks whether the machine is short of something.
    fn look_for_room(&mut self, actor: &Actor) {
        self.next_room = Instant::now() + ROOM;
        let mut told = self.node.clone();
        tell_room(&self.identity, &mut told, self.room(&actor.world), actor.world.now());
        self.tell(actor, told);
    }

    /// The machine's room, if the engine is on this one.
    fn room(&self, world: &World) -> Room {
        let machine = world.machine();
        let disk = machine.disk(&self.engine_root);
        Room {
            memory: disk.and_then(|_| machine.memory()),
            disk,
        }
    }

    /// Tells the Node, if there is anything new to it.
    fn tell(&mut self, actor: &Actor, told: Node) {
        self.node = told;
        if self.node != self.said {
            self.said = self.node.clone();
            actor.link.tell_node(self.node.clone());
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
            .filter(|known| known.state == listed.state && known.name == listed.name)
            .filter(|known| known.addresses.is_empty() == listed.addresses.is_empty());
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
        scratch: engine.volumes(&ground.scratch_labels()).await?,
        volumes: engine.volumes(&BTreeMap::new()).await?,
        images: engine.images().await?,
    })
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
            Message::Pulling(uid, done, total) => {
                if let Some(slot) = self.slots.get_mut(&uid).filter(|slot| slot.pull.is_some()) {
                    slot.progress.pulled_bytes = Some((done, total));
                    self.dirty.insert(uid);
                }
            }
            Message::Probed { uid, number, report } => self.probed(&uid, number, report),
            Message::Inspected(id, seen) => self.inspected(id, seen),
            Message::Network(namespace, result) => self.network_made(namespace, result),
            Message::NetworkStays(namespace) => self.network_stays(namespace),
            Message::LeftNetwork(id) => self.left_network(id),
            Message::NetworkRemoved(namespace) => self.network_removed(&namespace),
            Message::Reported(batch, taken) => {
                self.reported(batch, taken);
                self.drop_unused_networks();
            }
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
