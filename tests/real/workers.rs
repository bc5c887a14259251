//! Manager and workers as processes of their own, each worker with an engine of its own.
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::dockerd::Dockerd;
use super::fleet::{Worker, task};
use super::harness::{Cube, Process, docker, shown};

#[test]
fn a_manager_or_a_worker_that_is_killed_stops_nothing_and_all_is_caught_up() {
    let mut cube = Cube::manager();
    let mut a = Worker::start(&cube, "a");
    cube.write("t.json", &task("t", &json!({})));
    cube.write(
        "job.json",
        &task("job", &json!({ "restartPolicy": "Never", "command": ["true"] })),
    );
    cube.await_running("t");
    cube.await_status("job", "that it is done", |status| status["phase"] == "Completed");
    let first = a.running("t");
    cube.await_true("the output comes over the link", || {
        cube.cube(&["logs", "t", "--tail", "1"]).stdout.starts_with(b"line ")
    });
    let before = cube.status("t");

    // The manager is away: what ends is started again all the same, also by a worker that has been killed meanwhile.
    cube.kill();
    docker(Some(&a.engine.address()), &["kill", &first[0]]);
    cube.await_true("it is started again", || {
        a.running("t").len() == 1 && a.running("t") != first
    });
    let second = a.running("t");
    cube.await_true("the worker has written that down", || {
        std::fs::read_to_string(cube.path("a/worker/assignments"))
            .unwrap()
            .contains("\"restarts\":1")
    });
    a.process.kill();
    assert_eq!(a.running("t"), second);
    let contact = || std::fs::read_to_string(cube.path("a/worker/contact")).unwrap();
    let before_it = contact();
    a.start_again(&cube);
    cube.await_true("the worker has seen its engine", || contact() != before_it);
    docker(Some(&a.engine.address()), &["kill", &second[0]]);
    cube.await_true("it is started again by the second worker", || {
        a.running("t").len() == 1 && a.running("t") != second
    });
    let third = a.running("t");

    cube.start();
    let status = cube.await_status("t", "that the manager has caught up", |status| {
        status["containerID"] == third[0].as_str() && status["restarts"] == 2
    });
    assert_eq!(status["epoch"], before["epoch"]);
    assert_eq!(cube.status("job")["phase"], "Completed");
    assert_eq!(a.running("job"), [] as [&str; 0], "what was over was not run again");
    assert_eq!(a.running("t"), third);

    // What is deleted while the worker is away goes when it is back.
    a.process.kill();
    cube.remove("t.json");
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(a.running("t"), third);
    a.start_again(&cube);
    cube.await_true("the Task goes with its container", || {
        cube.status("t").is_null() && a.all().is_empty()
    });
}

#[test]
fn a_worker_that_is_taken_down_brings_all_back_and_nothing_of_it_is_a_failure() {
    let cube = Cube::manager();
    let (mut a, b) = (Worker::start(&cube, "a"), Worker::start(&cube, "b"));
    for name in ["a", "b"] {
        cube.write(
            &format!("{name}.json"),
            &task(name, &json!({ "nodeSelector": { "cube/node": name } })),
        );
    }
    cube.await_running("a");
    cube.await_running("b");
    let of_b = b.running("b");
    let (data, address) = (cube.path("a"), a.engine.address());
    let said = cube.ok(&[
        "down",
        "--yes",
        "--data-dir",
        data.to_str().unwrap(),
        "--docker-host",
        &address,
    ]);
    assert!(said.contains("removed 1 container "), "{said}");
    assert_eq!(a.all(), [] as [&str; 0]);
    a.start_again(&cube);
    let status = cube.await_status("a", "that it runs again", |status| {
        a.running("a")
            .first()
            .is_some_and(|id| status["containerID"] == id.as_str())
    });
    assert!(
        status["restarts"].is_null() && status["lastTermination"].is_null(),
        "{status}"
    );
    assert_eq!(b.running("b"), of_b);
}

#[test]
fn a_second_worker_of_a_name_is_refused_and_touches_nothing() {
    let cube = Cube::manager();
    let a = Worker::start(&cube, "a");
    cube.write("t.json", &task("t", &json!({})));
    cube.await_running("t");
    let there = a.running("t");
    let data = cube.path("other");
    let address = a.engine.address();
    let second = cube.cube(&[
        "worker",
        "--node-name",
        "a",
        "--data-dir",
        data.to_str().unwrap(),
        "--docker-host",
        &address,
    ]);
    let said = shown(&second);
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(
        said.contains("node a is another worker's") && said.contains("hint: use another --node-name"),
        "{said}"
    );
    assert_eq!(a.running("t"), there);
    assert_eq!(a.ready(&cube), "True");
}

