//! One worker that pretends: it speaks the link, and says of every Task at once that it runs.
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use cube::registry::TaskReport;
use cube::roster::BEAT;
use cube::worker::link::Taken;
use cube::worker::link::dial::PATH;
use cube::worker::link::frames::{Hello, PROTOCOL, Up};
use cube_api::condition::{Condition, READY, Truth, set};
use cube_api::node::Node;
use cube_api::quantity::Quantity;
use cube_api::task::{Phase, TaskStatus};
use jiff::Timestamp;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::Result;
use crate::socket::Socket;

/// The waits before the manager is dialled again.
const AGAIN: Duration = Duration::from_millis(100);
const AGAIN_MOST: Duration = Duration::from_secs(2);
/// What each node has.
const CPUS: u64 = 64;
const MEMORY: u64 = 256 << 30;
/// Bytes of disk.
pub const DISK: u64 = 1 << 40;

/// What all workers have come to.
#[derive(Default)]
pub struct Tally {
    /// Links that are up.
    pub links: AtomicI64,
    /// Tasks that they have.
    pub tasks: AtomicI64,
    /// Those of them of which the manager has taken the word that they run.
    pub running: AtomicI64,
    /// Reports that the manager did not take.
    pub refused: AtomicU64,
    /// Links that broke.
    pub broken: AtomicU64,
}

/// What the manager says, as far as it matters here.
#[derive(Deserialize)]
struct Said<'a> {
    say: &'a str,
    #[serde(default, borrow)]
    tasks: Vec<Seen<'a>>,
    #[serde(default, borrow)]
    task: Option<Seen<'a>>,
    #[serde(default)]
    more: bool,
    #[serde(default)]
    uid: Option<&'a str>,
    #[serde(default)]
    taken: Vec<Taken>,
    #[serde(default)]
    why: Option<String>,
}

#[derive(Deserialize)]
struct Seen<'a> {
    #[serde(borrow)]
    metadata: Meta<'a>,
    status: Status,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta<'a> {
    name: &'a str,
    namespace: &'a str,
    uid: &'a str,
    #[serde(default)]
    generation: u64,
    #[serde(default)]
    deletion_timestamp: Option<&'a str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    #[serde(default)]
    phase: Phase,
    #[serde(default)]
    epoch: u64,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    conditions: Vec<Condition>,
    #[serde(default)]
    eviction: Option<Eviction>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Eviction {
    #[serde(default)]
    after_replacement: bool,
}

/// A Task of the worker's.
struct Slot {
    epoch: u64,
    runs: bool,
    gone: bool,
    /// It was in the snapshot that is being told.
    told: bool,
}

pub struct Worker<'a> {
    pub socket: &'a Path,
    pub name: String,
    pub tally: Arc<Tally>,
    slots: HashMap<String, Slot>,
    /// To be said; and what was said and is not answered yet.
    unsent: Vec<TaskReport>,
    sent: Vec<(String, u64)>,
    number: u64,
}

impl<'a> Worker<'a> {
    pub fn new(socket: &'a Path, name: String, tally: Arc<Tally>) -> Self {
        Self {
            socket,
            name,
            tally,
            slots: HashMap::new(),
            unsent: Vec::new(),
            sent: Vec::new(),
            number: 0,
        }
    }

    /// Holds the link for as long as `wished` says so; while it does not, nothing is heard of this worker.
    pub async fn run(mut self, mut wished: watch::Receiver<bool>) {
        let mut wait = AGAIN;
        loop {
            if wished.wait_for(|wished| *wished).await.is_err() {
                return;
            }
            let ended = tokio::select! {
                biased;
                _ = wished.wait_for(|wished| !*wished) => None,
                ended = self.session() => Some(ended),
            };
            self.sent.clear();
            self.unsent.clear();
            match ended {
                // What it ran is of no use to anybody.
                None => self.forget(|_| true),
                Some(greeted) => {
                    // What was not told is told anew.
                    self.forget(|slot| !slot.runs);
                    wait = if greeted { AGAIN } else { (wait * 2).min(AGAIN_MOST) };
                    sleep(wait).await;
                }
            }
        }
    }

