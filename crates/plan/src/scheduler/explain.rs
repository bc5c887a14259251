//! Why a Task fits nowhere: refusals counted, and what would help.
use std::{fmt::Write as _, sync::Arc};

use cube_api::{meta::NODE_LABEL, quantity::Quantity};

use super::{Index, Refusal, facts::Site};

/// Why a Task fits nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// For people, in one line: how many nodes refuse for what, and what would help.
    pub message: String,
    /// Something is under way that may make room by itself: a node that would fit is not ready, or Tasks will end.
    pub under_way: bool,
}

impl Explanation {
    pub(super) fn new(index: &Index, refusals: &[(Arc<str>, Vec<Refusal>)]) -> Self {
        let total = refusals.len();
        if total == 0 {
            return Self {
                message: "there is no node yet".to_owned(),
                under_way: true,
            };
        }
        let mut groups: Vec<(Group, Vec<(&str, &Refusal)>)> = Vec::new();
        for (node, refusals) in refusals {
            let Some(refusal) = refusals.first() else { continue };
            let group = Group::of(refusal);
            match groups.iter_mut().find(|(known, _)| *known == group) {
                Some((_, members)) => members.push((node, refusal)),
                None => groups.push((group, vec![(node, refusal)])),
            }
        }
        groups.sort_by_key(|(_, members)| std::cmp::Reverse(members.len()));
        let told: Vec<String> = groups.iter().map(|(_, members)| tell(members)).collect();
        let nodes = if total == 1 { "node" } else { "nodes" };
        let mut message = format!("0/{total} {nodes} can run this: {}", told.join(", "));
        if let Some(hint) = hint(refusals) {
            let _ = write!(message, "; {hint}");
        }
        let mut sites = index.sites().zip(refusals);
        let under_way = sites.any(|(site, (_, refusals))| may_fit(site, refusals));
        Self { message, under_way }
    }
}

