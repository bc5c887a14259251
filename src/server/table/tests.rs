//! What people see of each kind.
use serde_json::json;

use super::*;
use crate::{
    registry::{List, Registry, WriteOptions},
    store::{Options, Store},
    world::World,
};

/// The rows of an object with that spec and status, narrow columns and wide ones, as one line each.
async fn row(kind: Kind, mut value: Value) -> [String; 2] {
    let registry = Registry::open(Store::memory(Options::default()), World::real())
        .await
        .unwrap();
    let options = WriteOptions::new("test");
    if value["metadata"]["name"].is_null() {
        value["metadata"]["name"] = "x".into();
    }
    let namespace = if kind.info().namespaced { "default" } else { "" };
    let status = value["status"].clone();
    let mut object = registry.create(kind, namespace, value, &options).await.unwrap();
    if let Some(node) = status["node"].as_str() {
        // The binding alone gives a node.
        let value = json!({ "metadata": { "name": node } });
        registry.create(Kind::Node, "", value, &options).await.unwrap();
        object = registry
            .bind("default", "x", object.uid(), node, object.revision())
            .await
            .unwrap();
    }
    if !status.is_null() {
        let told = json!({ "metadata": { "name": "x" }, "spec": object.to_value()["spec"], "status": status });
        let written = registry.update(kind, namespace, "x", told, &options.status()).await;
        object = written.unwrap();
    }
    let list = List {
        revision: object.revision(),
        items: vec![object.clone()],
    };
    let table = Table {
        kind,
        version: MetaVersion::V1,
        include: Include::Nothing,
    };
    let created = object.meta().creation_timestamp.unwrap();
    let mut text = Vec::new();
    table.write(
        &mut text,
        &list.items,
        &json!({ "resourceVersion": list.revision.to_string() }),
        created + jiff::SignedDuration::from_secs(180),
        true,
    );
    let table: Value = serde_json::from_slice(&text).unwrap();
    let columns = table["columnDefinitions"].as_array().unwrap();
    let cells = table["rows"][0]["cells"].as_array().unwrap();
    assert_eq!(columns.len(), cells.len());
    [0, 1].map(|priority| {
        let shown = columns
            .iter()
            .zip(cells)
            .filter(|(column, _)| column["priority"] == priority);
        let shown = shown.map(|(column, cell)| {
            assert_eq!(cell.is_number(), column["type"] == "integer", "{column}");
            match cell {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            }
        });
        shown.collect::<Vec<_>>().join(" | ")
    })
}

async fn task(status: Value) -> String {
    let value = json!({ "spec": { "image": "busybox" }, "status": status });
    row(Kind::Task, value).await[0].clone()
}

#[tokio::test]
async fn tasks_say_why() {
    let ready = json!([{ "type": "Ready", "status": "True", "reason": "Running" }]);
    for (status, expected) in [
        (Value::Null, "x | Pending | - | 0 | - | 3m | "),
        (
            json!({ "message": "8 GiB wanted, at most 5.2 GiB free (3 nodes)" }),
            "x | Pending | - | 0 | - | 3m | 8 GiB wanted, at most 5.2 GiB free (3 nodes)",
        ),
        (
            json!({ "phase": "Scheduled", "node": "a", "reason": "Pulling", "message": "pulling busybox" }),
            "x | Pulling | no | 0 | a | 3m | pulling busybox",
        ),
        (
            json!({ "phase": "Scheduled", "node": "a", "reason": "BackOff", "restarts": 5, "message": "exit 127: sh\nmore" }),
            "x | BackOff | no | 5 | a | 3m | exit 127: sh",
        ),
        (
            json!({ "phase": "Running", "node": "a", "reason": "Running", "conditions": ready }),
            "x | Running | yes | 0 | a | 3m | ",
        ),
        (
            json!({ "phase": "Completed", "node": "a", "reason": "Completed" }),
            "x | Completed | - | 0 | a | 3m | ",
        ),
        (
            json!({ "phase": "Failed", "node": "a", "reason": "OOMKilled" }),
            "x | Failed (OOMKilled) | - | 0 | a | 3m | ",
        ),
    ] {
        assert_eq!(task(status.clone()).await, expected, "{status}");
    }
    let ports = json!([
        { "containerPort": 80, "hostPort": 8080, "hostIP": "0.0.0.0" },
        { "containerPort": 53, "hostPort": 53, "hostIP": "::1", "protocol": "UDP" },
    ]);
    let value = json!({ "spec": { "image": "busybox" }, "status": { "ports": ports, "addresses": ["10.1.0.2"] } });
    let [_, wide] = row(Kind::Task, value).await;
    assert_eq!(wide, "busybox | 0.0.0.0:8080->80, [::1]:53->53/udp | 10.1.0.2");
}

