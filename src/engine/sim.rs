//! An engine in memory, for simulation and tests: the same calls in the same order give the same answers.
//!
//! Owns a machine of 64 cores and 256 GiB whose containers run for ever unless their command says otherwise (`false`,
//! `exit N`, `sleep N`, `sh -c` with a few words) or the test does ([`SimEngine::exit`], [`SimEngine::oom`]). Every signal ends
//! them with 128 + n, as under an init. Never waits, save for the delays in [`SimConfig`], which tokio's paused clock
//! skips. Read [`SimEngine`] first.
mod exec;
mod machine;
mod program;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cube_api::figures::Usage;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use jiff::{RoundMode, TimestampRound, Unit};
use tokio::sync::watch;

use self::machine::{Failure, Machine, Rest};
use super::reference::Reference;
use super::{
    CLUSTER_LABEL, Container, ContainerSpec, Ending, Engine, EngineError, EngineEvent, EngineInfo, Exec, ExecOptions,
    ExecStatus, ImageInfo, LogChunk, LogOptions, NamedImage, Network, NetworkInfo, NetworkSpec, OnProgress,
    PullProgress, Result, State, TerminalSize,
};
use crate::world::World;

/// A verb of [`Engine`], for counting calls and making them fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is the verb of its name")]
pub enum Verb {
    Info,
    List,
    Inspect,
    Events,
    Image,
    Pull,
    Create,
    Start,
    Signal,
    StopSignal,
    Unpause,
    Rename,
    Connect,
    Remove,
    Logs,
    Usage,
    Exec,
    ExecStatus,
    ResizeExec,
    EndExec,
    EnsureNetwork,
    Networks,
    RemoveNetwork,
    EnsureVolume,
    Volumes,
    RemoveVolume,
}

impl Verb {
    /// Whether it changes anything at the engine.
    pub fn changes(self) -> bool {
        !matches!(
            self,
            Self::Info
                | Self::StopSignal
                | Self::List
                | Self::Inspect
                | Self::Events
                | Self::Image
                | Self::Logs
                | Self::Usage
                | Self::ExecStatus
                | Self::Networks
                | Self::Volumes
        )
    }
}

/// What a simulated machine is like.
#[derive(Debug, Clone)]
pub struct SimConfig {
    /// Its host name.
    pub host_name: String,
    /// Its cores.
    pub cpus: u64,
    /// Its memory.
    pub memory_bytes: u64,
    /// How long each start takes.
    pub start_delay: Duration,
    /// How long each pull takes.
    pub pull_delay: Duration,
}

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            host_name: "sim".to_owned(),
            cpus: 64,
            memory_bytes: 256 << 30,
            start_delay: Duration::ZERO,
            pull_delay: Duration::ZERO,
        }
    }
}

/// A simulated engine. Clones are handles to the same one.
///
/// Images are on the node once pulled or [added](Self::add_image); those whose name begins with `missing` cannot be pulled.
/// Programs whose name begins with `missing` cannot be found.
#[derive(Clone)]
pub struct SimEngine(Arc<Mutex<Machine>>);

