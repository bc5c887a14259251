//! What probes and people ask of the server itself: is it well, what is it.
use std::sync::Arc;

use axum::{extract::State, response::Response};
use http::StatusCode;
use serde_json::{Value, json};

use super::{Server, answer};

/// The version of the dialect's model: clients choose by it what they dare to ask.
const KUBERNETES: &str = "1.33.0";

/// The process answers.
pub(super) async fn live() -> Response {
    answer::text(StatusCode::OK, "ok")
}

/// The process can do its work: its store takes writes, and it is not ending.
pub(super) async fn ready(State(server): State<Arc<Server>>) -> Response {
    let health = server.registry.store().health();
    if server.ending.is_cancelled() {
        return answer::text(StatusCode::SERVICE_UNAVAILABLE, "not ready: the server is ending\n");
    }
    match (health.writable, health.error) {
        (true, None) => answer::text(StatusCode::OK, "ok"),
        (_, error) => {
            let error = error.unwrap_or_else(|| "it takes no writes".to_owned());
            answer::text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: store: {error}\n"))
        }
    }
}

/// `/version`, in the words of Kubernetes.
pub(super) async fn version() -> Response {
    let [major, minor, _] = [0, 1, 2].map(|index| KUBERNETES.split('.').nth(index).unwrap_or_default());
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let version = json!({
        "major": major, "minor": minor,
        "gitVersion": format!("v{KUBERNETES}+cube.{}", env!("CARGO_PKG_VERSION")),
        "gitCommit": "", "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "rustc",
        "platform": format!("{}/{arch}", std::env::consts::OS),
    });
    answer::value(StatusCode::OK, &version)
}

/// `/apis/cube/v1/info`: what this process says of itself.
pub(super) async fn info(State(server): State<Arc<Server>>) -> Response {
    let mut info = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "cluster": server.registry.store().cluster(),
        "revision": server.registry.store().revision(),
    });
    if let (Value::Object(info), Value::Object(given)) = (&mut info, &server.info) {
        info.extend(given.clone());
    }
    answer::value(StatusCode::OK, &info)
}
