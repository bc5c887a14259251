//! A namespace's network on this engine: made when a Task first needs it, removed with the last.
use cube_planted::{Bug, planted};
use std::sync::Arc;

use cube_api::task::{NetworkMode, Task};
use jiff::{SignedDuration, Timestamp};

use super::actor::{Actor, Message, NetworkState};
use super::form::Ground;
use super::subnets::Range;
use crate::engine::{Engine, EngineError, NetworkSpec};

/// How many parts of the range are tried before it is told that none is free.
const TRIES: u32 = 16;

impl Actor {
    /// Whether the Task's network is there, if it needs one.
    pub(super) fn network_ready(&self, task: &Task) -> bool {
        task.spec.network != NetworkMode::Namespace
            || self.networks.get(task.metadata.namespace()) == Some(&NetworkState::Ready)
    }

    /// Makes the Task's network, unless that is under way or has just failed.
    pub(super) fn ensure_network(&mut self, task: &Task, uid: &str, now: Timestamp) {
        let namespace = task.metadata.namespace().to_owned();
        match self.networks.get(&namespace) {
            Some(NetworkState::Busy | NetworkState::Ready) => return,
            Some(NetworkState::Failed { until, message }) if *until > now => {
                let (until, message) = (*until, message.clone());
                self.timers.insert((until, uid.to_owned()));
                let waits = self.slots.get(uid).is_some_and(|slot| slot.progress.obstacle.is_some());
                if !waits {
                    self.obstruct(uid, "NetworkFailed", message);
                }
                return;
            }
            _ => {}
        }
        self.networks.insert(namespace.clone(), NetworkState::Busy);
        let (engine, ground, range, sender) = (
            self.engine.clone(),
            self.ground.clone(),
            self.range,
            self.sender.clone(),
        );
        let routes = self.world.machine().routes();
        crate::world::spawn(async move {
            let made = make(&*engine, &ground, range, routes, &namespace).await;
            let _ = sender.send(Message::Network(namespace, made));
        });
    }

    /// A namespace's network is there, or not, or removed.
    fn network(&mut self, namespace: String, result: Result<(), EngineError>) {
        let state = match result {
            Ok(()) => NetworkState::Ready,
            Err(error) => {
                let until = self
                    .world
                    .now()
                    .saturating_add(SignedDuration::from_secs(2))
                    .unwrap_or(Timestamp::MAX);
                NetworkState::Failed {
                    message: error.to_string(),
                    until,
                }
            }
        };
        self.networks.insert(namespace.clone(), state);
        self.wake_namespace(&namespace);
    }

    /// A namespace's network was made: there may be nobody any more who needs it.
    pub(super) fn network_made(&mut self, namespace: String, result: Result<(), EngineError>) {
        self.network(namespace, result);
        self.drop_unused_networks();
    }

    /// A namespace's network could not be removed.
    pub(super) fn network_stays(&mut self, namespace: String) {
        self.network(namespace, Ok(()));
    }

    /// A namespace's network was removed: who needs it now has it made anew.
    pub(super) fn network_removed(&mut self, namespace: &str) {
        self.networks.remove(namespace);
        self.wake_namespace(namespace);
    }

    fn wake_namespace(&mut self, namespace: &str) {
        let of_it = |slot: &&super::actor::Slot| slot.task.metadata.namespace() == namespace;
        let uids: Vec<String> = self
            .slots
            .values()
            .filter(of_it)
            .map(|slot| slot.task.metadata.uid.clone())
            .collect();
        self.dirty.extend(uids);
    }

    fn is_network_needed(&self, namespace: &str) -> bool {
        self.slots
            .values()
            .any(|slot| slot.task.spec.network == NetworkMode::Namespace && slot.task.metadata.namespace() == namespace)
    }

    /// The engine was asked which networks there are.
    pub(super) fn networks_listed(&mut self, there: Vec<String>) {
        let mut known = std::mem::take(&mut self.networks);
        known.retain(|namespace, state| match state {
            NetworkState::Busy => true,
            NetworkState::Ready => there.contains(namespace),
            // It may have been made all the same, and is then there to be removed.
            NetworkState::Failed { .. } => self.is_network_needed(namespace),
        });
        for namespace in there {
            known.entry(namespace).or_insert(NetworkState::Ready);
        }
        self.networks = known;
        // One that the list before did not know of yet may be nobody's by now.
        self.drop_unused_networks();
    }

    /// Removes the networks that no Task and no container needs any more.
    pub(super) fn drop_unused_networks(&mut self) {
        if !self.assigned || planted(Bug::NetworkStays) {
            return;
        }
        let unused: Vec<String> = self
            .networks
            .iter()
            .filter(|(name, state)| **state == NetworkState::Ready && !self.is_network_needed(name))
            .map(|(name, _)| name.clone())
            .collect();
        for namespace in unused {
            self.networks.insert(namespace.clone(), NetworkState::Busy);
            let (engine, name, sender) = (
                self.engine.clone(),
                self.ground.network_name(&namespace),
                self.sender.clone(),
            );
            crate::world::spawn(async move {
                // In use after all, or not to be had: it is there still, and looked at again with the next last Task.
                let message = match engine.remove_network(&name).await {
                    Ok(()) => Message::NetworkRemoved(namespace),
                    Err(_) => Message::NetworkStays(namespace),
                };
                let _ = sender.send(message);
            });
        }
    }
}

async fn make(
    engine: &dyn Engine,
    ground: &Arc<Ground>,
    range: Range,
    routes: Vec<String>,
    namespace: &str,
) -> Result<(), EngineError> {
    let name = ground.network_name(namespace);
    let mut taken: Vec<String> = Vec::new();
    let mut there = false;
    for network in engine.networks(&ground.cluster).await? {
        there |= network.name == name;
        taken.extend(network.subnet);
    }
    if there {
        // Also where there are two of the name, which the engine must see to.
        let spec = NetworkSpec {
            name,
            labels: ground.labels(namespace),
            subnet: None,
        };
        return engine.ensure_network(&spec).await.map(drop);
    }
    taken.extend(routes);
    for _ in 0..TRIES {
        let subnet = range.free(&taken, 0);
        if subnet.is_none() {
            break;
        }
        let spec = NetworkSpec {
            name: name.clone(),
            labels: ground.labels(namespace),
            subnet: subnet.clone(),
        };
        match engine.ensure_network(&spec).await {
            Ok(_) => return Ok(()),
            Err(EngineError::SubnetInUse { .. }) => taken.extend(subnet),
            Err(error) => return Err(error),
        }
    }
    Err(EngineError::SubnetInUse {
        subnet: "every part of the worker's range (--network-range)".to_owned(),
    })
}
