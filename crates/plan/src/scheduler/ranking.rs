//! The nodes in their order for Tasks of one demand, kept between placements: only nodes that have changed since are
//! looked at again.
//!
//! Nodes that read the same about Tasks elsewhere are one group; a group is judged as a whole, so that affinity and spread
//! cost as much as there are groups (zones, say), not as there are nodes.
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use cube_api::placement::SchedulingPolicy;

use super::{
    Demand,
    crowd::Who,
    facts::Facts,
    filter,
    log::ChangeLog,
    score::{Score, score},
    surroundings::{self, Probe, Reading},
};

/// Nodes with the same readings, best first.
type Group = BTreeSet<(Score, Arc<str>)>;

/// The nodes in their order.
#[derive(Clone, Debug)]
pub(super) struct Ranking {
    demand: Arc<Demand>,
    policy: SchedulingPolicy,
    basis: Basis,
    probes: Vec<Probe>,
    /// The changes up to here are in it.
    seen: u64,
    standings: BTreeMap<Arc<str>, Standing>,
    /// Nodes that can take the Task as far as they see, by what they read.
    groups: BTreeMap<Arc<[Reading]>, Group>,
    /// For each probe that is compared: how many nodes read what, of those that count as places.
    places: Vec<BTreeMap<Reading, u32>>,
}

/// What concerns all nodes at once: when it changes, all are looked at again.
#[derive(Clone, Debug, PartialEq)]
struct Basis {
    /// Those that keep such Tasks away.
    away: Vec<Arc<Who>>,
    /// For each volume, whether it is anywhere.
    volumes: Vec<bool>,
    /// The number of nodes, where the policy counts it.
    nodes: usize,
}

/// One node in the order.
#[derive(Clone, Debug)]
struct Standing {
    readings: Arc<[Reading]>,
    /// None: it cannot take the Task.
    score: Option<Score>,
    /// Whether it counts as a place to spread over.
    is_place: bool,
}

impl Ranking {
    pub fn new(demand: Arc<Demand>, policy: SchedulingPolicy) -> Self {
        Self {
            demand,
            policy,
            basis: Basis {
                away: Vec::new(),
                volumes: Vec::new(),
                nodes: usize::MAX,
            },
            probes: Vec::new(),
            seen: 0,
            standings: BTreeMap::new(),
            groups: BTreeMap::new(),
            places: Vec::new(),
        }
    }

    /// Brings it to what is known now.
    pub fn refresh(&mut self, facts: &Facts, log: &ChangeLog) {
        if self.is_stale(facts, log) {
            let basis = self.basis_of(facts);
            if basis != self.basis {
                *self = Self {
                    basis,
                    probes: surroundings::probes(&self.demand, facts),
                    ..Self::new(self.demand.clone(), self.policy)
                };
                self.places = vec![BTreeMap::new(); self.probes.len()];
                for site in facts.sites() {
                    self.update(facts, site.name);
                }
                self.seen = log.now();
                return;
            }
        }
        for node in log.since(self.seen) {
            self.update(facts, node);
        }
        self.seen = log.now();
    }

    /// Whether what concerns all nodes may have changed. Those that keep Tasks away are looked for only after some came or
    /// went: there may be many.
    fn is_stale(&self, facts: &Facts, log: &ChangeLog) -> bool {
        self.basis.nodes == usize::MAX
            || log.far_changed() > self.seen
            || self.basis.volumes != homeless(&self.demand, facts)
            || (self.policy == SchedulingPolicy::EPvm && self.basis.nodes != facts.count())
    }

    fn basis_of(&self, facts: &Facts) -> Basis {
        Basis {
            away: facts.keeping_away(&self.demand),
            volumes: homeless(&self.demand, facts),
            nodes: if self.policy == SchedulingPolicy::EPvm {
                facts.count()
            } else {
                0
            },
        }
    }

