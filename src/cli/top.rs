//! `cube top`: what nodes and Tasks use, now.
use std::{cmp::Reverse, collections::BTreeMap, time::Duration};

use clap::{Subcommand, ValueEnum};
use cube_api::{
    figures::{Traffic, Usage},
    node::Node,
    quantity::Quantity,
    task::Task,
};
use serde::Serialize;
use serde_json::json;

use super::{
    Context,
    error::{CliError, Exit},
    nodes::Telling,
    output::{Cell, Style, Table, words},
};
use crate::client::{Client, Selection};

/// A figure that is not known.
const NONE: &str = "-";
/// From so much of what there is on, a figure is marked.
const MUCH: u64 = 90;

/// Show what nodes and Tasks use
///
/// Measured by the nodes when it is asked for; `-` stands for what is not known yet. CPU is in processors, and NET and DISK
/// I/O in bytes a second, in and out.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// What nodes use, and how much of what they have that is
    Nodes(Options),
    /// What Tasks use, and how much of their limits that is
    Tasks {
        #[command(flatten)]
        options: Options,
        /// Of all namespaces
        #[arg(short = 'A', long)]
        all_namespaces: bool,
    },
}

#[derive(clap::Args, Debug)]
struct Options {
    /// Only with these labels: app=web,tier!=cache
    #[arg(
        short = 'l',
        long,
        value_name = "LABELS",
        default_value = "",
        hide_default_value = true
    )]
    selector: String,
    /// What uses most of it first; default: by name
    #[arg(long, value_name = "FIGURE", value_enum)]
    sort_by: Option<By>,
    /// Go on, with new figures every two seconds
    #[arg(short, long, conflicts_with = "output")]
    watch: bool,
    /// How to tell it; json and yaml are stable
    #[arg(short, long, value_enum)]
    output: Option<Telling>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    /// Processors
    Cpu,
    /// Memory
    Memory,
}

/// From one look to the next.
const INTERVAL: Duration = Duration::from_secs(2);