#[test]
fn a_worker_that_stands_still_loses_its_tasks_and_stops_them_when_it_goes_on() {
    let cube = Cube::manager();
    let (a, b) = (Worker::start(&cube, "a"), Worker::start(&cube, "b"));
    let on_b = json!({ "nodeSelector": { "cube/node": "b" } });
    let mut kept = on_b.clone();
    kept["volumes"] = json!([{ "name": "v", "volume": "cube-test-data" }]);
    kept["volumeMounts"] = json!([{ "name": "v", "mountPath": "/data" }]);
    cube.write("kept.json", &task("kept", &kept));
    cube.ok(&["cordon", "a"]);
    cube.write("moves.json", &task("moves", &json!({})));
    cube.await_running("kept");
    cube.await_running("moves");
    cube.ok(&["uncordon", "a"]);
    let (of_kept, of_moves) = (b.running("kept"), b.running("moves"));
    assert_eq!((of_kept.len(), of_moves.len()), (1, 1));

    b.process.signal(Signal::STOP);
    cube.await_true("the node is not ready", || b.ready(&cube) == "Unknown");
    let moved = cube.await_status("moves", "that it runs elsewhere", |status| {
        status["node"] == "a" && status["phase"] == "Running"
    });
    assert_eq!(a.running("moves").len(), 1);
    let stranded = cube.await_status("kept", "that it waits for its node", |status| {
        status["reason"] == "Stranded"
    });
    assert_eq!(stranded["node"], "b");
    let message = stranded["message"].as_str().unwrap();
    assert!(
        message.contains("volume cube-test-data") && message.contains("cube node delete b"),
        "{message}"
    );
    assert_eq!(b.running("moves"), of_moves, "nobody could stop it");

    b.process.signal(Signal::CONT);
    cube.await_true("the copy is stopped", || b.running("moves").is_empty());
    cube.await_running("kept");
    assert_eq!(b.running("kept"), of_kept, "what is still its own was not touched");
    assert_eq!(cube.status("moves")["epoch"], moved["epoch"], "it moved once");
    assert_eq!(a.running("moves").len(), 1);
    assert_eq!(b.ready(&cube), "True");
}

