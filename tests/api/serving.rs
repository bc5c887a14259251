//! A server on loopback, for clients that know no Unix sockets.
use std::{net::SocketAddr, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use cube::{
    engine::{ExecOptions, LogOptions, Program},
    registry::{ApiError, Registry},
    server::{self, Containers, ServerState},
    store::Store,
    world::World,
};
use cube_api::{figures::Measured, kinds::Kind, task::Task};
use futures_util::stream::BoxStream;
use serde_json::json;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// There are no workers here.
struct NoContainers;

#[async_trait]
impl Containers for NoContainers {
    async fn logs(&self, task: &Task, _: LogOptions) -> Result<BoxStream<'static, Result<Bytes, String>>, ApiError> {
        Err(ApiError::not_found(Kind::Task, &task.metadata.name))
    }

    async fn figures(&self, node: &str, _: Vec<String>) -> Result<Measured, ApiError> {
        Err(ApiError::unavailable(format!("there is no worker of node {node}")))
    }

    async fn exec(&self, task: &Task, _: ExecOptions) -> Result<Program, ApiError> {
        Err(ApiError::not_found(Kind::Task, &task.metadata.name))
    }
}

/// A server that runs.
pub struct Serving {
    pub registry: Registry,
    pub address: SocketAddr,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
}

impl Serving {
    /// Serves what is in the store; port 0 takes any.
    pub async fn start(store: Store, port: u16) -> Self {
        let registry = Registry::open(store, World::real()).await.unwrap();
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let state = ServerState {
            registry: registry.clone(),
            containers: Arc::new(NoContainers),
            door: None,
            scheduling_policy: Default::default(),
            recorder: None,
            info: json!({}),
        };
        let serving = tokio::spawn(server::serve(listener, state, shutdown.clone()));
        Self {
            registry,
            address,
            shutdown,
            serving,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Ends it, and lets go of its store.
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.serving.await.unwrap();
        self.registry.store().close();
    }
}
