//! Changes that go wrong: what works stays until there is something better.
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::fleet::Worker;
use super::hands::object;
use super::harness::Cube;
use super::oracle::{Place, Witness, await_settled, rest};

/// What dies a moment after it has begun has been ready until then: to be available takes longer than that.
fn web(replicas: u64, unavailable: u64, more: &Value) -> String {
    let mut spec = json!({ "image": "busybox", "init": true, "network": "none", "command": ["sleep", "100000"],
        "terminationGracePeriodSeconds": 1,
        "readinessProbe": { "exec": { "command": ["true"] }, "periodSeconds": 1 } });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let strategy = json!({ "rollingUpdate": { "maxUnavailable": unavailable, "maxSurge": 1 } });
    object(
        "Deployment",
        "web",
        &json!({ "replicas": replicas, "minReadySeconds": 2, "strategy": strategy, "template": { "spec": spec } }),
    )
}

/// How many Tasks of the Deployment run by the engines' word and are ready by the store's.
fn available(cube: &Cube, places: &[Place]) -> Option<usize> {
    let running: BTreeSet<String> = places
        .iter()
        .filter_map(Place::containers)
        .flatten()
        .filter(|container| container["State"] == "running")
        .filter_map(|container| Some(container["Id"].as_str()?.to_owned()))
        .collect();
    let output = cube.cube(&["get", "tasks", "-o", "json"]);
    let list: Value = serde_json::from_slice(&output.stdout).ok()?;
    let ready = |task: &&Value| {
        let conditions = task["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ready = conditions
            .iter()
            .any(|one| one["type"] == "Ready" && one["status"] == "True");
        ready && running.contains(task["status"]["containerID"].as_str().unwrap_or_default())
    };
    Some(list["items"].as_array()?.iter().filter(ready).count())
}

/// The fewest that were available while something was done.
fn fewest(cube: &Cube, places: &[Place], act: impl FnOnce()) -> usize {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut fewest = usize::MAX;
            while !over.load(Ordering::Relaxed) {
                // Asked one after the other: who ended between is looked at again.
                let now = available(cube, places).unwrap_or(usize::MAX);
                if now < fewest {
                    fewest = fewest.min(now.max(available(cube, places).unwrap_or(now)));
                }
                std::thread::sleep(Duration::from_millis(30));
            }
            fewest
        });
        act();
        over.store(true, Ordering::Relaxed);
        watch.join().unwrap()
    })
}

#[test]
#[ignore = "long: dev/chaos runs it"]
fn a_change_that_cannot_work_takes_away_no_more_than_it_may_and_is_taken_back_whole() {
    let (_engine, cube, place) = super::hands::cube();
    let places = [place];
    let whole = |cube: &Cube| {
        let status = cube.object("deployment", "web")["status"].clone();
        let all = cube.list("tasks").len();
        if status["availableReplicas"] == 4 && status["updatedReplicas"] == 4 && all == 4 {
            return Ok(());
        }
        Err(format!("{all} {status}"))
    };
    let bad = [
        (
            "image",
            json!({ "image": "no-such-image:1", "imagePullPolicy": "Never" }),
        ),
        (
            "probe",
            json!({ "env": [{ "name": "V", "value": "2" }], "readinessProbe": { "exec": { "command": ["false"] }, "periodSeconds": 1 } }),
        ),
        (
            "memory",
            json!({ "command": ["sh", "-c", "x=aaaaaaaaaaaaaaaa; while true; do x=$x$x; done"], "resources": { "limits": { "memory": "16Mi" } } }),
        ),
        ("exit", json!({ "command": ["true"] })),
    ];
    for unavailable in [0, 1] {
        cube.write("web.json", &web(4, unavailable, &json!({})));
        await_settled(&cube, &places, || whole(&cube));
        let template = cube.object("deployment", "web")["spec"]["template"].clone();
        for (name, more) in &bad {
            let ids = |cube: &Cube| -> BTreeSet<String> {
                let tasks = cube.list("tasks");
                tasks
                    .iter()
                    .map(|task| task["status"]["containerID"].to_string())
                    .collect()
            };
            let before = ids(&cube);
            let mut kept = BTreeSet::new();
            let least = fewest(&cube, &places, || {
                cube.write("web.json", &web(4, unavailable, more));
                cube.await_true("the change is under way", || {
                    cube.object("deployment", "web")["status"]["updatedReplicas"] != 4
                });
                // Long enough for what exits at once to have been ready for a moment, again and again.
                let began = Instant::now();
                cube.await_true("it goes on", || began.elapsed() > Duration::from_secs(5));
                kept = ids(&cube);
                cube.write("web.json", &web(4, unavailable, &json!({})));
                await_settled(&cube, &places, || whole(&cube));
            });
            let unavailable = usize::try_from(unavailable).unwrap();
            println!("figure: {name}: {least} of 4 at the least, maxUnavailable {unavailable}");
            assert!(least >= 4 - unavailable, "{name}: {least} were available");
            assert_eq!(cube.object("deployment", "web")["spec"]["template"], template, "{name}");
            let survivors = before.intersection(&ids(&cube)).count();
            assert!(survivors >= 4 - unavailable, "{name}: {survivors} of the old were left");
        }
    }
    rest(&cube, &places, Duration::from_secs(2));
}

#[test]
#[ignore = "long: dev/chaos runs it"]
fn a_node_is_drained_while_another_dies() {
    let cube = Cube::manager();
    let mut workers = ["a", "b", "c"].map(|name| Worker::start(&cube, name));
    let places = workers
        .each_ref()
        .map(|worker| Place::new(worker.name, &worker.engine.address()));
    let tolerations = json!([{ "key": "cube/unreachable", "operator": "Exists", "tolerationSeconds": 1 }]);
    cube.write("web.json", &web(6, 1, &json!({ "tolerations": tolerations })));
    let ready = |cube: &Cube| cube.object("deployment", "web")["status"]["availableReplicas"] == 6;
    cube.await_true("all are available", || ready(&cube));
    let witness = Witness::begin(&places);
    // By the store alone: what runs at the dead node's engine is there, and nobody says so.
    let dead = workers[2].all().len();
    let mut drain = cube.begin(&["drain", "b", "--timeout", "120s"]);
    let mut least = 6;
    workers[2].process.signal(Signal::KILL);
    let began = Instant::now();
    cube.await_true("all are available again, on what is left", || {
        let status = cube.object("deployment", "web")["status"].clone();
        least = least.min(status["availableReplicas"].as_u64().unwrap_or(0));
        let on_a = cube
            .list("tasks")
            .iter()
            .filter(|task| task["status"]["node"] == "a")
            .count();
        status["availableReplicas"] == 6 && on_a == 6
    });
    let status = drain.wait().unwrap();
    println!(
        "figure: {least} of 6 at the least, {dead} on the node that died, whole after {:.1} s",
        began.elapsed().as_secs_f64()
    );
    assert!(status.success(), "the drain ends");
    assert!(least as usize >= 6 - dead - 1, "{least}");
    // The dead node comes back, and its copies end.
    workers[2].process.kill();
    workers[2].start_again(&cube);
    cube.await_true("nothing is left there", || {
        workers[2].all().is_empty() && workers[1].all().is_empty()
    });
    assert!(ready(&cube));
    // While it was cut off copies ran on, as they may.
    drop(witness);
    await_settled(&cube, &places, || Ok(()));
}
