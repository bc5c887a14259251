//! What is told is true: of which container, and whether it is ready (I6).
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use cube::{engine::State, registry::Object};
use cube_api::{
    condition::{READY, is_true},
    kinds::Kind,
    node::Node,
    task::Task,
};
use cube_plan::node_life::NODE_LOST;

use super::{Inner, store::id_of};
use crate::cluster::MANAGER;

/// What a worker was not told of, it finds with its next list: after a minute, and what that takes.
const FOUND: Duration = Duration::from_secs(90);
/// A Task that says nothing of it stays so long on a node that is not ready; times are told in whole seconds.
const TOLERATED: Duration = Duration::from_secs(28);

/// What is known of what is told.
#[derive(Default)]
pub(super) struct Watched {
    /// Since when a Task is told to be ready and is not, by uid.
    untrue: BTreeMap<String, Duration>,
    /// Tasks that somebody has deleted without waiting for their containers.
    forced: BTreeSet<String>,
    /// Since when a node is not ready.
    lost: BTreeMap<String, Duration>,
}

impl Watched {
    pub(super) fn forced(&mut self, key: &str) {
        self.forced.insert(key.to_owned());
    }
}

impl Inner {
    /// A Task tells of no container but its own.
    pub(super) fn check_container(&self, object: &Object) {
        let Some(task) = object.try_typed::<Task>() else { return };
        let (Some(node), Some(id)) = (&task.status.node, &task.status.container_id) else {
            return;
        };
        let of = self.engines.of.get(&(node.clone(), id.clone()));
        if of != Some(&task.metadata.uid) {
            let what = format!(
                "{} ({}) tells of container {id} on {node}, of {of:?}",
                task.metadata.name, task.metadata.uid
            );
            self.history.violated("I6: what is told is true", what);
        }
    }

    /// A Task is taken from a node that is not ready only when that was so for as long as it tolerates.
    pub(super) fn check_lost(&mut self, before: Option<&Object>, object: &Object) {
        let now = self.history.now();
        if let Some(node) = object.try_typed::<Node>() {
            if is_true(&node.status.conditions, READY) {
                self.statuses.lost.remove(object.name());
            } else {
                self.statuses.lost.entry(object.name().to_owned()).or_insert(now);
            }
        }
        let Some(task) = object.try_typed::<Task>() else { return };
        let Some(node) = before.and_then(|before| before.try_typed::<Task>()?.status.node.as_deref()) else {
            return;
        };
        let since = self.statuses.lost.get(node);
        let early = since.is_none_or(|since| now - *since < TOLERATED);
        let there = self.store.model.contains_key(&id_of(Kind::Node, "", node));
        let taken = task.status.node.is_none() && task.status.reason == NODE_LOST;
        // To a manager that was held still since, the node's worker may have said long ago how it is; and what a worker says of its
        // engine has a time of the wall clock.
        let other_time = self.is_troubled(MANAGER) || self.directories.clock_was_set;
        if taken && there && early && !other_time && task.spec.tolerations.is_empty() {
            let what = format!(
                "{} is taken from {node}, which is lost since {since:?}",
                task.metadata.name
            );
            self.history.violated("I6: what is told is true", what);
        }
    }

    /// A Task is gone when its container is, unless its node is out of reach or nobody wished to wait.
    pub(super) fn check_gone(&self, key: &str, object: &Object) {
        let Some(task) = object.try_typed::<Task>() else { return };
        let Some(node) = &task.status.node else { return };
        if self.statuses.forced.contains(key) || self.is_troubled(node) {
            return;
        }
        let ours = self.ours(node);
        let mut containers = ours.get(&task.metadata.uid).into_iter().flatten();
        if let Some(seen) = containers.find(|seen| seen.state.is_running()) {
            let what = format!("{key} is gone, and {} runs on {node}", seen.name);
            self.history.violated("I6: what is told is true", what);
        }
    }

    /// What is told to be ready runs, or ran a moment ago.
    pub(super) fn check_ready(&mut self) {
        let now = self.history.now();
        let before = std::mem::take(&mut self.statuses.untrue);
        let tasks = self
            .store
            .model
            .values()
            .filter_map(|object| object.try_typed::<Task>());
        let mut untrue = BTreeMap::new();
        for task in tasks.filter(|task| is_true(&task.status.conditions, READY)) {
            let status = &task.status;
            let (Some(node), Some(id)) = (&status.node, &status.container_id) else {
                continue;
            };
            let Some(docker) = self.dockers.get(node).filter(|_| !self.is_troubled(node)) else {
                continue;
            };
            let seen = docker.sim.containers().into_iter().find(|seen| seen.id == *id);
            if seen.is_some_and(|seen| seen.state == State::Running) {
                continue;
            }
            let uid = &task.metadata.uid;
            let since = before.get(uid).copied().unwrap_or(now);
            if now - since > FOUND {
                let what = format!(
                    "{} is told to be ready on {node}, and does not run since {since:?}",
                    task.metadata.name
                );
                self.history.violated("I6: what is told is true", what);
            }
            untrue.insert(uid.clone(), since);
        }
        self.statuses.untrue = untrue;
    }
}
