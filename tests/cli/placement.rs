//! `explain-placement`: what every filter and score makes of every node.
use cube_api::kinds::Kind;
use serde_json::{Value, json};

use crate::environment::Environment;

fn node(environment: &Environment, name: &str, labels: Value, spec: Value) {
    let server = environment.server();
    server.create(
        Kind::Node,
        json!({ "metadata": { "name": name, "labels": labels }, "spec": spec }),
    );
    server.set_status(
        Kind::Node,
        name,
        &json!({
            "capacity": { "cpu": "4", "memory": "4Gi" }, "allocatable": { "cpu": "4", "memory": "4Gi" },
            "conditions": [{ "type": "Ready", "status": "True", "reason": "EngineAnswers" }],
            "images": [{ "names": ["nginx:1.27"], "sizeBytes": 1000 }],
        }),
    );
}

fn task(environment: &Environment, name: &str, spec: Value, node: Option<&str>) {
    let mut spec = spec;
    spec["image"] = "nginx:1.27".into();
    let labels = json!({ "app": name.trim_end_matches(char::is_numeric) });
    let server = environment.server();
    server.create(
        Kind::Task,
        json!({ "metadata": { "name": name, "namespace": "default", "labels": labels }, "spec": spec }),
    );
    if let Some(node) = node {
        server.set_status(Kind::Task, name, &json!({ "phase": "Running", "node": node }));
    }
}

#[test]
fn every_filter_and_score_of_every_node() {
    let environment = Environment::with_server();
    let memory = |amount: &str| json!({ "resources": { "requests": { "memory": amount } } });
    let refused = environment.run("explain-placement web");
    assert_eq!(refused.code, 1, "{refused}");
    task(&environment, "early", json!({}), None);
    node(
        &environment,
        "node-a",
        json!({ "disk": "ssd", "zone": "east" }),
        json!({}),
    );
    node(
        &environment,
        "node-b",
        json!({ "disk": "ssd", "zone": "west" }),
        json!({}),
    );
    node(
        &environment,
        "node-c",
        json!({ "zone": "west" }),
        json!({ "unschedulable": true }),
    );
    task(&environment, "db", memory("3Gi"), Some("node-a"));
    task(&environment, "web1", memory("1Gi"), Some("node-b"));
    let mut large = memory("2Gi");
    large["nodeSelector"] = json!({ "disk": "ssd" });
    large["affinity"] = json!({ "taskAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution":
        [{ "labelSelector": { "matchLabels": { "app": "web" } }, "topologyKey": "zone" }] } });
    task(&environment, "large", large, None);
    let runs = [
        "explain-placement early",
        "explain-placement large",
        "explain-placement task/web1",
        "explain-placement web1 -o yaml",
        "explain-placement node/node-a",
        "explain-placement nobody",
    ];
    let runs = runs.map(|words| format!("$ cube {words}\n{}\n", environment.run(words)));
    insta::assert_snapshot!(runs.join(""));
}

#[test]
fn without_a_node_it_says_so() {
    let environment = Environment::with_server();
    task(&environment, "web", json!({}), None);
    let told = environment.run("explain-placement web");
    assert_eq!(
        (told.code, told.stdout.as_str()),
        (0, "task/web fits nowhere: there is no node yet\n"),
        "{told}"
    );
}
