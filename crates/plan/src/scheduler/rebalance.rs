//! Which Tasks would move where, so that nodes are loaded more evenly: what uses a node that is new or has returned.
//!
//! Nothing is scored anew: a Task goes where [`Index::place`] would put the one in its place, and it goes only if that makes
//! the whole more even. It never moves, waits or remembers; [`Rebalancer::plan`] is the one to read first.
//!
//! ```text
//! Tasks ─► may it move at all, and how (manner.rs) ─► where would it go ─► how much more even is that (gain.rs)
//!                                                            ▲                           │ the greatest gain
//!                                                            └── index, the Task moved ◄─┘ until there is none
//! ```
//!
//! Guarantees: each move makes smaller what is compared from top to bottom: Tasks crowded by a spread constraint, Tasks of one
//! Deployment on one node, the nodes' loads from the highest down. So no plan undoes what another did, and they come to an
//! end: as a rule the next one is empty, else it moves what could move only once others had. Filters and required
//! affinities hold before and after each move. What preferences find worse is not done for the sake of load.
mod gain;
mod manner;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use cube_api::{
    condition::{self, READY, Truth},
    deployment::Deployment,
    kinds::{AnyResource, Kind},
    node::Node,
    placement::SchedulingPolicy,
    rebalance::{Burden, MoveManner, NodeBalance, PlannedMove, RebalancePlan, Staying},
    task::{Eviction, Task},
};

use self::{
    gain::Gain,
    manner::{Maker, is_leaving},
};
use super::{Demand, Index, demand::Term, score::load};

pub use manner::{Stays, is_at_rest, is_settled};

/// The reason of Tasks that leave a node because another one is loaded less, in one word.
pub const REBALANCED: &str = "Rebalanced";

/// The wish that the Task of a planned move leaves its node.
pub fn rebalanced(planned: &PlannedMove) -> Eviction {
    Eviction {
        reason: REBALANCED.to_owned(),
        message: format!("moves to node {}: {}", planned.to, planned.why),
        after_replacement: planned.how != MoveManner::Restart,
    }
}

/// Tasks of the cluster, as a plan looks at them.
#[derive(Clone)]
pub struct Rebalancer {
    index: Index,
    movable: BTreeMap<Arc<str>, Movable>,
    /// Those that have moved, where they are now.
    moved: BTreeMap<Arc<str>, Movable>,
    /// Those that may not move, counted by why.
    stays: BTreeMap<Stays, u32>,
    /// Nodes that take part.
    nodes: BTreeSet<String>,
    /// What some Task is to be spread by.
    spreads: BTreeSet<Term>,
}

/// A Task that may move.
#[derive(Clone)]
struct Movable {
    task: Task,
    demand: Arc<Demand>,
    manner: MoveManner,
    node: String,
}

/// One move, and what it is good for.
struct Step {
    key: Arc<str>,
    to: Arc<str>,
    gain: Gain,
}

impl Rebalancer {
    /// It looks at objects of these kinds.
    pub const KINDS: [Kind; 3] = [Kind::Node, Kind::Deployment, Kind::Task];

