//! The scheduler's memory: what is known of nodes and Tasks, and the answers that are kept about it.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use cube_api::{
    node::Node,
    placement::SchedulingPolicy,
    task::{RestartPolicy, Task},
};

use super::{
    Demand, Explanation, Refusal,
    explain::of_one,
    facts::{Assigned, Facts, Site},
    filter,
    log::ChangeLog,
    node::Said,
    preempt::{self, Room},
    ranking::Ranking,
    score::{Score, score},
    surroundings::{self, Leaning, Probe, Reading},
};

/// Kept answers have so many nodes together: some 15 MB. Fewer would rank the nodes anew more often where Tasks of many
/// demands are placed by turns.
const KEPT: usize = 100_000;

/// Nodes, what is assigned to them, and the order of the nodes for the demands that were last asked about.
#[derive(Clone, Debug, Default)]
pub struct Index {
    facts: Facts,
    policy: SchedulingPolicy,
    /// The node that round robin gave last.
    last: Option<Arc<str>>,
    /// The newest epoch of what it gave, as far as is known: who starts anew goes on there.
    last_epoch: u64,
    log: ChangeLog,
    /// With the number of the question that each last answered.
    answers: BTreeMap<Arc<Demand>, (u64, Ranking)>,
    asked: u64,
    news: News,
}

/// What has changed for Tasks that wait.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct News {
    /// Nodes that have changed, or that have more room.
    pub roomier: BTreeSet<Arc<str>>,
    /// Tasks have come or gone, or nodes have changed.
    pub any: bool,
    /// Somewhere, Tasks may no longer be kept away by others.
    pub everywhere: bool,
}

/// Everything that is to be said of one node and a demand.
pub(super) struct NodeLook {
    pub node: Arc<str>,
    /// What each of the filters of a node alone says.
    pub alone: Vec<Result<(), Refusal>>,
    /// What each of the wishes about Tasks elsewhere says, and the filter that it belongs to.
    pub around: Vec<(Option<&'static str>, Result<Leaning, Refusal>)>,
    /// The score before Tasks elsewhere are looked at.
    pub score: Score,
}

impl Index {
    /// An index of a cluster with that policy.
    pub fn new(policy: SchedulingPolicy) -> Self {
        Self {
            policy,
            ..Self::default()
        }
    }

    /// Takes a Node as it is now. Says whether anything of it that matters is new.
    pub fn set_node(&mut self, node: &Node) -> bool {
        self.tell_node(&node.metadata.name, Some(Said::of(node)))
    }

    /// The Node is gone; what its Tasks took is known on.
    pub fn remove_node(&mut self, name: &str) {
        self.tell_node(name, None);
    }

    fn tell_node(&mut self, name: &str, said: Option<Said>) -> bool {
        let labels = |facts: &Facts| facts.site(name).map(|site| site.said.labels.clone());
        let before = labels(&self.facts);
        let changed = self.facts.set_node(name, said);
        if changed {
            self.log.changed(name);
            self.news.any = true;
            self.news.everywhere |= before != labels(&self.facts);
            self.news.roomier.insert(name.into());
        }
        changed
    }

    /// Takes a Task as it is now, or with the node that it is about to get. Says whether a node has more room since.
    pub fn set_task(&mut self, key: &str, task: &Task, about_to_get: Option<&str>) -> bool {
        let demand = Demand::of(task);
        self.set(key, task, &demand, about_to_get)
    }

    /// The same of a Task whose demand is known.
    pub fn set(&mut self, key: &str, task: &Task, demand: &Demand, about_to_get: Option<&str>) -> bool {
        let status = &task.status;
        let node = status.node.as_deref().or(about_to_get);
        let holds = node.filter(|_| !status.phase.is_over());
        let leaves = task.metadata.is_deleting() || status.leaves_now();
        let created = task.metadata.creation_timestamp;
        let assigned = holds.map(|node| Assigned {
            node: node.into(),
            demand: Arc::new(demand.clone()),
            ends: leaves || task.spec.restart_policy != RestartPolicy::Always,
            leaves,
            since: created.map_or(0, |at| at.as_second()),
        });
        let given = assigned.as_ref().filter(|_| self.facts.assigned(key).is_none());
        if let Some(given) = given
            && self.policy_of(demand) == SchedulingPolicy::RoundRobin
            && (status.node.is_none() || status.epoch > self.last_epoch)
        {
            self.last = Some(given.node.clone());
            self.last_epoch = self.last_epoch.max(status.epoch);
        }
        let waits = node.is_none() && !status.phase.is_over() && !leaves;
        let nominated = status.nominated_node.as_deref().filter(|_| waits);
        let kept_less = self.keep(key, nominated.map(|node| (node, demand)));
        self.put(key, assigned) || kept_less
    }

    /// What a Task that has a node asks for, as far as is known.
    pub fn demand(&self, key: &str) -> Option<&Demand> {
        self.facts.assigned(key).map(|assigned| &*assigned.demand)
    }

