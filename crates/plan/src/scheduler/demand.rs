//! What a Task asks of a node: Tasks of the same demand fit, or do not fit, in the same places.
use std::collections::BTreeMap;

use cube_api::{
    node::{Taint, TaintEffect},
    placement::{NodeSelector, PreferredNodes, SchedulingPolicy, TaskAffinityTerm, WhenUnsatisfiable},
    shared::Shared,
    task::{NetworkMode, Protocol, Task, TaskSpec, TolerationOperator},
};

use super::{crowd::Who, image};

/// A port of a node, and the address that it is wanted on; no address means every one.
pub type HostPort = (Protocol, u16, Option<String>);

/// What a Task asks of a node, and what others' wishes may say of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Demand {
    /// Those of its controller, if it has one: such Tasks are spread.
    pub kin: Option<Who>,
    /// Thousandths of a CPU.
    pub cpu: u64,
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes of disk.
    pub disk: u64,
    /// Who has a higher one may take its place.
    pub priority: i32,
    /// How a node is chosen; none: as the cluster does.
    pub policy: Option<SchedulingPolicy>,
    /// The image, in full.
    pub image: String,
    /// Ports of the node.
    pub ports: Vec<HostPort>,
    /// The engine's volumes that it mounts, by name.
    pub volumes: Vec<String>,
    /// Labels that the node must have.
    pub selector: BTreeMap<String, String>,
    /// What the node must be.
    pub nodes: Option<NodeSelector>,
    /// What the node would rather be.
    pub preferred: Vec<PreferredNodes>,
    /// Taints that it puts up with.
    pub tolerations: Vec<Tolerated>,
    /// Tasks that it must be near to.
    pub near: Vec<Term>,
    /// Tasks that it must be far from, and they from it.
    pub far: Vec<Term>,
    /// Tasks that it would rather be near to; with a negative weight, far from.
    pub rather: Vec<(i32, Term)>,
    /// How evenly it is spread with others.
    pub spread: Vec<Spread>,
    /// Its namespace.
    pub namespace: String,
    /// Its labels.
    pub labels: Shared<BTreeMap<String, String>>,
}

/// Tasks, and the label whose value makes nodes near to one another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Term {
    /// Which Tasks.
    pub who: Who,
    /// The label.
    pub key: String,
}

/// How evenly a Task is spread with others over the values of a label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spread {
    /// With whom, over which label.
    pub term: Term,
    /// No value may have so many more than the one that has fewest.
    pub max_skew: u32,
    /// Whether it waits where that cannot be had.
    pub must: bool,
}

/// A taint that a Task puts up with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tolerated {
    /// Its key; empty for every one.
    pub key: String,
    /// Its value; none for every one.
    pub value: Option<String>,
    /// Its effect; none for every one.
    pub effect: Option<u8>,
}

impl Demand {
    /// Whether both ask the same of a node. What they are to others, and what they would rather have, is no wish that a node
    /// could fail.
    pub fn asks_the_same(&self, other: &Self) -> bool {
        (self.cpu, self.memory, self.disk) == (other.cpu, other.memory, other.disk)
            && (&self.ports, &self.volumes) == (&other.ports, &other.volumes)
            && (&self.selector, &self.nodes, &self.tolerations) == (&other.selector, &other.nodes, &other.tolerations)
            && (&self.near, &self.far, &self.spread) == (&other.near, &other.far, &other.spread)
    }

