//! Tables for what is refused and how it is told; properties of the index and the queue.
mod book;
mod incremental;
mod policies;
mod preemption;
mod rebalance;
mod surroundings;

use cube_api::{kinds::Resource, node::Node, task::Task};
use serde_json::{Value, json};

use super::*;

/// A node of 4 CPUs and 4 GiB, with `more` laid over it.
fn node(name: &str, more: Value) -> Node {
    let mut value = json!({
        "metadata": { "name": name },
        "status": {
            "allocatable": { "cpu": "4", "memory": "4Gi" },
            "conditions": [{ "type": "Ready", "status": "True" }],
        },
    });
    for (part, fields) in more.as_object().into_iter().flatten() {
        for (field, given) in fields.as_object().into_iter().flatten() {
            value[part][field] = given.clone();
        }
    }
    Node::from_value(value).unwrap()
}

fn task(name: &str, spec: Value) -> Task {
    let mut value = json!({ "metadata": { "name": name, "uid": name }, "spec": { "image": "x" } });
    for (field, given) in spec.as_object().into_iter().flatten() {
        value["spec"][field] = given.clone();
    }
    Task::from_value(value).unwrap()
}

fn needs(cpu: &str, memory: &str) -> Value {
    json!({ "resources": { "requests": { "cpu": cpu, "memory": memory } } })
}

fn index(nodes: &[Node], assigned: &[(&str, Value)]) -> Index {
    let mut index = Index::default();
    for node in nodes {
        index.set_node(node);
    }
    for (number, (node, spec)) in assigned.iter().enumerate() {
        index.set_task(&format!("default/t{number}"), &task("t", spec.clone()), Some(node));
    }
    index
}

fn place(index: &mut Index, spec: Value) -> String {
    place_task(index, &task("new", spec))
}

/// The node, or why there is none.
fn place_task(index: &mut Index, task: &Task) -> String {
    let demand = Demand::of(task);
    match index.place(&demand) {
        Some(node) => node.to_string(),
        None => index.explain(&demand).message,
    }
}

/// Makes the Task one of those of a controller.
fn of(controller: &str, mut task: Task) -> Task {
    task.metadata.owner_references = vec![cube_api::meta::OwnerReference {
        uid: controller.to_owned(),
        controller: true,
        ..Default::default()
    }]
    .into();
    task
}

