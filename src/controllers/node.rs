//! Joins the nodes' loop to its brain, `cube_plan::node_life`, and to what is heard of their workers.
//!
//! A quiet node costs one look each grace, whatever it has; its Tasks are looked at only while something is wrong with it.
use cube_planted::{Bug, planted};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use cube_api::{
    condition::{self, Condition, READY, Truth},
    event::EventType,
    kinds::Kind,
    node::{Node, NodeStatus, TaintEffect},
    task::Task,
};
use cube_plan::node_life::{Decision, GRACE, Look, Move, NODE_LOST, SLOWED, STRANDED, decide, is_disaster, lost_at};
use jiff::{SignedDuration, Timestamp};

use super::runner::{Change, Hand, Outcome, Tell, View};
use crate::{
    registry::{Object, Write},
    roster::Roster,
    store::Key,
    world::clock::Steady,
};

/// The reason of the word that Tasks are moved slowly.
const MOVING_SLOWLY: &str = "MovingSlowly";

pub(super) struct Nodes {
    roster: Roster,
    /// The nodes that there are, and since when those that are lost have been.
    nodes: BTreeMap<String, Option<Timestamp>>,
    /// Since when a node has had its NoExecute taints, as far as this process has seen it.
    tainted: BTreeMap<String, BTreeMap<(String, String), Timestamp>>,
    /// While most nodes are lost: no Task is moved before.
    next_move: Option<Timestamp>,
    /// Begun with the first look.
    steady: Option<Steady>,
    /// Since when nodes are lost: as is told of them, and by the steady clock.
    lost: BTreeMap<String, (Timestamp, Timestamp)>,
    /// Nodes of which it was told that their Tasks move slowly.
    slowed: BTreeSet<String>,
}

impl Nodes {
    pub fn new(roster: Roster) -> Self {
        Self {
            roster,
            nodes: BTreeMap::new(),
            tainted: BTreeMap::new(),
            next_move: None,
            steady: None,
            lost: BTreeMap::new(),
            slowed: BTreeSet::new(),
        }
    }

    /// How far the clock by which a node's loss is measured is ahead of the steady one. Since when it is lost is told by the
    /// wall clock, which may have been set since, also before this process began: a loss in the future is one of now.
    fn by_what_is_told(
        &mut self,
        name: &str,
        node: Option<&Node>,
        steady: Timestamp,
        wall: Timestamp,
    ) -> SignedDuration {
        let Some(told) = node.and_then(lost_at) else {
            self.lost.remove(name);
            return wall.duration_since(steady);
        };
        let seen = self.lost.get(name).filter(|(known, _)| *known == told);
        let since = seen.map(|(_, since)| *since).unwrap_or_else(|| {
            let ago = wall.duration_since(told).max(SignedDuration::ZERO);
            steady.saturating_sub(ago).unwrap_or(steady)
        });
        self.lost.insert(name.to_owned(), (told, since));
        told.duration_since(since)
    }

    /// Notes since when the node has had its taints.
    fn note_taints(&mut self, name: &str, node: Option<&Node>, now: Timestamp) {
        let taints = node.map_or(&[][..], |node| &node.spec.taints);
        let strict = taints.iter().filter(|taint| taint.effect == TaintEffect::NoExecute);
        let mut before = self.tainted.remove(name).unwrap_or_default();
        let since: BTreeMap<(String, String), Timestamp> = strict
            .map(|taint| (taint.key.clone(), taint.value.clone()))
            .map(|taint| {
                let since = before.remove(&taint).unwrap_or(now);
                (taint, since)
            })
            .collect();
        if !since.is_empty() {
            self.tainted.insert(name.to_owned(), since);
        }
    }
}

/// Whether something is wrong with the node, so that its Tasks have to be looked at.
fn is_restless(node: Option<&Node>) -> bool {
    let Some(node) = node else { return true };
    let ready = condition::find(&node.status.conditions, READY);
    node.spec.drain.is_some()
        || node
            .spec
            .taints
            .iter()
            .any(|taint| taint.effect == TaintEffect::NoExecute)
        || ready.is_some_and(|ready| ready.status != Truth::True)
}

fn key_of(name: &str) -> Key {
    Key::new(Kind::Node.info().plural, "", name)
}

