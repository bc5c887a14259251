//! What is known of the nodes and of what their Tasks take: sums, changed with each Task and Node.
//!
//! Plain data, that is always what it would be if it were built from nothing. It answers nothing by itself: filters, scores
//! and the index read it.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use cube_api::meta::NODE_LABEL;

use super::{
    Demand,
    crowd::{Count, Crowd, Who},
    demand::Term,
    node::{NodeState, Said, Usage},
};

/// Nodes, and what is assigned to them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Facts {
    nodes: BTreeMap<Arc<str>, NodeState>,
    /// So many of them have a Node object.
    there: usize,
    /// By `namespace/name`.
    assigned: BTreeMap<Arc<str>, Assigned>,
    /// So many Tasks on nodes have that priority.
    priorities: BTreeMap<i32, u32>,
    /// Where room is kept for Tasks without a node.
    kept: BTreeMap<Arc<str>, Arc<str>>,
    /// Every demand that a Task on a node has, or that is asked about.
    classes: BTreeMap<Arc<Demand>, Class>,
    /// Every sort of Tasks that a demand speaks of.
    crowds: BTreeMap<Arc<Who>, Crowd>,
    /// Where each volume is: told by the node, or mounted by so many of its Tasks.
    homes: BTreeMap<String, BTreeMap<Arc<str>, u32>>,
}

/// A Task on a node.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Assigned {
    /// The node.
    pub node: Arc<str>,
    /// What it asked for.
    pub demand: Arc<Demand>,
    /// It ends by itself: it is on its way out, or runs once.
    pub ends: bool,
    /// It is on its way out.
    pub leaves: bool,
    /// When it was made, in seconds since 1970: of Tasks that are as important the older stays.
    pub since: i64,
}

/// Tasks of one demand.
#[derive(Clone, Debug, Default, PartialEq)]
struct Class {
    /// Tasks on nodes, and one more while answers about it are kept.
    users: u32,
    /// Where its Tasks are.
    nodes: BTreeMap<Arc<str>, Count>,
    /// The sorts that they are of.
    crowds: BTreeSet<Arc<Who>>,
}

/// A node that there is.
#[derive(Clone, Copy)]
pub(super) struct Site<'a> {
    pub facts: &'a Facts,
    pub name: &'a Arc<str>,
    pub state: &'a NodeState,
    pub said: &'a Said,
}

