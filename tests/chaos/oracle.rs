//! What must hold, read from the engines themselves and compared with what the store says.
//!
//! Never asks Cube what an engine has. [`settled`] is what to read first; [`rest`] and [`Witness`] hold over a time.
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cube_api::hash;
use cube_api::task::TaskSpec;
use serde_json::{Value, json};

use super::harness::{Cube, docker};

/// A node, and the socket of its engine.
#[derive(Clone)]
pub struct Place {
    pub node: String,
    address: String,
}

impl Place {
    pub fn new(node: &str, address: &str) -> Self {
        Self {
            node: node.to_owned(),
            address: address.to_owned(),
        }
    }

    /// The machine's own engine, for the node of `cube up`.
    pub fn of_machine(cube: &Cube) -> Self {
        let address = std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned());
        Self::new(&cube.node(), &address)
    }

    pub fn docker(&self, arguments: &[&str]) -> String {
        docker(Some(&self.address), arguments)
    }

    /// Kills a container, unless it ends in the same moment.
    pub fn kill(&self, id: &str) {
        let mut command = std::process::Command::new("docker");
        let output = command.env("DOCKER_HOST", &self.address).args(["kill", id]).output();
        let output = output.expect("no docker command");
        let told = String::from_utf8_lossy(&output.stderr);
        let ended = told.contains("is not running") || told.contains("No such container");
        assert!(output.status.success() || ended, "docker kill {id}: {told}");
    }

    /// Someone else's container of that name runs, with these options.
    pub fn stranger(&self, name: &str, options: &[&str]) {
        let named = ["run", "--detach", "--init", "--name", name];
        self.docker(&[&named[..], options, &["busybox", "sleep", "100000"]].concat());
    }

    /// An answer of the engine; none while it is away.
    pub fn ask(&self, target: &str) -> Option<String> {
        let path: PathBuf = self.address.strip_prefix("unix://")?.into();
        let mut stream = UnixStream::connect(path).ok()?;
        // Of the old protocol: the answer is all that comes, in one piece.
        write!(stream, "GET {target} HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.split(' ').nth(1)?.starts_with('2').then(|| body.to_owned())
    }

    fn json(&self, target: &str) -> Option<Value> {
        serde_json::from_str(&self.ask(target)?).ok()
    }

    fn own(&self, more: &[&str]) -> String {
        let mut labels = vec![format!("cube.node={}", self.node)];
        labels.extend(more.iter().map(|label| (*label).to_owned()));
        encoded(&json!({ "label": labels }))
    }

    /// All containers of the node, running or not, by a list of the engine's.
    pub fn containers(&self) -> Option<Vec<Value>> {
        let listed = self.json(&format!("/containers/json?all=1&filters={}", self.own(&[])))?;
        listed.as_array().cloned()
    }

    pub fn networks(&self) -> Option<BTreeSet<String>> {
        let listed = self.json(&format!("/networks?filters={}", self.own(&[])))?;
        Some(strings(listed.as_array()?, "/Name"))
    }

    pub fn scratch_volumes(&self) -> Option<BTreeSet<String>> {
        let listed = self.json(&format!("/volumes?filters={}", self.own(&["cube.scratch=true"])))?;
        Some(strings(listed["Volumes"].as_array().unwrap_or(&Vec::new()), "/Name"))
    }

    /// What happened at the engine in a span of its clock: what changed something, and not what only asked.
    fn changes(&self, since: &str, until: &str) -> Vec<String> {
        let told = self
            .ask(&format!("/events?since={since}&until={until}"))
            .unwrap_or_default();
        let events = told.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let of_node = |event: &Value| event["Actor"]["Attributes"]["cube.node"] == self.node.as_str();
        let asked = |event: &Value| {
            let action = event["Action"].as_str().unwrap_or_default();
            action.starts_with("exec_") || action == "top"
        };
        let changing = events.filter(|event| of_node(event) && !asked(event));
        changing
            .map(|event| format!("{} {}", event["Type"], event["Action"]))
            .collect()
    }

    /// The engine's clock, as its events have it.
    fn now(&self) -> Option<String> {
        let now = self.json("/info")?["SystemTime"]
            .as_str()?
            .parse::<jiff::Timestamp>()
            .ok()?;
        Some(format!("{}.{:09}", now.as_second(), now.subsec_nanosecond()))
    }
}

