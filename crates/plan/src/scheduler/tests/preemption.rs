//! Who gives way to a more important Task, and for whom room is kept.
use proptest::prelude::*;

use super::*;

/// A Task of a priority that asks for so much memory, made so many seconds after 1970.
fn sized(priority: i32, memory: &str, made: i64) -> Task {
    let mut task = task(
        "t",
        json!({ "priority": priority, "resources": { "requests": { "memory": memory } } }),
    );
    task.metadata.creation_timestamp = jiff::Timestamp::from_second(made).ok();
    task
}

/// Nodes of 4 GiB, with these Tasks: name, node, priority, memory, age.
fn cluster(nodes: &[&str], tasks: &[(&str, &str, i32, &str, i64)]) -> Index {
    let mut index = index(&nodes.iter().map(|name| node(name, json!({}))).collect::<Vec<_>>(), &[]);
    for (name, node, priority, memory, made) in tasks {
        index.set_task(name, &sized(*priority, memory, *made), Some(node));
    }
    index
}

/// `node: victims`, or where else there will be room. What is known stays as it was.
fn room(index: &mut Index, task: &Task) -> String {
    let demand = Demand::of(task);
    assert_eq!(index.place(&demand), None);
    let before = index.clone().into_facts();
    let room = match index.find_room("default/urgent", &demand) {
        Room::Nowhere => "nowhere".to_owned(),
        Room::Leaving(node) => format!("{node} by itself"),
        Room::Taken { node, victims } => format!("{node}: {}", victims.join(" ")),
    };
    assert_eq!(index.clone().into_facts(), before);
    room
}

#[test]
fn the_fewest_and_least_important_give_way() {
    for (tasks, expected) in [
        // Lower ones only, and only where it helps.
        (vec![("x", "a", 10, "4Gi", 0), ("y", "b", 11, "4Gi", 0)], "nowhere"),
        (vec![("x", "a", 9, "4Gi", 0), ("y", "b", 11, "4Gi", 0)], "a: x"),
        // The lowest of the highest comes before the number.
        (
            vec![
                ("x", "a", 5, "4Gi", 0),
                ("y", "b", 4, "2Gi", 0),
                ("z", "b", 4, "2Gi", 0),
            ],
            "b: y z",
        ),
        // Who is given back first is the most important, and of those the oldest.
        (
            vec![
                ("low", "a", 1, "2Gi", 0),
                ("high", "a", 5, "1Gi", 0),
                ("w", "b", 10, "4Gi", 0),
            ],
            "a: low",
        ),
        (
            vec![
                ("old", "a", 1, "2Gi", 10),
                ("young", "a", 1, "2Gi", 20),
                ("w", "b", 10, "4Gi", 0),
            ],
            "a: young",
        ),
        // The sum, then the number, then the youngest.
        (
            vec![
                ("x", "a", 5, "3Gi", 0),
                ("y", "a", 5, "1Gi", 0),
                ("z", "b", 5, "4Gi", 0),
            ],
            "b: z",
        ),
        (vec![("x", "a", 5, "4Gi", 10), ("y", "b", 5, "4Gi", 20)], "b: y"),
        (vec![("x", "a", 5, "4Gi", 10), ("y", "b", 5, "4Gi", 10)], "a: x"),
    ] {
        let mut index = cluster(&["a", "b"], &tasks);
        let wants = if ["a: low", "a: young"].contains(&expected) {
            "2Gi"
        } else {
            "4Gi"
        };
        assert_eq!(room(&mut index, &sized(10, wants, 100)), expected, "{tasks:?}");
    }
}

