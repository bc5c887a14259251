//! One process with all parts: data directory, store, registry, server, controllers, scheduler, worker, source.
//!
//! Owns their start and end, in order; decides nothing about objects or containers. Read [`run`] first.
//!
//! ```text
//! data directory (locked) ─► store ─► registry ─► socket ─► server
//!                                        ├─► controllers, scheduler
//!                                        ├─► link ─► worker ─► engine
//!                                        ├─► source (watched directory)
//!                                        └─► recorder, narrator ─► lines for people
//! ```
mod data_dir;
mod down;
mod engine;
mod logs;
mod narrator;
mod scene;
mod socket;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cube_api::condition::{READY, is_true};
use cube_api::kinds::Kind;
use cube_api::node::{Node, Taint};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::engine::{Engine, EngineInfo};
use crate::registry::{ApiError, Recorder, Registry, WatchEvent, WatchOptions};
use crate::store::{self, OpenError, Store};
use crate::worker::{self, Ground, Identity, subnets::Range};
use crate::world::World;
use crate::{controllers, scheduler, server, source};

pub use data_dir::{DataDir, DataDirError, store_file};
pub use down::{Down, DownError, TakenDown, down};
pub use engine::Choice as EngineChoice;
pub use narrator::{Format, Narrator};
pub use socket::SocketError;

/// How long the parts have to end after they were told to; longer would make Ctrl-C feel broken.
const ENDING: Duration = Duration::from_secs(5);
/// How long the engine is waited for before it is told that it does not answer.
const ENGINE_ANSWER: Duration = Duration::from_secs(2);
/// How long the worker's first word of its node is waited for; an engine that is away must not hold up the rest.
const NODE_TOLD: Duration = Duration::from_millis(500);
/// How often it is looked whether the store can be written: a look at memory.
const HEALTH: Duration = Duration::from_secs(2);

/// What one process is told at its start.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory of manifests; none: objects come by the API alone.
    pub directory: Option<PathBuf>,
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// Where clients come to.
    pub socket: PathBuf,
    /// A group whose members may come too.
    pub socket_group: Option<String>,
    /// The node's name; none: the one that the data directory knows, else `host_name`.
    pub node_name: Option<String>,
    /// The machine's name, in the letters that a node's may have.
    pub host_name: String,
    /// Labels of the node.
    pub labels: BTreeMap<String, String>,
    /// Taints of the node.
    pub taints: Vec<Taint>,
    /// Where ports are published that name no address.
    pub publish_address: Option<String>,
    /// What namespaces' networks are cut from.
    pub network_range: Range,
    /// The engine.
    pub engine: EngineChoice,
    /// How lines for people look.
    pub format: Format,
}

