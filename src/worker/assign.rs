//! Which Tasks are the node's: taken over, changed, and given up as the manager says.
use cube_planted::{Bug, planted};
use std::collections::BTreeSet;
use std::sync::Arc;

use cube_api::condition;
use cube_api::task::{Task, TaskStatus};
use cube_plan::worker::{Progress, wanted_hash};
use jiff::SignedDuration;

use super::actor::{Actor, Slot};
use super::link::Assignment;

impl Actor {
    pub(super) fn assign(&mut self, assignment: Assignment) {
        match assignment {
            Assignment::Snapshot(tasks) => {
                // What was listed before could not be told from what nobody wishes for.
                self.relist_now |= self.engine_up && !self.assigned;
                if !std::mem::replace(&mut self.assigned, true) {
                    // Looks until now came to nothing, also at what is as it was last known.
                    self.dirty.extend(self.slots.keys().cloned());
                }
                let now: BTreeSet<String> = tasks.iter().map(|task| task.metadata.uid.clone()).collect();
                let left: Vec<String> = self.slots.keys().filter(|uid| !now.contains(*uid)).cloned().collect();
                for task in tasks {
                    self.assign_one(task);
                }
                for uid in left {
                    self.unassign(&uid);
                }
                let strays: Vec<String> = self
                    .view
                    .uids()
                    .filter(|uid| !self.slots.contains_key(*uid))
                    .cloned()
                    .collect();
                self.dirty.extend(strays);
                let mut alive: BTreeSet<String> = self.slots.keys().cloned().collect();
                alive.extend(self.view.uids().cloned());
                if self.engine_up
                    && let Err(error) = self.journal.keep(&alive)
                {
                    tracing::warn!(%error, "cannot tidy the worker's journal");
                }
            }
            Assignment::Resume(tasks) => tasks.into_iter().for_each(|task| self.assign_one(task)),
            Assignment::Changed(task) => self.assign_one(task),
            Assignment::Removed(uid) => self.unassign(&uid),
        }
    }

    pub(super) fn assign_one(&mut self, task: Arc<Task>) {
        let uid = task.metadata.uid.clone();
        self.strays.remove(&uid);
        match self.slots.get_mut(&uid) {
            Some(slot) => {
                // What only tells back what this worker reported needs no second look.
                let echo = slot.assigned
                    && slot.task.metadata.generation == task.metadata.generation
                    && slot.task.metadata.annotations == task.metadata.annotations
                    && slot.task.metadata.labels == task.metadata.labels
                    && slot.task.metadata.deletion_timestamp == task.metadata.deletion_timestamp
                    && slot.task.status.epoch == task.status.epoch
                    && slot.task.status.eviction == task.status.eviction;
                if slot.task.status.epoch != task.status.epoch {
                    slot.reported = None;
                    slot.told_gone = false;
                }
                slot.assigned = true;
                slot.task = task;
                // While a report is on its way the echo of an older one says nothing.
                if !self.sending && !self.unsent.contains_key(&uid) {
                    self.set_right(&uid);
                }
                let Some(slot) = self.slots.get_mut(&uid).filter(|_| !echo) else {
                    return;
                };
                let wanted = wanted_hash(&slot.task);
                if slot.wanted != wanted {
                    slot.wanted = wanted;
                    // What failed before was another container.
                    slot.progress.image = cube_plan::worker::Image::Unknown;
                    slot.progress.obstacle = None;
                    slot.progress.failures = 0;
                    slot.progress.ended_at = None;
                }
            }
            None => {
                let progress = Progress::resume(&task, self.world.now());
                let reported = Some(task.status.clone());
                self.slots
                    .insert(uid.clone(), Slot::new(task, true, progress, reported));
            }
        }
        self.dirty.insert(uid);
    }

    /// A status that is not as it was last told, someone else has written over: it is told again.
    pub(super) fn set_right(&mut self, uid: &str) {
        let Some(slot) = self.slots.get_mut(uid) else { return };
        let Some(told) = slot.reported.as_ref().filter(|_| slot.assigned) else {
            return;
        };
        if as_stored(told, &slot.task.status) == slot.task.status {
            slot.reported = Some(slot.task.status.clone());
        } else {
            slot.reported = None;
            self.dirty.insert(uid.to_owned());
        }
    }

    /// The Task is no longer the node's: what is left of it is stopped at once, for it may run elsewhere.
    pub(super) fn unassign(&mut self, uid: &str) {
        self.unsent.remove(uid);
        if planted(Bug::UnassignedRuns) {
            self.slots.remove(uid);
            return;
        }
        let Some(slot) = self.slots.get_mut(uid) else { return };
        slot.assigned = false;
        if !slot.task.metadata.is_deleting() {
            let mut task = Task::clone(&slot.task);
            let grace = i64::from(task.spec.termination_grace_period_seconds);
            task.metadata.deletion_timestamp = self.world.now().saturating_add(SignedDuration::from_secs(grace)).ok();
            slot.task = Arc::new(task);
        }
        if slot.told_gone {
            self.slots.remove(uid);
        }
        self.dirty.insert(uid.to_owned());
        self.drop_unused_networks();
    }
}

/// What was told, with what is the manager's to say: where the Task is, why it is to leave, and since when a condition is
/// as it is.
fn as_stored(told: &TaskStatus, stored: &TaskStatus) -> TaskStatus {
    let mut status = TaskStatus {
        node: stored.node.clone(),
        epoch: stored.epoch,
        eviction: stored.eviction.clone(),
        ..told.clone()
    };
    for condition in &mut status.conditions {
        let same = condition::find(&stored.conditions, &condition.kind).filter(|same| same.status == condition.status);
        if let Some(same) = same {
            condition.last_transition_time = same.last_transition_time;
        }
    }
    status
}
