//! The promise of a roll: never more Tasks than wished and allowed beyond that (I1).
use cube::registry::Object;
use cube_api::{deployment::Deployment, task::Task};
use cube_plan::deployment::Way;

use super::Inner;

impl Inner {
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
