//! However it came to be, the index is what it would be if it were built from nothing, and places as one would who tries
//! everything.
use std::collections::{BTreeMap, BTreeSet};

use cube_api::{
    meta::NODE_LABEL,
    node::TaintEffect,
    placement::{SchedulingPolicy, WhenUnsatisfiable},
    task::Phase,
};
use proptest::prelude::*;

use super::{
    super::{
        node::Allocatable,
        score::{Score, opportunity_cost},
    },
    *,
};

const ZONES: [&str; 2] = ["east", "west"];
const APPS: [&str; 2] = ["web", "db"];

/// What can happen to nodes and Tasks.
#[derive(Clone, Debug)]
enum Happening {
    Node(u8, u8),
    NodeGone(u8),
    Task {
        name: u8,
        node: Option<u8>,
        shape: u8,
        size: u8,
        state: u8,
    },
    TaskGone(u8),
    /// A Task is placed where the index says.
    Placed {
        name: u8,
        shape: u8,
        size: u8,
    },
    /// The index is asked, and keeps its answer.
    Asked {
        shape: u8,
        size: u8,
    },
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        2 => (0..5_u8, 0..24_u8).prop_map(|(node, manner)| Happening::Node(node, manner)),
        1 => (0..5_u8).prop_map(Happening::NodeGone),
        3 => (0..10_u8, prop::option::of(0..5_u8), 0..SHAPES, 0..4_u8, 0..5_u8)
            .prop_map(|(name, node, shape, size, state)| Happening::Task { name, node, shape, size, state }),
        1 => (0..10_u8).prop_map(Happening::TaskGone),
        4 => (0..10_u8, 0..SHAPES, 0..4_u8).prop_map(|(name, shape, size)| Happening::Placed { name, shape, size }),
        1 => (0..SHAPES, 0..4_u8).prop_map(|(shape, size)| Happening::Asked { shape, size }),
    ]
}

fn some_node(number: u8, manner: u8) -> Node {
    let name = format!("n{number}");
    let mut labels = json!({ "cube/node": name });
    if manner % 5 != 4 {
        labels["zone"] = json!(ZONES[usize::from(manner % 2)]);
    }
    let mut node = node(&name, json!({ "metadata": { "name": name, "labels": labels } }));
    node.spec.unschedulable = manner == 7;
    match manner {
        8 => node.status.conditions.clear(),
        9 => node.status.volumes = vec!["data".to_owned()],
        10 => node.status.images = serde_json::from_value(json!([{ "names": ["x"] }])).unwrap(),
        11 => node.status.allocatable.tasks = Some(2),
        12 => node.spec.taints = serde_json::from_value(json!([{ "key": "k", "effect": "NoExecute" }])).unwrap(),
        13 => node.spec.taints = serde_json::from_value(json!([{ "key": "k", "effect": "PreferNoSchedule" }])).unwrap(),
        14 => node.status.allocatable.ephemeral_storage = cube_api::quantity::Quantity::bytes(2 << 30),
        15 => node.status.conditions.push(cube_api::condition::Condition {
            kind: "DiskPressure".to_owned(),
            status: cube_api::condition::Truth::True,
            ..Default::default()
        }),
        _ => {}
    }
    node
}

const SHAPES: u8 = 16;

