//! Empty directories on the engine's disk that no Task wishes for any more: removed, with what is in them.
//!
//! Most go with their Task. What is left is what a change took out of a Task's spec while its container still had it. Never
//! removes one that a Task of this node wishes for, nor one that a container has.
use cube_planted::{Bug, planted};
use std::collections::BTreeSet;

use super::actor::Actor;
use super::form::{UID_LABEL, scratch_stem_of, scratch_volumes};
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
        // What a container has that is nobody's stays as long as that does: it cannot be removed, however often it is tried.
        let strays = self.view.containers().filter(|container| {
            let uid = container.labels.get(UID_LABEL);
            uid.is_none_or(|uid| !self.slots.contains_key(uid))
        });
        for stem in strays.filter_map(|container| scratch_stem_of(&container.labels)) {
            listed.retain(|name| !name.starts_with(&stem));
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
