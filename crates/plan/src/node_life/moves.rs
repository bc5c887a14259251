//! What becomes of a node's Tasks.
use cube_planted::{Bug, planted};
use std::cmp::Reverse;

use cube_api::{
    condition::{self, Condition, READY, Truth},
    kinds::Kind,
    node::{Taint, TaintEffect},
    task::{Eviction, Task, TaskStatus, TolerationOperator},
};
use jiff::{SignedDuration, Timestamp};

use super::{
    DRAINED, DRAINED_CONDITION, Decision, Look, Lost, Move, NODE_LOST, NOT_READY, SLOWED, STRANDED, TAINTED,
    TOLERATION, UNREACHABLE, data_on_node,
};

/// Decides about every Task of the node, the most important first.
pub(super) fn decide(look: &Look, lost: Option<&Lost>, decision: &mut Decision) {
    let mut order: Vec<usize> = (0..look.tasks.len()).collect();
    order.sort_by_key(|index| {
        let task = look.tasks[*index];
        (
            Reverse(task.spec.priority),
            task.metadata.creation_timestamp,
            &task.metadata.uid,
        )
    });
    let drain = look.node.and_then(|node| node.spec.drain.as_ref());
    let mut leaving = look.tasks.iter().filter(|task| is_leaving(task)).count();
    let mut stays: Vec<String> = Vec::new();
    let mut to_go = 0;
    let mut allowance = look.allowance;
    for index in order {
        let task = look.tasks[index];
        if task.status.phase.is_over() && !task.metadata.is_deleting() {
            continue;
        }
        if let Some(lost) = lost {
            let before = decision.moves.len();
            of_lost_node(look, lost, index, decision);
            let takes = matches!(decision.moves.get(before), Some(Move::Release { .. }));
            if takes && allowance == 0 {
                decision.moves.truncate(before);
                decision.held_back += 1;
                decision.wake_after(SLOWED);
            } else if takes {
                allowance -= 1;
            }
            continue;
        }
        if task.metadata.is_deleting() {
            continue;
        }
        let taint = untolerated(look, task, decision);
        let wanted = match (taint, drain) {
            (Some(taint), _) => Some((
                TAINTED,
                format!("node {} has taint {taint}, which it does not tolerate", look.name),
            )),
            (None, Some(_)) => Some((DRAINED, format!("node {} is being drained", look.name))),
            (None, None) => None,
        };
        let Some((reason, message)) = wanted else {
            let unasked = |eviction: &Eviction| {
                eviction.after_replacement && [TAINTED, DRAINED].contains(&eviction.reason.as_str())
            };
            if task.status.eviction.as_ref().is_some_and(unasked) {
                decision.moves.push(Move::Keep(index));
            }
            continue;
        };
        if let Some(data) = data_on_node(task) {
            stays.push(format!("{} keeps its data there ({data})", shown(task)));
            continue;
        }
        to_go += 1;
        if task.status.eviction.is_some() {
            continue;
        }
        if reason == DRAINED {
            let parallel = drain.map_or(1, |drain| drain.max_parallel.max(1) as usize);
            if leaving >= parallel {
                continue;
            }
            leaving += 1;
        }
        let eviction = Eviction {
            reason: reason.to_owned(),
            message,
            after_replacement: is_replaced(task),
        };
        decision.moves.push(Move::Evict(index, eviction));
    }
    match drain {
        Some(_) if lost.is_none() => decision.conditions.extend(drained(look, to_go, &stays)),
        Some(_) => {}
        None => decision.without = Some(DRAINED_CONDITION),
    }
}

/// Whether the Task is on its way off the node already.
fn is_leaving(task: &Task) -> bool {
    task.status.eviction.is_some() && !task.metadata.is_deleting()
}

/// Whether somebody makes another Task in its place.
fn is_replaced(task: &Task) -> bool {
    let controller = task.metadata.controller();
    controller.is_some_and(|owner| owner.kind == Kind::Deployment.info().kind)
}

/// `default/web-1-abcde`.
fn shown(task: &Task) -> String {
    format!("{}/{}", task.metadata.namespace(), task.metadata.name)
}

/// How a drain goes on.
fn drained(look: &Look, to_go: usize, stays: &[String]) -> Option<Condition> {
    let left = match stays {
        [] => String::new(),
        [one] => format!("{one} and stays"),
        [first, rest @ ..] => format!("{first} and stays, as do {} more", rest.len()),
    };
    let (status, reason, message) = match to_go {
        0 => (Truth::True, "Drained", left),
        n => {
            let on_their_way = format!("{n} {} to leave", if n == 1 { "Task is" } else { "Tasks are" });
            let left = if left.is_empty() { left } else { format!("; {left}") };
            (Truth::False, "Draining", format!("{on_their_way}{left}"))
        }
    };
    let new = Condition {
        kind: DRAINED_CONDITION.to_owned(),
        status,
        reason: reason.to_owned(),
        message,
        ..Condition::default()
    };
    let before = look
        .node
        .and_then(|node| condition::find(&node.status.conditions, DRAINED_CONDITION));
    let same = |old: &Condition| (old.status, &old.reason, &old.message) == (new.status, &new.reason, &new.message);
    (!before.is_some_and(same)).then_some(new)
}

