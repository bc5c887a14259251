//! `cube worker`: one worker in a process of its own, linked to a manager elsewhere.
//!
//! ```text
//! data directory (locked) ─► id, cluster, last assignments ─► link ═ manager
//!                                                              └─► worker ─► engine
//! ```
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use cube_api::event::EventType;
use cube_api::node::Node;
use cube_api::task::Task;
use futures_util::stream::BoxStream;

use super::lines::{Format, Lines};
use super::node::machine;
use super::parts::{Parts, asked_to_end};
use super::scene::Line;
use super::{DaemonError, DataDir, NodeOptions};
use crate::client::{Client, Endpoint};
use crate::engine::Engine;
use crate::registry::TaskReport;
use crate::worker::link::dial::{self, GreetingError, RemoteLink};
use crate::worker::link::{Assignment, Link, Taken};
use crate::worker::{self, EngineAgent};
use crate::world::World;

/// How long it waits before it asks again at a manager that it has never been let in by.
const AGAIN: Duration = Duration::from_secs(1);

/// What the process is told at its start.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// Where the manager is.
    pub server: Endpoint,
    /// Where the worker keeps what it has to know.
    pub data_dir: PathBuf,
    /// The node.
    pub node: NodeOptions,
    /// How lines for people look.
    pub format: Format,
}

/// Runs a worker until Ctrl-C or SIGTERM; its containers run on after it.
///
/// # Errors
/// See [`DaemonError`].
pub async fn run(options: WorkerOptions, world: World) -> Result<(), DaemonError> {
    let data_dir = DataDir::take(&options.data_dir)?;
    let name = options.node.name(&data_dir)?;
    let engine = options.node.engine.connect(&world)?;
    let lines = Lines::new(options.format, world.clone());
    lines.say(&format!(
        "cube {} · worker of node {name} ({}) · data {} · manager {}",
        env!("CARGO_PKG_VERSION"),
        machine(&*engine).await,
        options.data_dir.display(),
        options.server,
    ));
    let mut dialling = dial::Options {
        client: Client::new(options.server.clone(), world.network()),
        node: name.clone(),
        worker: data_dir.worker_id(&world)?,
        cluster: data_dir.cluster(),
    };
    let cluster = match &dialling.cluster {
        Some(cluster) => cluster.clone(),
        None => {
            let greeted = tokio::select! {
                biased;
                ended = asked_to_end() => return ended.map_err(DaemonError::Signals),
                greeted = first_greeting(&dialling, &lines) => greeted?,
            };
            data_dir.keep_cluster(&greeted)?;
            greeted
        }
    };
    dialling.cluster = Some(cluster.clone());
    let given = Given {
        told: options.node.worker(&data_dir, &name, &cluster, &world)?,
        dialling,
        remembered: data_dir.remembered(),
        lines: lines.clone(),
    };
    let mut parts = begin(given, engine, world);
    let ended = parts.ended().await;
    parts.end().await;
    drop(data_dir);
    if ended.is_ok() {
        lines.say("cube worker has ended; its containers run on, and the next cube worker takes them up as they are");
    }
    ended
}

/// What a worker is given that was let in once.
pub struct Given {
    /// What it is told at its start.
    pub told: worker::Options,
    /// Whom it dials, and as whom.
    pub dialling: dial::Options,
    /// The file of its last assignments.
    pub remembered: PathBuf,
    /// Where lines for people go.
    pub lines: Lines,
}

/// Begins the parts of a worker. What only an operating system gives is brought by whoever begins it, so that a
/// simulation runs the very same worker.
pub fn begin(given: Given, engine: Arc<dyn Engine>, world: World) -> Parts {
    let mut parts = Parts::new();
    let shutdown = parts.shutdown.clone();
    let Given {
        told,
        dialling,
        remembered,
        lines,
    } = given;
    let agent = Arc::new(EngineAgent::new(Arc::clone(&engine), world.clone()));
    let (link, dialer) = dial::link(dialling, &remembered, agent, world.clone(), ear(lines.clone()));
    let dialling = dialer.run(shutdown.clone());
    parts.trying("the link", async move {
        dialling.await.map_err(|error| DaemonError::Refused(error.to_string()))
    });
    let link = Arc::new(Narrated { link, lines });
    let working = worker::run(told, engine, link, world, shutdown);
    parts.trying("the worker", async move { working.await.map_err(DaemonError::Worker) });
    parts
}

/// Asks until a manager lets this worker in for the first time, and gives the cluster's id. Safe to drop while it waits.
///
/// # Errors
/// When the manager will not have it.
pub async fn first_greeting(dialling: &dial::Options, lines: &Lines) -> Result<String, DaemonError> {
    let mut told = None;
    loop {
        match dialling.greet().await {
            Ok((_, cluster)) => return Ok(cluster),
            Err(GreetingError::Refused(why)) => return Err(DaemonError::Refused(why)),
            Err(GreetingError::Away(why)) => {
                if told.as_ref() != Some(&why) {
                    lines.worry("manager", &format!("{why}; waiting for it"));
                    told = Some(why);
                }
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Tells people when the manager is there, and when it is not, once each.
fn ear(lines: Lines) -> dial::Ear {
    let there = Mutex::new(None);
    Box::new(move |state: Result<(), &str>| {
        let mut there = there.lock().unwrap_or_else(PoisonError::into_inner);
        if *there == Some(state.is_ok()) {
            return;
        }
        *there = Some(state.is_ok());
        match state {
            Ok(()) => lines.say("manager             is there"),
            Err(why) => lines.worry(
                "manager",
                &format!("{why}; containers go on as it last said, and it is dialled again"),
            ),
        }
    })
}

/// The link, with a line for people for each event.
struct Narrated {
    link: RemoteLink,
    lines: Lines,
}

#[async_trait]
impl Link for Narrated {
    async fn assignments(&self) -> BoxStream<'static, Assignment> {
        self.link.assignments().await
    }

    fn remember(&self, report: &TaskReport) {
        self.link.remember(report);
    }

    async fn report(&self, reports: Vec<TaskReport>) -> Vec<Taken> {
        self.link.report(reports).await
    }

    fn tell_node(&self, node: Node) {
        self.link.tell_node(node);
    }

    fn event(&self, task: &Task, kind: EventType, reason: &str, message: String) {
        let meta = &task.metadata;
        let subject = match meta.namespace() {
            cube_api::namespace::DEFAULT => format!("task/{}", meta.name),
            namespace => format!("task/{namespace}/{}", meta.name),
        };
        let line = Line::about(subject, reason, message.clone());
        self.lines.write(vec![match kind {
            EventType::Warning => line.warning(),
            EventType::Normal => line,
        }]);
        self.link.event(task, kind, reason, message);
    }
}
