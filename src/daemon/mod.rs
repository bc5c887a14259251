//! The processes that Cube is: a manager, with or without a worker in the same process, or a worker alone.
//!
//! Owns their start and end, in order; decides nothing about objects or containers. Read [`run`] first, then [`worker`].
//!
//! ```text
//! data directory (locked) ─► store ─► registry ─► socket ─► server ═ links of workers elsewhere
//!                                        ├─► controllers, scheduler
//!                                        ├─► link ─► worker ─► engine      (`cube up` only)
//!                                        ├─► source (watched directory)
//!                                        └─► recorder, narrator ─► lines for people
//! ```
mod containers;
mod data_dir;
mod down;
mod engine;
mod lines;
mod narrator;
mod node;
mod parts;
mod scene;
mod socket;
pub mod worker;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cube_api::condition::{READY, is_true};
use cube_api::kinds::Kind;
use cube_api::node::Node;
use cube_api::placement::SchedulingPolicy;
use tokio_util::sync::CancellationToken;

use crate::engine::Engine;
use crate::registry::{ApiError, Recorder, Registry, WatchEvent, WatchOptions};
use crate::roster::Roster;
use crate::store::{self, OpenError, Store};
use crate::worker::link::{door::Door, local::LocalLink};
use crate::worker::{self as node_agent, EngineAgent};
use crate::world::World;
use crate::{controllers, scheduler, server, source};

pub use data_dir::{DataDir, DataDirError, store_file};
pub use down::{Down, DownError, TakenDown, down};
pub use engine::Choice as EngineChoice;
pub use lines::Format;
pub use narrator::Narrator;
pub use node::NodeOptions;
pub use socket::SocketError;

use parts::Parts;

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
    /// The node of the worker in the same process; none: workers come from elsewhere.
    pub node: Option<NodeOptions>,
    /// What a manager without a worker of its own is called in what it tells: the machine's name.
    pub host_name: String,
    /// How a node is chosen for Tasks that do not say.
    pub scheduling_policy: SchedulingPolicy,
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
    /// The worker's small files cannot be used.
    #[error("the worker cannot go on")]
    Worker(#[source] std::io::Error),
    /// The manager will not have this worker.
    #[error("{0}")]
    Refused(String),
    /// A part has ended by itself.
    #[error("{0} has ended by itself")]
    Ended(&'static str),
}

/// Runs a manager, and its own worker if it has one, until Ctrl-C or SIGTERM; the containers run on after it.
///
/// # Errors
/// See [`DaemonError`].
pub async fn run(options: Options, world: World) -> Result<(), DaemonError> {
    let data_dir = DataDir::take(&options.data_dir)?;
    let own = match &options.node {
        Some(node) => Some((node, node.name(&data_dir)?, node.engine.connect(&world)?)),
        None => None,
    };
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
    let shown = options.directory.as_ref().map(|directory| shown_directory(directory));
    let narrator = Narrator::new(registry.clone(), options.format, shown.as_deref().unwrap_or_default());
    let listener = socket::listen(&options.socket, options.socket_group.as_deref())?;

    let mut parts = Parts::new();
    let shutdown = parts.shutdown.clone();
    let roster = Roster::new();
    parts.run("the roster", roster.clone().keep_awake(shutdown.clone()));
    let host = own.as_ref().map_or(options.host_name.as_str(), |(_, name, _)| name);
    let ear = narrator.clone();
    let (recorder, writing) = Recorder::new(
        registry.clone(),
        host,
        Some(Arc::new(move |told| ear.told(told))),
        shutdown.clone(),
    );
    parts.run("the recorder", writing);
    let door = Door::new(
        registry.clone(),
        roster.clone(),
        recorder.of("worker"),
        store.cluster(),
        shutdown.clone(),
    );
    let state = server::ServerState {
        registry: registry.clone(),
        containers: Arc::new(containers::NodeContainers::new(roster.clone())),
        door: Some(Arc::new(door)),
        scheduling_policy: options.scheduling_policy,
        recorder: Some(recorder.of("server")),
        info: info(&options, own.as_ref().map(|(_, name, _)| name.as_str())),
    };
    parts.run("the server", server::serve(listener, state, shutdown.clone()));
    let engine = own.as_ref().map(|(_, name, engine)| (name.as_str(), &**engine));
    narrator.say(&header(&options, engine).await);
    parts.run("the narrator", narrator.clone().watch(shutdown.clone()));
    parts.run(
        "the watch over the store",
        watch_store(store.clone(), narrator.clone(), shutdown.clone()),
    );
    let told = recorder.of("controllers");
    parts.run(
        "the controllers",
        controllers::run(
            registry.clone(),
            world.clone(),
            roster.clone(),
            told,
            options.scheduling_policy,
            shutdown.clone(),
        ),
    );
    let told = recorder.of("scheduler");
    parts.run(
        "the scheduler",
        scheduler::run(
            registry.clone(),
            world.clone(),
            told,
            options.scheduling_policy,
            shutdown.clone(),
        ),
    );
    if let Some((node, name, engine)) = own {
        let told = node.worker(&data_dir, &name, store.cluster(), &world)?;
        let agent = Arc::new(EngineAgent::new(Arc::clone(&engine), world.clone()));
        let session = roster.enter(&name, &told.identity.worker, agent);
        let (link, keeping) = LocalLink::new(registry.clone(), &name, recorder.of("worker"));
        parts.run("the node's keeper", until(shutdown.clone(), keeping));
        // Of a worker in the same process there is no silence: it ends with all else.
        let (roster, beats) = (roster.clone(), name.clone());
        parts.run(
            "the node's pulse",
            until(shutdown.clone(), async move {
                if let Ok(session) = session {
                    roster.beat(&beats, &session).await;
                }
            }),
        );
        let working = node_agent::run(told, engine, Arc::new(link), world.clone(), shutdown.clone());
        parts.trying("the worker", async move { working.await.map_err(DaemonError::Worker) });
        // What the directory says is then placed at once, and nobody reads that there is no node.
        await_node(&registry, &name).await;
    }
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

    let ended = parts.ended().await;
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

/// Runs until it ends, or until `shutdown`.
async fn until(shutdown: CancellationToken, part: impl Future<Output = ()>) {
    shutdown.run_until_cancelled(part).await;
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

async fn header(options: &Options, own: Option<(&str, &dyn Engine)>) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let (data, socket) = (options.data_dir.display(), options.socket.display());
    let who = match own {
        Some((name, engine)) => format!("node {name} ({})", node::machine(engine).await),
        None => "manager".to_owned(),
    };
    format!("cube {version} · {who} · data {data} · socket {socket}")
}

fn last_word(running: usize) -> String {
    match running {
        0 => "cube has ended; no containers were running".to_owned(),
        1 => "cube has ended; 1 container runs on, and the next cube up takes it up as it is".to_owned(),
        n => format!("cube has ended; {n} containers run on, and the next cube up takes them up as they are"),
    }
}

fn info(options: &Options, node: Option<&str>) -> serde_json::Value {
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