impl Hand for Nodes {
    fn name(&self) -> &'static str {
        "node"
    }

    fn forget(&mut self) {
        self.nodes.clear();
        self.slowed.clear();
    }

    fn wakes(&mut self, change: &Change, view: &View, wake: &mut Vec<Key>) {
        let object = &change.object;
        match object.kind() {
            Kind::Node => {
                if change.gone {
                    self.nodes.remove(object.name());
                } else {
                    self.nodes.insert(object.name().to_owned(), lost_at(object.typed()));
                }
                wake.push(change.key().clone());
            }
            Kind::Task if !change.gone => {
                let task: &Task = object.typed();
                let Some(node) = task.status.node.as_deref().filter(|node| !node.contains('/')) else {
                    return;
                };
                let key = key_of(node);
                if is_restless(view.get(&key).as_ref().map(|object| object.typed::<Node>())) {
                    wake.push(key);
                }
            }
            _ => {}
        }
    }

    fn look(&mut self, key: &Key, view: &View) -> Outcome {
        let name = key.name();
        let object = view.get(key);
        let node = object.as_ref().map(|object| object.typed::<Node>());
        let steady = self.steady.get_or_insert_with(|| Steady::new(view.now)).now();
        self.note_taints(name, node, steady);
        let told = self.by_what_is_told(name, node, steady, view.now);
        let silence = SignedDuration::try_from(self.roster.silence(name)).unwrap_or(SignedDuration::MAX);
        let restless = is_restless(node) || silence >= GRACE;
        let there: Vec<Object> = match restless {
            true => view.index.on_node(name).filter_map(|key| view.get(key)).collect(),
            false => view.index.leaving(name).filter_map(|key| view.get(key)).collect(),
        };
        if node.is_none() && there.is_empty() {
            self.slowed.remove(name);
            return Outcome::default();
        }
        let slow = is_disaster(self.nodes.len(), self.nodes.values().flatten().copied());
        let allowance = match self.next_move {
            _ if !slow => usize::MAX,
            Some(next) if next > steady => 0,
            _ => 1,
        };
        let since = self.tainted.get(name).into_iter().flatten();
        let tainted_since = since
            .map(|(taint, since)| (taint.clone(), since.saturating_add(told).unwrap_or(*since)))
            .collect();
        let tasks: Vec<&Task> = there.iter().map(Object::typed).collect();
        let now = match planted(Bug::SilenceByWallClock) {
            true => view.now,
            false => steady.saturating_add(told).unwrap_or(view.now),
        };
        let decision = decide(&Look {
            name,
            node,
            silence,
            tasks: &tasks,
            tainted_since: &tainted_since,
            allowance,
            now,
        });
        if slow
            && decision
                .moves
                .iter()
                .any(|change| matches!(change, Move::Release { .. }))
        {
            self.next_move = steady.saturating_add(SLOWED).ok();
        }
        let told = self.told(name, object.as_ref(), &there, &decision);
        Outcome {
            transactions: writes(object.as_ref(), &there, &decision, view.now),
            tell: told,
            again: decision.again.and_then(|again| Duration::try_from(again).ok()),
            ..Outcome::default()
        }
    }
}

/// What is to be written; each stands for itself.
fn writes(node: Option<&Object>, tasks: &[Object], decision: &Decision, now: Timestamp) -> Vec<Vec<Write>> {
    let mut transactions = Vec::new();
    if let Some(object) = node {
        let before = &object.typed::<Node>().status;
        let mut status: NodeStatus = before.clone();
        for new in &decision.conditions {
            condition::set(&mut status.conditions, Condition::clone(new), now);
        }
        if let Some(without) = decision.without {
            status.conditions.retain(|condition| condition.kind != without);
        }
        if status != *before {
            transactions.push(vec![Write::status(object, &status)]);
        }
    }
    let writes = decision.moves.iter().map(|change| match change {
        Move::Evict(task, eviction) => Write::Evict {
            task: tasks[*task].clone(),
            eviction: eviction.clone(),
        },
        Move::Keep(task) => {
            let mut status = tasks[*task].typed::<Task>().status.clone();
            status.eviction = None;
            Write::status(&tasks[*task], &status)
        }
        Move::Release { task, reason, message } => Write::Release {
            task: tasks[*task].clone(),
            reason: reason.clone(),
            message: message.clone(),
        },
        Move::Tell(task, status) => Write::status(&tasks[*task], &**status),
    });
    transactions.extend(writes.map(|write| vec![write]));
    transactions
}

impl Nodes {
    /// What people are told.
    fn told(&mut self, name: &str, node: Option<&Object>, tasks: &[Object], decision: &Decision) -> Vec<Tell> {
        let about = |object: &Object, kind, reason, message: &str| Tell {
            about: object.reference(),
            kind,
            reason,
            message: message.to_owned(),
        };
        let mut told = Vec::new();
        let lost = decision.conditions.iter().find(|condition| condition.kind == READY);
        if let (Some(node), Some(lost)) = (node, lost) {
            told.push(about(node, EventType::Warning, NODE_LOST, &lost.message));
        }
        if decision.held_back == 0 {
            self.slowed.remove(name);
        } else if self.slowed.insert(name.to_owned())
            && let Some(node) = node
        {
            let (all, lost) = (self.nodes.len(), self.nodes.values().flatten().count());
            let message = format!(
                "{lost} of {all} nodes were lost within a minute, which is more likely the network or the manager's \
                 machine than they: their Tasks are moved one a second"
            );
            told.push(about(node, EventType::Warning, MOVING_SLOWLY, &message));
        }
        for change in &decision.moves {
            match change {
                Move::Evict(task, eviction) => {
                    told.push(about(&tasks[*task], EventType::Normal, "Evicted", &eviction.message));
                }
                Move::Release { task, message, .. } => {
                    told.push(about(&tasks[*task], EventType::Warning, NODE_LOST, message));
                }
                Move::Tell(task, status) if status.reason == STRANDED => {
                    told.push(about(&tasks[*task], EventType::Warning, STRANDED, &status.message));
                }
                Move::Tell(..) | Move::Keep(_) => {}
            }
        }
        told
    }
}