    /// Looks at everything there is; with `restarts`, Tasks may move that stop before another one starts.
    pub fn new<'a>(
        policy: SchedulingPolicy,
        everything: impl Iterator<Item = &'a dyn AnyResource>,
        restarts: bool,
    ) -> Self {
        let mut rebalancer = Self {
            index: Index::new(policy),
            movable: BTreeMap::new(),
            moved: BTreeMap::new(),
            stays: BTreeMap::new(),
            nodes: BTreeSet::new(),
            spreads: BTreeSet::new(),
        };
        let (mut tasks, mut deployments, mut unsettled) = (Vec::new(), BTreeMap::new(), BTreeSet::new());
        for object in everything {
            let any = object.as_any();
            if let Some(task) = any.downcast_ref::<Task>() {
                rebalancer.index.set_task(&key_of(task), task, None);
                if let Some(owner) = task.metadata.controller().filter(|_| is_leaving(task)) {
                    unsettled.insert(owner.uid.as_str());
                }
                tasks.push(task);
            } else if let Some(node) = any.downcast_ref::<Node>() {
                rebalancer.index.set_node(node);
                rebalancer
                    .nodes
                    .extend(takes_part(node).then(|| node.metadata.name.clone()));
            } else if let Some(deployment) = any.downcast_ref::<Deployment>() {
                deployments.insert(deployment.metadata.uid.as_str(), deployment);
            }
        }
        for task in tasks {
            let owner = task.metadata.controller().map(|owner| owner.uid.as_str());
            let maker = match owner {
                None => Maker::Nobody,
                Some(uid) if unsettled.contains(uid) => Maker::Unsettled,
                Some(uid) => deployments
                    .get(uid)
                    .map_or(Maker::Unknown, |found| Maker::Deployment(found)),
            };
            rebalancer.take(task, maker, restarts);
        }
        rebalancer
    }

    fn take(&mut self, task: &Task, maker: Maker, restarts: bool) {
        let Some(node) = task.status.node.clone().filter(|_| !task.status.phase.is_over()) else {
            return;
        };
        let demand = Demand::of(task);
        self.spreads
            .extend(demand.spread.iter().map(|spread| spread.term.clone()));
        let manner = match self.nodes.contains(&node) {
            true => manner::of(task, maker, self.index.policy_of(&demand)),
            false => Err(Stays::Node),
        };
        let manner = match manner {
            Ok(MoveManner::StopFirst) if !restarts => Err(Stays::StopsFirst),
            Ok(MoveManner::Restart) if !restarts => Err(Stays::Alone),
            other => other,
        };
        match manner {
            Ok(manner) => {
                let movable = Movable {
                    task: task.clone(),
                    demand: Arc::new(demand),
                    manner,
                    node,
                };
                self.movable.insert(key_of(task).into(), movable);
            }
            Err(stays) => *self.stays.entry(stays).or_default() += 1,
        }
    }

    /// The moves, at most so many, each the best one after those before it.
    pub fn plan(self, at_most: usize) -> RebalancePlan {
        let mut moves = Vec::new();
        let mut after = self.clone();
        loop {
            while moves.len() < at_most
                && let Some(step) = best(&mut after.index, &after.movable, &after.spreads)
            {
                moves.push(after.planned(&step));
                after.carry_out(&step);
            }
            if moves.len() >= at_most {
                break;
            }
            // One that has moved early may be better elsewhere now that others have. It then goes there at once, as the last.
            let Some(better) = best(&mut after.index, &after.moved, &after.spreads) else {
                break;
            };
            let mut others = moves.clone();
            let again = after.planned(&better);
            others.retain(|planned| planned.uid != again.uid);
            let first = moves.iter().find(|planned| planned.uid == again.uid);
            let from = first.map_or_else(|| again.from.clone(), |first| first.from.clone());
            if from != again.to {
                others.push(PlannedMove { from, ..again });
            }
            // It may be that others could move only because it did; what is left then is for the next plan.
            match self.clone().follow(&mut others) {
                Ok(then) => (after, moves) = (then, others),
                Err(_) => break,
            }
        }
        let nodes = after.burdens().into_iter().zip(self.burdens());
        let nodes = nodes.map(|((name, after), (_, before))| NodeBalance {
            takes_part: self.nodes.contains(&name),
            name,
            before,
            after,
        });
        let stays = self.stays.iter().map(|(why, tasks)| Staying {
            why: why.to_string(),
            tasks: *tasks,
        });
        RebalancePlan {
            policy: self.index.policy_of(&Demand::default()),
            moves,
            nodes: nodes.collect(),
            stays: stays.collect(),
        }
    }

    /// Whether all of these moves, one after the other, are still what a plan would do with their Tasks.
    ///
    /// # Errors
    /// Why the first that is not is not, for people.
    pub fn confirm(self, moves: &[PlannedMove]) -> Result<(), String> {
        self.follow(&mut moves.to_vec()).map(drop)
    }

    /// How things are after these moves; what they are good for is told anew.
    fn follow(mut self, moves: &mut [PlannedMove]) -> Result<Self, String> {
        for planned in moves {
            let key = format!("{}/{}", planned.namespace, planned.name);
            let refused = |why: String| Err(format!("task {key}: {why}"));
            let Some((key, movable)) = self.movable.get_key_value(key.as_str()) else {
                return refused("it is no longer there, or may no longer move".to_owned());
            };
            if movable.task.metadata.uid != planned.uid {
                return refused("it is another one now".to_owned());
            }
            if movable.node != planned.from {
                return refused(format!("it is on node {} now", movable.node));
            }
            if movable.manner != planned.how {
                return refused(format!("it would move {} now", movable.manner.as_str()));
            }
            match step(&mut self.index, key, movable, &self.spreads) {
                Some(step) if *step.to == *planned.to => {
                    *planned = self.planned(&step);
                    self.carry_out(&step);
                }
                Some(step) => return refused(format!("it would go to node {} now", step.to)),
                None => return refused(format!("that it goes to node {} makes nothing better now", planned.to)),
            }
        }
        Ok(self)
    }

    fn carry_out(&mut self, step: &Step) {
        let movable = self.movable.remove(&step.key);
        if let Some(mut movable) = movable.or_else(|| self.moved.remove(&step.key)) {
            movable.node = step.to.to_string();
            movable.task.status.node = Some(movable.node.clone());
            self.index.set(&step.key, &movable.task, &movable.demand, None);
            self.moved.insert(step.key.clone(), movable);
        }
    }

    fn planned(&self, step: &Step) -> PlannedMove {
        let movable = self.movable.get(&step.key);
        let Some(movable) = movable.or_else(|| self.moved.get(&step.key)) else {
            return PlannedMove::default();
        };
        let meta = &movable.task.metadata;
        PlannedMove {
            namespace: meta.namespace().to_owned(),
            name: meta.name.clone(),
            uid: meta.uid.clone(),
            from: movable.node.clone(),
            to: step.to.to_string(),
            how: movable.manner,
            why: step.gain.told(&movable.node, &step.to),
        }
    }

    /// What each node carries, by name.
    fn burdens(&self) -> Vec<(String, Burden)> {
        let burden = |site: super::facts::Site| {
            let burden = Burden {
                tasks: site.state.used.tasks,
                load: load(site.state.used, site.said.allocatable) / 1000,
            };
            (site.name.to_string(), burden)
        };
        self.index.sites().map(burden).collect()
    }
}

