//! What is known of one node: what it says of itself, and what its Tasks take.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use cube_api::{
    condition::{self, DISK_PRESSURE, MEMORY_PRESSURE, READY, Truth},
    node::{Node, Taint},
    shared::Shared,
    task::Protocol,
};

use super::{Demand, HostPort, image};

/// A Task that asks for no CPU counts as one that asks for so much, in thousandths, where nodes are compared. It is
/// Kubernetes' number: none would make a node with a hundred such Tasks look empty.
const LEAST_CPU: u64 = 100;
/// The same of memory, in bytes.
const LEAST_MEMORY: u64 = 200 << 20;

/// One node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeState {
    /// What its Node object says; none when there is no such object (any more).
    pub said: Option<Said>,
    /// What its Tasks take.
    pub used: Usage,
    /// What those of them take that end by themselves: they are on their way out, or run once.
    pub ending: Usage,
    /// What those of them take that are on their way out.
    pub leaving: Usage,
    /// What they take, by priority.
    pub by_priority: BTreeMap<i32, Usage>,
    /// Its Tasks: `namespace/name`.
    pub tasks: BTreeSet<Arc<str>>,
    /// Who has which port.
    pub ports: BTreeMap<(Protocol, u16), BTreeMap<Arc<str>, Option<String>>>,
    /// Tasks for which others make room here, and what they ask for.
    pub kept: BTreeMap<Arc<str>, Arc<Demand>>,
}

/// What a Node object says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    /// Its labels.
    pub labels: Shared<BTreeMap<String, String>>,
    /// Its taints.
    pub taints: Vec<Taint>,
    /// Nothing new is placed here.
    pub cordoned: bool,
    /// Why it is not ready, if it is not.
    pub not_ready: Option<String>,
    /// What is nearly used up, if something is: `DiskPressure`, `MemoryPressure`.
    pub pressure: Option<&'static str>,
    /// What Tasks can have.
    pub allocatable: Allocatable,
    /// The engine's volumes, by name.
    pub volumes: BTreeSet<String>,
    /// The engine's images, by their names in full.
    pub images: BTreeSet<String>,
}

/// What Tasks can have of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Allocatable {
    /// Thousandths of a CPU.
    pub cpu: u64,
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes of disk.
    pub disk: u64,
    /// Number of Tasks, if it is limited.
    pub tasks: Option<u64>,
}

/// What Tasks take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Thousandths of a CPU.
    pub cpu: u64,
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes of disk.
    pub disk: u64,
    /// Their number.
    pub tasks: u64,
    /// Thousandths of a CPU as nodes are compared by: nobody counts for nothing.
    pub weighed_cpu: u64,
    /// Bytes of memory as nodes are compared by.
    pub weighed_memory: u64,
}

impl Usage {
    /// What one Task takes.
    pub fn of(demand: &Demand) -> Self {
        Self {
            cpu: demand.cpu,
            memory: demand.memory,
            disk: demand.disk,
            tasks: 1,
            weighed_cpu: if demand.cpu == 0 { LEAST_CPU } else { demand.cpu },
            weighed_memory: if demand.memory == 0 {
                LEAST_MEMORY
            } else {
                demand.memory
            },
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, more: Self) -> Self {
        self.with(more, u64::saturating_add)
    }

    /// The rest.
    #[must_use]
    pub fn minus(self, less: Self) -> Self {
        self.with(less, u64::saturating_sub)
    }

    fn with(self, other: Self, join: fn(u64, u64) -> u64) -> Self {
        Self {
            cpu: join(self.cpu, other.cpu),
            memory: join(self.memory, other.memory),
            disk: join(self.disk, other.disk),
            tasks: join(self.tasks, other.tasks),
            weighed_cpu: join(self.weighed_cpu, other.weighed_cpu),
            weighed_memory: join(self.weighed_memory, other.weighed_memory),
        }
    }
}

impl Said {
    /// What the Node says.
    pub fn of(node: &Node) -> Self {
        let ready = condition::find(&node.status.conditions, READY);
        let not_ready = match ready {
            _ if node.metadata.is_deleting() => Some("it is being deleted".to_owned()),
            Some(ready) if ready.status == Truth::True => None,
            Some(ready) if !ready.message.is_empty() => Some(ready.message.clone()),
            Some(ready) if !ready.reason.is_empty() => Some(ready.reason.clone()),
            _ => Some("its worker has not told of it yet".to_owned()),
        };
        let pressed = |kind: &&str| condition::is_true(&node.status.conditions, kind);
        let allocatable = &node.status.allocatable;
        let images = node.status.images.iter().flat_map(|image| &image.names);
        Self {
            labels: node.metadata.labels.clone(),
            taints: node.spec.taints.clone(),
            // One that is emptied takes nothing, whoever has uncordoned it: what came would be sent away again.
            cordoned: node.spec.unschedulable || node.spec.drain.is_some(),
            not_ready,
            pressure: [DISK_PRESSURE, MEMORY_PRESSURE].into_iter().find(pressed),
            allocatable: Allocatable {
                cpu: allocatable.cpu.milli(),
                memory: allocatable.memory.units(),
                disk: allocatable.ephemeral_storage.units(),
                tasks: allocatable.tasks,
            },
            volumes: node.status.volumes.iter().cloned().collect(),
            images: images.map(|name| image::in_full(name)).collect(),
        }
    }
}

impl NodeState {
    /// What is taken from a Task of that demand: what the Tasks here have, and what is kept for those that are as important.
    pub(super) fn taken_from(&self, demand: &Demand) -> Usage {
        let kept = self.kept_from(demand).map(|(_, kept)| Usage::of(kept));
        kept.fold(self.used, Usage::plus)
    }

    fn kept_from<'a>(&'a self, demand: &'a Demand) -> impl Iterator<Item = (&'a Arc<str>, &'a Arc<Demand>)> {
        self.kept.iter().filter(|(_, kept)| kept.priority >= demand.priority)
    }

    /// The Task that has the port, if it collides with what is wanted.
    pub(super) fn holder<'a>(&'a self, demand: &'a Demand, wanted: &HostPort) -> Option<&'a str> {
        let (protocol, port, address) = wanted;
        let collides = |there: &Option<String>| match (there, address) {
            (Some(there), Some(address)) => there == address,
            _ => true,
        };
        let holders = self.ports.get(&(*protocol, *port)).into_iter().flatten();
        let mut holders = holders.filter(|(_, address)| collides(address));
        if let Some((key, _)) = holders.next() {
            return Some(key);
        }
        let mut kept = self.kept_from(demand);
        let wants = |kept: &Demand| {
            let same = |(p, n, there): &HostPort| (p, n) == (protocol, port) && collides(there);
            kept.ports.iter().any(same)
        };
        kept.find(|(_, kept)| wants(kept)).map(|(key, _)| &**key)
    }
}
