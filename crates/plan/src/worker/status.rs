//! What a worker reports of a Task.
use cube_api::condition::{self, Condition, READY, Truth};
use cube_api::task::{Phase, Task, TaskStatus};
use jiff::{SignedDuration, Timestamp};

use super::{Asked, Look, Seen, Step, WaitingOn, ends};
use crate::probe;

/// Reason of `Ready`: the probes have not been answered often enough yet.
const PROBE_PENDING: &str = "ProbePending";
/// Reason of `Ready`: a probe fails.
const PROBE_FAILING: &str = "ProbeFailing";

/// The status of the Task as it is now, `step` being what is next or under way. `node`, `epoch` and old transition times are taken from the Task's own.
pub fn status(look: &Look, step: &Step) -> TaskStatus {
    let progress = look.progress;
    let wanted = look.wanted;
    let alive = look
        .containers
        .iter()
        .filter(|seen| seen.state.is_alive())
        .max_by_key(|seen| (seen.hash == wanted, seen.number));
    let old = &look.task.status;
    let over = progress.over.as_ref().filter(|over| over.hash == wanted);
    let unready = alive.and_then(|seen| unready(look, seen));
    let (phase, reason, message) = match (over, alive) {
        (Some(over), _) => {
            let last = progress.last_termination.as_ref();
            (
                over.phase,
                last.map_or_else(String::new, |last| last.reason.clone()),
                last.map_or_else(String::new, |last| last.message.clone()),
            )
        }
        (None, Some(_)) if look.task.metadata.is_deleting() => (Phase::Running, "Stopping".to_owned(), String::new()),
        (None, Some(_)) if old.leaves_now() => (Phase::Running, "Stopping".to_owned(), leaving(look)),
        (None, Some(_)) => {
            let message = unready.as_ref().map(|(_, message)| message.clone());
            (Phase::Running, "Running".to_owned(), message.unwrap_or_default())
        }
        (None, None) => {
            let (reason, message) = waiting(look, step);
            (Phase::Scheduled, reason, message)
        }
    };
    let shown = alive.or_else(|| over.and_then(|_| look.containers.iter().max_by_key(|seen| seen.number)));
    let ready = phase == Phase::Running && !look.task.metadata.is_deleting() && !old.leaves_now() && unready.is_none();
    let mut conditions = old.conditions.clone();
    let condition = Condition {
        kind: READY.to_owned(),
        status: Truth::of(ready),
        reason: match &unready {
            Some((why, _)) if phase == Phase::Running && reason == "Running" => (*why).to_owned(),
            _ if reason.is_empty() => format!("{phase:?}"),
            _ => reason.clone(),
        },
        message: message.clone(),
        last_transition_time: None,
        observed_generation: look.task.metadata.generation,
    };
    condition::set(&mut conditions, condition, look.now);
    // What ran for ten minutes is forgiven; the number is shown as it will count.
    TaskStatus {
        phase,
        node: old.node.clone(),
        nominated_node: None,
        epoch: old.epoch,
        container_id: shown.map(|seen| seen.id.clone()),
        hash: over
            .map(|over| over.hash.clone())
            .or_else(|| alive.map(|seen| seen.hash.clone()))
            .unwrap_or_default(),
        image_id: shown.map(|seen| seen.image_id.clone()).or_else(|| old.image_id.clone()),
        addresses: alive.map(|seen| seen.addresses.clone()).unwrap_or_default(),
        ports: alive.map(|seen| seen.ports.clone()).unwrap_or_default(),
        restarts: progress.restarts,
        failures: progress.failures,
        started_at: shown.and_then(|seen| seen.started_at),
        finished_at: over.map(|over| over.at),
        exit_code: over.and_then(|over| over.exit_code),
        reason,
        message,
        last_termination: progress.last_termination.clone(),
        probes: alive
            .and_then(|seen| look.health(seen))
            .map(|health| health.probes.clone())
            .unwrap_or_default(),
        eviction: old.eviction.clone(),
        conditions,
        observed_generation: look.task.metadata.generation,
    }
}

/// The status of a Task that ran when its engine was last heard: what was seen stays, but nobody can say that it works. None
/// where nothing was claimed.
pub fn in_doubt(status: &TaskStatus, reason: &str, message: &str, now: Timestamp) -> Option<TaskStatus> {
    if status.phase != Phase::Running || !condition::is_true(&status.conditions, READY) {
        return None;
    }
    let mut status = TaskStatus {
        reason: reason.to_owned(),
        message: message.to_owned(),
        ..status.clone()
    };
    let condition = Condition {
        kind: READY.to_owned(),
        status: Truth::Unknown,
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: None,
        observed_generation: status.observed_generation,
    };
    condition::set(&mut status.conditions, condition, now);
    Some(status)
}

