//! A simulated cluster: machines, and the processes on them, which are Cube's own.
//!
//! Owns who runs where, and how each dies and comes back. It never looks at what they decide.
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use cube::{
    client::{Client, Endpoint},
    daemon::{Given, Lines, Manager, OwnWorker, worker as daemon_worker},
    source,
    store::{self, Store},
    worker::{self, Ground, Identity, Reserved, link::dial, subnets::Range},
    world::{World, process::Process},
};
use cube_api::placement::SchedulingPolicy;
use futures_util::{FutureExt as _, future};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{
    chance::Chance,
    directory::Folder,
    disk::Platter,
    engine::Docker,
    history::History,
    network::Net,
    notes::Cabinet,
    oracle::Oracle,
    rot,
    trap::Trap,
    world::{Clock, Outside},
};

/// Where the manager listens.
pub const SOCKET: &str = "/run/cube/cube.sock";
/// The manager's machine.
pub const MANAGER: &str = "manager";

/// How a cluster is laid out.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Its nodes, each with its cores and gibibytes.
    pub nodes: Vec<(String, u64, u64)>,
    /// The first node's worker is in the manager's own process.
    pub own: bool,
    /// Watched directories.
    pub folders: usize,
    /// How a node is chosen for Tasks that do not say.
    pub policy: SchedulingPolicy,
    /// Milliseconds that the network, the disk, an engine take at most.
    pub latency: (u64, u64, u64),
    /// Events that stay for watchers.
    pub history_events: usize,
}

/// A machine with a process of Cube's.
struct Machine {
    clock: Clock,
    cabinet: Cabinet,
    process: Option<Process>,
    booted_at: jiff::Timestamp,
    /// The next process' number, from which its chance comes.
    starts: u64,
}

impl Machine {
    fn new(chance: Chance) -> Self {
        let clock = Clock::new();
        Self {
            booted_at: clock.now(),
            clock,
            cabinet: Cabinet::new(chance),
            process: None,
            starts: 0,
        }
    }
}

/// The cluster.
pub struct Cluster {
    /// How it is laid out.
    pub layout: Layout,
    /// What happened.
    pub history: History,
    /// The network.
    pub net: Net,
    /// The store's disk.
    pub platter: Platter,
    /// The watched directories.
    pub folders: Vec<Folder>,
    /// Each node's engine.
    pub dockers: BTreeMap<String, Docker>,
    /// What is held against it.
    pub oracle: Oracle,
    /// Whether any process was killed.
    pub killed: bool,
    chance: Chance,
    machines: BTreeMap<String, Machine>,
    /// The cluster's id.
    id: String,
    trap: Trap,
}

/// Where the worker of each node runs.
fn workers(layout: &Layout) -> BTreeMap<String, String> {
    let own = |n: usize| layout.own && n == 0;
    let nodes = layout.nodes.iter().enumerate();
    nodes
        .map(|(n, (node, ..))| (node.clone(), if own(n) { MANAGER.to_owned() } else { node.clone() }))
        .collect()
}

impl Cluster {
    /// A cluster of which nothing runs yet.
    pub fn new(layout: Layout, chance: &Chance, history: History, trap: Trap) -> Self {
        let net = Net::new(chance.fork("network"), layout.latency.0);
        let mut machines = BTreeMap::from([(MANAGER.to_owned(), Machine::new(chance.fork("notes of the manager")))]);
        let mut dockers = BTreeMap::new();
        let folders: Vec<Folder> = (0..layout.folders).map(|n| Folder::new(&folder_path(n))).collect();
        for (n, (node, cores, gibibytes)) in layout.nodes.iter().enumerate() {
            let mut machine = Machine::new(chance.fork(&format!("notes of {node}")));
            if layout.own && n == 0 {
                // It is the manager's machine.
                machine.clock = machines[MANAGER].clock.clone();
            }
            let outside = Outside {
                clock: machine.clock.clone(),
                chance: chance.fork(&format!("engine of {node}")),
                files: None,
                notes: machine.cabinet.of(Process::default()),
                network: net.of(node, Process::default()),
                booted_at: machine.booted_at,
            };
            let docker = Docker::new(
                node,
                outside.world(),
                history.clone(),
                chance.fork(&format!("calls of {node}")),
                *cores,
                gibibytes << 30,
            );
            docker.set_manners(crate::engine::Manners {
                latency: layout.latency.2,
                ..crate::engine::Manners::default()
            });
            dockers.insert(node.clone(), docker);
            machines.insert(node.clone(), machine);
        }
        let id = format!("{:016x}", chance.fork("cluster").number());
        let platter = Platter::new(trap.clone());
        // A new store's file comes to its place whole, which no fault can come between.
        let disk = platter.of(Process::default());
        let options = store::Options {
            cluster: id.clone(),
            ..store::Options::default()
        };
        let made = Store::over(move || Ok(disk.clone()), options);
        drop(made.map_err(|error| history.violated("start", error)));
        let oracle = Oracle::new(history.clone(), &id, dockers.clone(), workers(&layout), trap.clone());
        Self {
            layout,
            history,
            net,
            killed: false,
            platter,
            folders,
            dockers,
            oracle,
            chance: chance.clone(),
            machines,
            id,
            trap,
        }
    }

