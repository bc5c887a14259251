//! The short verbs: `run`, `stop`, `status`, `nodes`, `cordon`, `uncordon`, `node delete`.
use cube_api::kinds::Kind;
use serde_json::{Value, json};

use crate::environment::{Environment, deployment, running, task};

/// What each of these commands does, one after the other.
fn session(environment: &Environment, commands: &[&str]) -> String {
    let runs = commands
        .iter()
        .map(|words| format!("$ cube {words}\n{}\n", environment.run(words)));
    runs.collect()
}

fn node(environment: &Environment, name: &str, spec: Value, ready: bool) {
    let server = environment.server();
    server.create(Kind::Node, json!({ "metadata": { "name": name }, "spec": spec }));
    let (truth, reason, message) = if ready {
        ("True", "EngineAnswers", "")
    } else {
        ("Unknown", "NodeLost", "nothing was heard of its worker for 20 s")
    };
    server.set_status(
        Kind::Node,
        name,
        &json!({
            "capacity": { "cpu": "4", "memory": "8Gi" }, "allocatable": { "cpu": "4", "memory": "8Gi" },
            "conditions": [{ "type": "Ready", "status": truth, "reason": reason, "message": message }],
            "nodeInfo": { "engine": "docker", "engineVersion": "28.1.0" },
        }),
    );
}

/// The Task runs on a node.
fn running_on(environment: &Environment, name: &str, node: &str) {
    let mut status = running(1);
    status["node"] = node.into();
    environment.server().set_status(Kind::Task, name, &status);
}

#[test]
fn run_makes_a_task_and_says_how_to_see_and_end_it() {
    let environment = Environment::with_server();
    let first =
        environment.run("run ghcr.io/shop/web_app:2 --env A=b=c --port 8080:80 -p 127.0.0.1:0:53/udp -- serve --all");
    assert_eq!(
        (first.code, first.stdout.as_str()),
        (0, "task/web-app created\n"),
        "{first}"
    );
    let told = environment
        .server()
        .registry
        .get(Kind::Task, "default", "web-app")
        .unwrap();
    assert_eq!(
        told.to_value()["spec"],
        json!({
            "image": "ghcr.io/shop/web_app:2", "args": ["serve", "--all"], "env": [{ "name": "A", "value": "b=c" }],
            "ports": [
                { "containerPort": 80, "hostPort": 8080 },
                { "containerPort": 53, "protocol": "UDP", "hostPort": 0, "hostIP": "127.0.0.1" },
            ],
        })
    );
    environment.write("two.yaml", format!("{}---\n{}", task("a", ""), deployment("b", 1)));
    environment.write("one.yaml", deployment("b", 2));
    insta::assert_snapshot!(session(
        &environment,
        &[
            "run nginx --name web",
            "run nginx --name web",
            "run nginx:1.27 --name web",
            "run nginx -n nowhere",
            "run -f two.yaml",
            "run -f one.yaml",
            "run nginx --name Not_A_Name --env 1=x",
            "run nginx --port 80",
            "run nginx -f one.yaml",
            "run",
        ],
    ));
}

#[test]
fn run_leaves_what_is_over_to_a_restart() {
    let environment = Environment::with_server();
    assert_eq!(environment.run("run busybox --restart never -- true").code, 0);
    let over = json!({ "phase": "Completed", "node": "here", "exitCode": 0, "observedGeneration": 1 });
    environment.server().set_status(Kind::Task, "busybox", &over);
    let again = environment.run("run busybox --restart never --wait -- true");
    assert_eq!(
        (again.code, again.stdout.as_str()),
        (0, "task/busybox unchanged\n"),
        "{again}"
    );
    assert!(
        again.stderr.contains("`cube restart task/busybox` runs it again"),
        "{again}"
    );
}

/// A bug of others: stopping twice was an error.
#[test]
fn stopping_twice_is_no_error() {
    let environment = Environment::with_server();
    environment.write("a.yaml", task("web", ""));
    assert_eq!(environment.run("apply -f a.yaml").code, 0);
    let first = environment.run("stop web");
    assert_eq!(
        (first.code, first.stdout.as_str()),
        (0, "task/web stopped\n"),
        "{first}"
    );
    let second = environment.run("stop web");
    assert_eq!((second.code, second.stdout.as_str()), (0, ""), "{second}");
    assert_eq!(second.stderr, "note: there is no task/web: nothing to stop\n");
}

/// While it is stopping, a second stop waits for the same end.
#[test]
fn stopping_what_is_being_stopped_waits_with_it() {
    let environment = Environment::with_server();
    let held = json!({ "metadata": { "name": "held", "namespace": "default", "finalizers": ["test/hold"] }, "spec": { "image": "a" } });
    environment.server().create(Kind::Task, held);
    let late = environment.run("stop held --timeout 100ms");
    assert_eq!(late.code, 5, "{late}");
    let again = environment.command("stop task/held").spawn().unwrap();
    environment.server().release("held");
    let run = environment.finish(again);
    assert_eq!(run.code, 0, "{run}");
}

