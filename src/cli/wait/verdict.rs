//! What has come of an object, as a function of what the server says of it. Read [`judge_task`] first.
use std::collections::BTreeMap;

use cube_api::{
    condition::{self, SCHEDULED, Truth},
    deployment::Deployment,
    meta::REVISION_LABEL,
    task::{Phase, RestartPolicy, Task, Termination},
};
use cube_plan::{
    scheduler::UNSCHEDULABLE,
    worker::{IMAGE_NEVER_PULLED, IMAGE_NOT_FOUND},
};

/// So many crashes in a row are no accident.
const CRASHES: u64 = 3;

/// What has come of an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It runs; or, for what runs once, it is completed.
    Done(String),
    /// It is on its way.
    UnderWay(String),
    /// No node will have it.
    Unplaced(String),
    /// It has failed, with evidence.
    Failed {
        /// What happened.
        message: String,
        /// Its last lines.
        evidence: Vec<String>,
    },
}

/// What has come of a Task. `before` are the failures that it had before this was wished of it.
pub fn judge_task(task: &Task, before: u64) -> Verdict {
    let status = &task.status;
    let why = why(task);
    if task.metadata.is_deleting() {
        return Verdict::Failed {
            message: "is being deleted".to_owned(),
            evidence: Vec::new(),
        };
    }
    if status.observed_generation < task.metadata.generation && status.phase != Phase::Pending {
        // What is said is of what was wished before.
        return Verdict::UnderWay("waiting for its node".to_owned());
    }
    // A count below that of before was begun anew.
    let crashes = status.failures.checked_sub(before).unwrap_or(status.failures);
    let once = task.spec.restart_policy != RestartPolicy::Always;
    match status.phase {
        Phase::Failed => failed(status.last_termination.as_ref(), status.exit_code, 1),
        _ if crashes >= CRASHES => failed(status.last_termination.as_ref(), None, crashes),
        Phase::Pending if fits_nowhere(task) => Verdict::Unplaced(match &status.message[..] {
            "" => "no node has room for it".to_owned(),
            message => message.to_owned(),
        }),
        Phase::Scheduled if [IMAGE_NOT_FOUND, IMAGE_NEVER_PULLED].contains(&status.reason.as_str()) => {
            Verdict::Failed {
                message: format!("cannot have its image: {}", status.message),
                evidence: Vec::new(),
            }
        }
        Phase::Completed => Verdict::Done("completed".to_owned()),
        Phase::Running if once => Verdict::UnderWay("running".to_owned()),
        Phase::Running if !is_current(task) => Verdict::UnderWay("replacing its container".to_owned()),
        Phase::Running if condition::is_true(&status.conditions, condition::READY) => {
            Verdict::Done("running".to_owned())
        }
        _ => Verdict::UnderWay(why),
    }
}

/// Whether it is plain that no node will have it, as things are and as they are about to be.
fn fits_nowhere(task: &Task) -> bool {
    let status = &task.status;
    status.observed_generation == task.metadata.generation
        && condition::find(&status.conditions, SCHEDULED)
            .is_some_and(|scheduled| scheduled.status == Truth::False && scheduled.reason == UNSCHEDULABLE)
}

/// Whether the container that runs is the one that is wished for.
fn is_current(task: &Task) -> bool {
    let wanted = cube_plan::worker::wanted_hash(task);
    // A server of another release may hash otherwise; without a hash nothing is known against it.
    task.status.hash.is_empty() || task.status.hash == wanted || task.status.hash.len() != wanted.len()
}

fn why(task: &Task) -> String {
    let status = &task.status;
    match (&status.reason[..], &status.message[..]) {
        ("", "") => format!("{:?}", status.phase).to_lowercase(),
        (reason, "") => reason.to_owned(),
        ("", message) => message.to_owned(),
        (reason, message) => format!("{reason}: {message}"),
    }
}

fn failed(last: Option<&Termination>, code: Option<i64>, times: u64) -> Verdict {
    let code = code.or(last.and_then(|last| last.exit_code));
    let reason = last.map(|last| last.reason.as_str()).unwrap_or_default();
    let mut message = match (code, reason) {
        (Some(code), "" | "Error" | "Completed") => format!("exited with code {code}"),
        (Some(code), reason) => format!("exited with code {code} ({reason})"),
        (None, "") => "failed".to_owned(),
        (None, reason) => format!("ended: {reason}"),
    };
    if times > 1 {
        message.push_str(&format!(", {times} times"));
    }
    let mut evidence = last.map(|last| last.log.clone()).unwrap_or_default();
    if let Some(more) = last.map(|last| &last.message).filter(|message| !message.is_empty()) {
        message.push_str(&format!(": {more}"));
    }
    if evidence.iter().any(|line| !line.trim().is_empty()) {
        message.push_str("; its last lines:");
    } else {
        evidence.clear();
    }
    Verdict::Failed { message, evidence }
}

/// What has come of a Deployment, from what it says and what its Tasks say.
pub fn judge_deployment(deployment: &Deployment, tasks: &[&Task]) -> Verdict {
    let (wanted, status) = (deployment.spec.replicas, &deployment.status);
    if deployment.metadata.is_deleting() {
        return Verdict::Failed {
            message: "is being deleted".to_owned(),
            evidence: Vec::new(),
        };
    }
    if status.observed_generation < deployment.metadata.generation {
        return Verdict::UnderWay("waiting to be looked at".to_owned());
    }
    let revision = status.revision.to_string();
    let newest = tasks
        .iter()
        .filter(|task| task.metadata.labels.get(REVISION_LABEL) == Some(&revision) && !task.metadata.is_deleting());
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    let mut unplaced = None;
    for task in newest {
        let name = &task.metadata.name;
        match judge_task(task, 0) {
            Verdict::Failed { message, evidence } => {
                return Verdict::Failed {
                    message: format!("revision {revision} failed: {name} {message}"),
                    evidence,
                };
            }
            Verdict::Unplaced(why) => unplaced = Some(format!("{name}: {why}")),
            Verdict::UnderWay(_) => {
                let reason = task.status.reason.as_str();
                *reasons
                    .entry(if reason.is_empty() { "waiting" } else { reason })
                    .or_default() += 1;
            }
            Verdict::Done(_) => {}
        }
    }
    let mut ready = format!("revision {revision}   ready {}/{wanted}", status.ready_replicas);
    if deployment.spec.min_ready_seconds > 0 {
        ready.push_str(&format!("   available {}/{wanted}", status.available_replicas));
    }
    if status.updated_replicas == wanted && status.available_replicas == wanted && status.replicas == wanted {
        return Verdict::Done(ready);
    }
    if let Some(why) = unplaced {
        return Verdict::Unplaced(why);
    }
    let more = reasons
        .iter()
        .map(|(reason, count)| format!("   {count} {}", reason.to_lowercase()));
    Verdict::UnderWay(ready + &more.collect::<String>())
}

#[cfg(test)]
mod tests;
