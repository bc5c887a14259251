//! Bodies: bounded before they are read, read before they are parsed.
use axum::body::Body;
use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, header};
use serde_json::Value;

use super::{answer::Refusal, strict};
use crate::registry::{ApiError, Patch};

/// A body of one object. Kubernetes' own bound: clients know it.
pub(super) const ONE_OBJECT: usize = 3 << 20;
/// A body of a batch: some ten thousand objects. A larger one would hold up memory for whoever sends it slowly.
pub(super) const BATCH: usize = 64 << 20;
/// Operations of a JSON patch; Kubernetes' bound. Each may touch all of the object, so their number is what costs.
const PATCH_OPERATIONS: usize = 10_000;
/// What is too large is read on to its end, so that the client sees the answer and not a broken pipe; but not for ever.
const DISCARD: usize = 256 << 20;

/// Reads a body that may be so large.
pub(super) async fn read(headers: &HeaderMap, body: Body, limit: usize) -> Result<Bytes, Refusal> {
    let told = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok());
    let told: usize = told.and_then(|length| length.parse().ok()).unwrap_or_default();
    let too_large = || {
        let message = format!("Request entity too large: limit is {limit}");
        Err(Refusal::new(413, "RequestEntityTooLarge", message))
    };
    // Who asks first, or has more than anyone would read, is answered before it sends.
    if told > DISCARD || (told > limit && headers.contains_key(header::EXPECT)) {
        return too_large();
    }
    let mut taken = Vec::with_capacity(told.min(limit));
    let mut size = 0;
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| ApiError::bad_request(format!("the body cannot be read: {error}")))?;
        size += piece.len();
        if size.max(told) <= limit {
            taken.extend_from_slice(&piece);
        } else {
            taken = Vec::new();
        }
        if size > DISCARD {
            break;
        }
    }
    match size.max(told) > limit {
        true => too_large(),
        false => Ok(taken.into()),
    }
}

/// A body that was read: its value, and the paths of the fields that it has twice.
pub(super) type Parsed<T> = (T, Vec<String>);

/// Reads a body that is one JSON value.
pub(super) async fn read_json(headers: &HeaderMap, body: Body, limit: usize) -> Result<Parsed<Value>, Refusal> {
    parse(&read_text(headers, body, limit).await?)
}

/// Reads a body that says that it is JSON, or says nothing.
pub(super) async fn read_text(headers: &HeaderMap, body: Body, limit: usize) -> Result<Bytes, Refusal> {
    match content_type(headers) {
        // curl says the last when it is told nothing.
        "" | "application/json" | "text/plain" | "application/x-www-form-urlencoded" => {}
        other => return Err(unsupported(other, "application/json")),
    }
    read(headers, body, limit).await
}

/// Reads a patch, of the kind that its content type says.
pub(super) async fn read_patch(headers: &HeaderMap, body: Body) -> Result<Parsed<Patch>, Refusal> {
    let merge = match content_type(headers) {
        "application/merge-patch+json" => true,
        "application/json-patch+json" => false,
        other => {
            return Err(unsupported(
                other,
                "application/json-patch+json, application/merge-patch+json",
            ));
        }
    };
    let text = read(headers, body, ONE_OBJECT).await?;
    if !merge && strict::has_more_items(&text, PATCH_OPERATIONS) {
        let message = format!("a JSON patch may have {PATCH_OPERATIONS} operations, and this one has more");
        return Err(Refusal::new(413, "RequestEntityTooLarge", message));
    }
    let (value, doubled) = parse(&text)?;
    let patch = if merge { Patch::Merge(value) } else { Patch::Json(value) };
    Ok((patch, doubled))
}

fn parse(bytes: &[u8]) -> Result<Parsed<Value>, Refusal> {
    if bytes.is_empty() {
        return Err(ApiError::bad_request("the body is empty; it must be JSON").into());
    }
    strict::parse(bytes).map_err(|error| ApiError::bad_request(format!("the body is not JSON: {error}")).into())
}

fn content_type(headers: &HeaderMap) -> &str {
    let text = headers.get(header::CONTENT_TYPE).and_then(|text| text.to_str().ok());
    let name = text.and_then(|text| text.split(';').next());
    name.unwrap_or_default().trim()
}

fn unsupported(given: &str, accepted: &str) -> Refusal {
    let message = format!(
        "the body of the request was in an unknown format ({given}) - accepted media types include: {accepted}"
    );
    Refusal::new(415, "UnsupportedMediaType", message)
}
