//! Where a Task could run, and why: every filter and score for every node.
use axum::response::Response;
use cube_api::{API_VERSION, kinds::Kind, task::Task};
use cube_plan::scheduler::{Index, survey};
use http::StatusCode;
use serde_json::Value;

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
    let mut value = serde_json::to_value(survey).unwrap_or_default();
    if let Value::Object(fields) = &mut value {
        fields.insert("apiVersion".to_owned(), API_VERSION.into());
        fields.insert("kind".to_owned(), "PlacementSurvey".into());
    }
    Ok(answer::value(StatusCode::OK, &value))
}
