//! A node's engine, as its worker reaches it: calls that fail before or after their effect, come late, or get no answer;
//! events that are lost, doubled, late, or out of order.
//!
//! The engine itself is Cube's simulated one. What was asked of it happens whether or not whoever asked still lives.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use cube::{
    engine::{
        Container, ContainerSpec, Ending, Engine, EngineError, EngineEvent, EngineInfo, Exec, ExecOptions, ExecStatus,
        ImageInfo, LogChunk, LogOptions, NamedImage, Network, NetworkInfo, NetworkSpec, OnProgress, Result,
        TerminalSize,
        sim::{SimConfig, SimEngine, Verb},
    },
    world::{World, process::Process},
};
use cube_api::figures::Usage;
use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use crate::{chance::Chance, history::History};

/// So long the worker waits for an answer.
const ANSWER: Duration = Duration::from_secs(60);

/// How calls go. Chances are in thousandths.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manners {
    /// Milliseconds that an answer takes at most.
    pub latency: u64,
    /// It fails, and nothing has happened.
    pub fails_before: u64,
    /// It is carried out, and the answer is an error.
    pub fails_after: u64,
    /// No answer in time; it is carried out some time.
    pub late: u64,
    /// No answer in time; it is not carried out.
    pub hangs: u64,
    /// Of events: lost.
    pub lost: u64,
    /// Told twice.
    pub doubled: u64,
    /// Told up to some seconds later, and others before it.
    pub delayed: u64,
}

/// A call that was carried out, or was to be.
#[derive(Clone, Debug)]
pub struct Call {
    /// Which.
    pub verb: Verb,
    /// Of what.
    pub what: String,
}

/// Heard before and after each call that changes something.
pub type Listener = Arc<dyn Fn(&Call, When) + Send + Sync>;

/// When a call is heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// It was asked for.
    Asked,
    /// It has been carried out.
    Done,
}

/// The engine of one node. Cloning gives another handle to the same one.
#[derive(Clone)]
pub struct Docker {
    /// The node's name.
    pub node: String,
    /// The engine itself.
    pub sim: SimEngine,
    shared: Arc<Mutex<Shared>>,
    history: History,
    chance: Chance,
}

struct Shared {
    manners: Manners,
    /// How often its machine has lost its power.
    power_cuts: u64,
    listener: Option<Listener>,
}

