//! May I? Whoever reaches the socket may do everything, and clients that ask first are told so.
use axum::response::Response;
use http::StatusCode;
use serde_json::json;

use super::answer;

/// `SelfSubjectAccessReview`. Its body is not read: some clients send protobuf, and the answer is the same.
pub(super) async fn review() -> Response {
    let review = json!({
        "kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1",
        "metadata": { "creationTimestamp": null }, "spec": {}, "status": { "allowed": true },
    });
    answer::value(StatusCode::CREATED, &review)
}
