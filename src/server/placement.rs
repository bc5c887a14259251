//! Where a Task could run, and why: every filter and score for every node.
use axum::response::Response;
use cube_api::{kinds::Kind, task::Task};
use cube_plan::scheduler::{Index, survey};

use super::{
    answer::{self, Refusal},
    objects::Call,
};
use crate::registry::all;

/// Answers `GET …/tasks/NAME/placement`. What the scheduler keeps is built anew from the objects, a pass over all of them:
/// it is asked by people, now and then, and so tells what is stored and nothing else.
pub(super) fn placement(call: &Call) -> Result<Response, Refusal> {
    let object = call.object()?;
    let task: &Task = object.typed();
    let mut index = Index::new(call.server.scheduling_policy);
    let key = |namespace: &str, name: &str| format!("{namespace}/{name}");
    for object in all(&call.server.registry.snapshot()) {
        match object.kind() {
            Kind::Node => {
                index.set_node(object.typed());
            }
            Kind::Task => {
                index.set_task(&key(object.namespace(), object.name()), object.typed(), None);
            }
            _ => {}
        }
    }
    let survey = survey(&mut index, &key(object.namespace(), object.name()), task);
    Ok(answer::told("PlacementSurvey", &survey))
}