impl Docker {
    /// An engine on a machine of so many cores and bytes, with these images.
    pub fn new(node: &str, world: World, history: History, chance: Chance, cpus: u64, memory_bytes: u64) -> Self {
        let config = SimConfig {
            host_name: node.to_owned(),
            cpus,
            memory_bytes,
            start_delay: Duration::from_millis(100),
            pull_delay: Duration::from_millis(800),
        };
        Self {
            node: node.to_owned(),
            sim: SimEngine::new(world, config),
            shared: Arc::new(Mutex::new(Shared {
                manners: Manners::default(),
                power_cuts: 0,
                listener: None,
            })),
            history,
            chance,
        }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How calls go from now on.
    pub fn set_manners(&self, manners: Manners) {
        self.shared().manners = manners;
    }

    /// Its machine has lost its power: what it was asked for and has not done yet, it never does.
    pub fn power_cut(&self) {
        self.shared().power_cuts += 1;
    }

    /// Who hears of calls.
    pub fn set_listener(&self, listener: Listener) {
        self.shared().listener = Some(listener);
    }

    /// The engine as a process has it.
    pub fn of(&self, process: Process) -> Arc<dyn Engine> {
        Arc::new(Reach {
            docker: self.clone(),
            process,
        })
    }

    fn heard(&self, call: &Call, when: When) {
        if !call.verb.changes() {
            return;
        }
        let listener = self.shared().listener.clone();
        if let Some(listener) = listener {
            listener(call, when);
        }
    }

    fn unreachable(&self) -> EngineError {
        EngineError::Unreachable {
            message: "connection reset by peer".to_owned(),
        }
    }

    fn thousandths(&self, chance: u64) -> bool {
        chance > 0 && self.chance.below(1000) < chance
    }
}

struct Reach {
    docker: Docker,
    process: Process,
}

impl Reach {
    /// Has the engine do something, and waits for its answer.
    async fn call<T, F>(&self, verb: Verb, what: &str, act: F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        if !self.process.is_alive() {
            return std::future::pending().await;
        }
        let docker = self.docker.clone();
        let manners = docker.shared().manners;
        let call = Call {
            verb,
            what: what.to_owned(),
        };
        docker.heard(&call, When::Asked);
        if !self.process.is_alive() {
            return std::future::pending().await;
        }
        let (there, back) = (
            docker.chance.millis(0, manners.latency),
            docker.chance.millis(0, manners.latency),
        );
        let late = docker
            .thousandths(manners.late)
            .then(|| docker.chance.millis(1, 90_000));
        if docker.thousandths(manners.fails_before) {
            tokio::time::sleep(there).await;
            docker
                .history
                .note(&docker.node, format_args!("engine fails before: {verb:?} {what}"));
            return Err(docker.unreachable());
        }
        let timed_out = EngineError::TimedOut {
            verb: "call",
            after: ANSWER,
        };
        if docker.thousandths(manners.hangs) {
            docker
                .history
                .note(&docker.node, format_args!("engine hangs: {verb:?} {what}"));
            tokio::time::sleep(ANSWER).await;
            return Err(timed_out);
        }
        let fails_after = docker.thousandths(manners.fails_after);
        let (answer, answered) = oneshot::channel();
        let beside = docker.clone();
        let power_cuts = docker.shared().power_cuts;
        // Beside the process: what was asked for happens also when it dies meanwhile.
        tokio::spawn(async move {
            tokio::time::sleep(there + late.unwrap_or_default()).await;
            if beside.shared().power_cuts != power_cuts {
                return;
            }
            let result = act.await;
            let asks = matches!(call.verb, Verb::Exec | Verb::EndExec | Verb::ResizeExec);
            if call.verb.changes() && !asks {
                let outcome = match &result {
                    Ok(_) if fails_after => "done, and the answer is lost".to_owned(),
                    Ok(_) => "done".to_owned(),
                    Err(error) => error.to_string(),
                };
                let outcome = if late.is_some() {
                    format!("{outcome} (late)")
                } else {
                    outcome
                };
                beside.history.note(
                    &beside.node,
                    format_args!("engine {:?} {}: {outcome}", call.verb, call.what),
                );
            }
            beside.heard(&call, When::Done);
            tokio::time::sleep(back).await;
            let _ = answer.send(result);
        });
        let limit = Instant::now() + ANSWER;
        match tokio::time::timeout_at(limit, answered).await {
            Ok(Ok(_)) if fails_after => Err(docker.unreachable()),
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(docker.unreachable()),
            Err(_) => Err(timed_out),
        }
    }
}

macro_rules! beside {
    ($self:ident, $verb:ident, $what:expr, |$sim:ident| $act:expr) => {{
        let $sim = $self.docker.sim.clone();
        $self.call(Verb::$verb, $what, async move { $act.await }).await
    }};
}

#[async_trait]
impl Engine for Reach {
    async fn info(&self) -> Result<EngineInfo> {
        beside!(self, Info, "", |sim| sim.info())
    }

    async fn list(&self, cluster: &str) -> Result<Vec<Container>> {
        let cluster = cluster.to_owned();
        beside!(self, List, "", |sim| sim.list(&cluster))
    }

    async fn inspect(&self, id: &str) -> Result<Option<Container>> {
        let owned = id.to_owned();
        beside!(self, Inspect, id, |sim| sim.inspect(&owned))
    }

    async fn events(&self, cluster: &str) -> Result<BoxStream<'static, Result<EngineEvent>>> {
        let owned = cluster.to_owned();
        let mut events = beside!(self, Events, "", |sim| sim.events(&owned))?;
        let docker = self.docker.clone();
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                let manners = docker.shared().manners;
                if event.is_ok() && docker.thousandths(manners.lost) {
                    docker.history.note(&docker.node, "an event is lost");
                    continue;
                }
                if event.is_ok() && docker.thousandths(manners.delayed) {
                    let (sender, wait) = (sender.clone(), docker.chance.millis(1, 8000));
                    tokio::spawn(async move {
                        tokio::time::sleep(wait).await;
                        let _ = sender.send(event);
                    });
                    continue;
                }
                if let Ok(event) = &event
                    && docker.thousandths(manners.doubled)
                {
                    let _ = sender.send(Ok(event.clone()));
                }
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        let next = |mut receiver: mpsc::UnboundedReceiver<Result<EngineEvent>>| async {
            receiver.recv().await.map(|event| (event, receiver))
        };
        Ok(stream::unfold(receiver, next).boxed())
    }

    async fn image(&self, reference: &str) -> Result<Option<ImageInfo>> {
        let owned = reference.to_owned();
        beside!(self, Image, reference, |sim| sim.image(&owned))
    }

    async fn images(&self) -> Result<Vec<NamedImage>> {
        beside!(self, Image, "", |sim| sim.images())
    }

