//! What the engine tells of containers and networks: events, inspections, lists. Each only wakes whom it concerns.
use std::time::Duration;

use cube_plan::worker::Step;

use super::actor::{Actor, Message};
use crate::engine::{Action, Container, EngineError, EngineEvent, State};

/// So long after a container has left its network its end was told, if it has ended.
const LEFT: Duration = Duration::from_millis(300);

impl Actor {
    pub(super) fn event(&mut self, event: EngineEvent) {
        let EngineEvent::Changed { id, action, .. } = event;
        match action {
            // Its own creation and start the actor learns from the calls themselves.
            Action::Create | Action::Other(_) => {}
            Action::Kill { .. } => {
                if self.view.get(&id).is_some_and(|container| !self.is_stopping(container)) {
                    self.signalled.insert(id);
                }
            }
            Action::Start if self.view.get(&id).is_some_and(|container| self.is_starting(container)) => {}
            Action::Destroy => {
                self.signalled.remove(&id);
                if let Some(uid) = self.view.remove(&id) {
                    self.dirty.insert(uid);
                }
            }
            Action::Disconnect => {
                if self.is_meant_to_run(&id) {
                    self.ask_later(id);
                }
            }
            _ => self.inspect(id),
        }
    }

    fn is_meant_to_run(&self, id: &str) -> bool {
        let known = self.view.get(id);
        known.is_some_and(|container| container.state == State::Running && !self.is_stopping(container))
    }

    /// A container that ends leaves its network as well, and that is told by itself.
    fn ask_later(&self, id: String) {
        let sender = self.sender.clone();
        crate::world::spawn(async move {
            tokio::time::sleep(LEFT).await;
            let _ = sender.send(Message::LeftNetwork(id));
        });
    }

    /// A container was taken out of a network a moment ago.
    pub(super) fn left_network(&mut self, id: String) {
        if self.is_meant_to_run(&id) {
            self.inspect(id);
        }
    }

    pub(super) fn is_starting(&self, container: &Container) -> bool {
        let slot = container
            .labels
            .get(super::form::UID_LABEL)
            .and_then(|uid| self.slots.get(uid));
        slot.is_some_and(|slot| slot.busy == Some(Step::Start(container.id.clone())))
    }

    /// Whether this worker itself has told it to stop, or is about to.
    pub(super) fn is_stopping(&self, container: &Container) -> bool {
        let slot = container
            .labels
            .get(super::form::UID_LABEL)
            .and_then(|uid| self.slots.get(uid));
        slot.is_some_and(|slot| {
            matches!(&slot.busy, Some(Step::Signal(id) | Step::Kill(id)) if *id == container.id)
                || slot
                    .progress
                    .stopping
                    .as_ref()
                    .is_some_and(|(id, _)| *id == container.id)
        })
    }

    pub(super) fn inspected(&mut self, id: String, seen: Result<Option<Box<Container>>, EngineError>) {
        if self.inspecting.remove(&id) == Some(true) {
            // Something happened while it was looked at: what was seen may be old.
            return self.inspect(id);
        }
        let uid = match seen {
            Ok(Some(container)) if self.is_ours(&container) => self.view.put(*container),
            Ok(Some(_)) => None,
            Ok(None) => self.view.remove(&id),
            Err(error) => {
                tracing::debug!(id, %error, "cannot look at a container");
                self.relist_soon();
                None
            }
        };
        self.dirty.extend(uid);
    }

    pub(super) fn is_ours(&self, container: &Container) -> bool {
        let label = |name: &str| container.labels.get(name);
        label(crate::engine::CLUSTER_LABEL) == Some(&self.ground.cluster)
            && label(super::form::NODE_LABEL).is_none_or(|node| *node == self.ground.node)
    }

    /// Takes in a list of all there is.
    pub(super) fn listed(&mut self, containers: Vec<Container>, networks: Vec<String>, all: bool) {
        let mut gone = self.view.ids();
        for container in containers {
            gone.remove(&container.id);
            let known = self.view.get(&container.id);
            if known == Some(&container) || self.inspecting.contains_key(&container.id) {
                continue;
            }
            if all {
                let uid = self.view.put(container);
                self.dirty.extend(uid);
            } else {
                // Made before what this worker has learnt since, perhaps: ask for this one.
                self.inspect(container.id);
            }
        }
        for id in gone {
            // Made after the list, perhaps: ask for this one.
            self.inspect(id);
        }
        self.networks_listed(networks);
        self.forget_healthchecks();
        let assigned: Vec<String> = self.slots.keys().cloned().collect();
        for uid in assigned {
            self.set_right(&uid);
        }
    }
}