    /// Why the node that a Task has could not take it if it came with what it asks for now, for people; none where it
    /// could. What the node has become since (cordoned, tainted, not ready) does not count.
    pub fn outgrown(&mut self, key: &str) -> Option<String> {
        let assigned = self.facts.assigned(key)?.clone();
        self.put(key, None);
        let site = self.facts.site(&assigned.node);
        let refusal = site.and_then(|site| filter::check_wishes(&assigned.demand, site).err());
        self.put(key, Some(assigned));
        refusal.as_ref().map(of_one)
    }

    /// The Task is gone. Says whether a node has more room since.
    pub fn remove_task(&mut self, key: &str) -> bool {
        let kept_less = self.keep(key, None);
        self.put(key, None) || kept_less
    }

    /// Room is kept on that node for the Task, or nowhere. Says whether a node has more room since.
    fn keep(&mut self, key: &str, room: Option<(&str, &Demand)>) -> bool {
        let (freed, taken) = self.facts.keep(key, room);
        for node in freed.iter().chain(&taken) {
            self.log.changed(node);
        }
        let Some(freed) = freed else { return false };
        self.news.any = true;
        self.news.roomier.insert(freed);
        true
    }

    /// Says whether a node has more room since.
    fn put(&mut self, key: &str, new: Option<Assigned>) -> bool {
        if self.facts.assigned(key) == new.as_ref() {
            return false;
        }
        let node = new.as_ref().map(|new| (new.node.clone(), new.demand.clone()));
        let is_new = |facts: &Facts, demand: &Demand| !demand.far.is_empty() && !facts.knows(demand);
        let mut far = node.as_ref().is_some_and(|(_, demand)| is_new(&self.facts, demand));
        let old = self.facts.put(key, new);
        let mut frees = false;
        self.news.any = true;
        if let Some(old) = &old {
            far |= is_new(&self.facts, &old.demand);
            self.news.everywhere |= !old.demand.far.is_empty();
            self.log.changed(&old.node);
            let same = |(node, demand): &(Arc<str>, Arc<Demand>)| *node == old.node && *demand == old.demand;
            frees = !node.as_ref().is_some_and(same);
            if frees {
                self.news.roomier.insert(old.node.clone());
            }
        }
        if let Some((node, _)) = node {
            self.log.changed(&node);
        }
        if far {
            self.log.far_came_or_went();
        }
        frees
    }

    pub(super) fn policy_of(&self, demand: &Demand) -> SchedulingPolicy {
        demand.policy.unwrap_or(self.policy)
    }

    /// The nodes that there are, by name.
    pub(super) fn sites(&self) -> impl Iterator<Item = Site<'_>> {
        self.facts.sites()
    }

    /// What is known.
    pub(super) fn facts(&self) -> &Facts {
        &self.facts
    }

    /// What preferences make of a node for a Task of that demand, less is better; none where it could not have one.
    pub(super) fn preference(&mut self, node: &str, demand: &Demand) -> Option<(u32, i32, u64)> {
        self.rank(demand);
        let ((_, ranking), site) = (self.answers.get(demand)?, self.facts.site(node)?);
        let probes = ranking.probes();
        let readings: Vec<Reading> = probes.iter().map(|probe| probe.read(site)).collect();
        let leaning = surroundings::judge(probes, &readings, &ranking.fewest(&self.facts), &self.facts).ok()?;
        let score = score(demand, site, self.policy_of(demand)).leaning(leaning);
        Some((score.avoided, score.unwanted, score.crowded))
    }

    /// What has changed since it was last asked.
    pub(super) fn take_news(&mut self) -> News {
        std::mem::take(&mut self.news)
    }

    /// The node for a Task of that demand; none: see [`Self::explain`].
    pub fn place(&mut self, demand: &Demand) -> Option<Arc<str>> {
        self.best(demand).map(|(_, node)| node)
    }

    /// Whether room is kept for that Task.
    pub fn keeps_room(&self, key: &str) -> bool {
        self.facts.kept(key).is_some()
    }

    /// The node for that Task, for which room may be kept from others.
    pub fn place_task(&mut self, key: &str, demand: &Demand) -> Option<Arc<str>> {
        let Some(kept) = self.facts.kept(key).cloned() else {
            return self.place(demand);
        };
        let news = self.take_news();
        self.keep(key, None);
        let node = self.place(demand);
        self.keep(key, Some((&kept, demand)));
        // All is as it was.
        self.news = news;
        node
    }

    /// Whether there is a Task on a node that is less important than one of that demand.
    pub fn has_less_important(&self, demand: &Demand) -> bool {
        demand.priority > self.facts.lowest_priority()
    }

    /// Where a Task that fits nowhere will have room: when what is on its way out is gone, or when less important ones give
    /// way.
    pub fn find_room(&mut self, key: &str, demand: &Demand) -> Room {
        let kept = self.facts.kept(key).cloned();
        if kept.is_none() && !self.has_less_important(demand) {
            return Room::Nowhere;
        }
        if let Some(node) = self.place_task(key, demand) {
            return Room::Leaving(node);
        }
        self.facts.keep(key, None);
        let room = preempt::find(&mut self.facts, demand, kept.as_deref());
        self.facts.keep(key, kept.as_deref().map(|node| (node, demand)));
        room
    }

