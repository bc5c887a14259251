//! Tasks that were edited where they are, and now ask for what their node cannot give: they leave it, and are placed anew.
//!
//! Only what the Task itself asks for counts, and only if it asks for something else: it does not make room for another that
//! has outgrown the same node. What becomes of its node (a taint, a cordon, less room) is another matter.
use cube_api::{
    condition::{SCHEDULED, find},
    event::EventType,
    task::{Eviction, Task},
};
use cube_plan::scheduler::Demand;
use cube_planted::{Bug, planted};

use super::{Actor, Finished, task};
use crate::{
    registry::{ApiError, Object, Write},
    store::Snapshot,
};

/// Why a Task leaves a node that it no longer fits on, in one word.
const OUTGROWN: &str = "Outgrown";

/// A Task that is asked to leave.
pub(super) struct Outgrown {
    key: String,
    task: Object,
    message: String,
}

impl Actor {
    /// Notes a Task that has a node and may have been edited since it got it.
    pub(super) fn note_edit(&mut self, key: &str, task: &Task, demand: &Demand) {
        let status = &task.status;
        if status.node.is_none() || status.phase.is_over() {
            return;
        }
        let edited = match self.index.demand(key) {
            Some(before) => !before.asks_the_same(demand),
            // Edited while nobody was looking, perhaps.
            None => find(&status.conditions, SCHEDULED)
                .is_some_and(|bound| bound.observed_generation < task.metadata.generation),
        };
        if edited && !planted(Bug::OutgrownStays) {
            self.edited.insert(key.to_owned());
        }
    }

    /// Has those leave that ask for more than their nodes have.
    pub(super) fn look_at_edited(&mut self, snapshot: &Snapshot) {
        for key in std::mem::take(&mut self.edited) {
            let Some(object) = task(snapshot, &key) else { continue };
            let task: &Task = object.typed();
            let status = &task.status;
            let stays = status.node.is_some() && !status.phase.is_over() && !task.metadata.is_deleting();
            if !stays || status.eviction.is_some() || self.evicted.contains_key(&key) {
                continue;
            }
            let Some(why) = self.index.outgrown(&key) else { continue };
            let node = status.node.as_deref().unwrap_or_default();
            let message = format!("what it asks for now, node {node} cannot give: {why}");
            let eviction = Eviction {
                reason: OUTGROWN.to_owned(),
                message: message.clone(),
                after_replacement: false,
            };
            let write = Write::Evict {
                task: object.clone(),
                eviction,
            };
            let (registry, task) = (self.registry.clone(), object);
            self.under_way.push(Box::pin(async move {
                let written = registry.transact(vec![write]).await.map(drop);
                Finished::Outgrown(Outgrown { key, task, message }, written)
            }));
        }
    }

    /// The Task was asked to leave, or could not be.
    pub(super) fn outgrown(&mut self, outgrown: Outgrown, written: Result<(), ApiError>) {
        let Outgrown { key, task, message } = outgrown;
        match written {
            Ok(()) => self
                .recorder
                .event(task.reference(), EventType::Warning, OUTGROWN, message),
            Err(error) => {
                self.pause_after(&error);
                self.edited.insert(key);
            }
        }
    }
}
