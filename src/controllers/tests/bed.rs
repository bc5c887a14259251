//! A whole manager over a registry in memory, on one thread with a virtual clock, and workers that only report.
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use cube_api::{
    condition::{Condition, READY, Truth, set},
    deployment::Deployment,
    event::Event,
    kinds::Kind,
    placement::SchedulingPolicy,
    task::{Phase, Task, TaskStatus, Termination},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    controllers,
    registry::{
        ApplyRequest, DeleteOptions, Feed, Filter, News, Object, Outcome, PERSON, Propagation, Recorder, Registry,
        TaskReport, WriteOptions, all, list,
    },
    roster::{Nobody, Roster},
    scheduler,
    store::{Options, Store},
    world::{Source, World},
};

/// A world whose clock is tokio's, and whose chance is a count.
struct Virtual {
    began: Instant,
    count: AtomicU64,
}

impl Source for Virtual {
    fn now(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.began.elapsed()).unwrap();
        Timestamp::from_second(1_900_000_000).unwrap() + passed
    }

    fn uuid(&self) -> uuid::Uuid {
        uuid::Uuid::from_u128(u128::from(self.count.fetch_add(1, Ordering::Relaxed)))
    }

    fn random(&self) -> u64 {
        let next = self.count.fetch_add(1, Ordering::Relaxed);
        next.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31)
    }
}

/// What a fake worker makes of Tasks.
#[derive(Clone, Debug)]
pub(crate) struct Manners {
    /// From assigned to ready.
    pub start: Duration,
    /// From being deleted to gone.
    pub stop: Duration,
    /// Images that never become ready.
    pub never_ready: Vec<String>,
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            start: Duration::from_millis(100),
            stop: Duration::from_millis(100),
            never_ready: Vec::new(),
        }
    }
}

/// The whole.
pub(crate) struct Bed {
    pub registry: Registry,
    pub manners: Arc<Mutex<Manners>>,
    pub roster: Roster,
    /// What the roster hears of each node.
    pulses: Mutex<BTreeMap<String, JoinHandle<()>>>,
    world: World,
    stop: CancellationToken,
    running: Vec<JoinHandle<()>>,
}

impl Bed {
    /// A bed with these nodes (name and memory), all ready.
    pub async fn new(nodes: &[(&str, &str)]) -> Self {
        Self::over(nodes, Options::default()).await
    }

    /// The same over a store with these options.
    pub async fn over(nodes: &[(&str, &str)], options: Options) -> Self {
        let world = World::new(Virtual {
            began: Instant::now(),
            count: AtomicU64::new(1),
        });
        let registry = Registry::open(Store::memory(options), world.clone()).await.unwrap();
        let mut bed = Self {
            registry,
            manners: Arc::default(),
            roster: Roster::new(),
            pulses: Mutex::default(),
            world,
            stop: CancellationToken::new(),
            running: Vec::new(),
        };
        for (name, memory) in nodes {
            bed.node(name, memory, json!({})).await;
        }
        bed.start();
        bed
    }

    /// Makes a node, ready.
    pub async fn node(&self, name: &str, memory: &str, labels: Value) {
        let options = WriteOptions::new("test");
        let node = json!({ "metadata": { "name": name, "labels": labels } });
        self.registry
            .create(Kind::Node, "", node.clone(), &options)
            .await
            .unwrap();
        self.node_status(name, memory, true).await;
        self.hear(name);
    }

    /// The node's worker is heard from now on.
    pub fn hear(&self, name: &str) {
        let session = self.roster.enter(name, name, Arc::new(Nobody)).unwrap();
        let (roster, node) = (self.roster.clone(), name.to_owned());
        let pulse = tokio::spawn(async move { roster.beat(&node, &session).await });
        self.pulses.lock().unwrap().insert(name.to_owned(), pulse);
    }

    /// Nothing is heard of the node's worker any more.
    pub fn silence(&self, name: &str) {
        self.pulses.lock().unwrap().remove(name).unwrap().abort();
    }

