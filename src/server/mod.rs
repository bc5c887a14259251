//! HTTP over the registry, in Kubernetes' dialect, so that kubectl and its kin work unchanged; beside it a few verbs of
//! Cube's own.
//!
//! Owns paths, forms, bounds and codes. It never decides what a write means (the registry does), and keeps nothing beside
//! the registry's state. Read [`router`] first: the map of all paths.
//!
//! ```text
//! socket ─► connections ─► router ─► target (path), params (query), accept (form), body (bounded)
//!                                         └─► get, list, write, watch ─► registry
//!                                                                          └─► render: JSON, Table, metadata alone
//! ```
//!
//! Guarantees: a body is bounded before it is read, a request by time; a watch is told everything in order or that its
//! place is lost. Assumption: who reaches the socket may do everything (the socket's mode says who).
mod accept;
mod access;
mod answer;
mod apply;
mod backup;
mod body;
mod connections;
mod containers;
mod discovery;
mod exec;
mod figures;
mod health;
mod link;
mod logs;
mod metrics;
mod objects;
mod openapi;
mod pages;
mod params;
mod placement;
mod rebalance;
mod render;
mod strict;
pub mod table;
mod target;
mod watch;
mod write;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::{
    Router, middleware,
    response::{IntoResponse, Response},
    routing::{any, get, post},
    serve::Listener,
};
use cube_api::placement::SchedulingPolicy;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::{answer::Refusal, metrics::Metrics};
use crate::registry::{Recorder, Registry};

pub use containers::Containers;
pub use exec::PROTOCOLS as EXEC_PROTOCOLS;
pub use link::Door;

/// Watches at once, for all clients. Each costs some 20 KB and a connection.
const WATCHES: usize = 10_000;
/// Backups at once; each holds a thread.
const BACKUPS: usize = 2;
/// Batches that are taken apart at once: each may cost some hundred megabytes for a moment.
const BATCHES: usize = 2;

/// What is served.
#[derive(Clone)]
pub struct ServerState {
    /// The objects.
    pub registry: Registry,
    /// Where containers are reached.
    pub containers: Arc<dyn Containers>,
    /// Who lets workers in; none: there is no way in.
    pub door: Option<Arc<dyn Door>>,
    /// How a node is chosen for Tasks that do not say.
    pub scheduling_policy: SchedulingPolicy,
    /// Who is told what a verb of Cube's own does; none: nobody.
    pub recorder: Option<Recorder>,
    /// What the process says of itself at `/apis/cube/v1/info`: a JSON object.
    pub info: Value,
}

/// What every request shares.
struct Server {
    registry: Registry,
    containers: Arc<dyn Containers>,
    door: Option<Arc<dyn Door>>,
    scheduling_policy: SchedulingPolicy,
    recorder: Option<Recorder>,
    info: Value,
    metrics: Metrics,
    watches: Arc<Semaphore>,
    backups: Arc<Semaphore>,
    batches: Semaphore,
    long_lists: Semaphore,
    ending: CancellationToken,
}

/// Serves on a listener (a Unix socket; loopback for who wants it) until `shutdown`: then watches end first, open
/// requests get a few seconds, and it returns.
pub async fn serve<L: Listener>(listener: L, state: ServerState, shutdown: CancellationToken) {
    let router = router(state, shutdown.clone());
    connections::serve(listener, router, shutdown).await;
}

impl Server {
    fn new(state: ServerState, ending: CancellationToken) -> Self {
        let metrics = Metrics::new(state.registry.world().now());
        Self {
            registry: state.registry,
            containers: state.containers,
            door: state.door,
            scheduling_policy: state.scheduling_policy,
            recorder: state.recorder,
            info: state.info,
            metrics,
            watches: Arc::new(Semaphore::new(WATCHES)),
            backups: Arc::new(Semaphore::new(BACKUPS)),
            batches: Semaphore::new(BATCHES),
            long_lists: Semaphore::new(pages::long_lists_at_once()),
            ending,
        }
    }
}

/// Everything that is served, by path. Streams end with `ending`.
pub fn router(state: ServerState, ending: CancellationToken) -> Router {
    routes(Arc::new(Server::new(state, ending)))
}

fn routes(server: Arc<Server>) -> Router {
    let review = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    Router::new()
        // What Kubernetes' clients ask first.
        .route("/version", get(health::version))
        .route("/api", get(discovery::core_versions))
        .route("/api/v1", get(discovery::core_resources))
        .route("/apis", get(discovery::groups))
        .route("/apis/cube", get(discovery::group))
        .route("/apis/cube/v1", get(discovery::resources))
        .route("/openapi/v2", get(openapi::v2))
        .route("/openapi/v3", get(openapi::index))
        .route("/openapi/v3/apis/cube/v1", get(openapi::v3))
        .route(review, post(access::review))
        // Cube's own verbs.
        .route("/apis/cube/v1/apply", post(apply::apply))
        .route("/apis/cube/v1/backup", get(backup::backup))
        .route("/apis/cube/v1/info", get(health::info))
        .route("/apis/cube/v1/figures/nodes", get(figures::nodes))
        .route("/apis/cube/v1/figures/tasks", get(figures::tasks))
        .route("/apis/cube/v1/rebalance", get(rebalance::plan).post(rebalance::begin))
        // Workers.
        .route("/apis/cube/v1/link/{node}", get(link::session))
        .route("/apis/cube/v1/link/{node}/{stream}", get(link::stream))
        // Objects.
        .route("/apis/cube/v1/{*path}", any(objects::cube))
        .route("/api/v1/{*path}", any(objects::core))
        // Probes and figures.
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/healthz", get(health::ready))
        .route("/metrics", get(metrics::metrics))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_verb)
        .layer(middleware::from_fn_with_state(server.clone(), metrics::observe))
        .with_state(server)
}

async fn no_such_path() -> Response {
    Refusal::no_such_path().into_response()
}

async fn no_such_verb() -> Response {
    Refusal::no_such_verb().into_response()
}
