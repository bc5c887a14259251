//! What a Task wrote: from its container while there is one, else what was kept of its last.
use axum::{body::Body, response::Response};
use cube_api::task::{Phase, Task};
use futures_util::{StreamExt, future};
use http::StatusCode;

use super::{
    answer::{self, Refusal},
    objects::Call,
};
use crate::{
    engine::LogOptions,
    registry::{ApiError, StatusReason},
};

const TEXT: &str = "text/plain; charset=utf-8";

/// Answers `GET …/tasks/NAME/log`.
pub(super) async fn logs(call: Call) -> Result<Response, Refusal> {
    let object = call.object()?;
    let task: &Task = object.typed();
    let options = call.params.log(call.server.registry.world().now())?;
    if call.params.flag("previous") {
        return Ok(kept(task, &options).ok_or_else(|| no_previous(task))?);
    }
    if task.status.container_id.is_none() {
        return Ok(kept(task, &options).ok_or_else(|| no_container(task))?);
    }
    let pieces = match call.server.containers.logs(task, options.clone()).await {
        Ok(pieces) => pieces,
        Err(error) if error.is_not_found() => return Ok(kept(task, &options).ok_or(error)?),
        Err(error) => return Err(error.into()),
    };
    // A stream that breaks breaks the answer too: it must not pass for the end. A server that ends does so in order.
    let ending = call.server.ending.clone().cancelled_owned();
    let pieces = pieces
        .filter(|piece| future::ready(!matches!(piece, Ok(piece) if piece.is_empty())))
        .take_until(ending);
    Ok(answer::typed(StatusCode::OK, TEXT, Body::from_stream(pieces)))
}

/// The last lines that were recorded of the container before; none when there was none.
fn kept(task: &Task, options: &LogOptions) -> Option<Response> {
    let last = task.status.last_termination.as_ref()?;
    let tail = options.tail.and_then(|tail| usize::try_from(tail).ok());
    let skipped = last.log.len().saturating_sub(tail.unwrap_or(usize::MAX));
    let lines = last.log.iter().skip(skipped);
    let text: String = lines.flat_map(|line| [line.as_str(), "\n"]).collect();
    Some(answer::text(StatusCode::OK, text))
}

fn no_previous(task: &Task) -> ApiError {
    let message = format!("{} has had no container before this one", shown(task));
    ApiError::new(StatusReason::BadRequest, message)
}

fn no_container(task: &Task) -> ApiError {
    ApiError::bad_request(format!("{} has no output: {}", shown(task), why_none(task)))
}

/// Why the Task has no container that runs.
pub(super) fn why_none(task: &Task) -> String {
    let status = &task.status;
    let phase = match status.phase {
        Phase::Pending => "no node has it yet",
        Phase::Scheduled => "its container does not run yet",
        Phase::Completed | Phase::Failed if status.container_id.is_some() => "its container has ended",
        Phase::Running | Phase::Completed | Phase::Failed => "its container is gone",
    };
    let more: Vec<&str> = [status.reason.as_str(), status.message.as_str()]
        .into_iter()
        .filter(|word| !word.is_empty())
        .collect();
    match more.as_slice() {
        [] => phase.to_owned(),
        words => format!("{phase} ({})", words.join(": ")),
    }
}

pub(super) fn shown(task: &Task) -> String {
    format!("task {}/{}", task.metadata.namespace(), task.metadata.name)
}
