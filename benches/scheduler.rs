//! How fast Tasks are placed, and what remembering them costs: `cargo bench -p cube-plan --bench scheduler`.
//!
//! Pure computation, as the scheduler's loop does it for each Task: what it asks for, the node, and the index with it on that node.
//! A name as an argument runs what contains it alone.
use std::{
    fs,
    hint::black_box,
    time::{Duration, Instant},
};

use cube_api::{kinds::Resource, node::Node, task::Task};
use cube_plan::scheduler::{Demand, Index, Room};
use serde_json::{Value, json};

const ZONES: usize = 5;

fn main() {
    // cargo adds `--bench`.
    let chosen = std::env::args()
        .skip(1)
        .find(|arg| arg != "--bench")
        .unwrap_or_default();
    type Bench = (&'static str, fn());
    let all: [Bench; 9] = [
        // First, while the process has no memory that it could use again.
        ("5,000 nodes, 150,000 Tasks: from nothing, and in memory", remember),
        ("100 nodes, 1,000 Tasks of 10 Deployments", || {
            measure(100, 1_000, 10, Order::InTurn, plain);
        }),
        ("5,000 nodes, 50,000 Tasks of 50 Deployments", || {
            measure(5_000, 50_000, 50, Order::InTurn, plain);
        }),
        ("5,000 nodes, 5,000 Tasks of 10 Deployments, mixed", || {
            measure(5_000, 5_000, 10, Order::Mixed, plain);
        }),
        ("100 nodes, 1,000 Tasks with affinity and spread", || {
            measure(100, 1_000, 20, Order::InTurn, picky);
        }),
        ("5,000 nodes, 50,000 Tasks with affinity and spread", || {
            measure(5_000, 50_000, 50, Order::InTurn, picky);
        }),
        ("5,000 nodes, 5,000 Tasks with affinity and spread, mixed", || {
            measure(5_000, 5_000, 10, Order::Mixed, picky);
        }),
        ("5,000 nodes, one Task that fits nowhere: why", explain),
        ("5,000 nodes of 30 Tasks, one that takes the place of another", preempt),
    ];
    for (name, bench) in all {
        if name.contains(&chosen) {
            println!("{name}");
            bench();
        }
    }
}

/// In which order the Tasks of several Deployments come.
#[derive(Clone, Copy)]
enum Order {
    /// One Deployment after the other.
    InTurn,
    /// One Task of each, again and again.
    Mixed,
}

fn node(number: usize) -> Node {
    let name = format!("node-{number:05}");
    let labels = json!({ "cube/node": name, "zone": format!("zone-{}", number % ZONES) });
    let value = json!({
        "metadata": { "name": name, "labels": labels },
        "status": {
            "allocatable": { "cpu": "64", "memory": "256Gi" },
            "conditions": [{ "type": "Ready", "status": "True" }],
        },
    });
    read(value)
}

/// One of a Deployment's Tasks that asks for CPU and memory.
fn plain(deployment: usize) -> Task {
    task(deployment, json!({}))
}

/// One that must be far from its own kind on a node, even over zones, and would rather be near another Deployment's.
fn picky(deployment: usize) -> Task {
    let own = json!({ "matchLabels": { "app": format!("app-{deployment}") } });
    let other = json!({ "matchLabels": { "app": format!("app-{}", deployment / 2) } });
    task(
        deployment,
        json!({
            "affinity": {
                "taskAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution":
                    [{ "labelSelector": own, "topologyKey": "cube/node" }] },
                "taskAffinity": { "preferredDuringSchedulingIgnoredDuringExecution":
                    [{ "weight": 10, "taskAffinityTerm": { "labelSelector": other, "topologyKey": "zone" } }] },
            },
            "topologySpreadConstraints": [{ "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": own }],
        }),
    )
}

fn task(deployment: usize, mut spec: Value) -> Task {
    spec["image"] = json!("nginx:1.27");
    spec["resources"] = json!({ "requests": { "cpu": "100m", "memory": "128Mi" } });
    let owner = json!({ "apiVersion": "cube/v1", "kind": "Deployment", "name": format!("app-{deployment}"),
        "uid": format!("00000000-0000-7000-8000-{deployment:012}"), "controller": true });
    read(json!({
        "metadata": {
            "name": format!("app-{deployment}"), "namespace": "default", "ownerReferences": [owner],
            "labels": { "app": format!("app-{deployment}"), "cube/deployment": format!("app-{deployment}"), "cube/revision": "1" },
        },
        "spec": spec,
    }))
}