#[test]
fn a_drained_node_is_left_by_all_that_can_leave() {
    let cube = Cube::manager();
    let (a, b) = (Worker::start(&cube, "a"), Worker::start(&cube, "b"));
    let template: Value = serde_json::from_str(&task("x", &json!({}))).unwrap();
    let web = json!({
        "apiVersion": "cube/v1", "kind": "Deployment", "metadata": { "name": "web" },
        "spec": { "replicas": 4, "template": { "spec": template["spec"] },
                  "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 0 } } },
    });
    cube.write("web.json", &web.to_string());
    cube.await_true("all run", || a.all().len() == 2 && b.all().len() == 2);
    cube.await_true("all are ready", || {
        cube.object("deployment", "web")["status"]["readyReplicas"] == 4
    });
    let said = cube.ok(&["drain", "b", "--timeout", "60s"]);
    assert!(said.contains("node/b is drained"), "{said}");
    cube.await_true("all run on the other", || a.all().len() == 4 && b.all().is_empty());
    assert_eq!(cube.object("deployment", "web")["status"]["readyReplicas"], 4);
    assert!(cube.ok(&["get", "nodes"]).contains("Ready,Drained"));
    cube.ok(&["uncordon", "b"]);
    cube.await_true("it takes Tasks again", || {
        !cube.ok(&["get", "nodes"]).contains("Drained")
    });
}

#[test]
fn a_volume_draws_its_tasks_to_its_node_until_the_node_is_struck_off() {
    let cube = Cube::manager();
    let (a, mut b) = (Worker::start(&cube, "a"), Worker::start(&cube, "b"));
    let db = json!({
        "volumes": [{ "name": "v", "volume": "cube-test-db" }],
        "volumeMounts": [{ "name": "v", "mountPath": "/data" }],
    });
    cube.ok(&["cordon", "a"]);
    cube.write("db.json", &task("db", &db));
    cube.await_running("db");
    cube.ok(&["uncordon", "a"]);
    cube.remove("db.json");
    cube.await_true("it is gone", || cube.status("db").is_null());
    cube.await_true("the node tells of its volume", || {
        let volumes = cube.object("node", "b")["status"]["volumes"].clone();
        volumes
            .as_array()
            .is_some_and(|volumes| volumes.contains(&json!("cube-test-db")))
    });
    // The other node has as much room, and is the first by name.
    cube.write("db.json", &task("db", &db));
    assert_eq!(cube.await_running("db")["node"], "b");

    b.process.kill();
    cube.await_status("db", "that it waits for its node", |status| {
        status["reason"] == "Stranded"
    });
    cube.ok(&["node", "delete", "b", "--yes"]);
    assert_eq!(cube.await_running("db")["node"], "a");
    // Its worker comes back, and finds that it is not its Task any more.
    b.start_again(&cube);
    cube.await_true("the older copy is stopped", || b.all().is_empty());
    assert_eq!(a.running("db").len(), 1);
}

#[test]
fn a_node_whose_clock_is_an_hour_off_is_like_any_other() {
    let cube = Cube::manager();
    let engine = Dockerd::start();
    let data = cube.path("a");
    let (data, address) = (data.to_str().unwrap(), engine.address());
    let worker = cube.command(&[
        "worker",
        "--node-name",
        "a",
        "--data-dir",
        data,
        "--docker-host",
        &address,
    ]);
    let mut late = std::process::Command::new("faketime");
    late.args(["-f", "+1h"])
        .arg(worker.get_program())
        .args(worker.get_args());
    late.envs(worker.get_envs().filter_map(|(name, value)| Some((name, value?))));
    late.env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .stdin(std::process::Stdio::null());
    let worker = Worker {
        name: "a",
        engine,
        process: Process::spawn(late),
    };
    cube.write("t.json", &task("t", &json!({})));
    let status = cube.await_running("t");
    assert_eq!(worker.ready(&cube), "True");
    let conditions = status["conditions"].as_array().unwrap();
    let ready = conditions
        .iter()
        .find(|condition| condition["type"] == "Ready")
        .unwrap();
    let time = |value: &Value| value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let since = time(&ready["lastTransitionTime"]);
    let created = time(&cube.object("task", "t")["metadata"]["creationTimestamp"]);
    let after = since.duration_since(created);
    assert!(
        after < jiff::SignedDuration::from_mins(5),
        "both are of the manager's clock: {after}"
    );
    let first = worker.running("t");
    docker(Some(&worker.engine.address()), &["kill", &first[0]]);
    cube.await_true("it is started again", || {
        worker.running("t").len() == 1 && worker.running("t") != first
    });
    cube.await_true("an Event tells of it, as of now", || {
        cube.ok(&["events"]).lines().any(|line| {
            line.contains("Restarting") && line.split_whitespace().next().is_some_and(|age| age.ends_with('s'))
        })
    });
}

#[test]
fn a_program_is_run_on_whichever_worker_and_a_worker_that_goes_is_told() {
    let cube = Cube::manager();
    let mut a = Worker::start(&cube, "a");
    cube.write("t.json", &task("t", &json!({})));
    cube.await_running("t");
    let ran = cube.cube(&["exec", "t", "--", "sh", "-c", "hostname; echo alas >&2; exit 3"]);
    assert_eq!(ran.status.code(), Some(3), "{}", shown(&ran));
    assert_eq!((&ran.stdout[..], &ran.stderr[..]), (&b"t\n"[..], &b"alas\n"[..]));
    let mut cat = cube.command(&["exec", "-i", "t", "cat"]);
    let mut cat = cat.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = cat.stdin.take().unwrap();
    let writing = std::thread::spawn(move || stdin.write_all(&vec![b'x'; 5 << 20]));
    let output = cat.wait_with_output().unwrap();
    writing.join().unwrap().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 5 << 20));

    let mut sleeping = cube.command(&["exec", "t", "--", "sh", "-c", "echo up; sleep 8642"]);
    let mut sleeping = sleeping.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let stdout = sleeping.stdout.take().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    assert_eq!(line, "up\n");
    a.process.kill();
    let output = sleeping.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
    assert!(shown(&output).contains("broke off"), "{}", shown(&output));
    let away = cube.cube(&["exec", "t", "true"]);
    assert_eq!(away.status.code(), Some(1), "{}", shown(&away));
    assert!(
        shown(&away).contains("worker of node a is not there"),
        "{}",
        shown(&away)
    );
    a.start_again(&cube);
    cube.await_true("it can be reached again", || {
        cube.cube(&["exec", "t", "true"]).status.success()
    });
}

#[test]
fn figures_come_from_every_worker_and_one_that_hangs_holds_up_nobody() {
    let cube = Cube::manager();
    let a = Worker::start(&cube, "a");
    let b = Worker::start(&cube, "b");
    for node in ["a", "b"] {
        cube.write(
            &format!("{node}.json"),
            &task(node, &json!({ "nodeSelector": { "cube/node": node } })),
        );
    }
    cube.await_running("a");
    cube.await_running("b");
    let told = |what: &str| -> Vec<Value> {
        let told: Value = serde_json::from_str(&cube.ok(&["top", what, "-o", "json"])).unwrap();
        told["items"].as_array().unwrap().clone()
    };
    let cpu = |items: &[Value], name: &str| {
        let of = items.iter().find(|item| item["name"] == name).unwrap();
        of.pointer("/usage/cpu/usageNanoCores").is_some()
    };
    for what in ["tasks", "nodes"] {
        let items = told(what);
        assert!(cpu(&items, "a") && cpu(&items, "b"), "{items:?}");
    }
    a.process.signal(Signal::STOP);
    let began = Instant::now();
    let items = told("tasks");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(!cpu(&items, "a") && cpu(&items, "b"), "{items:?}");
    let shown = cube.ok(&["top", "nodes"]);
    let row = shown.lines().find(|line| line.starts_with("a ")).unwrap();
    assert!(row.contains(" -  ") && row.contains("worker"), "{shown}");
    a.process.signal(Signal::CONT);
    drop(b);
}
