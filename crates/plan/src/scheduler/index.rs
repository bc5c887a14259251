//! What is known of the nodes and of what their Tasks take: sums, changed with each Task and Node.
use std::collections::BTreeMap;

use cube_api::{
    condition::{self, READY, Truth},
    node::{Node, Taint},
    task::{Protocol, RestartPolicy, Task},
};

use super::{
    Demand, Explanation, HostPort,
    filter::{self, Refusal},
    score,
};

/// Nodes, and what is assigned to them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Index {
    nodes: BTreeMap<String, NodeState>,
    /// By `namespace/name`.
    assigned: BTreeMap<String, Assigned>,
}

#[derive(Clone, Debug, PartialEq)]
struct Assigned {
    node: String,
    demand: Demand,
    ends: bool,
}

/// One node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeState {
    /// What its Node object says; none when there is no such object (any more).
    pub said: Option<Said>,
    /// What its Tasks take.
    pub used: Usage,
    /// What those of them take that end by themselves: they are being deleted, or run once.
    pub ending: Usage,
    /// Who has which port.
    pub ports: BTreeMap<(Protocol, u16), BTreeMap<String, Option<String>>>,
    /// So many of its Tasks have this controller.
    pub kin: BTreeMap<String, u32>,
}

/// What a Node object says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its taints.
    pub taints: Vec<Taint>,
    /// Nothing new is placed here.
    pub cordoned: bool,
    /// Why it is not ready, if it is not.
    pub not_ready: Option<String>,
    /// What Tasks can have.
    pub allocatable: Allocatable,
}

/// What Tasks can have of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Allocatable {
    /// Thousandths of a CPU.
    pub cpu: u64,
    /// Bytes of memory.
    pub memory: u64,
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
    /// Their number.
    pub tasks: u64,
}

impl Usage {
    fn add(&mut self, demand: &Demand) {
        self.cpu = self.cpu.saturating_add(demand.cpu);
        self.memory = self.memory.saturating_add(demand.memory);
        self.tasks += 1;
    }

    fn subtract(&mut self, demand: &Demand) {
        self.cpu = self.cpu.saturating_sub(demand.cpu);
        self.memory = self.memory.saturating_sub(demand.memory);
        self.tasks = self.tasks.saturating_sub(1);
    }
}

impl Index {
    /// Takes a Node as it is now. Says whether anything of it that matters is new.
    pub fn set_node(&mut self, node: &Node) -> bool {
        let ready = condition::find(&node.status.conditions, READY);
        let not_ready = match ready {
            Some(ready) if ready.status == Truth::True => None,
            Some(ready) if !ready.message.is_empty() => Some(ready.message.clone()),
            Some(ready) if !ready.reason.is_empty() => Some(ready.reason.clone()),
            _ => Some("its worker has not told of it yet".to_owned()),
        };
        let not_ready = if node.metadata.is_deleting() {
            Some("it is being deleted".to_owned())
        } else {
            not_ready
        };
        let allocatable = &node.status.allocatable;
        let said = Said {
            labels: node.metadata.labels.clone(),
            taints: node.spec.taints.clone(),
            cordoned: node.spec.unschedulable,
            not_ready,
            allocatable: Allocatable {
                cpu: allocatable.cpu.milli(),
                memory: allocatable.memory.units(),
                tasks: allocatable.tasks,
            },
        };
        let state = self.nodes.entry(node.metadata.name.clone()).or_default();
        let changed = state.said.as_ref() != Some(&said);
        state.said = Some(said);
        changed
    }

    /// The Node is gone; what its Tasks took is known on.
    pub fn remove_node(&mut self, name: &str) {
        if let Some(state) = self.nodes.get_mut(name) {
            state.said = None;
        }
        self.tidy(name);
    }

    /// Takes a Task as it is now, or with the node that it is about to get. Answers with a node that has more room since.
    pub fn set_task(&mut self, key: &str, task: &Task, about_to_get: Option<&str>) -> Option<String> {
        let node = task.status.node.as_deref().or(about_to_get);
        let holds = node.filter(|_| !task.status.phase.is_over());
        let assigned = holds.map(|node| Assigned {
            node: node.to_owned(),
            demand: Demand::of(task),
            ends: task.metadata.is_deleting() || task.spec.restart_policy != RestartPolicy::Always,
        });
        self.put(key, assigned)
    }