    /// What a node tells of itself.
    pub async fn node_status(&self, name: &str, memory: &str, ready: bool) {
        let mut node = self.registry.get(Kind::Node, "", name).unwrap().to_value();
        node["status"] = json!({
            "allocatable": { "cpu": "4", "memory": memory },
            "conditions": [{ "type": READY, "status": if ready { "True" } else { "False" }, "reason": "Test" }],
        });
        let options = WriteOptions::new("test").status();
        self.registry
            .update(Kind::Node, "", name, node, &options)
            .await
            .unwrap();
    }

    /// Starts everything; what was kept in memory before is lost.
    pub fn start(&mut self) {
        self.stop = CancellationToken::new();
        let (registry, world, stop) = (&self.registry, &self.world, &self.stop);
        let (recorder, record) = Recorder::new(registry.clone(), "test", None, stop.clone());
        let worker = work(registry.clone(), self.manners.clone(), stop.clone());
        let manage = controllers::run(
            registry.clone(),
            world.clone(),
            self.roster.clone(),
            recorder.of("controllers"),
            SchedulingPolicy::default(),
            stop.clone(),
        );
        let place = scheduler::run(
            registry.clone(),
            world.clone(),
            recorder.of("scheduler"),
            SchedulingPolicy::default(),
            stop.clone(),
        );
        self.running = vec![
            tokio::spawn(record),
            tokio::spawn(worker),
            tokio::spawn(manage),
            tokio::spawn(place),
        ];
    }

    /// Ends everything.
    pub async fn halt(&mut self) {
        self.stop.cancel();
        for running in self.running.drain(..) {
            running.await.unwrap();
        }
    }

    /// Everything is cut off where it is, as by `kill -9`.
    pub async fn kill(&mut self) {
        for running in self.running.drain(..) {
            running.abort();
            assert!(running.await.unwrap_err().is_cancelled());
        }
    }

    /// Applies manifests as a person does; all must be taken.
    pub async fn apply(&self, objects: impl IntoIterator<Item = Value>) {
        let request = ApplyRequest {
            manager: PERSON.to_owned(),
            objects: objects.into_iter().collect(),
            ..ApplyRequest::default()
        };
        for applied in self.registry.apply(&request).await {
            assert!(!matches!(applied.outcome, Outcome::Refused(_)), "{applied:?}");
        }
    }

    /// Deletes an object.
    pub async fn delete(&self, kind: Kind, namespace: &str, name: &str, propagation: Option<Propagation>) {
        let options = DeleteOptions {
            propagation,
            actor: "test".to_owned(),
            ..DeleteOptions::default()
        };
        self.registry.delete(kind, namespace, name, &options).await.unwrap();
    }

    /// Waits until nothing has been written for a while.
    pub async fn rest(&self) {
        loop {
            let before = self.registry.snapshot().revision();
            tokio::time::sleep(Duration::from_secs(5)).await;
            if self.registry.snapshot().revision() == before {
                return;
            }
        }
    }

    /// Everything is as it should be: deciding again yields nothing, and nothing more is written.
    pub async fn assert_at_rest(mut self) {
        let before = self.registry.snapshot().revision();
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!(self.registry.snapshot().revision(), before, "nothing more was sent");
        self.halt().await;
        self.start();
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(
            self.registry.snapshot().revision(),
            before,
            "deciding again yields nothing"
        );
        self.halt().await;
    }

    pub fn all(&self) -> Vec<Object> {
        all(&self.registry.snapshot()).collect()
    }

    pub fn list(&self, kind: Kind, namespace: &str) -> Vec<Object> {
        list(&self.registry.snapshot(), kind, &Filter::namespace(namespace)).items
    }

    /// The Tasks of `default`.
    pub fn tasks(&self) -> Vec<Task> {
        let tasks = self.list(Kind::Task, "default");
        tasks.iter().map(|object| object.typed::<Task>().clone()).collect()
    }

    pub fn task(&self, name: &str) -> Task {
        let object = self.registry.get(Kind::Task, "default", name).unwrap();
        object.typed::<Task>().clone()
    }

    pub fn deployment(&self, name: &str) -> Deployment {
        let object = self.registry.get(Kind::Deployment, "default", name).unwrap();
        object.typed::<Deployment>().clone()
    }

