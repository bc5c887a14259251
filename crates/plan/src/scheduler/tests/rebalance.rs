//! What moves for the sake of balance, and what does not; over generated worlds: only what makes things better, and nothing
//! twice.
use std::collections::BTreeMap;

use cube_api::{
    deployment::Deployment,
    kinds::AnyResource,
    placement::SchedulingPolicy,
    rebalance::{MoveManner, RebalancePlan},
    task::Phase,
};
use proptest::prelude::*;

use super::*;

/// A cluster at rest.
#[derive(Clone, Debug, Default)]
struct World {
    policy: SchedulingPolicy,
    nodes: BTreeMap<String, Node>,
    tasks: BTreeMap<String, Task>,
    deployments: Vec<Deployment>,
}

impl World {
    fn of(nodes: &[&str]) -> Self {
        let nodes = nodes.iter().map(|name| ((*name).to_owned(), node(name, json!({}))));
        Self {
            nodes: nodes.collect(),
            ..Self::default()
        }
    }

    /// A Task that runs there.
    fn on(&mut self, node: &str, mut task: Task) -> &mut Self {
        task.status.node = Some(node.to_owned());
        task.status.phase = Phase::Running;
        let name = format!("{}-{}", task.metadata.name, self.tasks.len());
        task.metadata.uid.clone_from(&name);
        task.metadata.namespace = Some("default".to_owned());
        task.metadata.name.clone_from(&name);
        self.tasks.insert(name, task);
        self
    }

    /// So many Tasks of a Deployment there, or there.
    fn deployed(&mut self, name: &str, spec: &Value, places: &[(&str, u32)]) -> &mut Self {
        let mut deployment = Deployment::default();
        deployment.metadata.name = name.to_owned();
        deployment.metadata.uid = name.to_owned();
        let template = task(name, spec.clone());
        deployment.spec.template.spec = template.spec.clone();
        let total = places.iter().map(|(_, number)| number).sum();
        deployment.spec.replicas = total;
        let status = &mut deployment.status;
        (status.replicas, status.updated_replicas, status.available_replicas) = (total, total, total);
        self.deployments.push(deployment);
        for (node, number) in places {
            for _ in 0..*number {
                self.on(node, of(name, template.clone()));
            }
        }
        self
    }

    fn index(&self) -> Index {
        let mut index = Index::new(self.policy);
        for node in self.nodes.values() {
            index.set_node(node);
        }
        for (name, task) in &self.tasks {
            index.set_task(&format!("default/{name}"), task, None);
        }
        index
    }

    fn rebalancer(&self, restarts: bool) -> Rebalancer {
        let tasks = self.tasks.values().map(|task| task as &dyn AnyResource);
        let nodes = self.nodes.values().map(|node| node as &dyn AnyResource);
        let deployments = self.deployments.iter().map(|deployment| deployment as &dyn AnyResource);
        Rebalancer::new(self.policy, tasks.chain(nodes).chain(deployments), restarts)
    }

    fn plan(&self, restarts: bool) -> RebalancePlan {
        self.rebalancer(restarts).plan(usize::MAX)
    }

    /// As the scheduler and the Deployments' loop would carry it out: the one in its place is placed beside it, then it goes.
    fn carry_out(&mut self, plan: &RebalancePlan) {
        for planned in &plan.moves {
            let mut index = self.index();
            let old = self.tasks.remove(&planned.name).unwrap();
            assert_eq!(old.status.node.as_ref(), Some(&planned.from));
            if planned.how != MoveManner::StartFirst {
                index.remove_task(&format!("default/{}", planned.name));
            }
            let placed = index.place(&Demand::of(&old)).unwrap();
            assert_eq!(*placed, *planned.to, "{planned:?}");
            let (name, to) = (format!("{}x", planned.name), planned.to.clone());
            let mut new = old;
            (new.metadata.name, new.metadata.uid, new.status.node) = (name.clone(), name.clone(), Some(to));
            self.tasks.insert(name, new);
        }
    }

    /// How many Tasks each node has.
    fn places(&self) -> Vec<usize> {
        let on = |name: &&String| {
            let tasks = self.tasks.values();
            tasks.filter(|task| task.status.node.as_ref() == Some(*name)).count()
        };
        self.nodes.keys().map(|name| on(&name)).collect()
    }
}

/// `web-0: a -> c (start-first)`.
fn shown(plan: &RebalancePlan) -> Vec<String> {
    let shown = plan.moves.iter().map(|planned| {
        let how = planned.how.as_str();
        format!(
            "{}: {} -> {} ({how}) {}",
            planned.name, planned.from, planned.to, planned.why
        )
    });
    shown.collect()
}

