//! What is said of a Deployment: counts, conditions, and what people are told.
use cube_api::{
    condition::{self, AVAILABLE, Condition, PROGRESSING, READY, Truth},
    deployment::DeploymentStatus,
    task::Task,
};

use super::{
    Look, Told, WaitingOn, Way, Why,
    revision::Current,
    roll::{Plan, Tasks, is_available, is_ready},
    task,
};

const COMPLETE: &str = "Complete";
const ROLLING: &str = "Rolling";
const SCALING: &str = "Scaling";
/// Tasks are to leave their nodes, and others take their place.
const MOVING: &str = "Moving";

struct Counts {
    live: u32,
    updated: u32,
    ready: u32,
    available: u32,
    available_updated: u32,
}

/// The status of a Deployment that is being deleted: only counted.
pub(super) fn going(look: &Look, tasks: &Tasks) -> DeploymentStatus {
    let live = &tasks.old;
    let available = count(live, |task| is_available(look, task));
    let updated = live
        .iter()
        .filter(|task| task::number(task) == Some(look.deployment.status.revision));
    let counts = Counts {
        live: live.len() as u32,
        updated: updated.count() as u32,
        ready: count(live, is_ready),
        available,
        available_updated: available,
    };
    base(look, look.deployment.status.revision, &counts)
}

/// The status once the plan is carried out.
pub(super) fn after(look: &Look, tasks: &Tasks, current: &Current, plan: &Plan) -> DeploymentStatus {
    let gone = |why: Why| plan.delete.iter().filter(move |(_, given)| *given == why);
    let new_gone = gone(Why::TooMany).count() as u32;
    let old_left = (tasks.old.len() - gone(Why::OldRevision).count()) as u32;
    let live_new = tasks.new.len() as u32 - new_gone + plan.create;
    let held = plan.held.len() as u32;
    // Of the new ones and of the old ones, those that are left.
    let left = |holds: &dyn Fn(&Task) -> bool| {
        let gone = |why: Why| gone(why).filter(|(task, _)| holds(task)).count() as u32;
        let of = |tasks: &[&Task], why: Why| count(tasks, holds) - gone(why);
        (of(&tasks.new, Why::TooMany), of(&tasks.old, Why::OldRevision))
    };
    let (ready, available) = (left(&is_ready), left(&|task| is_available(look, task)));
    let counts = Counts {
        live: live_new + old_left,
        updated: live_new - held,
        ready: ready.0 + ready.1,
        available: available.0 + available.1,
        available_updated: available.0 - held,
    };
    let mut status = base(look, current.number(), &counts);
    let old = &look.deployment.status.conditions;
    let wished = look.deployment.spec.replicas;
    let complete = counts.available_updated >= wished && counts.live == wished && counts.updated == wished;
    let was_rolling = condition::find(old, PROGRESSING).is_some_and(|condition| condition.reason == ROLLING);
    // Who only moves to another node is of no older revision.
    let older = |task: &Task| !current.is_of(task::number(task));
    let older_left = count(&tasks.old, older) - gone(Why::OldRevision).filter(|(task, _)| older(task)).count() as u32;
    let rolling = !complete && (older_left > 0 || held > 0 || was_rolling || (current.moved && wished > 0));

    let least = wished.saturating_sub(Way::of(look.deployment).bounds(wished).unavailable);
    let available = counts.available >= least;
    let share = format!("{}/{wished} {}", counts.available, word(look));
    set(
        look,
        &mut status,
        AVAILABLE,
        available,
        if available {
            "EnoughAvailable"
        } else {
            "TooFewAvailable"
        },
        format!("{share}, at least {least} wanted"),
    );
    let (reason, message) = if complete {
        (COMPLETE, format!("revision {}: {share}", current.number()))
    } else if rolling {
        let to = format!("rolling to revision {}: {}", current.number(), plan.way);
        let state = format!(
            "{} of {wished} are of it, {} {}",
            counts.updated,
            counts.available_updated,
            word(look)
        );
        (ROLLING, format!("{to}; {state}{}", waits(plan.waiting)))
    } else if old_left > 0 {
        let moving = format!("{old_left} to move to another node");
        (MOVING, format!("{share}, {moving}{}", waits(plan.waiting)))
    } else {
        (SCALING, format!("{share}{}", waits(plan.waiting)))
    };
    set(look, &mut status, PROGRESSING, true, reason, message.clone());
    set(look, &mut status, READY, complete, reason, message);
    status
}

fn waits(on: WaitingOn) -> String {
    match on {
        WaitingOn::Gone(n) => format!("; {n} old ones have to be gone first"),
        WaitingOn::Ready(_) | WaitingOn::Nothing | WaitingOn::NextLook | WaitingOn::Deletion => String::new(),
    }
}

fn count(tasks: &[&Task], holds: impl Fn(&Task) -> bool) -> u32 {
    tasks.iter().filter(|task| holds(task)).count() as u32
}

/// What is counted: where a Task has to be ready for a while, that is more than to be ready.
fn word(look: &Look) -> &'static str {
    match look.deployment.spec.min_ready_seconds {
        0 => "ready",
        _ => "available",
    }
}

fn base(look: &Look, revision: u64, counts: &Counts) -> DeploymentStatus {
    let deployment = look.deployment;
    DeploymentStatus {
        replicas: counts.live,
        updated_replicas: counts.updated,
        ready_replicas: counts.ready,
        available_replicas: counts.available,
        unavailable_replicas: deployment.spec.replicas.saturating_sub(counts.available),
        revision,
        selector: deployment.selector(),
        conditions: deployment.status.conditions.clone(),
        observed_generation: deployment.metadata.generation,
    }
}

fn set(look: &Look, status: &mut DeploymentStatus, kind: &str, holds: bool, reason: &str, message: String) {
    let condition = Condition {
        kind: kind.to_owned(),
        status: Truth::of(holds),
        reason: reason.to_owned(),
        message,
        last_transition_time: None,
        observed_generation: look.deployment.metadata.generation,
    };
    condition::set(&mut status.conditions, condition, look.now);
}

/// What people are told when the plan is carried out.
pub(super) fn told(look: &Look, current: &Current, plan: &Plan, status: &DeploymentStatus) -> Vec<Told> {
    let before = &look.deployment.status;
    let mut told = Vec::new();
    let reason = |conditions: &[Condition]| {
        let progressing = condition::find(conditions, PROGRESSING);
        progressing.map_or_else(String::new, |condition| condition.reason.clone())
    };
    let (was, is) = (reason(&before.conditions), reason(&status.conditions));
    // There are others for a while without anybody having wished for more or fewer.
    let passing = |reason: &str| [ROLLING, MOVING].contains(&reason);
    if current.moved && (is == ROLLING || before.replicas > 0) {
        told.push(Told::Rolling {
            revision: current.number(),
            again: current.before.is_some(),
            way: plan.way,
        });
    } else if before.replicas != status.replicas && !passing(&is) && !passing(&was) {
        told.push(Told::Scaled {
            from: before.replicas,
            to: status.replicas,
        });
    } else if plan.create > 0 && !passing(&is) && before.observed_generation == look.deployment.metadata.generation {
        told.push(Told::Replaced(plan.create));
    }
    if was == ROLLING && is == COMPLETE {
        told.push(Told::Rolled {
            revision: current.number(),
            ready: status.ready_replicas,
        });
    }
    told
}
