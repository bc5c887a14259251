//! Cube's API in this process: a registry over a store in memory with a few objects, a world whose time stands still, and
//! the router over both. Kept between inputs as long as nothing was written.
use std::{
    cell::RefCell,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use axum::Router;
use bytes::Bytes;
use cube::{
    engine::{ExecOptions, LogOptions, Program},
    registry::{self, ApiError, Object, Registry, WriteOptions},
    server::{Containers, ServerState, router},
    store::{Options, Store},
    world::{Source, World},
};
use cube_api::{figures::Measured, kinds::Kind, task::Task};
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

/// What is served, and what it is done by.
pub struct Served {
    pub runtime: Runtime,
    pub registry: Registry,
    pub router: Router,
}

thread_local! {
    static KEPT: RefCell<Option<Served>> = const { RefCell::new(None) };
}

/// Does something with what is served; what was written is gone afterwards.
pub fn with(run: impl FnOnce(&Served)) {
    let served = KEPT.take().unwrap_or_else(Served::new);
    let before = served.registry.store().revision();
    run(&served);
    if served.registry.store().revision() == before {
        KEPT.set(Some(served));
    }
}

impl Served {
    fn new() -> Self {
        // Time is passed over when nobody has anything to do: a watch of an hour takes a moment.
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime can be made");
        let (registry, router) = runtime.block_on(async {
            let world = World::new(Still(AtomicU64::new(1)));
            let registry = Registry::open(Store::memory(Options::default()), world)
                .await
                .expect("a registry opens");
            for (kind, namespace, value) in objects() {
                let options = WriteOptions::new("seed");
                let made = registry.create(kind, namespace, value, &options).await;
                made.expect("what the targets begin with is good");
            }
            let state = ServerState {
                registry: registry.clone(),
                containers: Arc::new(Nowhere),
                door: None,
                scheduling_policy: Default::default(),
                recorder: None,
                info: json!({ "pid": 7 }),
            };
            (registry, router(state, CancellationToken::new()))
        });
        Self {
            runtime,
            registry,
            router,
        }
    }

    /// All objects, as they are stored.
    pub fn all(&self) -> Vec<Object> {
        self.registry.snapshot().range("").cloned().map(Object::new).collect()
    }

    /// Whatever is stored could be stored again.
    pub fn sound(&self) {
        for object in self.all() {
            let value = object.to_value();
            let wrong = registry::check(object.kind(), &value);
            assert!(wrong.is_empty(), "stored and not admissible: {wrong:?}\n{value}");
            object.kind().decode(&value).expect("what is stored can be decoded");
            assert_eq!(value["metadata"]["name"], object.name());
            assert_eq!(
                value["metadata"]["namespace"].as_str().unwrap_or_default(),
                object.namespace()
            );
        }
    }
}

fn objects() -> Vec<(Kind, &'static str, Value)> {
    let spec = json!({
        "image": "busybox", "args": ["sleep", "1d"], "env": [{ "name": "A", "value": "1" }],
        "ports": [{ "name": "web", "containerPort": 80 }],
        "resources": { "requests": { "cpu": "100m", "memory": "64Mi" } },
    });
    vec![
        (Kind::Node, "", json!({ "metadata": { "name": "n" } })),
        (
            Kind::Task,
            "default",
            json!({ "metadata": { "name": "web", "labels": { "app": "web" } }, "spec": spec }),
        ),
        (
            Kind::Deployment,
            "default",
            json!({ "metadata": { "name": "d" }, "spec": {
                "replicas": 2, "selector": { "matchLabels": { "app": "d" } },
                "template": { "metadata": { "labels": { "app": "d" } }, "spec": { "image": "busybox" } },
            } }),
        ),
    ]
}

/// Time that stands still, and ids that count.
struct Still(AtomicU64);

impl Source for Still {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(1_900_000_000).unwrap_or_default()
    }

    fn uuid(&self) -> uuid::Uuid {
        uuid::Uuid::from_u128(self.random().into())
    }

    fn random(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// Containers that say little.
struct Nowhere;

#[async_trait]
impl Containers for Nowhere {
    async fn logs(&self, _: &Task, options: LogOptions) -> Result<BoxStream<'static, Result<Bytes, String>>, ApiError> {
        Ok(stream::iter([Ok(format!("{options:?}").into())]).boxed())
    }

    async fn figures(&self, node: &str, _: Vec<String>) -> Result<Measured, ApiError> {
        Err(ApiError::unavailable(format!("there is no worker of node {node}")))
    }

    async fn exec(&self, _: &Task, _: ExecOptions) -> Result<Program, ApiError> {
        Err(ApiError::unavailable("there is no worker"))
    }
}
