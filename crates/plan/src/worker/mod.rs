//! What a worker does next about one Task: assigned Task against containers seen.
//!
//! [`decide`] takes one look and answers with one [`Step`], at most one engine call; the worker carries it out, records
//! what came of it and looks again, so that a crash between any two calls is just another start. It never waits and
//! never acts.
//!
//! ```text
//! none ─► pull ─► create ─► (old one: signal ─► kill ─► remove) ─► start ─► running
//!   ▲                                                                         │ ends
//!   └────────────── back-off ◄── restart policy ◄── record (code, log) ◄──────┘
//! ```
mod ends;
mod status;

use cube_planted::{Bug, planted};
use std::collections::BTreeMap;

use cube_api::hash;
use cube_api::meta::{PULL_ANNOTATION, RESTARTED_ANNOTATION};
use cube_api::probe::ProbeStatus;
use cube_api::task::{NetworkMode, Phase, PullPolicy, Task, Termination};
use jiff::{SignedDuration, Timestamp};

use crate::probe::Unhealthy;

pub use ends::{End, UNHEALTHY, backoff, judge};
pub use status::{gone, in_doubt, status};

/// Reason of a Task whose container was taken down on purpose (`cube down`).
pub const DOWN: &str = "Down";
/// Reason of a Task whose image could not be fetched this time.
pub const IMAGE_PULL_BACK_OFF: &str = "ImagePullBackOff";
/// Reason of a Task whose image its registry does not have, or not for us: only another reference or right helps.
pub const IMAGE_NOT_FOUND: &str = "ImageNotFound";
/// Reason of a Task whose image is not on its node and must not be fetched.
pub const IMAGE_NEVER_PULLED: &str = "ErrImageNeverPull";

/// A container of the Task, as the worker's view has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// The engine's id.
    pub id: String,
    /// Its name, without the engine's slash.
    pub name: String,
    /// Hash of what formed it.
    pub hash: String,
    /// Its number among the Task's containers.
    pub number: u64,
    /// The engine's id of its image.
    pub image_id: String,
    /// What it does.
    pub state: SeenState,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// Ports of the machine that lead to it.
    pub ports: Vec<cube_api::task::PortStatus>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// What a container does.
#[derive(Clone, Debug, PartialEq)]
pub enum SeenState {
    /// Made, not started.
    Created,
    /// Runs.
    Running,
    /// Frozen by someone.
    Paused,
    /// Ended.
    Exited {
        /// Its exit code.
        code: i64,
        /// Whether the kernel killed it for its memory.
        oom_killed: bool,
        /// What the engine says.
        error: String,
    },
    /// On its way out.
    Removing,
}

impl SeenState {
    fn is_alive(&self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}

/// What the worker remembers about a Task between two looks; rebuilt from the Task's status by [`Progress::resume`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// Starts after the first.
    pub restarts: u64,
    /// Failures in a row.
    pub failures: u64,
    /// When the last end was, from which the back-off counts.
    pub ended_at: Option<Timestamp>,
    /// How the last container ended.
    pub last_termination: Option<Termination>,
    /// The Task is over, with this container hash.
    pub over: Option<Over>,
    /// The container that was seen alive last, with its hash; when it is gone unasked, someone removed it.
    pub alive: Option<(String, String)>,
    /// The container whose end has been recorded last.
    pub recorded: Option<String>,
    /// A container of which it is not known what became of its start: that may yet happen, also once it has ended.
    pub unsure: Option<String>,
    /// The container that was told to stop, and when.
    pub stopping: Option<(String, Timestamp)>,
    /// Whether the image is there.
    pub image: Image,
    /// How far a pull that is under way has come: bytes fetched, bytes known of.
    pub pulled_bytes: Option<(u64, u64)>,
    /// `hash` for which the image was looked for anew.
    pub pulled_for: Option<String>,
    /// What stands in the way of a container, and until when the worker waits before it tries again.
    pub obstacle: Option<Obstacle>,
    /// What was answered by the container that runs.
    pub health: Option<Health>,
    /// Numbers up to this one are used up.
    pub highest_number: u64,
    /// What a worker before this one left to be known of the next end that is recorded.
    pub resumed: Option<Resumed>,
}

