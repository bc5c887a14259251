//! What a fleet must stand: processes killed in the middle of something, engines that go, nodes that are lost.
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::fleet::{Worker, process, task};
use super::harness::{Cube, docker, shown};

/// Waits a moment that differs from round to round: what is to be interrupted takes some hundred milliseconds.
fn a_moment(round: u64, most: u64) {
    std::thread::sleep(Duration::from_millis(round * 37 % most));
}

/// How many containers of each Task there are on these engines, running or not.
fn containers(workers: &[&Worker]) -> BTreeMap<String, usize> {
    let mut count = BTreeMap::new();
    for worker in workers {
        let format = "{{.Label \"cube.task\"}}";
        let listed = docker(Some(&worker.engine.address()), &["ps", "--all", "--format", format]);
        for task in listed.lines() {
            *count.entry(task.to_owned()).or_default() += 1;
        }
    }
    count
}

#[test]
fn a_worker_that_is_killed_amid_a_start_or_a_stop_ends_where_it_would_have() {
    let cube = Cube::manager();
    let mut a = Worker::start(&cube, "a");
    // It takes its time to stop, so that there is a middle to it.
    let slow = json!({ "init": false, "terminationGracePeriodSeconds": 2,
        "command": ["sh", "-c", "trap '' TERM; while true; do sleep 1; done"] });
    for round in 0..6 {
        // Amid a start.
        cube.write(
            "starts.json",
            &task(
                "starts",
                &json!({ "env": [{ "name": "N", "value": round.to_string() }] }),
            ),
        );
        cube.write("slow.json", &task("slow", &slow));
        a_moment(round + 3, 500);
        a.process.kill();
        a.start_again(&cube);
        cube.await_true("this round's container runs", || {
            let status = cube.status("starts");
            status["phase"] == "Running"
                && cube.object("task", "starts")["metadata"]["generation"] == status["observedGeneration"]
        });
        cube.await_running("slow");
        cube.await_true("one container each", || {
            containers(&[&a]) == BTreeMap::from([("slow".to_owned(), 1), ("starts".to_owned(), 1)])
        });
        // Amid a stop.
        cube.remove("slow.json");
        cube.await_true("it is being stopped", || {
            !cube.object("task", "slow")["metadata"]["deletionTimestamp"].is_null()
        });
        a_moment(round + 1, 300);
        a.process.kill();
        a.start_again(&cube);
        cube.await_true("it is gone", || cube.status("slow").is_null());
        assert_eq!(containers(&[&a]), BTreeMap::from([("starts".to_owned(), 1)]));
    }
    assert_eq!(
        cube.status("starts")["restarts"],
        Value::Null,
        "nothing of it was a failure"
    );
}

#[test]
fn a_worker_that_comes_before_its_manager_goes_on_with_what_was_begun() {
    let mut cube = Cube::manager();
    let mut a = Worker::start(&cube, "a");
    let slow = json!({ "init": false, "terminationGracePeriodSeconds": 3,
        "command": ["sh", "-c", "trap '' TERM; while true; do sleep 1; done"] });
    cube.write("slow.json", &task("slow", &slow));
    cube.await_running("slow");
    cube.remove("slow.json");
    let contact = || std::fs::read_to_string(cube.path("a/worker/contact")).unwrap();
    cube.await_status("slow", "that it is being stopped", |status| {
        status["reason"] == "Stopping"
    });
    // What the worker knows of it is then just what the manager will say of it.
    cube.await_true("the worker has written that down", || {
        let written = std::fs::read_to_string(cube.path("a/worker/assignments")).unwrap();
        written.contains("Stopping")
    });
    let before = contact();
    a.process.kill();
    cube.signal(Signal::KILL);
    a.start_again(&cube);
    await_true("it has seen its engine", || contact() != before);
    cube.await_end();
    cube.start();
    cube.await_true("it is gone", || cube.status("slow").is_null() && a.all().is_empty());
}

