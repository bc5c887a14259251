//! Cube at scale: a real manager, and thousands of workers that pretend, on one machine.
//!
//! Run by `dev/fleet`, which builds the release binary that is measured. Each figure is a file here; what they share is the
//! manager's process, the workers' and the wish. Nothing here fails for being slow, but for what is wrong: a Task that does
//! not run, a node that is said to be lost.
//!
//! ```text
//! fleet ─► wish (Deployments, Tasks) ─► cube manager ═ links ═ fleet workers (they run nothing, and say at once that they do)
//!   └────────── figures: time, processor of each side, memory, writes ──────────┘
//! ```
#![allow(missing_docs, reason = "a program of its own")]
mod change;
mod crew;
mod durable;
mod idle;
mod lists;
mod loss;
mod manager;
mod overload;
mod probe;
mod restart;
mod rise;
mod socket;
mod watches;
mod wish;
mod worker;

use std::process::ExitCode;
use std::time::Instant;

use crew::Crew;
use cube_bench::report::{self, Row};
pub use cube_bench::{Fault, Result};
use manager::Manager;
use wish::Wish;

/// How much there is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub nodes: usize,
    pub tasks: usize,
    /// Of each Deployment.
    pub replicas: usize,
    /// It is only to be seen that all works: nothing is measured for long.
    pub small: bool,
}

impl Size {
    /// Seconds from nothing to all running: 60 for 150,000 Tasks, and 20 for the 100,000 of a thousand nodes.
    fn rise_target(self) -> f64 {
        match self.nodes {
            ..=1000 => 20.0,
            _ => 60.0,
        }
    }
}

/// All that is there once it has risen.
pub struct Fleet {
    pub size: Size,
    pub manager: Manager,
    pub crew: Crew,
    pub wish: Wish,
}

const NAMES: [&str; 8] = [
    "idle", "change", "watches", "lists", "durable", "overload", "loss", "restart",
];

async fn measure(fleet: &mut Fleet, name: &str) -> Result<Vec<Row>> {
    match name {
        "idle" => fleet.idle().await,
        "change" => fleet.change().await,
        "watches" => fleet.watches().await,
        "lists" => fleet.lists().await,
        "durable" => fleet.durable().await,
        "overload" => fleet.overload().await,
        "loss" => fleet.loss().await,
        _ => fleet.restart().await,
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.as_slice() {
        [verb, socket, workers] if verb == "workers" => crew::work(socket.into(), workers.parse().unwrap_or(0)),
        _ => match read(&arguments) {
            Some((size, names)) => run(size, &names),
            None => {
                let names = NAMES.join(" | ");
                eprintln!("usage: dev/fleet [--small] [--nodes N] [--tasks M] [--replicas R] [none | {names}]…");
                return ExitCode::from(2);
            }
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn read(arguments: &[String]) -> Option<(Size, Vec<String>)> {
    let mut size = Size {
        nodes: 5000,
        tasks: 150_000,
        replicas: 100,
        small: false,
    };
    let mut names = Vec::new();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next()?.parse().ok().filter(|number| *number > 0);
        match argument.as_str() {
            "--small" => {
                size = Size {
                    nodes: 10,
                    tasks: 100,
                    replicas: 10,
                    small: true,
                }
            }
            "--nodes" => size.nodes = number()?,
            "--tasks" => size.tasks = number()?,
            "--replicas" => size.replicas = number()?,
            name if NAMES.contains(&name) => names.push(name.to_owned()),
            "none" => names.push(String::new()),
            _ => return None,
        }
    }
    if names.is_empty() {
        names = NAMES.map(str::to_owned).to_vec();
        if size.small {
            // It takes a minute, whatever is lost.
            names.retain(|name| name != "loss");
        }
    }
    names.retain(|name| !name.is_empty());
    Some((size, names))
}

#[tokio::main]
async fn run(size: Size, names: &[String]) -> Result<()> {
    report::machine();
    let began = Instant::now();
    println!("\nrise");
    let (mut fleet, rows) = rise::rise(size).await?;
    report::print(&rows);
    for name in names {
        println!("\n{name}");
        report::print(&measure(&mut fleet, name).await?);
    }
    let log = fleet.manager.log();
    let troubles: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("WARN") || line.contains("ERROR"))
        .collect();
    println!("\nthe manager's warnings: {}", troubles.len());
    for line in troubles.iter().take(10) {
        println!("  {line}");
    }
    println!(
        "took {:.0} s; load at the end: {}",
        began.elapsed().as_secs_f64(),
        report::load()
    );
    Ok(())
}