impl SimEngine {
    /// An engine without images or containers.
    pub fn new(world: World, config: SimConfig) -> Self {
        Self(Arc::new(Mutex::new(Machine::new(world, config))))
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        // A test that panicked elsewhere must not hide its own message behind this one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an image on the node.
    pub fn add_image(&self, reference: &str) {
        self.machine().add_image(reference);
    }

    /// Takes an image from the node.
    pub fn drop_image(&self, reference: &str) {
        let name = Reference::parse(reference).canonical();
        self.machine().images.remove(&name);
    }

    /// Ends a running container, by id or name, with an exit code of its own.
    pub fn exit(&self, id: &str, code: i64) {
        self.machine().end(id, code, false);
    }

    /// Lets the kernel kill a running container for want of memory.
    pub fn oom(&self, id: &str) {
        self.machine().end(id, 137, true);
    }

    /// Someone freezes a running container.
    pub fn pause(&self, id: &str) {
        self.machine().pause(id);
    }

    /// Someone takes a running container out of its network.
    pub fn disconnect(&self, id: &str) {
        self.machine().disconnect(id);
    }

    /// The engine stops answering, and its event streams end. Its containers go on.
    pub fn go_away(&self) {
        let mut machine = self.machine();
        machine.away = true;
        machine.hang_up();
    }

    /// The engine answers again.
    pub fn come_back(&self) {
        self.machine().away = false;
    }

    /// The machine reboots: event streams end, every running container has ended with 137, and nobody is told.
    pub fn reboot(&self) {
        let mut machine = self.machine();
        machine.hang_up();
        let names: Vec<String> = machine.containers.keys().cloned().collect();
        for name in names {
            machine.end(&name, 137, false);
        }
    }

    /// The next call of `verb` fails and does nothing. Failures of one verb queue up.
    pub fn fail_next(&self, verb: Verb, error: EngineError) {
        let mut machine = self.machine();
        machine
            .failures
            .entry(verb)
            .or_default()
            .push_back(Failure::Before(error));
    }

    /// The next call of `verb` is carried out, and its answer lost: the caller sees `error`.
    pub fn lose_next(&self, verb: Verb, error: EngineError) {
        let mut machine = self.machine();
        machine
            .failures
            .entry(verb)
            .or_default()
            .push_back(Failure::After(error));
    }

    /// How often `verb` was called.
    pub fn calls(&self, verb: Verb) -> u64 {
        self.machine().calls.get(&verb).copied().unwrap_or_default()
    }

    /// How many calls there were that could change something; unchanged when nothing more was sent.
    pub fn changes(&self) -> u64 {
        let machine = self.machine();
        let changing = machine.calls.iter().filter(|(verb, _)| verb.changes());
        changing.map(|(_, count)| count).sum()
    }

    /// What a container was created with.
    pub fn spec(&self, id: &str) -> Option<ContainerSpec> {
        self.machine().get(id).ok().map(|container| container.spec.clone())
    }

    /// The names of all containers, whoever made them, ordered.
    pub fn names(&self) -> Vec<String> {
        self.machine().containers.keys().cloned().collect()
    }

    /// All containers, whoever made them, ordered by name.
    pub fn containers(&self) -> Vec<Container> {
        let machine = self.machine();
        machine
            .containers
            .values()
            .map(|container| container.seen.clone())
            .collect()
    }

    /// The networks that there are, ordered by name.
    pub fn networks_there(&self) -> Vec<NetworkInfo> {
        self.machine().networks.values().cloned().collect()
    }

    /// The volumes that there are, with their labels.
    pub fn volumes(&self) -> BTreeMap<String, BTreeMap<String, String>> {
        self.machine().volumes.clone()
    }

    /// Counts the call and gives what is to become of it.
    fn enter(&self, verb: Verb) -> Result<Option<EngineError>> {
        let mut machine = self.machine();
        *machine.calls.entry(verb).or_default() += 1;
        if machine.away {
            return Err(gone());
        }
        match machine
            .failures
            .get_mut(&verb)
            .and_then(|failures| failures.pop_front())
        {
            Some(Failure::Before(error)) => Err(error),
            Some(Failure::After(error)) => Ok(Some(error)),
            None => Ok(None),
        }
    }

    fn call<T>(&self, verb: Verb, act: impl FnOnce(&mut Machine) -> Result<T>) -> Result<T> {
        let lost = self.enter(verb)?;
        let answer = act(&mut self.machine());
        lost.map_or(answer, Err)
    }

    /// Carries out what is left of a program, in its own time.
    fn spawn(&self, mut rest: Rest) {
        let machine = Arc::downgrade(&self.0);
        crate::world::spawn(async move {
            loop {
                tokio::time::sleep(rest.wait).await;
                let Some(machine) = machine.upgrade() else { return };
                let mut machine = machine.lock().unwrap_or_else(PoisonError::into_inner);
                match machine.go_on(&rest.id, rest.run, rest.steps) {
                    Some(next) => rest = next,
                    None => return,
                }
            }
        });
    }
}

fn gone() -> EngineError {
    EngineError::Unreachable {
        message: "the simulated engine is away".to_owned(),
    }
}

#[async_trait]
impl Engine for SimEngine {
    async fn info(&self) -> Result<EngineInfo> {
        self.call(Verb::Info, |machine| {
            Ok(EngineInfo {
                kind: "sim".to_owned(),
                id: machine.id.clone(),
                started_at: None,
                version: "1".to_owned(),
                api_version: "1".to_owned(),
                cpus: machine.config.cpus,
                memory_bytes: machine.config.memory_bytes,
                cgroup_version: "2".to_owned(),
                storage_driver: "memory".to_owned(),
                root_dir: String::new(),
                host_name: machine.config.host_name.clone(),
                operating_system: "Simulation".to_owned(),
                kernel_version: String::new(),
                architecture: "amd64".to_owned(),
            })
        })
    }

