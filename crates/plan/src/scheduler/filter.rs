//! What keeps a Task away from a node: each filter says yes, or refuses with what people need to know.
use cube_api::{
    node::{Taint, TaintEffect},
    task::Protocol,
};

use super::{
    Demand,
    index::{NodeState, Said},
};

/// Why a node cannot take a Task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is not ready, because of this.
    NotReady(String),
    /// Nothing new is placed there.
    Cordoned,
    /// It has not this label.
    Selector(String, String),
    /// It has this taint, which the Task does not put up with.
    Tainted(Taint),
    /// It has not so much CPU free.
    Cpu {
        /// Thousandths that are needed.
        needs: u64,
        /// Thousandths that are free.
        free: u64,
    },
    /// It has not so much memory free.
    Memory {
        /// Bytes that are needed.
        needs: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// It has as many Tasks as it can have.
    Full(u64),
    /// A port is taken.
    Port {
        /// The port.
        port: u16,
        /// Its protocol.
        protocol: Protocol,
        /// The Task that has it: `namespace/name`.
        holder: String,
    },
}

pub(super) type Filter = fn(&Demand, &NodeState, &Said) -> Result<(), Refusal>;

/// All filters, in the order in which a node's refusals are told: what nobody waits for first.
pub(super) const FILTERS: [Filter; 8] = [not_ready, cordoned, selector, taints, cpu, memory, number, ports];

/// Whether the node can take the Task, or the first refusal.
pub(super) fn check(demand: &Demand, state: &NodeState, said: &Said) -> Result<(), Refusal> {
    FILTERS.iter().try_for_each(|filter| filter(demand, state, said))
}

fn not_ready(_: &Demand, _: &NodeState, said: &Said) -> Result<(), Refusal> {
    match &said.not_ready {
        Some(why) => Err(Refusal::NotReady(why.clone())),
        None => Ok(()),
    }
}

fn cordoned(_: &Demand, _: &NodeState, said: &Said) -> Result<(), Refusal> {
    if said.cordoned { Err(Refusal::Cordoned) } else { Ok(()) }
}

fn selector(demand: &Demand, _: &NodeState, said: &Said) -> Result<(), Refusal> {
    let missing = demand
        .selector
        .iter()
        .find(|(key, value)| said.labels.get(*key) != Some(value));
    match missing {
        Some((key, value)) => Err(Refusal::Selector(key.clone(), value.clone())),
        None => Ok(()),
    }
}

fn taints(demand: &Demand, _: &NodeState, said: &Said) -> Result<(), Refusal> {
    let mut strict = said
        .taints
        .iter()
        .filter(|taint| taint.effect != TaintEffect::PreferNoSchedule);
    match strict.find(|taint| !demand.tolerates(taint)) {
        Some(taint) => Err(Refusal::Tainted(taint.clone())),
        None => Ok(()),
    }
}

fn cpu(demand: &Demand, state: &NodeState, said: &Said) -> Result<(), Refusal> {
    let (needs, free) = (demand.cpu, said.allocatable.cpu.saturating_sub(state.used.cpu));
    // Who asks for nothing fits on a node that has given away more than it has.
    if needs > 0 && needs > free {
        Err(Refusal::Cpu { needs, free })
    } else {
        Ok(())
    }
}

fn memory(demand: &Demand, state: &NodeState, said: &Said) -> Result<(), Refusal> {
    let (needs, free) = (demand.memory, said.allocatable.memory.saturating_sub(state.used.memory));
    if needs > 0 && needs > free {
        Err(Refusal::Memory { needs, free })
    } else {
        Ok(())
    }
}

fn number(_: &Demand, state: &NodeState, said: &Said) -> Result<(), Refusal> {
    match said.allocatable.tasks {
        Some(limit) if state.used.tasks >= limit => Err(Refusal::Full(limit)),
        _ => Ok(()),
    }
}

fn ports(demand: &Demand, state: &NodeState, _: &Said) -> Result<(), Refusal> {
    for wanted in &demand.ports {
        if let Some(holder) = state.holder(wanted) {
            return Err(Refusal::Port {
                port: wanted.1,
                protocol: wanted.0,
                holder: holder.to_owned(),
            });
        }
    }
    Ok(())
}