fn some_task(name: u8, shape: u8, size: u8) -> Task {
    let term = |app: &str, key: &str| json!({ "labelSelector": { "matchLabels": { "app": app } }, "topologyKey": key });
    let required = |kind: &str, term: Value| json!({ "affinity": { kind: { "requiredDuringSchedulingIgnoredDuringExecution": [term] } } });
    let spread = |skew: u32, key: &str, how: &str| {
        json!({ "topologySpreadConstraints": [{ "maxSkew": skew, "topologyKey": key, "whenUnsatisfiable": how,
            "labelSelector": { "matchExpressions": [{ "key": "app", "operator": "In", "values": ["web"] }] } }] })
    };
    let mut spec = match shape {
        1 => json!({ "ports": [{ "containerPort": 80, "hostPort": 80 + u16::from(size % 2) }] }),
        2 => required("taskAffinity", term("web", "zone")),
        3 => required("taskAffinity", term("db", NODE_LABEL)),
        4 => required("taskAntiAffinity", term("web", NODE_LABEL)),
        5 => required("taskAntiAffinity", term("db", "zone")),
        6 => spread(1, "zone", "DoNotSchedule"),
        7 => spread(1, NODE_LABEL, "DoNotSchedule"),
        8 => spread(2, "zone", "ScheduleAnyway"),
        9 => {
            json!({ "volumes": [{ "name": "v", "volume": "data" }], "volumeMounts": [{ "name": "v", "mountPath": "/v" }] })
        }
        10 => json!({ "nodeSelector": { "zone": "east" }, "tolerations": [{ "key": "k", "operator": "Exists" }] }),
        11 => json!({ "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [{ "matchExpressions": [{ "key": "zone", "operator": "Exists" }] }] },
                "preferredDuringSchedulingIgnoredDuringExecution": [{ "weight": 3, "preference": { "matchExpressions": [{ "key": "zone", "operator": "In", "values": ["west"] }] } }],
            },
            "taskAntiAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [{ "weight": 5, "taskAffinityTerm": term("web", "zone") }] },
        } }),
        12 => json!({ "resources": { "requests": { "ephemeral-storage": "1Gi" } } }),
        13 => {
            json!({ "topologySpreadConstraints": [{ "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule" }] })
        }
        _ => json!({}),
    };
    spec["resources"]["requests"]["cpu"] = json!(format!("{}", size / 2));
    spec["resources"]["requests"]["memory"] = json!(format!("{size}Gi"));
    spec["schedulingPolicy"] = json!(SchedulingPolicy::ALL[usize::from(shape + size) % 5].as_str());
    if shape == 14 {
        spec["restartPolicy"] = json!("Never");
    }
    let mut task = task(&format!("t{name}"), spec);
    task.metadata
        .labels
        .insert("app".to_owned(), APPS[usize::from(size % 2)].to_owned());
    match shape {
        13 | 15 => of("web", task),
        _ => task,
    }
}

/// Who knows the objects alone, and tries everything.
struct Trier<'a> {
    nodes: Vec<&'a Node>,
    /// The Tasks that are on a node, and the node.
    tasks: Vec<(&'a Task, &'a str)>,
}

