//! Tasks that fit nowhere: they are told why, and less important ones are asked to give way.
use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use cube_api::{
    event::EventType,
    placement::PreemptionPolicy,
    task::{Eviction, Task},
};
use cube_plan::scheduler::{Demand, Explanation, Room, is_told, nominated, unschedulable};
use futures_util::future::join_all;

use super::{Actor, Finished, key, task, waiting_task};
use crate::{
    registry::{ApiError, Object, Write},
    store::Snapshot,
};

/// Why a Task leaves its node for a more important one, in one word.
const PREEMPTED: &str = "Preempted";

/// Tasks that give way to another.
pub(super) struct Preemption {
    key: String,
    task: Object,
    node: String,
    /// The Tasks, and why they leave.
    victims: Vec<(String, Object, Eviction)>,
}

impl Actor {
    /// What is to be written of Tasks of one demand that fit nowhere, as far as that is new; room is made for those for
    /// whom somebody can give way.
    pub(super) fn answer(
        &mut self,
        snapshot: &Snapshot,
        tasks: &[Object],
        demand: &Arc<Demand>,
        why: &Explanation,
    ) -> Vec<Write> {
        let mut writes = Vec::new();
        // Where nobody can give way to one, nobody can to the next.
        let mut hopeless = false;
        for object in tasks {
            let (key, task): (_, &Task) = (key(object), object.typed());
            if self.nominated.contains_key(&key) {
                // Room is being made already.
                continue;
            }
            let waits_for = task.status.nominated_node.as_deref();
            let yields = task.spec.preemption_policy == PreemptionPolicy::Never;
            let room = match waits_for {
                None if yields || hopeless => Room::Nowhere,
                _ => self.index.find_room(&key, demand),
            };
            let status = match room {
                Room::Taken { node, victims } if !yields => {
                    if self.preempt(snapshot, object, &node, &victims) {
                        continue;
                    }
                    unschedulable(task, why, self.world.now())
                }
                Room::Leaving(node) if waits_for == Some(&*node) => nominated(task, &node, self.world.now()),
                room => {
                    hopeless |= room == Room::Nowhere && waits_for.is_none() && !yields;
                    unschedulable(task, why, self.world.now())
                }
            };
            if !is_told(task) {
                let message = why.message.clone();
                let about = object.reference();
                self.recorder
                    .event(about, EventType::Warning, "FailedScheduling", message);
            }
            if status != task.status {
                writes.push(Write::status(object, &status));
            }
        }
        writes
    }

    /// The figures have changed: Tasks that still fit nowhere are told the new ones.
    pub(super) fn retell(&mut self, snapshot: &Snapshot) -> Vec<Write> {
        let waiting = self.queue.waiting().map(|(demand, ranks)| {
            let tasks = ranks.iter().filter_map(|rank| waiting_task(snapshot, &rank.key));
            (demand.clone(), tasks.collect::<Vec<Object>>())
        });
        let waiting: Vec<_> = waiting.collect();
        let mut writes = Vec::new();
        let mut told = BTreeMap::new();
        for (demand, tasks) in waiting {
            let why = self.index.explain(&demand);
            let is_kept = |task: &Object| task.typed::<Task>().status.nominated_node.is_some();
            let may_gain = self.index.has_less_important(&demand) || tasks.iter().any(is_kept);
            let outdated = self.outdated.contains(&*demand);
            if may_gain || outdated || self.told.get(&demand) != Some(&why) {
                writes.extend(self.answer(snapshot, &tasks, &demand, &why));
            }
            told.insert(demand, why);
        }
        self.told = told;
        self.outdated.clear();
        writes
    }

    pub(super) fn tell(&mut self, statuses: Vec<Write>) {
        let registry = self.registry.clone();
        let of = |write: &Write| match write {
            Write::Status { object, .. } => Some(key(object)),
            _ => None,
        };
        let keys: Vec<String> = statuses.iter().filter_map(of).collect();
        self.being_told.extend(keys.iter().cloned());
        self.under_way.push(Box::pin(async move {
            let writes = statuses.into_iter().map(|write| registry.transact(vec![write]));
            let written = join_all(writes).await;
            let failed = written.iter().filter_map(|written| written.as_ref().err());
            let failed = failed.inspect(|error| tracing::debug!(%error, "a Task was not told why it waits"));
            Finished::Told(keys, failed.count() == 0)
        }));
    }

