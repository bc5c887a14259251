//! Which Tasks go and how many come, within the bounds of the strategy.
use cube_planted::{Bug, planted};
use std::{cmp::Reverse, collections::BTreeSet};

use cube_api::{
    condition::{self, READY, is_true},
    task::{Phase, Task},
};
use jiff::{SignedDuration, Timestamp};

use crate::probe;

use super::{
    Action, BATCH, Look, WaitingOn, Way, Why, is_own,
    revision::Current,
    task::{self, asks_the_same, number},
};

/// The Deployment's Tasks, by what they are to it.
#[derive(Default)]
pub(super) struct Tasks<'a> {
    /// Of the current revision, neither over nor being deleted.
    pub new: Vec<&'a Task>,
    /// The same of other revisions, or to leave their node once another one is in their place.
    pub old: Vec<&'a Task>,
    /// Over, not being deleted.
    pub over: Vec<&'a Task>,
    /// Being deleted.
    pub leaving: Vec<&'a Task>,
}

/// So many failures in a row are no accident: what comes of such a Task is not waited for.
const FAILING: u64 = 3;

/// Whether the Task is to leave its node once another one is in its place.
fn is_replaced(task: &Task) -> bool {
    let eviction = task.status.eviction.as_ref();
    eviction.is_some_and(|eviction| eviction.after_replacement)
}

/// Whether the Task does its work.
pub(super) fn is_ready(task: &Task) -> bool {
    task.status.phase == Phase::Running && is_true(&task.status.conditions, READY)
}

/// From when on the Task counts as available, as far as can be told; none while it is not ready.
pub(super) fn available_from(look: &Look, task: &Task) -> Option<Timestamp> {
    if !is_ready(task) {
        return None;
    }
    let wanted = look.deployment.spec.min_ready_seconds;
    if wanted == 0 {
        return Some(Timestamp::MIN);
    }
    let since = condition::find(&task.status.conditions, READY)?.last_transition_time?;
    // Times are stored in whole seconds: it may have become ready almost a second later than it says.
    let wait = SignedDuration::from_secs(i64::from(wanted) + 1);
    Some(since.saturating_add(wait).unwrap_or(Timestamp::MAX))
}

/// Whether the Task has been ready for long enough.
pub(super) fn is_available(look: &Look, task: &Task) -> bool {
    available_from(look, task).is_some_and(|from| from <= look.now)
}

/// When the next Task that is ready has been so for long enough.
pub(super) fn next_available(look: &Look, tasks: &Tasks) -> Option<Timestamp> {
    let all = tasks.new.iter().chain(&tasks.old);
    all.filter_map(|task| available_from(look, task))
        .filter(|from| *from > look.now)
        .min()
}

/// Takes the Tasks that are the Deployment's own or may become so; all that live as old ones.
pub(super) fn sort<'a>(look: &Look<'a>) -> Tasks<'a> {
    let mut tasks = Tasks::default();
    for task in look.tasks.iter().copied().filter(|task| is_meant(look, task)) {
        if task.metadata.is_deleting() {
            tasks.leaving.push(task);
        } else if task.status.phase.is_over() {
            tasks.over.push(task);
        } else {
            tasks.old.push(task);
        }
    }
    tasks
}

/// Its own, or one that nobody owns and that was made from one of its revisions: others' Tasks are never taken, even
/// if their labels fit.
fn is_meant(look: &Look, task: &Task) -> bool {
    if is_own(look.deployment, &task.metadata) {
        return true;
    }
    let selector = &look.deployment.spec.selector;
    task.metadata.controller().is_none()
        && !task.metadata.is_deleting()
        && !look.deployment.metadata.is_deleting()
        && selector.matches(&task.metadata.labels)
        && look
            .revisions
            .iter()
            .any(|revision| number(task) == Some(revision.spec.revision) && revision.spec.hash == task::hash_of(task))
}

impl<'a> Tasks<'a> {
    /// Tells those of the current revision from the old ones.
    pub fn divide(&mut self, current: &Current) {
        let is_new = |task: &&Task| current.is_of(number(task)) && !is_replaced(task);
        let (new, old) = std::mem::take(&mut self.old).into_iter().partition(is_new);
        self.new = new;
        self.old = old;
    }

    /// Numbers of the revisions that Tasks are of.
    pub fn numbers_in_use(&self) -> BTreeSet<u64> {
        let all = self.new.iter().chain(&self.old).chain(&self.leaving);
        all.filter_map(|task| number(task)).collect()
    }
}

