//! The same containers by the engine's API alone: what an engine needs for them at least.
//!
//! The calls go through Cube's own connection to the engine, with all that Cube sets on a container, so that nothing but
//! the work around them differs.
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bollard::query_parameters::StopContainerOptionsBuilder;
use bollard::{API_DEFAULT_VERSION, Docker};
use cube::engine::{CLUSTER_LABEL, ContainerSpec, DockerEngine, Engine as _, EngineError, Network, NetworkSpec};
use tokio::task::JoinSet;

use crate::Result;

/// The label's value of all that is made here.
const CLUSTER: &str = "cube-bench-straight";

/// The engine, without Cube.
#[derive(Clone)]
pub struct Straight {
    engine: Arc<DockerEngine>,
    docker: Docker,
    network: Network,
    program: Vec<String>,
    made: Arc<AtomicUsize>,
}

/// How long one container took.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    pub create: Duration,
    pub start: Duration,
}

impl Straight {
    /// What the engine says of itself.
    pub async fn version() -> Result<String> {
        Ok(DockerEngine::connect(None)?.info().await?.version)
    }

    /// On the machine's network (`host`), or on a bridge as a namespace has one, made beforehand.
    pub async fn new(network: &str) -> Result<Self> {
        Self::at(None, network).await
    }

    /// The same on the engine at that socket. Besides, `bridge` is the engine's own bridge.
    pub async fn at(socket: Option<&Path>, network: &str) -> Result<Self> {
        let address = socket.map(|socket| format!("unix://{}", socket.display()));
        let engine = Arc::new(DockerEngine::connect(address.as_deref())?);
        // What a run that was broken off has left.
        for container in engine.list(CLUSTER).await? {
            engine.remove(&container.id, true).await?;
        }
        let network = if network == "host" {
            Network::Host
        } else if network == "bridge" {
            Network::Named {
                name: "bridge".to_owned(),
                aliases: vec![],
            }
        } else {
            let spec = NetworkSpec {
                name: CLUSTER.to_owned(),
                labels: [(CLUSTER_LABEL.to_owned(), CLUSTER.to_owned())].into(),
                subnet: Some("10.223.252.0/22".to_owned()),
            };
            engine.ensure_network(&spec).await?;
            Network::Named {
                name: CLUSTER.to_owned(),
                aliases: vec![],
            }
        };
        Ok(Self {
            engine,
            docker: match &address {
                Some(address) => Docker::connect_with_unix(address, 120, API_DEFAULT_VERSION)?,
                None => Docker::connect_with_defaults()?,
            },
            network,
            program: vec!["sleep".to_owned(), "100000".to_owned()],
            made: Arc::default(),
        })
    }

    /// With another program than one that sleeps until it is told to stop.
    pub fn running(mut self, program: Vec<String>) -> Self {
        self.program = program;
        self
    }

    /// One container, created and started.
    pub async fn one(&self) -> Result<(String, Took)> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let name = format!("{CLUSTER}-{}-{number}", std::process::id());
        let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let network = match &self.network {
            // The engine's own bridge knows no names.
            Network::Named { name: network, .. } if network != "bridge" => Network::Named {
                name: network.clone(),
                aliases: vec![name.clone()],
            },
            other => other.clone(),
        };
        let spec = ContainerSpec {
            name: name.clone(),
            image: "busybox".to_owned(),
            labels: [
                label(CLUSTER_LABEL, CLUSTER),
                label("cube.namespace", "default"),
                label("cube.task", &name),
                label("cube.uid", "01930000-0000-7000-8000-000000000000"),
                label("cube.hash", "0123456789"),
            ]
            .into(),
            command: Some(self.program.clone()),
            init: true,
            hostname: (network != Network::Host).then(|| name.clone()),
            network,
            ..ContainerSpec::default()
        };
        let began = Instant::now();
        let id = self.engine.create(&spec).await?;
        let create = began.elapsed();
        self.engine.start(&id).await?;
        let start = began.elapsed() - create;
        Ok((id, Took { create, start }))
    }

    /// So many containers with so many under way; gives them, and what each took.
    pub async fn up(&self, many: usize, in_flight: usize) -> Result<(Vec<String>, Vec<Took>)> {
        let next = Arc::new(AtomicUsize::new(0));
        let mut workers: JoinSet<Result<Vec<(String, Took)>>> = JoinSet::new();
        for _ in 0..in_flight {
            let (this, next) = (self.clone(), next.clone());
            workers.spawn(async move {
                let mut done = Vec::new();
                while next.fetch_add(1, Ordering::Relaxed) < many {
                    done.push(this.one().await?);
                }
                Ok(done)
            });
        }
        let mut all = Vec::new();
        while let Some(done) = workers.join_next().await {
            all.extend(done??);
        }
        Ok(all.into_iter().unzip())
    }

    /// Signals, waits for and removes containers with so many under way.
    pub async fn down(&self, ids: Vec<String>, in_flight: usize) -> Result<()> {
        self.down_within(ids, in_flight, 30).await
    }

    /// The same, and kills what has not ended after so many seconds.
    pub async fn down_within(&self, ids: Vec<String>, in_flight: usize, grace: i32) -> Result<()> {
        let ids = Arc::new(ids);
        let next = Arc::new(AtomicUsize::new(0));
        let mut workers: JoinSet<Result<()>> = JoinSet::new();
        for _ in 0..in_flight {
            let (this, next, ids) = (self.clone(), next.clone(), ids.clone());
            workers.spawn(async move {
                while let Some(id) = ids.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let options = StopContainerOptionsBuilder::new().t(grace).build();
                    this.docker.stop_container(id, Some(options)).await?;
                    this.engine.remove(id, false).await?;
                }
                Ok(())
            });
        }
        while let Some(done) = workers.join_next().await {
            done??;
        }
        Ok(())
    }

    /// How many containers of a Cube's there are.
    pub async fn count(&self, cluster: &str) -> Result<usize> {
        Ok(self.engine.list(cluster).await?.len())
    }

    /// Kills a container, as `docker kill` does.
    pub async fn kill(&self, id: &str) -> Result<()> {
        Ok(self.engine.signal(id, "SIGKILL").await?)
    }

    /// Removes all that was made here, by this run or one that was broken off.
    pub async fn clean(&self) -> Result<()> {
        for container in self.engine.list(CLUSTER).await? {
            self.engine.remove(&container.id, true).await?;
        }
        // The engine lets go of the last of them a moment after it says that it is gone, and old ones lose count now and
        // then: no reason to lose what was measured.
        for _ in 0..50 {
            match self.engine.remove_network(CLUSTER).await {
                Err(EngineError::InUse { .. }) => tokio::time::sleep(Duration::from_millis(100)).await,
                removed => return Ok(removed?),
            }
        }
        eprintln!("the engine takes network {CLUSTER} for used; it stays");
        Ok(())
    }
}