fn why_not(plan: &RebalancePlan) -> Vec<String> {
    let told = plan.stays.iter();
    told.map(|staying| format!("{} {}", staying.tasks, staying.why))
        .collect()
}

#[test]
fn a_node_that_has_returned_gets_its_share_with_the_fewest_moves() {
    let mut world = World::of(&["a", "b", "c"]);
    world.deployed("web", &json!({}), &[("a", 3), ("b", 3)]);
    let plan = world.plan(false);
    assert_eq!(
        shown(&plan),
        [
            "web-0: a -> c (start-first) 3 of its Deployment on a, 0 on c",
            "web-3: b -> c (start-first) 3 of its Deployment on b, 1 on c",
        ]
    );
    let carried = |node: usize| (plan.nodes[node].before.tasks, plan.nodes[node].after.tasks);
    assert_eq!([carried(0), carried(1), carried(2)], [(3, 2), (3, 2), (0, 2)]);
    assert_eq!(world.rebalancer(false).confirm(&plan.moves), Ok(()));
    world.carry_out(&plan);
    assert_eq!(world.places(), [2, 2, 2]);
    assert_eq!(world.plan(true).moves, []);
}

#[test]
fn many_small_deployments_are_evened_out_by_load_and_the_heavy_go_first() {
    let mut world = World::of(&["a", "b"]);
    for (name, memory) in [
        ("large", "1Gi"),
        ("middle", "512Mi"),
        ("small", "64Mi"),
        ("tiny", "16Mi"),
    ] {
        world.deployed(name, &needs("100m", memory), &[("a", 1)]);
    }
    let plan = world.plan(false);
    assert_eq!(
        shown(&plan),
        ["large-0: a -> b (start-first) a is loaded 25 %, b 14 % with it"]
    );
    world.carry_out(&plan);
    assert_eq!(world.plan(false).moves, []);
}

#[test]
fn what_may_not_move_stays_and_it_is_told_why() {
    let volume =
        json!({ "volumes": [{ "name": "v", "volume": "db" }], "volumeMounts": [{ "name": "v", "mountPath": "/v" }] });
    let path = json!({ "volumes": [{ "name": "v", "hostPath": { "path": "/srv" } }],
                       "volumeMounts": [{ "name": "v", "mountPath": "/v" }] });
    let near = json!({ "nodeSelector": { "disk": "ssd" } });
    for (spec, expected) in [
        (volume, vec!["6 its data is on its node"]),
        (path, vec!["6 its data is on its node"]),
        (
            json!({ "schedulingPolicy": "binpack" }),
            vec!["6 policy binpack fills nodes one after the other"],
        ),
        (
            json!({ "schedulingPolicy": "greedy" }),
            vec!["6 policy greedy does not go by load"],
        ),
        (
            json!({ "schedulingPolicy": "round-robin" }),
            vec!["6 policy round-robin does not go by load"],
        ),
        (near, vec![]),
        (json!({ "priority": 5 }), vec!["3 move"]),
        // It does not count those of a Deployment: 4 and 2 are near enough by load.
        (json!({ "schedulingPolicy": "e-pvm" }), vec!["2 move"]),
    ] {
        let mut world = World::of(&["a", "b"]);
        let labels = json!({ "metadata": { "name": "a", "labels": { "disk": "ssd" } } });
        world.nodes.insert("a".to_owned(), node("a", labels));
        world.deployed("web", &spec, &[("a", 6)]);
        let plan = world.plan(true);
        let mut told = why_not(&plan);
        if !plan.moves.is_empty() {
            told.push(format!("{} move", plan.moves.len()));
        }
        assert_eq!(told, expected, "{spec}");
    }
}

#[test]
fn what_would_stop_first_moves_only_when_that_is_asked_for() {
    let mut world = World::of(&["a", "b"]);
    let large = needs("1", "1Gi");
    world.on("a", task("alone", large.clone()));
    world.on("a", task("alone", large.clone()));
    let mut once = large.clone();
    once["restartPolicy"] = json!("OnFailure");
    world.on("a", task("job", once));
    let plan = world.plan(false);
    assert_eq!(shown(&plan), [] as [&str; 0]);
    assert_eq!(
        why_not(&plan),
        [
            "1 it runs once, and would begin anew",
            "2 no Deployment starts another one first; --restart moves it all the same",
        ]
    );
    let plan = world.plan(true);
    assert_eq!(
        shown(&plan),
        ["alone-0: a -> b (restart) a is loaded 75 %, b 25 % with it"]
    );

    let mut port = large;
    port["ports"] = json!([{ "containerPort": 80, "hostPort": 80 }]);
    let mut world = World::of(&["a", "b"]);
    world.on("a", task("busy", needs("2", "2Gi")));
    world.deployed("web", &port, &[("a", 1)]);
    assert_eq!(world.plan(false).moves, []);
    let plan = world.plan(true);
    assert_eq!(plan.moves.len(), 1);
    assert!(shown(&plan)[0].contains("-> b"), "{:?}", shown(&plan));
    assert_eq!(
        world
            .rebalancer(false)
            .confirm(&plan.moves)
            .unwrap_err()
            .split(':')
            .count(),
        2
    );
}

