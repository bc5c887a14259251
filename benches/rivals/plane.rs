//! A side at work on a private engine: brought up beforehand, given a wish, and told to take it back.
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bollard::models::TaskState;
use bollard::query_parameters::ListTasksOptions;
use cube_bench::Result;
use cube_bench::cube::{Cube, Engine, Tasks, is_running};
use cube_bench::straight::Straight;

use crate::dockerd::Dockerd;
use crate::seen::{LIMIT, Seen};
use crate::side::{Manners, Net, Side, Wish};

/// More under way bring this engine nothing (`docs/benchmarks.md`, the figures of fifty).
const IN_FLIGHT: usize = 4;
/// How often Swarm is asked, from when the engine has started everything.
const ASKED_EVERY: Duration = Duration::from_millis(10);

/// What follows a rise (events, statuses) is over by then.
pub const SETTLE: Duration = Duration::from_secs(1);

/// How long it took from the command to what was wished.
#[derive(Clone, Copy, Debug)]
pub struct Rise {
    /// Until the engine had started the first container.
    pub first: Duration,
    /// Until the side itself said that all run; not before the engine had started them.
    pub all: Duration,
}

pub enum Plane {
    Engine { straight: Straight, ids: Vec<String> },
    Cube { cube: Box<Cube>, tasks: Tasks },
    Swarm(Side),
    Compose,
}

impl Plane {
    /// All that is there before there is anything to look after.
    pub async fn begin(side: Side, dockerd: &Dockerd, wish: &Wish) -> Result<Self> {
        match side {
            Side::Engine => {
                let straight = Straight::at(Some(&dockerd.socket()), wish.straight_network()).await?;
                let straight = straight.running(wish.program());
                Ok(Self::Engine { straight, ids: vec![] })
            }
            Side::Cube if wish.network == Net::Bridge => {
                Err("Cube gives containers the machine's network, none, or their namespace's, never the engine's own bridge".into())
            }
            Side::Cube => {
                let (cube, _) = Cube::up(&Engine::Private(dockerd.socket())).await?;
                let tasks = cube.tasks().await?;
                Ok(Self::Cube { cube: Box::new(cube), tasks })
            }
            Side::Swarm | Side::SwarmAtOnce => {
                let init = ["swarm", "init", "--advertise-addr", "127.0.0.1"];
                dockerd.ask("docker", &init).await?;
                if wish.network == Net::Own {
                    let network = "network create --scope swarm --driver bridge --attachable";
                    let mut words: Vec<&str> = network.split(' ').collect();
                    words.push(crate::side::NETWORK);
                    dockerd.ask("docker", &words).await?;
                }
                Ok(Self::Swarm(side))
            }
            Side::Compose => Ok(Self::Compose),
            Side::Disk | Side::Etcd => Err("it looks after no containers".into()),
        }
    }

    /// A side that has been given a wish and says that it is so, and what the engine tells of it.
    pub async fn at_work(side: Side, dockerd: &Dockerd, wish: &Wish) -> Result<(Self, Seen)> {
        let mut plane = Self::begin(side, dockerd, wish).await?;
        let seen = Seen::open(dockerd.docker()).await;
        plane.up(dockerd, wish, &seen).await?;
        Ok((plane, seen))
    }

    /// Wishes it, and waits until the side says that it is so.
    pub async fn up(&mut self, dockerd: &Dockerd, wish: &Wish, seen: &Seen) -> Result<Rise> {
        write(dockerd, wish)?;
        let began = Instant::now();
        let said = match self {
            Self::Engine { straight, ids } => {
                let (up, _) = straight.up(wish.containers(), IN_FLIGHT).await?;
                ids.extend(up);
                Instant::now()
            }
            _ => {
                self.apply(dockerd, wish).await?;
                self.await_said(dockerd, wish, seen, began).await?
            }
        };
        let started = seen.until("start", wish.containers(), began).await?;
        let ends = [started.first(), started.last()].map(|at| at.map_or(Duration::ZERO, |at| *at - began));
        Ok(Rise {
            first: ends[0],
            all: (said - began).max(ends[1]),
        })
    }

