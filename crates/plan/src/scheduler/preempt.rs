//! Who gives way to a Task that fits nowhere: Tasks of lower priority, as few and as unimportant as may be.
//!
//! On each node in question all of them are taken away; if the Task fits then, they are given back from the most important
//! down as long as it still fits, and who cannot come back is a victim. It is tried on the facts themselves, which are
//! afterwards as they were, so that what is found fits by the same filters that will place the Task. It never evicts.
use std::{cmp::Reverse, sync::Arc};

use super::{
    Demand, Refusal,
    facts::{Assigned, Facts, Site},
    filter, surroundings,
};

/// Nodes that are looked at in full. More would find a little less harm, and take longer, on large clusters alone.
const CANDIDATES: usize = 100;

/// Where a Task that fits nowhere will have room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Room {
    /// Nowhere that anyone knows.
    Nowhere,
    /// On this node, at the latest when those that are on their way out are gone. Nobody needs to give way.
    Leaving(Arc<str>),
    /// On this node, if those give way.
    Taken {
        /// The node.
        node: Arc<str>,
        /// The Tasks: `namespace/name`.
        victims: Vec<Arc<str>>,
    },
}

/// Where a Task that fits nowhere now will have room, and who must give way. `first` is looked at first for what is on its way out.
pub(super) fn find(facts: &mut Facts, demand: &Demand, first: Option<&str>) -> Room {
    let probes = surroundings::probes(demand, facts);
    let is_candidate = |site: &Site| {
        let refusals = filter::FILTERS.iter();
        let mut refusals = refusals.filter_map(|(_, filter)| filter(demand, *site).err());
        refusals.all(|refusal| is_for_want_of_room(&refusal))
    };
    let sites = facts.sites().filter(is_candidate);
    let names: Vec<Arc<str>> = sites.map(|site| site.name.clone()).collect();
    let mut trial = Trial {
        facts,
        demand,
        probes: &probes,
    };
    let leaving = names.iter().filter(|name| Some(&***name) == first).chain(&names);
    if let Some(node) = leaving.clone().find(|node| trial.fits_without_leaving(node)) {
        return Room::Leaving(node.clone());
    }
    if demand.priority <= trial.facts.lowest_priority() {
        return Room::Nowhere;
    }
    let mut candidates: Vec<Arc<str>> = names.into_iter().filter(|node| trial.may_do(node)).collect();
    candidates.sort_by_key(|node| trial.least_important(node));
    candidates.truncate(CANDIDATES);
    let found = candidates.into_iter().filter_map(|node| {
        let victims = trial.victims(&node)?;
        Some((Harm::of(&victims), node, victims))
    });
    match found.min_by(|(harm, node, _), (other, than, _)| (harm, node).cmp(&(other, than))) {
        Some((_, node, victims)) => Room::Taken {
            node,
            victims: victims.into_iter().map(|(key, _)| key).collect(),
        },
        None => Room::Nowhere,
    }
}

/// Whether somebody's leaving can help against it.
fn is_for_want_of_room(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::Cpu { .. } | Refusal::Memory { .. } | Refusal::Disk { .. } | Refusal::Full(_) | Refusal::Port { .. }
    )
}

type Victim = (Arc<str>, Assigned);

/// How bad it is to have those give way; less is better, compared from top to bottom as Kubernetes does.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Harm {
    /// The most important of them.
    highest: i32,
    /// All of them together, each at least 1.
    sum: i64,
    number: usize,
    /// When the oldest of the most important ones was made: the younger, the better.
    oldest: Reverse<i64>,
}

impl Harm {
    fn of(victims: &[Victim]) -> Self {
        let priorities = victims.iter().map(|(_, victim)| victim.demand.priority);
        let highest = priorities.clone().max().unwrap_or(i32::MIN);
        let important = victims.iter().filter(|(_, victim)| victim.demand.priority == highest);
        let oldest = important.map(|(_, victim)| victim.since).min();
        Self {
            highest,
            sum: priorities
                .map(|priority| i64::from(priority) - i64::from(i32::MIN) + 1)
                .sum(),
            number: victims.len(),
            oldest: Reverse(oldest.unwrap_or(i64::MAX)),
        }
    }
}

