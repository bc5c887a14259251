//! Cube beside Docker Swarm, docker-compose and the engine alone: the same containers on the same engine, one after the other.
//!
//! Run by `dev/rivals [NAME…]`, which gives it a network of its own. Each round of each side has a fresh private engine; the
//! order of the sides is by chance. Nothing here fails for being slow; what could not be run is said with its reason.
//!
//! ```text
//! Bench ─► Round (a side, a Dockerd of its own) ─► Plane (the side at work) ─► engine ─► Seen (what the engine tells)
//!                                               └► Book (samples, table, raw)
//! ```
#![allow(missing_docs, reason = "a program of its own")]
mod again;
mod bench;
mod book;
mod cold;
mod dockerd;
mod fall;
mod heal;
mod idle;
mod order;
mod plane;
mod recovery;
mod rise;
mod roll;
mod saved;
mod seen;
mod side;
mod targets;
mod writes;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use bench::{Bench, Effort, Round};
use book::Book;
use cube_bench::process::binary;
use cube_bench::{Result, report};
use dockerd::Dockerd;
use order::Order;
use serde_json::Value;
use side::Side;

struct Options {
    effort: Effort,
    seed: u64,
    benches: Vec<Bench>,
    image: PathBuf,
    raw: Option<PathBuf>,
}

fn options() -> Option<Options> {
    let mut options = Options {
        effort: Effort {
            rounds: 5,
            small: false,
        },
        seed: std::time::SystemTime::UNIX_EPOCH
            .elapsed()
            .map_or(0, |since| since.as_secs()),
        benches: vec![],
        image: PathBuf::new(),
        raw: None,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--small" => options.effort = Effort { rounds: 1, small: true },
            "--rounds" => options.effort.rounds = arguments.next()?.parse().ok().filter(|rounds| *rounds > 0)?,
            "--seed" => options.seed = arguments.next()?.parse().ok()?,
            "--image" => options.image = arguments.next()?.into(),
            "--raw" => options.raw = Some(arguments.next()?.into()),
            name => options
                .benches
                .push(Bench::ALL.iter().copied().find(|bench| bench.name() == name)?),
        }
    }
    if options.benches.is_empty() {
        options.benches = if options.effort.small { Bench::SMALL } else { Bench::ALL }.to_vec();
    }
    Some(options)
}

#[tokio::main]
async fn main() -> ExitCode {
    let Some(options) = options() else {
        let names: Vec<_> = Bench::ALL.iter().map(|bench| bench.name()).collect();
        let names = names.join(" | ");
        eprintln!("usage: dev/rivals [--rounds N] [--small] [--seed N] [--raw FILE] [{names}]…");
        return ExitCode::from(2);
    };
    report::machine();
    println!("seed: {}", options.seed);
    for line in versions() {
        println!("{line}");
    }
    let mut order = Order::new(options.seed);
    let mut book = Book::default();
    for bench in &options.benches {
        let load = report::load();
        println!("\n{}: {} (load {load})", bench.name(), bench.title());
        book.begin(bench.name(), &load, options.seed);
        for _ in 0..options.effort.rounds {
            for side in order.shuffled(bench.sides()) {
                for part in 0..bench.parts() {
                    if let Err(error) = one(&options, *bench, side, part, &mut book).await {
                        book.failed(bench.name(), side, error.to_string());
                    }
                }
            }
        }
        book.print(bench.name());
    }
    println!("\nload at the end: {}", report::load());
    if let Some(file) = &options.raw
        && let Err(error) = write_raw(file, &options.benches, &book)
    {
        eprintln!("{}: {error}", file.display());
        return ExitCode::FAILURE;
    }
    if options.effort.small && book.has_failed() {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

async fn one(options: &Options, bench: Bench, side: Side, part: usize, book: &mut Book) -> Result<()> {
    let dockerd = Dockerd::start(&options.image).await?;
    let round = Round {
        bench,
        side,
        effort: options.effort,
        dockerd: &dockerd,
    };
    let done = round.measure(part, book).await;
    // It waits for processes.
    tokio::task::block_in_place(|| drop(dockerd));
    done
}

/// What is measured, in the words of each.
fn versions() -> Vec<String> {
    let cube = binary().unwrap_or_default().display().to_string();
    let said = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output();
        let first = output.map(|output| {
            String::from_utf8_lossy(&output.stdout)
                .lines()
                .next()
                .unwrap_or_default()
                .to_owned()
        });
        first.unwrap_or_else(|error| format!("{program}: {error}"))
    };
    vec![
        said(&cube, &["--version"]),
        said("dockerd", &["--version"]),
        said("docker", &["--version"]),
        said("docker-compose", &["--version"]),
    ]
}

/// Writes the raw samples, a line an entry so that a change can be read; what the file has of other benchmarks stays.
fn write_raw(file: &Path, benches: &[Bench], book: &Book) -> Result<()> {
    let before = std::fs::read_to_string(file).unwrap_or_else(|_| "[]".to_owned());
    let mut entries: Vec<Value> = serde_json::from_str(&before)?;
    entries.retain(|entry| benches.iter().all(|bench| entry["benchmark"] != bench.name()));
    entries.extend(book.raw(&versions()));
    let place = |entry: &Value| Bench::ALL.iter().position(|bench| entry["benchmark"] == bench.name());
    entries.sort_by_key(place);
    let lines: Vec<String> = entries.iter().map(|entry| format!("  {entry}")).collect();
    std::fs::write(file, format!("[\n{}\n]\n", lines.join(",\n")))?;
    Ok(())
}
