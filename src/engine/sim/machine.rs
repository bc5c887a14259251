//! The state of a simulated engine and what each verb does to it, without waiting for anything.
use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use cube_api::figures::{CpuUsage, MemoryUsage, Usage};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, watch};

use super::program::{Step, steps_of};
use super::{SimConfig, Verb};
use crate::engine::reference::Reference;
use crate::engine::{
    Action, CLUSTER_LABEL, Container, ContainerSpec, EngineError, EngineEvent, ImageInfo, LogChunk, MountSource,
    Network, NetworkInfo, NetworkSpec, PublishedPort, Result, SCRATCH_LABEL, State, subpath,
};
use crate::world::World;

/// The first port that the engine chooses by itself, as on Linux.
const FIRST_CHOSEN_PORT: u16 = 32768;

/// What a call that is to fail does first.
pub(super) enum Failure {
    /// Nothing.
    Before(EngineError),
    /// What was asked; only the answer is lost.
    After(EngineError),
}

/// A container with what only its engine knows.
pub(super) struct Contained {
    pub(super) seen: Container,
    pub(super) spec: ContainerSpec,
    /// Which of its runs is the present one; what an older one still had to do is void.
    run: u64,
    ignores_term: bool,
    /// Each line with its time.
    pub(super) log: Vec<(Timestamp, LogChunk)>,
    /// Told at each line and each change of state; gone with the container.
    pub(super) changed: watch::Sender<()>,
}

/// What is left of a program after a step that takes time.
pub(super) struct Rest {
    pub(super) id: String,
    pub(super) run: u64,
    pub(super) wait: std::time::Duration,
    pub(super) steps: VecDeque<Step>,
}

pub(super) struct Machine {
    pub(super) id: String,
    pub(super) world: World,
    pub(super) config: SimConfig,
    pub(super) away: bool,
    pub(super) calls: BTreeMap<Verb, u64>,
    pub(super) failures: BTreeMap<Verb, VecDeque<Failure>>,
    pub(super) images: BTreeMap<String, ImageInfo>,
    pub(super) networks: BTreeMap<String, NetworkInfo>,
    pub(super) volumes: BTreeMap<String, BTreeMap<String, String>>,
    /// By name, the order in which they are listed.
    pub(super) containers: BTreeMap<String, Contained>,
    /// Programs beside their containers' own, by id.
    pub(super) execs: BTreeMap<String, super::exec::Executed>,
    listeners: Vec<(String, mpsc::UnboundedSender<Result<EngineEvent>>)>,
    /// The last id, pid, port and address given.
    last: u64,
}

impl Machine {
    pub(super) fn new(world: World, config: SimConfig) -> Self {
        Self {
            id: world.uuid().to_string(),
            world,
            config,
            away: false,
            calls: BTreeMap::new(),
            failures: BTreeMap::new(),
            images: BTreeMap::new(),
            networks: BTreeMap::new(),
            volumes: BTreeMap::new(),
            containers: BTreeMap::new(),
            execs: BTreeMap::new(),
            listeners: Vec::new(),
            last: 0,
        }
    }

    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    pub(super) fn new_exec_id(&mut self) -> String {
        format!("exec-{}", self.next())
    }

    pub(super) fn name_of(&self, id: &str) -> Option<String> {
        if self.containers.contains_key(id) {
            return Some(id.to_owned());
        }
        let found = self.containers.values().find(|container| container.seen.id == id);
        found.map(|container| container.seen.name.clone())
    }

    pub(super) fn get(&mut self, id: &str) -> Result<&mut Contained> {
        let name = self.name_of(id).ok_or_else(|| missing(id))?;
        self.containers.get_mut(&name).ok_or_else(|| missing(id))
    }