fn read<K: Resource>(value: Value) -> K {
    match K::from_value(value) {
        Ok(object) => object,
        Err(error) => panic!("not an object: {error}"),
    }
}

fn filled(nodes: usize) -> Index {
    let mut index = Index::default();
    for number in 0..nodes {
        index.set_node(&node(number));
    }
    index
}

fn measure(nodes: usize, tasks: usize, deployments: usize, order: Order, make: fn(usize) -> Task) {
    let mut index = filled(nodes);
    let templates: Vec<Task> = (0..deployments).map(make).collect();
    let each = tasks / deployments;
    let mut times = Vec::with_capacity(tasks);
    let mut nowhere = 0;
    let began = Instant::now();
    for number in 0..tasks {
        let deployment = match order {
            Order::InTurn => number / each,
            Order::Mixed => number % deployments,
        };
        let task = &templates[deployment];
        let key = format!("default/app-{deployment}-{number}");
        let start = Instant::now();
        let demand = Demand::of(task);
        match black_box(index.place(&demand)) {
            Some(node) => {
                index.set(&key, task, &demand, Some(&node));
            }
            None => nowhere += 1,
        }
        times.push(start.elapsed());
    }
    let took = began.elapsed();
    times.sort_unstable();
    let at = |share: usize| shown(times[(times.len() - 1) * share / 1000]);
    println!(
        "  {:>9.0} placements a second; median {}, 99% {}, 99.9% {}, longest {}; {nowhere} fit nowhere",
        tasks as f64 / took.as_secs_f64(),
        at(500),
        at(990),
        at(999),
        at(1000),
    );
}

fn remember() {
    const DEPLOYMENTS: usize = 3_000;
    let before = resident();
    let mut index = filled(5_000);
    let with_nodes = resident();
    let began = Instant::now();
    for number in 0..150_000 {
        let deployment = number % DEPLOYMENTS;
        let task = if deployment.is_multiple_of(10) {
            picky(deployment)
        } else {
            plain(deployment)
        };
        let node = format!("node-{:05}", (number * 7) % 5_000);
        index.set_task(&format!("default/app-{deployment}-{number}"), &task, Some(&node));
    }
    let took = began.elapsed();
    println!(
        "  {} for all, the making of the objects included; {} MB of nodes, {} MB of Tasks",
        shown(took),
        with_nodes.saturating_sub(before) / 1024,
        resident().saturating_sub(with_nodes) / 1024,
    );
    for make in [plain, picky] {
        let task = make(DEPLOYMENTS + 2);
        let demand = Demand::of(&task);
        let mut times = Vec::new();
        for number in 0..1_000 {
            let start = Instant::now();
            if let Some(node) = index.place(&demand) {
                index.set(&format!("default/more-{number}"), &task, &demand, Some(&node));
            }
            times.push(start.elapsed());
        }
        let first = times[0];
        times.sort_unstable();
        println!(
            "  one more: the first of its kind {}, then median {}",
            shown(first),
            shown(times[500])
        );
    }
}

fn explain() {
    let mut index = filled(5_000);
    for make in [plain, picky] {
        let mut task = make(1);
        task.spec.node_selector.insert("disk".to_owned(), "ssd".to_owned());
        let demand = Demand::of(&task);
        index.place(&demand);
        let start = Instant::now();
        for _ in 0..10 {
            black_box(index.explain(&demand));
        }
        println!("  {}", shown(start.elapsed() / 10));
    }
}

fn preempt() {
    let mut index = filled(5_000);
    let low = task(1, json!({ "resources": {} }));
    for number in 0..150_000 {
        let node = format!("node-{:05}", number % 5_000);
        index.set_task(&format!("default/low-{number}"), &low, Some(&node));
    }
    let mut urgent = plain(2);
    urgent.spec.priority = 1;
    urgent.spec.resources.requests.cpu = cube_api::quantity::Quantity::parse("63.5").ok();
    let demand = Demand::of(&urgent);
    index.place(&demand);
    let start = Instant::now();
    let room = index.find_room("default/urgent", &demand);
    println!("  {} ({})", shown(start.elapsed()), told(&room));
}

fn told(room: &Room) -> String {
    match room {
        Room::Nowhere => "nowhere".to_owned(),
        Room::Leaving(node) => format!("{node} by itself"),
        Room::Taken { node, victims } => format!("{} give way on {node}", victims.len()),
    }
}

fn shown(time: Duration) -> String {
    match time.as_micros() {
        0..10_000 => format!("{:.1} µs", time.as_secs_f64() * 1e6),
        _ => format!("{:.1} ms", time.as_secs_f64() * 1e3),
    }
}

/// Kilobytes that this process has in memory.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}
