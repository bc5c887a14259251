//! What the worker knows of the engine's containers: fed by events and lists, asked by Task.
//!
//! Holds only containers with this cluster's label. Never asks the engine itself.
use std::collections::{BTreeMap, BTreeSet};

use cube_api::task::{PortStatus, Protocol};
use cube_plan::worker::{Seen, SeenState};

use super::form::{HASH_LABEL, NUMBER_LABEL, UID_LABEL};
use crate::engine::{self, Container, State};

/// The engine's containers of this cluster.
#[derive(Default)]
pub struct View {
    by_id: BTreeMap<String, Container>,
    by_uid: BTreeMap<String, BTreeSet<String>>,
}

impl View {
    /// Takes in a container; gives the uid of its Task, if it names one.
    pub fn put(&mut self, container: Container) -> Option<String> {
        let uid = container.labels.get(UID_LABEL).cloned();
        if let Some(uid) = &uid {
            self.by_uid.entry(uid.clone()).or_default().insert(container.id.clone());
        }
        self.by_id.insert(container.id.clone(), container);
        uid
    }

    /// Drops a container; gives the uid of its Task, if it was known.
    pub fn remove(&mut self, id: &str) -> Option<String> {
        let uid = self.by_id.remove(id)?.labels.get(UID_LABEL).cloned()?;
        if let Some(ids) = self.by_uid.get_mut(&uid) {
            ids.remove(id);
            if ids.is_empty() {
                self.by_uid.remove(&uid);
            }
        }
        Some(uid)
    }

    /// A container.
    pub fn get(&self, id: &str) -> Option<&Container> {
        self.by_id.get(id)
    }

    /// All ids.
    pub fn ids(&self) -> BTreeSet<String> {
        self.by_id.keys().cloned().collect()
    }

    /// All uids of Tasks that containers name.
    pub fn uids(&self) -> impl Iterator<Item = &String> {
        self.by_uid.keys()
    }

    /// All containers.
    pub fn containers(&self) -> impl Iterator<Item = &Container> {
        self.by_id.values()
    }

    /// The containers of a Task.
    pub fn of(&self, uid: &str) -> Vec<Seen> {
        let ids = self.by_uid.get(uid).into_iter().flatten();
        ids.filter_map(|id| self.by_id.get(id)).map(seen).collect()
    }
}

fn seen(container: &Container) -> Seen {
    let label = |name: &str| container.labels.get(name).cloned().unwrap_or_default();
    Seen {
        id: container.id.clone(),
        name: container.name.clone(),
        hash: label(HASH_LABEL),
        number: label(NUMBER_LABEL).parse().unwrap_or(0),
        image_id: container.image_id.clone(),
        state: match &container.state {
            State::Created => SeenState::Created,
            State::Running => SeenState::Running,
            State::Paused => SeenState::Paused,
            State::Exited {
                code,
                oom_killed,
                error,
            } => SeenState::Exited {
                code: *code,
                oom_killed: *oom_killed,
                error: error.clone(),
            },
            State::Removing => SeenState::Removing,
        },
        addresses: container.addresses.clone(),
        ports: container.ports.iter().filter_map(port).collect(),
        created_at: container.created_at,
        started_at: container.started_at,
        finished_at: container.finished_at,
    }
}

fn port(port: &engine::PublishedPort) -> Option<PortStatus> {
    let protocol = match port.protocol {
        engine::Protocol::Tcp => Protocol::Tcp,
        engine::Protocol::Udp => Protocol::Udp,
        engine::Protocol::Sctp => return None,
    };
    let (container_port, host_port) = (port.container_port, port.host_port);
    Some(PortStatus {
        container_port,
        protocol,
        host_port,
        host_ip: port.host_ip.clone(),
    })
}