/// What becomes of the Tasks.
pub(super) struct Plan<'a> {
    /// These go.
    pub delete: Vec<(&'a Task, Why)>,
    /// So many come.
    pub create: u32,
    /// These are asked as before whether they do their work: others are asked the new question first.
    pub held: BTreeSet<&'a str>,
    /// How a change of the template is carried out.
    pub way: Way,
    /// What more waits for.
    pub waiting: WaitingOn,
}

pub(super) fn plan<'a>(look: &Look, tasks: &Tasks<'a>, current: &Current) -> Plan<'a> {
    let wished = look.deployment.spec.replicas as usize;
    let way = Way::of(look.deployment);
    let mut bounds = way.bounds(look.deployment.spec.replicas);
    if planted(Bug::SurgeUnheeded) {
        bounds.surge = look.deployment.spec.replicas;
    }
    if planted(Bug::UnavailableUnheeded) {
        bounds.unavailable = look.deployment.spec.replicas;
    }
    let least = wished.saturating_sub(bounds.unavailable as usize);
    let available_new = tasks.new.iter().filter(|task| is_available(look, task)).count();
    let available_old = tasks.old.iter().filter(|task| is_available(look, task)).count();

    let mut delete: Vec<(&Task, Why)> = tasks.over.iter().map(|task| (*task, Why::Over)).collect();
    // The least useful first, of the new ones.
    let mut new = tasks.new.clone();
    new.sort_by_cached_key(|task| usefulness(task));
    let excess = new.len().saturating_sub(wished);
    let kept_available = new[excess..].iter().filter(|task| is_available(look, task)).count();
    delete.extend(new[..excess].iter().map(|task| (*task, Why::TooMany)));
    // Old ones that do no work go as soon as enough could be available without them, those that do as enough are.
    let mut old = tasks.old.clone();
    old.sort_by_cached_key(|task| (is_available(look, task), number(task), usefulness(task)));
    let idle = old.len() - available_old;
    let idle_may_go = idle.min((old.len() + kept_available).saturating_sub(least));
    let available_may_go = available_old.min((available_old + kept_available).saturating_sub(least));
    let available_may_go = match bounds.surge {
        0 => available_may_go,
        _ => available_may_go.min(available_old.saturating_sub(still_needed(look, tasks, current, &new[excess..]))),
    };
    let old_may_go = if idle_may_go < idle {
        idle_may_go
    } else {
        idle + available_may_go
    };
    delete.extend(old[..old_may_go].iter().map(|task| (*task, Why::OldRevision)));
    // Fewer are wished than when these were made: those that do no work yet give way to old ones that do.
    let most = wished + bounds.surge as usize;
    let overflow = (new.len() - excess + old.len() - old_may_go).saturating_sub(most);
    let idle_new = new[excess..].iter().filter(|task| !is_available(look, task));
    delete.extend(idle_new.take(overflow).map(|task| (*task, Why::TooMany)));
    let whole = delete.len() <= BATCH;
    delete.truncate(BATCH);

    let gone_new = delete.iter().filter(|(_, why)| *why == Why::TooMany).count();
    let gone_old = delete.iter().filter(|(_, why)| *why == Why::OldRevision).count();
    let (new_left, old_left) = (tasks.new.len() - gone_new, tasks.old.len() - gone_old);
    let missing = wished.saturating_sub(new_left);
    let ending = if way.waits_for_ends() {
        // What no node has, or what is over, has nothing that another could want.
        let has = |task: &Task| task.status.node.is_some() && !task.status.phase.is_over();
        let blocks = |task: &&Task| has(task) && (way != Way::Recreate || !current.is_of(number(task)));
        let going = delete.iter().map(|(task, _)| *task);
        going.chain(tasks.leaving.iter().copied()).filter(blocks).count()
    } else {
        0
    };
    // Those that are over have no part in the strategy's bounds.
    let room = match way {
        Way::Recreate if old_left + ending > 0 => 0,
        _ => most.saturating_sub(new_left + old_left + ending),
    };
    let create = missing.min(room).min(BATCH);
    let going: BTreeSet<&str> = delete.iter().map(|(task, _)| task.metadata.uid.as_str()).collect();
    let stay = new.iter().filter(|task| !going.contains(task.metadata.uid.as_str()));
    let held = held_back(look, stay.copied(), bounds.unavailable.max(1) as usize);
    let waiting = if !whole || (create == BATCH && missing.min(room) > BATCH) {
        WaitingOn::NextLook
    } else if create < missing && ending > 0 {
        WaitingOn::Gone(ending as u32)
    } else if old_left > 0 || create > 0 || available_new < new_left {
        WaitingOn::Ready((new_left + create - available_new.min(new_left)) as u32)
    } else if !held.is_empty() {
        WaitingOn::Ready(held.len() as u32)
    } else {
        WaitingOn::Nothing
    };
    Plan {
        delete,
        create: create as u32,
        held,
        way,
        waiting,
    }
}

