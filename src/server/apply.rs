//! `POST /apis/cube/v1/apply`: a batch of whole objects through the registry's one apply.
use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
};
use cube_api::kinds::Kind;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Server,
    answer::{self, Refusal},
    body::{self, BATCH},
};
use crate::registry::{ApiError, Applied, ApplyRequest, Outcome, PERSON};

/// The body.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Batch {
    #[serde(default = "person")]
    manager: String,
    #[serde(default)]
    take_over: bool,
    #[serde(default)]
    dry_run: bool,
    #[serde(default = "yes")]
    fail_fast: bool,
    objects: Vec<Value>,
}

fn person() -> String {
    PERSON.to_owned()
}

fn yes() -> bool {
    true
}

/// Applies a batch. Refusals of single objects are in the answer, whose code is 200 all the same.
pub(super) async fn apply(State(server): State<Arc<Server>>, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let text = body::read_text(&parts.headers, body, BATCH).await?;
    let place = server.batches.acquire().await;
    let batch: Batch = serde_json::from_slice(&text)
        .map_err(|error| ApiError::bad_request(format!("this is not a batch to apply: {error}")))?;
    drop(text);
    let request = ApplyRequest {
        manager: batch.manager,
        take_over: batch.take_over,
        dry_run: batch.dry_run,
        objects: batch.objects,
        fail_fast: batch.fail_fast,
    };
    let applied = server.registry.apply(&request).await;
    drop(place);
    let mut text = br#"{"kind":"ApplyResult","apiVersion":"cube/v1","results":["#.to_vec();
    for (index, applied) in applied.iter().enumerate() {
        if index > 0 {
            text.push(b',');
        }
        write(&mut text, applied);
    }
    text.extend_from_slice(b"]}");
    Ok(answer::json(StatusCode::OK, text))
}

fn write(text: &mut Vec<u8>, applied: &Applied) {
    let (outcome, error) = match &applied.outcome {
        Outcome::Created => ("created", Value::Null),
        Outcome::Configured => ("configured", Value::Null),
        Outcome::Unchanged => ("unchanged", Value::Null),
        Outcome::Withheld => ("withheld", Value::Null),
        Outcome::Refused(error) => ("refused", error.to_status()),
    };
    let kind = applied.kind.map(Kind::info).map(|info| info.kind);
    let (kind, namespace, name) = (json!(kind), json!(applied.namespace), json!(applied.name));
    text.extend_from_slice(
        format!(
            r#"{{"kind":{kind},"namespace":{namespace},"name":{name},"outcome":"{outcome}","error":{error},"object":"#
        )
        .as_bytes(),
    );
    match &applied.object {
        Some(object) => text.extend_from_slice(&object.json()),
        None => text.extend_from_slice(b"null"),
    }
    text.push(b'}');
}