    /// The cluster's name among others.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A client on a machine of its own.
    pub fn client(&self, who: &str) -> Client {
        let network = self.net.of(who, Process::default());
        Client::new(Endpoint::Unix(SOCKET.into()), network)
    }

    /// The machines that have a process: the manager's, and the nodes'.
    pub fn machines(&self) -> Vec<String> {
        self.machines
            .keys()
            .filter(|name| !self.is_own(name))
            .cloned()
            .collect()
    }

    /// Whether the node's worker is in the manager's process.
    pub fn is_own(&self, node: &str) -> bool {
        self.layout.own && self.layout.nodes.first().is_some_and(|(first, ..)| first == node)
    }

    /// Whether a machine's process lives.
    pub fn runs(&self, machine: &str) -> bool {
        let process = self.machines.get(machine).and_then(|machine| machine.process.as_ref());
        process.is_some_and(Process::is_alive)
    }

    /// A machine's clock.
    pub fn clock(&self, machine: &str) -> Option<Clock> {
        self.machines.get(machine).map(|machine| machine.clock.clone())
    }

    /// A machine's small files.
    pub fn cabinet(&self, machine: &str) -> Option<Cabinet> {
        self.machines.get(machine).map(|machine| machine.cabinet.clone())
    }

    /// Starts everything.
    pub fn start_all(&mut self) {
        for machine in self.machines() {
            self.start(&machine);
        }
    }

    /// Starts a machine's process, unless it runs.
    pub fn start(&mut self, name: &str) {
        if self.runs(name) || self.is_own(name) {
            return;
        }
        self.history.note(name, "starts");
        match name {
            MANAGER => self.start_manager(),
            node => self.start_worker(node),
        }
    }

    fn outside(&mut self, name: &str, process: &Process, files: Option<Folder>) -> Option<World> {
        let machine = self.machines.get_mut(name)?;
        machine.starts += 1;
        let chance = self.chance.fork(&format!("{name}, start {}", machine.starts));
        let outside = Outside {
            clock: machine.clock.clone(),
            chance,
            files: files.map(|folder| Arc::new(folder) as _),
            notes: machine.cabinet.of(process.clone()),
            network: self.net.of(name, process.clone()),
            booted_at: machine.booted_at,
        };
        self.trap.process(name, process);
        machine.process = Some(process.clone());
        Some(outside.world())
    }

    fn start_manager(&mut self) {
        let process = Process::default();
        let folders: Vec<Option<Folder>> = match self.folders.is_empty() {
            true => vec![None],
            false => self.folders.iter().cloned().map(Some).collect(),
        };
        let worlds: Vec<World> = folders
            .into_iter()
            .filter_map(|folder| self.outside(MANAGER, &process, folder))
            .collect();
        let Some(world) = worlds.first().cloned() else { return };
        let ear = self.net.listen(MANAGER, SOCKET);
        let own = self.layout.own.then(|| self.layout.nodes[0].0.clone());
        let own = own.map(|node| OwnWorker {
            told: told(&self.id, &node),
            engine: self.dockers[&node].of(process.clone()),
        });
        let history = self.history.clone();
        let lines = Lines::to(
            move |text| history.note(MANAGER, format_args!("says {}", text.trim_end())),
            world.clone(),
        );
        let given = Given {
            lines,
            header: future::ready("cube".to_owned()).boxed(),
            host_name: MANAGER.to_owned(),
            scheduling_policy: self.layout.policy,
            info: json!({}),
            directory: (!self.folders.is_empty()).then(|| folder_path(0)),
            own,
        };
        let (faulty, this) = (self.platter.clone(), process.clone());
        let (disk, chance) = (self.platter.of(process.clone()), self.chance.fork("disk"));
        let (latency, history_events) = (self.layout.latency.1, self.layout.history_events);
        let (oracle, history) = (self.oracle.clone(), self.history.clone());
        let rotten = rot::copies_of(
            &self.platter,
            &self.chance.fork(&format!("rot {}", self.machines[MANAGER].starts)),
        );
        let options = store::Options {
            history_events,
            ..store::Options::default()
        };
        let beginning = async move {
            // Before each group of commits, so that nothing of the one before is forgotten yet.
            let beside = oracle.clone();
            let wait = move || {
                beside.catch_up();
                chance.millis(0, latency)
            };
            let store = match Store::in_time(move || Ok(disk.reopened()), options, wait) {
                Ok(store) => store,
                Err(error) => {
                    history.note(MANAGER, format_args!("does not start: {error}"));
                    if !faulty.has_failed() {
                        oracle.refused(&error.to_string());
                    }
                    return this.kill();
                }
            };
            for rotten in rotten {
                rotten.check(&store.snapshot(), &history);
            }
            oracle.opened(&store);
            follow(&oracle, &store);
            let mut manager = match Manager::begin(given, store, ear, world).await {
                Ok(manager) => manager,
                Err(error) => {
                    history.note(MANAGER, format_args!("does not start: {error}"));
                    return this.kill();
                }
            };
            for (n, world) in worlds.into_iter().enumerate().skip(1) {
                let options = source::Options {
                    name: source::name_of(&folder_path(n)),
                    directory: folder_path(n),
                };
                let tell = Arc::new(manager.narrator.clone());
                let shutdown = CancellationToken::new();
                let source = source::run(options, manager.registry.clone(), world, tell, shutdown);
                cube::world::spawn(source);
            }
            let error = manager.parts.failed().await;
            history.violated("a part never ends by itself", error);
        };
        tokio::spawn(process.run(beginning));
    }

