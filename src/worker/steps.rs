//! Carries out one step of the worker's brain: at most a few calls of the engine, and what came of them.
//!
//! Never decides what comes next, and never touches a Task's progress: the actor does, from the [`Outcome`].
use std::sync::Arc;
use std::time::Duration;

use cube_api::probe::Healthcheck;
use cube_api::task::Task;
use cube_plan::worker::Step;
use futures_util::StreamExt;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::form::{self, Ground};
use crate::engine::{Container, Engine, EngineError, ImageInfo, LogOptions};

/// How many lines of a dead container's output are kept.
const LOG_LINES: u64 = 20;
/// How long one line of them may be, in characters.
const LOG_WIDTH: usize = 500;

/// What came of a step.
#[derive(Debug)]
pub enum Outcome {
    /// An image, and what the engine knows of it, if it has it.
    Image(String, Option<ImageInfo>),
    /// What the image of this id says of how its containers are asked whether they do their work.
    Healthcheck(String, Option<Healthcheck>),
    /// The image was pulled.
    Pulled,
    /// The container is made.
    Created(Box<Container>),
    /// The container is started; this is how it is now, if it is still there.
    Started(Option<Box<Container>>),
    /// The container was asked to stop, or killed.
    Signalled {
        /// It ran until then; else it had ended before, or is gone.
        delivered: bool,
    },
    /// The last lines of a container that ended.
    Log(Vec<String>),
    /// The container is removed.
    Removed,
    /// Nothing of the Task is left.
    Gone,
    /// Done; an event tells the rest.
    Done,
    /// It failed.
    Failed(EngineError),
}

/// How long a call keeps its turn: one that hangs in the engine must not hold up other Tasks for good.
const TURN: Duration = Duration::from_secs(5);

/// How many calls of a kind may be under way, so that the engine is neither idle nor choked.
///
/// It is at its fastest with about twice as many starts as it has cores. Creation stays ahead of them one by one, and
/// more at once would only make the first start late. Signals go out a few at a time: the first containers are then
/// torn down, which waits for the kernel, while the processors are busy with the next ones' ends; fifty on a network
/// are gone in four fifths of the time that they need when they are all told at once. Removals yield to starts.
pub struct Pace {
    starts: Semaphore,
    creations: Semaphore,
    signals: Semaphore,
    removals: Semaphore,
}

impl Pace {
    /// For a machine of so many cores.
    pub fn new(cores: usize) -> Self {
        let many = (2 * cores).max(2);
        Self {
            starts: Semaphore::new(many),
            creations: Semaphore::new((cores / 2).max(1)),
            signals: Semaphore::new(cores.max(1)),
            removals: Semaphore::new(many),
        }
    }

    async fn turn(&self, step: &Step) -> Option<SemaphorePermit<'_>> {
        match step {
            Step::Start(_) => self.starts.acquire().await.ok(),
            Step::Create { .. } => self.creations.acquire().await.ok(),
            Step::Signal(_) => self.signals.acquire().await.ok(),
            Step::Remove { urgent: false, .. } => {
                // Behind the starts: a removal in their middle makes each of them late.
                drop(self.starts.acquire().await);
                self.removals.acquire().await.ok()
            }
            Step::Remove { .. } => self.removals.acquire().await.ok(),
            _ => None,
        }
    }
}

/// Carries out a step for a Task; gives what came of it and how long the engine took.
pub async fn carry_out(
    step: Step,
    task: Arc<Task>,
    ground: Arc<Ground>,
    engine: Arc<dyn Engine>,
    pace: Arc<Pace>,
) -> (Outcome, Duration) {
    let turn = pace.turn(&step).await;
    let began = Instant::now();
    let outcome = match step {
        Step::Start(id) => started(&id, &*engine, in_turn(turn, engine.start(&id)).await).await,
        step => in_turn(turn, call(step, &task, &ground, &*engine)).await,
    };
    (outcome.unwrap_or_else(Outcome::Failed), began.elapsed())
}

/// Waits for a call; its turn ends with it, or when it has taken too long.
async fn in_turn<T>(turn: Option<SemaphorePermit<'_>>, call: impl Future<Output = T>) -> T {
    let mut call = std::pin::pin!(call);
    if let Ok(done) = tokio::time::timeout(TURN, call.as_mut()).await {
        return done;
    }
    drop(turn);
    call.await
}

/// Looks at a container that was started; its turn is over by then, for the look is no work for the engine.
async fn started(id: &str, engine: &dyn Engine, start: Result<(), EngineError>) -> Result<Outcome, EngineError> {
    start?;
    Ok(Outcome::Started(engine.inspect(id).await?.map(Box::new)))
}

