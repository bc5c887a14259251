//! Objects of half a kilobyte, each on the disk before it is acknowledged: how many a second by one client, and by 64.
//!
//! Swarm's are services that wish for nothing to run; etcd is what Kubernetes keeps its objects in, written to through its JSON
//! gateway, which costs it something over gRPC.
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cube::client::Endpoint;
use cube_bench::Result;
use cube_bench::cube::{Cube, Engine};
use cube_bench::report::Samples;
use cube_bench::wire::Wire;
use http::Method;
use serde_json::json;
use tokio::task::JoinSet;

use crate::bench::Round;
use crate::book::Book;
use crate::plane::Plane;
use crate::seen::LIMIT;
use crate::side::{Net, Side, Wish};

pub const SIDES: &[Side] = &[Side::Disk, Side::Cube, Side::Swarm, Side::Etcd];

const SIZE: usize = 512;
/// How long each way of writing is measured in a round.
const SPELL: Duration = Duration::from_secs(3);
const ETCD: &str = "127.0.0.1:2379";

/// What a side needs to be there.
enum Store {
    Cube(Box<Cube>),
    Swarm(Endpoint),
    /// It ends with this.
    Etcd {
        _process: Etcd,
    },
}

pub async fn round(round: &Round<'_>, book: &mut Book) -> Result<()> {
    let Round {
        bench, side, dockerd, ..
    } = *round;
    let spell = if round.effort.small { SPELL / 10 } else { SPELL };
    // The engine has just written its image: that is not to be waited for here.
    dockerd.ask("sync", &[]).await?;
    let store = match side {
        Side::Disk => {
            let rate = append_and_sync(dockerd.files(), spell)?;
            book.add(bench.name(), "1 client: creates", "a second", side, rate);
            return Ok(());
        }
        Side::Etcd => Store::Etcd {
            _process: Etcd::start(dockerd.files()).await?,
        },
        Side::Cube => {
            let (cube, _) = Cube::up(&Engine::Private(dockerd.socket())).await?;
            Store::Cube(Box::new(cube))
        }
        _ => {
            Plane::begin(side, dockerd, &Wish::of(0, Net::Host)).await?;
            Store::Swarm(Endpoint::Unix(dockerd.socket()))
        }
    };
    for clients in [1, 64] {
        let (rate, latency) = store.load(clients, spell).await?;
        let who = if clients == 1 {
            "1 client".to_owned()
        } else {
            format!("{clients} clients")
        };
        book.add(bench.name(), &format!("{who}: creates"), "a second", side, rate);
        book.add(
            bench.name(),
            &format!("{who}: a create, p50"),
            "ms",
            side,
            latency.median(),
        );
        book.add(
            bench.name(),
            &format!("{who}: a create, p99"),
            "ms",
            side,
            latency.percentile(99.0),
        );
    }
    Ok(())
}

/// What the disk allows one who waits for it each time.
fn append_and_sync(directory: &Path, spell: Duration) -> Result<f64> {
    let mut file = File::create(directory.join("appended"))?;
    let (began, mut count) = (Instant::now(), 0);
    while began.elapsed() < spell {
        file.write_all(&[b'x'; SIZE])?;
        file.sync_data()?;
        count += 1;
    }
    Ok(f64::from(count) / began.elapsed().as_secs_f64())
}

impl Store {
    fn endpoint(&self) -> Endpoint {
        match self {
            Self::Cube(cube) => Endpoint::Unix(cube.socket()),
            Self::Swarm(endpoint) => endpoint.clone(),
            Self::Etcd { .. } => Endpoint::Loopback(ETCD.to_owned()),
        }
    }

    /// The request that makes an object of that name.
    fn request(&self, name: &str) -> (&'static str, String) {
        let filler = "x".repeat(SIZE * 3 / 4);
        match self {
            // It belongs to no Deployment: nothing acts on it, so that only writing is measured.
            Self::Cube(_) => {
                let object = json!({
                    "apiVersion": "cube/v1", "kind": "Revision", "spec": { "revision": 1, "hash": "0123456789" },
                    "metadata": { "name": name, "annotations": { "filler": filler } },
                });
                ("/apis/cube/v1/namespaces/default/revisions", object.to_string())
            }
            Self::Swarm(_) => {
                let service = json!({
                    "Name": name, "Labels": { "filler": filler }, "Mode": { "Replicated": { "Replicas": 0 } },
                    "TaskTemplate": { "ContainerSpec": { "Image": "busybox" } },
                });
                ("/services/create", service.to_string())
            }
            // Keys and values are said in base64, which such a name is when its length is a multiple of four.
            Self::Etcd { .. } => {
                let key = format!("{name:x>24}").replace('-', "/");
                (
                    "/v3/kv/put",
                    json!({ "key": key, "value": "eHh4".repeat(SIZE / 3) }).to_string(),
                )
            }
        }
    }

    async fn load(&self, clients: usize, spell: Duration) -> Result<(f64, Samples)> {
        let began = Instant::now();
        let mut writers: JoinSet<Result<Samples>> = JoinSet::new();
        for client in 0..clients {
            let mut wire = Wire::to(self.endpoint()).await?;
            // Made beforehand: it is not the client's speed that is measured.
            let name = |number: usize| format!("w{clients}-{client}-{number}");
            let most = spell.as_millis() as usize * 10 / clients.min(8);
            let requests: Vec<_> = (0..most).map(|number| self.request(&name(number))).collect();
            writers.spawn(async move {
                let mut took = Samples::default();
                for (target, body) in requests {
                    if began.elapsed() > spell {
                        break;
                    }
                    let sent = Instant::now();
                    let (code, answer) = wire.send(Method::POST, target, body).await?;
                    if !matches!(code, 200 | 201) {
                        return Err(format!("code {code}: {}", String::from_utf8_lossy(&answer)).into());
                    }
                    took.time(sent.elapsed());
                }
                Ok(took)
            });
        }
        let mut all = Samples::default();
        while let Some(took) = writers.join_next().await {
            all.extend(took??);
        }
        Ok((all.count() as f64 / began.elapsed().as_secs_f64(), all))
    }
}

/// An etcd of one member.
struct Etcd(Child);

impl Etcd {
    async fn start(directory: &Path) -> Result<Self> {
        let client = format!("http://{ETCD}");
        let mut command = Command::new("etcd");
        command.arg("--data-dir").arg(directory.join("etcd"));
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args([
            "--listen-peer-urls",
            "http://127.0.0.1:2380",
            "--initial-advertise-peer-urls",
            "http://127.0.0.1:2380",
        ]);
        command.args(["--initial-cluster", "default=http://127.0.0.1:2380"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let etcd = Self(
            command
                .spawn()
                .map_err(|error| format!("etcd (Debian's etcd-server): {error}"))?,
        );
        let began = Instant::now();
        while began.elapsed() < LIMIT {
            if let Ok(mut wire) = Wire::to(Endpoint::Loopback(ETCD.to_owned())).await
                && let Ok((200, _)) = wire
                    .send(Method::POST, "/v3/kv/put", r#"{"key":"eHh4","value":"eHh4"}"#)
                    .await
            {
                return Ok(etcd);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err("etcd does not answer".into())
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
