//! `rebalance`: its plan, its question, its rounds, and its settings.
use std::thread;

use cube_api::kinds::Kind;
use serde_json::{Value, json};

use crate::environment::{Environment, TestServer};

fn node(server: &TestServer, name: &str, spec: Value) {
    server.create(Kind::Node, json!({ "metadata": { "name": name }, "spec": spec }));
    server.set_status(
        Kind::Node,
        name,
        &json!({
            "allocatable": { "cpu": "4", "memory": "4Gi" },
            "conditions": [{ "type": "Ready", "status": "True", "reason": "EngineAnswers" }],
        }),
    );
}

/// A Task that runs there.
fn task(server: &TestServer, name: &str, node: &str, owner: Option<&str>, more: Value) {
    let mut spec = json!({ "image": "nginx", "resources": { "requests": { "cpu": "500m", "memory": "512Mi" } } });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let mut metadata = json!({ "name": name, "namespace": "default" });
    if let Some(owner) = owner {
        let uid = server
            .registry
            .get(Kind::Deployment, "default", owner)
            .unwrap()
            .uid()
            .to_owned();
        metadata["ownerReferences"] = json!([{ "apiVersion": "cube/v1", "kind": "Deployment", "name": owner,
                                               "uid": uid, "controller": true }]);
    }
    server.create(Kind::Task, json!({ "metadata": metadata, "spec": spec }));
    server.set_status(
        Kind::Task,
        name,
        &json!({ "phase": "Running", "node": node, "conditions": [{ "type": "Ready", "status": "True" }] }),
    );
}

/// A Deployment at rest.
fn deployment(server: &TestServer, name: &str, replicas: u32) {
    server.create(
        Kind::Deployment,
        json!({ "metadata": { "name": name, "namespace": "default" },
                "spec": { "replicas": replicas, "template": { "spec": { "image": "nginx" } } } }),
    );
    server.set_status(
        Kind::Deployment,
        name,
        &json!({ "replicas": replicas, "updatedReplicas": replicas, "readyReplicas": replicas, "availableReplicas": replicas,
                 "availableReplicas": replicas, "observedGeneration": 1 }),
    );
}

/// A node that has returned to two others, which have all the Tasks.
fn cluster() -> Environment {
    let environment = Environment::with_server();
    let server = environment.server();
    for (name, spec) in [
        ("a", json!({})),
        ("b", json!({})),
        ("c", json!({})),
        ("d", json!({ "unschedulable": true })),
    ] {
        node(server, name, spec);
    }
    deployment(server, "web", 4);
    for (number, node) in ["a", "a", "b", "b"].iter().enumerate() {
        task(server, &format!("web-{number}"), node, Some("web"), json!({}));
    }
    task(server, "alone", "a", None, json!({}));
    task(server, "job", "a", None, json!({ "restartPolicy": "Never" }));
    environment
}

#[test]
fn what_would_move_is_shown_and_nothing_moves_without_a_yes() {
    let environment = cluster();
    let runs = [
        "rebalance",
        "rebalance --dry-run",
        "rebalance --dry-run --restart",
        "rebalance -o yaml",
        "rebalance --auto --dry-run",
        "rebalance --moves-per-minute 3",
        "rebalance --status",
        "rebalance --auto",
        "rebalance --auto --moves-per-minute 7",
        "rebalance --auto",
        "rebalance --status",
        "get settings",
        "describe settings/cluster",
        "rebalance --auto=off",
        "rebalance --status",
    ];
    let runs = runs.map(|words| format!("$ cube {words}\n{}\n", environment.run(words)));
    let server = environment.server();
    for name in ["web-0", "web-1", "web-2", "web-3", "alone"] {
        let task = server.registry.get(Kind::Task, "default", name).unwrap().to_value();
        assert!(task["status"]["eviction"].is_null(), "{task}");
    }
    insta::assert_snapshot!(runs.join(""));
}

#[test]
fn it_moves_what_it_has_shown_and_tells_each() {
    let environment = cluster();
    let told = thread::scope(|scope| {
        let server = environment.server();
        scope.spawn(move || {
            // The Deployment's loop and the workers.
            server.wait_for(Kind::Task, "web-0", |task| {
                task["status"]["eviction"]["afterReplacement"] == true
            });
            let message = server.registry.get(Kind::Task, "default", "web-0").unwrap().to_value();
            assert_eq!(
                message["status"]["eviction"]["message"],
                "moves to node c: 2 of its Deployment on a, 0 on c"
            );
            task(server, "web-new", "c", Some("web"), json!({}));
            server.delete(Kind::Task, "web-0");
            server.wait_for(Kind::Task, "alone", |task| {
                task["status"]["eviction"]["reason"] == "Rebalanced"
            });
            let moved =
                json!({ "phase": "Running", "node": "c", "conditions": [{ "type": "Ready", "status": "True" }] });
            server.move_task("alone", &moved);
        });
        environment.run("rebalance --yes --restart")
    });
    insta::assert_snapshot!(format!("$ cube rebalance --yes --restart\n{told}"));
}

#[test]
fn where_things_have_changed_or_last_too_long_it_ends_so() {
    let environment = cluster();
    let late = environment.run("rebalance --yes --timeout 300ms");
    // It goes on: the Deployment is not at rest, and so nothing more is planned of it.
    let again = environment.run("rebalance --dry-run");
    insta::assert_snapshot!(format!(
        "$ cube rebalance --yes --timeout 300ms\n{late}\n$ cube rebalance --dry-run\n{again}"
    ));
}
