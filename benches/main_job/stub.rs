//! An engine that only pretends, at a socket of its own: what Cube itself needs for a thousand Tasks, without what a
//! thousand containers cost.
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::extract::{Path, Query, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{HeaderMap, StatusCode, Uri};
use serde_json::{Value, json};
use tokio::net::UnixListener;

use crate::Result;

#[derive(Default)]
struct Inner {
    /// By id: what was asked for, and whether it was started.
    containers: BTreeMap<String, (String, Value, bool)>,
    /// When a create call came, by the Task's name.
    creates: BTreeMap<String, Instant>,
    calls: usize,
}

type Shared = Arc<Mutex<Inner>>;

/// The pretended engine.
pub struct Stub {
    directory: tempfile::TempDir,
    shared: Shared,
}

impl Stub {
    pub fn open() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let listener = UnixListener::bind(directory.path().join("stub.sock"))?;
        let shared = Shared::default();
        let router = Router::new()
            .route("/_ping", get(|| async { "OK" }))
            .route("/version", get(|| async { Json(version()) }))
            .route("/info", get(|| async { Json(info()) }))
            .route("/events", get(events))
            .route("/images/json", get(|| async { Json(json!([])) }))
            .route("/networks", get(|| async { Json(json!([])) }))
            .route("/volumes", get(|| async { Json(json!({ "Volumes": [] })) }))
            .route(
                "/images/{name}/json",
                get(|| async { Json(json!({ "Id": "sha256:1" })) }),
            )
            .route("/containers/json", get(list))
            .route("/containers/create", post(create))
            .route("/containers/{id}/start", post(start))
            .route("/containers/{id}/json", get(inspect))
            .with_state(shared.clone())
            .layer(middleware::from_fn_with_state(shared.clone(), count));
        // Before routing, paths lose the version of the API that they begin with.
        let service = middleware::map_request(unversioned);
        let app = Router::new().fallback_service(router).layer(service);
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(Self { directory, shared })
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("stub.sock")
    }

    /// How many calls there were so far.
    pub fn calls(&self) -> usize {
        lock(&self.shared).calls
    }

    /// When a Task's container was asked for.
    pub fn created_at(&self, task: &str) -> Option<Instant> {
        lock(&self.shared).creates.get(task).copied()
    }
}

fn lock(shared: &Shared) -> std::sync::MutexGuard<'_, Inner> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn unversioned(mut request: Request) -> Request {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    if path.starts_with("/v1.") {
        let rest = path[1..].find('/').map_or("/", |at| &path[at + 1..]);
        if let Ok(uri) = rest.parse::<Uri>() {
            *request.uri_mut() = uri;
        }
    }
    request
}

async fn count(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    lock(&shared).calls += 1;
    next.run(request).await
}

fn version() -> Value {
    json!({ "Version": "20.10.24", "ApiVersion": "1.41", "Arch": "amd64", "Os": "linux" })
}

fn info() -> Value {
    json!({ "ID": "stub", "NCPU": 64, "MemTotal": 256_u64 << 30, "DockerRootDir": "/nowhere", "Name": "stub" })
}

/// Nothing ever happens by itself.
async fn events() -> Response {
    let silence = futures_util::stream::pending::<std::result::Result<bytes::Bytes, std::io::Error>>();
    axum::body::Body::from_stream(silence).into_response()
}

async fn list(State(shared): State<Shared>) -> Json<Value> {
    let inner = lock(&shared);
    let containers = inner.containers.iter().map(|(id, (name, body, started))| {
        json!({
            "Id": id, "Names": [format!("/{name}")], "Image": body["Image"], "ImageID": "sha256:1",
            "Labels": body["Labels"], "State": if *started { "running" } else { "created" }, "Created": 1_700_000_000,
        })
    });
    Json(containers.collect())
}

async fn create(
    State(shared): State<Shared>,
    Query(query): Query<BTreeMap<String, String>>,
    _: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    let now = Instant::now();
    let name = query.get("name").cloned().unwrap_or_default();
    let task = body["Labels"]["cube.task"].as_str().unwrap_or_default().to_owned();
    let mut inner = lock(&shared);
    let id = format!("{:064x}", inner.containers.len() + 1);
    inner.containers.insert(id.clone(), (name, body, false));
    inner.creates.insert(task, now);
    (StatusCode::CREATED, Json(json!({ "Id": id, "Warnings": [] }))).into_response()
}

async fn start(State(shared): State<Shared>, Path(id): Path<String>) -> StatusCode {
    match lock(&shared).containers.get_mut(&id) {
        Some((_, _, started)) => {
            *started = true;
            StatusCode::NO_CONTENT
        }
        None => StatusCode::NOT_FOUND,
    }
}

async fn inspect(State(shared): State<Shared>, Path(id): Path<String>) -> Response {
    let inner = lock(&shared);
    let Some((name, body, started)) = inner.containers.get(&id) else {
        return (StatusCode::NOT_FOUND, Json(json!({ "message": "no such container" }))).into_response();
    };
    let state = json!({
        "Status": if *started { "running" } else { "created" }, "Running": started, "Pid": 1,
        "StartedAt": "2024-01-01T00:00:00Z", "FinishedAt": "0001-01-01T00:00:00Z",
    });
    let seen = json!({
        "Id": id, "Name": format!("/{name}"), "Image": "sha256:1", "Created": "2024-01-01T00:00:00Z",
        "Config": { "Image": body["Image"], "Labels": body["Labels"] }, "State": state,
        "NetworkSettings": { "Networks": {}, "Ports": {} },
    });
    Json(seen).into_response()
}