/// Why the process cannot start, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The data directory cannot be had.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The node has another name.
    #[error(
        "data directory {}: its node is {known}, not {asked}\n\
         hint: leave --node-name out, or use another data directory",
        path.display()
    )]
    OtherNode {
        /// The data directory.
        path: PathBuf,
        /// The name that its containers bear.
        known: String,
        /// The name that was asked for.
        asked: String,
    },
    /// The store does not open.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The socket cannot be had.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The registry cannot be set up.
    #[error("registry: {0}")]
    Registry(ApiError),
    /// The engine's address makes no sense.
    #[error("engine: {0}")]
    Engine(#[from] crate::engine::EngineError),
    /// Signals cannot be taken.
    #[error("signals cannot be taken")]
    Signals(#[source] std::io::Error),
    /// A part has ended by itself.
    #[error("{0} has ended by itself")]
    Ended(&'static str, #[source] Option<std::io::Error>),
}

/// Runs everything until Ctrl-C or SIGTERM; the containers run on after it.
///
/// # Errors
/// See [`DaemonError`].
pub async fn run(options: Options, world: World) -> Result<(), DaemonError> {
    let data_dir = DataDir::take(&options.data_dir)?;
    let node_name = node_name(&options, &data_dir)?;
    let cluster = format!("{:016x}", world.random());
    let store = Store::open(
        &data_dir.store(),
        store::Options {
            cluster,
            ..store::Options::default()
        },
    )?;
    let registry = Registry::open(store.clone(), world.clone())
        .await
        .map_err(DaemonError::Registry)?;
    let engine = options.engine.connect(&world)?;
    let shown = options.directory.as_ref().map(|directory| shown_directory(directory));
    let narrator = Narrator::new(registry.clone(), options.format, shown.as_deref().unwrap_or_default());
    let listener = socket::listen(&options.socket, options.socket_group.as_deref())?;

    let shutdown = CancellationToken::new();
    let mut parts = Parts {
        running: JoinSet::new(),
        shutdown: shutdown.clone(),
    };
    let state = server::ServerState {
        registry: registry.clone(),
        logs: Arc::new(logs::EngineLogs::new(engine.clone())),
        info: info(&options, &node_name),
    };
    parts.run("the server", server::serve(listener, state, shutdown.clone()));
    let ear = narrator.clone();
    let (recorder, writing) = Recorder::new(
        registry.clone(),
        &node_name,
        Some(Arc::new(move |told| ear.told(told))),
        shutdown.clone(),
    );
    parts.run("the recorder", writing);
    narrator.say(&header(&options, &node_name, answer(&*engine).await.as_ref()));
    parts.run("the narrator", narrator.clone().watch(shutdown.clone()));
    parts.run(
        "the watch over the store",
        watch_store(store.clone(), narrator.clone(), shutdown.clone()),
    );
    parts.run(
        "the controllers",
        controllers::run(
            registry.clone(),
            world.clone(),
            recorder.of("controllers"),
            shutdown.clone(),
        ),
    );
    parts.run(
        "the scheduler",
        scheduler::run(
            registry.clone(),
            world.clone(),
            recorder.of("scheduler"),
            shutdown.clone(),
        ),
    );
    let link = worker::local::LocalLink::new(registry.clone(), &node_name, recorder.of("worker"));
    let worker_options = worker::Options {
        ground: Ground {
            cluster: store.cluster().to_owned(),
            node: node_name.clone(),
            publish_address: options.publish_address.clone(),
        },
        identity: Identity {
            name: node_name.clone(),
            labels: options.labels.clone(),
            taints: options.taints.clone(),
        },
        data_dir: data_dir.worker(),
        range: options.network_range,
    };
    parts.io(
        "the worker",
        worker::run(worker_options, engine, Arc::new(link), world.clone(), shutdown.clone()),
    );
    // What the directory says is then placed at once, and nobody reads that there is no node.
    await_node(&registry, &node_name).await;
    if let Some(directory) = options.directory {
        let options = source::Options {
            name: source::name_of(&directory),
            directory,
        };
        let tell = Arc::new(narrator.clone());
        parts.run(
            "the source",
            source::run(options, registry, world, tell, shutdown.clone()),
        );
    }

    let ended = tokio::select! {
        biased;
        signal = asked_to_end() => signal.map_err(DaemonError::Signals),
        ended = parts.running.join_next() => Err(match ended {
            Some(Ok((name, error))) => DaemonError::Ended(name, error),
            _ => DaemonError::Ended("a part of Cube", None),
        }),
    };
    let running = narrator.running();
    parts.end().await;
    store.close();
    let _ = std::fs::remove_file(&options.socket);
    drop(data_dir);
    if ended.is_ok() {
        narrator.say(&last_word(running));
    }
    ended
}

/// The parts at work.
struct Parts {
    running: JoinSet<(&'static str, Option<std::io::Error>)>,
    shutdown: CancellationToken,
}

impl Parts {
    fn run(&mut self, name: &'static str, part: impl Future<Output = ()> + Send + 'static) {
        self.running.spawn(async move {
            part.await;
            (name, None)
        });
    }

    fn io(&mut self, name: &'static str, part: impl Future<Output = std::io::Result<()>> + Send + 'static) {
        self.running.spawn(async move { (name, part.await.err()) });
    }

    async fn end(&mut self) {
        self.shutdown.cancel();
        let all = async { while self.running.join_next().await.is_some() {} };
        if tokio::time::timeout(ENDING, all).await.is_err() {
            tracing::warn!("not all parts have ended in time");
        }
    }
}

async fn asked_to_end() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    tokio::select! {
        biased;
        interrupt = tokio::signal::ctrl_c() => interrupt,
        _ = terminate.recv() => Ok(()),
        // A terminal that is closed ends it as Ctrl-C does.
        _ = hang_up.recv() => Ok(()),
    }
}

/// Tells when the store cannot be written, and when it can again.
async fn watch_store(store: Store, narrator: Narrator, shutdown: CancellationToken) {
    let mut told = None;
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(HEALTH) => {}
        }
        let error = store.health().error;
        if error != told {
            match &error {
                Some(error) => narrator.worry(
                    "store",
                    &format!("{error}; containers run on, changes are taken again when it can be written"),
                ),
                None => narrator.say("store               can be written again"),
            }
            told = error;
        }
    }
}

