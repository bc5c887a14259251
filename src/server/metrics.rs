//! Figures for Prometheus: requests, watches, the store, the process; and those of nodes and Tasks.
use std::{
    fs,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{Method, StatusCode};
use jiff::Timestamp;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};
use rustix::time::{ClockId, clock_gettime};
use tokio::time::{Instant, timeout};

use super::{
    Server, WATCHES, answer,
    answer::Refusal,
    figures::{self, Exposed},
};

/// The time in which a request has to be answered, but for the stream of a watch or log. Generous: a full disk or a
/// large batch on a slow one takes seconds; beyond it a client is better off asking again.
const REQUEST: Duration = Duration::from_secs(60);

/// What a request was about, told by whoever answered it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Labels {
    pub verb: &'static str,
    /// The kind's plural; empty where it was about none.
    pub kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    verb: &'static str,
    kind: &'static str,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Took {
    verb: &'static str,
    kind: &'static str,
}

type Float = Gauge<f64, AtomicU64>;

/// All figures.
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    durations: Family<Took, Histogram>,
    watches: Gauge,
    revision: Gauge,
    objects: Gauge,
    writable: Gauge,
    memory: Gauge,
    descriptors: Gauge,
    cpu: Float,
    exposed: Arc<Exposed>,
}

impl Metrics {
    pub fn new(now: Timestamp) -> Self {
        let started = Float::default();
        started.set(now.as_millisecond() as f64 / 1e3);
        let mut metrics = Self {
            registry: Registry::default(),
            requests: Family::default(),
            // From a tenth of a millisecond to some seven seconds.
            durations: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.0001, 4.0, 9))),
            watches: Gauge::default(),
            revision: Gauge::default(),
            objects: Gauge::default(),
            writable: Gauge::default(),
            memory: Gauge::default(),
            descriptors: Gauge::default(),
            cpu: Float::default(),
            exposed: Arc::default(),
        };
        let registry = &mut metrics.registry;
        registry.register("cube_requests", "Requests that were answered", metrics.requests.clone());
        registry.register_with_unit(
            "cube_request_duration",
            "Time until the head of the answer",
            Unit::Seconds,
            metrics.durations.clone(),
        );
        registry.register("cube_watches", "Watches that are open", metrics.watches.clone());
        registry.register("cube_store_revision", "Newest revision", metrics.revision.clone());
        registry.register("cube_store_objects", "Objects in the store", metrics.objects.clone());
        registry.register(
            "cube_store_writable",
            "Whether the store takes writes",
            metrics.writable.clone(),
        );
        registry.register_with_unit(
            "process_resident_memory",
            "Memory in use",
            Unit::Bytes,
            metrics.memory.clone(),
        );
        registry.register(
            "process_open_fds",
            "Open files and sockets",
            metrics.descriptors.clone(),
        );
        registry.register("process_cpu_seconds", "CPU time that was used", metrics.cpu.clone());
        registry.register_collector(Box::new(Arc::clone(&metrics.exposed)));
        metrics
    }

    fn request(&self, labels: Labels, code: StatusCode, took: Duration) {
        let Labels { verb, kind } = labels;
        let code = code.as_u16();
        self.requests.get_or_create(&Answered { verb, kind, code }).inc();
        let took = took.as_secs_f64();
        self.durations.get_or_create(&Took { verb, kind }).observe(took);
    }

    /// Looks at what is not counted as it happens.
    fn look(&self, server: &Server) {
        let store = server.registry.store();
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.watches
            .set(count(WATCHES.saturating_sub(server.watches.available_permits())));
        self.revision.set(i64::try_from(store.revision()).unwrap_or(i64::MAX));
        self.objects.set(count(server.registry.snapshot().len()));
        self.writable.set(store.health().writable.into());
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        self.memory.set(resident(&status).unwrap_or_default());
        let open = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        self.descriptors.set(count(open));
        let used = clock_gettime(ClockId::ProcessCPUTime);
        self.cpu.set(used.tv_sec as f64 + used.tv_nsec as f64 / 1e9);
    }
}

/// Bytes of memory that are resident, as `/proc/self/status` says.
fn resident(status: &str) -> Option<i64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// `/metrics`.
pub(super) async fn metrics(State(server): State<Arc<Server>>) -> Response {
    server.metrics.look(&server);
    server.metrics.exposed.set(figures::all(&server).await);
    let mut text = String::new();
    match encode(&mut text, &server.metrics.registry) {
        Ok(()) => answer::typed(
            StatusCode::OK,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            text,
        ),
        Err(error) => Refusal::new(500, "InternalError", error.to_string()).into_response(),
    }
}

/// Around every request: bounds its time, counts it.
pub(super) async fn observe(State(server): State<Arc<Server>>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let method = request.method().clone();
    let response = match timeout(REQUEST, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let message = format!("the request was not done within {} s; try again", REQUEST.as_secs());
            Refusal::new(504, "Timeout", message).into_response()
        }
    };
    let labels = response.extensions().get::<Labels>().copied();
    let labels = labels.unwrap_or(Labels {
        verb: match method {
            Method::GET => "get",
            Method::POST => "post",
            _ => "other",
        },
        kind: "",
    });
    server.metrics.request(labels, response.status(), begun.elapsed());
    response
}