/// What a container's probes were answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Health {
    /// The container.
    pub container: String,
    /// What is known of each probe.
    pub probes: Vec<ProbeStatus>,
    /// Why it is to be stopped, if it is.
    pub unhealthy: Option<Unhealthy>,
}

/// Who asks the container that runs whether it does its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Nobody: that it runs is all that is known.
    ByNobody,
    /// Its probes, or its image's.
    ByProbes,
    /// Whoever its image says; that has to be looked up.
    Unknown,
}

/// What a worker that starts from nothing knows of the end that it may find.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resumed {
    /// The end that was reported last, which may be the one that is found.
    pub last: Option<Termination>,
    /// The Task was taken down on purpose.
    pub down: bool,
}

/// How a Task came to be over.
#[derive(Clone, Debug, PartialEq)]
pub struct Over {
    /// `Completed` or `Failed`.
    pub phase: Phase,
    /// Hash of the container that it was over with; another one begins anew.
    pub hash: String,
    /// Exit code, if there was one.
    pub exit_code: Option<i64>,
    /// When.
    pub at: Timestamp,
}

/// Whether the Task's image is there.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Image {
    /// Nobody has looked.
    #[default]
    Unknown,
    /// The engine has it.
    Present,
    /// The engine has it not.
    Missing,
}

/// What stands in the way of a container.
#[derive(Clone, Debug, PartialEq)]
pub struct Obstacle {
    /// In one word: `ImagePullBackOff`, `PortInUse`, `NetworkFailed`, …
    pub reason: String,
    /// For people.
    pub message: String,
    /// Tries so far.
    pub tries: u64,
    /// When to try again.
    pub until: Timestamp,
}

impl Progress {
    /// The clock was set by so much: what is waited for is as far away as it was.
    pub fn clock_was_set(&mut self, by: SignedDuration) {
        let times = [
            self.ended_at.as_mut(),
            self.stopping.as_mut().map(|(_, since)| since),
            self.obstacle.as_mut().map(|obstacle| &mut obstacle.until),
        ];
        for time in times.into_iter().flatten() {
            *time = time.saturating_add(by).unwrap_or(*time);
        }
    }

    /// What a worker that starts from nothing knows of the Task: what it once reported. What it told of the future, it told
    /// before the clock was set back.
    pub fn resume(task: &Task, now: Timestamp) -> Self {
        let status = &task.status;
        let wanted = wanted_hash(task);
        let over = status.phase.is_over().then(|| Over {
            phase: status.phase,
            hash: status.hash.clone(),
            exit_code: status.exit_code,
            at: status.finished_at.unwrap_or(Timestamp::UNIX_EPOCH),
        });
        let last = status.last_termination.as_ref();
        Self {
            restarts: status.restarts,
            failures: status.failures,
            ended_at: last.and_then(|last| last.finished_at).map(|at| at.min(now)),
            last_termination: status.last_termination.clone(),
            recorded: over.as_ref().and(status.container_id.clone()),
            // Removed while nobody looked, it has ended all the same.
            alive: status
                .container_id
                .clone()
                .filter(|_| over.is_none() && status.phase == Phase::Running && status.hash == wanted)
                .map(|id| (id, wanted.clone())),
            // A wish to have the image anew was carried out with the container that it formed.
            pulled_for: (status.hash == wanted && task.spec.image_pull_policy != PullPolicy::Always).then_some(wanted),
            health: status.container_id.clone().map(|container| Health {
                container,
                probes: status.probes.clone(),
                unhealthy: None,
            }),
            resumed: Some(Resumed {
                last: status.last_termination.clone(),
                down: status.reason == DOWN,
            }),
            over,
            ..Self::default()
        }
    }
}

/// One look at a Task.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// The Task as assigned.
    pub task: &'a Task,
    /// [`wanted_hash`] of it, worked out by who looks: it takes longer than all else of a look.
    pub wanted: &'a str,
    /// Its containers, in any order.
    pub containers: &'a [Seen],
    /// What the worker remembers.
    pub progress: &'a Progress,
    /// Whether the namespace's network is there, if the Task needs it.
    pub network_ready: bool,
    /// Who asks the container that runs.
    pub asked: Asked,
    /// The time.
    pub now: Timestamp,
}

