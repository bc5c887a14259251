//! The engines' promises: one container of a Task, its time to end, and nothing of anybody else's touched (I1, I8, I11).
use std::{collections::BTreeMap, time::Duration};

use cube::{
    engine::{CLUSTER_LABEL, Container, State, sim::Verb},
    registry::Object,
    worker::UID_LABEL,
};
use cube_api::task::Task;

use super::Inner;
use crate::{engine::Call, notes::WRITE_BACK};

/// A copy on a node that was cut off has so long to end after it is back: a call that was hanging is given up after a minute,
/// and a container may take half a one to end.
const BACK: Duration = Duration::from_secs(100);

/// In this time a container is not started more often than so: the waits between get longer.
const STARTS: (Duration, usize) = (Duration::from_secs(60), 20);

/// What is known of the engines.
#[derive(Default)]
pub(super) struct Watched {
    /// When a container was first asked to end.
    asked: BTreeMap<String, Duration>,
    /// How long a Task's containers have to end at least, by uid: the least that it ever said.
    graces: BTreeMap<String, Duration>,
    /// Until when a node is not to be blamed for what runs on it.
    troubled: BTreeMap<String, Duration>,
    /// When each node's power was cut.
    power_cuts: BTreeMap<String, Vec<Duration>>,
    /// Whose containers they are: the Task's uid.
    pub(super) of: BTreeMap<(String, String), String>,
    /// When containers were first seen.
    first_seen: BTreeMap<(String, String), Duration>,
    /// When containers of a Task were started last, by uid.
    starts: BTreeMap<String, Vec<Duration>>,
    /// Others' containers, as they were made, by node and name.
    pub(super) foreign: BTreeMap<(String, String), Container>,
}

impl Inner {
    pub(super) fn trouble(&mut self, node: &str) {
        let until = self.history.now() + BACK;
        self.engines.troubled.insert(node.to_owned(), until);
    }

    pub(super) fn power_cut(&mut self, node: &str) {
        let now = self.history.now();
        self.engines.power_cuts.entry(node.to_owned()).or_default().push(now);
    }

    /// Whether the worker may have lost its note that it made the container: it was just about to be written.
    pub(super) fn proof_is_lost(&self, node: &str, id: &str) -> bool {
        let place = (node.to_owned(), id.to_owned());
        let made = self.engines.first_seen.get(&place).copied().unwrap_or_default();
        let cuts = self.engines.power_cuts.get(node).into_iter().flatten();
        cuts.into_iter().any(|cut| *cut >= made && *cut < made + WRITE_BACK)
    }

    /// Whether something is wrong with any node, or was a moment ago.
    pub(super) fn is_any_troubled(&self) -> bool {
        let now = self.history.now();
        self.engines.troubled.values().any(|until| *until > now)
    }

    pub(super) fn is_troubled(&self, node: &str) -> bool {
        let now = self.history.now();
        self.engines.troubled.get(node).is_some_and(|until| *until > now)
    }

    /// This cluster's containers on a node, by the Task that they are of.
    pub(super) fn ours(&self, node: &str) -> BTreeMap<String, Vec<Container>> {
        let mut ours: BTreeMap<String, Vec<Container>> = BTreeMap::new();
        let Some(docker) = self.dockers.get(node) else {
            return ours;
        };
        for container in docker.sim.containers() {
            let place = (node.to_owned(), container.name.clone());
            if self
                .engines
                .foreign
                .get(&place)
                .is_some_and(|foreign| foreign.id == container.id)
            {
                continue;
            }
            let label = |name: &str| container.labels.get(name).cloned().unwrap_or_default();
            if label(CLUSTER_LABEL) == self.cluster {
                ours.entry(label(UID_LABEL)).or_default().push(container);
            }
        }
        ours
    }

    /// On one engine there are never two of a Task that run.
    pub(super) fn check_node(&mut self, node: &str) {
        let now = self.history.now();
        for (uid, containers) in self.ours(node) {
            for container in &containers {
                // Each engine has ids of its own.
                let place = (node.to_owned(), container.id.clone());
                self.engines.first_seen.entry(place.clone()).or_insert(now);
                self.engines.of.insert(place, uid.clone());
            }
            let alive: Vec<&str> = containers
                .iter()
                .filter(|container| container.state.is_running())
                .map(|container| container.name.as_str())
                .collect();
            if alive.len() > 1 {
                self.history.violated(
                    "I1: one container of a Task counts",
                    format_args!("on {node} {} of {uid} run: {}", alive.len(), alive.join(", ")),
                );
            }
        }
    }

