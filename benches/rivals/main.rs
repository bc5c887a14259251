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

use book::Book;
use cube_bench::process::binary;
use cube_bench::{Result, report};
use dockerd::Dockerd;
use order::Order;
use serde_json::Value;
use side::{Manners, Net, Side};

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
    B2,
    B3,
    B4,
    B5,
    B6,
    B7,
    B8,
    B9,
    B12,
    B13,
    B14,
}

impl Bench {
    const ALL: &[Self] = &[
        Self::B1,
        Self::B2,
        Self::B3,
        Self::B4,
        Self::B5,
        Self::B6,
        Self::B7,
        Self::B8,
        Self::B9,
        Self::B12,
        Self::B13,
        Self::B14,
    ];

    /// What every run of the tests has time for.
    const SMALL: &[Self] = &[Self::B1, Self::B14];

    pub const fn name(self) -> &'static str {
        match self {
            Self::B1 => "B1",
            Self::B2 => "B2",
            Self::B3 => "B3",
            Self::B4 => "B4",
            Self::B5 => "B5",
            Self::B6 => "B6",
            Self::B7 => "B7",
            Self::B8 => "B8",
            Self::B9 => "B9",
            Self::B12 => "B12",
            Self::B13 => "B13",
            Self::B14 => "B14",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::B1 => "30 containers on the machine's network, from the command to all running",
            Self::B2 => "30 containers on bridges, from the command to all running",
            Self::B3 => "100 and 200 containers on the machine's network, from the command to all running",
            Self::B4 => "what is as it should be is applied again",
            Self::B5 => "one of 30 containers is killed",
            Self::B6 => "30 containers are taken back",
            Self::B7 => "what it costs to look after 30 containers while nothing happens",
            Self::B8 => "how soon there is somebody to tell",
            Self::B9 => "creates of 512 bytes that are on the disk when they are acknowledged",
            Self::B12 => "one of 1,000 objects is changed",
            Self::B13 => "what looks after 30 containers is killed",
            Self::B14 => "20 replicas are replaced, at most 5 more and none fewer",
        }
    }

    const fn sides(self) -> &'static [Side] {
        match self {
            Self::B1 | Self::B2 | Self::B3 => rise::SIDES,
            Self::B4 => again::SIDES,
            Self::B5 => heal::SIDES,
            Self::B6 => fall::SIDES,
            Self::B7 => idle::SIDES,
            Self::B8 => cold::SIDES,
            Self::B9 => writes::SIDES,
            Self::B12 => saved::SIDES,
            Self::B13 => recovery::SIDES,
            Self::B14 => roll::SIDES,
        }
    }

    /// How many parts it has, each with an engine of its own.
    const fn parts(self) -> usize {
        match self {
            Self::B8 => 3,
            Self::B1 | Self::B2 | Self::B3 | Self::B4 | Self::B6 | Self::B13 => 2,
            _ => 1,
        }
    }
}

/// One measurement: a side on an engine that is nobody else's.
pub struct Round<'a> {
    pub bench: Bench,
    pub side: Side,
    pub effort: Effort,
    pub dockerd: &'a Dockerd,
}

impl Round<'_> {
    async fn measure(&self, part: usize, book: &mut Book) -> Result<()> {
        let first = part == 0;
        match self.bench {
            Bench::B1 if first => rise::round(self, book, 30, Net::Host).await,
            Bench::B1 => rise::apart(self, book, 30).await,
            Bench::B2 => rise::round(self, book, 30, if first { Net::Bridge } else { Net::Own }).await,
            Bench::B3 => rise::round(self, book, if first { 100 } else { 200 }, Net::Host).await,
            Bench::B4 if first => again::round(self, book, 30, 1).await,
            Bench::B4 => again::round(self, book, 1000, 0).await,
            Bench::B5 => heal::round(self, book).await,
            Bench::B6 => fall::round(self, book, if first { Manners::Obeys } else { Manners::Ignores }).await,
            Bench::B7 => idle::round(self, book).await,
            Bench::B8 if first => cold::empty(self, book).await,
            Bench::B8 => cold::again(self, book, if part == 1 { 1000 } else { 10_000 }).await,
            Bench::B9 => writes::round(self, book).await,
            Bench::B12 => saved::round(self, book).await,
            Bench::B13 if first => recovery::orchestrator(self, book).await,
            Bench::B13 => recovery::engine(self, book).await,
            Bench::B14 => roll::round(self, book).await,
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