#[test]
fn a_worker_that_is_killed_amid_a_pull_begins_it_anew_and_gives_it_up_as_any_other() {
    let cube = Cube::manager();
    // On the machine's own engine: the tests' own have no network.
    let engine = std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned());
    let node = cube.node();
    let mut worker = process(&cube, &node, &engine);
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let image = format!("127.0.0.1:{}/a:b", deaf.local_addr().unwrap().port());
    cube.write("t.json", &task("t", &json!({ "image": image })));
    for _ in 0..2 {
        cube.await_status("t", "that it is being pulled", |status| status["reason"] == "Pulling");
        let (asked, _) = deaf.accept().unwrap();
        worker.kill();
        worker = process(&cube, &node, &engine);
        drop(asked);
    }
    cube.write("t.json", &task("t", &json!({})));
    let status = cube.await_running("t");
    assert_eq!(status["restarts"], Value::Null);
    assert_eq!(cube.containers(&[]).len(), 1);
    cube.remove("t.json");
    cube.await_true("nothing is left", || {
        cube.status("t").is_null() && cube.containers(&[]).is_empty()
    });
    worker.kill();
}

#[test]
fn a_manager_that_is_killed_at_any_moment_of_a_placement_places_each_task_once() {
    let mut cube = Cube::manager();
    let (a, b) = (Worker::start(&cube, "a"), Worker::start(&cube, "b"));
    let mut wished = BTreeMap::new();
    for round in 0..6 {
        for number in 0..4 {
            let name = format!("t-{round}-{number}");
            cube.write(&format!("{name}.json"), &task(&name, &json!({})));
            wished.insert(name, 1);
        }
        a_moment(round + 1, 120);
        cube.kill();
        cube.start();
    }
    cube.await_true("each runs once", || {
        let tasks = cube.list("tasks");
        tasks.len() == wished.len()
            && tasks.iter().all(|task| task["status"]["phase"] == "Running")
            && containers(&[&a, &b]) == wished
    });
    for task in cube.list("tasks") {
        assert!(task["status"]["restarts"].is_null(), "{task}");
    }
    let of = |worker: &Worker| worker.all().len();
    assert_eq!((of(&a), of(&b)), (12, 12), "evenly");
}

#[test]
fn probes_and_what_comes_of_them_go_on_without_a_manager() {
    let mut cube = Cube::manager();
    let mut a = Worker::start(&cube, "a");
    let probe =
        json!({ "exec": { "command": ["sh", "-c", "test ! -e /dead"] }, "periodSeconds": 1, "failureThreshold": 2 });
    let spec = json!({ "livenessProbe": probe, "readinessProbe": probe, "terminationGracePeriodSeconds": 1 });
    cube.write("t.json", &task("t", &spec));
    cube.await_status("t", "that it is ready", |status| {
        status["probes"][0]["result"] == "Success"
    });
    let address = a.engine.address();
    let dies = |a: &Worker| {
        let before = a.running("t");
        docker(Some(&address), &["exec", &before[0], "touch", "/dead"]);
        await_true("it is started again", || {
            let now = a.running("t");
            now.len() == 1 && now != before
        });
    };
    cube.kill();
    dies(&a);
    // A worker that begins without a manager goes on by what the one before wrote down.
    await_true("that is written down", || {
        let written = std::fs::read_to_string(cube.path("a/worker/assignments")).unwrap();
        written.contains("\"restarts\":1")
    });
    a.process.kill();
    a.start_again(&cube);
    dies(&a);
    cube.start();
    let status = cube.await_status("t", "that the manager has caught up", |status| status["restarts"] == 2);
    assert_eq!(status["lastTermination"]["reason"], "Unhealthy", "{status}");
}

