//! Which of the nodes that fit is chosen: preferences first, then the policy.
use cube_api::placement::SchedulingPolicy;

use super::*;

fn two() -> [Node; 2] {
    [node("a", json!({})), node("b", json!({}))]
}

fn with(policy: SchedulingPolicy, nodes: &[Node], assigned: &[(&str, Value)]) -> Index {
    let mut index = Index::new(policy);
    for node in nodes {
        index.set_node(node);
    }
    for (number, (node, spec)) in assigned.iter().enumerate() {
        index.set_task(&format!("default/t{number}"), &task("t", spec.clone()), Some(node));
    }
    index
}

/// Places so many of the Task, each with the ones before it in its place.
fn burst(index: &mut Index, task: &Task, number: usize) -> String {
    let mut placed = String::new();
    for one in 0..number {
        let node = index.place(&Demand::of(task)).unwrap();
        index.set_task(&format!("default/{}-{one}", task.metadata.name), task, Some(&node));
        placed.push_str(&node);
    }
    placed
}

#[test]
fn spread_takes_the_least_loaded_and_parts_kin() {
    assert_eq!(
        place(&mut index(&two(), &[]), json!({})),
        "a",
        "of equals the first by name"
    );
    assert_eq!(place(&mut index(&two(), &[("a", json!({}))]), json!({})), "b");
    let mut loaded = index(&two(), &[("a", needs("1", "1Gi")), ("b", json!({})), ("b", json!({}))]);
    assert_eq!(place(&mut loaded, json!({})), "b", "load counts before number");

    let mut kin = index(&two(), &[("a", needs("3", "3Gi"))]);
    let web = of("web", task("web", json!({})));
    kin.set_task("default/web-1", &web, Some("b"));
    assert_eq!(
        place_task(&mut kin, &web),
        "a",
        "two of one Deployment are not put together"
    );
}

#[test]
fn tasks_that_ask_for_nothing_are_spread_too() {
    let mut index = index(&two(), &[]);
    assert_eq!(burst(&mut index, &task("t", json!({})), 6), "ababab");
}

#[test]
fn binpack_fills_the_fullest() {
    let mut index = with(SchedulingPolicy::Binpack, &two(), &[("b", needs("1", "1Gi"))]);
    assert_eq!(burst(&mut index, &task("t", needs("1", "1Gi")), 4), "bbba");
}

#[test]
fn round_robin_goes_on_after_the_last() {
    let nodes = ["a", "b", "c"].map(|name| node(name, json!({})));
    let mut index = with(SchedulingPolicy::RoundRobin, &nodes, &[]);
    assert_eq!(burst(&mut index, &task("t", needs("1", "1Gi")), 4), "abca");
    index.set_node(&node("b", json!({ "spec": { "unschedulable": true } })));
    assert_eq!(
        burst(&mut index, &task("u", json!({ "schedulingPolicy": "round-robin" })), 3),
        "cac"
    );
    // A Task of another policy does not take a turn.
    index.set_task(
        "default/x",
        &task("x", json!({ "schedulingPolicy": "spread" })),
        Some("a"),
    );
    assert_eq!(place(&mut index, json!({})), "a");
}

#[test]
fn round_robin_goes_on_where_it_was_after_a_new_start() {
    let mut index = with(SchedulingPolicy::RoundRobin, &[], &[]);
    for name in ["a", "b", "c"] {
        index.set_node(&node(name, json!({})));
    }
    // As they are listed, not as they were given.
    for (name, node, epoch) in [("x", "c", 7), ("y", "b", 9), ("z", "a", 8)] {
        let mut task = task(name, json!({}));
        task.status.node = Some(node.to_owned());
        task.status.epoch = epoch;
        index.set_task(&format!("default/{name}"), &task, None);
    }
    assert_eq!(place(&mut index, json!({})), "c");
}

#[test]
fn greedy_takes_the_first_that_fits() {
    let mut index = with(SchedulingPolicy::Greedy, &two(), &[]);
    assert_eq!(burst(&mut index, &task("t", needs("1", "1Gi")), 6), "aaaabb");
}

#[test]
fn a_tasks_own_policy_comes_before_the_clusters() {
    let mut index = with(SchedulingPolicy::Spread, &two(), &[("b", needs("1", "1Gi"))]);
    assert_eq!(place(&mut index, json!({})), "a");
    assert_eq!(place(&mut index, json!({ "schedulingPolicy": "binpack" })), "b");
    assert_eq!(place(&mut index, json!({ "schedulingPolicy": "greedy" })), "a");
}