impl Look<'_> {
    /// What the container's probes were answered, if it was asked.
    fn health(&self, seen: &Seen) -> Option<&Health> {
        let health = self.progress.health.as_ref();
        health.filter(|health| health.container == seen.id)
    }

    /// Why the container is to be stopped and started again, if it is.
    fn unhealthy(&self, seen: &Seen) -> Option<&Unhealthy> {
        self.health(seen)?.unhealthy.as_ref()
    }
}

/// The next thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// See whether the engine has the image.
    FindImage,
    /// Pull the image.
    Pull,
    /// See what the image of this id says of how its containers are asked whether they do their work.
    FindHealthcheck(String),
    /// Make the namespace's network.
    EnsureNetwork,
    /// Make a container of this hash and number.
    Create {
        /// Hash of what forms it.
        hash: String,
        /// One above the highest seen.
        number: u64,
    },
    /// Start it.
    Start(String),
    /// Let it go on: someone has frozen it.
    Unpause(String),
    /// Give it its name back: someone has taken it.
    Rename(String, String),
    /// Bring it back into its network.
    Connect(String),
    /// Ask it to stop.
    Signal(String),
    /// Kill it.
    Kill(String),
    /// Record how it ended: its last lines, then [`judge`].
    Record(String),
    /// The container that ran is gone and nobody of ours did it: record that.
    RecordRemoved(String),
    /// Remove it. Urgent when something waits for what it holds.
    Remove {
        /// The container.
        id: String,
        /// Whether something waits for it.
        urgent: bool,
    },
    /// Nothing of the Task is left: tell the manager.
    Gone,
    /// Nothing to do, for a reason, until something changes or the time has come.
    Wait(WaitingOn),
}

/// Why nothing is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum WaitingOn {
    /// It runs as wished.
    AsWished,
    /// The Task is over.
    Over,
    /// A container that ended so often waits its time.
    Backoff {
        /// When it is started again.
        until: Timestamp,
    },
    /// A container was asked to stop and has until then.
    Stopping {
        /// When it is killed.
        until: Timestamp,
    },
    /// Something stands in the way until then.
    Obstacle {
        /// When it is tried again.
        until: Timestamp,
    },
    /// The engine is removing it.
    Removal,
}

impl WaitingOn {
    /// When to look again even if nothing changes.
    pub fn until(&self) -> Option<Timestamp> {
        match self {
            Self::Backoff { until } | Self::Stopping { until } | Self::Obstacle { until } => Some(*until),
            Self::AsWished | Self::Over | Self::Removal => None,
        }
    }
}

/// Hash of the container that the Task wishes for.
pub fn wanted_hash(task: &Task) -> String {
    hash::container(
        &task.spec,
        task.metadata.annotations.get(RESTARTED_ANNOTATION).map(String::as_str),
    )
}

/// Name of a container: the same for the same wish, so that the engine itself refuses a double.
pub fn container_name(task: &Task, hash: &str, number: u64) -> String {
    let meta = &task.metadata;
    let tail = &meta.uid[meta.uid.len().saturating_sub(8)..];
    format!("cube-{}-{}-{tail}-{hash}-{number}", meta.namespace(), meta.name)
}

/// The containers that are the Task's own. A copy that someone made of one (`docker commit` keeps labels) is a stranger's:
/// where one of a hash has its name, another of that hash that has not is none of ours, unless its number is higher (one of
/// ours that is renamed is given its name back before there is another). Where none has, what was made first is the one
/// that was renamed.
pub fn originals(task: &Task, mut containers: Vec<Seen>) -> Vec<Seen> {
    let named = |seen: &Seen| seen.name == container_name(task, &seen.hash, seen.number);
    let mut proven: BTreeMap<String, u64> = BTreeMap::new();
    for seen in containers.iter().filter(|seen| named(seen)) {
        let highest = proven.entry(seen.hash.clone()).or_default();
        *highest = seen.number.max(*highest);
    }
    containers.retain(|seen| named(seen) || proven.get(&seen.hash).is_none_or(|highest| seen.number > *highest));
    containers.sort_by_key(|seen| (seen.hash.clone(), seen.number, seen.created_at, seen.id.clone()));
    containers.dedup_by(|later, first| (&later.hash, later.number) == (&first.hash, first.number));
    containers
}

