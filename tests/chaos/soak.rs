//! Tasks applied and deleted over and over: what there is at the end is what there was at the start.
use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use super::chance::cycles;
use super::dockerd::Dockerd;
use super::harness::{Cube, write};
use super::oracle::{Place, await_settled, rest};

/// Most that the resident memory of Cube may grow from the first third to the end, in KiB: figures of an allocator, no leak.
const GROWTH: u64 = 4096;

fn lines(of: &str) -> u64 {
    of.lines().count() as u64
}

/// All that could be left behind, by its name.
fn census(engine: &Dockerd, cube: &Cube, place: &Place) -> BTreeMap<&'static str, u64> {
    let pid = engine.pid();
    let rules = |table: &str| {
        let mut rules = Command::new("nsenter");
        rules.args([
            "--net",
            "--target",
            &pid.to_string(),
            "iptables",
            "--table",
            table,
            "--list-rules",
        ]);
        lines(&String::from_utf8(rules.output().unwrap().stdout).unwrap())
    };
    let entries = |path: String| std::fs::read_dir(path).map_or(0, |entries| entries.count() as u64);
    let devices = std::fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap();
    let namespaces = engine.path("run/netns/");
    let mounts = std::fs::read_to_string(format!("/proc/{pid}/mounts")).unwrap();
    BTreeMap::from([
        ("containers", lines(&place.docker(&["ps", "--all", "--quiet"]))),
        ("networks", lines(&place.docker(&["network", "ls", "--quiet"]))),
        ("volumes", lines(&place.docker(&["volume", "ls", "--quiet"]))),
        (
            "namespaces",
            mounts.lines().filter(|mount| mount.contains(&namespaces)).count() as u64,
        ),
        // The engine sweeps them up once a minute.
        ("names of namespaces", entries(engine.path("run/netns"))),
        ("devices", lines(&devices)),
        ("rules", rules("filter") + rules("nat")),
        ("descriptors", entries(format!("/proc/{}/fd", cube.pid()))),
        ("threads", entries(format!("/proc/{}/task", cube.pid()))),
    ])
}

/// Resident memory in KiB.
fn memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Ten Tasks: with a network of their namespace, the machine's and none; with ports and empty directories.
fn ten() -> String {
    let ten = (0..10).map(|number| {
        let mut spec = json!({ "image": "busybox", "init": true, "command": ["sleep", "100000"] });
        let fields = spec.as_object_mut().unwrap();
        match number {
            0 => _ = fields.insert("ports".to_owned(), json!([{ "containerPort": 80, "hostPort": 8080 }])),
            1 | 2 => {}
            3 => _ = fields.insert("network".to_owned(), json!("none")),
            _ => _ = fields.insert("network".to_owned(), json!("host")),
        }
        if number % 4 == 1 {
            fields.insert("volumes".to_owned(), json!([{ "name": "v", "emptyDir": {} }]));
            fields.insert("volumeMounts".to_owned(), json!([{ "name": "v", "mountPath": "/v" }]));
        }
        let name = format!("t{number}");
        json!({ "apiVersion": "cube/v1", "kind": "Task", "metadata": { "name": name }, "spec": spec }).to_string()
    });
    ten.collect::<Vec<_>>().join("\n---\n")
}

fn soak(cycles: u64) {
    let engine = Dockerd::with_network();
    let mut cube = Cube::new().on_engine(&engine.address());
    cube.start();
    let place = Place::new(&cube.node(), &engine.address());
    let places = [place.clone()];
    let file = cube.path("ten.yaml");
    write(&file, &ten());
    let file = file.to_str().unwrap().to_owned();
    let round = || {
        cube.ok(&["apply", "-f", &file, "--wait", "--timeout", "60s"]);
        cube.ok(&["delete", "-f", &file, "--timeout", "60s"]);
    };
    // The first round makes what stays: connections, threads, the engine's own chains.
    round();
    await_settled(&cube, &places, || Ok(()));
    rest(&cube, &places, Duration::from_secs(1));
    let before = census(&engine, &cube, &place);
    let began = Instant::now();
    let mut resident = Vec::new();
    for cycle in 1..=cycles {
        round();
        resident.push(memory(cube.pid()));
        if cycle.is_multiple_of(50) {
            println!(
                "cycle {cycle}: {:.0} s, {} KiB",
                began.elapsed().as_secs_f64(),
                memory(cube.pid())
            );
        }
    }
    let took = began.elapsed();
    await_settled(&cube, &places, || Ok(()));
    rest(&cube, &places, Duration::from_secs(1));
    let mut after = census(&engine, &cube, &place);
    let swept = |after: &BTreeMap<&str, u64>| after["names of namespaces"] <= before["names of namespaces"];
    let long = cycles >= 100;
    if long {
        std::thread::sleep(Duration::from_secs(60));
    }
    cube.await_true(
        "what is kept for the next request is let go, and what is swept at times is swept",
        || {
            after = census(&engine, &cube, &place);
            after["descriptors"] <= before["descriptors"] + 2
                && after["threads"] <= before["threads"] + 8
                && (!long || swept(&after))
        },
    );
    let store: u64 = std::fs::read_dir(cube.path("data"))
        .unwrap()
        .flatten()
        .map(|file| file.metadata().unwrap().len())
        .sum();
    let (first, last) = (resident[resident.len() / 3], *resident.last().unwrap());
    println!(
        "figure: {cycles} cycles of 10 Tasks in {:.0} s ({:.2} s each); memory {first} KiB after a third, {last} KiB at the end; store {} KiB; {after:?}",
        took.as_secs_f64(),
        took.as_secs_f64() / cycles as f64,
        store / 1024
    );
    for what in ["containers", "networks", "volumes", "namespaces", "devices", "rules"] {
        assert_eq!(before[what], after[what], "{what}: {before:?} before, {after:?} after");
    }
    if long {
        assert!(last <= first + GROWTH, "memory: {resident:?}");
    }
}

#[test]
fn ten_tasks_come_and_go_and_nothing_is_left() {
    soak(cycles(8));
}

#[test]
#[ignore = "long: dev/chaos runs it"]
fn ten_tasks_come_and_go_1000_times_and_nothing_is_left() {
    soak(cycles(1000));
}
