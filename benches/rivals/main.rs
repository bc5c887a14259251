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
mod book;
mod dockerd;
mod fall;
mod order;
mod plane;
mod rise;
mod seen;
mod side;
mod targets;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use book::Book;
use cube_bench::process::binary;
use cube_bench::{Result, report};
use dockerd::Dockerd;
use order::Order;
use serde_json::json;
use side::{Net, Side};

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    rounds: usize,
    /// Two containers for any number, only to show that all works.
    small: bool,
}

impl Effort {
    /// So many containers, or the two that stand for them.
    pub const fn containers(&self, many: usize) -> usize {
        if self.small { 2 } else { many }
    }
}

/// The benchmarks, by the names that the test plan has for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bench {
    B1,
    B6,
}

impl Bench {
    const ALL: [Self; 2] = [Self::B1, Self::B6];

    pub const fn name(self) -> &'static str {
        match self {
            Self::B1 => "B1",
            Self::B6 => "B6",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::B1 => "30 containers on the machine's network, from the command to all running",
            Self::B6 => "30 containers taken back: until none runs, and until none is left",
        }
    }

    const fn sides(self) -> &'static [Side] {
        match self {
            Self::B1 => rise::SIDES,
            Self::B6 => fall::SIDES,
        }
    }
}

/// One measurement: a side on an engine that is nobody else's.
pub struct Round<'a> {
    pub bench: Bench,
    pub side: Side,
    pub effort: Effort,
    pub dockerd: &'a Dockerd,
    image: &'a Path,
}

impl Round<'_> {
    /// One more, for what must not meet what was measured before.
    pub async fn another_engine(&self) -> Result<Dockerd> {
        Dockerd::start(self.image).await
    }

    async fn measure(&self, book: &mut Book) -> Result<()> {
        match self.bench {
            Bench::B1 => rise::round(self, book, 30, Net::Host).await,
            Bench::B6 => fall::round(self, book).await,
        }
    }
}

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
                .push(Bench::ALL.into_iter().find(|bench| bench.name() == name)?),
        }
    }
    if options.benches.is_empty() {
        options.benches = Bench::ALL.to_vec();
    }
    Some(options)
}

#[tokio::main]
async fn main() -> ExitCode {
    let Some(options) = options() else {
        let names = Bench::ALL.map(Bench::name).join(" | ");
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
        println!("\n{}: {} (load {})", bench.name(), bench.title(), report::load());
        for _ in 0..options.effort.rounds {
            for side in order.shuffled(bench.sides()) {
                if let Err(error) = one(&options, *bench, side, &mut book).await {
                    book.failed(bench.name(), side, error.to_string());
                }
            }
        }
        book.print(bench.name());
    }
    println!("\nload at the end: {}", report::load());
    if let Some(file) = &options.raw
        && let Err(error) = write_raw(file, &options, &book)
    {
        eprintln!("{}: {error}", file.display());
        return ExitCode::FAILURE;
    }
    if options.effort.small && book.has_failed() {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

async fn one(options: &Options, bench: Bench, side: Side, book: &mut Book) -> Result<()> {
    let dockerd = Dockerd::start(&options.image).await?;
    let round = Round {
        bench,
        side,
        effort: options.effort,
        dockerd: &dockerd,
        image: &options.image,
    };
    let done = round.measure(book).await;
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
        said(&cube, &["version", "--server", "unix:///nowhere/cube.sock"]),
        said("dockerd", &["--version"]),
        said("docker", &["--version"]),
        said("docker-compose", &["--version"]),
    ]
}

/// A line an entry, so that a change can be read.
fn write_raw(file: &PathBuf, options: &Options, book: &Book) -> Result<()> {
    let head = json!({ "seed": options.seed, "rounds": options.effort.rounds, "versions": versions(), "load": report::load() });
    let lines: Vec<String> = std::iter::once(head)
        .chain(book.raw())
        .map(|entry| format!("  {entry}"))
        .collect();
    std::fs::write(file, format!("[\n{}\n]\n", lines.join(",\n")))?;
    Ok(())
}