/// What is tried on the facts.
struct Trial<'a> {
    facts: &'a mut Facts,
    demand: &'a Demand,
    probes: &'a [surroundings::Probe],
}

impl Trial<'_> {
    fn fits(&self, node: &str) -> bool {
        let Some(site) = self.facts.site(node) else {
            return false;
        };
        filter::check(self.demand, site).is_ok() && surroundings::suit(self.probes, self.demand, site)
    }

    /// The Tasks on a node, if they are so.
    fn tasks(&self, node: &str, are: impl Fn(&Assigned) -> bool) -> Vec<Victim> {
        let Some(site) = self.facts.site(node) else {
            return Vec::new();
        };
        let tasks = site.state.tasks.iter().filter_map(|key| {
            let task = self.facts.assigned(key)?;
            are(task).then(|| (key.clone(), task.clone()))
        });
        tasks.collect()
    }

    fn take(&mut self, tasks: &[Victim]) {
        for (key, _) in tasks {
            self.facts.put(key, None);
        }
    }

    fn give_back(&mut self, tasks: &[Victim]) {
        for (key, task) in tasks {
            self.facts.put(key, Some(task.clone()));
        }
    }

    fn fits_without_leaving(&mut self, node: &str) -> bool {
        let leaving = self.tasks(node, |task| task.leaves);
        if leaving.is_empty() {
            return false;
        }
        self.take(&leaving);
        let fits = self.fits(node);
        self.give_back(&leaving);
        fits
    }

    /// Whether what lower Tasks and those on their way out take is enough: a look at sums, before anything is tried.
    fn may_do(&self, node: &str) -> bool {
        let Some(site) = self.facts.site(node) else {
            return false;
        };
        let lower = site.state.by_priority.range(..self.demand.priority);
        let mut lower = lower.map(|(_, usage)| *usage).peekable();
        if lower.peek().is_none() {
            return false;
        }
        let demand = self.demand;
        let taken = site.state.taken_from(demand).minus(site.state.leaving);
        let taken = lower.fold(taken, |taken, usage| taken.minus(usage));
        let there = site.said.allocatable;
        let has = |needs: u64, taken: u64, there: u64| needs == 0 || taken.saturating_add(needs) <= there;
        has(demand.cpu, taken.cpu, there.cpu)
            && has(demand.memory, taken.memory, there.memory)
            && has(demand.disk, taken.disk, there.disk)
    }

    fn least_important(&self, node: &str) -> Option<i32> {
        let site = self.facts.site(node)?;
        site.state.by_priority.keys().next().copied()
    }

    /// Who must give way on the node; none where that does not make the Task fit.
    fn victims(&mut self, node: &str) -> Option<Vec<Victim>> {
        let leaving = self.tasks(node, |task| task.leaves);
        let priority = self.demand.priority;
        let mut lower = self.tasks(node, |task| !task.leaves && task.demand.priority < priority);
        lower.sort_by(|(key, task), (other, than)| {
            let rank = |task: &Assigned| (Reverse(task.demand.priority), task.since);
            (rank(task), key).cmp(&(rank(than), other))
        });
        self.take(&leaving);
        self.take(&lower);
        let mut victims = Vec::new();
        let fits = self.fits(node);
        for one in &lower {
            let one = std::slice::from_ref(one);
            self.give_back(one);
            if fits && !self.fits(node) {
                self.take(one);
                victims.extend_from_slice(one);
            }
        }
        self.give_back(&victims);
        self.give_back(&leaving);
        (fits && !victims.is_empty()).then_some(victims)
    }
}