#[test]
fn nodes_and_deployments_that_are_not_at_rest_take_no_part() {
    let even = |change: fn(&mut World)| {
        let mut world = World::of(&["a", "b", "c"]);
        world.deployed("web", &json!({}), &[("a", 6)]);
        change(&mut world);
        let plan = world.plan(false);
        world.carry_out(&plan);
        world.places()
    };
    let cordon = |world: &mut World| world.nodes.get_mut("c").unwrap().spec.unschedulable = true;
    let drain = |world: &mut World| world.nodes.get_mut("a").unwrap().spec.drain = Some(Default::default());
    let away = |world: &mut World| world.nodes.get_mut("b").unwrap().status.conditions.clear();
    let rolls = |world: &mut World| world.deployments[0].status.updated_replicas = 3;
    assert_eq!(even(|_| {}), [2, 2, 2]);
    assert_eq!(even(cordon), [3, 3, 0]);
    assert_eq!(even(drain), [6, 0, 0]);
    assert_eq!(even(away), [3, 0, 3]);
    assert_eq!(even(rolls), [6, 0, 0]);
}

#[test]
fn wishes_about_others_hold_before_and_after() {
    let zones = |nodes: &[(&str, &str)]| {
        let mut world = World::default();
        for (name, zone) in nodes {
            let labelled = json!({ "metadata": { "name": name, "labels": { "zone": zone } } });
            world.nodes.insert((*name).to_owned(), node(name, labelled));
        }
        world
    };
    // A zone that has returned gets its half, although its one node then has more than the others.
    let spread = json!({ "topologySpreadConstraints":
        [{ "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule" }] });
    let mut world = zones(&[("a", "east"), ("b", "east"), ("c", "west")]);
    world.deployed("web", &spread, &[("a", 3), ("b", 3)]);
    let plan = world.plan(false);
    world.carry_out(&plan);
    assert_eq!(world.places()[2], 3, "{:?}", shown(&plan));
    assert!(
        shown(&plan).last().unwrap().ends_with("more even over zone"),
        "{:?}",
        shown(&plan)
    );
    assert_eq!(world.plan(false).moves, []);

    // Another one must be near: the last of those that it needs stays.
    let mut world = World::of(&["a", "b"]);
    let near = json!({ "affinity": { "taskAffinity": { "requiredDuringSchedulingIgnoredDuringExecution":
        [{ "labelSelector": { "matchLabels": { "app": "db" } }, "topologyKey": "cube/node" }] } } });
    let mut db = task("db", needs("2", "2Gi"));
    db.metadata.labels.insert("app".to_owned(), "db".to_owned());
    world.on("a", db.clone());
    world.on("a", task("busy", needs("1", "1Gi")));
    world.deployed("web", &near, &[("a", 1)]);
    let plan = world.plan(true);
    assert_eq!(plan.moves.len(), 1);
    assert!(plan.moves[0].name.starts_with("busy"), "{:?}", shown(&plan));
}

#[test]
fn a_plan_is_carried_out_as_it_was_shown_or_refused() {
    let mut world = World::of(&["a", "b", "c"]);
    world.deployed("web", &json!({}), &[("a", 3), ("b", 3)]);
    let plan = world.plan(false);
    let refused = |world: &World| world.rebalancer(false).confirm(&plan.moves).unwrap_err();
    let mut other = world.clone();
    other.tasks.remove("web-0");
    assert_eq!(
        refused(&other),
        "task default/web-0: it is no longer there, or may no longer move"
    );
    let mut other = world.clone();
    other.tasks.get_mut("web-0").unwrap().metadata.uid = "new".to_owned();
    assert_eq!(refused(&other), "task default/web-0: it is another one now");
    let mut other = world.clone();
    other.nodes.insert("d".to_owned(), node("bb", json!({})));
    assert_eq!(refused(&other), "task default/web-0: it would go to node bb now");
    let mut other = world.clone();
    other.nodes.get_mut("c").unwrap().spec.unschedulable = true;
    assert_eq!(
        refused(&other),
        "task default/web-0: that it goes to node c makes nothing better now"
    );
}