    /// What the Task asks for.
    pub fn of(task: &Task) -> Self {
        let (spec, meta) = (&task.spec, &task.metadata);
        let tolerated = spec.tolerations.iter().map(|toleration| Tolerated {
            key: toleration.key.clone(),
            value: (toleration.operator == TolerationOperator::Equal).then(|| toleration.value.clone()),
            effect: toleration.effect.map(number),
        });
        let namespace = meta.namespace();
        let nodes = &spec.affinity.node_affinity;
        let (near, far) = (&spec.affinity.task_affinity, &spec.affinity.task_anti_affinity);
        let terms = |terms: &[TaskAffinityTerm]| terms.iter().map(|term| Term::of(term, namespace)).collect();
        let rather_near = near.preferred_during_scheduling_ignored_during_execution.iter();
        let rather_far = far.preferred_during_scheduling_ignored_during_execution.iter();
        let rather = rather_near
            .map(|near| (i32::from(near.weight), &near.task_affinity_term))
            .chain(rather_far.map(|far| (-i32::from(far.weight), &far.task_affinity_term)));
        let kin = meta.controller().map(|owner| Who::Kin(owner.uid.clone()));
        Self {
            cpu: spec.resources.cpu_request_milli(),
            memory: spec.resources.memory_request(),
            disk: spec.resources.disk_request(),
            priority: spec.priority,
            policy: spec.scheduling_policy,
            image: image::in_full(&spec.image),
            ports: fixed_ports(spec),
            volumes: volumes(spec),
            selector: spec.node_selector.clone(),
            nodes: nodes.required_during_scheduling_ignored_during_execution.clone(),
            preferred: nodes.preferred_during_scheduling_ignored_during_execution.clone(),
            tolerations: tolerated.collect(),
            near: terms(&near.required_during_scheduling_ignored_during_execution),
            far: terms(&far.required_during_scheduling_ignored_during_execution),
            rather: rather
                .map(|(weight, term)| (weight, Term::of(term, namespace)))
                .collect(),
            spread: spread(spec, namespace, kin.as_ref()),
            namespace: namespace.to_owned(),
            labels: meta.labels.clone(),
            kin,
        }
    }

    /// Whether the Task puts up with the taint.
    pub(super) fn tolerates(&self, taint: &Taint) -> bool {
        self.tolerations.iter().any(|tolerated| {
            (tolerated.key.is_empty() || tolerated.key == taint.key)
                && tolerated.value.as_ref().is_none_or(|value| *value == taint.value)
                && tolerated.effect.is_none_or(|effect| effect == number(taint.effect))
        })
    }

    /// Whether what happens on one node may make room for it on another.
    pub(super) fn reaches_far(&self) -> bool {
        !self.near.is_empty() || !self.far.is_empty() || !self.spread.is_empty() || !self.volumes.is_empty()
    }
}

impl Term {
    fn of(term: &TaskAffinityTerm, namespace: &str) -> Self {
        let mut namespaces = match term.namespaces.as_slice() {
            [] => vec![namespace.to_owned()],
            named => named.to_vec(),
        };
        namespaces.sort();
        namespaces.dedup();
        let selector = term.label_selector.clone();
        Self {
            who: Who::Labelled { namespaces, selector },
            key: term.topology_key.clone(),
        }
    }
}

/// The engine's volumes that are mounted.
fn volumes(spec: &TaskSpec) -> Vec<String> {
    let is_mounted = |name: &str| spec.volume_mounts.iter().any(|mount| mount.name == name);
    let mounted = spec.volumes.iter().filter(|volume| is_mounted(&volume.name));
    mounted.filter_map(|volume| volume.volume.clone()).collect()
}

/// The spreads of a Task. One that names nobody, of a Task that nobody controls, says nothing.
fn spread(spec: &TaskSpec, namespace: &str, kin: Option<&Who>) -> Vec<Spread> {
    let spreads = spec.topology_spread_constraints.iter().filter_map(|constraint| {
        let who = match &constraint.label_selector {
            Some(selector) => Who::Labelled {
                namespaces: vec![namespace.to_owned()],
                selector: selector.clone(),
            },
            None => kin?.clone(),
        };
        Some(Spread {
            term: Term {
                who,
                key: constraint.topology_key.clone(),
            },
            max_skew: constraint.max_skew,
            must: constraint.when_unsatisfiable == WhenUnsatisfiable::DoNotSchedule,
        })
    });
    spreads.collect()
}

fn number(effect: TaintEffect) -> u8 {
    match effect {
        TaintEffect::NoSchedule => 0,
        TaintEffect::PreferNoSchedule => 1,
        TaintEffect::NoExecute => 2,
    }
}

/// The ports of the node that only one Task at a time can have.
pub fn fixed_ports(spec: &TaskSpec) -> Vec<HostPort> {
    let ports = spec.ports.iter().filter_map(|port| {
        let wanted = match spec.network {
            // The program listens on the machine's own port, whether the manifest says so twice or not.
            NetworkMode::Host => port.host_port.or(Some(port.container_port)),
            NetworkMode::Namespace => port.host_port,
            NetworkMode::None => None,
        };
        let any = |address: &String| address != "0.0.0.0" && address != "::";
        let address = port.host_ip.clone().filter(any);
        wanted
            .filter(|port| *port != 0)
            .map(|wanted| (port.protocol, wanted, address))
    });
    ports.collect()
}
