//! Tables for what is refused and how it is told; properties of the index and the queue.
use std::collections::BTreeMap;

use cube_api::{kinds::Resource, node::Node, task::Task};
use proptest::prelude::*;
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

fn place(index: &Index, spec: Value) -> String {
    match index.place(&Demand::of(&task("new", spec))) {
        Ok(node) => node.to_owned(),
        Err(why) => why.message,
    }
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
        // Who asks for nothing fits where more was given away than there is.
        (vec![ready("a")], vec![("a", needs("9", "9Gi"))], json!({}), "a"),
    ] {
        assert_eq!(place(&index(&nodes, &assigned), spec), expected);
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
        let placed = place(&index(&[taint(effect)], &[]), json!({ "tolerations": [toleration] }));
        assert_eq!(placed == "a", fits, "{toleration} {effect}: {placed}");
    }
    let avoided = index(
        &[taint("PreferNoSchedule"), node("b", json!({}))],
        &[("b", needs("3", "3Gi"))],
    );
    assert_eq!(place(&avoided, json!({})), "b", "only when nowhere else fits");
    assert_eq!(place(&avoided, needs("2", "2Gi")), "a");
}

#[test]
fn the_least_loaded_is_best_and_kin_are_spread() {
    let two = || [node("a", json!({})), node("b", json!({}))];
    assert_eq!(
        place(&index(&two(), &[]), json!({})),
        "a",
        "of equals the first by name"
    );
    assert_eq!(place(&index(&two(), &[("a", json!({}))]), json!({})), "b");
    let loaded = index(&two(), &[("a", needs("1", "1Gi")), ("b", json!({})), ("b", json!({}))]);
    assert_eq!(place(&loaded, json!({})), "b", "load counts before number");

    let mut kin = index(&two(), &[("a", needs("3", "3Gi"))]);
    let mut web = task("web", json!({}));
    web.metadata.owner_references = vec![cube_api::meta::OwnerReference {
        uid: "web".to_owned(),
        controller: true,
        ..Default::default()
    }];
    kin.set_task("default/web-1", &web, Some("b"));
    assert_eq!(
        kin.place(&Demand::of(&web)).unwrap(),
        "a",
        "two of one Deployment are not put together"
    );
}

#[test]
fn what_may_pass_by_itself_is_told_from_what_will_not() {
    let under_way = |nodes: &[Node], assigned: &[(&str, Value)], spec: Value| {
        let demand = Demand::of(&task("new", spec));
        index(nodes, assigned).place(&demand).unwrap_err().under_way
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
        queue.set(&format!("default/{name}"), &task(name, spec));
    }
    let mut order = Vec::new();
    while let Some((rank, demand)) = queue.take() {
        assert!(index.place(&demand).is_err());
        order.push(rank.key.clone());
        queue.wait(rank, demand);
    }
    assert_eq!(order, ["default/z", "default/x", "default/y"], "priority, then age");
    assert_eq!(queue.explained(&index).count(), 2, "one look for each demand");
    // Told again without a change, they go on waiting.
    queue.set("default/x", &task("x", needs("0", "3Gi")));
    assert_eq!(queue.take(), None);
    // Room on a: enough for two of them, not for the third.
    assert_eq!(
        index
            .set_task("default/t0", &task("t", needs("0", "1Gi")), Some("a"))
            .as_deref(),
        Some("a")
    );
    queue.node_changed(&index, "b");
    assert_eq!(queue.take(), None, "b has no more room");
    queue.node_changed(&index, "a");
    let taken: Vec<String> = std::iter::from_fn(|| queue.take()).map(|(rank, _)| rank.key).collect();
    assert_eq!(taken, ["default/x", "default/y"]);
    queue.remove("default/z");
    assert!(queue.none_waiting());
    assert_eq!(queue, Queue::default());
}

/// What can happen to nodes and Tasks.
#[derive(Clone, Debug)]
enum Happening {
    Node(u8, bool, u8),
    NodeGone(u8),
    Task(u8, Option<u8>, u8, u8),
    TaskGone(u8),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        (0..4_u8, any::<bool>(), 0..3_u8).prop_map(|(node, cordoned, label)| Happening::Node(node, cordoned, label)),
        (0..4_u8).prop_map(Happening::NodeGone),
        (0..8_u8, prop::option::of(0..4_u8), 0..4_u8, 0..6_u8)
            .prop_map(|(name, node, size, state)| Happening::Task(name, node, size, state)),
        (0..8_u8).prop_map(Happening::TaskGone),
    ]
}

fn some_task(name: u8, node: Option<u8>, size: u8, state: u8) -> Task {
    let spec = json!({
        "ports": if size == 3 { json!([{ "containerPort": 80, "hostPort": 80 + u16::from(state) % 2 }]) } else { json!([]) },
        "resources": { "requests": { "cpu": format!("{size}"), "memory": format!("{size}Gi") } },
        "restartPolicy": if state == 4 { "Never" } else { "Always" },
    });
    let mut task = task(&format!("t{name}"), spec);
    task.status.node = node.map(|node| format!("n{node}"));
    match state {
        0 => task.status.phase = cube_api::task::Phase::Failed,
        1 => task.metadata.deletion_timestamp = Some(jiff::Timestamp::UNIX_EPOCH),
        2 | 3 => {
            task.metadata.owner_references = vec![cube_api::meta::OwnerReference {
                uid: format!("web-{state}"),
                controller: true,
                ..Default::default()
            }];
        }
        _ => {}
    }
    task
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// However it came to be, the index is what it would be if it were built from nothing; and no
    /// node gets room without its being said.
    #[test]
    fn the_index_is_what_it_would_be_if_it_were_built_from_nothing(happenings in prop::collection::vec(happening(), 0..60)) {
        let (mut nodes, mut tasks) = (BTreeMap::new(), BTreeMap::new());
        let mut index = Index::default();
        for happening in happenings {
            let before = index.clone();
            let freed = match happening {
                Happening::Node(number, cordoned, label) => {
                    let name = format!("n{number}");
                    let more = json!({ "metadata": { "name": name, "labels": { "l": label.to_string() } }, "spec": { "unschedulable": cordoned } });
                    let node = node(&name, more);
                    index.set_node(&node);
                    nodes.insert(name.clone(), node);
                    Some(name)
                }
                Happening::NodeGone(number) => {
                    let name = format!("n{number}");
                    index.remove_node(&name);
                    nodes.remove(&name);
                    Some(name)
                }
                Happening::Task(name, node, size, state) => {
                    let task = some_task(name, node, size, state);
                    let freed = index.set_task(&format!("default/t{name}"), &task, None);
                    tasks.insert(name, task);
                    freed
                }
                Happening::TaskGone(name) => {
                    tasks.remove(&name);
                    index.remove_task(&format!("default/t{name}"))
                }
            };
            for number in 0..4 {
                let node = format!("n{number}");
                for size in 0..5 {
                    let demand = Demand::of(&some_task(9, None, size, 3));
                    if freed.as_deref() != Some(&node) && index.fits(&node, &demand) {
                        prop_assert!(before.fits(&node, &demand), "{node} has room that nobody told of");
                    }
                }
            }
        }
        let mut anew = Index::default();
        for (name, task) in &tasks {
            anew.set_task(&format!("default/t{name}"), task, None);
        }
        for node in nodes.values() {
            anew.set_node(node);
        }
        prop_assert_eq!(index, anew);
    }
}