/// What is counted together.
#[derive(PartialEq)]
enum Group<'a> {
    NotReady,
    Cordoned,
    Selector(&'a str, &'a str),
    Affinity,
    Tainted(&'a str, &'a str),
    Pressure(&'a str),
    Cpu,
    Memory,
    Disk,
    Full,
    Port(u16),
    Volume(&'a str),
    NoLabel(&'a str),
    Near(&'a str, &'a str),
    Far(&'a str, &'a str),
    KeptAway(&'a str),
    Spread(&'a str),
}

impl<'a> Group<'a> {
    fn of(refusal: &'a Refusal) -> Self {
        match refusal {
            Refusal::NotReady(_) => Self::NotReady,
            Refusal::Cordoned => Self::Cordoned,
            Refusal::Selector(key, value) => Self::Selector(key, value),
            Refusal::Affinity => Self::Affinity,
            Refusal::Tainted(taint) => Self::Tainted(&taint.key, &taint.value),
            Refusal::Pressure(condition) => Self::Pressure(condition),
            Refusal::Cpu { .. } => Self::Cpu,
            Refusal::Memory { .. } => Self::Memory,
            Refusal::Disk { .. } => Self::Disk,
            Refusal::Full(_) => Self::Full,
            Refusal::Port { port, .. } => Self::Port(*port),
            Refusal::Volume { volume, .. } => Self::Volume(volume),
            Refusal::NoLabel(key) => Self::NoLabel(key),
            Refusal::Near { who, key } => Self::Near(who, key),
            Refusal::Far { who, key } => Self::Far(who, key),
            Refusal::KeptAway { key } => Self::KeptAway(key),
            Refusal::Spread { key, .. } => Self::Spread(key),
        }
    }
}

/// `2 lack memory (needs 4Gi, most free is 1.2Gi on node-b)`.
fn tell(members: &[(&str, &Refusal)]) -> String {
    let n = members.len();
    let one_or_more = |one: &'static str, more: &'static str| if n == 1 { one } else { more };
    let (lack, has, is) = (
        one_or_more("lacks", "lack"),
        one_or_more("has", "have"),
        one_or_more("is", "are"),
    );
    let Some((node, first)) = members.first() else {
        return String::new();
    };
    let lacks = |what: &str, shown: fn(u64) -> String, needs: u64| {
        let (node, most) = most_free(members);
        let (needs, most) = (shown(needs), shown(most));
        format!("{n} {lack} {what} (needs {needs}, most free is {most} on {node})")
    };
    match first {
        Refusal::NotReady(why) => format!("{n} {is} not ready ({node}: {why})"),
        Refusal::Cordoned => format!("{n} {is} cordoned"),
        Refusal::Selector(key, value) => {
            let does = one_or_more("does", "do");
            format!("{n} {does} not match selector {key}={value}")
        }
        Refusal::Affinity => format!("{n} {is} not what its node affinity requires"),
        Refusal::Tainted(taint) => format!("{n} {has} the taint {}, which it does not tolerate", shown(taint)),
        Refusal::Pressure(condition) => format!("{n} {has} {condition}"),
        Refusal::Cpu { needs, .. } => lacks("cpu", cores, *needs),
        Refusal::Memory { needs, .. } => lacks("memory", size, *needs),
        Refusal::Disk { needs, .. } => lacks("disk", size, *needs),
        Refusal::Full(limit) => format!("{n} {has} as many Tasks as can be ({limit} on {node})"),
        Refusal::Port { port, holder, .. } => format!("{n} {has} port {port} taken (on {node} by task {holder})"),
        Refusal::Volume { volume, home } => format!("{n} {has} not volume {volume}, which is on {home}"),
        Refusal::NoLabel(key) => format!("{n} {has} no label {key}"),
        Refusal::Near { who, key } => format!("{n} {has} no task {who} in the same {}", place(key)),
        Refusal::Far { who, key } => format!("{n} {has} a task {who} in the same {}", place(key)),
        Refusal::KeptAway { key } => {
            format!(
                "{n} {has} a task in the same {} that must be far from this one",
                place(key)
            )
        }
        Refusal::Spread { key, max_skew, .. } => {
            let place = place(key);
            format!("{n} would have more than {max_skew} above the {place} with fewest")
        }
    }
}

/// The same of one node alone: `lacks memory: needs 4Gi, 1.2Gi is free`.
pub(super) fn of_one(refusal: &Refusal) -> String {
    let lacks = |what: &str, needs: String, free: String| format!("lacks {what}: needs {needs}, {free} is free");
    match refusal {
        Refusal::NotReady(why) => format!("is not ready: {why}"),
        Refusal::Cordoned => "is cordoned".to_owned(),
        Refusal::Selector(key, value) => format!("has not the label {key}={value}"),
        Refusal::Affinity => "is not what the node affinity requires".to_owned(),
        Refusal::Tainted(taint) => format!("has the taint {}", shown(taint)),
        Refusal::Pressure(condition) => format!("has {condition}"),
        Refusal::Cpu { needs, free } => lacks("cpu", cores(*needs), cores(*free)),
        Refusal::Memory { needs, free } => lacks("memory", size(*needs), size(*free)),
        Refusal::Disk { needs, free } => lacks("disk", size(*needs), size(*free)),
        Refusal::Full(limit) => format!("has {limit} tasks, as many as can be"),
        Refusal::Port { port, holder, .. } => format!("port {port} is taken by task {holder}"),
        Refusal::Volume { volume, home } => format!("volume {volume} is on {home}"),
        Refusal::NoLabel(key) => format!("has no label {key}"),
        Refusal::Near { who, key } => format!("no task {who} is in the same {}", place(key)),
        Refusal::Far { who, key } => format!("a task {who} is in the same {}", place(key)),
        Refusal::KeptAway { key } => format!("a task in the same {} must be far from this one", place(key)),
        Refusal::Spread { key, skew, max_skew } => {
            let place = place(key);
            format!("the {place} would have {skew} more than the one with fewest, {max_skew} may be")
        }
    }
}

/// What nodes with the same value of a label are called.
fn place(key: &str) -> &str {
    if key == NODE_LABEL { "node" } else { key }
}

fn most_free<'a>(members: &[(&'a str, &Refusal)]) -> (&'a str, u64) {
    let free = members.iter().map(|(node, refusal)| match refusal {
        Refusal::Cpu { free, .. } | Refusal::Memory { free, .. } | Refusal::Disk { free, .. } => (*node, *free),
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

/// What small change would make it fit now: only where a single thing stands in the way. A smaller wish comes first, and of
/// those the one that is asked to give up least; then what others would have to change.
fn hint(refusals: &[(Arc<str>, Vec<Refusal>)]) -> Option<String> {
    let mut best: Option<(u64, String)> = None;
    for (node, refusals) in refusals {
        let [refusal] = refusals.as_slice() else { continue };
        let Some((rank, change)) = change(refusal, node) else {
            continue;
        };
        if best.as_ref().is_none_or(|(most, _)| rank > *most) {
            best = Some((rank, change));
        }
    }
    best.map(|(_, hint)| hint)
}

/// The change that would help against a refusal, and how small it is; none where none is small.
fn change(refusal: &Refusal, node: &str) -> Option<(u64, String)> {
    // Above every other rank, however little of what is needed is free.
    let share = |free: u64, needs: u64| 10 + free.saturating_mul(1000) / needs.max(1);
    Some(match refusal {
        Refusal::Memory { free, needs } if *free >= (1 << 20) => (
            share(*free, *needs),
            format!("asking for {} of memory would fit now on {node}", size_down(*free)),
        ),
        Refusal::Disk { free, needs } if *free >= (1 << 20) => (
            share(*free, *needs),
            format!("asking for {} of disk would fit now on {node}", size_down(*free)),
        ),
        Refusal::Cpu { free, needs } if *free > 0 => (
            share(*free, *needs),
            format!("asking for {} cpu would fit now on {node}", cores(*free)),
        ),
        Refusal::Spread { skew, key, .. } => (5, format!("with maxSkew {skew} over {key} it would fit now on {node}")),
        Refusal::Tainted(taint) => (
            4,
            format!("with a toleration of {} it would fit now on {node}", shown(taint)),
        ),
        Refusal::Cordoned => (3, format!("it would fit now on {node} if that were uncordoned")),
        Refusal::Selector(key, value) => (
            2,
            format!("it would fit now on {node} if that had the label {key}={value}"),
        ),
        _ => return None,
    })
}

/// Whether the node could take the Task when it is ready and what ends has ended.
fn may_fit(site: Site, refusals: &[Refusal]) -> bool {
    let ending = site.state.ending;
    let passes = site.said.not_ready.is_some() || site.said.pressure.is_some() || ending.tasks > 0;
    passes
        && refusals.iter().all(|refusal| match refusal {
            Refusal::NotReady(_) | Refusal::Pressure(_) => true,
            Refusal::Cpu { needs, free } => *needs <= free.saturating_add(ending.cpu),
            Refusal::Memory { needs, free } => *needs <= free.saturating_add(ending.memory),
            Refusal::Disk { needs, free } => *needs <= free.saturating_add(ending.disk),
            Refusal::Port { holder, .. } => site.facts.assigned(holder).is_some_and(|holder| holder.ends),
            Refusal::Full(_) | Refusal::Far { .. } | Refusal::KeptAway { .. } => ending.tasks > 0,
            // An end elsewhere makes the fewest fewer still.
            Refusal::Spread { .. } | Refusal::Near { .. } | Refusal::NoLabel(_) | Refusal::Volume { .. } => false,
            Refusal::Cordoned | Refusal::Selector(..) | Refusal::Affinity | Refusal::Tainted(_) => false,
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