/// `namespace/name`.
fn key_of(task: &Task) -> String {
    format!("{}/{}", task.metadata.namespace(), task.metadata.name)
}

/// Whether the node is ready, and neither cordoned nor drained nor on its way out.
fn takes_part(node: &Node) -> bool {
    let ready = condition::find(&node.status.conditions, READY);
    ready.is_some_and(|ready| ready.status == Truth::True)
        && !node.spec.unschedulable
        && node.spec.drain.is_none()
        && !node.metadata.is_deleting()
}

/// The move that is best now, if any makes things better.
fn best(index: &mut Index, tasks: &BTreeMap<Arc<str>, Movable>, spreads: &BTreeSet<Term>) -> Option<Step> {
    let limit = gain::Best::of(index);
    let mut promising = Vec::new();
    // Tasks of one demand on one node are as good as one another: the first by name stands for them all.
    let mut seen = BTreeSet::new();
    for (key, movable) in tasks {
        if seen.insert((&movable.demand, &movable.node, movable.manner)) {
            let most = gain::at_most(index, &movable.demand, &movable.node, spreads, limit);
            promising.extend(most.map(|most| (most, key, movable)));
        }
    }
    promising.sort_by_key(|(most, key, _)| (Reverse(*most), *key));
    let mut best: Option<Step> = None;
    for (most, key, movable) in promising {
        let so_far = best.as_ref().map(|best| best.gain.order());
        // A thousandth more is not worth a look at all that are as good as the one that was found.
        let enough = |so_far: gain::Order| (so_far.0, so_far.1, so_far.2 + so_far.2 / 1000);
        if so_far.is_some_and(|so_far| enough(so_far) >= most) {
            break;
        }
        if let Some(step) = step(index, key, movable, spreads)
            && so_far.is_none_or(|so_far| step.gain.order() > so_far)
        {
            best = Some(step);
        }
    }
    best
}

/// Where the Task would go, if that makes things better. The index is left as it was.
fn step(index: &mut Index, key: &Arc<str>, movable: &Movable, spreads: &BTreeSet<Term>) -> Option<Step> {
    let (from, demand) = (movable.node.as_str(), &*movable.demand);
    // The one in its place is placed while it is still there, or once it is gone.
    let beside = match movable.manner {
        MoveManner::StartFirst => Some(index.place(demand)?),
        MoveManner::StopFirst | MoveManner::Restart => None,
    };
    if beside.as_deref() == Some(from) {
        return None;
    }
    index.remove_task(key);
    let to = match beside {
        Some(to) => index.fits(&to, demand).then_some(to),
        None => index.place(demand),
    };
    let gain = to.as_ref().and_then(|to| gain::of(index, demand, (from, to), spreads));
    index.set(key, &movable.task, demand, None);
    let (key, to, gain) = (key.clone(), to?, gain?);
    Some(Step { key, to, gain })
}
