//! Runs the whole of Cube in a simulation, seed by seed, and says where it does not keep what it promises.
//!
//! The control plane is Cube's own code, unchanged: store, server, controllers, scheduler, workers, directory source. What is
//! simulated is what surrounds it: time, chance, disk, network, files, engines. Read `run.rs` first.
mod bounds;
mod chance;
mod cluster;
mod directory;
mod disk;
mod engine;
mod history;
mod manifests;
mod mutants;
mod nemesis;
mod network;
mod notes;
mod oracle;
mod panics;
mod people;
mod rot;
mod run;
#[cfg(test)]
mod scenarios;
mod script;
mod shrink;
mod sweep;
mod trap;
mod walk;
mod world;

use std::{
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use clap::{Parser, ValueEnum};
use cube_planted::Bug;

use crate::{
    history::Violation,
    run::{Ended, run},
    script::Script,
};

/// Run Cube in a simulation and hold it to what it promises
#[derive(Parser)]
struct Args {
    /// So many seeds, one after the other
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// This seed alone
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// Print everything that happens
    #[arg(long, requires = "seed")]
    trace: bool,
    /// What is demanded: at every step what must never happen (safety), and at the end, once all is mended, that all becomes
    /// as it should be (liveness)
    #[arg(long, value_enum, default_value_t)]
    mode: Mode,
    /// Go on after a failure, and give each a line
    #[arg(long)]
    all: bool,
    /// A crash at every point of each main flow, instead of seeds
    #[arg(long, conflicts_with_all = ["seed", "seeds", "from"])]
    sweep: bool,
    /// Of the sweep, only each Nth point
    #[arg(long, default_value_t = 1, requires = "sweep")]
    every: usize,
    /// Each field of each kind with good, extreme and bad values, and back
    #[arg(long, conflicts_with_all = ["seed", "seeds", "from", "sweep", "mutants"])]
    walk: bool,
    /// Plant bugs in Cube one after the other, and see that each is found within a thousand seeds
    #[arg(long, conflicts_with_all = ["seed", "seeds", "from", "sweep"])]
    mutants: bool,
    /// Of the bugs, only this one (may be said again)
    #[arg(long, requires = "mutants")]
    only: Vec<String>,
    /// Only say which bugs there are
    #[arg(long, requires = "mutants", conflicts_with = "only")]
    list: bool,
    /// Plant this bug in every run
    #[arg(long, conflicts_with = "mutants")]
    plant: Option<String>,
    /// Begin no seed after so many minutes
    #[arg(long)]
    minutes: Option<u64>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Mode {
    Safety,
    #[default]
    Liveness,
}

fn main() -> ExitCode {
    let args = Args::parse();
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .without_time()
        .with_writer(std::io::stderr)
        .init();
    panics::note_them();
    let liveness = args.mode == Mode::Liveness;
    match args.plant.as_deref().map(mutants::named).transpose() {
        Ok(bug) => cube_planted::plant(bug),
        Err(why) => return refuse(&why),
    }
    if let Some(seed) = args.seed {
        return one(seed, liveness, args.trace);
    }
    let began = Instant::now();
    if args.mutants {
        return hunt(&args.only, args.list);
    }
    if args.walk {
        let walked = walk::walk();
        let (taken, refused) = (walked.taken, walked.refused);
        walked.wrong.iter().for_each(|wrong| println!("{wrong}"));
        println!(
            "{taken} values taken, {refused} refused, {} not as promised, in {:.1} s",
            walked.wrong.len(),
            began.elapsed().as_secs_f64()
        );
        return if walked.wrong.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        };
    }
    if args.sweep {
        return match sweep::sweep(args.every) {
            Ok(points) => {
                println!("{points} points hold, in {:.1} s", began.elapsed().as_secs_f64());
                ExitCode::SUCCESS
            }
            Err(why) => {
                println!("{why}");
                ExitCode::FAILURE
            }
        };
    }
    let limit = args.minutes.map(|minutes| Duration::from_secs(60 * minutes));
    let (next, simulated, failed) = (AtomicU64::new(args.from), AtomicU64::new(0), AtomicU64::new(u64::MAX));
    let done = AtomicU64::new(0);
    let last = args.from + args.seeds;
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        for _ in 0..threads {
            scope.spawn(|| {
                while limit.is_none_or(|limit| began.elapsed() < limit)
                    && (args.all || failed.load(Ordering::SeqCst) == u64::MAX)
                {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= last {
                        return;
                    }
                    let ended = judged(seed, liveness);
                    simulated.fetch_add(ended.simulated.as_millis() as u64, Ordering::SeqCst);
                    done.fetch_add(1, Ordering::SeqCst);
                    if let Some(violation) = &ended.violation {
                        if args.all {
                            println!("seed {seed}: {}: {}", violation.invariant, violation.what);
                        }
                        failed.fetch_min(seed, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    let simulated = simulated.load(Ordering::SeqCst) as f64 / 1000.0;
    let took = began.elapsed().as_secs_f64();
    println!(
        "{} seeds in {took:.1} s: {simulated:.0} simulated seconds, {:.0} for each real one",
        done.load(Ordering::SeqCst),
        simulated / took
    );
    match failed.load(Ordering::SeqCst) {
        u64::MAX => ExitCode::SUCCESS,
        _ if args.all => ExitCode::FAILURE,
        seed => one(seed, liveness, false),
    }
}

/// Plants the bugs of these names, or all.
fn hunt(only: &[String], list: bool) -> ExitCode {
    if list {
        mutants::list();
        return ExitCode::SUCCESS;
    }
    let named: Result<Vec<Bug>, String> = only.iter().map(|name| mutants::named(name)).collect();
    let all_found = match named {
        Ok(bugs) if bugs.is_empty() => mutants::hunt(Bug::ALL),
        Ok(bugs) => mutants::hunt(&bugs),
        Err(why) => return refuse(&why),
    };
    if all_found {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn refuse(why: &str) -> ExitCode {
    eprintln!("{why}");
    ExitCode::from(2)
}

/// So many seeds are run a second time, to see that the same happens again.
const TWICE: u64 = 50;

/// Runs one seed.
fn judged(seed: u64, liveness: bool) -> Ended {
    let script = Script::draw(seed, liveness);
    let mut ended = run(seed, &script, liveness, false);
    if seed.is_multiple_of(TWICE) && ended.violation.is_none() {
        let again = run(seed, &script, liveness, false);
        if again.fingerprint != ended.fingerprint {
            ended.violation = Some(Violation {
                invariant: "I13: the same seed gives the same history",
                what: format!("{:016x}, then {:016x}", ended.fingerprint, again.fingerprint),
                at: ended.simulated,
            });
        }
    }
    ended
}

/// Runs one seed, and tells everything about it.
fn one(seed: u64, liveness: bool, trace: bool) -> ExitCode {
    let script = Script::draw(seed, liveness);
    let ended = match trace {
        true => run(seed, &script, liveness, true),
        false => judged(seed, liveness),
    };
    if trace {
        for line in &ended.lines {
            println!("{line}");
        }
    }
    println!(
        "seed {seed}: fingerprint {:016x}, {:.1} s simulated",
        ended.fingerprint,
        ended.simulated.as_secs_f64()
    );
    let Some(violation) = ended.violation else {
        return ExitCode::SUCCESS;
    };
    println!(
        "\nVIOLATED at {:.3} s: {}\n  {}",
        violation.at.as_secs_f64(),
        violation.invariant,
        violation.what
    );
    println!(
        "\noptions of seed {seed}:\n{:#?}\n{:?}\n{:?}, {:?}, lost {:?}",
        script.layout, script.taste, script.faults, script.length, script.lost
    );
    let (shortest, ended) = shrink::shrink(seed, script, liveness, violation.invariant);
    println!("\nthe shortest history found, {} acts:", shortest.acts.len());
    for timed in &shortest.acts {
        println!("{timed}");
    }
    println!("\nits last lines:");
    let from = ended.lines.len().saturating_sub(120);
    for line in &ended.lines[from..] {
        println!("{line}");
    }
    ExitCode::FAILURE
}