async fn call(step: Step, task: &Task, ground: &Ground, engine: &dyn Engine) -> Result<Outcome, EngineError> {
    Ok(match step {
        Step::FindImage => {
            let image = task.spec.image.clone();
            let there = engine.image(&image).await?;
            Outcome::Image(image, there)
        }
        Step::FindHealthcheck(id) => {
            let there = engine.image(&id).await?;
            Outcome::Healthcheck(id, there.and_then(|image| image.healthcheck))
        }
        Step::Create { hash, number } => {
            for name in form::named_volumes(task) {
                engine
                    .ensure_volume(&name, &ground.labels(task.metadata.namespace()))
                    .await?;
            }
            for (name, labels) in form::scratch_volumes(task, ground) {
                engine.ensure_volume(&name, &labels).await?;
            }
            let spec = form::container(task, &hash, number, ground);
            let id = match engine.create(&spec).await {
                // The same wish made it before; it is ours only if its uid says so.
                Err(EngineError::NameInUse { name }) => match engine.inspect(&name).await? {
                    Some(there) if there.labels.get(form::UID_LABEL) == Some(&task.metadata.uid) => there.id,
                    _ => return Err(EngineError::NameInUse { name }),
                },
                other => other?,
            };
            Outcome::Created(Box::new(made(id, spec)))
        }
        Step::Unpause(id) => {
            engine.unpause(&id).await?;
            Outcome::Done
        }
        Step::Rename(id, name) => {
            engine.rename(&id, &name).await?;
            Outcome::Done
        }
        Step::Connect(id) => {
            engine.connect(&id, &form::network(task, ground)).await?;
            Outcome::Done
        }
        Step::Signal(id) => {
            let signal = task.spec.stop_signal.clone();
            let signal = match signal {
                Some(signal) => signal,
                None => engine.stop_signal(&id).await?,
            };
            signalled(engine.signal(&id, &signal).await)?
        }
        Step::Kill(id) => signalled(engine.signal(&id, "SIGKILL").await)?,
        Step::Record(id) => Outcome::Log(last_lines(engine, &id).await),
        Step::Remove { id, .. } => {
            engine.remove(&id, false).await?;
            Outcome::Removed
        }
        Step::Gone => {
            for (name, _) in form::scratch_volumes(task, ground) {
                engine.remove_volume(&name).await?;
            }
            Outcome::Gone
        }
        // The actor sees to these itself, and starts are seen to before.
        Step::Pull | Step::Start(_) | Step::EnsureNetwork | Step::RecordRemoved(_) | Step::Wait(_) => Outcome::Done,
    })
}

/// A container that ended before the signal came is what was wished for.
fn signalled(result: Result<(), EngineError>) -> Result<Outcome, EngineError> {
    match result {
        Ok(()) => Ok(Outcome::Signalled { delivered: true }),
        Err(EngineError::NotRunning { .. } | EngineError::NotFound { .. }) => {
            Ok(Outcome::Signalled { delivered: false })
        }
        Err(error) => Err(error),
    }
}

/// How a container is right after it was made, without asking again.
fn made(id: String, spec: crate::engine::ContainerSpec) -> Container {
    Container {
        id,
        name: spec.name,
        image: spec.image,
        image_id: String::new(),
        labels: spec.labels,
        state: crate::engine::State::Created,
        pid: None,
        layer: None,
        addresses: vec![],
        ports: vec![],
        created_at: jiff::Timestamp::UNIX_EPOCH,
        started_at: None,
        finished_at: None,
    }
}

/// The last lines; none where they cannot be had, for an end is recorded in any case.
async fn last_lines(engine: &dyn Engine, id: &str) -> Vec<String> {
    let options = LogOptions {
        tail: Some(LOG_LINES),
        ..LogOptions::default()
    };
    let read = async {
        let mut bytes = Vec::new();
        let mut chunks = engine.logs(id, options).await.ok()?;
        while let Some(Ok(chunk)) = chunks.next().await {
            bytes.extend_from_slice(&chunk.bytes);
        }
        Some(bytes)
    };
    let bytes = tokio::time::timeout(Duration::from_secs(2), read)
        .await
        .ok()
        .flatten()
        .unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<String> = text
        .lines()
        .map(|line| line.chars().take(LOG_WIDTH).collect())
        .collect();
    lines[lines.len().saturating_sub(LOG_LINES as usize)..].to_vec()
}
