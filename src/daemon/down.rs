//! Ends a data directory's process, if one runs, and removes its containers and networks; objects and data stay.
//!
//! What it does is written into the Tasks' status, so that the next start takes nothing of it for a failure.
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cube_api::kinds::Kind;
use cube_api::task::{DEFAULT_GRACE_SECONDS, Phase, Task, TaskStatus};
use cube_api::{condition, condition::Condition, condition::READY, condition::Truth};
use cube_plan::worker::DOWN;
use futures_util::StreamExt;
use futures_util::stream;
use jiff::Timestamp;
use rustix::process::{Pid, Signal};
use tokio::time::{Instant, sleep};

use super::data_dir::{DataDir, DataDirError};
use super::engine::Choice;
use crate::engine::{Container, Engine, EngineError};
use crate::registry::{ApiError, Registry, TaskReport};
use crate::store::{self, OpenError, Store};
use crate::worker::link::memory;
use crate::worker::{HASH_LABEL, Journal, NODE_LABEL, NUMBER_LABEL, UID_LABEL};
use crate::world::World;

/// How long the process has to end.
const PROCESS_ENDS: Duration = Duration::from_secs(30);
/// How often it is looked whether something has ended: no word comes of it.
const LOOK: Duration = Duration::from_millis(20);
/// So many containers are stopped at once: each waits for its program, not for the machine.
const AT_ONCE: usize = 64;
/// So many are removed at once; more only makes each removal late.
const REMOVALS: usize = 4;

/// What is to be taken down.
#[derive(Clone, Debug)]
pub struct Down {
    /// The data directory.
    pub data_dir: PathBuf,
    /// The engine that its containers are on.
    pub engine: Choice,
}

/// What was taken down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakenDown {
    /// The pid of the process that was ended.
    pub process: Option<i32>,
    /// Containers that were removed.
    pub containers: usize,
    /// Networks that were removed.
    pub networks: usize,
    /// Containers that bear this cluster's label and that Cube did not make; they were left alone.
    pub strangers: usize,
}

