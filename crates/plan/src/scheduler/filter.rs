//! What keeps a Task away from a node, seen from that node alone: each filter says yes, or refuses with what people need
//! to know. What depends on Tasks elsewhere is in `surroundings.rs`.
use cube_api::{
    node::{Taint, TaintEffect},
    task::Protocol,
};
use cube_planted::{Bug, planted};

use super::{Demand, facts::Site};

/// Why a node cannot take a Task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is not ready, because of this.
    NotReady(String),
    /// Nothing new is placed there.
    Cordoned,
    /// It has not this label.
    Selector(String, String),
    /// It is not what the required node affinity says.
    Affinity,
    /// It has this taint, which the Task does not put up with.
    Tainted(Taint),
    /// It has this condition: `DiskPressure` or `MemoryPressure`.
    Pressure(&'static str),
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
    /// It has not so much disk free.
    Disk {
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
    /// A volume is on another node.
    Volume {
        /// The volume.
        volume: String,
        /// A node that has it.
        home: String,
    },
    /// It has not this label, by which Tasks are to be near, or spread.
    NoLabel(String),
    /// None of those Tasks is near it.
    Near {
        /// Which Tasks.
        who: String,
        /// What near means.
        key: String,
    },
    /// One of those Tasks is near it.
    Far {
        /// Which Tasks.
        who: String,
        /// What near means.
        key: String,
    },
    /// A Task near it must be far from such as this one.
    KeptAway {
        /// What near means.
        key: String,
    },
    /// It has so many more of those Tasks than where there are fewest.
    Spread {
        /// The label that they are spread over.
        key: String,
        /// With this one there would be so many more.
        skew: u32,
        /// So many are allowed.
        max_skew: u32,
    },
}

/// A filter: its name for people, and what it checks.
pub(super) type Filter = (&'static str, fn(&Demand, Site) -> Result<(), Refusal>);

/// All filters of a node alone, in the order in which its refusals are told: what nobody waits for first.
pub(super) const FILTERS: [Filter; 12] = [
    ("ready", not_ready),
    ("cordon", cordoned),
    ("selector", selector),
    ("affinity", affinity),
    ("taints", taints),
    ("pressure", pressure),
    ("cpu", cpu),
    ("memory", memory),
    ("disk", disk),
    ("tasks", number),
    ("ports", ports),
    ("volumes", volumes),
];

/// Whether the node by itself can take the Task, or the first refusal.
pub(super) fn check(demand: &Demand, site: Site) -> Result<(), Refusal> {
    FILTERS.iter().try_for_each(|(_, filter)| filter(demand, site))
}

/// Whether the node has what the Task itself asks for, or the first refusal.
pub(super) fn check_wishes(demand: &Demand, site: Site) -> Result<(), Refusal> {
    let wishes = [selector, affinity, cpu, memory, disk, ports];
    wishes.iter().try_for_each(|filter| filter(demand, site))
}

/// Whether the node is one of those that the Task may be on: what spread counts as a place.
pub(super) fn is_eligible(demand: &Demand, site: Site) -> bool {
    selector(demand, site).is_ok() && affinity(demand, site).is_ok()
}

fn not_ready(_: &Demand, site: Site) -> Result<(), Refusal> {
    match &site.said.not_ready {
        Some(why) => Err(Refusal::NotReady(why.clone())),
        None => Ok(()),
    }
}

fn cordoned(_: &Demand, site: Site) -> Result<(), Refusal> {
    if site.said.cordoned && !planted(Bug::CordonUnheeded) {
        Err(Refusal::Cordoned)
    } else {
        Ok(())
    }
}

fn selector(demand: &Demand, site: Site) -> Result<(), Refusal> {
    let labels = &site.said.labels;
    let missing = demand
        .selector
        .iter()
        .find(|(key, value)| labels.get(*key) != Some(value));
    match missing {
        Some((key, value)) => Err(Refusal::Selector(key.clone(), value.clone())),
        None => Ok(()),
    }
}

fn affinity(demand: &Demand, site: Site) -> Result<(), Refusal> {
    match &demand.nodes {
        Some(nodes) if !nodes.matches(&site.said.labels) => Err(Refusal::Affinity),
        _ => Ok(()),
    }
}

fn taints(demand: &Demand, site: Site) -> Result<(), Refusal> {
    // A taint that moves Tasks away keeps new ones out just as well.
    let strict = |taint: &&Taint| taint.effect != TaintEffect::PreferNoSchedule;
    let mut strict = site.said.taints.iter().filter(strict);
    match strict.find(|taint| !demand.tolerates(taint)) {
        Some(taint) => Err(Refusal::Tainted(taint.clone())),
        None => Ok(()),
    }
}

fn pressure(_: &Demand, site: Site) -> Result<(), Refusal> {
    match site.said.pressure {
        Some(condition) => Err(Refusal::Pressure(condition)),
        None => Ok(()),
    }
}

/// Who asks for nothing fits on a node that has given away more than it has.
fn lacks(needs: u64, there: u64, taken: u64) -> Option<(u64, u64)> {
    let free = there.saturating_sub(taken);
    (needs > 0 && needs > free).then_some((needs, free))
}

fn cpu(demand: &Demand, site: Site) -> Result<(), Refusal> {
    let taken = site.state.taken_from(demand).cpu;
    match lacks(demand.cpu, site.said.allocatable.cpu, taken) {
        Some((needs, free)) => Err(Refusal::Cpu { needs, free }),
        None => Ok(()),
    }
}

fn memory(demand: &Demand, site: Site) -> Result<(), Refusal> {
    let taken = site.state.taken_from(demand).memory;
    match lacks(demand.memory, site.said.allocatable.memory, taken) {
        Some((needs, free)) => Err(Refusal::Memory { needs, free }),
        None => Ok(()),
    }
}

fn disk(demand: &Demand, site: Site) -> Result<(), Refusal> {
    let taken = site.state.taken_from(demand).disk;
    match lacks(demand.disk, site.said.allocatable.disk, taken) {
        Some((needs, free)) => Err(Refusal::Disk { needs, free }),
        None => Ok(()),
    }
}

fn number(demand: &Demand, site: Site) -> Result<(), Refusal> {
    match site.said.allocatable.tasks {
        Some(limit) if site.state.taken_from(demand).tasks >= limit => Err(Refusal::Full(limit)),
        _ => Ok(()),
    }
}

fn ports(demand: &Demand, site: Site) -> Result<(), Refusal> {
    for wanted in demand.ports.iter().filter(|_| !planted(Bug::PortsUnchecked)) {
        if let Some(holder) = site.state.holder(demand, wanted) {
            return Err(Refusal::Port {
                port: wanted.1,
                protocol: wanted.0,
                holder: holder.to_owned(),
            });
        }
    }
    Ok(())
}

/// Data stays where it is: a volume that is on a node is not begun anew on another.
fn volumes(demand: &Demand, site: Site) -> Result<(), Refusal> {
    for volume in &demand.volumes {
        let mut homes = site.facts.homes(volume).peekable();
        let Some(first) = homes.peek().map(|home| home.to_string()) else {
            continue;
        };
        if !homes.any(|home| home == site.name) {
            return Err(Refusal::Volume {
                volume: volume.clone(),
                home: first,
            });
        }
    }
    Ok(())
}
