//! What other schedulers of this size get wrong, each once.
use cube_api::placement::SchedulingPolicy;

use super::*;

#[test]
fn a_dead_node_does_not_win_by_its_zero_load() {
    for policy in SchedulingPolicy::ALL {
        let dead = node(
            "a",
            json!({ "status": { "conditions": [{ "type": "Ready", "status": "Unknown" }] } }),
        );
        let mut index = Index::new(policy);
        index.set_node(&dead);
        index.set_node(&node("b", json!({})));
        index.set_task("default/busy", &task("busy", needs("3", "3Gi")), Some("b"));
        assert_eq!(place(&mut index, needs("1", "1Gi")), "b", "{policy:?}");
    }
}

#[test]
fn the_cpu_counts_in_the_opportunity_cost() {
    // The memory is the same: only the CPU tells the nodes apart.
    for (a, b, expected) in [("3", "1", "b"), ("1", "3", "a")] {
        let mut index = Index::new(SchedulingPolicy::EPvm);
        for name in ["a", "b"] {
            index.set_node(&node(name, json!({})));
        }
        index.set_task("default/a", &task("a", needs(a, "1Gi")), Some("a"));
        index.set_task("default/b", &task("b", needs(b, "1Gi")), Some("b"));
        assert_eq!(place(&mut index, needs("500m", "1Gi")), expected);
    }
}

#[test]
fn memory_used_and_memory_asked_for_are_in_the_same_unit() {
    for (used, asked, fits) in [
        ("3Gi", "1024Mi", true),
        ("3Gi", "1048576Ki", true),
        ("3Gi", "1073741824", true),
        ("3Gi", "1073741825", false),
        ("3072Mi", "1025Mi", false),
        ("3221225472", "1G", true),
        ("3221225472", "1.1G", false),
    ] {
        let mut index = index(&[node("a", json!({}))], &[("a", needs("0", used))]);
        assert_eq!(
            place(&mut index, needs("0", asked)) == "a",
            fits,
            "{asked} beside {used}"
        );
    }
}

#[test]
fn disk_that_is_asked_for_is_there() {
    let disk = |amount: &str| json!({ "resources": { "requests": { "ephemeral-storage": amount } } });
    let with = |name: &str, amount: &str| {
        node(
            name,
            json!({ "status": { "allocatable": { "cpu": "4", "memory": "4Gi", "ephemeral-storage": amount } } }),
        )
    };
    let mut index = index(&[with("a", "10Gi"), with("b", "8Gi")], &[("a", disk("7Gi"))]);
    assert_eq!(place(&mut index, disk("8Gi")), "b");
    index.set_task("default/b", &task("b", disk("5Gi")), Some("b"));
    assert_eq!(
        place(&mut index, disk("8Gi")),
        "0/2 nodes can run this: 2 lack disk (needs 8Gi, most free is 3Gi on a); \
         asking for 3Gi of disk would fit now on a"
    );
    // A node that does not say what it has, has none to promise.
    let mut silent = super::index(&[node("a", json!({}))], &[]);
    assert!(place(&mut silent, disk("1")).starts_with("0/1 node can run this: 1 lacks disk"));
    assert_eq!(place(&mut silent, json!({})), "a");
}

#[test]
fn what_fits_nowhere_is_not_lost_and_blocks_nobody() {
    let mut index = index(&[node("a", json!({}))], &[]);
    let mut queue = Queue::default();
    for number in 0..100 {
        let huge = task(&format!("huge-{number}"), needs("0", &format!("{}Gi", 5 + number)));
        queue.set(&format!("default/huge-{number}"), &huge, Demand::of(&huge));
        let small = task(&format!("small-{number}"), needs("0", "1Mi"));
        queue.set(&format!("default/small-{number}"), &small, Demand::of(&small));
    }
    let mut placed = 0;
    while let Some((rank, demand)) = queue.take() {
        match index.place_task(&rank.key, &demand) {
            Some(node) => {
                let small = task("small", needs("0", "1Mi"));
                index.set(&rank.key, &small, &demand, Some(&node));
                placed += 1;
            }
            None => queue.wait(rank, demand),
        }
    }
    assert_eq!(placed, 100);
    assert_eq!(queue.waiting().count(), 100, "all of the others are still there");
    let vast = json!({ "status": { "allocatable": { "cpu": "4", "memory": "54Gi" } } });
    index.set_node(&node("b", vast));
    assert!(queue.wake(&mut index));
    let woken = std::iter::from_fn(|| queue.take()).count();
    assert_eq!(woken, 50, "those for which there is room now, and no others");
}
