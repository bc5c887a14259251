//! What a Task asks of a node: Tasks of the same demand fit, or do not fit, in the same places.
use std::collections::BTreeMap;

use cube_api::{
    node::TaintEffect,
    task::{NetworkMode, Protocol, Task, TaskSpec, TolerationOperator},
};

/// A port of a node, and the address that it is wanted on; no address means every one.
pub type HostPort = (Protocol, u16, Option<String>);

/// What a Task asks of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Demand {
    /// Thousandths of a CPU.
    pub cpu: u64,
    /// Bytes of memory.
    pub memory: u64,
    /// Ports of the node.
    pub ports: Vec<HostPort>,
    /// Labels that the node must have.
    pub selector: BTreeMap<String, String>,
    /// Taints that it puts up with.
    pub tolerations: Vec<Tolerated>,
    /// The uid of its controller: such Tasks are spread.
    pub kin: Option<String>,
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
    /// What the Task asks for.
    pub fn of(task: &Task) -> Self {
        let spec = &task.spec;
        let tolerated = spec.tolerations.iter().map(|toleration| Tolerated {
            key: toleration.key.clone(),
            value: (toleration.operator == TolerationOperator::Equal).then(|| toleration.value.clone()),
            effect: toleration.effect.map(number),
        });
        Self {
            cpu: spec.resources.cpu_request_milli(),
            memory: spec.resources.memory_request(),
            ports: fixed_ports(spec),
            selector: spec.node_selector.clone(),
            tolerations: tolerated.collect(),
            kin: task.metadata.controller().map(|owner| owner.uid.clone()),
        }
    }

    /// Whether the Task puts up with the taint.
    pub(super) fn tolerates(&self, taint: &cube_api::node::Taint) -> bool {
        self.tolerations.iter().any(|tolerated| {
            (tolerated.key.is_empty() || tolerated.key == taint.key)
                && tolerated.value.as_ref().is_none_or(|value| *value == taint.value)
                && tolerated.effect.is_none_or(|effect| effect == number(taint.effect))
        })
    }
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
