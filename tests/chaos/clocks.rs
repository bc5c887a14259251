//! Clocks that jump, run wrong or stand still, of Cube's processes alone.
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::dockerd::Dockerd;
use super::fleet::{Worker, command, task};
use super::harness::{Cube, Process, write};
use super::oracle::{Place, Witness, await_settled, settled};

/// What a clock is made to show: as libfaketime is told it, and whether it stands still.
const SHOWN: [&str; 8] = [
    "+10y",
    "-10y",
    "+1h",
    "-1h",
    "+0",
    "@2038-01-19 03:14:07",
    "2026-01-01 00:00:00",
    "+0",
];

fn library() -> PathBuf {
    let places = ["x86_64-linux-gnu", "aarch64-linux-gnu"];
    let mut found = places
        .iter()
        .map(|place| format!("/usr/lib/{place}/faketime/libfaketime.so.1").into());
    found
        .find(|path: &PathBuf| path.exists())
        .expect("no libfaketime: dev/packages faketime")
}

/// The variables under which a process goes by the clock that is written in a file.
fn variables(file: &Path) -> [(&'static str, String); 4] {
    [
        ("LD_PRELOAD", library().display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE", file.display().to_string()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        // As the system's own: it never jumps.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ]
}

/// Set in one piece: a clock that is being written would be a third one.
fn set(clock: &Path, shown: &str) {
    let next = clock.with_extension("next");
    write(&next, &format!("{shown}\n"));
    std::fs::rename(next, clock).unwrap();
}

fn container(cube: &Cube, task: &str) -> Value {
    cube.status(task)["containerID"].clone()
}

/// What each moment of a clock has to leave as it is, and what has to go on.
fn under_each(cube: &Cube, clock: &Path, places: &[Place]) {
    cube.write("stays.json", &task("stays", &json!({})));
    let probed = json!({ "readinessProbe": { "exec": { "command": ["true"] }, "periodSeconds": 1 } });
    cube.write("probed.json", &task("probed", &probed));
    // It fails every time, and waits longer from time to time.
    let fails = json!({ "command": ["sh", "-c", "sleep 1; exit 3"] });
    cube.write("fails.json", &task("fails", &fails));
    for name in ["stays", "probed"] {
        cube.await_running(name);
    }
    let (stays, probed) = (container(cube, "stays"), container(cube, "probed"));
    for (round, shown) in SHOWN.iter().enumerate() {
        set(clock, shown);
        let began = Instant::now();
        // Something new is carried out.
        let name = format!("new-{round}");
        cube.write(
            &format!("{name}.json"),
            &task(&name, &json!({ "terminationGracePeriodSeconds": 2 })),
        );
        cube.await_running(&name);
        // What ends is started again.
        let before = container(cube, &name);
        places[0].docker(&["kill", before.as_str().unwrap()]);
        cube.await_status(&name, "that it is started again", |status| {
            status["phase"] == "Running" && status["containerID"] != before
        });
        // What is to go goes.
        cube.remove(&format!("{name}.json"));
        cube.await_true("it is gone", || cube.status(&name).is_null());
        println!(
            "figure: {shown}: a start, a restart and a stop in {:.1} s",
            began.elapsed().as_secs_f64()
        );
        assert_eq!(container(cube, "stays"), stays, "{shown}");
        assert_eq!(container(cube, "probed"), probed, "{shown}");
        assert!(cube.status("stays")["restarts"].is_null(), "{shown}");
    }
    // Whatever it was told to wait until, on a clock that was wrong, it does not wait for that now.
    let failed = cube.status("fails")["restarts"].as_u64().unwrap_or(0);
    cube.await_status("fails", "that it is tried again", |status| {
        status["restarts"].as_u64() > Some(failed)
    });
    cube.remove("fails.json");
    await_settled(cube, places, || Ok(()));
    for name in ["stays", "probed"] {
        assert_eq!(cube.status(name)["phase"], "Running", "{name}");
    }
}

#[test]
#[ignore = "long: dev/chaos runs it"]
fn cube_up_bears_every_clock() {
    let engine = Dockerd::start();
    let mut cube = Cube::new().on_engine(&engine.address());
    let clock = cube.path("clock");
    set(&clock, "+0");
    for (name, value) in variables(&clock) {
        cube = cube.with_variable(name, &value);
    }
    cube.start();
    under_each(&cube, &clock, &[Place::new(&cube.node(), &engine.address())]);
}

#[test]
#[ignore = "long: dev/chaos runs it"]
fn nobody_is_evicted_by_a_managers_clock() {
    let mut cube = Cube::new().without_worker();
    let clock = cube.path("clock");
    set(&clock, "+0");
    for (name, value) in variables(&clock) {
        cube = cube.with_variable(name, &value);
    }
    cube.start();
    let (a, b) = (Worker::start(&cube, "a"), Worker::start(&cube, "b"));
    nobody_is_evicted(&cube, &clock, [&a, &b]);
}

#[test]
#[ignore = "long: dev/chaos runs it"]
fn nobody_is_evicted_by_a_workers_clock() {
    let cube = Cube::manager();
    let clock = cube.path("clock");
    set(&clock, "+0");
    let workers = ["a", "b"].map(|name| {
        let engine = Dockerd::start();
        let mut worker = command(&cube, name, &engine.address());
        worker.envs(variables(&clock));
        let process = Process::spawn(worker);
        let worker = Worker { name, engine, process };
        cube.await_true("the node is ready", || worker.ready(&cube) == "True");
        worker
    });
    nobody_is_evicted(&cube, &clock, [&workers[0], &workers[1]]);
}

fn nobody_is_evicted(cube: &Cube, clock: &Path, workers: [&Worker; 2]) {
    let places = workers.map(|worker| Place::new(worker.name, &worker.engine.address()));
    for number in 0..4 {
        let name = format!("t{number}");
        cube.write(&format!("{name}.json"), &task(&name, &json!({})));
    }
    for number in 0..4 {
        cube.await_running(&format!("t{number}"));
    }
    let there = |worker: &Worker| {
        let mut all = worker.all();
        all.sort();
        all
    };
    let before = workers.map(there);
    let witness = Witness::begin(&places);
    for shown in SHOWN {
        set(clock, shown);
        // Longer than a silence is borne and a toleration lasts, were they reckoned by this clock.
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(8) {
            for worker in workers {
                assert_ne!(worker.ready(cube), "Unknown", "{} at {shown}", worker.name);
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        assert_eq!(workers.map(there), before, "{shown}");
    }
    println!("figure: {} looks", witness.end());
    cube.await_true("all is as it was", || settled(cube, &places).is_ok());
}
