//! Joins the loop that moves Tasks by itself to its brain, `cube_plan::scheduler::Rebalancer`, where the settings ask for it.
//!
//! One Task moves at a time, and the next only when all is at rest again: nothing starts, stops, waits or is silent. While
//! nothing changes it costs nothing; while much changes, a look at a few fields each second word at most.
use std::time::Duration;

use cube_api::{
    event::EventType,
    kinds::Kind,
    placement::SchedulingPolicy,
    settings::{CLUSTER, Settings},
};
use cube_plan::scheduler::{REBALANCED, Rebalancer, is_settled, rebalanced};
use jiff::{SignedDuration, Timestamp};

use super::runner::{Change, Hand, Outcome, Tell, View};
use crate::{
    registry::{Object, Write, all, find},
    store::Key,
};

/// Nothing must have changed for so long. A node that has returned tells of itself in several words, and what a move brings
/// about shows after it; longer would only make people wait.
const QUIET: SignedDuration = SignedDuration::from_secs(5);

pub(super) struct Rebalance {
    policy: SchedulingPolicy,
    /// Whether the settings ask for it, as far as is known.
    wished: bool,
    /// When something that may matter last changed.
    changed: Option<Timestamp>,
    /// No Task moves before. Kept in memory alone: who starts anew waits for a whole turn.
    next: Option<Timestamp>,
}

impl Rebalance {
    pub fn new(policy: SchedulingPolicy) -> Self {
        Self {
            policy,
            wished: false,
            changed: None,
            next: None,
        }
    }
}

fn key() -> Key {
    Key::new(Kind::Settings.info().plural, "", CLUSTER)
}

impl Hand for Rebalance {
    fn name(&self) -> &'static str {
        "rebalance"
    }

    fn forget(&mut self) {
        self.wished = false;
    }

    fn wakes(&mut self, change: &Change, view: &View, wake: &mut Vec<Key>) {
        let kind = change.object.kind();
        match change.object.try_typed::<Settings>() {
            Some(settings) => self.wished = !change.gone && settings.spec.auto_rebalance.is_some(),
            None if !Rebalancer::KINDS.contains(&kind) => return,
            None => {}
        }
        self.changed = Some(view.now);
        if self.wished {
            wake.push(key());
        }
    }

    fn look(&mut self, key: &Key, view: &View) -> Outcome {
        let settings = view.get(key);
        let settings = settings.as_ref().map(|object| object.typed::<Settings>());
        let Some(auto) = settings.and_then(|settings| settings.spec.auto_rebalance.as_ref()) else {
            self.next = None;
            return Outcome::default();
        };
        let turn = SignedDuration::from_secs(60) / i32::try_from(auto.moves_per_minute.max(1)).unwrap_or(i32::MAX);
        let next = *self.next.get_or_insert(view.now + turn);
        let quiet = self.changed.map_or(view.now, |changed| changed + QUIET);
        let due = next.max(quiet);
        if due > view.now {
            return Outcome {
                again: Duration::try_from(due.duration_since(view.now)).ok(),
                ..Outcome::default()
            };
        }
        let objects: Vec<Object> = all(view.snapshot)
            .filter(|object| Rebalancer::KINDS.contains(&object.kind()))
            .collect();
        // What is under way wakes it when it is done.
        if !objects.iter().map(Object::resource).all(is_settled) {
            return Outcome::default();
        }
        let plan = Rebalancer::new(self.policy, objects.iter().map(Object::resource), false).plan(1);
        let planned = plan.moves.into_iter().next();
        let found = planned.and_then(|planned| {
            let task = find(view.snapshot, Kind::Task, &planned.namespace, &planned.name)?;
            Some((task, planned))
        });
        let Some((task, planned)) = found else {
            return Outcome::default();
        };
        self.next = Some(view.now + turn);
        let eviction = rebalanced(&planned);
        Outcome {
            tell: vec![Tell {
                about: task.reference(),
                kind: EventType::Normal,
                reason: REBALANCED,
                message: eviction.message.clone(),
            }],
            transactions: vec![vec![Write::Evict { task, eviction }]],
            again: Duration::try_from(turn).ok(),
            ..Outcome::default()
        }
    }
}