    /// The Task is gone. Answers with the node that has more room since.
    pub fn remove_task(&mut self, key: &str) -> Option<String> {
        self.put(key, None)
    }

    fn put(&mut self, key: &str, new: Option<Assigned>) -> Option<String> {
        let old = self.assigned.get(key);
        if old == new.as_ref() {
            return None;
        }
        let freed = self.assigned.remove(key).inspect(|old| {
            self.take(key, old);
            self.tidy(&old.node);
        });
        if let Some(new) = new {
            let state = self.nodes.entry(new.node.clone()).or_default();
            state.used.add(&new.demand);
            if new.ends {
                state.ending.add(&new.demand);
            }
            for (protocol, port, address) in &new.demand.ports {
                let holders = state.ports.entry((*protocol, *port)).or_default();
                holders.insert(key.to_owned(), address.clone());
            }
            if let Some(kin) = &new.demand.kin {
                *state.kin.entry(kin.clone()).or_default() += 1;
            }
            self.assigned.insert(key.to_owned(), new);
        }
        let new = self.assigned.get(key);
        freed
            .filter(|old| new.is_none_or(|new| new.node != old.node || new.demand != old.demand))
            .map(|old| old.node)
    }

    fn take(&mut self, key: &str, old: &Assigned) {
        let Some(state) = self.nodes.get_mut(&old.node) else {
            return;
        };
        state.used.subtract(&old.demand);
        if old.ends {
            state.ending.subtract(&old.demand);
        }
        for (protocol, port, _) in &old.demand.ports {
            if let Some(holders) = state.ports.get_mut(&(*protocol, *port)) {
                holders.remove(key);
                if holders.is_empty() {
                    state.ports.remove(&(*protocol, *port));
                }
            }
        }
        if let Some(kin) = &old.demand.kin
            && let Some(count) = state.kin.get_mut(kin)
        {
            *count -= 1;
            if *count == 0 {
                state.kin.remove(kin);
            }
        }
    }

    /// Forgets a node that no Node object and no Task speaks of any more.
    fn tidy(&mut self, name: &str) {
        if self
            .nodes
            .get(name)
            .is_some_and(|state| state.said.is_none() && state.used.tasks == 0)
        {
            self.nodes.remove(name);
        }
    }

    /// The nodes that there are, by name.
    pub fn nodes(&self) -> impl Iterator<Item = (&str, &NodeState, &Said)> {
        self.nodes
            .iter()
            .filter_map(|(name, state)| state.said.as_ref().map(|said| (name.as_str(), state, said)))
    }

    /// The node for a Task of that demand, or why there is none.
    ///
    /// # Errors
    /// The explanation.
    pub fn place(&self, demand: &Demand) -> Result<&str, Explanation> {
        let mut refusals = Vec::new();
        let mut best: Option<(score::Score, &str)> = None;
        for (name, state, said) in self.nodes() {
            match filter::check(demand, state, said) {
                Ok(()) => {
                    let score = score::score(demand, state, said);
                    if best.as_ref().is_none_or(|(lowest, _)| score < *lowest) {
                        best = Some((score, name));
                    }
                }
                Err(refusal) => refusals.push((name, refusal)),
            }
        }
        match best {
            Some((_, name)) => Ok(name),
            None => Err(Explanation::new(self, demand, refusals)),
        }
    }

    /// Whether that one node can take a Task of that demand.
    pub fn fits(&self, node: &str, demand: &Demand) -> bool {
        self.nodes
            .get(node)
            .and_then(|state| state.said.as_ref().map(|said| (state, said)))
            .is_some_and(|(state, said)| filter::check(demand, state, said).is_ok())
    }
}

impl NodeState {
    /// The Task that has the port, if it collides with what is wanted.
    pub(super) fn holder(&self, (protocol, port, wanted): &HostPort) -> Option<&str> {
        let holders = self.ports.get(&(*protocol, *port))?;
        let collides = |address: &Option<String>| match (address, wanted) {
            (Some(address), Some(wanted)) => address == wanted,
            _ => true,
        };
        holders
            .iter()
            .find(|(_, address)| collides(address))
            .map(|(key, _)| key.as_str())
    }

    /// All refusals of a node, not only the first.
    pub(super) fn refusals(&self, demand: &Demand, said: &Said) -> Vec<Refusal> {
        filter::FILTERS
            .iter()
            .filter_map(|filter| filter(demand, self, said).err())
            .collect()
    }
}
