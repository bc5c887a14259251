//! What an engine or a machine took with it when it stopped: that is nobody's failure.
use std::collections::BTreeSet;

use cube_plan::worker::Progress;
use jiff::{SignedDuration, Timestamp};

use super::actor::{Actor, ENGINE_STOPS};
use crate::engine::{Container, State};

/// Of containers found dead: those that ended since then.
pub(super) fn ended_since(containers: &[Container], since: Timestamp) -> BTreeSet<String> {
    let died = |container: &&Container| {
        matches!(container.state, State::Exited { .. }) && container.finished_at.is_some_and(|at| at >= since)
    };
    containers
        .iter()
        .filter(died)
        .map(|container| container.id.clone())
        .collect()
}

/// Of containers found dead when an engine comes (back): those that were stopped with it, which is nobody's failure.
pub(super) fn died_with_engine(
    containers: &[Container],
    last_contact: Option<Timestamp>,
    engine_start: Option<Timestamp>,
) -> BTreeSet<String> {
    // Clocks of whole seconds, and an engine that takes its time to write down what it stopped.
    let slack = SignedDuration::from_secs(15);
    let died = |container: &&Container| {
        let (State::Exited { .. }, Some(started), Some(start)) = (&container.state, container.started_at, engine_start)
        else {
            return false;
        };
        let Some(finished) = container.finished_at else {
            return started < start;
        };
        let after_contact = last_contact
            .is_some_and(|contact| finished >= contact.saturating_sub(SignedDuration::from_secs(2)).unwrap_or(contact));
        let at_start = finished >= start.saturating_sub(slack).unwrap_or(start);
        started < start
            && (after_contact || at_start)
            && last_contact.is_none_or(|contact| start >= contact.saturating_sub(slack).unwrap_or(contact))
    };
    containers
        .iter()
        .filter(died)
        .map(|container| container.id.clone())
        .collect()
}

impl Actor {
    /// The engine is another one than before: what ran on that one has not ended, it is only not here.
    pub(super) fn forget_containers(&mut self) {
        for slot in self.slots.values_mut() {
            slot.progress.alive = None;
        }
    }

    /// The engine has gone: what ended shortly before was most likely stopped with it. It is judged anew when the engine
    /// is back and shows what became of it.
    pub(super) fn take_back_ends(&mut self, now: Timestamp) {
        for slot in self.slots.values_mut() {
            let Some(before) = slot.before_end.take() else { continue };
            if now.duration_since(before.at) > ENGINE_STOPS {
                continue;
            }
            let since = std::mem::replace(&mut slot.progress, before.progress);
            if since.alive.as_ref().is_some_and(|(id, _)| *id != before.id) {
                // Another one runs by now: all that is known of that stays, and only the end is not held against it.
                slot.progress = Progress {
                    restarts: slot.progress.restarts,
                    failures: slot.progress.failures,
                    ended_at: slot.progress.ended_at,
                    last_termination: slot.progress.last_termination.take(),
                    ..since
                };
            } else if self.view.get(&before.id).is_none() {
                // Cleared by this worker in the meantime, not by anyone else.
                slot.progress.alive = None;
            }
        }
    }
}
