//! Which of the nodes that can take a Task is best.
//!
//! Preferences come before the policy, in this order: taints that only prefer others, what node and Task affinity would
//! rather have, soft spread. Only nodes that are alike in those are told apart by the policy, and only those that it finds
//! alike by name.
//!
//! | policy | less is better |
//! |---|---|
//! | `spread` | Tasks of the same controller, then load, then number of Tasks |
//! | `binpack` | what is left free |
//! | `round-robin` | nothing: the next by name after the one that was given last |
//! | `greedy` | nothing: the first by name |
//! | `e-pvm` | marginal opportunity cost |
//!
//! *Load* is the mean of the shares of CPU and memory that are taken, the Task included. Where a policy goes by load, a node
//! that lacks the image counts as a tenth more loaded (less, for `binpack`): pulling is worth that much and no more, so that
//! a new node without images fills up too.
use cube_api::{node::TaintEffect, placement::SchedulingPolicy};

use super::{
    Demand,
    facts::Site,
    node::{Allocatable, Usage},
    surroundings::Leaning,
};

/// The whole of a resource, as shares are counted.
const WHOLE: u64 = 1_000_000;
/// What a missing image counts for: a tenth.
const IMAGE: u64 = WHOLE / 10;

/// How good a node is for a Task: less is better, compared from top to bottom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Score {
    /// Taints that only prefer others.
    pub avoided: u32,
    /// Weights of the preferences that are met, below nothing.
    pub unwanted: i32,
    /// Tasks at the place that would rather be spread.
    pub crowded: u64,
    /// Tasks of the same controller.
    pub kin: u32,
    /// What the policy makes of it.
    pub cost: u64,
    /// Number of Tasks.
    pub tasks: u32,
}

impl Score {
    /// With what Tasks elsewhere make of the place.
    #[must_use]
    pub(super) fn leaning(self, leaning: Leaning) -> Self {
        Self {
            unwanted: self.unwanted + leaning.unwanted,
            crowded: self.crowded + leaning.crowded,
            ..self
        }
    }
}

/// The score of a node that can take the Task, before Tasks elsewhere are looked at.
pub(super) fn score(demand: &Demand, site: Site, policy: SchedulingPolicy) -> Score {
    let said = site.said;
    let avoids = said
        .taints
        .iter()
        .filter(|taint| taint.effect == TaintEffect::PreferNoSchedule && !demand.tolerates(taint));
    let met = demand.preferred.iter();
    let met = met.filter(|preferred| preferred.preference.matches(&said.labels));
    let preferences = Score {
        avoided: avoids.count() as u32,
        unwanted: -met.map(|preferred| i32::from(preferred.weight)).sum::<i32>(),
        ..Score::default()
    };
    let (used, task, there) = (site.state.used, Usage::of(demand), said.allocatable);
    let missing = if said.images.contains(&demand.image) { 0 } else { IMAGE };
    match policy {
        SchedulingPolicy::Spread => Score {
            kin: site.facts.kin(demand, site.name),
            cost: load(used.plus(task), there).saturating_add(missing),
            tasks: u32::try_from(used.tasks).unwrap_or(u32::MAX),
            ..preferences
        },
        SchedulingPolicy::Binpack => Score {
            cost: (4 * WHOLE).saturating_sub(load(used.plus(task), there)) + missing,
            ..preferences
        },
        SchedulingPolicy::RoundRobin | SchedulingPolicy::Greedy => preferences,
        SchedulingPolicy::EPvm => Score {
            cost: opportunity_cost(used, task, there, site.facts.count(), missing),
            ..preferences
        },
    }
}

/// The mean share of CPU and memory, in millionths.
pub(super) fn load(taken: Usage, there: Allocatable) -> u64 {
    share(taken.weighed_cpu, there.cpu) / 2 + share(taken.weighed_memory, there.memory) / 2
}

fn share(part: u64, whole: u64) -> u64 {
    let share = u128::from(part) * u128::from(WHOLE) / u128::from(whole.max(1));
    u64::try_from(share).unwrap_or(u64::MAX)
}

/// What placing the Task costs in opportunities, in billionths: the sum over CPU, memory and disk of
///
/// ```text
/// n^(utilisation with the Task) − n^(utilisation before)          n: number of nodes
/// ```
///
/// A resource becomes dear as it becomes scarce, and unlike resources can be added up. Source: Y. Amir, B. Awerbuch,
/// A. Barak, R. S. Borgstrom, A. Keren, "An Opportunity Cost Approach for Job Assignment in a Scalable Computing
/// Cluster", IEEE Transactions on Parallel and Distributed Systems 11(7), 2000. The image that a node lacks (`missing`, in
/// millionths) is added to its utilisation.
pub(super) fn opportunity_cost(used: Usage, task: Usage, there: Allocatable, nodes: usize, missing: u64) -> u64 {
    let n = nodes as f64;
    let missing = missing as f64 / WHOLE as f64;
    let cost = |used: u64, more: u64, whole: u64| {
        if more == 0 {
            return 0.0;
        }
        let utilisation = |taken: u64| taken as f64 / whole.max(1) as f64 + missing;
        n.powf(utilisation(used + more)) - n.powf(utilisation(used))
    };
    let sum = cost(used.weighed_cpu, task.weighed_cpu, there.cpu)
        + cost(used.weighed_memory, task.weighed_memory, there.memory)
        + cost(used.disk, task.disk, there.disk);
    // Beyond what the number holds it stays at the most.
    (sum * 1e9).round() as u64
}