/// So many available Tasks of the current revision are to leave their nodes and are not replaced yet: the strategy's bounds
/// are for changes of the template, so that nobody loses a Task because another node is better. What came after them and does
/// no work yet is taken for the ones in their place; what was there before them and does none keeps nobody, nor does what
/// fails again and again: nobody can wait for that.
fn still_needed(look: &Look, tasks: &Tasks, current: &Current, kept: &[&Task]) -> usize {
    let age = |task: &Task| (task.metadata.creation_timestamp, task.metadata.uid.clone());
    let leaving = tasks
        .old
        .iter()
        .filter(|task| current.is_of(number(task)) && is_replaced(task));
    let leaving: Vec<_> = leaving
        .filter(|task| is_available(look, task))
        .map(|task| age(task))
        .collect();
    let Some(first) = leaving.iter().min() else { return 0 };
    let wished = look.deployment.spec.replicas as usize;
    let more = (kept.len() + leaving.len()).saturating_sub(wished);
    let mut kept: Vec<(bool, bool)> = kept
        .iter()
        .map(|task| {
            let failing = task.status.failures >= FAILING && !is_available(look, task);
            (failing || age(task) < *first, is_available(look, task))
        })
        .collect();
    kept.sort_unstable_by_key(|(older, available)| (*older, *available != *older));
    let in_place = kept.iter().take(more).filter(|(_, available)| *available).count();
    // Nobody is kept for more than are wished now.
    leaving.len().saturating_sub(in_place).min(wished)
}

/// Whether the Task does its work, and has answered so to what its spec asks.
fn is_proven(look: &Look, task: &Task) -> bool {
    is_available(look, task)
        && task.status.observed_generation == task.metadata.generation
        && !task.status.probes.iter().any(probe::is_unproven)
}

/// Those of the current revision's Tasks that do their work and have to wait for another question, so that a wrong one is
/// found out by as many as may be unavailable (by one at least), and not by all at once.
fn held_back<'a>(look: &Look, tasks: impl Iterator<Item = &'a Task>, most: usize) -> BTreeSet<&'a str> {
    let wished = &look.deployment.spec.template.spec;
    let (asked, others): (Vec<&Task>, Vec<&Task>) = tasks.partition(|task| asks_the_same(&task.spec, wished));
    // What does no work anyway is asked at once: the old question may be the wrong one.
    let (others, idle): (Vec<&Task>, Vec<&Task>) = others.into_iter().partition(|task| is_available(look, task));
    let unproven = idle.len() + asked.iter().filter(|task| !is_proven(look, task)).count();
    let others: BTreeSet<&str> = others.iter().map(|task| task.metadata.name.as_str()).collect();
    others.into_iter().skip(most.saturating_sub(unproven)).collect()
}

/// The least useful first: not with a node, not running, not ready; then the newest.
fn usefulness(task: &Task) -> impl Ord + use<> {
    let meta = &task.metadata;
    // uids are made in the order of time.
    let age = Reverse((meta.creation_timestamp, meta.uid.clone()));
    (task.status.node.is_some(), task.status.phase, is_ready(task), age)
}

impl Plan<'_> {
    /// The plan as actions: first what goes, then what is brought to those that stay, then what comes.
    pub fn actions(&self, look: &Look, tasks: &Tasks, current: &Current) -> Vec<Action> {
        let going: BTreeSet<&str> = self
            .delete
            .iter()
            .map(|(task, _)| task.metadata.name.as_str())
            .collect();
        let stays = |task: &&&Task| !going.contains(task.metadata.name.as_str());
        let gone = self.delete.iter().map(|(task, why)| Action::DeleteTask {
            name: task.metadata.name.clone(),
            why: *why,
        });
        let is_held = |task: &Task| self.held.contains(task.metadata.name.as_str());
        let new = tasks.new.iter().filter(stays);
        let old = tasks.old.iter().filter(stays);
        let changed = new.filter_map(|task| task::changed(look, current, task, is_held(task)));
        let adopted = old.filter_map(|task| task::adopted(look, task));
        let changed = changed.chain(adopted).map(|task| Action::ChangeTask(Box::new(task)));
        let made = (0..self.create).map(|_| Action::CreateTask(Box::new(task::make(look, current))));
        gone.chain(changed).chain(made).collect()
    }
}
