//! Nodes that are lost, return, are drained, over a whole manager in virtual time.
use std::{collections::BTreeMap, time::Duration};

use cube_api::{
    condition::{READY, Truth, find},
    kinds::Kind,
    node::Node,
    task::{Phase, Task},
};
use serde_json::{Value, json};

use super::bed::{Bed, deployment, task};
use crate::registry::{Patch, WriteOptions};

/// How many of the Tasks each node has; without one under an empty name.
pub(super) fn places(bed: &Bed) -> BTreeMap<String, usize> {
    let mut places = BTreeMap::new();
    for task in bed.tasks() {
        *places.entry(task.status.node.unwrap_or_default()).or_default() += 1;
    }
    places
}

pub(super) fn expected<const N: usize>(places: [(&str, usize); N]) -> BTreeMap<String, usize> {
    places.map(|(node, count)| (node.to_owned(), count)).into()
}

fn node(bed: &Bed, name: &str) -> Node {
    bed.registry.get(Kind::Node, "", name).unwrap().typed::<Node>().clone()
}

pub(super) async fn patch(bed: &Bed, kind: Kind, name: &str, change: Value) {
    let namespace = if kind == Kind::Node { "" } else { "default" };
    let options = WriteOptions::new("test");
    bed.registry
        .patch(kind, namespace, name, &Patch::Merge(change), &options)
        .await
        .unwrap();
}

pub(super) async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

fn with_data(name: &str) -> Value {
    let mut task = task(name, "1Mi");
    task["spec"]["volumes"] = json!([{ "name": "v", "volume": "db" }]);
    task["spec"]["volumeMounts"] = json!([{ "name": "v", "mountPath": "/d" }]);
    task["spec"]["nodeSelector"] = json!({ "disk": "b" });
    task
}