/// Why not all could be taken down.
#[derive(Debug, thiserror::Error)]
pub enum DownError {
    /// There is no data of Cube's.
    #[error("data directory {}: there is no store in it, so there is nothing to take down", .0.display())]
    NoStore(PathBuf),
    /// The process does not end.
    #[error("cube (pid {0}) does not end within {limit} s; look at what it prints", limit = PROCESS_ENDS.as_secs())]
    DoesNotEnd(i32),
    /// The process cannot be told to end.
    #[error("cube (pid {0}) cannot be told to end")]
    Signal(i32, #[source] rustix::io::Errno),
    /// The data directory cannot be had.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The store does not open.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The engine refuses, or does not answer.
    #[error("{what}")]
    Engine {
        /// What was to be done.
        what: String,
        /// Why not.
        source: EngineError,
    },
    /// What the worker wrote down cannot be read.
    #[error("the worker's files cannot be used")]
    Journal {
        /// Why.
        source: std::io::Error,
    },
    /// The store cannot be written.
    #[error("registry: {0}")]
    Registry(ApiError),
}

/// What a data directory knows of its node's Tasks.
enum Known {
    /// The objects, of `cube up` or a manager.
    Objects(Registry),
    /// What a worker alone remembers: the file, and the Tasks as it told of them last.
    Remembered(PathBuf, Vec<Arc<Task>>),
}

/// Takes everything down.
///
/// # Errors
/// See [`DownError`]; what was done by then stays done, and it can be asked for again.
pub async fn down(options: &Down, world: World) -> Result<TakenDown, DownError> {
    let process = end_process(options).await?;
    let (has_store, path) = (super::store_file(&options.data_dir).is_file(), &options.data_dir);
    if DataDir::holder(path).is_none() && !has_store && !super::data_dir::is_workers(path) {
        return Err(DownError::NoStore(path.clone()));
    }
    let data_dir = DataDir::take(path)?;
    let (known, cluster) = match data_dir.cluster().filter(|_| !has_store) {
        Some(cluster) => {
            let file = data_dir.remembered();
            let tasks = memory::read(&*world.notes(), &file).unwrap_or_default();
            (Known::Remembered(file, tasks), cluster)
        }
        None => {
            let store = Store::open(&data_dir.store(), store::Options::default())?;
            let cluster = store.cluster().to_owned();
            let registry = Registry::open(store, world.clone())
                .await
                .map_err(DownError::Registry)?;
            (Known::Objects(registry), cluster)
        }
    };
    let nothing = TakenDown {
        process,
        containers: 0,
        networks: 0,
        strangers: 0,
    };
    // A manager alone has no containers; its workers' are theirs.
    let Some(node) = data_dir.node_name() else {
        return Ok(nothing);
    };
    let graces = known.graces();
    let failed = |what: &str| {
        let what = what.to_owned();
        move |source| DownError::Engine { what, source }
    };
    let of_node = |labels: &BTreeMap<String, String>| labels.get(NODE_LABEL) == Some(&node);
    let engine = options.engine.connect(&world).map_err(failed("engine"))?;
    let mut listed = engine.list(&cluster).await.map_err(failed("list containers"))?;
    listed.retain(|container| container.labels.get(NODE_LABEL).is_none_or(|other| *other == node));
    let journal = Journal::open(world.notes(), &data_dir.worker().join("made"))
        .map_err(|source| DownError::Journal { source })?;
    // What only bears our labels is a stranger's.
    let ours = |uid: &String| journal.has(uid) || graces.contains_key(uid);
    let marks: Vec<Mark> = listed.iter().map(Mark::of).collect();
    let (containers, strangers): (Vec<Container>, Vec<Container>) = listed.into_iter().partition(|container| {
        container.labels.get(UID_LABEL).is_some_and(ours) && !Mark::of(container).marks_a_copy(&marks)
    });
    // Written before anything is touched: whatever comes between, none of it is taken for a failure.
    known.note(&node, false, &world).await?;
    let stopping = containers.iter().map(|container| {
        let (engine, container) = (engine.clone(), container.clone());
        let uid = container.labels.get(UID_LABEL).cloned().unwrap_or_default();
        let grace = graces.get(&uid).copied().unwrap_or(DEFAULT_GRACE_SECONDS);
        async move {
            let result = stop(&engine, &container, grace).await;
            result.map(|()| container)
        }
    });
    let removed = stream::iter(stopping)
        .buffer_unordered(AT_ONCE)
        .map(|stopped| {
            let engine = engine.clone();
            async move {
                let container = stopped?;
                engine
                    .remove(&container.id, true)
                    .await
                    .map_err(|source| DownError::Engine {
                        what: format!("container {}: remove", container.name),
                        source,
                    })
            }
        })
        .buffer_unordered(REMOVALS)
        .collect::<Vec<_>>()
        .await;
    let containers = removed.len();
    removed.into_iter().collect::<Result<Vec<()>, _>>()?;
    known.note(&node, true, &world).await?;
    let mut networks = engine.networks(&cluster).await.map_err(failed("list networks"))?;
    networks.retain(|network| of_node(&network.labels));
    for network in &networks {
        let what = format!("network {}: remove", network.name);
        engine.remove_network(&network.name).await.map_err(failed(&what))?;
    }
    Ok(TakenDown {
        containers,
        networks: networks.len(),
        strangers: strangers.len(),
        ..nothing
    })
}

/// Ends the process that has the data directory.
async fn end_process(options: &Down) -> Result<Option<i32>, DownError> {
    let Some(pid) = DataDir::holder(&options.data_dir) else {
        return Ok(None);
    };
    if let Some(target) = Pid::from_raw(pid) {
        rustix::process::kill_process(target, Signal::TERM).map_err(|error| DownError::Signal(pid, error))?;
    }
    let began = Instant::now();
    while DataDir::holder(&options.data_dir) == Some(pid) {
        if began.elapsed() > PROCESS_ENDS {
            return Err(DownError::DoesNotEnd(pid));
        }
        sleep(LOOK).await;
    }
    Ok(Some(pid))
}

/// What shows whose a container is.
struct Mark {
    /// It has such a name as Cube gives.
    named: bool,
    /// The Task and its wish.
    wish: [Option<String>; 2],
    /// Its number among the Task's containers.
    number: u64,
}

impl Mark {
    fn of(container: &Container) -> Self {
        let label = |name| container.labels.get(name).cloned();
        Self {
            named: container.name.starts_with("cube-"),
            wish: [UID_LABEL, HASH_LABEL].map(label),
            number: label(NUMBER_LABEL).and_then(|text| text.parse().ok()).unwrap_or(0),
        }
    }