    pub(super) fn listen(&mut self, cluster: &str) -> mpsc::UnboundedReceiver<Result<EngineEvent>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.listeners.push((cluster.to_owned(), sender));
        receiver
    }

    /// Ends every stream of events.
    pub(super) fn hang_up(&mut self) {
        for (_, listener) in self.listeners.drain(..) {
            let _ = listener.send(Err(super::gone()));
        }
    }

    fn tell(&mut self, seen: &Container, action: Action) {
        let event = EngineEvent::Changed {
            id: seen.id.clone(),
            name: seen.name.clone(),
            action,
            at: self.world.now(),
        };
        let cluster = seen.labels.get(CLUSTER_LABEL);
        self.listeners.retain(|(wanted, listener)| {
            Some(wanted) != cluster && !listener.is_closed() || listener.send(Ok(event.clone())).is_ok()
        });
    }

    pub(super) fn add_image(&mut self, reference: &str) {
        let name = Reference::parse(reference).canonical();
        let hash = Sha256::digest(name.as_bytes());
        let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let image = ImageInfo {
            id: format!("sha256:{hex}"),
            digest: Some(format!("sha256:{hex}")),
            size_bytes: 10 << 20,
            user: String::new(),
            healthcheck: None,
        };
        self.images.insert(name, image);
    }

    pub(super) fn create(&mut self, spec: &ContainerSpec) -> Result<String> {
        for mount in &spec.mounts {
            if let Some(path) = &mount.sub_path {
                subpath::check(path)?;
            }
        }
        let no_image = || EngineError::NoSuchImage {
            image: spec.image.clone(),
        };
        let name = Reference::parse(&spec.image).canonical();
        let by_id = || self.images.values().find(|image| image.id == spec.image);
        let image_id = self.images.get(&name).or_else(by_id).ok_or_else(no_image)?.id.clone();
        if self.containers.contains_key(&spec.name) {
            return Err(EngineError::NameInUse {
                name: spec.name.clone(),
            });
        }
        for mount in &spec.mounts {
            if let MountSource::Volume(volume) | MountSource::Scratch(volume) = &mount.source {
                self.volumes.entry(volume.clone()).or_default();
            }
        }
        let id = format!("{:064x}", self.next());
        let seen = Container {
            id: id.clone(),
            name: spec.name.clone(),
            image: spec.image.clone(),
            image_id,
            labels: spec.labels.clone(),
            state: State::Created,
            pid: None,
            layer: None,
            addresses: Vec::new(),
            ports: Vec::new(),
            created_at: self.world.now(),
            started_at: None,
            finished_at: None,
        };
        self.tell(&seen, Action::Create);
        let contained = Contained {
            seen,
            spec: spec.clone(),
            run: 0,
            ignores_term: false,
            log: Vec::new(),
            changed: watch::Sender::new(()),
        };
        self.containers.insert(spec.name.clone(), contained);
        Ok(id)
    }

    /// Starts a container and carries its program out as far as it goes without waiting.
    pub(super) fn start(&mut self, id: &str) -> Result<Option<Rest>> {
        let number = self.next();
        let container = self.get(id)?;
        if container.seen.state.is_running() {
            return Ok(None);
        }
        let spec = container.spec.clone();
        let run = container.run + 1;
        let address = self.address(&spec.network, number)?;
        let ports = self.bind_ports(&spec)?;
        let argv: Vec<String> = [&spec.command, &spec.args]
            .into_iter()
            .flatten()
            .flatten()
            .cloned()
            .collect();
        let steps = steps_of(&argv)?;
        let now = self.world.now();
        let container = self.get(id)?;
        container.run = run;
        container.ignores_term = false;
        container.seen.state = State::Running;
        container.seen.pid = Some(1000 + (number % 30_000) as u32);
        container.seen.addresses = address.into_iter().collect();
        container.seen.ports = ports;
        container.seen.started_at = Some(now);
        let seen = container.seen.clone();
        self.tell(&seen, Action::Start);
        Ok(self.go_on(id, run, steps.into()))
    }

    /// Does the next steps of a run, up to one that takes time, unless the run is over.
    pub(super) fn go_on(&mut self, id: &str, run: u64, mut steps: VecDeque<Step>) -> Option<Rest> {
        while let Some(step) = steps.pop_front() {
            let now = self.world.now();
            let container = self.get(id).ok()?;
            if container.run != run || container.seen.state != State::Running {
                return None;
            }
            match step {
                Step::Write { stderr, line } => {
                    container.log.push((
                        now,
                        LogChunk {
                            stderr,
                            bytes: Bytes::from(line),
                        },
                    ));
                    container.changed.send_replace(());
                }
                Step::IgnoreTerm => container.ignores_term = true,
                Step::Sleep(wait) => {
                    let id = container.seen.id.clone();
                    return Some(Rest { id, run, wait, steps });
                }
                Step::Resolve(name) => {
                    if !self.resolves(id, &name) {
                        self.end(id, 1, false);
                    }
                }
                // A container's own program has no input.
                Step::Copy => {}
                Step::Exit(code) => self.end(id, code, false),
                Step::RunForEver => return None,
            }
        }
        None
    }

    /// A hundredth of a processor since its start, and a mebibyte.
    pub(super) fn usage(&mut self, id: &str) -> Option<Usage> {
        let now = self.world.now();
        let seen = &self.get(id).ok()?.seen;
        let began = seen.started_at.filter(|_| seen.state == State::Running)?;
        let ran = u64::try_from(now.duration_since(began).as_nanos()).unwrap_or_default();
        Some(Usage {
            cpu: Some(CpuUsage {
                usage_core_nano_seconds: ran / 100 + 1,
                usage_nano_cores: None,
            }),
            memory: Some(MemoryUsage {
                working_set_bytes: 1 << 20,
            }),
            ..Usage::default()
        })
    }

    pub(super) fn resolves(&mut self, id: &str, wanted: &str) -> bool {
        let Ok(asking) = self.get(id) else { return false };
        let Network::Named { name: network, .. } = asking.spec.network.clone() else {
            return false;
        };
        self.containers.values().any(|other| match &other.spec.network {
            Network::Named { name, aliases } => {
                *name == network
                    && other.seen.state == State::Running
                    && (other.seen.name == wanted || aliases.iter().any(|alias| alias == wanted))
            }
            Network::Host | Network::None => false,
        })
    }

    fn bind_ports(&mut self, spec: &ContainerSpec) -> Result<Vec<PublishedPort>> {
        if !matches!(spec.network, Network::Named { .. }) {
            return Ok(Vec::new());
        }
        let anywhere = "0.0.0.0";
        let mut bound = Vec::new();
        for port in &spec.ports {
            let Some(wanted) = port.host_port else { continue };
            let host_ip = port.host_ip.clone().unwrap_or_else(|| anywhere.to_owned());
            let taken = |host_port: u16| {
                let running = self.containers.values().flat_map(|other| &other.seen.ports);
                running.chain(&bound).any(|other: &PublishedPort| {
                    other.host_port == host_port
                        && other.protocol == port.protocol
                        && (other.host_ip == host_ip || other.host_ip == anywhere || host_ip == anywhere)
                })
            };
            let host_port = match wanted {
                0 => (FIRST_CHOSEN_PORT..=u16::MAX).find(|port| !taken(*port)),
                port => Some(port).filter(|port| !taken(*port)),
            };
            let host_port = host_port.ok_or_else(|| EngineError::PortInUse {
                port: Some(wanted),
                message: format!("Bind for {host_ip}:{wanted} failed: port is already allocated"),
            })?;
            bound.push(PublishedPort {
                container_port: port.container_port,
                protocol: port.protocol,
                host_ip,
                host_port,
            });
        }
        bound.sort();
        Ok(bound)
    }

    /// Ends a running container.
    pub(super) fn end(&mut self, id: &str, code: i64, oom_killed: bool) {
        let now = self.world.now();
        let Ok(container) = self.get(id) else { return };
        if !container.seen.state.is_running() {
            return;
        }
        container.seen.state = State::Exited {
            code,
            oom_killed,
            error: String::new(),
        };
        container.seen.pid = None;
        container.seen.addresses.clear();
        container.seen.ports.clear();
        container.seen.finished_at = Some(now);
        container.changed.send_replace(());
        let seen = container.seen.clone();
        if oom_killed {
            self.tell(&seen, Action::Oom);
        }
        self.tell(&seen, Action::Die { code: Some(code) });
    }

    pub(super) fn signal(&mut self, id: &str, signal: &str) -> Result<()> {
        let number = number_of(signal).ok_or_else(|| EngineError::Refused {
            status: 400,
            message: format!("invalid signal: {signal}"),
        })?;
        let container = self.get(id)?;
        if !container.seen.state.is_running() {
            return Err(EngineError::NotRunning { id: id.to_owned() });
        }
        let ignored = match number {
            9 => false,
            15 => container.ignores_term,
            // CHLD, CONT, URG, WINCH
            17 | 18 | 23 | 28 => true,
            _ => false,
        };
        let seen = container.seen.clone();
        self.tell(&seen, Action::Kill { signal: Some(number) });
        if !ignored {
            self.end(id, 128 + i64::from(number), false);
        }
        Ok(())
    }

    /// Freezes a running container; what its program had still to do is lost.
    pub(super) fn pause(&mut self, id: &str) {
        let Ok(container) = self.get(id) else { return };
        if container.seen.state == State::Running {
            container.seen.state = State::Paused;
            let seen = container.seen.clone();
            self.tell(&seen, Action::Pause);
        }
    }

    pub(super) fn unpause(&mut self, id: &str) -> Result<()> {
        let container = self.get(id)?;
        if container.seen.state == State::Paused {
            container.seen.state = State::Running;
            let seen = container.seen.clone();
            self.tell(&seen, Action::Unpause);
        }
        Ok(())
    }

    /// The address in a network that is given in the engine's `number`th turn.
    fn address(&self, network: &Network, number: u64) -> Result<Option<String>> {
        let Network::Named { name, .. } = network else {
            return Ok(None);
        };
        if !self.networks.contains_key(name) {
            let what = format!("network {name}");
            return Err(EngineError::NotFound { what });
        }
        Ok(Some(format!("10.88.{}.{}", number / 250 % 256, number % 250 + 2)))
    }

    pub(super) fn connect(&mut self, id: &str, network: &Network) -> Result<()> {
        let number = self.next();
        let address = self.address(network, number)?;
        let container = self.get(id)?;
        if container.seen.state.is_running() && container.seen.addresses.is_empty() {
            container.seen.addresses.extend(address);
        }
        Ok(())
    }

    pub(super) fn disconnect(&mut self, id: &str) {
        let Ok(container) = self.get(id) else { return };
        if !container.seen.addresses.is_empty() {
            container.seen.addresses.clear();
            let seen = container.seen.clone();
            self.tell(&seen, Action::Disconnect);
        }
    }

    pub(super) fn rename(&mut self, id: &str, name: &str) -> Result<()> {
        if self.containers.contains_key(name) {
            return Err(EngineError::NameInUse { name: name.to_owned() });
        }
        let old = self.get(id)?.seen.name.clone();
        if let Some(mut container) = self.containers.remove(&old) {
            container.seen.name = name.to_owned();
            container.spec.name = name.to_owned();
            let seen = container.seen.clone();
            self.containers.insert(name.to_owned(), container);
            self.tell(&seen, Action::Rename);
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, id: &str, force: bool) -> Result<()> {
        let Some(name) = self.name_of(id) else { return Ok(()) };
        let running = self.containers[&name].seen.state.is_running();
        if running && !force {
            return Err(EngineError::InUse {
                what: format!("container {id}"),
            });
        }
        if running {
            self.signal(&name, "SIGKILL")?;
        }
        if let Some(container) = self.containers.remove(&name) {
            self.tell(&container.seen, Action::Destroy);
        }
        Ok(())
    }

    pub(super) fn ensure_network(&mut self, spec: &NetworkSpec) -> Result<NetworkInfo> {
        if let Some(there) = self.networks.get(&spec.name) {
            return match there.labels.get(CLUSTER_LABEL) == spec.labels.get(CLUSTER_LABEL) {
                true => Ok(there.clone()),
                false => Err(EngineError::NameInUse {
                    name: spec.name.clone(),
                }),
            };
        }
        if let Some(subnet) = &spec.subnet
            && self
                .networks
                .values()
                .any(|other| other.subnet.as_ref().is_some_and(|other| overlap(other, subnet)))
        {
            return Err(EngineError::SubnetInUse { subnet: subnet.clone() });
        }
        let number = self.next();
        let network = NetworkInfo {
            id: format!("{number:064x}"),
            name: spec.name.clone(),
            labels: spec.labels.clone(),
            subnet: Some(
                spec.subnet
                    .clone()
                    .unwrap_or_else(|| format!("172.{}.{}.0/24", 17 + number / 256 % 15, number % 256)),
            ),
            gateway: None,
        };
        self.networks.insert(spec.name.clone(), network.clone());
        Ok(network)
    }

    pub(super) fn remove_network(&mut self, name: &str) -> Result<()> {
        let Some(network) = self.networks.get(name) else {
            return Ok(());
        };
        let what = format!("network {name}");
        if !network.labels.contains_key(CLUSTER_LABEL) {
            return Err(EngineError::NotOurs { what });
        }
        let within =
            |other: &Contained| matches!(&other.spec.network, Network::Named { name: used, .. } if used == name);
        if self
            .containers
            .values()
            .any(|other| other.seen.state.is_running() && within(other))
        {
            return Err(EngineError::InUse { what });
        }
        self.networks.remove(name);
        Ok(())
    }

    pub(super) fn remove_volume(&mut self, name: &str) -> Result<()> {
        let Some(labels) = self.volumes.get(name) else {
            return Ok(());
        };
        let what = format!("volume {name}");
        if !labels.contains_key(CLUSTER_LABEL) || labels.get(SCRATCH_LABEL).is_none_or(|value| value != "true") {
            return Err(EngineError::NotOurs { what });
        }
        let mounts = self.containers.values().flat_map(|container| &container.spec.mounts);
        if mounts.into_iter().any(
            |mount| matches!(&mount.source, MountSource::Volume(used) | MountSource::Scratch(used) if used == name),
        ) {
            return Err(EngineError::InUse { what });
        }
        self.volumes.remove(name);
        Ok(())
    }
}