#[test]
fn nobody_gives_way_for_nothing() {
    let cordoned = json!({ "spec": { "unschedulable": true } });
    let mut index = cluster(&["a"], &[("x", "a", 0, "4Gi", 0)]);
    let urgent = sized(10, "1Gi", 0);
    assert_eq!(room(&mut index, &urgent), "a: x");
    index.set_node(&node("a", cordoned));
    assert_eq!(room(&mut index, &urgent), "nowhere", "it would not fit there");
    index.set_node(&node("a", json!({})));
    assert_eq!(
        room(&mut index, &sized(10, "5Gi", 0)),
        "nowhere",
        "there is not so much in all"
    );

    // What is on its way out makes room by itself.
    let mut index = cluster(&["a", "b"], &[("x", "a", 20, "4Gi", 0), ("y", "b", 0, "4Gi", 0)]);
    let mut leaving = sized(20, "4Gi", 0);
    leaving.metadata.deletion_timestamp = Some(jiff::Timestamp::UNIX_EPOCH);
    assert_eq!(room(&mut index, &urgent), "b: y");
    index.set_task("x", &leaving, Some("a"));
    assert_eq!(room(&mut index, &urgent), "a by itself");
}

#[test]
fn who_is_in_the_way_gives_way_not_who_is_merely_lower() {
    let port = |priority: i32| json!({ "priority": priority, "ports": [{ "containerPort": 80, "hostPort": 80 }] });
    let mut index = cluster(&["a"], &[("idle", "a", 0, "1Gi", 0)]);
    index.set_task("web", &task("t", port(1)), Some("a"));
    assert_eq!(room(&mut index, &task("urgent", port(5))), "a: web");

    let mut index = cluster(&["a"], &[("idle", "a", 0, "1Gi", 0)]);
    let mut web = sized(3, "1Gi", 0);
    web.metadata.labels.insert("app".to_owned(), "web".to_owned());
    index.set_task("web", &web, Some("a"));
    let far = json!([{ "labelSelector": { "matchLabels": { "app": "web" } }, "topologyKey": "cube/node" }]);
    let far = json!({ "taskAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": far } });
    let loner = task("urgent", json!({ "priority": 5, "affinity": far }));
    assert_eq!(room(&mut index, &loner), "a: web");
}

#[test]
fn room_is_kept_from_others_that_are_no_more_important() {
    let mut index = cluster(&["a"], &[("x", "a", 0, "1Gi", 0)]);
    let mut urgent = sized(10, "3Gi", 0);
    urgent.status.nominated_node = Some("a".to_owned());
    index.set_task("default/urgent", &urgent, None);
    for (priority, fits) in [(0, false), (10, false), (11, true)] {
        let placed = index.place(&Demand::of(&sized(priority, "2Gi", 0)));
        assert_eq!(placed.is_some(), fits, "priority {priority}");
    }
    let demand = Demand::of(&urgent);
    assert_eq!(index.place(&demand), None, "not for others that ask for the same");
    assert_eq!(index.place_task("default/urgent", &demand).as_deref(), Some("a"));
    assert_eq!(index.place_task("default/other", &demand), None);
    index.set_task("default/urgent", &urgent, Some("a"));
    assert_eq!(
        place_task(&mut index, &sized(0, "1Gi", 0)),
        "0/1 node can run this: 1 lacks memory (needs 1Gi, most free is 0 on a)"
    );
    index.remove_task("default/urgent");
    assert_eq!(place_task(&mut index, &sized(0, "3Gi", 0)), "a", "it is kept no longer");
}

#[test]
fn who_has_room_kept_is_taken_up_when_it_is_free_and_others_are_not() {
    let mut index = cluster(&["a"], &[("x", "a", 0, "4Gi", 0)]);
    let mut queue = Queue::default();
    let mut urgent = sized(10, "3Gi", 0);
    for (key, room) in [("default/urgent", Some("a")), ("default/other", None)] {
        urgent.status.nominated_node = room.map(str::to_owned);
        index.set_task(key, &urgent, None);
        queue.set(key, &urgent, Demand::of(&urgent));
    }
    while let Some((rank, demand)) = queue.take() {
        assert_eq!(index.place_task(&rank.key, &demand), None);
        queue.wait(rank, demand);
    }
    index.remove_task("x");
    assert!(queue.wake(&mut index));
    let woken: Vec<String> = std::iter::from_fn(|| queue.take()).map(|(rank, _)| rank.key).collect();
    assert_eq!(woken, ["default/urgent"]);
    assert_eq!(
        index.find_room("default/urgent", &Demand::of(&urgent)),
        Room::Leaving("a".into()),
        "nobody gives way where there is room"
    );
}