/// A Task of a node that is lost: taken from it once its time is over, and until then told that nobody knows.
fn of_lost_node(look: &Look, lost: &Lost, index: usize, decision: &mut Decision) {
    let task = look.tasks[index];
    let key = if lost.heard { NOT_READY } else { UNREACHABLE };
    let due = match tolerated(task, key, "") {
        // Whoever deleted the Node does not wait for it.
        _ if look.node.is_none() => Some(lost.since),
        Tolerated::For(time) => lost.since.saturating_add(time).ok(),
        Tolerated::ForEver => None,
        Tolerated::Unsaid => lost.since.saturating_add(TOLERATION).ok(),
    };
    let due = due.filter(|_| !planted(Bug::LostNeverMoved));
    let is_due = due.is_some_and(|due| due <= look.now) || planted(Bug::LostAtOnce);
    if let Some(due) = due.filter(|_| !is_due) {
        decision.wake_after(due.duration_since(look.now));
    }
    if is_due && task.metadata.is_deleting() {
        // Its container may run on until the node returns, which then stops it.
        let (reason, message) = (NODE_LOST.to_owned(), lost.message.clone());
        return decision.moves.push(Move::Release {
            task: index,
            reason,
            message,
        });
    }
    let data = data_on_node(task).filter(|_| look.node.is_some());
    match data {
        Some(data) if is_due => {
            let name = look.name;
            let message = format!(
                "{}; {data} is there: bring the node back, or give its data up with `cube node delete {name}`, and the \
                 Task starts empty elsewhere",
                lost.message
            );
            doubt(look, index, STRANDED, message, decision);
        }
        None if is_due => decision.moves.push(Move::Release {
            task: index,
            reason: NODE_LOST.to_owned(),
            message: lost.message.clone(),
        }),
        // Its worker can still say what it knows.
        _ if lost.heard => {}
        _ => doubt(look, index, NODE_LOST, lost.message.clone(), decision),
    }
}

/// What is said of a Task of which nobody knows more.
fn doubt(look: &Look, index: usize, reason: &str, message: String, decision: &mut Decision) {
    let task = look.tasks[index];
    if task.metadata.is_deleting() {
        return;
    }
    let mut status = TaskStatus {
        reason: reason.to_owned(),
        message: message.clone(),
        ..task.status.clone()
    };
    let condition = Condition {
        kind: READY.to_owned(),
        status: Truth::Unknown,
        reason: reason.to_owned(),
        message,
        last_transition_time: None,
        observed_generation: task.status.observed_generation,
    };
    condition::set(&mut status.conditions, condition, look.now);
    if status != task.status {
        decision.moves.push(Move::Tell(index, Box::new(status)));
    }
}

/// How long a Task puts up with a taint.
enum Tolerated {
    ForEver,
    For(SignedDuration),
    /// It says nothing of it.
    Unsaid,
}

/// How long a Task puts up with a NoExecute taint; the longest of what it says.
fn tolerated(task: &Task, key: &str, value: &str) -> Tolerated {
    let fits = task.spec.tolerations.iter().filter(|toleration| {
        (toleration.key.is_empty() || toleration.key == key)
            && (toleration.operator == TolerationOperator::Exists || toleration.value == value)
            && toleration.effect.is_none_or(|effect| effect == TaintEffect::NoExecute)
    });
    let times: Vec<Option<u64>> = fits.map(|toleration| toleration.toleration_seconds).collect();
    match times.iter().max_by_key(|time| time.unwrap_or(u64::MAX)) {
        None => Tolerated::Unsaid,
        Some(None) => Tolerated::ForEver,
        Some(Some(seconds)) => Tolerated::For(SignedDuration::from_secs(i64::try_from(*seconds).unwrap_or(i64::MAX))),
    }
}

/// The first taint of the node that the Task puts up with no longer.
fn untolerated(look: &Look, task: &Task, decision: &mut Decision) -> Option<String> {
    let node = look.node?;
    let strict = node
        .spec
        .taints
        .iter()
        .filter(|taint| taint.effect == TaintEffect::NoExecute);
    for taint in strict {
        let until = match tolerated(task, &taint.key, &taint.value) {
            Tolerated::ForEver => continue,
            Tolerated::Unsaid => look.now,
            Tolerated::For(time) => since(look, taint).saturating_add(time).unwrap_or(Timestamp::MAX),
        };
        if until <= look.now {
            return Some(match taint.value.as_str() {
                "" => format!("{}:NoExecute", taint.key),
                value => format!("{}={value}:NoExecute", taint.key),
            });
        }
        decision.wake_after(until.duration_since(look.now));
    }
    None
}

fn since(look: &Look, taint: &Taint) -> Timestamp {
    let name = (taint.key.clone(), taint.value.clone());
    look.tainted_since.get(&name).copied().unwrap_or(look.now)
}