impl Args {
    /// Prints them.
    pub async fn run(self, context: &Context) -> Result<Exit, CliError> {
        let client = context.client();
        let (options, selection, of_nodes) = match &self.what {
            What::Nodes(options) => (options, Selection::default(), true),
            What::Tasks {
                options,
                all_namespaces,
            } => {
                let selection = match all_namespaces {
                    true => Selection::default(),
                    false => Selection::of(context.namespace()),
                };
                (options, selection, false)
            }
        };
        let selection = Selection {
            labels: options.selector.clone(),
            ..selection
        };
        loop {
            match of_nodes {
                true => nodes(&client, context, options, &selection).await?,
                false => tasks(&client, context, options, &selection).await?,
            }
            if !options.watch {
                return Ok(Exit::Done);
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }
}

async fn nodes(client: &Client, context: &Context, options: &Options, which: &Selection) -> Result<(), CliError> {
    let mut figures = client.node_figures(which).await?;
    sort(&mut figures, options, |node| &node.usage);
    if let Some(telling) = options.output {
        return tell(telling, context, &figures);
    }
    let known = client.list_typed::<Node>(which).await?.items;
    let known: BTreeMap<&str, &Node> = known.iter().map(|node| (node.metadata.name.as_str(), node)).collect();
    let headings = [
        "NAME",
        "CPU",
        "CPU%",
        "MEMORY",
        "MEMORY%",
        "NET IN/OUT",
        "DISK I/O",
        "DISK",
        "DISK%",
        "WHY",
    ];
    let mut table = Table::new(headings);
    for node in &figures {
        let allocatable = known.get(node.name.as_str()).map(|node| &node.status.allocatable);
        let mut row: Vec<Cell> = vec![node.name.as_str().into()];
        row.extend(processors(&node.usage, allocatable.map(|all| all.cpu.milli())));
        row.extend(memory(&node.usage, allocatable.map(|all| all.memory.units())));
        row.extend([
            traffic(node.usage.network.as_ref()),
            traffic(node.usage.block_io.as_ref()),
        ]);
        let disk = node.usage.disk.as_ref();
        row.push(bytes(disk.map(|disk| disk.used_bytes)));
        row.push(share(
            disk.map(|disk| disk.used_bytes),
            disk.and_then(|disk| disk.capacity_bytes),
        ));
        row.push(node.message.as_str().into());
        table.row(row);
    }
    show(context, options, &table, figures.is_empty(), "no nodes")
}

async fn tasks(client: &Client, context: &Context, options: &Options, which: &Selection) -> Result<(), CliError> {
    let mut figures = client.task_figures(which).await?;
    sort(&mut figures, options, |task| &task.usage);
    if let Some(telling) = options.output {
        return tell(telling, context, &figures);
    }
    let known = client.list_typed::<Task>(which).await?.items;
    let key = |task: &Task| (task.metadata.namespace().to_owned(), task.metadata.name.clone());
    let limits: BTreeMap<(String, String), &Task> = known.iter().map(|task| (key(task), task)).collect();
    let mut headings = vec![
        "NAME",
        "NODE",
        "CPU",
        "CPU%",
        "MEMORY",
        "MEMORY%",
        "NET IN/OUT",
        "DISK I/O",
        "DISK",
    ];
    let across = which.namespace.is_none();
    if across {
        headings.insert(0, "NAMESPACE");
    }
    let mut table = Table::new(headings);
    for task in &figures {
        let limits = limits.get(&(task.namespace.clone(), task.name.clone()));
        let limits = limits.map(|task| &task.spec.resources.limits);
        let mut row: Vec<Cell> = Vec::new();
        if across {
            row.push(task.namespace.as_str().into());
        }
        row.extend([task.name.as_str().into(), task.node.as_deref().unwrap_or(NONE).into()]);
        let cpu = limits.and_then(|limits| limits.cpu.as_ref()).map(Quantity::milli);
        row.extend(processors(&task.usage, cpu));
        let most = limits.and_then(|limits| limits.memory.as_ref()).map(Quantity::units);
        row.extend(memory(&task.usage, most));
        row.extend([
            traffic(task.usage.network.as_ref()),
            traffic(task.usage.block_io.as_ref()),
        ]);
        row.push(bytes(task.usage.disk.as_ref().map(|disk| disk.used_bytes)));
        table.row(row);
    }
    let none = match &which.namespace {
        Some(namespace) => format!("no tasks in namespace {namespace}"),
        None => "no tasks".to_owned(),
    };
    show(context, options, &table, figures.is_empty(), &none)
}

fn sort<T>(figures: &mut [T], options: &Options, usage: impl Fn(&T) -> &Usage) {
    match options.sort_by {
        None => {}
        Some(By::Cpu) => {
            figures.sort_by_key(|one| Reverse(usage(one).cpu.as_ref().and_then(|cpu| cpu.usage_nano_cores)))
        }
        Some(By::Memory) => {
            figures.sort_by_key(|one| Reverse(usage(one).memory.as_ref().map(|memory| memory.working_set_bytes)));
        }
    }
}

fn tell<T: Serialize>(telling: Telling, context: &Context, figures: &[T]) -> Result<(), CliError> {
    telling.tell(context, &json!({ "items": figures }))
}

fn show(context: &Context, options: &Options, table: &Table, empty: bool, none: &str) -> Result<(), CliError> {
    if options.watch {
        context.output.anew()?;
    }
    if empty {
        let chosen = if options.selector.is_empty() {
            ""
        } else {
            " with such labels"
        };
        context.output.talk(&format!("{none}{chosen}"));
        return Ok(());
    }
    context.output.table(table)
}

/// How much, and its share of what there is.
fn processors(usage: &Usage, of_milli: Option<u64>) -> [Cell; 2] {
    let nano = usage.cpu.as_ref().and_then(|cpu| cpu.usage_nano_cores);
    let shown = nano.map_or(NONE.to_owned(), |nano| format!("{:.2}", nano as f64 / 1e9));
    [shown.into(), share(nano, of_milli.map(|milli| milli * 1_000_000))]
}

fn memory(usage: &Usage, of: Option<u64>) -> [Cell; 2] {
    let used = usage.memory.as_ref().map(|memory| memory.working_set_bytes);
    [bytes(used), share(used, of)]
}

fn bytes(bytes: Option<u64>) -> Cell {
    bytes.map_or(NONE.to_owned(), words::size).into()
}

/// `1.2 MiB/340 B`
fn traffic(traffic: Option<&Traffic>) -> Cell {
    let rates = traffic.and_then(|traffic| Some((traffic.in_bytes_per_second?, traffic.out_bytes_per_second?)));
    let shown = |(input, output)| format!("{} / {}", words::size(input), words::size(output));
    rates.map_or(NONE.to_owned(), shown).into()
}

fn share(part: Option<u64>, whole: Option<u64>) -> Cell {
    let percent = part.zip(whole).and_then(|(part, whole)| {
        let percent = (u128::from(part) * 100).checked_div(u128::from(whole))?;
        u64::try_from(percent).ok()
    });
    match percent {
        Some(percent) => {
            let style = if percent >= MUCH { Style::Waiting } else { Style::Plain };
            Cell::new(format!("{percent}%"), style)
        }
        None => NONE.into(),
    }
}