/// Some Task: what it asks for, how important it is, and whether it is on its way out.
fn some_task(kind: u8, size: u8, priority: u8, leaves: bool) -> Task {
    let far = json!([{ "labelSelector": { "matchLabels": { "app": "x" } }, "topologyKey": "zone" }]);
    let mut spec = match kind {
        0 => json!({ "ports": [{ "containerPort": 80, "hostPort": 80 }] }),
        1 => json!({ "affinity": { "taskAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": far } } }),
        _ => json!({}),
    };
    spec["priority"] = json!(priority);
    spec["resources"] = json!({ "requests": { "memory": format!("{size}Gi") } });
    let mut task = task("t", spec);
    if kind == 2 {
        task.metadata.labels.insert("app".to_owned(), "x".to_owned());
    }
    task.metadata.deletion_timestamp = leaves.then_some(jiff::Timestamp::UNIX_EPOCH);
    task
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Who gives way is less important, is in the way, and is enough; where nobody gives way, nobody's doing so would help.
    #[test]
    fn who_gives_way_is_needed_and_enough(
        tasks in prop::collection::vec((0..3_u8, 0..4_u8, 0..4_u8, 0..4_u8, 0..8_u8), 0..14),
        wanted in (0..4_u8, 0..5_u8, 0..5_u8),
    ) {
        let zoned = |name: &str, zone: &str| node(name, json!({ "metadata": { "name": name, "labels": { "zone": zone } } }));
        let mut index = index(&[zoned("n0", "east"), zoned("n1", "west"), zoned("n2", "west")], &[]);
        let mut there = Vec::new();
        for (number, (node, kind, size, priority, leaves)) in tasks.into_iter().enumerate() {
            let (key, task) = (format!("default/t{number:02}"), some_task(kind, size, priority, leaves == 0));
            index.set_task(&key, &task, Some(&format!("n{node}")));
            there.push((key, format!("n{node}"), priority, leaves == 0));
        }
        let demand = Demand::of(&some_task(wanted.0, wanted.1, wanted.2, false));
        if index.place(&demand).is_some() {
            return Ok(());
        }
        let before = index.clone().into_facts();
        let room = index.find_room("default/urgent", &demand);
        prop_assert_eq!(index.clone().into_facts(), before, "what is known stays as it was");

        let without = |node: &str, gone: &dyn Fn(&str, u8, bool) -> bool| {
            let mut index = index.clone();
            for (key, on, priority, leaves) in &there {
                if on == node && gone(key, *priority, *leaves) {
                    index.remove_task(key);
                }
            }
            index.fits(node, &demand)
        };
        let lower = |_: &str, priority: u8, leaves: bool| leaves || i32::from(priority) < demand.priority;
        let important = i32::from(there.iter().map(|(_, _, priority, _)| *priority).min().unwrap_or(9)) < demand.priority;
        match room {
            Room::Nowhere => {
                for node in ["n0", "n1", "n2"] {
                    prop_assert!(!important || !without(node, &lower), "somebody on {} could have given way", node);
                }
            }
            Room::Leaving(node) => prop_assert!(without(&node, &|_, _, leaves| leaves)),
            Room::Taken { node, victims } => {
                for other in ["n0", "n1", "n2"] {
                    prop_assert!(!without(other, &|_, _, leaves| leaves), "waiting would have been enough");
                }
                let is_victim = |key: &str| victims.iter().any(|victim| &**victim == key);
                prop_assert!(without(&node, &|key, _, leaves| leaves || is_victim(key)), "it is not enough");
                for victim in &victims {
                    let (_, on, priority, leaves) = there.iter().find(|(key, ..)| **key == **victim).unwrap();
                    prop_assert!(*on == *node && i32::from(*priority) < demand.priority && !leaves);
                    let others = |key: &str, _: u8, leaves: bool| leaves || (is_victim(key) && *key != **victim);
                    prop_assert!(!without(&node, &others), "{} was not in the way", victim);
                }
            }
        }
    }
}
