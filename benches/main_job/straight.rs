//! The same containers by the engine's API alone: what an engine needs for them at least.
//!
//! The calls go through Cube's own connection to the engine, with all that Cube sets on a container, so that nothing but
//! the work around them differs.
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::query_parameters::StopContainerOptionsBuilder;
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
        let engine = Arc::new(DockerEngine::connect(None)?);
        // What a run that was broken off has left.
        for container in engine.list(CLUSTER).await? {
            engine.remove(&container.id, true).await?;
        }
        let network = if network == "host" {
            Network::Host
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
            docker: Docker::connect_with_defaults()?,
            network,
            made: Arc::default(),
        })
    }

    /// One container, created and started.
    pub async fn one(&self) -> Result<(String, Took)> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let name = format!("{CLUSTER}-{}-{number}", std::process::id());
        let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let network = match &self.network {
            Network::Named { name: network, .. } => Network::Named {
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
            command: Some(vec!["sleep".to_owned(), "100000".to_owned()]),
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
        let ids = Arc::new(ids);
        let next = Arc::new(AtomicUsize::new(0));
        let mut workers: JoinSet<Result<()>> = JoinSet::new();
        for _ in 0..in_flight {
            let (this, next, ids) = (self.clone(), next.clone(), ids.clone());
            workers.spawn(async move {
                while let Some(id) = ids.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let options = StopContainerOptionsBuilder::new().t(30).build();
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