    /// Asks the victims to leave the node for the Task, in one transaction with its being told so. Says whether it could:
    /// not while some of them are no longer as they were thought to be.
    fn preempt(&mut self, snapshot: &Snapshot, object: &Object, node: &str, victims: &[Arc<str>]) -> bool {
        let (key, preemptor): (_, &Task) = (key(object), object.typed());
        let eviction = Eviction {
            reason: PREEMPTED.to_owned(),
            message: format!("preempted by {key} (priority {})", preemptor.spec.priority),
            after_replacement: false,
        };
        let found = victims.iter().map(|victim| {
            let object = task(snapshot, victim)?;
            let is_there = object.typed::<Task>().status.node.as_deref() == Some(node);
            is_there.then(|| (victim.to_string(), object, eviction.clone()))
        });
        let Some(victims) = found.collect::<Option<Vec<_>>>() else {
            self.retell_soon();
            return false;
        };
        self.nominated.insert(key.clone(), node.to_owned());
        for (victim, _, eviction) in &victims {
            self.evicted.insert(victim.clone(), eviction.clone());
        }
        let preemption = Preemption {
            key,
            task: object.clone(),
            node: node.to_owned(),
            victims,
        };
        self.assume(&preemption);
        let status = nominated(preemptor, node, self.world.now());
        let mut writes = vec![Write::status(object, &status)];
        writes.extend(preemption.victims.iter().map(|(_, victim, eviction)| Write::Evict {
            task: victim.clone(),
            eviction: eviction.clone(),
        }));
        let registry = self.registry.clone();
        self.under_way.push(Box::pin(async move {
            let written = registry.transact(writes).await.map(drop);
            Finished::Preempted(preemption, written)
        }));
        true
    }

    /// The index has it so at once: room is kept, and the victims are on their way out.
    fn assume(&mut self, preemption: &Preemption) {
        let victims = preemption.victims.iter().map(|(key, object, _)| (key, object));
        for (key, object) in victims.chain([(&preemption.key, &preemption.task)]) {
            let task = self.with_preemption(key, object.typed());
            self.index.set_task(key, &task, None);
        }
    }

    /// The Task as it is when the preemptions under way are done.
    pub(super) fn with_preemption<'a>(&mut self, key: &str, task: &'a Task) -> Cow<'a, Task> {
        let status = &task.status;
        let mut changed = Cow::Borrowed(task);
        if let Some(node) = self.nominated.get(key) {
            if status.node.is_some() || status.nominated_node.as_ref() == Some(node) {
                self.nominated.remove(key);
            } else {
                changed.to_mut().status.nominated_node = Some(node.clone());
            }
        }
        if let Some(eviction) = self.evicted.get(key) {
            if status.node.is_none() || status.leaves_now() {
                self.evicted.remove(key);
            } else {
                changed.to_mut().status.eviction = Some(eviction.clone());
            }
        }
        changed
    }

    /// The victims were asked to leave, or could not be.
    pub(super) fn preempted(&mut self, preemption: Preemption, written: Result<(), ApiError>) {
        let Preemption {
            key,
            task,
            node,
            victims,
        } = preemption;
        match written {
            Ok(()) => {
                self.failures = 0;
                let number = victims.len();
                let leave = if number == 1 { "task leaves" } else { "tasks leave" };
                let message = format!("{number} less important {leave} node {node} for it");
                self.recorder
                    .event(task.reference(), EventType::Normal, "Nominated", message);
                for (_, victim, eviction) in victims {
                    self.recorder
                        .event(victim.reference(), EventType::Normal, PREEMPTED, eviction.message);
                }
            }
            Err(error) => {
                self.pause_after(&error);
                self.nominated.remove(&key);
                self.look_again(&key);
                for (victim, ..) in victims {
                    self.evicted.remove(&victim);
                    self.look_again(&victim);
                }
                self.told.clear();
                self.retell_soon();
            }
        }
    }
}