/// For the query of a request.
fn encoded(filters: &Value) -> String {
    let text = filters.to_string();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    text.bytes()
        .map(|byte| {
            if plain(byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

fn strings(list: &[Value], pointer: &str) -> BTreeSet<String> {
    let all = list.iter().filter_map(|one| one.pointer(pointer)?.as_str());
    all.map(str::to_owned).collect()
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// All Tasks, and the store's revision at which they were so.
pub fn tasks(cube: &Cube) -> Option<(Vec<Value>, u64)> {
    let output = cube.cube(&["get", "tasks", "-A", "-o", "json"]);
    let list: Value = serde_json::from_slice(&output.stdout).ok()?;
    let revision = text(&list, "/metadata/resourceVersion").parse().ok()?;
    Some((list["items"].as_array()?.clone(), revision))
}

/// Whether the engines have what the store's Tasks say, and nothing else of Cube's (I1, I6, I7): a Task that runs has one
/// container, which is the one of its status, of its hash, on its node; who is on no node has none; every container,
/// network and empty directory is some Task's.
pub fn settled(cube: &Cube, places: &[Place]) -> Result<(), String> {
    let (tasks, _) = tasks(cube).ok_or("the server does not answer")?;
    for place in places {
        let here: Vec<&Value> = tasks
            .iter()
            .filter(|task| text(task, "/status/node") == place.node)
            .collect();
        let mut of: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for container in place.containers().ok_or("the engine does not answer")? {
            let uid = text(&container["Labels"], "/cube.uid").to_owned();
            of.entry(uid).or_default().push(container);
        }
        for task in &here {
            let name = text(task, "/metadata/name");
            if task["metadata"]["deletionTimestamp"].is_string() {
                return Err(format!("task {name} is still being deleted"));
            }
            let containers = of.remove(text(task, "/metadata/uid")).unwrap_or_default();
            one_as_told(task, &containers).map_err(|wrong| format!("task {name} on {}: {wrong}", place.node))?;
        }
        if let Some((uid, left)) = of.into_iter().next() {
            return Err(format!("left on {}: {uid} {}", place.node, left[0]));
        }
        compare("networks", place, place.networks(), networks(&here))?;
        compare("empty directories", place, place.scratch_volumes(), directories(&here))?;
    }
    Ok(())
}

fn one_as_told(task: &Value, containers: &[Value]) -> Result<(), String> {
    let status = &task["status"];
    let states: Vec<&str> = containers.iter().map(|container| text(container, "/State")).collect();
    if containers.len() > 1 {
        return Err(format!("{} containers: {states:?}", containers.len()));
    }
    let running = states.contains(&"running");
    if (status["phase"] == "Running") != running {
        return Err(format!(
            "it is told to be {}, and its container is {states:?}",
            status["phase"]
        ));
    }
    if running {
        let spec: TaskSpec = serde_json::from_value(task["spec"].clone()).map_err(|error| error.to_string())?;
        let restarted = task["metadata"]["annotations"]["cube/restartedAt"].as_str();
        if containers[0]["Labels"]["cube.hash"] != hash::container(&spec, restarted).as_str() {
            return Err("its container is of another hash".to_owned());
        }
        if status["containerID"] != containers[0]["Id"] {
            return Err("its status names another container".to_owned());
        }
    }
    Ok(())
}

/// Names, without the cluster's id at their end.
fn networks(tasks: &[&Value]) -> BTreeSet<String> {
    let in_one = tasks.iter().filter(|task| task["spec"]["network"].is_null());
    in_one
        .map(|task| format!("cube-{}", text(task, "/metadata/namespace")))
        .collect()
}

fn directories(tasks: &[&Value]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for task in tasks {
        for volume in task["spec"]["volumes"].as_array().unwrap_or(&Vec::new()) {
            if volume["emptyDir"].is_object() && volume["emptyDir"]["medium"] != "Memory" {
                let uid = text(task, "/metadata/uid");
                let (namespace, name) = (text(task, "/metadata/namespace"), text(task, "/metadata/name"));
                names.insert(format!(
                    "cube-{namespace}-{name}-{}-{}",
                    &uid[uid.len() - 8..],
                    text(volume, "/name")
                ));
            }
        }
    }
    names
}

fn compare(what: &str, place: &Place, seen: Option<BTreeSet<String>>, derived: BTreeSet<String>) -> Result<(), String> {
    let mut seen = seen.ok_or("the engine does not answer")?;
    if what == "networks" {
        seen = seen
            .iter()
            .filter_map(|name| Some(name.rsplit_once('-')?.0.to_owned()))
            .collect();
    }
    if seen == derived {
        return Ok(());
    }
    Err(format!("{what} of {}: {seen:?}, not {derived:?}", place.node))
}

/// Waits until all is [`settled`] and what the scenario wishes itself is so.
pub fn await_settled(cube: &Cube, places: &[Place], mut wished: impl FnMut() -> Result<(), String>) {
    let began = Instant::now();
    let limit = super::harness::LIMIT;
    loop {
        let Err(wrong) = settled(cube, places).and_then(|()| wished()) else {
            return;
        };
        if began.elapsed() > limit {
            if std::env::var_os("CHAOS_HOLD").is_some() {
                println!("held: {wrong}");
                std::thread::sleep(Duration::from_secs(3600));
            }
            for place in places {
                println!("{}:\n{}", place.node, place.docker(&["ps", "--all"]));
            }
            cube.await_lost(&format!("all is as it should be; the last that was not: {wrong}"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// At rest nothing is done at an engine and nothing written to the store (I2), for so long.
pub fn rest(cube: &Cube, places: &[Place], time: Duration) {
    // What happened is told a moment after it has: rest begins when a second has passed without a word.
    let (mut last, mut still, began) = (0, Instant::now(), Instant::now());
    while still.elapsed() < Duration::from_secs(1) {
        let (_, revision) = tasks(cube).unwrap();
        if std::mem::replace(&mut last, revision) != revision {
            still = Instant::now();
        }
        assert!(
            began.elapsed() < Duration::from_secs(15),
            "no rest: {:#?}",
            written_since(cube, last - 5)
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    let since: Vec<String> = places.iter().map(|place| place.now().unwrap()).collect();
    let before = tasks(cube).unwrap();
    std::thread::sleep(time);
    let after = tasks(cube).unwrap();
    if before.1 != after.1 {
        panic!("the store was written at rest: {:#?}", written_since(cube, before.1));
    }
    for (place, since) in places.iter().zip(since) {
        let changes = place.changes(&since, &place.now().unwrap());
        assert!(changes.is_empty(), "at rest {} did: {changes:?}", place.node);
    }
}

/// What was written after that revision, of all kinds.
fn written_since(cube: &Cube, revision: u64) -> Vec<Value> {
    let kinds = [
        "tasks",
        "deployments",
        "revisions",
        "nodes",
        "events",
        "namespaces",
        "sources",
        "settings",
    ];
    let all = kinds.iter().flat_map(|kind| {
        let output = cube.cube(&["get", kind, "-A", "-o", "json"]);
        let list: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        list["items"].as_array().cloned().unwrap_or_default()
    });
    let newer = |object: &Value| text(object, "/metadata/resourceVersion").parse::<u64>().unwrap_or(0) > revision;
    all.filter(newer).collect()
}

/// Looks all the while that no Task has two running containers, on whatever engines (I1).
pub struct Witness {
    over: Arc<AtomicBool>,
    seen: Option<JoinHandle<(u64, Vec<Vec<String>>)>>,
}

impl Witness {
    pub fn begin(places: &[Place]) -> Self {
        let (over, places) = (Arc::new(AtomicBool::new(false)), places.to_vec());
        let until = over.clone();
        let seen = std::thread::spawn(move || {
            let (mut looks, mut twice) = (0, Vec::new());
            while !until.load(Ordering::Relaxed) {
                // Engines are asked one after the other: one that moved between is there twice for one look only.
                let doubled = doubled(&places);
                let again = if doubled.is_empty() {
                    doubled
                } else {
                    self::doubled(&places)
                };
                for (_, names) in again {
                    println!("run at the same time: {names:?}");
                    twice.push(names);
                }
                looks += 1;
                std::thread::sleep(Duration::from_millis(40));
            }
            (looks, twice)
        });
        Self { over, seen: Some(seen) }
    }

    /// How often it has looked; fails if something ran twice.
    pub fn end(mut self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        let (looks, twice) = self.seen.take().unwrap().join().unwrap();
        assert!(twice.is_empty(), "ran twice: {twice:?}");
        looks
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// The Tasks of which more than one container runs, with the names of these.
fn doubled(places: &[Place]) -> BTreeMap<String, Vec<String>> {
    let mut running: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for place in places {
        for container in place.containers().unwrap_or_default() {
            if container["State"] == "running" {
                let task = text(&container["Labels"], "/cube.uid").to_owned();
                let name = format!("{} on {}", text(&container, "/Names/0"), place.node);
                running.entry(task).or_default().push(name);
            }
        }
    }
    running.retain(|_, names| names.len() > 1);
    running
}

/// A stranger's things at an engine, of the kinds that Cube makes too, with names and labels as close as can be (I8).
pub struct Strangers {
    place: Place,
    before: Vec<String>,
    targets: Vec<String>,
    /// Its containers, network and volume.
    names: [String; 4],
}

impl Strangers {
    pub fn make(place: &Place) -> Self {
        let tail = place.node.clone();
        let names =
            ["cube-default-x-00000000-0123456789-1", "idle", "net", "data"].map(|name| format!("{name}-{tail}"));
        let node = format!("cube.node={tail}-stranger");
        place.docker(&[
            "network",
            "create",
            "--label",
            "cube.namespace=default",
            "--label",
            &node,
            &names[2],
        ]);
        place.docker(&[
            "volume",
            "create",
            "--label",
            "cube.scratch=true",
            "--label",
            &node,
            &names[3],
        ]);
        let labels = [
            "--label",
            "cube.task=x",
            "--label",
            "cube.uid=0192aaaa-bbbb-7ccc-8ddd-eeeeffff0009",
            "--label",
            &node,
        ];
        let mount = format!("{}:/data", names[3]);
        let sleeps = ["--network", "none", "--volume", &mount, "busybox", "sleep", "100000"];
        place.docker(
            &[
                &["run", "--detach", "--init", "--name", &names[0]],
                &labels[..],
                &sleeps[..],
            ]
            .concat(),
        );
        place.docker(&[&["create", "--name", &names[1]], &labels[..], &sleeps[..]].concat());
        let targets = vec![
            format!("/containers/{}/json", names[0]),
            format!("/containers/{}/json", names[1]),
            format!("/networks/{}", names[2]),
            format!("/volumes/{}", names[3]),
        ];
        let mut strangers = Self {
            place: place.clone(),
            before: Vec::new(),
            targets,
            names,
        };
        strangers.before = strangers.now();
        strangers
    }

    fn now(&self) -> Vec<String> {
        let asked = self
            .targets
            .iter()
            .map(|target| self.place.ask(target).unwrap_or_default());
        asked.collect()
    }

    /// Byte for byte as they were, and then gone.
    pub fn end(self) {
        let (before, now) = (&self.before, self.now());
        assert!(before.iter().all(|one| !one.is_empty()));
        for (before, now) in before.iter().zip(&now) {
            assert_eq!(before, now, "a stranger's was touched");
        }
    }
}

impl Drop for Strangers {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        self.place.docker(&["rm", "--force", &self.names[0], &self.names[1]]);
        self.place.docker(&["network", "rm", &self.names[2]]);
        self.place.docker(&["volume", "rm", &self.names[3]]);
    }
}