    /// One session; says whether it had begun.
    async fn session(&mut self) -> bool {
        let opened = async {
            let mut link = Socket::open(self.socket, &format!("{PATH}/{}", self.name)).await?;
            let hello = Up::Hello(Hello {
                protocol: PROTOCOL,
                worker: format!("worker-of-{}", self.name),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                cluster: None,
            });
            say(&mut link, &hello).await?;
            let at = link.next().await?;
            let said: Said = serde_json::from_slice(link.text(at))?;
            match said.say {
                "welcome" => Ok(link),
                _ => Err(said.why.unwrap_or_default().into()),
            }
        };
        let opened: Result<Socket> = opened.await;
        let Ok(mut link) = opened else { return false };
        let held = Held::new(&self.tally);
        let ended = self.talk(&mut link).await;
        if let Err(why) = ended {
            self.tally.broken.fetch_add(1, Ordering::Relaxed);
            if std::env::var_os("FLEET_TALK").is_some() {
                eprintln!("{}: {why}", self.name);
            }
        }
        drop(held);
        true
    }

    async fn talk(&mut self, link: &mut Socket) -> Result<()> {
        let node = Box::new(node(&self.name));
        say(link, &Up::Node { node }).await?;
        let mut beat = Instant::now() + BEAT;
        loop {
            tokio::select! {
                biased;
                at = link.next() => {
                    let at = at?;
                    self.hear(link.text(at))?;
                    // As a worker does: one word about all that has gathered.
                    if link.has_more() {
                        continue;
                    }
                }
                () = sleep_until(beat) => {
                    say(link, &Up::Beat).await?;
                    beat = Instant::now() + BEAT;
                }
            }
            if self.sent.is_empty() && !self.unsent.is_empty() {
                let reports = std::mem::take(&mut self.unsent);
                self.sent = reports
                    .iter()
                    .map(|report| (report.uid.clone(), report.epoch))
                    .collect();
                self.number += 1;
                let number = self.number;
                say(link, &Up::Reports { number, reports }).await?;
                beat = Instant::now() + BEAT;
            }
        }
    }