    /// Whether someone made it of one of Cube's (`docker commit` keeps labels): one of the same wish has its name, and this one
    /// has not, nor a higher number. See [`cube_plan::worker::originals`].
    fn marks_a_copy(&self, all: &[Self]) -> bool {
        let is_original = |other: &Self| other.named && other.wish == self.wish && other.number >= self.number;
        !self.named && all.iter().any(is_original)
    }
}

/// Signal, grace, kill.
async fn stop(engine: &Arc<dyn Engine>, container: &Container, grace: u32) -> Result<(), DownError> {
    let id = &container.id;
    let failed = |source| DownError::Engine {
        what: format!("container {}: stop", container.name),
        source,
    };
    if !container.state.is_running() {
        return Ok(());
    }
    engine.unpause(id).await.map_err(failed)?;
    let signal = engine.stop_signal(id).await.map_err(failed)?;
    match engine.signal(id, &signal).await {
        Ok(()) | Err(EngineError::NotRunning { .. } | EngineError::NotFound { .. }) => {}
        Err(error) => return Err(failed(error)),
    }
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(u64::from(grace)) {
        let seen = engine.inspect(id).await.map_err(failed)?;
        if seen.is_none_or(|seen| !seen.state.is_running()) {
            return Ok(());
        }
        sleep(LOOK).await;
    }
    // The removal kills what still runs.
    Ok(())
}

impl Known {
    /// Seconds that each Task's container has to stop, by the Task's uid.
    fn graces(&self) -> BTreeMap<String, u32> {
        let grace = |task: &Task| (task.metadata.uid.clone(), task.spec.termination_grace_period_seconds);
        match self {
            Self::Objects(registry) => {
                let tasks = registry.list(Kind::Task, None).items;
                tasks.iter().map(|object| grace(object.typed())).collect()
            }
            Self::Remembered(_, tasks) => tasks.iter().map(|task| grace(task)).collect(),
        }
    }

    /// Writes into each of the node's Tasks that its container is taken down on purpose; `gone`: that it is.
    async fn note(&self, node: &str, gone: bool, world: &World) -> Result<(), DownError> {
        match self {
            Self::Objects(registry) => note(registry, node, gone).await,
            Self::Remembered(file, tasks) => {
                let tasks: Vec<Arc<Task>> = tasks
                    .iter()
                    .map(|task| {
                        Arc::new(Task {
                            status: taken_down(task, world.now()),
                            ..Task::clone(task)
                        })
                    })
                    .collect();
                memory::write(&*world.notes(), file, &tasks).map_err(|source| DownError::Journal { source })
            }
        }
    }
}

/// Writes into each of the node's Tasks that its container is taken down on purpose; `gone`: that it is.
async fn note(registry: &Registry, node: &str, gone: bool) -> Result<(), DownError> {
    let now = registry.world().now();
    let mut reports: Vec<TaskReport> = Vec::new();
    for object in registry.list(Kind::Task, None).items {
        let task: &Task = object.typed();
        if task.status.node.as_deref() != Some(node) {
            continue;
        }
        reports.push(TaskReport {
            namespace: object.namespace().to_owned(),
            name: object.name().to_owned(),
            uid: object.uid().to_owned(),
            epoch: task.status.epoch,
            status: taken_down(task, now),
            // A Task that was on its way out needs nobody to stop anything any more.
            gone: gone && object.is_deleting(),
        });
    }
    for result in registry.report(node, &reports).await {
        result.map_err(DownError::Registry)?;
    }
    Ok(())
}

/// The status of a Task whose container is taken down on purpose.
fn taken_down(task: &Task, now: Timestamp) -> TaskStatus {
    let mut status = TaskStatus {
        container_id: None,
        addresses: Vec::new(),
        ports: Vec::new(),
        ..task.status.clone()
    };
    if status.phase.is_over() {
        return status;
    }
    status.phase = Phase::Scheduled;
    DOWN.clone_into(&mut status.reason);
    "taken down; the next start of its worker starts it again".clone_into(&mut status.message);
    let ready = Condition {
        kind: READY.to_owned(),
        status: Truth::False,
        reason: status.reason.clone(),
        message: status.message.clone(),
        observed_generation: status.observed_generation,
        ..Condition::default()
    };
    condition::set(&mut status.conditions, ready, now);
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_known_by_its_name_and_number() {
        let mark = |named, hash: &str, number| Mark {
            named,
            wish: [Some("uid".to_owned()), Some(hash.to_owned())],
            number,
        };
        for (what, other, expected) in [
            (mark(false, "a", 2), mark(true, "a", 2), true),
            (mark(false, "a", 1), mark(true, "a", 2), true),
            // Renamed while it was started, beside the one before it.
            (mark(false, "a", 3), mark(true, "a", 2), false),
            // Renamed, and another edit's.
            (mark(false, "a", 2), mark(true, "b", 2), false),
            (mark(true, "a", 2), mark(true, "a", 2), false),
            (mark(false, "a", 2), mark(false, "a", 2), false),
        ] {
            assert_eq!(what.marks_a_copy(&[other]), expected, "{} {:?}", what.number, what.wish);
        }
    }
}