/// Why a container that runs is not ready, in one word and for people; none where it is.
fn unready(look: &Look, seen: &Seen) -> Option<(&'static str, String)> {
    if let Some(unhealthy) = look.unhealthy(seen) {
        return Some((
            ends::UNHEALTHY,
            format!("{}; stopping it to start it again", unhealthy.message),
        ));
    }
    match look.asked {
        Asked::ByNobody => None,
        // What was said of it before holds until it is known who asks.
        Asked::Unknown => {
            let old = &look.task.status;
            let ready = old.container_id.as_ref() == Some(&seen.id) && condition::is_true(&old.conditions, READY);
            (!ready).then(|| (PROBE_PENDING, "looking whether its image has a HEALTHCHECK".to_owned()))
        }
        Asked::ByProbes => {
            let known = look.health(seen).filter(|health| !health.probes.is_empty());
            let Some(health) = known else {
                return Some((PROBE_PENDING, "waiting for its probes".to_owned()));
            };
            let (failing, message) = probe::waits_for(&health.probes)?;
            Some((if failing { PROBE_FAILING } else { PROBE_PENDING }, message))
        }
    }
}

/// The status of a Task that is being deleted, once nothing of it is left on its node.
pub fn gone(task: &Task, now: Timestamp) -> TaskStatus {
    let mut status = task.status.clone();
    if !status.phase.is_over() {
        status.phase = Phase::Scheduled;
        "Stopped".clone_into(&mut status.reason);
        status.message = "its container is gone; the Task goes with its last finalizer".to_owned();
    }
    status.container_id = None;
    status.addresses.clear();
    status.ports.clear();
    status.probes.clear();
    let condition = Condition {
        kind: READY.to_owned(),
        status: Truth::False,
        reason: status.reason.clone(),
        message: status.message.clone(),
        last_transition_time: None,
        observed_generation: task.metadata.generation,
    };
    condition::set(&mut status.conditions, condition, now);
    status.observed_generation = task.metadata.generation;
    status
}

/// Why the Task leaves the node.
fn leaving(look: &Look) -> String {
    let eviction = look.task.status.eviction.as_ref();
    eviction.map_or_else(String::new, |eviction| eviction.message.clone())
}

/// Why nothing runs, in one word and for people.
fn waiting(look: &Look, step: &Step) -> (String, String) {
    let progress = look.progress;
    if look.task.metadata.is_deleting() {
        return ("Stopping".to_owned(), String::new());
    }
    if look.task.status.leaves_now() {
        return ("Stopping".to_owned(), leaving(look));
    }
    if let Some(obstacle) = &progress.obstacle {
        return (obstacle.reason.clone(), obstacle.message.clone());
    }
    let backing_off = ends::backoff(progress.failures) > SignedDuration::ZERO;
    match step {
        Step::Wait(WaitingOn::Backoff { .. }) => ("BackOff".to_owned(), last_end(look)),
        Step::Pull => ("Pulling".to_owned(), pulling(look)),
        Step::Start(_) => ("Starting".to_owned(), String::new()),
        Step::Remove { .. } | Step::Record(_) | Step::RecordRemoved(_) if backing_off => {
            ("BackOff".to_owned(), last_end(look))
        }
        _ => ("Creating".to_owned(), String::new()),
    }
}

/// `pulling nginx:1.27`, and how much of it is here.
fn pulling(look: &Look) -> String {
    let image = &look.task.spec.image;
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    match look.progress.pulled_bytes {
        Some((done, total)) if total > 0 => {
            format!("pulling {image}: {:.1} of {:.1} MiB", mebibytes(done), mebibytes(total))
        }
        _ => format!("pulling {image}"),
    }
}

/// `exit 127: sh: foo: not found`: the code and the last line.
fn last_end(look: &Look) -> String {
    let Some(last) = &look.progress.last_termination else {
        return String::new();
    };
    if last.reason == ends::UNHEALTHY {
        return last.message.clone();
    }
    let code = last
        .exit_code
        .map_or_else(|| last.reason.clone(), |code| format!("exit {code}"));
    let evidence = last
        .log
        .last()
        .cloned()
        .or_else(|| Some(last.message.clone()).filter(|message| !message.is_empty()));
    match evidence {
        Some(line) => format!("{code}: {line}"),
        None => code,
    }
}
