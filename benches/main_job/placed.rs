//! From a Task's creation to its binding, with 100 nodes and up to 1,000 Tasks: registry and scheduler as they are, over
//! a store in memory, so that no disk is in it.
use std::time::{Duration, Instant};

use cube::registry::{Feed, Patch, Recorder, Registry, Subresource, WriteOptions};
use cube::store::{Options, Store};
use cube::world::World;
use cube_api::kinds::Kind;
use cube_api::task::Task;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{Effort, Result};
use cube_bench::report::{Row, Samples};

const NODES: usize = 100;
const TASKS: usize = 1_000;
/// A Task each so often: what is measured is a Task's way, not a queue's.
const APART: Duration = Duration::from_millis(2);

pub async fn measure(effort: Effort) -> Result<Vec<Row>> {
    let (mut plain, mut picky) = (Samples::default(), Samples::default());
    for _ in 0..effort.rounds {
        plain.extend(place(false).await?);
        picky.extend(place(true).await?);
    }
    let row = |what: &str, samples: &Samples| {
        let name = format!("created to bound, 100 nodes, to 1,000 Tasks{what}: p99");
        Row::new(name, "ms", samples.percentile(99.0)).at_most(5.0)
    };
    Ok(vec![
        Row::new("created to bound: median", "ms", plain.median()),
        row("", &plain),
        row(", with affinity and spread", &picky),
    ])
}

/// Creates the Tasks one after the other, and gives how long each waited for its node.
async fn place(picky: bool) -> Result<Samples> {
    let world = World::real();
    let registry = Registry::open(Store::memory(Options::default()), world.clone())
        .await
        .map_err(|error| error.to_string())?;
    let options = WriteOptions::new("bench");
    for number in 0..NODES {
        let node = json!({
            "apiVersion": "cube/v1", "kind": "Node",
            "metadata": { "name": format!("n{number:03}"), "labels": { "zone": format!("z{}", number % 5) } },
            "status": { "allocatable": { "cpu": "16", "memory": "64Gi" }, "capacity": { "cpu": "16", "memory": "64Gi" },
                        "conditions": [{ "type": "Ready", "status": "True" }] },
        });
        let made = registry.create(Kind::Node, "", node.clone(), &options).await;
        made.map_err(|error| error.to_string())?;
        let status = WriteOptions {
            subresource: Subresource::Status,
            ..WriteOptions::new("bench")
        };
        let patch = Patch::Merge(json!({ "status": node["status"] }));
        let told = registry
            .patch(Kind::Node, "", &format!("n{number:03}"), &patch, &status)
            .await;
        told.map_err(|error| error.to_string())?;
    }
    let shutdown = CancellationToken::new();
    let (recorder, writing) = Recorder::new(registry.clone(), "bench", None, shutdown.clone());
    tokio::spawn(writing);
    let policy = cube_api::placement::SchedulingPolicy::default();
    let scheduler = cube::scheduler::run(registry.clone(), world, recorder, policy, shutdown.clone());
    let scheduler = tokio::spawn(scheduler);
    let mut samples = Samples::default();
    let mut feed = Feed::new(registry.clone());
    for number in 0..TASKS {
        let name = format!("t{number:04}");
        let mut spec = json!({ "image": "x", "resources": { "requests": { "cpu": "100m", "memory": "256Mi" } } });
        if picky {
            let alike = json!({ "matchLabels": { "app": format!("a{}", number % 20) } });
            spec["topologySpreadConstraints"] = json!([{ "maxSkew": 2, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": alike }]);
            spec["affinity"] = json!({ "taskAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [
                { "topologyKey": "cube/node", "labelSelector": alike }] } });
        }
        let labels = json!({ "app": format!("a{}", number % 20) });
        let task = json!({
            "apiVersion": "cube/v1", "kind": "Task", "metadata": { "name": name, "namespace": "default", "labels": labels },
            "spec": spec,
        });
        let began = Instant::now();
        let made = registry.create(Kind::Task, "default", task, &options).await;
        made.map_err(|error| error.to_string())?;
        while !is_placed(&registry, &name)? {
            if began.elapsed() > cube_bench::cube::LIMIT {
                return Err(format!("{name} is not placed").into());
            }
            feed.next().await;
        }
        samples.time(began.elapsed());
        tokio::time::sleep(APART).await;
    }
    shutdown.cancel();
    scheduler.await?;
    Ok(samples)
}

fn is_placed(registry: &Registry, name: &str) -> Result<bool> {
    let task = registry.get(Kind::Task, "default", name);
    let task = task.map_err(|error| error.to_string())?;
    Ok(task.typed::<Task>().status.node.is_some())
}