impl Trier<'_> {
    fn value<'n>(node: &'n Node, key: &str) -> Option<&'n str> {
        if key == NODE_LABEL {
            return Some(&node.metadata.name);
        }
        node.metadata.labels.get(key).map(String::as_str)
    }

    /// Tasks at nodes that have the same value of the label.
    fn at(&self, key: &str, value: &str) -> impl Iterator<Item = &Task> {
        self.tasks.iter().filter_map(move |(task, name)| {
            let node = self.nodes.iter().find(|node| node.metadata.name == *name)?;
            (Self::value(node, key) == Some(value)).then_some(*task)
        })
    }

    fn on<'s>(&'s self, node: &'s Node) -> impl Iterator<Item = &'s Task> {
        let here = self.tasks.iter().filter(|(_, name)| *name == node.metadata.name);
        here.map(|(task, _)| *task)
    }

    fn eligible(task: &Task, node: &Node) -> bool {
        let spec = &task.spec;
        let labels = &node.metadata.labels;
        let required = &spec
            .affinity
            .node_affinity
            .required_during_scheduling_ignored_during_execution;
        spec.node_selector
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value))
            && required.as_ref().is_none_or(|required| required.matches(labels))
    }

    fn who(task: &Task, app: Option<&cube_api::selector::LabelSelector>, other: &Task) -> bool {
        match app {
            Some(selector) => selector.matches(&other.metadata.labels),
            None => {
                let uid = |task: &Task| task.metadata.controller().map(|owner| owner.uid.clone());
                uid(task).is_some() && uid(task) == uid(other)
            }
        }
    }

    fn fits(&self, task: &Task, node: &Node) -> bool {
        let (spec, status) = (&task.spec, &node.status);
        let is_true = |kind: &str| cube_api::condition::is_true(&status.conditions, kind);
        let tolerated = |key: &str| spec.tolerations.iter().any(|toleration| toleration.key == key);
        let mut strict = node
            .spec
            .taints
            .iter()
            .filter(|taint| taint.effect != TaintEffect::PreferNoSchedule);
        let alone = is_true("Ready")
            && !is_true("DiskPressure")
            && !node.spec.unschedulable
            && Self::eligible(task, node)
            && strict.all(|taint| tolerated(&taint.key));
        let amounts = |task: &Task| {
            let resources = &task.spec.resources;
            [
                resources.cpu_request_milli(),
                resources.memory_request(),
                resources.disk_request(),
            ]
        };
        let there = [
            status.allocatable.cpu.milli(),
            status.allocatable.memory.units(),
            status.allocatable.ephemeral_storage.units(),
        ];
        let wanted = amounts(task);
        let room = (0..3).all(|resource| {
            let taken: u64 = self.on(node).map(|task| amounts(task)[resource]).sum();
            wanted[resource] == 0 || taken + wanted[resource] <= there[resource]
        });
        let number = status
            .allocatable
            .tasks
            .is_none_or(|limit| (self.on(node).count() as u64) < limit);
        let ports: BTreeSet<_> = fixed_ports(spec).into_iter().collect();
        let free = self
            .on(node)
            .all(|other| fixed_ports(&other.spec).iter().all(|port| !ports.contains(port)));
        alone && room && number && free && self.volumes_are_here(task, node) && self.surroundings_suit(task, node)
    }

    fn volumes_are_here(&self, task: &Task, node: &Node) -> bool {
        let mut mounted = task.spec.volumes.iter().filter_map(|volume| volume.volume.as_ref());
        mounted.all(|volume| {
            let has = |node: &Node| {
                let mounts = |task: &Task| {
                    task.spec
                        .volumes
                        .iter()
                        .any(|other| other.volume.as_ref() == Some(volume))
                };
                node.status.volumes.contains(volume) || self.on(node).any(mounts)
            };
            has(node) || !self.nodes.iter().any(|node| has(node))
        })
    }

    fn surroundings_suit(&self, task: &Task, node: &Node) -> bool {
        let affinity = &task.spec.affinity;
        let near = &affinity
            .task_affinity
            .required_during_scheduling_ignored_during_execution;
        let far = &affinity
            .task_anti_affinity
            .required_during_scheduling_ignored_during_execution;
        let any = |key: &str, matches: &dyn Fn(&Task) -> bool| {
            Self::value(node, key).is_some_and(|value| self.at(key, value).any(matches))
        };
        let is_first = near.iter().all(|term| {
            let matches = |task: &Task| term.label_selector.matches(&task.metadata.labels);
            let there = |name: &str| self.nodes.iter().any(|node| node.metadata.name == name);
            matches(task) && !self.tasks.iter().any(|(task, name)| there(name) && matches(task))
        });
        let is_near = near.iter().all(|term| {
            let matches = |task: &Task| term.label_selector.matches(&task.metadata.labels);
            Self::value(node, &term.topology_key).is_some() && (is_first || any(&term.topology_key, &matches))
        });
        let is_far = !far.iter().any(|term| {
            let matches = |task: &Task| term.label_selector.matches(&task.metadata.labels);
            any(&term.topology_key, &matches)
        });
        let kept_away = self.tasks.iter().any(|(other, name)| {
            let terms = &other.spec.affinity.task_anti_affinity;
            terms
                .required_during_scheduling_ignored_during_execution
                .iter()
                .any(|term| {
                    let key = &term.topology_key;
                    let there = self.nodes.iter().find(|node| node.metadata.name == *name);
                    let place = there.and_then(|there| Self::value(there, key));
                    term.label_selector.matches(&task.metadata.labels)
                        && place.is_some()
                        && place == Self::value(node, key)
                })
        });
        is_near && is_far && !kept_away && self.is_even(task, node)
    }

    fn is_even(&self, task: &Task, node: &Node) -> bool {
        let controlled = task.metadata.controller().is_some();
        let spreads = task.spec.topology_spread_constraints.iter();
        let hard: Vec<_> = spreads
            .filter(|spread| spread.when_unsatisfiable == WhenUnsatisfiable::DoNotSchedule)
            .filter(|spread| spread.label_selector.is_some() || controlled)
            .collect();
        let is_place = |node: &&&Node| {
            let has = |key: &String| Self::value(node, key).is_some();
            Self::eligible(task, node) && hard.iter().all(|spread| has(&spread.topology_key))
        };
        hard.iter().all(|spread| {
            let key = &spread.topology_key;
            let selector = spread.label_selector.as_ref();
            let count = |value: &str| {
                let stays = |other: &&Task| !other.metadata.is_deleting() && Self::who(task, selector, other);
                self.at(key, value).filter(stays).count() as u32
            };
            let places = self
                .nodes
                .iter()
                .filter(is_place)
                .filter_map(|node| Self::value(node, key));
            let fewest = places.map(count).min().unwrap_or(0);
            let own = u32::from(Self::who(task, selector, task));
            Self::value(node, key).is_some_and(|value| (count(value) + own).saturating_sub(fewest) <= spread.max_skew)
        })
    }

    fn score(&self, task: &Task, node: &Node) -> Score {
        let affinity = &task.spec.affinity;
        let nodes = affinity
            .node_affinity
            .preferred_during_scheduling_ignored_during_execution
            .iter();
        let nodes = nodes.filter(|term| term.preference.matches(&node.metadata.labels));
        let far = &affinity
            .task_anti_affinity
            .preferred_during_scheduling_ignored_during_execution;
        let far = far.iter().filter(|term| {
            let (key, selector) = (
                &term.task_affinity_term.topology_key,
                &term.task_affinity_term.label_selector,
            );
            let mut there = Self::value(node, key).into_iter().flat_map(|value| self.at(key, value));
            there.any(|other| selector.matches(&other.metadata.labels))
        });
        let soft = task.spec.topology_spread_constraints.iter();
        let soft = soft.filter(|spread| spread.when_unsatisfiable == WhenUnsatisfiable::ScheduleAnyway);
        let crowded = soft.map(|spread| match Self::value(node, &spread.topology_key) {
            Some(value) => {
                let counted = |other: &&Task| {
                    !other.metadata.is_deleting() && Self::who(task, spread.label_selector.as_ref(), other)
                };
                self.at(&spread.topology_key, value).filter(counted).count() as u64
            }
            None => 1 << 32,
        });
        let tolerated = |key: &str| task.spec.tolerations.iter().any(|toleration| toleration.key == key);
        let prefers =
            |taint: &&cube_api::node::Taint| taint.effect == TaintEffect::PreferNoSchedule && !tolerated(&taint.key);
        let kin = self.on(node).filter(|other| Self::who(task, None, other)).count() as u32;
        let usage = |task: &Task| Usage::of(&Demand::of(task));
        let used = self.on(node).fold(Usage::default(), |sum, task| sum.plus(usage(task)));
        let missing = if node.status.images.is_empty() { 100_000 } else { 0 };
        let with = used.plus(usage(task));
        let load = with.weighed_cpu * 1_000_000 / 4000 / 2 + with.weighed_memory * 1_000_000 / (4 << 30) / 2;
        let preferences = Score {
            avoided: node.spec.taints.iter().filter(prefers).count() as u32,
            unwanted: far.map(|term| i32::from(term.weight)).sum::<i32>()
                - nodes.map(|term| i32::from(term.weight)).sum::<i32>(),
            crowded: crowded.sum(),
            ..Score::default()
        };
        match task.spec.scheduling_policy.unwrap() {
            SchedulingPolicy::Spread => Score {
                kin,
                cost: load + missing,
                tasks: used.tasks as u32,
                ..preferences
            },
            SchedulingPolicy::Binpack => Score {
                cost: 4_000_000_u64.saturating_sub(load) + missing,
                ..preferences
            },
            SchedulingPolicy::EPvm => {
                let there = Allocatable {
                    cpu: 4000,
                    memory: 4 << 30,
                    disk: node.status.allocatable.ephemeral_storage.units(),
                    tasks: None,
                };
                Score {
                    cost: opportunity_cost(used, usage(task), there, self.nodes.len(), missing),
                    ..preferences
                }
            }
            SchedulingPolicy::Greedy | SchedulingPolicy::RoundRobin => preferences,
        }
    }

    fn best(&self, task: &Task) -> Option<Score> {
        let fitting = self.nodes.iter().filter(|node| self.fits(task, node));
        fitting.map(|node| self.score(task, node)).min()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_index_is_what_it_would_be_if_it_were_built_from_nothing_and_places_as_well_as_who_tries_everything(
        happenings in prop::collection::vec(happening(), 0..40),
    ) {
        let (mut nodes, mut tasks) = (BTreeMap::new(), BTreeMap::new());
        let mut index = Index::default();
        let mut queue = Queue::default();
        for happening in happenings {
            match happening {
                Happening::Node(number, manner) => {
                    let node = some_node(number, manner);
                    index.set_node(&node);
                    nodes.insert(number, node);
                }
                Happening::NodeGone(number) => {
                    index.remove_node(&format!("n{number}"));
                    nodes.remove(&number);
                }
                Happening::Task { name, node, shape, size, state } => {
                    let mut task = some_task(name, shape, size);
                    task.status.node = node.map(|node| format!("n{node}"));
                    match state {
                        0 => task.status.phase = Phase::Failed,
                        1 => task.metadata.deletion_timestamp = Some(jiff::Timestamp::UNIX_EPOCH),
                        2 if node.is_none() => task.status.nominated_node = Some("n0".to_owned()),
                        _ => {}
                    }
                    index.set_task(&format!("default/t{name}"), &task, None);
                    tasks.insert(name, task);
                }
                Happening::TaskGone(name) => {
                    index.remove_task(&format!("default/t{name}"));
                    tasks.remove(&name);
                }
                Happening::Placed { name, shape, size } => {
                    let mut task = some_task(name, shape, size);
                    index.remove_task(&format!("default/t{name}"));
                    tasks.remove(&name);
                    if let Some(node) = index.place(&Demand::of(&task)) {
                        index.set_task(&format!("default/t{name}"), &task, Some(&node));
                        task.status.node = Some(node.to_string());
                        tasks.insert(name, task);
                    }
                }
                Happening::Asked { shape, size } => {
                    // It waits, and must be taken up as soon as it fits.
                    let task = some_task(99, shape, size);
                    let key = format!("default/{shape}-{size}");
                    if index.place(&Demand::of(&task)).is_none() {
                        queue.set(&key, &task, Demand::of(&task));
                        while let Some((rank, demand)) = queue.take() {
                            queue.wait(rank, demand);
                        }
                    }
                }
            }
            queue.wake(&mut index);
            for (demand, _) in queue.waiting() {
                prop_assert_eq!(index.place(demand), None, "it waits, though it fits: {:?}", demand);
            }
            while queue.take().is_some() {}
        }

        let kept = tasks.values().any(|task: &Task| task.status.nominated_node.is_some());
        let on_nodes = tasks.values().filter(|task| !task.status.phase.is_over());
        let trier = Trier {
            nodes: nodes.values().collect(),
            tasks: on_nodes.filter_map(|task| Some((task, task.status.node.as_deref()?))).collect(),
        };
        for shape in 0..SHAPES {
            for size in 0..4 {
                let task = some_task(99, shape, size);
                let demand = Demand::of(&task);
                let best = index.best(&demand);
                prop_assert_eq!(best.is_none(), index.refusals(&demand).iter().all(|(_, refusals)| !refusals.is_empty()));
                let fitting = nodes.values().any(|node| index.fits(&node.metadata.name, &demand));
                prop_assert_eq!(best.is_some(), fitting);
                if !kept {
                    prop_assert_eq!(best.map(|(score, _)| score), trier.best(&task), "{:?}", demand);
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
        for (name, task) in &tasks {
            anew.set_task(&format!("default/t{name}"), task, None);
        }
        for shape in 0..SHAPES {
            for size in 0..4 {
                let demand = Demand::of(&some_task(99, shape, size));
                let (kept, new) = (index.best(&demand), anew.best(&demand));
                prop_assert_eq!(kept.as_ref().map(|(score, _)| *score), new.as_ref().map(|(score, _)| *score));
                if demand.policy != Some(SchedulingPolicy::RoundRobin) {
                    prop_assert_eq!(kept, new, "of the same score the first by name");
                }
            }
        }
        prop_assert_eq!(index.into_facts(), anew.into_facts());
    }
}
