//! Many at once: those that crash and crash, those that do not stop, those whose image cannot be had.
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cube_plan::worker::backoff;
use serde_json::{Value, json};

use super::hands::sleeper;
use super::harness::{Cube, docker};
use super::oracle::{Place, Witness, await_settled};

fn pathless(more: &Value) -> Value {
    let mut more = more.clone();
    more.as_object_mut()
        .unwrap()
        .insert("network".to_owned(), json!("none"));
    more
}

/// When each container got which signal, by the engine's word, in seconds.
fn signals(place: &Place, since: u64) -> BTreeMap<String, Vec<(String, f64)>> {
    let until = place
        .docker(&["info", "--format", "{{.SystemTime}}"])
        .parse::<jiff::Timestamp>()
        .unwrap()
        .as_second()
        + 1;
    let told = place.ask(&format!("/events?since={since}&until={until}")).unwrap();
    let mut of: BTreeMap<String, Vec<(String, f64)>> = BTreeMap::new();
    for event in told.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        if event["Type"] == "container" && event["Action"] == "kill" {
            let signal = event["Actor"]["Attributes"]["signal"].as_str().unwrap().to_owned();
            let at = event["timeNano"].as_f64().unwrap() / 1e9;
            of.entry(event["Actor"]["ID"].as_str().unwrap().to_owned())
                .or_default()
                .push((signal, at));
        }
    }
    of
}

#[test]
#[ignore = "long: dev/chaos runs it"]
fn thirty_that_ignore_the_signal_are_killed_at_their_grace_and_together() {
    let (_engine, cube, place) = super::hands::cube();
    let deaf = pathless(&json!({ "init": false, "terminationGracePeriodSeconds": 4,
        "command": ["sh", "-c", "trap '' TERM; while true; do sleep 1; done"] }));
    let file = cube.path("deaf.yaml");
    let all: Vec<String> = (0..30)
        .map(|number| sleeper(&format!("deaf-{number}"), &deaf))
        .collect();
    std::fs::write(&file, all.join("\n---\n")).unwrap();
    cube.ok(&["apply", "-f", file.to_str().unwrap(), "--wait", "--timeout", "120s"]);
    let began = Instant::now();
    cube.ok(&["delete", "-f", file.to_str().unwrap(), "--timeout", "120s"]);
    let took = began.elapsed().as_secs_f64();
    let mut least = f64::MAX;
    let told = signals(&place, 0);
    assert_eq!(told.len(), 30);
    for (id, signals) in told {
        let at = |signal: &str| signals.iter().find(|(told, _)| told == signal).map(|(_, at)| *at);
        let (term, kill) = (at("15").unwrap(), at("9").unwrap());
        least = least.min(kill - term);
        assert!(kill - term >= 3.999, "{id}: killed after {:.3} s", kill - term);
        assert_eq!(signals.len(), 2, "{id}: {signals:?}");
    }
    println!("figure: 30 with a grace of 4 s gone after {took:.1} s, the first kill {least:.2} s after its signal");
    assert!(took < 4.0 + 12.0, "one after the other: {took} s");
    await_settled(&cube, &[place], || Ok(()));
}