    /// Events of an object, as `reason: message`, sorted.
    pub fn events(&self, name: &str) -> Vec<String> {
        let objects = self.list(Kind::Event, "default");
        let mut events: Vec<&Event> = objects.iter().map(|object| object.typed::<Event>()).collect();
        events.retain(|event| event.involved_object.name == name);
        let told = events
            .iter()
            .map(|event| format!("{}: {}", event.reason, event.message));
        let mut told: Vec<String> = told.collect();
        told.sort();
        told
    }
}

/// All workers in one: what is assigned is ready after a while, what is deleted is gone after a while.
async fn work(registry: Registry, manners: Arc<Mutex<Manners>>, stop: CancellationToken) {
    let mut feed = Feed::new(registry.clone());
    let mut due: BTreeMap<(String, String, bool), Instant> = BTreeMap::new();
    loop {
        let next = due.values().min().copied();
        let wait = async {
            match next {
                Some(next) => tokio::time::sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        let news = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            news = feed.next() => Some(news),
            () = wait => None,
        };
        let manners = manners.lock().unwrap().clone();
        let objects: Vec<Object> = match news {
            Some(News::Changes(changes)) => changes.iter().map(|change| change.object().clone()).collect(),
            Some(News::Anew(snapshot)) => all(&snapshot).collect(),
            None => Vec::new(),
        };
        for object in objects {
            let Some(task) = object.try_typed::<Task>() else {
                continue;
            };
            let place = |going| (object.namespace().to_owned(), object.name().to_owned(), going);
            if task.status.node.is_none() {
                continue;
            }
            if task.metadata.is_deleting() || task.status.leaves_now() {
                due.entry(place(true)).or_insert(Instant::now() + manners.stop);
            } else if task.status.phase == Phase::Scheduled && !manners.never_ready.contains(&task.spec.image) {
                due.entry(place(false)).or_insert(Instant::now() + manners.start);
            }
        }
        let now = Instant::now();
        let ready: Vec<_> = due
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(place, _)| place.clone())
            .collect();
        for place in ready {
            due.remove(&place);
            let (namespace, name, going) = place;
            let phase = if going { Phase::Scheduled } else { Phase::Running };
            report(&registry, &namespace, &name, phase, going).await;
        }
    }
}

/// Reports of a Task as its worker does.
pub(crate) async fn report(registry: &Registry, namespace: &str, name: &str, phase: Phase, gone: bool) {
    let Ok(object) = registry.get(Kind::Task, namespace, name) else {
        return;
    };
    let task: &Task = object.typed();
    let Some(node) = task.status.node.clone() else { return };
    let mut status = TaskStatus {
        phase,
        observed_generation: task.metadata.generation,
        ..task.status.clone()
    };
    if phase.is_over() {
        status.exit_code = Some(1);
        status.last_termination = Some(Termination {
            exit_code: Some(1),
            ..Termination::default()
        });
    }
    let ready = Condition {
        kind: READY.to_owned(),
        status: Truth::of(phase == Phase::Running),
        observed_generation: task.metadata.generation,
        ..Condition::default()
    };
    set(&mut status.conditions, ready, Timestamp::UNIX_EPOCH);
    let report = TaskReport {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        uid: task.metadata.uid.clone(),
        epoch: task.status.epoch,
        status,
        gone,
    };
    // A report that comes too late is refused, as it must be.
    let _ = registry.report(&node, &[report]).await;
}

/// A Deployment of so many Tasks of an image.
pub(crate) fn deployment(name: &str, replicas: u32, image: &str) -> Value {
    json!({
        "apiVersion": "cube/v1", "kind": "Deployment", "metadata": { "name": name },
        "spec": { "replicas": replicas, "template": { "spec": { "image": image } } },
    })
}

/// A Task that asks for so much memory.
pub(crate) fn task(name: &str, memory: &str) -> Value {
    json!({
        "apiVersion": "cube/v1", "kind": "Task", "metadata": { "name": name },
        "spec": { "image": "busybox", "resources": { "requests": { "memory": memory } } },
    })
}