    /// The command that says the wish, from its start to its end.
    pub async fn apply(&self, dockerd: &Dockerd, wish: &Wish) -> Result<Duration> {
        let began = Instant::now();
        match self {
            Self::Engine { .. } => return Err("the engine alone knows no wishes".into()),
            Self::Cube { cube, .. } => {
                let file = file(dockerd, "cube.yaml");
                tokio::task::block_in_place(|| cube.run(&["apply", "-f", &file.to_string_lossy()]))?;
            }
            Self::Swarm(side) if wish.objects == 1 => {
                let words = wish.service(*side);
                let words: Vec<_> = words.iter().map(String::as_str).collect();
                dockerd.ask("docker", &words).await?;
            }
            Self::Swarm(_) => {
                let deploy = "stack deploy --resolve-image never --compose-file stack.yaml bench";
                dockerd.ask("docker", &deploy.split(' ').collect::<Vec<_>>()).await?;
            }
            Self::Compose => {
                let up = "--project-name bench --file compose.yaml up --detach";
                dockerd
                    .ask("docker-compose", &up.split(' ').collect::<Vec<_>>())
                    .await?;
            }
        }
        Ok(began.elapsed())
    }

    /// Until the side itself says that all run.
    async fn await_said(&mut self, dockerd: &Dockerd, wish: &Wish, seen: &Seen, began: Instant) -> Result<Instant> {
        let many = wish.containers();
        match self {
            _ if many == 0 => Ok(Instant::now()),
            Self::Cube { tasks, .. } => {
                let mut running = BTreeSet::new();
                tasks
                    .until(|task| {
                        if is_running(task) {
                            running.insert(task["metadata"]["name"].as_str().unwrap_or_default().to_owned());
                        }
                        running.len() >= many
                    })
                    .await
            }
            Self::Swarm(_) => {
                seen.until("start", many, began).await?;
                while swarm_running(dockerd).await? < many {
                    if began.elapsed() > LIMIT {
                        return Err("swarm does not say that all run".into());
                    }
                    tokio::time::sleep(ASKED_EVERY).await;
                }
                Ok(Instant::now())
            }
            // Their command ends when all run.
            Self::Engine { .. } | Self::Compose => Ok(Instant::now()),
        }
    }

    /// How often Cube's store was written; the others do not tell.
    pub async fn revision(&self) -> Result<Option<u64>> {
        match self {
            Self::Cube { cube, .. } => Ok(Some(cube.revision().await?)),
            _ => Ok(None),
        }
    }

    /// Takes it all back; gives the moment at which that was said.
    pub async fn down(&mut self, dockerd: &Dockerd, wish: &Wish) -> Result<Instant> {
        let began = Instant::now();
        match self {
            Self::Engine { straight, ids } => {
                // Where the time is spent waiting, all wait at once.
                let in_flight = if wish.manners == Manners::Ignores {
                    ids.len()
                } else {
                    IN_FLIGHT
                };
                straight.down_within(std::mem::take(ids), in_flight, wish.grace).await?;
            }
            Self::Cube { cube, .. } => {
                let file = file(dockerd, "cube.yaml");
                tokio::task::block_in_place(|| cube.run(&["delete", "-f", &file.to_string_lossy(), "--wait=false"]))?;
            }
            Self::Swarm(_) if wish.objects == 1 => {
                dockerd.ask("docker", &["service", "rm", "sleeper-0"]).await?;
            }
            Self::Swarm(_) => {
                dockerd.ask("docker", &["stack", "rm", "bench"]).await?;
            }
            Self::Compose => {
                let down = "--project-name bench --file compose.yaml down";
                dockerd
                    .ask("docker-compose", &down.split(' ').collect::<Vec<_>>())
                    .await?;
            }
        }
        Ok(began)
    }
}

/// Where the wish is, for the command that reads it.
fn file(dockerd: &Dockerd, name: &str) -> PathBuf {
    dockerd.files().join(name)
}

/// Writes the wish in everyone's words.
pub fn write(dockerd: &Dockerd, wish: &Wish) -> Result<()> {
    fs::write(file(dockerd, "cube.yaml"), wish.manifest())?;
    fs::write(file(dockerd, "compose.yaml"), wish.compose())?;
    fs::write(file(dockerd, "stack.yaml"), wish.stack())?;
    Ok(())
}

/// How many tasks Swarm says to run.
pub async fn swarm_running(dockerd: &Dockerd) -> Result<usize> {
    let tasks = dockerd.docker().list_tasks(None::<ListTasksOptions>).await?;
    let running = |task: &&bollard::models::Task| {
        task.status.as_ref().and_then(|status| status.state) == Some(TaskState::RUNNING)
    };
    Ok(tasks.iter().filter(running).count())
}