/// The next step for one Task.
pub fn decide(look: &Look) -> Step {
    if look.task.metadata.is_deleting() || look.task.status.leaves_now() {
        return dismantle(look);
    }
    let wanted = look.wanted;
    let current = look
        .containers
        .iter()
        .filter(|seen| seen.hash == wanted)
        .max_by_key(|seen| seen.number);
    let over = look.progress.over.as_ref().filter(|over| over.hash == wanted);
    if over.is_some() {
        let rest = look
            .containers
            .iter()
            .filter(|seen| current.is_none_or(|current| current.id != seen.id));
        return clear(look, rest, false).unwrap_or(Step::Wait(WaitingOn::Over));
    }
    let old = || {
        look.containers
            .iter()
            .filter(|seen| current.is_none_or(|current| current.id != seen.id))
    };
    let recorded = |seen: &Seen| look.progress.recorded.as_deref() == Some(seen.id.as_str());
    let unsure = |seen: &Seen| look.progress.unsure.as_deref() == Some(seen.id.as_str());
    if let Some(seen) = current
        && matches!(seen.state, SeenState::Created | SeenState::Running)
    {
        let name = container_name(look.task, &seen.hash, seen.number);
        if seen.name != name {
            return Step::Rename(seen.id.clone(), name);
        }
    }
    match current {
        Some(seen) => match &seen.state {
            SeenState::Running => {
                if seen.addresses.is_empty() && look.task.spec.network == NetworkMode::Namespace {
                    return match look.network_ready {
                        true => Step::Connect(seen.id.clone()),
                        false => Step::EnsureNetwork,
                    };
                }
                if look.unhealthy(seen).is_some() {
                    return stop(look, seen);
                }
                if look.asked == Asked::Unknown {
                    return Step::FindHealthcheck(seen.image_id.clone());
                }
                clear(look, old(), false).unwrap_or(Step::Wait(WaitingOn::AsWished))
            }
            SeenState::Paused => Step::Unpause(seen.id.clone()),
            // What is dead holds no port and is cleared once this one runs; what lives ends first. One that was never
            // seen to run may be starting just now, for a worker that was killed amid it: it goes first too, and so does
            // one that an engine may yet start.
            SeenState::Created => clear(
                look,
                old()
                    .filter(|seen| seen.state.is_alive() || seen.state == SeenState::Created || unsure(seen))
                    .filter(|_| !planted(Bug::StartBeforeStop)),
                true,
            )
            .or_else(|| held_back(look))
            .or_else(|| (!look.network_ready).then_some(Step::EnsureNetwork))
            .unwrap_or_else(|| Step::Start(seen.id.clone())),
            // One that has had a successor was recorded before that was made.
            SeenState::Exited { .. } if !recorded(seen) && seen.number >= look.progress.highest_number => {
                Step::Record(seen.id.clone())
            }
            SeenState::Exited { .. } => build_or_clear(look, wanted),
            SeenState::Removing => Step::Wait(WaitingOn::Removal),
        },
        None => {
            if let Some((alive, _)) = &look.progress.alive
                && look.containers.iter().all(|seen| seen.id != *alive)
            {
                return Step::RecordRemoved(alive.clone());
            }
            build_or_clear(look, wanted)
        }
    }
}

/// The next step towards a new container; where it has to wait, what is dead is cleared. What still runs of an older
/// wish goes on running until the new container is there, also if somebody has frozen it.
fn build_or_clear(look: &Look, wanted: &str) -> Step {
    let stopping = look.progress.stopping.as_ref().map(|(id, _)| id);
    let goes_on = |seen: &&Seen| seen.state == SeenState::Paused && stopping != Some(&seen.id);
    if let Some(frozen) = look.containers.iter().find(goes_on) {
        return Step::Unpause(frozen.id.clone());
    }
    build(look, wanted).unwrap_or_else(|waiting| {
        let dead = look.containers.iter().filter(|seen| !seen.state.is_alive());
        clear(look, dead, false).unwrap_or(Step::Wait(waiting))
    })
}