    /// The same, with its score.
    pub(super) fn best(&mut self, demand: &Demand) -> Option<(Score, Arc<str>)> {
        self.rank(demand);
        let (_, ranking) = self.answers.get(demand)?;
        let best = ranking.best(&self.facts, self.last.as_deref());
        best.map(|(score, node)| (score, node.clone()))
    }

    /// Why no node can take a Task of that demand.
    pub fn explain(&mut self, demand: &Demand) -> Explanation {
        let refusals = self.refusals(demand);
        Explanation::new(self, &refusals)
    }

    /// Of each node that there is, in the order of their names, all that it refuses a Task of that demand for.
    pub(super) fn refusals(&mut self, demand: &Demand) -> Vec<(Arc<str>, Vec<Refusal>)> {
        self.rank(demand);
        let Some((_, ranking)) = self.answers.get(demand) else {
            return Vec::new();
        };
        let (probes, fewest) = (ranking.probes(), ranking.fewest(&self.facts));
        let of_site = |site: Site| {
            let alone = filter::FILTERS.iter();
            let alone = alone.filter_map(|(_, filter)| filter(demand, site).err());
            let readings: Vec<Reading> = probes.iter().map(|probe| probe.read(site)).collect();
            let around = surroundings::verdicts(probes, &readings, &fewest, &self.facts);
            (site.name.clone(), alone.chain(around.filter_map(Result::err)).collect())
        };
        self.facts.sites().map(of_site).collect()
    }

    /// A whole look at each node that there is, in the order of their names.
    pub(super) fn looks(&mut self, demand: &Demand) -> Vec<NodeLook> {
        self.rank(demand);
        let Some((_, ranking)) = self.answers.get(demand) else {
            return Vec::new();
        };
        let (probes, fewest) = (ranking.probes(), ranking.fewest(&self.facts));
        let look = |site: Site| {
            let readings: Vec<Reading> = probes.iter().map(|probe| probe.read(site)).collect();
            let around = surroundings::verdicts(probes, &readings, &fewest, &self.facts);
            NodeLook {
                node: site.name.clone(),
                alone: filter::FILTERS.iter().map(|(_, filter)| filter(demand, site)).collect(),
                around: probes.iter().map(Probe::filter).zip(around).collect(),
                score: score(demand, site, self.policy_of(demand)),
            }
        };
        self.facts.sites().map(look).collect()
    }

    /// Whether that one node can take a Task of that demand.
    pub fn fits(&mut self, node: &str, demand: &Demand) -> bool {
        let Some(site) = self.facts.site(node) else {
            return false;
        };
        if filter::check(demand, site).is_err() {
            return false;
        }
        if !demand.reaches_far() && self.facts.keeping_away(demand).is_empty() {
            return true;
        }
        self.rank(demand);
        let (Some((_, ranking)), Some(site)) = (self.answers.get(demand), self.facts.site(node)) else {
            return false;
        };
        let probes = ranking.probes();
        let readings: Vec<Reading> = probes.iter().map(|probe| probe.read(site)).collect();
        surroundings::judge(probes, &readings, &ranking.fewest(&self.facts), &self.facts).is_ok()
    }

    /// Brings the order of the nodes for that demand to what is known now.
    fn rank(&mut self, demand: &Demand) {
        self.asked += 1;
        if !self.answers.contains_key(demand) {
            self.make_room();
            let is_new = !demand.far.is_empty() && !self.facts.knows(demand);
            let known = self.facts.know(demand);
            if is_new {
                self.log.far_came_or_went();
            }
            let ranking = Ranking::new(known.clone(), self.policy_of(demand));
            self.answers.insert(known, (0, ranking));
        }
        if let Some((asked, ranking)) = self.answers.get_mut(demand) {
            *asked = self.asked;
            ranking.refresh(&self.facts, &self.log);
        }
    }

    /// Forgets the answers that nobody has asked for longest.
    fn make_room(&mut self) {
        let kept =
            |answers: &BTreeMap<_, (u64, Ranking)>| answers.values().map(|(_, ranking)| ranking.len()).sum::<usize>();
        while !self.answers.is_empty() && kept(&self.answers) + self.facts.count() > KEPT {
            let oldest = self.answers.iter().min_by_key(|(_, (asked, _))| *asked);
            let Some(demand) = oldest.map(|(demand, _)| demand.clone()) else {
                return;
            };
            self.forget(&demand);
        }
    }

    fn forget(&mut self, demand: &Arc<Demand>) {
        if self.answers.remove(demand).is_some() {
            self.facts.forget(demand);
            if !demand.far.is_empty() && !self.facts.knows(demand) {
                self.log.far_came_or_went();
            }
        }
    }
}

#[cfg(test)]
impl Index {
    /// What is known, without the demands that are only asked about.
    pub(super) fn into_facts(mut self) -> Facts {
        let asked: Vec<Arc<Demand>> = self.answers.keys().cloned().collect();
        for demand in asked {
            self.forget(&demand);
        }
        self.facts
    }
}