impl Facts {
    /// The nodes that there are, by name.
    pub fn sites(&self) -> impl Iterator<Item = Site<'_>> {
        let nodes = self.nodes.iter();
        nodes.filter_map(|(name, state)| self.site_of(name, state))
    }

    /// The node, if it is there.
    pub fn site(&self, name: &str) -> Option<Site<'_>> {
        let (name, state) = self.nodes.get_key_value(name)?;
        self.site_of(name, state)
    }

    fn site_of<'a>(&'a self, name: &'a Arc<str>, state: &'a NodeState) -> Option<Site<'a>> {
        let said = state.said.as_ref()?;
        let facts = self;
        Some(Site {
            facts,
            name,
            state,
            said,
        })
    }

    /// So many nodes are there.
    pub fn count(&self) -> usize {
        self.there
    }

    /// The Task, if it is on a node.
    pub fn assigned(&self, key: &str) -> Option<&Assigned> {
        self.assigned.get(key)
    }

    /// The lowest priority of a Task on a node.
    pub fn lowest_priority(&self) -> i32 {
        self.priorities.keys().next().copied().unwrap_or(i32::MAX)
    }

    /// The Tasks of that sort.
    pub fn crowd(&self, who: &Who) -> Option<&Crowd> {
        self.crowds.get(who)
    }

    /// So many Tasks of that controller are on the node.
    pub fn kin(&self, demand: &Demand, node: &str) -> u32 {
        let crowd = demand.kin.as_ref().and_then(|kin| self.crowds.get(kin));
        crowd.map_or(0, |crowd| crowd.on(node).all)
    }

    /// Those that keep Tasks of that demand away from them.
    pub fn keeping_away(&self, demand: &Demand) -> Vec<Arc<Who>> {
        let first = Who::FarFrom(Box::new(Term {
            who: Who::Kin(String::new()),
            key: String::new(),
        }));
        let far = self.crowds.range::<Who, _>(first..).map(|(who, _)| who);
        let away = far.filter(|who| matches!(&***who, Who::FarFrom(term) if term.who.has(demand)));
        away.cloned().collect()
    }

    /// What Tasks on nodes must be near to, of which Tasks of that demand are some; and the nodes of those that must.
    pub fn those_near<'a>(
        &'a self,
        demand: &'a Demand,
    ) -> impl Iterator<Item = (&'a Term, impl IntoIterator<Item = &'a str>)> {
        self.classes.iter().flat_map(|(other, class)| {
            let terms = other.near.iter().filter(|term| term.who.has(demand));
            terms.map(move |term| (term, class.nodes.keys().map(|node| &**node)))
        })
    }

    /// The nodes that have the volume.
    pub fn homes(&self, volume: &str) -> impl Iterator<Item = &Arc<str>> {
        let homes = self.homes.get(volume).into_iter().flatten();
        homes.map(|(node, _)| node).filter(|node| self.site(node).is_some())
    }

    /// Takes what a node says, or that it is gone. Says whether that is new.
    pub fn set_node(&mut self, name: &str, said: Option<Said>) -> bool {
        let known = self.nodes.get_key_value(name).map(|(name, _)| name.clone());
        if known.is_none() && said.is_none() {
            return false;
        }
        let name: Arc<str> = known.unwrap_or_else(|| name.into());
        let state = self.nodes.entry(name.clone()).or_default();
        if state.said == said {
            return false;
        }
        let before = std::mem::replace(&mut state.said, said);
        let after = state.said.as_ref();
        self.there = self.there + usize::from(after.is_some()) - usize::from(before.is_some());
        let labels = |said: Option<&Said>| said.map(|said| said.labels.clone());
        if labels(before.as_ref()) != labels(after) && state.used.tasks > 0 {
            for crowd in self.crowds.values_mut() {
                crowd.moved(&name, before.as_ref(), after);
            }
        }
        let (none, volumes) = (BTreeSet::new(), |said: &'_ Said| said.volumes.clone());
        let (old, new) = (
            before.as_ref().map_or(none.clone(), volumes),
            after.map_or(none, volumes),
        );
        for volume in new.difference(&old) {
            self.move_in(volume, &name);
        }
        for volume in old.difference(&new) {
            self.move_out(volume, &name);
        }
        self.tidy(&name);
        true
    }

    /// Gives the Task its place, or none; what was its place before is answered.
    pub fn put(&mut self, key: &str, mut new: Option<Assigned>) -> Option<Assigned> {
        // First of all: a demand that both have is not forgotten in between.
        if let Some(new) = &mut new {
            new.demand = self.know(&new.demand);
            if let Some((name, _)) = self.nodes.get_key_value(&new.node) {
                new.node = name.clone();
            }
        }
        let (key, old) = match self.assigned.remove_entry(key) {
            Some((key, old)) => (key, Some(old)),
            None => (Arc::from(key), None),
        };
        if let Some(old) = &old {
            self.go(&key, old);
        }
        if let Some(new) = new {
            self.come(&key, &new);
            self.assigned.insert(key, new);
        }
        old
    }

    fn come(&mut self, key: &Arc<str>, new: &Assigned) {
        let demand = &new.demand;
        let (usage, count) = (Usage::of(demand), Count::one(new.leaves));
        let state = self.nodes.entry(new.node.clone()).or_default();
        state.used = state.used.plus(usage);
        if new.ends {
            state.ending = state.ending.plus(usage);
        }
        if new.leaves {
            state.leaving = state.leaving.plus(usage);
        }
        let equals = state.by_priority.entry(demand.priority).or_default();
        *equals = equals.plus(usage);
        state.tasks.insert(key.clone());
        *self.priorities.entry(demand.priority).or_default() += 1;
        for (protocol, port, address) in &demand.ports {
            let holders = state.ports.entry((*protocol, *port)).or_default();
            holders.insert(key.clone(), address.clone());
        }
        let said = state.said.as_ref();
        if let Some(class) = self.classes.get_mut(demand) {
            class.nodes.entry(new.node.clone()).or_default().add(count);
            for who in &class.crowds {
                if let Some(crowd) = self.crowds.get_mut(who) {
                    crowd.come(&new.node, said, count);
                }
            }
        }
        for volume in &demand.volumes {
            self.move_in(volume, &new.node);
        }
    }

    fn go(&mut self, key: &Arc<str>, old: &Assigned) {
        let demand = &old.demand;
        let (usage, count) = (Usage::of(demand), Count::one(old.leaves));
        if let Some(equals) = self.priorities.get_mut(&demand.priority) {
            *equals -= 1;
            if *equals == 0 {
                self.priorities.remove(&demand.priority);
            }
        }
        if let Some(state) = self.nodes.get_mut(&old.node) {
            state.used = state.used.minus(usage);
            if old.ends {
                state.ending = state.ending.minus(usage);
            }
            if old.leaves {
                state.leaving = state.leaving.minus(usage);
            }
            if let Some(equals) = state.by_priority.get_mut(&demand.priority) {
                *equals = equals.minus(usage);
                if equals.tasks == 0 {
                    state.by_priority.remove(&demand.priority);
                }
            }
            state.tasks.remove(key);
            for (protocol, port, _) in &demand.ports {
                if let Some(holders) = state.ports.get_mut(&(*protocol, *port)) {
                    holders.remove(key);
                    if holders.is_empty() {
                        state.ports.remove(&(*protocol, *port));
                    }
                }
            }
            let said = state.said.as_ref();
            if let Some(class) = self.classes.get_mut(demand) {
                Count::take(&mut class.nodes, &old.node, count);
                for who in &class.crowds {
                    if let Some(crowd) = self.crowds.get_mut(who) {
                        crowd.go(&old.node, said, count);
                    }
                }
            }
        }
        for volume in &demand.volumes {
            self.move_out(volume, &old.node);
        }
        self.forget(demand);
        self.tidy(&old.node);
    }

    fn move_in(&mut self, volume: &str, node: &Arc<str>) {
        let homes = match self.homes.get_mut(volume) {
            Some(homes) => homes,
            None => self.homes.entry(volume.to_owned()).or_default(),
        };
        *homes.entry(node.clone()).or_default() += 1;
    }

    fn move_out(&mut self, volume: &str, node: &str) {
        let Some(homes) = self.homes.get_mut(volume) else {
            return;
        };
        if let Some(count) = homes.get_mut(node) {
            *count -= 1;
            if *count == 0 {
                homes.remove(node);
            }
        }
        if homes.is_empty() {
            self.homes.remove(volume);
        }
    }

    /// The node on which room is kept for the Task.
    pub fn kept(&self, key: &str) -> Option<&Arc<str>> {
        self.kept.get(key)
    }

    /// Room is kept on that node for a Task of that demand, or nowhere. Answers with the node that has more room since,
    /// and with the one that has less.
    pub fn keep(&mut self, key: &str, room: Option<(&str, &Demand)>) -> (Option<Arc<str>>, Option<Arc<str>>) {
        let is_same = |node: &str, demand: &Demand, facts: &Self| {
            let kept = facts.nodes.get(node).and_then(|state| state.kept.get(key));
            kept.is_some_and(|kept| **kept == *demand)
        };
        if room.is_some_and(|(node, demand)| is_same(node, demand, self)) {
            return (None, None);
        }
        let freed = self.kept.remove(key).inspect(|node| {
            if let Some(state) = self.nodes.get_mut(node) {
                state.kept.remove(key);
            }
            self.tidy(node);
        });
        let taken = room.map(|(node, demand)| {
            let (key, node): (Arc<str>, Arc<str>) = (key.into(), node.into());
            let state = self.nodes.entry(node.clone()).or_default();
            state.kept.insert(key.clone(), Arc::new(demand.clone()));
            self.kept.insert(key, node.clone());
            node
        });
        (freed, taken)
    }

    /// Counts the demand, and every sort of Tasks that it speaks of, until it is forgotten as often.
    pub fn know(&mut self, demand: &Demand) -> Arc<Demand> {
        if let Some((known, _)) = self.classes.get_key_value(demand) {
            let known = known.clone();
            if let Some(class) = self.classes.get_mut(&known) {
                class.users += 1;
            }
            return known;
        }
        let known = Arc::new(demand.clone());
        let crowds = self.crowds.keys().filter(|who| who.has(demand)).cloned();
        let class = Class {
            users: 1,
            nodes: BTreeMap::new(),
            crowds: crowds.collect(),
        };
        self.classes.insert(known.clone(), class);
        for (who, key) in spoken_of(demand) {
            self.speak(who, key);
        }
        known
    }

    fn speak(&mut self, who: Who, key: Option<&str>) {
        let nodes = &self.nodes;
        let said = |node: &str| nodes.get(node).and_then(|state| state.said.as_ref());
        if !self.crowds.contains_key(&who) {
            let who = Arc::new(who.clone());
            let mut crowd = Crowd::default();
            for (demand, class) in &mut self.classes {
                if who.has(demand) {
                    class.crowds.insert(who.clone());
                    for (node, count) in &class.nodes {
                        crowd.come(node, said(node), *count);
                    }
                }
            }
            self.crowds.insert(who, crowd);
        }
        if let Some(crowd) = self.crowds.get_mut(&who) {
            crowd.speakers += 1;
            if let Some(key) = key {
                crowd.count_by(key, said);
            }
        }
    }

    /// Whether some Task on a node has the demand, or it is asked about.
    pub fn knows(&self, demand: &Demand) -> bool {
        self.classes.contains_key(demand)
    }

    /// Undoes one [`Self::know`].
    pub fn forget(&mut self, demand: &Demand) {
        let Some(class) = self.classes.get_mut(demand) else {
            return;
        };
        class.users -= 1;
        if class.users > 0 {
            return;
        }
        self.classes.remove(demand);
        for (who, key) in spoken_of(demand) {
            let Some(crowd) = self.crowds.get_mut(&who) else {
                continue;
            };
            if let Some(key) = key {
                crowd.count_no_more_by(key);
            }
            crowd.speakers -= 1;
            if crowd.speakers == 0 {
                self.crowds.remove(&who);
                for class in self.classes.values_mut() {
                    class.crowds.remove(&who);
                }
            }
        }
    }

    /// Forgets a node that no Node object and no Task speaks of any more.
    fn tidy(&mut self, name: &str) {
        let speaks = |state: &NodeState| state.said.is_some() || state.used.tasks > 0 || !state.kept.is_empty();
        if self.nodes.get(name).is_some_and(|state| !speaks(state)) {
            self.nodes.remove(name);
        }
    }
}

/// Sorts of Tasks that a demand speaks of, and the labels that it counts them by.
fn spoken_of(demand: &Demand) -> impl Iterator<Item = (Who, Option<&str>)> {
    let kin = demand.kin.iter().map(|kin| (kin.clone(), None));
    let rather = demand.rather.iter().map(|(_, term)| term);
    let spread = demand.spread.iter().map(|spread| &spread.term);
    let terms = demand.near.iter().chain(&demand.far).chain(rather).chain(spread);
    let terms = terms.map(|term| (term.who.clone(), Some(term.key.as_str())));
    let far = demand.far.iter();
    let far = far.map(|term| (Who::FarFrom(Box::new(term.clone())), Some(term.key.as_str())));
    kin.chain(terms).chain(far)
}

impl<'a> Site<'a> {
    /// The value of a label, by which nodes are near to one another.
    pub fn value(&self, key: &str) -> Option<&'a str> {
        match key {
            NODE_LABEL => Some(self.name),
            key => self.said.labels.get(key).map(String::as_str),
        }
    }
}
