//! Engines that are killed with much that runs.
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::dockerd::Dockerd;
use super::fleet::task;
use super::harness::Cube;
use super::oracle::{Place, Strangers, Witness, await_settled, rest};

#[test]
#[ignore = "long: dev/chaos runs it"]
fn an_engine_is_killed_with_30_running_and_does_not_start_at_once() {
    let mut engine = Dockerd::start();
    let mut cube = Cube::new().on_engine(&engine.address());
    cube.start();
    let places = [Place::new(&cube.node(), &engine.address())];
    let all: Vec<String> = (0..30).map(|number| task(&format!("t{number}"), &json!({}))).collect();
    let file = cube.path("all.yaml");
    std::fs::write(&file, all.join("\n---\n")).unwrap();
    cube.ok(&["apply", "-f", file.to_str().unwrap(), "--wait", "--timeout", "120s"]);
    await_settled(&cube, &places, || Ok(()));
    let witness = Witness::begin(&places);
    let counts = |cube: &Cube| -> BTreeMap<String, u64> {
        let tasks = cube.list("tasks");
        let restarts = |task: &Value| task["status"]["restarts"].as_u64().unwrap_or(0);
        tasks
            .iter()
            .map(|task| (task["metadata"]["name"].as_str().unwrap().to_owned(), restarts(task)))
            .collect()
    };
    let killed = Instant::now();
    // Its containerd lives on, in the way of the next engine.
    engine.kill_alone();
    cube.await_true("the node says that its engine is away", || {
        cube.object("node", &cube.node()).to_string().contains("EngineReady")
    });
    engine.run();
    let back = Instant::now();
    await_settled(&cube, &places, || {
        let tasks = cube.list("tasks");
        let running = tasks.iter().filter(|task| task["status"]["phase"] == "Running").count();
        if running == 30 {
            Ok(())
        } else {
            Err(format!("{running} run"))
        }
    });
    println!(
        "figure: the engine was back after {:.1} s, all 30 as they should {:.1} s later",
        (back - killed).as_secs_f64(),
        back.elapsed().as_secs_f64()
    );
    assert!(
        counts(&cube).values().all(|restarts| *restarts == 0),
        "{:?}",
        counts(&cube)
    );
    rest(&cube, &places, Duration::from_secs(2));
    println!("figure: {} looks", witness.end());
}

#[test]
#[ignore = "long: dev/chaos runs it"]
fn rival_03_nothing_piles_up_over_five_reboots() {
    let mut engine = Dockerd::with_network();
    let mut cube = Cube::new().on_engine(&engine.address());
    cube.start();
    let places = [Place::new(&cube.node(), &engine.address())];
    let strangers = Strangers::make(&places[0]);
    let web = json!({ "replicas": 4, "template": { "spec": { "image": "busybox", "init": true, "command": ["sleep", "100000"],
        "volumes": [{ "name": "v", "emptyDir": {} }], "volumeMounts": [{ "name": "v", "mountPath": "/v" }] } } });
    cube.write("web.json", &super::hands::object("Deployment", "web", &web));
    let ready = |cube: &Cube| {
        let status = cube.object("deployment", "web")["status"].clone();
        if status["readyReplicas"] == 4 {
            Ok(())
        } else {
            Err(status.to_string())
        }
    };
    await_settled(&cube, &places, || ready(&cube));
    let uids = |cube: &Cube| {
        let mut uids: Vec<String> = cube
            .list("tasks")
            .iter()
            .map(|task| task["metadata"]["uid"].to_string())
            .collect();
        uids.sort();
        uids
    };
    let before = uids(&cube);
    drop(strangers);
    for round in 0..5 {
        // As a machine goes down: without a word to Cube, or Cube first.
        if round % 2 == 0 {
            cube.kill()
        } else {
            _ = cube.interrupt()
        }
        engine.signal(if round == 4 {
            rustix::process::Signal::KILL
        } else {
            rustix::process::Signal::TERM
        });
        engine.run();
        cube.start();
        await_settled(&cube, &places, || ready(&cube));
        assert_eq!(places[0].containers().unwrap().len(), 4);
        assert_eq!(uids(&cube), before, "no Task took another's place");
    }
    rest(&cube, &places, Duration::from_secs(2));
}