/// CPU that a process has used.
fn used(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

fn start_latency(cube: &Cube, name: &str) -> Duration {
    let file = cube.path("latency.json");
    let mut took = Vec::new();
    for round in 0..8 {
        let name = format!("{name}-{round}");
        std::fs::write(&file, sleeper(&name, &pathless(&json!({})))).unwrap();
        let began = Instant::now();
        cube.ok(&["apply", "-f", file.to_str().unwrap(), "--wait", "--timeout", "60s"]);
        took.push(began.elapsed());
        cube.ok(&["delete", "task", &name, "--timeout", "60s"]);
    }
    took.sort();
    took[took.len() / 2]
}

#[test]
#[ignore = "long: dev/chaos runs it"]
fn a_hundred_that_crash_800_times_cost_little_and_make_nobody_late() {
    let (_engine, cube, place) = super::hands::cube();
    let before = start_latency(&cube, "before");
    let crashes = pathless(&json!({ "command": ["false"] }));
    let file = cube.path("crashes.yaml");
    let all: Vec<String> = (0..100)
        .map(|number| sleeper(&format!("crash-{number}"), &crashes))
        .collect();
    std::fs::write(&file, all.join("\n---\n")).unwrap();
    let began = Instant::now();
    cube.ok(&["apply", "-f", file.to_str().unwrap()]);
    let restarts = || -> Vec<u64> {
        cube.list("tasks")
            .iter()
            .map(|task| task["status"]["restarts"].as_u64().unwrap_or(0))
            .collect()
    };
    let limit = Duration::from_secs(600);
    while restarts().iter().sum::<u64>() < 800 {
        assert!(began.elapsed() < limit, "{:?}", restarts());
        std::thread::sleep(Duration::from_millis(500));
    }
    let passed = began.elapsed();
    // None is started more often than its waits allow.
    let mut most = 0;
    let mut waited = jiff::SignedDuration::ZERO;
    while waited <= jiff::SignedDuration::try_from(passed).unwrap() {
        most += 1;
        waited += backoff(most);
    }
    let each = restarts();
    assert!(
        each.iter().all(|restarts| *restarts <= most),
        "{most} at most: {each:?}"
    );
    let (cpu, since) = (used(cube.pid()), Instant::now());
    let during = start_latency(&cube, "during");
    let share = (used(cube.pid()) - cpu).as_secs_f64() / since.elapsed().as_secs_f64();
    let (cpu, since) = (used(cube.pid()), Instant::now());
    std::thread::sleep(Duration::from_secs(20));
    let quiet = (used(cube.pid()) - cpu).as_secs_f64() / since.elapsed().as_secs_f64();
    println!(
        "figure: {} restarts of 100 in {:.0} s ({most} each at most); a start takes {} ms, {} ms before; CPU {:.1} % of a core while others start, {:.1} % alone",
        each.iter().sum::<u64>(),
        passed.as_secs_f64(),
        during.as_millis(),
        before.as_millis(),
        share * 100.0,
        quiet * 100.0
    );
    // The tests' build is slow, and so is a machine that does something else: a bound for what is badly wrong.
    assert!(
        during < before * 3 + Duration::from_millis(500),
        "{during:?}, {before:?} before"
    );
    assert!(quiet < 0.2, "{quiet}");
    cube.ok(&["delete", "-f", file.to_str().unwrap(), "--timeout", "120s"]);
    await_settled(&cube, &[place], || Ok(()));
}

/// A registry of Debian's, with a door before it that fails at first.
struct Registry {
    process: Child,
    inside: u16,
    door: u16,
    /// How often a manifest was asked for.
    asked: Arc<AtomicU64>,
    _directory: tempfile::TempDir,
}

impl Registry {
    fn start(failures: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let inside = free.local_addr().unwrap().port();
        drop(free);
        let config = directory.path().join("config.yml");
        let root = directory.path().join("data");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '127.0.0.1:{inside}'}}\n",
            root.display()
        );
        std::fs::write(&config, text).unwrap();
        let mut process = Command::new("docker-registry");
        process
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let process = process
            .spawn()
            .expect("no docker-registry: dev/packages docker-registry");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let door = listener.local_addr().unwrap().port();
        let asked = Arc::new(AtomicU64::new(0));
        let count = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let count = count.clone();
                std::thread::spawn(move || through(stream, inside, &count, failures));
            }
        });
        Self {
            process,
            inside,
            door,
            asked,
            _directory: directory,
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// One request: refused as long as the door fails, else carried inside; its connection ends with it.
fn through(mut stream: TcpStream, inside: u16, count: &AtomicU64, failures: u64) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?;
    if head.contains("/manifests/") && count.fetch_add(1, Ordering::SeqCst) < failures {
        stream
            .write_all(b"HTTP/1.1 503 Not Now\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            .ok()?;
        return Some(());
    }
    let mut to = TcpStream::connect(("127.0.0.1", inside)).ok()?;
    let (line, rest) = head.split_once("\r\n")?;
    write!(to, "{line}\r\nConnection: close\r\n{rest}").ok()?;
    std::io::copy(&mut to, &mut stream).ok()?;
    Some(())
}

#[test]
#[ignore = "long: dev/chaos runs it"]
fn twenty_whose_registry_fails_at_first_share_their_pulls_and_all_run() {
    // On the machine's own engine: the tests' own have no network to the outside.
    let registry = Registry::start(5);
    let mut cube = Cube::new();
    cube.start();
    let places = [Place::of_machine(&cube)];
    let name = format!("{}:1", cube.node());
    let (inside, outside) = (
        format!("127.0.0.1:{}/{name}", registry.inside),
        format!("127.0.0.1:{}/{name}", registry.door),
    );
    docker(None, &["tag", "busybox", &inside]);
    cube.await_true("the registry takes the image", || {
        let push = Command::new("docker")
            .args(["push", "--quiet", &inside])
            .output()
            .unwrap();
        push.status.success()
    });
    docker(None, &["rmi", &inside]);
    let began = Instant::now();
    let witness = Witness::begin(&places);
    for number in 0..20 {
        let spec = pathless(&json!({ "image": outside }));
        cube.write(&format!("s{number}.json"), &sleeper(&format!("s{number}"), &spec));
    }
    cube.await_some("some cannot be pulled", || {
        let tasks = cube.list("tasks");
        tasks
            .iter()
            .any(|task| task["status"]["reason"] == "ImagePullBackOff")
            .then_some(())
    });
    // One of them is deleted amid it.
    cube.remove("s0.json");
    await_settled(&cube, &places, || {
        let tasks = cube.list("tasks");
        let running = tasks.iter().filter(|task| task["status"]["phase"] == "Running").count();
        if running == 19 && tasks.len() == 19 {
            Ok(())
        } else {
            Err(format!("{running} of {} run", tasks.len()))
        }
    });
    let asked = registry.asked.load(Ordering::SeqCst);
    println!(
        "figure: 20 with one image, 5 pulls failed, running after {:.1} s; the registry was asked {asked} times",
        began.elapsed().as_secs_f64()
    );
    // Each pull asks for the manifest once or twice: were they not shared, there would be twenty of each.
    assert!(asked <= 5 + 6, "asked {asked} times");
    witness.end();
    for number in 1..20 {
        cube.remove(&format!("s{number}.json"));
    }
    cube.await_line("nothing removed");
    cube.ok(&["approve"]);
    cube.await_true("all are gone", || cube.list("tasks").is_empty());
    docker(None, &["rmi", &outside]);
}
