//! How much more even things are after a move.
use std::{cmp::Ordering, collections::BTreeSet};

use cube_api::placement::SchedulingPolicy;

use super::super::{
    Demand, Index,
    demand::Term,
    facts::{Facts, Site},
    node::{Allocatable, Usage},
    score::load,
};

/// A node must be loaded by so much less than the other, the Task included, for a Task to move: a twentieth. Less would move
/// Tasks for differences that nobody feels, more would leave a new node emptier than it need be.
const MARGIN: u64 = 50_000;

/// What a move is good for; the greater is made first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Gain {
    /// So many more Tasks that are to be spread with it were at its place, over all that spread it.
    crowd: u32,
    /// By which label it is spread the most.
    key: Option<String>,
    /// Tasks of its Deployment on the node that it leaves, itself included, and on the other with it there.
    kin: (u32, u32),
    /// The load of the node that it leaves, and of the other with it there, in millionths.
    load: (u64, u64),
    /// What the Task itself makes of that.
    own: u64,
}

/// How gains compare, from top to bottom.
pub(super) type Order = (u32, u32, u128);

impl Gain {
    /// How it compares.
    pub fn order(&self) -> Order {
        let kin = self.kin.0.saturating_sub(self.kin.1);
        let load = self.load.0.saturating_sub(self.load.1);
        // The one of two Tasks that takes more with it leaves fewer moves to others.
        (self.crowd, kin, u128::from(load) * u128::from(self.own))
    }

    /// In people's words.
    pub fn told(&self, from: &str, to: &str) -> String {
        let percent = |load: u64| (load + 5_000) / 10_000;
        match (&self.key, self.kin) {
            (Some(key), _) => format!("more even over {key}"),
            (None, (before, after)) if before > after => {
                format!(
                    "{before} of its Deployment on {from}, {} on {to}",
                    after.saturating_sub(1)
                )
            }
            _ => format!(
                "{from} is loaded {} %, {to} {} % with it",
                percent(self.load.0),
                percent(self.load.1)
            ),
        }
    }
}

/// What no node is better than.
#[derive(Clone, Copy)]
pub(super) struct Best {
    /// The smallest load of a node that can take Tasks.
    load: u64,
    /// The most that one of them has of each resource.
    there: Allocatable,
}

impl Best {
    /// As things are now.
    pub fn of(index: &Index) -> Self {
        let takes = |site: &Site| site.said.not_ready.is_none() && !site.said.cordoned;
        let mut best = Self {
            load: u64::MAX,
            there: Allocatable::default(),
        };
        for site in index.sites().filter(takes) {
            let there = site.said.allocatable;
            best.load = best.load.min(load(site.state.used, there));
            best.there.cpu = best.there.cpu.max(there.cpu);
            best.there.memory = best.there.memory.max(there.memory);
        }
        best
    }
}

/// No move of a Task of that demand away from the node gains more; none if none gains anything. It is worked out without a
/// look at where the Task would go, so that those that cannot be the best cost nothing.
pub(super) fn at_most(
    index: &Index,
    demand: &Demand,
    from: &str,
    spreads: &BTreeSet<Term>,
    best: Best,
) -> Option<Order> {
    let facts = index.facts();
    let site = facts.site(from)?;
    let usage = Usage::of(demand);
    let (here, own) = (
        load(site.state.used, site.said.allocatable),
        load(usage, site.said.allocatable),
    );
    // Shares are cut to whole millionths, each on its own.
    let there = best.load.saturating_add(load(usage, best.there)).saturating_sub(2);
    let could = u128::from(here.saturating_sub(there)) * u128::from(own);
    if spreads.iter().any(|term| term.who.has(demand)) {
        return Some((u32::MAX, u32::MAX, could));
    }
    let kin = match index.policy_of(demand) {
        SchedulingPolicy::Spread => facts.kin(demand, from).saturating_sub(1),
        _ => 0,
    };
    (kin > 0 || here >= there.saturating_add(MARGIN)).then_some((0, kin, could))
}

/// What is gained when a Task of that demand, which the index does not know of at this moment, is on the second node
/// instead of the first; none if nothing is, or others are worse off.
pub(super) fn of(
    index: &mut Index,
    demand: &Demand,
    (from, to): (&str, &str),
    spreads: &BTreeSet<Term>,
) -> Option<Gain> {
    if from == to || is_preferred(index, demand, from, to) {
        return None;
    }
    let policy = index.policy_of(demand);
    let facts = index.facts();
    let (old, new) = (facts.site(from)?, facts.site(to)?);
    if is_needed(facts, demand, old, new) {
        return None;
    }
    let mut gain = Gain::default();
    let mut most = 0;
    for term in spreads.iter().filter(|term| term.who.has(demand)) {
        let fewer = crowd(facts, term, old, new)?;
        gain.crowd += fewer;
        if fewer > most {
            most = fewer;
            gain.key = Some(term.key.clone());
        }
    }
    // Only where the policy counts them.
    if policy == SchedulingPolicy::Spread && demand.kin.is_some() {
        gain.kin = (facts.kin(demand, from) + 1, facts.kin(demand, to) + 1);
    }
    let own = Usage::of(demand);
    let with = |site: Site| load(site.state.used.plus(own), site.said.allocatable);
    gain.load = (with(old), with(new));
    gain.own = load(own, old.said.allocatable);
    let (kin, loads) = (gain.kin, gain.load);
    match (gain.crowd, kin.0.cmp(&kin.1)) {
        (1.., _) | (0, Ordering::Greater) => Some(gain),
        (0, Ordering::Equal) if loads.1.saturating_add(MARGIN) <= loads.0 => Some(gain),
        _ => None,
    }
}

/// Whether preferences find the first node better than the second.
fn is_preferred(index: &mut Index, demand: &Demand, from: &str, to: &str) -> bool {
    let (Some(old), Some(new)) = (index.preference(from, demand), index.preference(to, demand)) else {
        return false;
    };
    old < new
}

/// So many more Tasks of the sort are at the first place than at the second, the Task left out; none where there are fewer:
/// those would be spread worse.
fn crowd(facts: &Facts, term: &Term, old: Site, new: Site) -> Option<u32> {
    match (old.value(&term.key), new.value(&term.key)) {
        (None, _) => Some(0),
        (Some(_), None) => None,
        (Some(there), Some(here)) if there == here => Some(0),
        (Some(_), Some(_)) => count(facts, term, old).checked_sub(count(facts, term, new)),
    }
}

/// Tasks of the sort at the node's place that stay there.
fn count(facts: &Facts, term: &Term, site: Site) -> u32 {
    let Some(crowd) = facts.crowd(&term.who) else { return 0 };
    match site.value(&term.key) {
        Some(value) if term.key != cube_api::meta::NODE_LABEL => crowd.at(&term.key, value).staying(),
        Some(_) => crowd.on(site.name).staying(),
        None => 0,
    }
}

/// Whether some Task must be near to such a one, and would have none any more.
fn is_needed(facts: &Facts, demand: &Demand, old: Site, new: Site) -> bool {
    facts.those_near(demand).any(|(term, nodes)| {
        let place = old.value(&term.key);
        let is_there = |node: &str| facts.site(node).and_then(|site| site.value(&term.key)) == place;
        place.is_some()
            && place != new.value(&term.key)
            && count(facts, term, old) == 0
            && nodes.into_iter().any(is_there)
    })
}