    fn update(&mut self, facts: &Facts, node: &Arc<str>) {
        if let Some(old) = self.standings.remove(node) {
            self.remove(node, &old);
        }
        let Some(site) = facts.site(node) else { return };
        let readings: Vec<Reading> = self.probes.iter().map(|probe| probe.read(site)).collect();
        let relative = self
            .probes
            .iter()
            .zip(&readings)
            .filter(|(probe, _)| probe.is_relative());
        let mut relative = relative.map(|(_, reading)| reading);
        let is_place = !self.probes.is_empty()
            && relative.all(|reading| *reading != Reading::Nowhere)
            && filter::is_eligible(&self.demand, site);
        let fits = filter::check(&self.demand, site).is_ok();
        let readings = match self.groups.get_key_value(readings.as_slice()) {
            Some((same, _)) => same.clone(),
            None => readings.into(),
        };
        let standing = Standing {
            score: fits.then(|| score(&self.demand, site, self.policy)),
            readings,
            is_place,
        };
        if let Some(score) = standing.score {
            let group = self.groups.entry(standing.readings.clone()).or_default();
            group.insert((score, node.clone()));
        }
        if is_place {
            for (places, reading) in self.places.iter_mut().zip(&*standing.readings) {
                *places.entry(reading.clone()).or_default() += 1;
            }
        }
        self.standings.insert(node.clone(), standing);
    }

    fn remove(&mut self, node: &Arc<str>, old: &Standing) {
        if let Some(score) = old.score
            && let Some(group) = self.groups.get_mut(&old.readings)
        {
            group.remove(&(score, node.clone()));
            if group.is_empty() {
                self.groups.remove(&old.readings);
            }
        }
        if old.is_place {
            for (places, reading) in self.places.iter_mut().zip(&*old.readings) {
                if let Some(count) = places.get_mut(reading) {
                    *count -= 1;
                    if *count == 0 {
                        places.remove(reading);
                    }
                }
            }
        }
    }

    /// For each probe that is compared, the number where there are fewest.
    pub fn fewest(&self, facts: &Facts) -> Vec<u32> {
        let fewest = self.probes.iter().zip(&self.places).map(|(probe, places)| {
            if !probe.is_relative() {
                return 0;
            }
            let counts = places.keys().filter_map(|reading| probe.count(reading, facts));
            counts.min().unwrap_or(0)
        });
        fewest.collect()
    }

    /// The wishes about Tasks elsewhere.
    pub fn probes(&self) -> &[Probe] {
        &self.probes
    }

    /// The best node of those that can take the Task, and its score. `last` was given last by round robin.
    pub fn best(&self, facts: &Facts, last: Option<&str>) -> Option<(Score, &Arc<str>)> {
        let fewest = self.fewest(facts);
        let last = last.filter(|_| self.policy == SchedulingPolicy::RoundRobin);
        let mut best: Option<((Score, bool), &Arc<str>)> = None;
        for (readings, group) in &self.groups {
            let Ok(leaning) = surroundings::judge(&self.probes, readings, &fewest, facts) else {
                continue;
            };
            let Some((score, node)) = first(group, last) else {
                continue;
            };
            let found = ((score.leaning(leaning), is_behind(node, last)), node);
            if best.as_ref().is_none_or(|best| found < *best) {
                best = Some(found);
            }
        }
        best.map(|((score, _), node)| (score, node))
    }

    /// So many nodes are in it.
    pub fn len(&self) -> usize {
        self.standings.len()
    }
}

/// For each volume of the demand, whether it is anywhere.
fn homeless(demand: &Demand, facts: &Facts) -> Vec<bool> {
    let volumes = demand.volumes.iter();
    volumes.map(|volume| facts.homes(volume).next().is_some()).collect()
}

/// The first of a group; with `last`, of those that are as good the first after it, or else the first.
fn first<'a>(group: &'a Group, last: Option<&str>) -> Option<(Score, &'a Arc<str>)> {
    let (score, node) = group.first()?;
    if let Some(last) = last {
        let after = (Bound::Excluded((*score, Arc::from(last))), Bound::Unbounded);
        if let Some((_, next)) = group.range(after).next().filter(|(next, _)| next == score) {
            return Some((*score, next));
        }
    }
    Some((*score, node))
}

/// Whether round robin comes to the node only after it has begun anew.
pub(super) fn is_behind(node: &str, last: Option<&str>) -> bool {
    last.is_some_and(|last| node <= last)
}
