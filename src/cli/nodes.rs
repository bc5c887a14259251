//! `cube nodes`: the machines, and what of each is taken.
use std::collections::BTreeMap;

use clap::ValueEnum;
use cube_api::{
    node::{Node, Resources},
    quantity::Quantity,
    task::Task,
};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Context,
    error::{CliError, Exit},
    output::{Cell, Style, Table, words},
};
use crate::{
    client::Selection,
    server::table::{complaint, node_status},
};

/// Show the nodes: how they are, and how much of each is asked for
///
/// CPU and MEMORY are what the Tasks of a node request, of what Tasks can have there. `cube top nodes` shows what they use.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Only with these labels: disk=ssd,zone!=a
    #[arg(
        short = 'l',
        long,
        value_name = "LABELS",
        default_value = "",
        hide_default_value = true
    )]
    selector: String,
    /// How to tell it; json and yaml are stable
    #[arg(short, long, value_enum)]
    output: Option<Telling>,
}

/// How it is told to programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Telling {
    /// JSON
    Json,
    /// YAML
    Yaml,
}

impl Telling {
    /// Tells a value so.
    pub(super) fn tell(self, context: &Context, value: &Value) -> Result<(), CliError> {
        match self {
            Self::Json => context.output.json(value),
            Self::Yaml => context.output.yaml(value),
        }
    }
}

/// What the Tasks of a node ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Taken {
    /// So many.
    tasks: u64,
    /// Thousandths of a CPU.
    cpu: u64,
    /// Bytes.
    memory: u64,
}

impl Args {
    /// Prints them.
    pub async fn run(self, context: &Context) -> Result<Exit, CliError> {
        let client = context.client();
        let selection = Selection {
            labels: self.selector.clone(),
            ..Selection::default()
        };
        let nodes = client.list_typed::<Node>(&selection).await?.items;
        let taken = taken(&client.list_typed::<Task>(&Selection::default()).await?.items);
        let of = |node: &Node| taken.get(&node.metadata.name).copied().unwrap_or_default();
        if let Some(telling) = self.output {
            let items: Vec<Value> = nodes.iter().map(|node| told(node, of(node))).collect();
            telling.tell(context, &json!({ "items": items }))?;
            return Ok(Exit::Done);
        }
        if nodes.is_empty() {
            let chosen = if self.selector.is_empty() {
                "; `cube worker` makes this machine one"
            } else {
                " with such labels"
            };
            context.output.talk(&format!("no nodes{chosen}"));
            return Ok(Exit::Done);
        }
        let headings = [
            "NAME", "STATUS", "TAINTS", "TASKS", "CPU", "MEMORY", "ENGINE", "AGE", "WHY",
        ];
        let mut table = Table::new(headings);
        for node in &nodes {
            table.row(row(node, of(node), context.world.now()));
        }
        context.output.table(&table)?;
        Ok(Exit::Done)
    }
}

/// What is taken of each node: Tasks that are over hold nothing.
fn taken(tasks: &[Task]) -> BTreeMap<String, Taken> {
    let mut nodes: BTreeMap<String, Taken> = BTreeMap::new();
    for task in tasks.iter().filter(|task| !task.status.phase.is_over()) {
        let Some(node) = &task.status.node else { continue };
        let taken = nodes.entry(node.clone()).or_default();
        taken.tasks += 1;
        taken.cpu += task.spec.resources.cpu_request_milli();
        taken.memory += task.spec.resources.memory_request();
    }
    nodes
}

fn row(node: &Node, taken: Taken, now: Timestamp) -> Vec<Cell> {
    let Resources { cpu, memory, tasks, .. } = &node.status.allocatable;
    let status = node_status(node);
    let style = match status.split_once(',') {
        Some(_) => Style::Waiting,
        None => Style::of_state(&status),
    };
    let taints: Vec<String> = node.spec.taints.iter().map(ToString::to_string).collect();
    let number = match tasks {
        Some(most) => format!("{}/{most}", taken.tasks),
        None => taken.tasks.to_string(),
    };
    let info = &node.status.node_info;
    let age = node.metadata.creation_timestamp.map(|at| words::age(now, at));
    vec![
        node.metadata.name.as_str().into(),
        Cell::new(status, style),
        if taints.is_empty() {
            "-".to_owned()
        } else {
            taints.join(",")
        }
        .into(),
        number.into(),
        share(
            Quantity::from_milli(taken.cpu).to_string(),
            cpu.to_string(),
            taken.cpu,
            cpu.milli(),
        )
        .into(),
        share(
            words::size(taken.memory),
            words::size(memory.units()),
            taken.memory,
            memory.units(),
        )
        .into(),
        format!("{} {}", info.engine, info.engine_version).trim().into(),
        age.unwrap_or_default().into(),
        complaint(&node.status.conditions).into(),
    ]
}

/// `1500m/4 (37%)`; of a node that has not told what it has, only what is taken.
fn share(taken: String, all: String, part: u64, whole: u64) -> String {
    match (u128::from(part) * 100).checked_div(u128::from(whole)) {
        Some(percent) => format!("{taken}/{all} ({percent}%)"),
        None => taken,
    }
}

fn told(node: &Node, taken: Taken) -> Value {
    json!({
        "name": node.metadata.name,
        "status": node_status(node),
        "taints": node.spec.taints,
        "tasks": taken.tasks,
        "requested": { "cpu": Quantity::from_milli(taken.cpu), "memory": Quantity::bytes(taken.memory) },
        "allocatable": node.status.allocatable,
        "engine": node.status.node_info.engine,
        "engineVersion": node.status.node_info.engine_version,
        "creationTimestamp": node.metadata.creation_timestamp.map(cube_api::meta::time::format),
        "why": complaint(&node.status.conditions),
    })
}

#[cfg(test)]
mod tests {
    use cube_api::kinds::Resource as _;

    use super::*;

    #[test]
    fn what_is_over_takes_nothing_and_limits_stand_in_for_requests() {
        let task = |phase: &str, resources: Value| {
            let value = json!({
                "metadata": { "name": "t" }, "spec": { "image": "x", "resources": resources },
                "status": { "node": "a", "phase": phase },
            });
            Task::from_value(value).unwrap()
        };
        let tasks = [
            task(
                "Running",
                json!({ "requests": { "cpu": "250m" }, "limits": { "memory": "64Mi" } }),
            ),
            task("Scheduled", json!({ "requests": { "cpu": "1" } })),
            task("Completed", json!({ "requests": { "cpu": "9" } })),
        ];
        let due = Taken {
            tasks: 2,
            cpu: 1250,
            memory: 64 << 20,
        };
        assert_eq!(taken(&tasks), BTreeMap::from([("a".to_owned(), due)]));
        assert_eq!(share("1500m".to_owned(), "4".to_owned(), 1500, 4000), "1500m/4 (37%)");
        assert_eq!(share("0".to_owned(), "0".to_owned(), 0, 0), "0");
    }
}