/// Waits a moment until the worker has told of its node.
async fn await_node(registry: &Registry, name: &str) {
    let ready = async {
        let Ok(mut nodes) = registry.watch(Kind::Node, WatchOptions::default()) else {
            return;
        };
        while let Ok(events) = nodes.next().await {
            let is_ready = |event: &WatchEvent| {
                let object = event.object();
                object.name() == name && is_true(&object.typed::<Node>().status.conditions, READY)
            };
            if events.iter().any(is_ready) {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(NODE_TOLD, ready).await;
}

async fn answer(engine: &dyn Engine) -> Option<EngineInfo> {
    tokio::time::timeout(ENGINE_ANSWER, engine.info()).await.ok()?.ok()
}

/// The node's name: its containers bear it, so that it stays the same also when the machine is renamed.
fn node_name(options: &Options, data_dir: &DataDir) -> Result<String, DaemonError> {
    let known = data_dir.node_name();
    let name = match (known, &options.node_name) {
        (Some(known), Some(asked)) if known != *asked => {
            let (path, asked) = (data_dir.path().to_owned(), asked.clone());
            return Err(DaemonError::OtherNode { path, known, asked });
        }
        (Some(known), _) => return Ok(known),
        (None, asked) => asked.clone().unwrap_or_else(|| options.host_name.clone()),
    };
    data_dir.keep_node_name(&name)?;
    Ok(name)
}

fn header(options: &Options, node: &str, engine: Option<&EngineInfo>) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let (data, socket) = (options.data_dir.display(), options.socket.display());
    let machine = match engine {
        Some(info) => format!(
            "{} cpu, {:.1} GiB, {} {}",
            info.cpus,
            info.memory_bytes as f64 / f64::from(1 << 30),
            info.kind,
            info.version
        ),
        None => "its engine does not answer yet".to_owned(),
    };
    format!("cube {version} · node {node} ({machine}) · data {data} · socket {socket}")
}

fn last_word(running: usize) -> String {
    match running {
        0 => "cube has ended; no containers were running".to_owned(),
        1 => "cube has ended; 1 container runs on, and the next cube up takes it up as it is".to_owned(),
        n => format!("cube has ended; {n} containers run on, and the next cube up takes them up as they are"),
    }
}

fn info(options: &Options, node: &str) -> serde_json::Value {
    serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "node": node,
        "dataDir": options.data_dir,
        "directory": options.directory,
    })
}

/// `manifests/`: as it was given, with a slash at its end.
fn shown_directory(directory: &std::path::Path) -> String {
    let text = directory.display().to_string();
    format!("{}/", text.trim_end_matches('/'))
}