#[test]
fn refusals_are_counted_and_explained() {
    let ready = |name| node(name, json!({}));
    let not_ready =
        json!({ "status": { "conditions": [{ "type": "Ready", "status": "False", "message": "docker is down" }] } });
    let tainted = json!({ "spec": { "taints": [{ "key": "gpu", "value": "a", "effect": "NoSchedule" }] } });
    let full = json!({ "status": { "allocatable": { "cpu": "4", "memory": "4Gi", "tasks": 1 } } });
    let port = |port: u16| json!({ "ports": [{ "containerPort": 80, "hostPort": port }] });
    let ssd = json!({ "nodeSelector": { "disk": "ssd" }, "resources": { "requests": { "memory": "4Gi" } } });
    let labelled = |name| {
        node(
            name,
            json!({ "metadata": { "name": name, "labels": { "disk": "ssd" } } }),
        )
    };
    for (nodes, assigned, spec, expected) in [
        (vec![], vec![], json!({}), "there is no node yet"),
        (
            vec![labelled("node-a"), labelled("node-b"), ready("node-c")],
            vec![("node-a", needs("1", "3Gi")), ("node-b", needs("1", "2866Mi"))],
            ssd,
            "0/3 nodes can run this: 2 lack memory (needs 4Gi, most free is 1.2Gi on node-b), \
             1 does not match selector disk=ssd; asking for 1.2Gi of memory would fit now on node-b",
        ),
        (
            vec![ready("a"), node("b", not_ready)],
            vec![("a", needs("3500m", "0"))],
            needs("1", "1Gi"),
            "0/2 nodes can run this: 1 lacks cpu (needs 1, most free is 500m on a), \
             1 is not ready (b: docker is down); asking for 500m cpu would fit now on a",
        ),
        (
            vec![
                node("a", json!({ "spec": { "unschedulable": true } })),
                node("b", tainted),
            ],
            vec![],
            json!({}),
            "0/2 nodes can run this: 1 is cordoned, 1 has the taint gpu=a, which it does not tolerate; \
             with a toleration of gpu=a it would fit now on b",
        ),
        (
            vec![ready("a"), node("b", full)],
            vec![("a", port(8080)), ("b", json!({}))],
            port(8080),
            "0/2 nodes can run this: 1 has port 8080 taken (on a by task default/t0), 1 has as many Tasks as can be (1 on b)",
        ),
        (
            vec![node("a", json!({ "spec": { "drain": {} } }))],
            vec![],
            json!({}),
            "0/1 node can run this: 1 is cordoned; it would fit now on a if that were uncordoned",
        ),
        (vec![ready("a")], vec![("a", port(8080))], port(8081), "a"),
        (
            vec![ready("a")],
            vec![("a", json!({ "network": "host", "ports": [{ "containerPort": 8080 }] }))],
            port(8080),
            "0/1 node can run this: 1 has port 8080 taken (on a by task default/t0)",
        ),
        (
            vec![ready("a")],
            vec![(
                "a",
                json!({ "ports": [{ "containerPort": 80, "hostPort": 80, "hostIP": "10.0.0.1" }] }),
            )],
            json!({ "ports": [{ "containerPort": 80, "hostPort": 80, "hostIP": "10.0.0.2" }] }),
            "a",
        ),
        (
            vec![
                node(
                    "a",
                    json!({ "status": { "conditions": [{ "type": "Ready", "status": "True" }, { "type": "DiskPressure", "status": "True" }] } }),
                ),
                node("b", json!({ "status": { "volumes": ["data"] } })),
            ],
            vec![("b", needs("4", "1Gi"))],
            json!({
                "resources": { "requests": { "cpu": "1" } },
                "volumes": [{ "name": "v", "volume": "data" }], "volumeMounts": [{ "name": "v", "mountPath": "/v" }],
            }),
            "0/2 nodes can run this: 1 has DiskPressure, 1 lacks cpu (needs 1, most free is 0 on b)",
        ),
        (
            vec![ready("a"), ready("b")],
            vec![],
            json!({ "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms":
                [{ "matchExpressions": [{ "key": "cores", "operator": "Gt", "values": ["8"] }] }] } } } }),
            "0/2 nodes can run this: 2 are not what its node affinity requires",
        ),
        (
            vec![node("a", json!({ "spec": { "unschedulable": true } })), labelled("b")],
            vec![("b", needs("4", "4Gi"))],
            json!({ "nodeSelector": { "disk": "ssd" }, "resources": { "requests": { "cpu": "1" } } }),
            "0/2 nodes can run this: 1 is cordoned, 1 lacks cpu (needs 1, most free is 0 on b)",
        ),
        (
            vec![ready("a")],
            vec![],
            json!({ "nodeSelector": { "disk": "ssd" } }),
            "0/1 node can run this: 1 does not match selector disk=ssd; it would fit now on a if that had the label disk=ssd",
        ),
        (
            vec![node("a", json!({ "spec": { "unschedulable": true } }))],
            vec![],
            json!({}),
            "0/1 node can run this: 1 is cordoned; it would fit now on a if that were uncordoned",
        ),
        // Who asks for nothing fits where more was given away than there is.
        (vec![ready("a")], vec![("a", needs("9", "9Gi"))], json!({}), "a"),
    ] {
        assert_eq!(place(&mut index(&nodes, &assigned), spec), expected);
    }
}