    async fn list(&self, cluster: &str) -> Result<Vec<Container>> {
        self.call(Verb::List, |machine| {
            let all = machine.containers.values().map(|container| &container.seen);
            let ours = all.filter(|seen| seen.labels.get(CLUSTER_LABEL).is_some_and(|label| label == cluster));
            Ok(ours.cloned().map(as_listed).collect())
        })
    }

    async fn inspect(&self, id: &str) -> Result<Option<Container>> {
        self.call(Verb::Inspect, |machine| {
            Ok(machine.get(id).ok().map(|container| container.seen.clone()))
        })
    }

    async fn events(&self, cluster: &str) -> Result<BoxStream<'static, Result<EngineEvent>>> {
        let events = self.call(Verb::Events, |machine| Ok(machine.listen(cluster)))?;
        Ok(stream::unfold(events, |mut events| async {
            events.recv().await.map(|event| (event, events))
        })
        .boxed())
    }

    async fn image(&self, reference: &str) -> Result<Option<ImageInfo>> {
        self.call(Verb::Image, |machine| {
            let name = Reference::parse(reference).canonical();
            let by_id = || machine.images.values().find(|image| image.id == reference);
            Ok(machine.images.get(&name).or_else(by_id).cloned())
        })
    }

    async fn images(&self) -> Result<Vec<NamedImage>> {
        self.call(Verb::Image, |machine| {
            let named = machine.images.iter().map(|(name, image)| NamedImage {
                names: vec![name.clone()],
                size_bytes: image.size_bytes,
            });
            Ok(named.collect())
        })
    }

