//! The server as a process of its own, and what it has used.
use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use cube::{
    engine::{ExecOptions, LogOptions, Program},
    registry::{ApiError, Registry},
    server::{self, Containers, ServerState},
    store::{Options, Store},
    world::World,
};
use cube_api::{figures::Measured, kinds::Kind, task::Task};
use futures_util::stream::BoxStream;
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

use crate::Failure;

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

/// The server's part: serves a new store until it is ended.
pub fn serve(directory: &Path) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let options = Options {
            cluster: "bench".to_owned(),
            ..Options::default()
        };
        let store = Store::open(&directory.join("store.redb"), options)?;
        let registry = Registry::open(store, World::real())
            .await
            .map_err(|error| error.to_string())?;
        let listener = UnixListener::bind(socket(directory))?;
        println!("ready");
        let state = ServerState {
            registry,
            containers: Arc::new(NoContainers),
            door: None,
            scheduling_policy: Default::default(),
            recorder: None,
            info: serde_json::json!({}),
        };
        server::serve(listener, state, CancellationToken::new()).await;
        Ok(())
    })
}

fn socket(directory: &Path) -> PathBuf {
    directory.join("socket")
}

/// A server that runs.
pub struct Served {
    child: Child,
    socket: String,
}

impl Served {
    pub fn start(directory: &Path) -> Result<Self, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut child = command.arg("serve").arg(directory).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        let served = Self {
            child,
            socket: socket(directory).to_string_lossy().into_owned(),
        };
        match line.as_str() {
            "ready\n" => Ok(served),
            _ => Err("the server does not start".into()),
        }
    }

    /// Runs clients in a process of their own; the numbers that it prints.
    pub fn client(&self, verb: &str, args: &[&str]) -> Result<Vec<f64>, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        let output = command
            .arg(verb)
            .arg(&self.socket)
            .args(args)
            .stderr(Stdio::inherit())
            .output()?;
        if !output.status.success() {
            return Err(format!("the clients ({verb}) failed: {}", output.status).into());
        }
        let numbers = str::from_utf8(&output.stdout)?.split_whitespace().map(str::parse);
        Ok(numbers.collect::<Result<_, _>>()?)
    }

    /// The time that it has had on all cores.
    pub fn cpu_seconds(&self) -> Result<f64, Failure> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let ticks = |index: usize| fields.get(index).map_or(Ok(0.0), |field| field.parse::<f64>());
        // User and system, in hundredths of a second on every Linux.
        Ok((ticks(11)? + ticks(12)?) / 100.0)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // Nothing is to be kept: as hard as can be.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
