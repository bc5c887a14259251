//! A manager at work: its parts, joined.
//!
//! Owns their order and their joints, and decides nothing. What only an operating system gives (the store's file, the
//! socket, the engine) is brought by whoever begins it, so that a simulation runs the very same manager. Read
//! [`Manager::begin`] first.
//!
//! ```text
//! store ─► registry ─► server ═ clients, links of workers elsewhere
//!             ├─► controllers, scheduler, assignments
//!             ├─► link ─► worker ─► engine      (`cube up` only)
//!             ├─► source (watched directory)
//!             └─► recorder, narrator ─► lines for people
//! ```
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::Listener;
use cube_api::condition::{READY, is_true};
use cube_api::kinds::Kind;
use cube_api::node::Node;
use cube_api::placement::SchedulingPolicy;
use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::DaemonError;
use super::containers::NodeContainers;
use super::lines::Lines;
use super::narrator::Narrator;
use super::parts::Parts;
use crate::engine::Engine;
use crate::registry::{Recorder, Registry, WatchEvent, WatchOptions};
use crate::roster::Roster;
use crate::store::Store;
use crate::worker::link::{assigned::Assigned, door::Door, local::LocalLink};
use crate::worker::{self, EngineAgent};
use crate::world::World;
use crate::{controllers, scheduler, server, source};

/// How long the worker's first word of its node is waited for; an engine that is away must not hold up the rest.
const NODE_TOLD: Duration = Duration::from_millis(500);
/// How often it is looked whether the store can be written: a look at memory.
const HEALTH: Duration = Duration::from_secs(2);

/// What a manager is given.
pub struct Given {
    /// Where lines for people go.
    pub lines: Lines,
    /// Its first line.
    pub header: BoxFuture<'static, String>,
    /// What it is called in what it tells: its node's name, or its machine's.
    pub host_name: String,
    /// How a node is chosen for Tasks that do not say.
    pub scheduling_policy: SchedulingPolicy,
    /// What the process says of itself: a JSON object.
    pub info: serde_json::Value,
    /// The watched directory.
    pub directory: Option<PathBuf>,
    /// The worker in the same process.
    pub own: Option<OwnWorker>,
}

/// The worker in its manager's own process.
pub struct OwnWorker {
    /// What it is told at its start.
    pub told: worker::Options,
    /// Its engine.
    pub engine: Arc<dyn Engine>,
}

/// A manager at work.
pub struct Manager {
    /// The objects.
    pub registry: Registry,
    /// Tells people.
    pub narrator: Narrator,
    /// What runs.
    pub parts: Parts,
}

impl Manager {
    /// Begins the parts of a manager over that store, served on that listener.
    ///
    /// # Errors
    /// When the registry cannot be set up.
    pub async fn begin<L: Listener>(
        given: Given,
        store: Store,
        listener: L,
        world: World,
    ) -> Result<Self, DaemonError> {
        let registry = Registry::open(store.clone(), world.clone())
            .await
            .map_err(DaemonError::Registry)?;
        let shown = given.directory.as_ref().map(|directory| shown_directory(directory));
        let narrator = Narrator::new(registry.clone(), given.lines, shown.as_deref().unwrap_or_default());

        let mut parts = Parts::new();
        let shutdown = parts.shutdown.clone();
        let roster = Roster::new();
        parts.run("the roster", roster.clone().keep_awake(shutdown.clone()));
        let ear = narrator.clone();
        let (recorder, writing) = Recorder::new(
            registry.clone(),
            &given.host_name,
            Some(Arc::new(move |told| ear.told(told))),
            shutdown.clone(),
        );
        parts.run("the recorder", writing);
        let assigned = Assigned::new();
        parts.run(
            "the assignments",
            until(shutdown.clone(), assigned.clone().keep(registry.clone())),
        );
        let door = Door::new(
            registry.clone(),
            assigned.clone(),
            roster.clone(),
            recorder.of("worker"),
            store.cluster(),
            shutdown.clone(),
        );
        let state = server::ServerState {
            registry: registry.clone(),
            containers: Arc::new(NodeContainers::new(roster.clone())),
            door: Some(Arc::new(door)),
            scheduling_policy: given.scheduling_policy,
            recorder: Some(recorder.of("server")),
            info: given.info,
        };
        parts.run("the server", server::serve(listener, state, shutdown.clone()));
        narrator.say(&given.header.await);
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
                given.scheduling_policy,
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
                given.scheduling_policy,
                shutdown.clone(),
            ),
        );
        if let Some(OwnWorker { told, engine }) = given.own {
            let name = told.ground.node.clone();
            let agent = Arc::new(EngineAgent::new(Arc::clone(&engine), world.clone()));
            let session = roster.enter(&name, &told.identity.worker, agent);
            let (link, keeping) = LocalLink::new(registry.clone(), assigned, &name, recorder.of("worker"));
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
            let working = worker::run(told, engine, Arc::new(link), world.clone(), shutdown.clone());
            parts.trying("the worker", async move { working.await.map_err(DaemonError::Worker) });
            // What the directory says is then placed at once, and nobody reads that there is no node.
            await_node(&registry, &name).await;
        }
        if let Some(directory) = given.directory {
            let options = source::Options {
                name: source::name_of(&directory),
                directory,
            };
            let tell = Arc::new(narrator.clone());
            parts.run(
                "the source",
                source::run(options, registry.clone(), world, tell, shutdown.clone()),
            );
        }
        Ok(Self {
            registry,
            narrator,
            parts,
        })
    }
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

/// `manifests/`: as it was given, with a slash at its end.
fn shown_directory(directory: &std::path::Path) -> String {
    let text = directory.display().to_string();
    format!("{}/", text.trim_end_matches('/'))
}