    async fn pull(&self, reference: &str, progress: OnProgress<'_>) -> Result<()> {
        let lost = self.enter(Verb::Pull)?;
        let delay = self.machine().config.pull_delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let parsed = Reference::parse(reference);
        if parsed
            .name
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .starts_with("missing")
        {
            return Err(EngineError::PullFailed {
                image: reference.to_owned(),
                permanent: true,
                message: format!("manifest for {reference} not found"),
            });
        }
        self.machine().add_image(reference);
        let bytes = 10 << 20;
        progress(PullProgress {
            done_bytes: bytes,
            total_bytes: bytes,
        });
        lost.map_or(Ok(()), Err)
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<String> {
        self.call(Verb::Create, |machine| machine.create(spec))
    }

    async fn start(&self, id: &str) -> Result<()> {
        let lost = self.enter(Verb::Start)?;
        let delay = self.machine().config.start_delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let (rest, away) = {
            let mut machine = self.machine();
            (machine.start(id), machine.away)
        };
        if let Ok(Some(rest)) = rest {
            self.spawn(rest);
        } else {
            rest?;
        }
        if away {
            return Err(gone());
        }
        lost.map_or(Ok(()), Err)
    }

    async fn signal(&self, id: &str, signal: &str) -> Result<()> {
        self.call(Verb::Signal, |machine| machine.signal(id, signal))
    }

    async fn stop_signal(&self, id: &str) -> Result<String> {
        self.call(Verb::StopSignal, |machine| {
            let own = machine.get(id)?.spec.stop_signal.clone();
            Ok(own.unwrap_or_else(|| "SIGTERM".to_owned()))
        })
    }

    async fn unpause(&self, id: &str) -> Result<()> {
        self.call(Verb::Unpause, |machine| machine.unpause(id))
    }

    async fn rename(&self, id: &str, name: &str) -> Result<()> {
        self.call(Verb::Rename, |machine| machine.rename(id, name))
    }

    async fn connect(&self, id: &str, network: &Network) -> Result<()> {
        self.call(Verb::Connect, |machine| machine.connect(id, network))
    }

    async fn remove(&self, id: &str, force: bool) -> Result<()> {
        self.call(Verb::Remove, |machine| machine.remove(id, force))
    }

    async fn logs(&self, id: &str, options: LogOptions) -> Result<BoxStream<'static, Result<LogChunk>>> {
        let reader = self.call(Verb::Logs, |machine| {
            let container = machine.get(id)?;
            let lines = container.log.len();
            let since = options
                .since
                .map_or(0, |since| container.log.partition_point(|(at, _)| *at < since));
            let tail = usize::try_from(options.tail.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
            Ok(LogReader {
                machine: Arc::clone(&self.0),
                id: container.seen.id.clone(),
                next: since.max(lines.saturating_sub(tail)),
                options,
                changed: container.changed.subscribe(),
            })
        })?;
        let read = |mut reader: LogReader| async { reader.next().await.map(|chunk| (Ok(chunk), reader)) };
        Ok(stream::unfold(reader, read).boxed())
    }

    async fn usage(&self, id: &str) -> Result<Option<Usage>> {
        self.call(Verb::Usage, |machine| Ok(machine.usage(id)))
    }

    async fn exec(&self, id: &str, options: ExecOptions) -> Result<Exec> {
        let lost = self.enter(Verb::Exec)?;
        let started = exec::start(&self.0, id, options);
        lost.map_or(started, Err)
    }

    async fn exec_status(&self, exec: &str) -> Result<ExecStatus> {
        self.call(Verb::ExecStatus, |machine| Ok(exec::find(machine, exec)?.status))
    }

    async fn resize_exec(&self, exec: &str, _: TerminalSize) -> Result<()> {
        self.call(Verb::ResizeExec, |machine| exec::find(machine, exec).map(drop))
    }

    async fn end_exec(&self, exec: &str, how: Ending) -> Result<bool> {
        self.call(Verb::EndExec, |machine| exec::end(machine, exec, how))
    }

    async fn ensure_network(&self, spec: &NetworkSpec) -> Result<NetworkInfo> {
        self.call(Verb::EnsureNetwork, |machine| machine.ensure_network(spec))
    }

    async fn networks(&self, cluster: &str) -> Result<Vec<NetworkInfo>> {
        self.call(Verb::Networks, |machine| {
            let ours = |network: &&NetworkInfo| network.labels.get(CLUSTER_LABEL).is_some_and(|label| label == cluster);
            Ok(machine.networks.values().filter(ours).cloned().collect())
        })
    }

    async fn remove_network(&self, name: &str) -> Result<()> {
        self.call(Verb::RemoveNetwork, |machine| machine.remove_network(name))
    }

    async fn ensure_volume(&self, name: &str, labels: &BTreeMap<String, String>) -> Result<()> {
        self.call(Verb::EnsureVolume, |machine| {
            machine.volumes.entry(name.to_owned()).or_insert_with(|| labels.clone());
            Ok(())
        })
    }

    async fn volumes(&self, labels: &BTreeMap<String, String>) -> Result<BTreeSet<String>> {
        self.call(Verb::Volumes, |machine| {
            let has_all =
                |there: &BTreeMap<String, String>| labels.iter().all(|(key, value)| there.get(key) == Some(value));
            let found = machine.volumes.iter().filter(|(_, there)| has_all(there));
            Ok(found.map(|(name, _)| name.clone()).collect())
        })
    }

    async fn remove_volume(&self, name: &str) -> Result<()> {
        self.call(Verb::RemoveVolume, |machine| machine.remove_volume(name))
    }
}

/// Leaves out what a list leaves out, so that nobody comes to rely on it here.
fn as_listed(mut seen: Container) -> Container {
    if matches!(seen.state, State::Created | State::Running) {
        seen.pid = None;
        seen.started_at = None;
        seen.finished_at = None;
        let whole_seconds = TimestampRound::new().smallest(Unit::Second).mode(RoundMode::Trunc);
        seen.created_at = seen.created_at.round(whole_seconds).unwrap_or(seen.created_at);
    }
    seen
}

/// Where one reader of a container's output stands.
struct LogReader {
    machine: Arc<Mutex<Machine>>,
    id: String,
    next: usize,
    options: LogOptions,
    changed: watch::Receiver<()>,
}

impl LogReader {
    async fn next(&mut self) -> Option<LogChunk> {
        loop {
            // What changes from here on is seen below or wakes the wait.
            self.changed.mark_unchanged();
            {
                let mut machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
                let container = machine.get(&self.id).ok()?;
                if let Some((at, chunk)) = container.log.get(self.next) {
                    self.next += 1;
                    let mut chunk = chunk.clone();
                    if self.options.timestamps {
                        chunk.bytes = Bytes::from([format!("{at:.9} ").as_bytes(), &chunk.bytes].concat());
                    }
                    return Some(chunk);
                }
                if !self.options.follow || !container.seen.state.is_running() {
                    return None;
                }
            }
            self.changed.changed().await.ok()?;
        }
    }
}