/// Waits for something that no manager has to be asked about.
fn await_true(what: &str, mut is: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is() {
        assert!(began.elapsed() < super::harness::LIMIT, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_crash_loop_on_each_of_three_nodes_harms_nobody() {
    let cube = Cube::manager();
    let workers = [
        Worker::start(&cube, "a"),
        Worker::start(&cube, "b"),
        Worker::start(&cube, "c"),
    ];
    let deployment = |name: &str, command: &str| {
        let template: Value = serde_json::from_str(&task("x", &json!({ "command": ["sh", "-c", command] }))).unwrap();
        let mut spec = template["spec"].clone();
        spec["topologySpreadConstraints"] = json!([{ "maxSkew": 1, "topologyKey": "cube/node", "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": { "matchLabels": { "app": name } } }]);
        json!({ "apiVersion": "cube/v1", "kind": "Deployment", "metadata": { "name": name },
                "spec": { "replicas": 3, "template": { "metadata": { "labels": { "app": name } }, "spec": spec } } })
        .to_string()
    };
    cube.write("crash.json", &deployment("crash", "echo oh no; exit 3"));
    cube.write("well.json", &deployment("well", "exec sleep 100000"));
    cube.await_true("the well run", || {
        cube.object("deployment", "well")["status"]["readyReplicas"] == 3
    });
    let of = |name: &str| {
        let tasks = cube.list("tasks");
        tasks
            .into_iter()
            .filter(move |task| task["metadata"]["labels"]["app"] == name)
            .collect::<Vec<_>>()
    };
    let crashed = cube.await_some("three crash loops", || {
        let tasks = of("crash");
        let loops =
            |task: &Value| task["status"]["restarts"].as_u64() >= Some(3) && task["status"]["reason"] == "BackOff";
        (tasks.len() == 3 && tasks.iter().all(loops)).then_some(tasks)
    });
    let mut nodes: Vec<&str> = crashed
        .iter()
        .map(|task| task["status"]["node"].as_str().unwrap())
        .collect();
    nodes.sort_unstable();
    assert_eq!(nodes, ["a", "b", "c"], "one on each");
    for task in &crashed {
        assert_eq!(task["status"]["message"], "exit 3: oh no");
    }
    for task in of("well") {
        assert!(
            task["status"]["restarts"].is_null() && task["status"]["phase"] == "Running",
            "{task}"
        );
    }
    assert!(workers.iter().all(|worker| worker.ready(&cube) == "True"));
    cube.remove("crash.json");
    cube.await_true("the crashing ones are gone, and nothing of them is left", || {
        of("crash").is_empty() && workers.iter().all(|worker| worker.all().len() == 1)
    });
}

#[test]
fn an_engine_that_is_gone_for_a_minute_is_told_its_tasks_move_and_its_copies_end_when_it_is_back() {
    let cube = Cube::manager();
    let (mut a, b) = (Worker::start(&cube, "a"), Worker::start(&cube, "b"));
    // A short one sits it out where it is, the other is moved after its half minute.
    let on_a = json!({ "affinity": { "nodeAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [
        { "weight": 100, "preference": { "matchExpressions": [{ "key": "cube/node", "operator": "In", "values": ["a"] }] } }] } } });
    let mut stays = on_a.clone();
    stays["tolerations"] = json!([{ "operator": "Exists" }]);
    cube.write("moves.json", &task("moves", &on_a));
    cube.write("stays.json", &task("stays", &stays));
    for name in ["moves", "stays"] {
        assert_eq!(cube.await_running(name)["node"], "a");
    }
    let gone = Instant::now();
    a.engine.signal(Signal::KILL);
    cube.await_true("the node says why it is not ready", || {
        a.ready(&cube) == "False"
            && cube
                .ok(&["get", "nodes"])
                .lines()
                .any(|line| line.starts_with("a ") && line.contains("engine"))
    });
    // Nothing is said of containers that nobody can see.
    assert_eq!(cube.status("stays")["phase"], "Running");
    cube.await_status("moves", "that it runs elsewhere", |status| {
        status["node"] == "b" && status["phase"] == "Running"
    });
    // Since when it is not ready is kept in whole seconds.
    assert!(
        gone.elapsed() > Duration::from_secs(29),
        "not before its toleration: {:?}",
        gone.elapsed()
    );
    std::thread::sleep(Duration::from_secs(60).saturating_sub(gone.elapsed()));
    a.engine.run();
    cube.await_true("the node is ready", || a.ready(&cube) == "True");
    cube.await_true("each runs once, where it should", || {
        a.running("stays").len() == 1 && a.running("moves").is_empty() && b.running("moves").len() == 1
    });
    let status = cube.await_status("stays", "that its new container is told", |status| {
        status["phase"] == "Running" && status["containerID"] == a.running("stays")[0].as_str()
    });
    assert_eq!(
        status["restarts"],
        Value::Null,
        "to end with its engine is nobody's failure: {status}"
    );
    assert_eq!(cube.status("moves")["node"], "b", "it does not come back by itself");
}

#[test]
fn a_node_that_is_lost_while_it_drains_is_left_all_the_same() {
    let cube = Cube::manager();
    let (a, mut b) = (Worker::start(&cube, "a"), Worker::start(&cube, "b"));
    // What is stopped takes longer than the test: the drain cannot end before the node is lost.
    let slow = json!({ "init": false, "terminationGracePeriodSeconds": 600,
        "command": ["sh", "-c", "trap '' TERM; while true; do sleep 1; done"] });
    let template: Value = serde_json::from_str(&task("x", &slow)).unwrap();
    let web = json!({
        "apiVersion": "cube/v1", "kind": "Deployment", "metadata": { "name": "web" },
        "spec": { "replicas": 4, "template": { "spec": template["spec"] },
                  "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 0, "maxSurge": 2 } } },
    });
    cube.write("web.json", &web.to_string());
    cube.await_true("two run on each", || a.all().len() == 2 && b.all().len() == 2);
    cube.await_true("all are ready", || {
        cube.object("deployment", "web")["status"]["readyReplicas"] == 4
    });
    let mut drain = cube.begin(&["drain", "b", "--timeout", "100s"]);
    cube.await_true("the drain is on its way", || a.all().len() > 2);
    b.process.kill();
    cube.await_true("all run on the other, and the Deployment is whole", || {
        let status = cube.object("deployment", "web")["status"].clone();
        let on_a = cube.list("tasks");
        let running = on_a
            .iter()
            .filter(|task| task["status"]["node"] == "a" && task["status"]["phase"] == "Running");
        running.count() == 4 && status["readyReplicas"] == 4
    });
    let began = Instant::now();
    let code = loop {
        if let Some(status) = drain.try_wait().unwrap() {
            break status.code();
        }
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "{}",
            shown(&cube.cube(&["get", "tasks,nodes"]))
        );
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!(code, Some(0), "{}", shown(&cube.cube(&["get", "tasks,nodes"])));
    // Its worker comes back, and stops what is no longer its own.
    b.start_again(&cube);
    cube.await_true("it is told apart", || b.ready(&cube) == "True");
    assert_eq!(cube.object("deployment", "web")["status"]["readyReplicas"], 4);
}

#[test]
fn labels_and_taints_that_change_under_running_tasks_move_only_who_must_go() {
    let cube = Cube::manager();
    let (a, b) = (Worker::start(&cube, "a"), Worker::start(&cube, "b"));
    let node = |merge: Value| {
        let code = cube.patch("/apis/cube/v1/nodes/a", &merge.to_string());
        assert_eq!(code, 200, "{merge}");
    };
    node(json!({ "metadata": { "labels": { "disk": "ssd" } } }));
    let on_ssd = json!({ "nodeSelector": { "disk": "ssd" } });
    let mut bears = on_ssd.clone();
    bears["tolerations"] = json!([{ "key": "gpu", "operator": "Exists" }]);
    cube.write("goes.json", &task("goes", &on_ssd));
    cube.write("bears.json", &task("bears", &bears));
    for name in ["goes", "bears"] {
        assert_eq!(cube.await_running(name)["node"], "a");
    }
    let (goes, bears) = (a.running("goes"), a.running("bears"));
    // Who runs is not asked again whether they fit.
    node(json!({ "metadata": { "labels": { "disk": null } } }));
    node(json!({ "spec": { "taints": [{ "key": "gpu", "effect": "NoSchedule" }] } }));
    cube.write("new.json", &task("new", &json!({})));
    assert_eq!(cube.await_running("new")["node"], "b");
    assert_eq!((a.running("goes"), a.running("bears")), (goes, bears.clone()));

    node(json!({ "spec": { "taints": [{ "key": "gpu", "effect": "NoExecute" }] } }));
    let status = cube.await_status("goes", "that no node takes it", |status| {
        status["node"].is_null() && status["reason"] == "Unschedulable"
    });
    assert!(a.running("goes").is_empty());
    assert!(status["message"].as_str().unwrap().contains("disk=ssd"), "{status}");
    assert_eq!(a.running("bears"), bears, "who bears it stays");
    node(json!({ "metadata": { "labels": { "disk": "ssd" } }, "spec": { "taints": null } }));
    assert_eq!(cube.await_running("goes")["node"], "a");
    assert_eq!(b.all().len(), 1);
}

/// A figure of docs/benchmarks.md, which says how it is run; no test of every day.
#[test]
#[ignore = "a figure, for a machine that does nothing else"]
fn the_loss_of_one_of_three_nodes_with_30_tasks() {
    let cube = Cube::manager();
    let (a, b) = (Worker::start(&cube, "a"), Worker::start(&cube, "b"));
    let mut c = Worker::start(&cube, "c");
    for number in 0..30 {
        let name = format!("t{number}");
        cube.write(&format!("{name}.json"), &task(&name, &json!({})));
    }
    cube.await_true("ten on each", || {
        [&a, &b, &c].iter().all(|worker| worker.all().len() == 10)
    });
    let straight = straight(&[&a, &b]);
    let lost = Instant::now();
    c.process.kill();
    let mut told = None;
    cube.await_true("all run elsewhere", || {
        if told.is_none() && c.ready(&cube) == "Unknown" {
            told = Some(lost.elapsed());
        }
        let tasks = cube.list("tasks");
        tasks
            .iter()
            .all(|task| task["status"]["node"] != "c" && task["status"]["phase"] == "Running")
    });
    println!(
        "lost: not ready after {:.2} s, all 30 running after {:.2} s; grace 15 s and toleration 1 s; ten starts straight on the engines: {:.2} s",
        told.unwrap_or_default().as_secs_f64(),
        lost.elapsed().as_secs_f64(),
        straight.as_secs_f64()
    );
}

/// How long these engines need for ten containers of the same kind, five each, four under way.
fn straight(workers: &[&Worker]) -> Duration {
    use cube::engine::{ContainerSpec, DockerEngine, Engine as _};
    use futures_util::StreamExt as _;

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let began = Instant::now();
    runtime.block_on(async {
        let engines: Vec<DockerEngine> = workers
            .iter()
            .map(|worker| DockerEngine::connect(Some(&worker.engine.address())).unwrap())
            .collect();
        let started = futures_util::stream::iter(0..10).map(|number| {
            let engine = &engines[number % engines.len()];
            async move {
                let spec = ContainerSpec {
                    name: format!("straight-{number}"),
                    image: "busybox".to_owned(),
                    command: Some(vec!["sleep".to_owned(), "100000".to_owned()]),
                    init: true,
                    ..ContainerSpec::default()
                };
                let id = engine.create(&spec).await.unwrap();
                engine.start(&id).await.unwrap();
            }
        });
        started.buffer_unordered(4).collect::<Vec<()>>().await;
    });
    let took = began.elapsed();
    for worker in workers {
        let address = worker.engine.address();
        let ids = docker(Some(&address), &["ps", "--quiet", "--filter", "name=straight"]);
        for id in ids.lines() {
            docker(Some(&address), &["rm", "--force", id]);
        }
    }
    took
}