fn missing(id: &str) -> EngineError {
    EngineError::NotFound {
        what: format!("container {id}"),
    }
}

/// Whether two subnets of IPv4 have an address in common.
fn overlap(one: &str, other: &str) -> bool {
    let parse = |text: &str| {
        let (address, bits) = text.split_once('/')?;
        let address: std::net::Ipv4Addr = address.parse().ok()?;
        Some((u32::from(address), bits.parse::<u32>().ok()?))
    };
    let (Some((one, wide)), Some((other, narrow))) = (parse(one), parse(other)) else {
        return one == other;
    };
    let differ = 32_u32.saturating_sub(wide.min(narrow));
    one.checked_shr(differ) == other.checked_shr(differ)
}

/// The number of a signal by name, with or without `SIG`, or by number.
fn number_of(signal: &str) -> Option<i32> {
    let name = signal.strip_prefix("SIG").unwrap_or(signal);
    let numbers = [
        ("HUP", 1),
        ("INT", 2),
        ("QUIT", 3),
        ("KILL", 9),
        ("USR1", 10),
        ("USR2", 12),
        ("TERM", 15),
        ("CHLD", 17),
        ("CONT", 18),
        ("URG", 23),
        ("WINCH", 28),
    ];
    let known = numbers
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, number)| *number);
    known.or_else(|| name.parse().ok().filter(|number| (1..=64).contains(number)))
}
