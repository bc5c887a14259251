//! Why a Task fits nowhere: refusals counted, and what would help.
use std::fmt::Write as _;

use cube_api::quantity::Quantity;

use super::{
    Demand, Index, Refusal,
    index::{NodeState, Said, Usage},
};

/// Why a Task fits nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// For people, in one line: how many nodes refuse for what, and what would help.
    pub message: String,
    /// Something is under way that may make room by itself: a node that would fit is not ready, or Tasks will end.
    pub under_way: bool,
}

impl Explanation {
    pub(super) fn new(index: &Index, demand: &Demand, refusals: Vec<(&str, Refusal)>) -> Self {
        let total = refusals.len();
        if total == 0 {
            return Self {
                message: "there is no node yet".to_owned(),
                under_way: true,
            };
        }
        let mut groups: Vec<(Group, Vec<(&str, Refusal)>)> = Vec::new();
        for (node, refusal) in refusals {
            let group = Group::of(&refusal);
            match groups.iter_mut().find(|(known, _)| *known == group) {
                Some((_, members)) => members.push((node, refusal)),
                None => groups.push((group, vec![(node, refusal)])),
            }
        }
        groups.sort_by_key(|(_, members)| std::cmp::Reverse(members.len()));
        let told: Vec<String> = groups.iter().map(|(_, members)| tell(members)).collect();
        let nodes = if total == 1 { "node" } else { "nodes" };
        let mut message = format!("0/{total} {nodes} can run this: {}", told.join(", "));
        if let Some(hint) = hint(index, demand) {
            let _ = write!(message, "; {hint}");
        }
        Self {
            message,
            under_way: index.nodes().any(|(_, state, said)| may_fit(demand, state, said)),
        }
    }
}

/// What is counted together.
#[derive(PartialEq)]
enum Group {
    NotReady,
    Cordoned,
    Selector(String, String),
    Tainted(String, String),
    Cpu,
    Memory,
    Full,
    Port(u16),
}

impl Group {
    fn of(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::NotReady(_) => Self::NotReady,
            Refusal::Cordoned => Self::Cordoned,
            Refusal::Selector(key, value) => Self::Selector(key.clone(), value.clone()),
            Refusal::Tainted(taint) => Self::Tainted(taint.key.clone(), taint.value.clone()),
            Refusal::Cpu { .. } => Self::Cpu,
            Refusal::Memory { .. } => Self::Memory,
            Refusal::Full(_) => Self::Full,
            Refusal::Port { port, .. } => Self::Port(*port),
        }
    }
}

/// `2 lack memory (needs 4Gi, most free is 1.2Gi on node-b)`.
fn tell(members: &[(&str, Refusal)]) -> String {
    let n = members.len();
    let lack = if n == 1 { "lacks" } else { "lack" };
    let has = if n == 1 { "has" } else { "have" };
    let is = if n == 1 { "is" } else { "are" };
    let Some((node, first)) = members.first() else {
        return String::new();
    };
    match first {
        Refusal::NotReady(why) => format!("{n} {is} not ready ({node}: {why})"),
        Refusal::Cordoned => format!("{n} {is} cordoned"),
        Refusal::Selector(key, value) => {
            let does = if n == 1 { "does" } else { "do" };
            format!("{n} {does} not match selector {key}={value}")
        }
        Refusal::Tainted(taint) => format!("{n} {has} the taint {}, which it does not tolerate", shown(taint)),
        Refusal::Cpu { needs, .. } => {
            let (node, most) = most_free(members);
            format!(
                "{n} {lack} cpu (needs {}, most free is {} on {node})",
                cores(*needs),
                cores(most)
            )
        }
        Refusal::Memory { needs, .. } => {
            let (node, most) = most_free(members);
            format!(
                "{n} {lack} memory (needs {}, most free is {} on {node})",
                size(*needs),
                size(most)
            )
        }
        Refusal::Full(limit) => format!("{n} {has} as many Tasks as can be ({limit} on {node})"),
        Refusal::Port { port, holder, .. } => format!("{n} {has} port {port} taken (on {node} by task {holder})"),
    }
}

fn most_free<'a>(members: &[(&'a str, Refusal)]) -> (&'a str, u64) {
    let free = members.iter().map(|(node, refusal)| match refusal {
        Refusal::Cpu { free, .. } | Refusal::Memory { free, .. } => (*node, *free),
        _ => (*node, 0),
    });
    // Of equals the first by name.
    free.reduce(|most, next| if next.1 > most.1 { next } else { most })
        .unwrap_or_default()
}

fn shown(taint: &cube_api::node::Taint) -> String {
    match taint.value.as_str() {
        "" => taint.key.clone(),
        value => format!("{}={value}", taint.key),
    }
}

/// What the Task itself could ask for, so that it fits now: only where a single thing stands in the way.
fn hint(index: &Index, demand: &Demand) -> Option<String> {
    let mut best: Option<(u64, String)> = None;
    let mut offer = |rank: u64, hint: String| {
        if best.as_ref().is_none_or(|(most, _)| rank > *most) {
            best = Some((rank, hint));
        }
    };
    for (name, state, said) in index.nodes() {
        match state.refusals(demand, said).as_slice() {
            [Refusal::Memory { free, .. }] if *free >= (1 << 20) => {
                offer(
                    *free,
                    format!("asking for {} of memory would fit now on {name}", size_down(*free)),
                );
            }
            [Refusal::Cpu { free, .. }] if *free > 0 => {
                offer(
                    *free,
                    format!("asking for {} cpu would fit now on {name}", cores(*free)),
                );
            }
            [Refusal::Tainted(taint)] => {
                offer(
                    0,
                    format!("with a toleration of {} it would fit now on {name}", shown(taint)),
                );
            }
            _ => {}
        }
    }
    best.map(|(_, hint)| hint)
}

/// Whether the node could take the Task when it is ready and what ends has ended.
fn may_fit(demand: &Demand, state: &NodeState, said: &Said) -> bool {
    let ending = state.ending;
    if said.not_ready.is_none() && ending == Usage::default() {
        return false;
    }
    let refusals = state.refusals(demand, said);
    refusals.iter().all(|refusal| match refusal {
        Refusal::NotReady(_) => true,
        Refusal::Cpu { needs, free } => *needs <= free + ending.cpu,
        Refusal::Memory { needs, free } => *needs <= free + ending.memory,
        Refusal::Full(_) | Refusal::Port { .. } => ending.tasks > 0,
        Refusal::Cordoned | Refusal::Selector(..) | Refusal::Tainted(_) => false,
    })
}

/// Thousandths of a CPU as people write them.
fn cores(milli: u64) -> String {
    Quantity::from_milli(milli).to_string()
}

/// Bytes as people write them: `4Gi`, `1.2Gi`, `300Mi`.
fn size(bytes: u64) -> String {
    sized(bytes, 0.05)
}

/// The same, never more than there is.
fn size_down(bytes: u64) -> String {
    sized(bytes, 0.0)
}

fn sized(bytes: u64, half: f64) -> String {
    for (suffix, unit) in [("Ti", 1_u64 << 40), ("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)] {
        if bytes >= unit {
            let tenths = ((bytes as f64 / unit as f64 + half) * 10.0).floor() as u64;
            let (whole, part) = (tenths / 10, tenths % 10);
            return match part {
                0 => format!("{whole}{suffix}"),
                part => format!("{whole}.{part}{suffix}"),
            };
        }
    }
    bytes.to_string()
}