/// Two nodes, so n = 2. A Task of 1 CPU and 1 GiB comes to a node of 4 and 4:
///
/// | node | CPU used | memory used | cost |
/// |---|---|---|---|
/// | empty | 0 | 0 | 2 × (2^0.25 − 2^0) = 2 × 0.189207115 |
/// | half | 2 | 2 | 2 × (2^0.75 − 2^0.5) = 2 × 0.267579269 |
/// | uneven | 2 | 0 | 0.267579269 + 0.189207115 |
#[test]
fn e_pvm_costs_what_is_worked_out_by_hand() {
    let used = |cpu: &str, memory: &str| Usage::of(&Demand::of(&task("t", needs(cpu, memory))));
    let there = super::super::node::Allocatable {
        cpu: 4000,
        memory: 4 << 30,
        disk: 0,
        tasks: None,
    };
    let one = used("1", "1Gi");
    let cost = |before| super::super::score::opportunity_cost(before, one, there, 2, 0);
    let near = |cost: u64, expected: u64| assert!(cost.abs_diff(expected) <= 2, "{cost} is not {expected}");
    near(cost(Usage::default()), 378_414_230);
    near(cost(used("2", "2Gi")), 535_158_538);
    near(cost(used("2", "1")), 456_786_384);
}

#[test]
fn e_pvm_takes_the_node_that_has_most_to_spare_of_what_is_scarce() {
    // b has more left in all (3 + 1 against 2 + 1.9), but its memory is scarce: 4^(4/4) − 4^(3/4) is dear.
    let assigned = [("a", needs("2", "2150Mi")), ("b", needs("1", "3Gi"))];
    let mut index = with(SchedulingPolicy::EPvm, &two(), &assigned);
    assert_eq!(place(&mut index, needs("500m", "1Gi")), "a");
    // More nodes make what is scarce dearer still, and change the order's base.
    for name in ["c", "d"] {
        index.set_node(&node(name, json!({ "spec": { "unschedulable": true } })));
    }
    assert_eq!(place(&mut index, needs("500m", "1Gi")), "a");
}

#[test]
fn a_node_that_has_the_image_is_preferred_but_not_for_ever() {
    let image = json!({ "status": { "images": [{ "names": ["docker.io/library/x:latest"], "sizeBytes": 1 }] } });
    let nodes = [node("a", json!({})), node("b", image)];
    let mut index = index(&nodes, &[]);
    let placed = burst(&mut index, &task("t", needs("200m", "200Mi")), 6);
    assert_eq!(placed, "bbbaba", "a tenth of the load, and no more");
}

#[test]
fn preferences_come_before_the_policy_in_their_order() {
    let taint = json!([{ "key": "k", "effect": "PreferNoSchedule" }]);
    let rather = |weight: u8, disk: &str| json!({ "weight": weight, "preference": { "matchExpressions": [{ "key": "disk", "operator": "In", "values": [disk] }] } });
    let labelled = |name: &str, disk: &str, taints: Value| {
        node(
            name,
            json!({ "metadata": { "name": name, "labels": { "disk": disk, "zone": name } }, "spec": { "taints": taints } }),
        )
    };
    let nodes = [
        labelled("a", "hdd", json!([])),
        labelled("b", "ssd", json!([])),
        labelled("c", "nvme", taint),
    ];
    let assigned = [("b", needs("3", "3Gi"))];
    let prefers = |terms: Value| json!({ "affinity": { "nodeAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": terms } } });
    for (terms, expected) in [
        (json!([]), "a"),
        (json!([rather(1, "ssd")]), "b"),
        (json!([rather(100, "nvme")]), "a"),
        (json!([rather(40, "ssd"), rather(60, "hdd")]), "a"),
        (json!([rather(40, "ssd"), rather(30, "hdd"), rather(30, "ssd")]), "b"),
    ] {
        assert_eq!(
            place(&mut index(&nodes, &assigned), prefers(terms.clone())),
            expected,
            "{terms}"
        );
    }
    // Soft spread yields to weights, and comes before load.
    let soft = json!([{ "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": { "matchLabels": { "app": "web" } } }]);
    let mut index = index(&nodes, &assigned);
    let mut web = task("web", json!({ "topologySpreadConstraints": soft }));
    web.metadata.labels.insert("app".to_owned(), "web".to_owned());
    index.set_task("default/web-0", &web, Some("a"));
    assert_eq!(place_task(&mut index, &web), "b");
    web.spec.affinity.node_affinity =
        serde_json::from_value(prefers(json!([rather(1, "hdd")]))["affinity"]["nodeAffinity"].clone()).unwrap();
    assert_eq!(place_task(&mut index, &web), "a");
}
