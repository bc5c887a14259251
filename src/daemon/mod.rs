//! The processes that Cube is: a manager, with or without a worker in the same process, or a worker alone.
//!
//! Owns their start and end, in order; decides nothing about objects or containers. Read [`run`] first, then [`worker`].
//!
//! ```text
//! data directory (locked) ─► store, socket, engine ─► manager: its parts, joined
//! ```
mod containers;
mod data_dir;
mod down;
mod engine;
mod lines;
mod manager;
mod narrator;
mod node;
mod parts;
mod scene;
mod socket;
pub mod worker;

use std::path::PathBuf;
use std::sync::Arc;

use cube_api::placement::SchedulingPolicy;
use futures_util::FutureExt as _;
use futures_util::future::{self, BoxFuture};

use crate::registry::ApiError;
use crate::store::{self, OpenError, Store};
use crate::world::World;

pub use data_dir::{DataDir, DataDirError, store_file};
pub use down::{Down, DownError, TakenDown, down};
pub use engine::Choice as EngineChoice;
pub use lines::{Format, Lines, tame};
pub use manager::{Given, Manager, OwnWorker};
pub use narrator::Narrator;
pub use node::NodeOptions;
pub use parts::Parts;
pub use socket::SocketError;

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
    let listener = socket::listen(&options.socket, options.socket_group.as_deref())?;
    let name = own.as_ref().map(|(_, name, _)| name.clone());
    let own = match own {
        Some((node, name, engine)) => {
            let told = node.worker(&data_dir, &name, store.cluster(), &world)?;
            Some(OwnWorker { told, engine })
        }
        None => None,
    };
    let given = Given {
        lines: Lines::new(options.format, world.clone()),
        header: header(&options, own.as_ref()),
        host_name: name.clone().unwrap_or_else(|| options.host_name.clone()),
        scheduling_policy: options.scheduling_policy,
        info: info(&options, name.as_deref()),
        directory: options.directory.clone(),
        own,
    };
    let mut manager = Manager::begin(given, store.clone(), listener, world).await?;
    let ended = manager.parts.ended().await;
    let running = manager.narrator.running();
    manager.parts.end().await;
    store.close();
    let _ = std::fs::remove_file(&options.socket);
    drop(data_dir);
    if ended.is_ok() {
        manager.narrator.say(&last_word(running));
    }
    ended
}

fn header(options: &Options, own: Option<&OwnWorker>) -> BoxFuture<'static, String> {
    let version = env!("CARGO_PKG_VERSION");
    let (data, socket) = (options.data_dir.display(), options.socket.display());
    let after = format!("data {data} · socket {socket}");
    match own {
        Some(own) => {
            let (name, engine) = (own.told.ground.node.clone(), Arc::clone(&own.engine));
            let said = async move {
                let machine = node::machine(&*engine).await;
                format!("cube {version} · node {name} ({machine}) · {after}")
            };
            said.boxed()
        }
        None => future::ready(format!("cube {version} · manager · {after}")).boxed(),
    }
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
