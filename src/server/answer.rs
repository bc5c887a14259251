//! Answers: JSON, text, and refusals as Kubernetes' Status.
use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use cube_api::API_VERSION;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::{Value, json};

use crate::registry::ApiError;

/// A request that is refused: an HTTP code and a Status that says why.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Refusal {
    pub code: u16,
    pub status: Value,
}

impl Refusal {
    /// A refusal of a sort that the registry does not know.
    pub fn new(code: u16, reason: &str, message: impl Into<String>) -> Self {
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message.into(), "reason": reason, "code": code,
        });
        Self { code, status }
    }

    /// Nothing is served at this path.
    pub fn no_such_path() -> Self {
        let mut refusal = Self::new(404, "NotFound", "the server could not find the requested resource");
        refusal.status["details"] = json!({});
        refusal
    }

    /// The path is served, but not so.
    pub fn no_such_verb() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(405, "MethodNotAllowed", message)
    }

    /// A revision that is not there yet; Kubernetes' clients look for the cause's word.
    pub fn too_large(asked: u64, newest: u64) -> Self {
        let message = format!("Too large resource version: {asked}, current: {newest}");
        let mut refusal = Self::new(504, "Timeout", message);
        refusal.status["details"] = json!({
            "causes": [{ "reason": "ResourceVersionTooLarge", "message": "Too large resource version" }],
            "retryAfterSeconds": 1,
        });
        refusal
    }

    /// More at once than there may be: retry later.
    pub fn too_many(message: impl Into<String>) -> Self {
        let mut refusal = Self::new(429, "TooManyRequests", message);
        refusal.status["details"] = json!({ "retryAfterSeconds": 1 });
        refusal
    }
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self {
            code: error.code,
            status: error.to_status(),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let code = StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = value(code, &self.status);
        if let Some(seconds) = self.status["details"]["retryAfterSeconds"].as_u64() {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// JSON that is text already.
pub(super) fn json(code: StatusCode, text: impl Into<Bytes>) -> Response {
    typed(code, "application/json", text.into())
}

/// Something that is told and never stored, with its kind beside its fields.
pub(super) fn told(kind: &str, what: &impl Serialize) -> Response {
    let mut told = serde_json::to_value(what).unwrap_or_default();
    if let Value::Object(fields) = &mut told {
        fields.insert("apiVersion".to_owned(), API_VERSION.into());
        fields.insert("kind".to_owned(), kind.into());
    }
    value(StatusCode::OK, &told)
}

/// JSON of a value.
pub(super) fn value(code: StatusCode, value: &Value) -> Response {
    json(code, value.to_string())
}

/// A line for people and probes.
pub(super) fn text(code: StatusCode, text: impl Into<Bytes>) -> Response {
    typed(code, "text/plain; charset=utf-8", text.into())
}

/// An answer of a content type. Nothing that is served may be kept: it is true for now only.
pub(super) fn typed(code: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// Adds warnings, which kubectl and others print.
pub(super) fn warn(response: &mut Response, warnings: &[String]) {
    for warning in warnings {
        let quoted = warning.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
}