#[test]
fn taints_are_tolerated_as_kubernetes_does() {
    let taint = |effect: &str| {
        node(
            "a",
            json!({ "spec": { "taints": [{ "key": "k", "value": "v", "effect": effect }] } }),
        )
    };
    for (toleration, effect, fits) in [
        (json!({ "key": "k", "value": "v" }), "NoSchedule", true),
        (json!({ "key": "k", "value": "w" }), "NoSchedule", false),
        (json!({ "key": "k", "operator": "Exists" }), "NoExecute", true),
        (json!({ "operator": "Exists" }), "NoExecute", true),
        (
            json!({ "key": "k", "value": "v", "effect": "NoExecute" }),
            "NoSchedule",
            false,
        ),
        (json!({ "key": "other", "operator": "Exists" }), "NoSchedule", false),
        (
            json!({ "key": "other", "operator": "Exists" }),
            "PreferNoSchedule",
            true,
        ),
    ] {
        let placed = place(
            &mut index(&[taint(effect)], &[]),
            json!({ "tolerations": [toleration] }),
        );
        assert_eq!(placed == "a", fits, "{toleration} {effect}: {placed}");
    }
    let mut avoided = index(
        &[taint("PreferNoSchedule"), node("b", json!({}))],
        &[("b", needs("3", "3Gi"))],
    );
    assert_eq!(place(&mut avoided, json!({})), "b", "only when nowhere else fits");
    assert_eq!(place(&mut avoided, needs("2", "2Gi")), "a");
}

#[test]
fn what_may_pass_by_itself_is_told_from_what_will_not() {
    let under_way = |nodes: &[Node], assigned: &[(&str, Value)], spec: Value| {
        let demand = Demand::of(&task("new", spec));
        index(nodes, assigned).explain(&demand).under_way
    };
    let one = || [node("a", json!({}))];
    let mut once = needs("1", "3Gi");
    assert!(!under_way(&one(), &[("a", once.clone())], needs("1", "2Gi")));
    once["restartPolicy"] = json!("OnFailure");
    assert!(
        under_way(&one(), &[("a", once.clone())], needs("1", "2Gi")),
        "it ends by itself"
    );
    assert!(
        !under_way(&one(), &[("a", once)], needs("1", "5Gi")),
        "there is not so much in all"
    );
    let away = [node("a", json!({ "status": { "conditions": [] } }))];
    assert!(under_way(&away, &[], needs("1", "1Gi")));
    assert!(!under_way(&away, &[], json!({ "nodeSelector": { "disk": "ssd" } })));
    assert!(under_way(&[], &[], json!({})));
}

#[test]
fn what_fits_nowhere_waits_together_and_is_taken_up_by_what_it_waits_for() {
    let mut index = index(
        &[node("a", json!({})), node("b", json!({}))],
        &[("a", needs("0", "3Gi")), ("b", needs("0", "2Gi"))],
    );
    let mut queue = Queue::default();
    let urgent = json!({ "priority": 5, "resources": { "requests": { "memory": "4Gi" } } });
    for (name, spec) in [("x", needs("0", "3Gi")), ("y", needs("0", "3Gi")), ("z", urgent)] {
        let task = task(name, spec);
        queue.set(&format!("default/{name}"), &task, Demand::of(&task));
    }
    let mut order = Vec::new();
    while let Some((rank, demand)) = queue.take() {
        assert_eq!(index.place(&demand), None);
        order.push(rank.key.clone());
        queue.wait(rank, demand);
    }
    assert_eq!(order, ["default/z", "default/x", "default/y"], "priority, then age");
    assert_eq!(queue.waiting().count(), 2, "one look for each demand");
    assert!(!queue.wake(&mut index), "nothing has changed");
    // Told again without a change, they go on waiting.
    let same = task("x", needs("0", "3Gi"));
    queue.set("default/x", &same, Demand::of(&same));
    assert_eq!(queue.take(), None);
    // Room on a: enough for two of them, not for the third.
    index.set_task("default/t1", &task("t", needs("0", "2Gi")), Some("b"));
    assert!(!queue.wake(&mut index), "b has no more room");
    index.set_task("default/t0", &task("t", needs("0", "1Gi")), Some("a"));
    assert!(queue.wake(&mut index));
    let taken: Vec<String> = std::iter::from_fn(|| queue.take()).map(|(rank, _)| rank.key).collect();
    assert_eq!(taken, ["default/x", "default/y"]);
    queue.remove("default/z");
    assert!(queue.none_waiting());
    assert_eq!(queue, Queue::default());
}