/// The way from nothing to a created container.
fn build(look: &Look, wanted: &str) -> Result<Step, WaitingOn> {
    let progress = look.progress;
    if let Some(obstacle) = progress.obstacle.as_ref().filter(|obstacle| obstacle.until > look.now) {
        return Err(WaitingOn::Obstacle { until: obstacle.until });
    }
    if let Some(until) = backoff_until(progress).filter(|until| *until > look.now) {
        return Err(WaitingOn::Backoff { until });
    }
    let annotations = &look.task.metadata.annotations;
    let asked = annotations.get(PULL_ANNOTATION);
    let anew = look.task.spec.image_pull_policy == PullPolicy::Always
        || (asked.is_some() && asked == annotations.get(RESTARTED_ANNOTATION));
    if anew && progress.pulled_for.as_deref() != Some(wanted) {
        return Ok(Step::Pull);
    }
    match progress.image {
        Image::Unknown => return Ok(Step::FindImage),
        Image::Missing => return Ok(Step::Pull),
        Image::Present => {}
    }
    if !look.network_ready {
        return Ok(Step::EnsureNetwork);
    }
    let highest = look
        .containers
        .iter()
        .map(|seen| seen.number)
        .max()
        .unwrap_or(0)
        .max(progress.highest_number);
    Ok(Step::Create {
        hash: wanted.to_owned(),
        number: highest + 1,
    })
}

/// When the back-off is over, if there is one.
fn backoff_until(progress: &Progress) -> Option<Timestamp> {
    let delay = backoff(progress.failures);
    progress
        .ended_at
        .filter(|_| delay > SignedDuration::ZERO)
        .map(|ended| ended.saturating_add(delay).unwrap_or(Timestamp::MAX))
}

/// A created container that must not start yet.
fn held_back(look: &Look) -> Option<Step> {
    let obstacle = look
        .progress
        .obstacle
        .as_ref()
        .filter(|obstacle| obstacle.until > look.now)?;
    Some(Step::Wait(WaitingOn::Obstacle { until: obstacle.until }))
}

/// The next step towards having none of `containers`. One is asked to stop after the other: the worker remembers one, and
/// would ask two by turns for ever, each time from the beginning.
fn clear<'a>(look: &Look, containers: impl Iterator<Item = &'a Seen>, urgent: bool) -> Option<Step> {
    let containers: Vec<&Seen> = containers.collect();
    let asked = |seen: &Seen| look.progress.stopping.as_ref().is_some_and(|(id, _)| *id == seen.id);
    let one_is_asked = containers.iter().any(|seen| asked(seen) && seen.state.is_alive());
    let mut waiting = None;
    for seen in containers {
        match seen.state {
            SeenState::Running | SeenState::Paused if one_is_asked && !asked(seen) => {}
            SeenState::Running | SeenState::Paused => match stop(look, seen) {
                Step::Wait(reason) => waiting = waiting.or(Some(Step::Wait(reason))),
                step => return Some(step),
            },
            SeenState::Created | SeenState::Exited { .. } => {
                return Some(Step::Remove {
                    id: seen.id.clone(),
                    urgent,
                });
            }
            SeenState::Removing => waiting = waiting.or(Some(Step::Wait(WaitingOn::Removal))),
        }
    }
    waiting
}

/// Signal, grace, kill.
fn stop(look: &Look, seen: &Seen) -> Step {
    let deletion = look.task.metadata.deletion_grace_period_seconds;
    let deletion = deletion.filter(|_| look.task.metadata.is_deleting());
    if deletion == Some(0) || planted(Bug::GraceIgnored) {
        return Step::Kill(seen.id.clone());
    }
    let Some((_, since)) = look.progress.stopping.as_ref().filter(|(id, _)| *id == seen.id) else {
        // A frozen program cannot obey; it is let go on first.
        return match seen.state {
            SeenState::Paused => Step::Unpause(seen.id.clone()),
            _ => Step::Signal(seen.id.clone()),
        };
    };
    // From the signal on, however late that came: an engine may have been away, a pull in the way.
    let of_probe = look.unhealthy(seen).and_then(|unhealthy| unhealthy.grace);
    let grace = of_probe.unwrap_or(look.task.spec.termination_grace_period_seconds);
    let grace = deletion.unwrap_or(u64::from(grace));
    let grace = SignedDuration::from_secs(i64::try_from(grace).unwrap_or(i64::MAX));
    let until = since.saturating_add(grace).unwrap_or(Timestamp::MAX);
    if look.now >= until {
        Step::Kill(seen.id.clone())
    } else {
        Step::Wait(WaitingOn::Stopping { until })
    }
}

/// The way to nothing.
fn dismantle(look: &Look) -> Step {
    clear(look, look.containers.iter(), true).unwrap_or(Step::Gone)
}

#[cfg(test)]
mod tests;
