//! The figures of the main job, measured: Cube beside the same work straight on the engine, interleaved in one run.
//!
//! Run by `dev/bench [NAME…]`, which builds the release binary that is measured. Each file here is a figure, or one of the
//! few things that they share; a figure gives rows, [`report`] prints them. Nothing here fails for being slow.
//!
//! ```text
//! figure ─► Cube (the binary, a directory of its own) ─► engine │ tap (a proxy that notes calls) │ stub (pretends)
//!        └► Straight (the same containers by the engine's API alone)
//! ```
#![allow(missing_docs, reason = "a program of its own")]
mod add_one;
mod fifty;
mod heal;
mod idle;
mod placed;
mod small;
mod store;
mod stub;
mod tap;
mod unchanged;

use std::process::ExitCode;

use cube_bench::Result;
use cube_bench::report::{self, Row};
use cube_bench::straight::Straight;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Rounds of what takes long; samples of what is short are a multiple of it.
    pub rounds: usize,
}

const NAMES: [&str; 8] = [
    "add-one",
    "heal",
    "idle",
    "small",
    "placed",
    "unchanged",
    "store",
    "fifty",
];

async fn measure(name: &str, effort: Effort) -> Result<Vec<Row>> {
    match name {
        "fifty" => fifty::measure(effort).await,
        "add-one" => add_one::measure(effort).await,
        "heal" => heal::measure(effort).await,
        "idle" => idle::measure(effort).await,
        "small" => small::measure(effort).await,
        "placed" => placed::measure(effort).await,
        "unchanged" => unchanged::measure(effort).await,
        _ => store::measure(effort).await,
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut effort = Effort { rounds: 5 };
    let mut names = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--rounds" => match arguments.next().and_then(|rounds| rounds.parse().ok()) {
                Some(rounds) if rounds > 0 => effort.rounds = rounds,
                _ => return usage(),
            },
            name if NAMES.contains(&name) => names.push(name.to_owned()),
            _ => return usage(),
        }
    }
    if names.is_empty() {
        names = NAMES.map(str::to_owned).to_vec();
    }
    report::machine();
    match Straight::version().await {
        Ok(version) => println!("engine: docker {version}"),
        Err(error) => println!("engine: {error}"),
    }
    let mut code = ExitCode::SUCCESS;
    for name in names {
        println!("\n{name}");
        match measure(&name, effort).await {
            Ok(rows) => report::print(&rows),
            Err(error) => {
                println!("  not measured: {error}");
                code = ExitCode::FAILURE;
            }
        }
    }
    println!("\nload at the end: {}", report::load());
    code
}

fn usage() -> ExitCode {
    eprintln!("usage: dev/bench [--rounds N] [{}]…", NAMES.join(" | "));
    ExitCode::from(2)
}