    fn hear(&mut self, text: &[u8]) -> Result<()> {
        let said: Said = serde_json::from_slice(text)?;
        match said.say {
            "snapshot" => {
                for task in &said.tasks {
                    self.assigned(task);
                }
                if !said.more {
                    self.forget(|slot| !slot.told);
                    self.slots.values_mut().for_each(|slot| slot.told = false);
                }
            }
            "changed" => said.task.iter().for_each(|task| self.assigned(task)),
            "removed" => {
                if let Some(uid) = said.uid
                    && let Some(slot) = self.slots.remove(uid)
                {
                    self.uncount(&slot);
                }
            }
            "taken" => {
                for ((uid, epoch), taken) in std::mem::take(&mut self.sent).iter().zip(&said.taken) {
                    let slot = self.slots.get_mut(uid).filter(|slot| slot.epoch == *epoch);
                    match (taken, slot) {
                        (Taken::Written, Some(slot)) if !slot.runs && !slot.gone => {
                            slot.runs = true;
                            self.tally.running.fetch_add(1, Ordering::Relaxed);
                        }
                        (Taken::Written, _) => {}
                        (Taken::Refused | Taken::TryAgain(_), _) => {
                            self.tally.refused.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A Task that this worker has, as it is now.
    fn assigned(&mut self, task: &Seen) {
        let (meta, status) = (&task.metadata, &task.status);
        let leaves = status
            .eviction
            .as_ref()
            .is_some_and(|eviction| !eviction.after_replacement);
        let going = meta.deletion_timestamp.is_some() || leaves;
        let known = self.slots.get(meta.uid);
        let runs = status.phase == Phase::Running && status.reason == "Running";
        let before = known.filter(|slot| slot.epoch == status.epoch);
        let tell = match before {
            Some(slot) => going && !slot.gone,
            None => going || !runs,
        };
        let slot = Slot {
            epoch: status.epoch,
            runs: before.map_or(runs, |slot| slot.runs) && !going,
            gone: going,
            told: true,
        };
        let (now, then) = (slot.runs, known.is_some_and(|slot| slot.runs));
        self.tally
            .running
            .fetch_add(i64::from(now) - i64::from(then), Ordering::Relaxed);
        if known.is_none() {
            self.tally.tasks.fetch_add(1, Ordering::Relaxed);
        }
        self.slots.insert(meta.uid.to_owned(), slot);
        if tell {
            self.unsent.push(report(task, going));
        }
    }

    fn forget(&mut self, which: impl Fn(&Slot) -> bool) {
        let (tally, mut left) = (&self.tally, 0);
        self.slots.retain(|_, slot| {
            let goes = which(slot);
            if goes {
                left += 1;
                tally.running.fetch_sub(i64::from(slot.runs), Ordering::Relaxed);
            }
            !goes
        });
        tally.tasks.fetch_sub(left, Ordering::Relaxed);
    }

    fn uncount(&self, slot: &Slot) {
        self.tally.tasks.fetch_sub(1, Ordering::Relaxed);
        self.tally.running.fetch_sub(i64::from(slot.runs), Ordering::Relaxed);
    }
}

/// A link that is up, while it is.
struct Held(Arc<Tally>);

impl Held {
    fn new(tally: &Arc<Tally>) -> Self {
        tally.links.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(tally))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.links.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn say(link: &mut Socket, up: &Up) -> Result<()> {
    link.send(&serde_json::to_vec(up)?).await
}

/// What a worker says of a Task whose container runs, or of which nothing is left.
#[expect(
    clippy::disallowed_methods,
    reason = "a program of its own, with nothing to simulate"
)]
fn report(task: &Seen, gone: bool) -> TaskReport {
    let meta = &task.metadata;
    let now = Timestamp::now();
    let mut conditions = task.status.conditions.clone();
    let (phase, reason) = match gone {
        true => (Phase::Scheduled, "Stopped"),
        false => (Phase::Running, "Running"),
    };
    let ready = Condition {
        kind: READY.to_owned(),
        status: Truth::of(!gone),
        reason: reason.to_owned(),
        observed_generation: meta.generation,
        ..Condition::default()
    };
    set(&mut conditions, ready, now);
    // As long as what an engine says.
    let id = meta.uid.replace('-', "");
    TaskReport {
        namespace: meta.namespace.to_owned(),
        name: meta.name.to_owned(),
        uid: meta.uid.to_owned(),
        epoch: task.status.epoch,
        status: TaskStatus {
            phase,
            container_id: Some(format!("{id}{id}")),
            hash: id[..10].to_owned(),
            image_id: Some(format!("sha256:{0}{0}", "0123456789abcdef0123456789abcdef")),
            addresses: vec!["172.18.0.7".to_owned()],
            started_at: Some(now),
            reason: reason.to_owned(),
            conditions,
            observed_generation: meta.generation,
            ..TaskStatus::default()
        },
        gone,
    }
}

/// The Node of a machine with enough of everything.
pub fn node(name: &str) -> Node {
    let mut node = Node::default();
    node.metadata.name = name.to_owned();
    let labels = [("cube/node", name.to_owned()), ("zone", zone(name))];
    let labels = labels.into_iter().map(|(key, value)| (key.to_owned(), value));
    node.metadata.labels = labels.collect();
    let resources = &mut node.status.capacity;
    resources.cpu = Quantity::from_milli(CPUS * 1000);
    resources.memory = Quantity::bytes(MEMORY);
    resources.ephemeral_storage = Quantity::bytes(DISK);
    node.status.allocatable = node.status.capacity.clone();
    for (kind, holds, reason) in [
        (READY, true, "EngineAnswers"),
        ("EngineReady", true, "EngineAnswers"),
        ("MemoryPressure", false, "MemorySufficient"),
        ("DiskPressure", false, "DiskSufficient"),
    ] {
        node.status.conditions.push(Condition {
            kind: kind.to_owned(),
            status: Truth::of(holds),
            reason: reason.to_owned(),
            ..Condition::default()
        });
    }
    let info = &mut node.status.node_info;
    info.engine = "docker".to_owned();
    info.engine_version = "20.10.24".to_owned();
    info.cube_version = env!("CARGO_PKG_VERSION").to_owned();
    info.worker_id = format!("worker-of-{name}");
    info.operating_system = "Debian GNU/Linux 12 (bookworm)".to_owned();
    node
}

/// One of ten.
fn zone(name: &str) -> String {
    format!("z{}", name.bytes().last().unwrap_or_default() % 10)
}