    async fn pull(&self, reference: &str, progress: OnProgress<'_>) -> Result<()> {
        if !self.process.is_alive() {
            return std::future::pending().await;
        }
        let manners = self.docker.shared().manners;
        if self.docker.thousandths(manners.fails_before) {
            tokio::time::sleep(self.docker.chance.millis(0, 3000)).await;
            return Err(EngineError::PullFailed {
                image: reference.to_owned(),
                permanent: false,
                message: "the registry does not answer".to_owned(),
            });
        }
        self.docker.sim.pull(reference, progress).await
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<String> {
        let owned = spec.clone();
        beside!(self, Create, &spec.name, |sim| sim.create(&owned))
    }

    async fn start(&self, id: &str) -> Result<()> {
        let owned = id.to_owned();
        beside!(self, Start, id, |sim| sim.start(&owned))
    }

    async fn signal(&self, id: &str, signal: &str) -> Result<()> {
        let (owned, name) = (id.to_owned(), signal.to_owned());
        beside!(self, Signal, &format!("{id} {signal}"), |sim| sim.signal(&owned, &name))
    }

    async fn stop_signal(&self, id: &str) -> Result<String> {
        let owned = id.to_owned();
        beside!(self, StopSignal, id, |sim| sim.stop_signal(&owned))
    }

    async fn unpause(&self, id: &str) -> Result<()> {
        let owned = id.to_owned();
        beside!(self, Unpause, id, |sim| sim.unpause(&owned))
    }

    async fn rename(&self, id: &str, name: &str) -> Result<()> {
        let (owned, to) = (id.to_owned(), name.to_owned());
        beside!(self, Rename, &format!("{id} {name}"), |sim| sim.rename(&owned, &to))
    }

    async fn connect(&self, id: &str, network: &Network) -> Result<()> {
        let (owned, to) = (id.to_owned(), network.clone());
        beside!(self, Connect, id, |sim| sim.connect(&owned, &to))
    }

    async fn remove(&self, id: &str, force: bool) -> Result<()> {
        let owned = id.to_owned();
        let what = format!("{id}{}", if force { " by force" } else { "" });
        beside!(self, Remove, &what, |sim| sim.remove(&owned, force))
    }

    async fn logs(&self, id: &str, options: LogOptions) -> Result<BoxStream<'static, Result<LogChunk>>> {
        let owned = id.to_owned();
        beside!(self, Logs, id, |sim| sim.logs(&owned, options))
    }

    async fn usage(&self, id: &str) -> Result<Option<Usage>> {
        let owned = id.to_owned();
        beside!(self, Usage, id, |sim| sim.usage(&owned))
    }

    async fn exec(&self, id: &str, options: ExecOptions) -> Result<Exec> {
        let owned = id.to_owned();
        beside!(self, Exec, id, |sim| sim.exec(&owned, options))
    }

    async fn exec_status(&self, exec: &str) -> Result<ExecStatus> {
        let owned = exec.to_owned();
        beside!(self, ExecStatus, exec, |sim| sim.exec_status(&owned))
    }

    async fn resize_exec(&self, exec: &str, size: TerminalSize) -> Result<()> {
        let owned = exec.to_owned();
        beside!(self, ResizeExec, exec, |sim| sim.resize_exec(&owned, size))
    }

    async fn end_exec(&self, exec: &str, how: Ending) -> Result<bool> {
        let owned = exec.to_owned();
        beside!(self, EndExec, exec, |sim| sim.end_exec(&owned, how))
    }

    async fn ensure_network(&self, spec: &NetworkSpec) -> Result<NetworkInfo> {
        let owned = spec.clone();
        beside!(self, EnsureNetwork, &spec.name, |sim| sim.ensure_network(&owned))
    }

    async fn networks(&self, cluster: &str) -> Result<Vec<NetworkInfo>> {
        let owned = cluster.to_owned();
        beside!(self, Networks, "", |sim| sim.networks(&owned))
    }

    async fn remove_network(&self, name: &str) -> Result<()> {
        let owned = name.to_owned();
        beside!(self, RemoveNetwork, name, |sim| sim.remove_network(&owned))
    }

    async fn ensure_volume(&self, name: &str, labels: &BTreeMap<String, String>) -> Result<()> {
        let (owned, given) = (name.to_owned(), labels.clone());
        beside!(self, EnsureVolume, name, |sim| sim.ensure_volume(&owned, &given))
    }

    async fn volumes(&self, labels: &BTreeMap<String, String>) -> Result<BTreeSet<String>> {
        let owned = labels.clone();
        beside!(self, Volumes, "", |sim| Engine::volumes(&sim, &owned))
    }

    async fn remove_volume(&self, name: &str) -> Result<()> {
        let owned = name.to_owned();
        beside!(self, RemoveVolume, name, |sim| sim.remove_volume(&owned))
    }
}