#[tokio::test(start_paused = true)]
async fn a_lost_nodes_tasks_move_once_and_those_with_data_wait_for_it() {
    let bed = Bed::new(&[("a", "8Gi"), ("c", "8Gi")]).await;
    bed.node("b", "8Gi", json!({ "disk": "b" })).await;
    bed.apply([deployment("web", 6, "nginx"), with_data("db"), task("one", "1Mi")])
        .await;
    bed.rest().await;
    let before: BTreeMap<String, Task> = bed
        .tasks()
        .into_iter()
        .map(|task| (task.metadata.name.clone(), task))
        .collect();
    let of_b = before
        .values()
        .filter(|task| task.status.node.as_deref() == Some("b"))
        .count();
    assert!(of_b >= 3, "{:?}", places(&bed));

    bed.silence("b");
    pass(14).await;
    assert_eq!(
        find(&node(&bed, "b").status.conditions, READY).unwrap().status,
        Truth::True
    );
    pass(3).await;
    assert_eq!(
        find(&node(&bed, "b").status.conditions, READY).unwrap().status,
        Truth::Unknown
    );
    let lost = bed.task("db");
    assert_eq!(lost.status.reason, "NodeLost");
    assert_eq!(find(&lost.status.conditions, READY).unwrap().status, Truth::Unknown);
    assert_eq!(bed.deployment("web").status.ready_replicas as usize, 6 - (of_b - 1));
    pass(26).await;
    assert_eq!(places(&bed)["b"], of_b, "they are tolerant for 30 s");
    pass(5).await;
    assert_eq!(places(&bed)["b"], 1, "only what has its data there");
    bed.rest().await;
    assert_eq!(bed.deployment("web").status.ready_replicas, 6);
    assert_eq!(bed.task("db").status.reason, "Stranded");
    for task in bed.tasks() {
        let was = &before[&task.metadata.name];
        assert_eq!(task.metadata.uid, was.metadata.uid, "no other Task was made");
        let moved = was.status.node.as_deref() == Some("b") && task.metadata.name != "db";
        assert_eq!(
            task.status.epoch > was.status.epoch,
            moved,
            "each moved once, and nothing else"
        );
    }

    // It returns: its worker says how it is, as workers do.
    bed.hear("b");
    bed.node_status("b", "8Gi", true).await;
    pass(60).await;
    assert_eq!(places(&bed)["b"], 1);
    let status = find(&node(&bed, "b").status.conditions, READY).unwrap().status;
    assert_eq!(status, Truth::True);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_node_gives_up_its_data_and_a_restarted_manager_loses_nobody() {
    let mut bed = Bed::new(&[("a", "8Gi")]).await;
    bed.node("b", "8Gi", json!({ "disk": "b" })).await;
    bed.apply([with_data("db")]).await;
    bed.rest().await;
    // A manager that is away for an hour hears nobody, and says nothing against them.
    bed.halt().await;
    pass(3600).await;
    bed.start();
    pass(10).await;
    assert_eq!(bed.task("db").status.phase, Phase::Running);
    assert_eq!(
        find(&node(&bed, "b").status.conditions, READY).unwrap().status,
        Truth::True
    );

    bed.silence("b");
    pass(60).await;
    assert_eq!(bed.task("db").status.reason, "Stranded");
    bed.delete(Kind::Node, "", "b", None).await;
    bed.rest().await;
    let status = bed.task("db").status;
    assert_eq!((status.phase, status.node), (Phase::Pending, None));
    assert!(status.message.contains("disk=b"), "{}", status.message);
}

#[tokio::test(start_paused = true)]
async fn a_drain_makes_another_one_first_and_tells_what_it_cannot_move() {
    let bed = Bed::new(&[("a", "8Gi"), ("c", "8Gi")]).await;
    bed.node("b", "8Gi", json!({ "disk": "b" })).await;
    let mut web = deployment("web", 6, "nginx");
    web["spec"]["strategy"] = json!({ "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 0 } });
    bed.apply([web, with_data("db")]).await;
    bed.rest().await;
    patch(
        &bed,
        Kind::Node,
        "b",
        json!({ "spec": { "unschedulable": true, "drain": {} } }),
    )
    .await;
    let mut least = 6;
    for _ in 0..600 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        least = least.min(bed.deployment("web").status.ready_replicas);
        let leaving = bed
            .tasks()
            .iter()
            .filter(|task| task.status.eviction.is_some() && !task.metadata.is_deleting())
            .count();
        assert!(leaving <= 1, "one at a time");
    }
    assert_eq!(least, 6, "another one was there first");
    assert_eq!(places(&bed), expected([("a", 3), ("b", 1), ("c", 3)]));
    let drained = find(&node(&bed, "b").status.conditions, "Drained").unwrap().clone();
    assert_eq!(drained.status, Truth::True);
    assert_eq!(drained.message, "default/db keeps its data there (volume db) and stays");
    patch(
        &bed,
        Kind::Node,
        "b",
        json!({ "spec": { "unschedulable": null, "drain": null } }),
    )
    .await;
    bed.rest().await;
    assert!(find(&node(&bed, "b").status.conditions, "Drained").is_none());
    bed.assert_at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn a_task_alone_is_stopped_before_it_runs_elsewhere() {
    let bed = Bed::new(&[("a", "8Gi")]).await;
    bed.manners.lock().unwrap().stop = Duration::from_secs(3);
    bed.apply([task("one", "1Mi")]).await;
    bed.rest().await;
    let epoch = bed.task("one").status.epoch;
    bed.node("b", "8Gi", json!({})).await;
    let taint = json!({ "spec": { "taints": [{ "key": "gpu", "effect": "NoExecute" }] } });
    patch(&bed, Kind::Node, "a", taint).await;
    pass(2).await;
    let status = bed.task("one").status;
    assert_eq!(status.node.as_deref(), Some("a"), "it is being stopped");
    assert_eq!(
        status.eviction.unwrap().message,
        "node a has taint gpu:NoExecute, which it does not tolerate"
    );
    bed.rest().await;
    let status = bed.task("one").status;
    assert_eq!((status.node.as_deref(), status.phase), (Some("b"), Phase::Running));
    assert!(status.epoch > epoch && status.eviction.is_none());
    bed.assert_at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn when_most_nodes_are_lost_together_moving_slows_and_says_so() {
    let bed = Bed::new(&[("a", "8Gi"), ("b", "8Gi"), ("c", "8Gi")]).await;
    bed.apply([deployment("web", 30, "nginx")]).await;
    bed.rest().await;
    assert_eq!(places(&bed), expected([("a", 10), ("b", 10), ("c", 10)]));
    bed.silence("b");
    bed.silence("c");
    pass(15 + 30 + 2).await;
    let moved = places(&bed)["a"] - 10;
    assert!((1..=3).contains(&moved), "{moved}");
    pass(10).await;
    let moved = places(&bed)["a"] - 10;
    assert!((10..=13).contains(&moved), "{moved}");
    let events = bed.list(Kind::Event, "default");
    let slowly = events
        .iter()
        .filter(|event| event.to_value()["reason"] == "MovingSlowly")
        .count();
    assert_eq!(slowly, 2);
    pass(60).await;
    assert_eq!(places(&bed), expected([("a", 30)]));
}