    /// On several engines one counts; the others' nodes were cut off.
    pub(super) fn check_nodes(&mut self) {
        let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let nodes: Vec<String> = self.dockers.keys().cloned().collect();
        for node in &nodes {
            for (uid, containers) in self.ours(node) {
                if containers.iter().any(|container| container.state.is_running()) {
                    places.entry(uid).or_default().push(node.clone());
                }
            }
        }
        for (uid, places) in places.iter().filter(|(_, places)| places.len() > 1) {
            let assigned = self.task_of(uid).and_then(|task| task.status.node.clone());
            for node in places {
                if Some(node) != assigned.as_ref() && !self.is_troubled(node) {
                    self.history.violated(
                        "I1: one container of a Task counts",
                        format_args!(
                            "{uid} runs on {}, and {node} is no node that was cut off",
                            places.join(", ")
                        ),
                    );
                }
            }
        }
        for ((node, name), before) in &self.engines.foreign {
            let docker = self.dockers.get(node);
            let now = docker.and_then(|docker| docker.sim.containers().into_iter().find(|seen| seen.name == *name));
            if now.as_ref().map(|now| (&now.id, &now.labels)) != Some((&before.id, &before.labels)) {
                self.history.violated(
                    "I8: nothing of anybody else's is touched",
                    format_args!("{name} on {node} was {before:?}, is {now:?}"),
                );
            }
        }
    }

    pub(super) fn task_of(&self, uid: &str) -> Option<&Task> {
        let mut tasks = self
            .store
            .model
            .values()
            .filter_map(|object| object.try_typed::<Task>());
        tasks.find(|task| task.metadata.uid == uid)
    }

    /// Notes how long a Task's containers have to end.
    pub(super) fn learn_grace(&mut self, object: &Object) {
        let Some(task) = object.try_typed::<Task>() else { return };
        let meta = &task.metadata;
        let own = u64::from(task.spec.termination_grace_period_seconds);
        let grace = Duration::from_secs(meta.deletion_grace_period_seconds.unwrap_or(own).min(own));
        let known = self.engines.graces.entry(meta.uid.clone()).or_insert(grace);
        *known = grace.min(*known);
    }

    /// What fails again and again is started again after ever longer waits.
    pub(super) fn check_starts(&mut self, node: &str, call: &Call) {
        let Some(docker) = self.dockers.get(node) else { return };
        let seen = docker.sim.containers().into_iter().find(|seen| seen.id == call.what);
        let Some(uid) = seen.and_then(|seen| seen.labels.get(UID_LABEL).cloned()) else {
            return;
        };
        let now = self.history.now();
        let starts = self.engines.starts.entry(uid.clone()).or_default();
        starts.push(now);
        starts.retain(|at| now - *at < STARTS.0);
        if starts.len() > STARTS.1 {
            let what = format!("{uid} is started {} times in {:?}", starts.len(), STARTS.0);
            self.history
                .violated("I16: what fails again and again is tried ever more rarely", what);
        }
    }

    /// Nothing is killed before it had its time.
    pub(super) fn check_end(&mut self, node: &str, call: &Call) {
        let (id, how) = call.what.split_once(' ').unwrap_or((&call.what, ""));
        let Some(docker) = self.dockers.get(node) else { return };
        let Some(container) = docker.sim.containers().into_iter().find(|seen| seen.id == id) else {
            return;
        };
        if self
            .engines
            .foreign
            .values()
            .any(|foreign| foreign.id == id && foreign.name == container.name)
        {
            let what = format!(
                "{:?} {} is asked of {node} for {}",
                call.verb, call.what, container.name
            );
            self.history.violated("I8: nothing of anybody else's is touched", what);
        }
        let (Some(uid), State::Running) = (container.labels.get(UID_LABEL).cloned(), &container.state) else {
            return;
        };
        let now = self.history.now();
        let kills = how == "SIGKILL" || (call.verb == Verb::Remove && !how.is_empty());
        if !kills {
            if call.verb == Verb::Signal {
                self.engines.asked.entry(id.to_owned()).or_insert(now);
            }
            return;
        }
        let grace = self.engines.graces.get(&uid).copied().unwrap_or_default();
        let asked = self.engines.asked.get(id).copied();
        let had = asked.map_or(Duration::ZERO, |asked| now.saturating_sub(asked));
        // The worker measures from when it was answered, by a clock of whole milliseconds.
        if had + Duration::from_millis(20) < grace {
            self.history.violated(
                "I11: nothing is killed before its grace is over",
                format_args!("{} on {node} is killed after {had:?} of {grace:?}", container.name),
            );
        }
    }
}
