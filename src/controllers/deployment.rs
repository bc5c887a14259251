//! Joins the Deployments' loop to its brain, `cube_plan::deployment`.
use std::{collections::BTreeMap, time::Duration};

use cube_api::{
    deployment::Deployment,
    event::EventType,
    kinds::{Kind, Resource},
    meta::DEPLOYMENT_LABEL,
    revision::Revision,
    task::Task,
};
use cube_plan::deployment::{Action, Decision, Look, WaitingOn, decide};

use super::runner::{Change, Hand, Outcome, Tell, View};
use crate::{
    registry::{Object, Write},
    store::Key,
};

/// A look at so many Tasks costs next to nothing.
const FEW: usize = 16;
/// After a look at more the Deployment is left alone for so long a Task, so that many Tasks that change one after the other
/// do not have all of them looked at each time: a look at one takes some microseconds. Longer would hold up rolls.
const PACE: Duration = Duration::from_micros(200);
const LONGEST: Duration = Duration::from_millis(100);

pub(super) struct Deployments;

impl Hand for Deployments {
    fn name(&self) -> &'static str {
        "deployment"
    }

    fn wakes(&mut self, change: &Change, _: &View, wake: &mut Vec<Key>) {
        let object = &change.object;
        let of = |name: &str| Key::new(Kind::Deployment.info().plural, object.namespace(), name);
        match object.kind() {
            Kind::Deployment if !change.gone => wake.push(change.key().clone()),
            Kind::Task | Kind::Revision => {
                let controllers = object.meta().controller().into_iter();
                let former = change.former_owners.iter().flatten().filter(|owner| owner.controller);
                let owners = controllers.chain(former);
                let deployments = owners.filter(|owner| owner.kind == Kind::Deployment.info().kind);
                let before = wake.len();
                wake.extend(
                    deployments
                        .filter(|owner| !owner.name.contains('/'))
                        .map(|owner| of(&owner.name)),
                );
                if wake.len() == before
                    && let Some(label) = object.meta().labels.get(DEPLOYMENT_LABEL)
                    && !label.contains('/')
                {
                    wake.push(of(label));
                }
            }
            _ => {}
        }
    }

    fn look(&mut self, key: &Key, view: &View) -> Outcome {
        let Some(object) = view.get(key) else {
            return Outcome::default();
        };
        if view.is_closing(key.namespace()) {
            return Outcome::default();
        }
        let deployment: &Deployment = object.typed();
        let owned = view.index.dependents(object.uid());
        let strays = view.index.strays(key.namespace(), key.name());
        let around: Vec<Object> = owned.chain(strays).filter_map(|key| view.get(key)).collect();
        let tasks: Vec<&Task> = around.iter().filter_map(Object::try_typed).collect();
        let revisions: Vec<&Revision> = around.iter().filter_map(Object::try_typed).collect();
        let decision = decide(&Look {
            deployment,
            revisions: &revisions,
            tasks: &tasks,
            now: view.now,
        });
        let tell = decision.told.iter().map(|told| Tell {
            about: object.reference(),
            kind: EventType::Normal,
            reason: told.reason(),
            message: told.to_string(),
        });
        let tell = tell.collect();
        let again = decision.again.map(|at| at.duration_since(view.now));
        let rest = match decision.waiting {
            // There is more to do.
            WaitingOn::NextLook => Duration::ZERO,
            _ if tasks.len() <= FEW => Duration::ZERO,
            _ => (PACE * tasks.len() as u32).min(LONGEST),
        };
        let writes = writes(&object, &around, decision);
        Outcome {
            transactions: if writes.is_empty() { Vec::new() } else { vec![writes] },
            tell,
            again: again.and_then(|again| Duration::try_from(again).ok()),
            rest,
        }
    }
}

/// The decision as one transaction.
fn writes(object: &Object, around: &[Object], decision: Decision) -> Vec<Write> {
    // Most looks come to nothing.
    let around = if decision.actions.is_empty() { &[] } else { around };
    let by_name: BTreeMap<(Kind, &str), &Object> = around
        .iter()
        .map(|object| ((object.kind(), object.name()), object))
        .collect();
    let change = |kind: Kind, name: &str, value: serde_json::Value| {
        by_name.get(&(kind, name)).map(|object| Write::Update {
            object: (*object).clone(),
            value,
        })
    };
    let delete = |kind: Kind, name: &str| by_name.get(&(kind, name)).map(|object| Write::delete(object));
    let mut writes: Vec<Write> = decision
        .actions
        .into_iter()
        .filter_map(|action| match action {
            Action::CreateRevision(revision) => Some(Write::Create(Kind::Revision, revision.to_value())),
            Action::ChangeRevision(revision) => change(Kind::Revision, &revision.metadata.name, revision.to_value()),
            Action::DeleteRevision(name) => delete(Kind::Revision, &name),
            Action::CreateTask(task) => Some(Write::Create(Kind::Task, task.to_value())),
            Action::ChangeTask(task) => change(Kind::Task, &task.metadata.name, task.to_value()),
            Action::DeleteTask { name, .. } => delete(Kind::Task, &name),
        })
        .collect();
    let before: &Deployment = object.typed();
    if before.status != decision.status {
        writes.push(Write::status(object, &decision.status));
    }
    writes
}