    fn start_worker(&mut self, node: &str) {
        let process = Process::default();
        let Some(world) = self.outside(node, &process, None) else {
            return;
        };
        let history = self.history.clone();
        let who = node.to_owned();
        let lines = Lines::to(
            move |text| history.note(&who, format_args!("says {}", text.trim_end())),
            world.clone(),
        );
        let client = Client::new(Endpoint::Unix(SOCKET.into()), world.network());
        let engine = self.dockers[node].of(process.clone());
        let (history, who) = (self.history.clone(), node.to_owned());
        let this = process.clone();
        let beginning = async move {
            let mut dialling = dial::Options {
                client,
                node: who.clone(),
                worker: format!("worker of {who}"),
                cluster: known_cluster(&world),
            };
            let cluster = match dialling.cluster.clone() {
                Some(cluster) => cluster,
                None => match daemon_worker::first_greeting(&dialling, &lines).await {
                    Ok(cluster) => {
                        let _ = world.notes().replace(Path::new(CLUSTER), cluster.as_bytes(), true);
                        cluster
                    }
                    Err(error) => {
                        history.note(&who, format_args!("is not let in: {error}"));
                        return this.kill();
                    }
                },
            };
            dialling.cluster = Some(cluster.clone());
            let given = daemon_worker::Given {
                told: told(&cluster, &who),
                dialling,
                remembered: "/var/lib/cube/worker/assignments".into(),
                lines,
            };
            let mut parts = daemon_worker::begin(given, engine, world);
            let error = parts.failed().await;
            history.note(&who, format_args!("ends: {error}"));
            this.kill();
        };
        tokio::spawn(process.run(beginning));
    }

    /// Kills a machine's process; with `power`, the machine loses its power too, with all that was not synced.
    pub fn kill(&mut self, name: &str, power: bool) {
        let Some(machine) = self.machines.get_mut(name) else {
            return;
        };
        self.oracle.catch_up();
        if let Some(process) = machine.process.take() {
            process.kill();
        }
        let starts = machine.starts;
        self.killed = true;
        self.history
            .note(name, if power { "loses its power" } else { "is killed" });
        self.net.cut(name, None);
        if power {
            machine.cabinet.power_cut();
            machine.booted_at = machine.clock.now();
        }
        if name == MANAGER {
            self.net.deafen(SOCKET);
            self.oracle.closed();
            for folder in &self.folders {
                folder.forget_watchers();
            }
            if power {
                self.platter
                    .power_cut(&self.chance.fork(&format!("power cut {starts}")));
            }
        }
        let node = match name {
            MANAGER if self.layout.own => Some(self.layout.nodes[0].0.clone()),
            MANAGER => None,
            node => Some(node.to_owned()),
        };
        if let Some(docker) = node.filter(|_| power).and_then(|node| self.dockers.get(&node)) {
            docker.power_cut();
            docker.sim.reboot();
            self.oracle.power_cut(&docker.node);
        }
    }

    /// Holds a machine's process still, or lets it go on.
    pub fn hold(&self, name: &str, held: bool) {
        let Some(process) = self.machines.get(name).and_then(|machine| machine.process.as_ref()) else {
            return;
        };
        self.history.note(name, if held { "is held" } else { "goes on" });
        match held {
            true => process.hold(),
            false => process.go_on(),
        }
    }
}

/// Has the oracle take up what the store tells as it tells it.
fn follow(oracle: &Oracle, store: &Store) {
    let Ok(mut watch) = store.watch("", store.revision()) else {
        return;
    };
    let oracle = oracle.clone();
    // Beside the process: it is no part of it.
    tokio::spawn(async move {
        while watch.next().await.is_ok() {
            oracle.catch_up();
        }
    });
}

const CLUSTER: &str = "/var/lib/cube/cluster";

fn known_cluster(world: &World) -> Option<String> {
    let known = world.notes().read(Path::new(CLUSTER)).ok().flatten()?;
    String::from_utf8(known).ok()
}

/// What a worker is told at its start.
fn told(cluster: &str, node: &str) -> worker::Options {
    worker::Options {
        ground: Ground {
            cluster: cluster.to_owned(),
            node: node.to_owned(),
            publish_address: None,
        },
        identity: Identity {
            name: node.to_owned(),
            labels: BTreeMap::new(),
            taints: Vec::new(),
            worker: format!("worker of {node}"),
            reserved: Reserved::default(),
        },
        data_dir: "/var/lib/cube/worker".into(),
        range: Range::default(),
    }
}

/// Where a watched directory is.
pub fn folder_path(n: usize) -> PathBuf {
    format!("/manifests{n}").into()
}