#[tokio::test]
async fn every_kind_has_columns() {
    let wrong = json!([
        { "type": "Progressing", "status": "True", "reason": "NewRevision" },
        { "type": "Ready", "status": "False", "reason": "Short", "message": "1 of 3 is not ready" },
    ]);
    for (kind, value, narrow, wide) in [
        (
            Kind::Deployment,
            json!({ "spec": { "replicas": 3, "template": { "spec": { "image": "nginx" } } },
                    "status": { "replicas": 3, "readyReplicas": 2, "updatedReplicas": 1, "conditions": wrong } }),
            "x | 2/3 | 1 | 0 | 3m | 1 of 3 is not ready",
            "nginx | ",
        ),
        (
            Kind::Node,
            json!({ "spec": { "unschedulable": true, "taints": [{ "key": "gpu", "effect": "NoSchedule" }] },
                    "status": { "allocatable": { "cpu": "1500m", "memory": "23622320128" }, "conditions": wrong,
                                "nodeInfo": { "engine": "docker", "engineVersion": "28.2", "cubeVersion": "0.1.0" } } }),
            "x | NotReady,SchedulingDisabled | 1500m | 22.0 GiB | docker 28.2 | 3m | 1 of 3 is not ready",
            "0.1.0 |  | gpu:NoSchedule",
        ),
        (
            Kind::Node,
            json!({ "status": { "conditions": [
                { "type": "Ready", "status": "True", "reason": "EngineAnswers" },
                { "type": "MemoryPressure", "status": "False", "reason": "MemorySufficient" },
                { "type": "DiskPressure", "status": "True", "reason": "DiskShort", "message": "9 of 100 MiB left" },
            ] } }),
            "x | Ready |  | 0 |  | 3m | 9 of 100 MiB left",
            " |  | -",
        ),
        (Kind::Namespace, json!({}), "x | Active | 3m | ", ""),
        (
            Kind::Settings,
            json!({ "metadata": { "name": "cluster" }, "spec": { "autoRebalance": { "movesPerMinute": 9 } } }),
            "cluster | auto, 9 a minute | 3m",
            "",
        ),
        (
            Kind::Source,
            json!({ "spec": { "directory": "/srv/m" },
                    "status": { "files": 3, "objects": 7, "waiting": ["task/default/a"], "waitingReason": "6 of 7 are gone" } }),
            "x | Waiting | 3 | 7 | 1 | 3m | 6 of 7 are gone",
            "/srv/m",
        ),
        (
            Kind::Revision,
            json!({ "metadata": { "labels": { "cube/deployment": "web" } },
                    "spec": { "revision": 4, "hash": "abc", "template": { "spec": { "image": "nginx" } } } }),
            "x | web | 4 | nginx | 3m",
            "abc",
        ),
        (
            Kind::Event,
            json!({ "involvedObject": { "kind": "Task", "name": "web" }, "type": "Warning", "reason": "BackOff",
                    "message": "exit 1", "source": { "component": "worker", "host": "a" } }),
            "3m | Warning | BackOff | task/web | 1 | exit 1",
            "worker, a | - | x",
        ),
    ] {
        assert_eq!(row(kind, value).await, [narrow, wide], "{kind:?}");
    }
}