/// A world, however it came to be.
fn world() -> impl Strategy<Value = World> {
    let sorts = prop::collection::vec((0..8_u8, 0..4_u8, prop::collection::vec(0..4_u32, 5)), 1..7);
    let nodes = prop::collection::vec(0..8_u8, 2..6);
    (nodes, sorts, 0..2_usize).prop_map(|(nodes, sorts, policy)| {
        let mut world = World {
            policy: [SchedulingPolicy::Spread, SchedulingPolicy::EPvm][policy],
            ..World::default()
        };
        for (number, manner) in nodes.iter().enumerate() {
            let name = format!("n{number}");
            let mut labels = json!({ "zone": if manner % 2 == 0 { "east" } else { "west" } });
            if *manner == 5 {
                labels = json!({});
            }
            let mut node = node(&name, json!({ "metadata": { "name": name, "labels": labels } }));
            node.spec.unschedulable = *manner == 6;
            if *manner == 4 {
                node.status.allocatable.memory = cube_api::quantity::Quantity::bytes(16 << 30);
            }
            if *manner == 3 {
                node.status.images = serde_json::from_value(json!([{ "names": ["x"] }])).unwrap();
            }
            world.nodes.insert(name, node);
        }
        for (number, (sort, size, places)) in sorts.iter().enumerate() {
            let name = format!("d{number}");
            let mut spec = match sort {
                1 => json!({ "topologySpreadConstraints": [{ "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule" }] }),
                2 => json!({ "topologySpreadConstraints": [{ "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway" }] }),
                3 => json!({ "nodeSelector": { "zone": "east" } }),
                4 => json!({ "affinity": { "nodeAffinity": { "preferredDuringSchedulingIgnoredDuringExecution":
                    [{ "weight": 3, "preference": { "matchExpressions": [{ "key": "zone", "operator": "In", "values": ["west"] }] } }] } } }),
                5 => json!({ "affinity": { "taskAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution":
                    [{ "labelSelector": { "matchLabels": { "app": "d0" } }, "topologyKey": "cube/node" }] } } }),
                _ => json!({}),
            };
            spec["resources"]["requests"]["memory"] = json!(format!("{}Mi", 100 * u32::from(*size) * u32::from(*size)));
            let places: Vec<(String, u32)> = places
                .iter()
                .enumerate()
                .map(|(node, number)| (format!("n{}", node % nodes.len()), *number))
                .collect();
            let places: Vec<(&str, u32)> = places.iter().map(|(node, number)| (node.as_str(), *number)).collect();
            world.deployed(&name, &spec, &places);
        }
        world
    })
}

/// Loads from the highest down.
fn descending(mut loads: Vec<u64>) -> Vec<u64> {
    loads.sort_unstable_by(|a, b| b.cmp(a));
    loads
}

/// Of all pairs of Tasks, those of one Deployment that share a node.
fn pairs(world: &World) -> u32 {
    let mut counts: BTreeMap<(&str, Option<&str>), u32> = BTreeMap::new();
    for task in world.tasks.values() {
        let owner = task.metadata.controller().map_or("", |owner| owner.uid.as_str());
        *counts.entry((owner, task.status.node.as_deref())).or_default() += 1;
    }
    counts.values().map(|count| count * (count - 1) / 2).sum()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]
    #[test]
    fn a_plan_can_be_carried_out_makes_nothing_worse_and_comes_to_an_end(world in world()) {
        let mut world = world;
        let mut rounds = 0;
        loop {
            let plan = world.plan(false);
            if plan.moves.is_empty() {
                break;
            }
            prop_assert_eq!(world.rebalancer(false).confirm(&plan.moves), Ok(()));
            let mut moved: Vec<&str> = plan.moves.iter().map(|planned| planned.uid.as_str()).collect();
            moved.sort_unstable();
            moved.dedup();
            prop_assert_eq!(moved.len(), plan.moves.len(), "none moves twice");
            // Every filter holds at each step: the scheduler itself puts it there.
            let before = pairs(&world);
            world.carry_out(&plan);
            if plan.moves.iter().all(|planned| planned.why.contains("loaded")) {
                let (before, after): (Vec<u64>, Vec<u64>) =
                    plan.nodes.iter().map(|node| (node.before.load, node.after.load)).unzip();
                prop_assert!(descending(after) < descending(before));
            }
            let by_number = plan.moves.iter().all(|planned| !planned.why.contains("more even"));
            if by_number && world.policy == SchedulingPolicy::Spread {
                prop_assert!(pairs(&world) <= before);
            }
            // The rest is for those that could go only once others had.
            rounds += 1;
            prop_assert!(rounds <= 3, "{:#?}", shown(&world.plan(false)));
        }
    }
}
