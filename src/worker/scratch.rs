//! Empty directories on the engine's disk that no Task wishes for any more: removed, with what is in them.
//!
//! Most go with their Task. What is left is what a change took out of a Task's spec while its container still had it. Never
//! removes one that a Task of this node wishes for, nor one that a container has.
use cube_planted::{Bug, planted};
use std::collections::BTreeSet;

use super::actor::Actor;
use super::form::scratch_volumes;
use crate::engine::EngineError;

impl Actor {
    /// Removes those of the listed that nobody wishes for. Does nothing before it is known which Tasks are the node's.
    pub(super) fn drop_unwished_scratch(&self, mut listed: BTreeSet<String>) {
        if !self.assigned || listed.is_empty() || planted(Bug::ScratchStays) {
            return;
        }
        for slot in self.slots.values() {
            for (name, _) in scratch_volumes(&slot.task, &self.ground) {
                listed.remove(&name);
            }
        }
        let engine = self.engine.clone();
        crate::world::spawn(async move {
            for name in listed {
                match engine.remove_volume(&name).await {
                    // Its container is on its way out: the next list finds it again.
                    Ok(()) | Err(EngineError::InUse { .. }) => {}
                    Err(error) => tracing::warn!(%error, "cannot remove the empty directory {name}; tried again"),
                }
            }
        });
    }
}
