//! The promises of a roll: never more Tasks than wished and allowed beyond that, nor fewer that do their work (I1, I12).
use std::{collections::BTreeMap, time::Duration};

use cube::registry::Object;
use cube_api::{
    condition::{READY, is_true},
    deployment::Deployment,
    node::Node,
    task::{Phase, Task},
};
use cube_plan::deployment::Way;

use super::{Inner, calm::is_bad};

/// What was done to a container past Cube is healed in this time.
const HEALED: Duration = Duration::from_secs(75);

/// What is known of Deployments.
#[derive(Default)]
pub(super) struct Watched {
    /// Those of which as many work as are wished for, and nothing but a roll has happened since: how many were wished for,
    /// and how many may be missing.
    healthy: BTreeMap<String, (u32, u32)>,
    /// When something was last done to a container past Cube.
    by_hand: Option<Duration>,
    /// Nodes went for good, which takes more than a roll may.
    pub(super) nodes_are_lost: bool,
}

impl Watched {
    pub(super) fn by_hand(&mut self, now: Duration) {
        self.by_hand = Some(now);
    }
}

impl Inner {
    /// From a healthy start, a roll leaves as many that work as it must, whatever it rolls to.
    pub(super) fn check_available(&mut self, object: &Object) {
        let owner = object.meta().controller().map(|owner| owner.uid.clone());
        let uid = match object.try_typed::<Task>() {
            Some(_) => owner,
            None => object.try_typed::<Deployment>().map(|one| one.metadata.uid.clone()),
        };
        let Some(uid) = uid else { return };
        let deployments = self
            .store
            .model
            .values()
            .filter_map(|object| object.try_typed::<Deployment>());
        let Some(deployment) = deployments.into_iter().find(|one| one.metadata.uid == uid) else {
            self.deployments.healthy.remove(&uid);
            return;
        };
        let replicas = deployment.spec.replicas;
        let tasks = self
            .store
            .model
            .values()
            .filter_map(|object| object.try_typed::<Task>());
        let own: Vec<&Task> = tasks
            .filter(|task| task.metadata.controller().is_some_and(|owner| owner.uid == uid))
            .collect();
        let works = |task: &&&Task| {
            let status = &task.status;
            !task.metadata.is_deleting() && status.phase == Phase::Running && is_true(&status.conditions, READY)
        };
        let working = own.iter().filter(works).count() as u32;
        let drained = |object: &Object| object.try_typed::<Node>().is_some_and(|node| node.spec.drain.is_some());
        let now = self.history.now();
        let alone = !self.is_any_troubled()
            && !self.deployments.nodes_are_lost
            && self.deployments.by_hand.is_none_or(|at| at + HEALED < now)
            && !self.store.model.values().any(drained)
            && !deployment.metadata.is_deleting()
            && own.iter().filter(works).all(|task| !is_bad(&task.spec));
        let Way::Rolling(bounds) = Way::of(deployment) else {
            self.deployments.healthy.remove(&uid);
            return;
        };
        let wished = self.deployments.healthy.get(&uid).copied();
        let wishes = (replicas, bounds.unavailable);
        if !alone || wished.is_some_and(|wished| wished != wishes) {
            self.deployments.healthy.remove(&uid);
        } else if working >= replicas {
            self.deployments.healthy.insert(uid, wishes);
        } else if wished.is_some() && working + bounds.unavailable < replicas {
            let name = &deployment.metadata.name;
            let most = bounds.unavailable;
            let what = format!("{working} of {replicas} of {name} work, and at most {most} may not");
            self.history
                .violated("I12: a roll leaves as many that work as it must", what);
        }
    }

    /// A Deployment makes no Task beyond its replicas and what its way of rolling allows.
    pub(super) fn check_surge(&self, before: Option<&Object>, object: &Object) {
        let Some(task) = object.try_typed::<Task>().filter(|_| before.is_none()) else {
            return;
        };
        let Some(owner) = task.metadata.controller() else {
            return;
        };
        let deployment = self
            .store
            .model
            .values()
            .filter_map(|object| object.try_typed::<Deployment>())
            .find(|deployment| deployment.metadata.uid == owner.uid);
        let Some(deployment) = deployment else { return };
        let others = self
            .store
            .model
            .values()
            .filter_map(|object| object.try_typed::<Task>());
        let live = others
            .filter(|other| other.metadata.controller().is_some_and(|other| other.uid == owner.uid))
            .filter(|other| !other.metadata.is_deleting() && !other.status.phase.is_over())
            .count()
            + 1;
        let replicas = deployment.spec.replicas;
        let most = replicas + Way::of(deployment).bounds(replicas).surge;
        if live > most as usize {
            let what = format!(
                "{} is the {live}th Task of {}, of {most}",
                task.metadata.name, owner.name
            );
            self.history
                .violated("I1: no more Tasks than wished, and the surge", what);
        }
    }
}