#[test]
fn stop_refuses_what_would_come_back() {
    let environment = Environment::with_server();
    let server = environment.server();
    environment.write(
        "manifests/shop/web.yaml",
        format!("{}---\n{}", task("db", ""), task("web", "")),
    );
    let source = json!({
        "metadata": { "name": "manifests" }, "spec": { "directory": environment.path("manifests") },
    });
    server.create(Kind::Source, source);
    for name in ["web", "gone"] {
        let said = json!({
            "apiVersion": "cube/v1", "kind": "Task", "metadata": { "name": name }, "spec": { "image": "busybox" },
        });
        server.apply_as("manifests", said);
    }
    environment.write("d.yaml", deployment("api", 1));
    assert_eq!(environment.run("apply -f d.yaml").code, 0);
    let owner = server.registry.get(Kind::Deployment, "default", "api").unwrap();
    server.create(
        Kind::Task,
        json!({
            "metadata": {
                "name": "api-1-x", "namespace": "default",
                "ownerReferences": [{
                    "apiVersion": "cube/v1", "kind": "Deployment", "name": "api", "uid": owner.uid(), "controller": true,
                }],
            },
            "spec": { "image": "x" },
        }),
    );
    environment.write("mine.yaml", task("mine", ""));
    assert_eq!(environment.run("apply -f mine.yaml").code, 0);
    insta::assert_snapshot!(session(
        &environment,
        &[
            "stop mine web",
            "stop task/gone",
            "stop api-1-x",
            "stop api",
            "stop deployment/api",
            "stop mine",
        ],
    ));
    for name in ["web", "gone", "api-1-x"] {
        assert!(
            server
                .registry
                .get(Kind::Task, "default", name)
                .is_ok_and(|task| !task.is_deleting()),
            "{name}"
        );
    }
}

#[test]
fn nodes_and_what_is_asked_of_them() {
    let environment = Environment::with_server();
    let none = environment.run("nodes");
    node(&environment, "a", json!({}), true);
    let taint = json!({ "taints": [{ "key": "gpu", "value": "yes", "effect": "NoSchedule" }], "unschedulable": true });
    node(&environment, "b", taint, false);
    let asks = "  resources:\n    requests: { cpu: 500m, memory: 1Gi }\n";
    environment.write(
        "t.yaml",
        format!("{}---\n{}---\n{}", task("x", asks), task("y", asks), task("z", asks)),
    );
    assert_eq!(environment.run("apply -f t.yaml").code, 0);
    running_on(&environment, "x", "a");
    running_on(&environment, "y", "a");
    let over = json!({ "phase": "Completed", "node": "a", "observedGeneration": 1 });
    environment.server().set_status(Kind::Task, "z", &over);
    let shown = session(&environment, &["nodes", "nodes -l disk=ssd", "nodes -o yaml"]);
    let list: Value = serde_json::from_str(&environment.run("nodes -o json").stdout).unwrap();
    assert_eq!(list["items"][0]["requested"], json!({ "cpu": "1", "memory": "2Gi" }));
    insta::assert_snapshot!(format!("$ cube nodes\n{none}\n{shown}"));
}

#[test]
fn cordon_and_uncordon_can_be_repeated() {
    let environment = Environment::with_server();
    node(&environment, "a", json!({}), true);
    insta::assert_snapshot!(session(
        &environment,
        &[
            "cordon a",
            "cordon node/a",
            "get nodes",
            "cordon a nobody",
            "uncordon a",
            "uncordon a",
            "get nodes",
        ],
    ));
    let spec = environment
        .server()
        .registry
        .get(Kind::Node, "", "a")
        .unwrap()
        .to_value()["spec"]
        .clone();
    assert!(spec.is_null() || spec == json!({}), "{spec}");
}

#[test]
fn a_node_that_is_ready_is_not_deleted() {
    let environment = Environment::with_server();
    node(&environment, "a", json!({}), true);
    node(&environment, "b", json!({}), false);
    environment.write("t.yaml", format!("{}---\n{}", task("x", ""), task("y", "")));
    assert_eq!(environment.run("apply -f t.yaml").code, 0);
    running_on(&environment, "x", "a");
    running_on(&environment, "y", "b");
    insta::assert_snapshot!(session(
        &environment,
        &[
            "node delete a --yes",
            "node delete b",
            "node delete b --yes",
            "node delete b --yes",
        ],
    ));
}

#[test]
fn status_on_one_screen() {
    let environment = Environment::with_server();
    let empty = environment.run("status");
    node(&environment, "a", json!({ "unschedulable": true }), true);
    node(&environment, "b", json!({}), false);
    let mut files = String::new();
    for name in ["hello", "crash", "lost-0", "lost-1", "lost-2", "lost-3", "lost-4"] {
        files.push_str(&format!("{}---\n", task(name, "")));
    }
    environment.write("a.yaml", format!("{files}{}", deployment("web", 2)));
    assert_eq!(environment.run("apply -f a.yaml").code, 0);
    let server = environment.server();
    running_on(&environment, "hello", "a");
    server.set_status(
        Kind::Task,
        "crash",
        &json!({ "phase": "Scheduled", "node": "a", "reason": "BackOff", "message": "exit 127: sh: foo: not found", "failures": 2 }),
    );
    for at in 0..5 {
        server.set_status(
            Kind::Task,
            &format!("lost-{at}"),
            &json!({
                "reason": "Unschedulable", "message": "0/2 nodes can run this: 1 is not ready, 1 is cordoned",
                "conditions": [{ "type": "Scheduled", "status": "False", "reason": "Unschedulable" }],
            }),
        );
    }
    server.create(
        Kind::Source,
        json!({ "metadata": { "name": "manifests" }, "spec": { "directory": "/srv/manifests" } }),
    );
    server.set_status(
        Kind::Source,
        "manifests",
        &json!({
            "files": 3, "objects": 9, "waiting": ["task/default/a", "task/default/b"],
            "waitingReason": "2 of 4 objects are gone from the directory",
            "conditions": [{ "type": "Ready", "status": "False", "reason": "WaitsForYes" }],
        }),
    );
    let told: Value = serde_json::from_str(&environment.run("status -o json").stdout).unwrap();
    assert_eq!(told["tasks"], json!({ "Pending": 5, "Running": 1, "Scheduled": 1 }));
    assert_eq!(told["wrong"][1]["objects"].as_array().unwrap().len(), 5, "{told:#}");
    insta::assert_snapshot!(format!("{empty}\n{}", environment.run("status")));
}
