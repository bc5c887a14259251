//! Plants one bug after the other in Cube, and says which seed finds it: proof that the simulation finds things.
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use cube_planted::{Bug, plant};

use crate::{history::Violation, judged};

/// Within so many seeds a bug must be found.
const SEEDS: u64 = 1000;

/// The bug of that name.
pub fn named(name: &str) -> Result<Bug, String> {
    let found = Bug::ALL.iter().find(|bug| bug.name() == name);
    found
        .copied()
        .ok_or_else(|| format!("there is no bug {name:?}; `--list` names them"))
}

/// Prints which bugs there are.
pub fn list() {
    for bug in Bug::ALL {
        println!("{:24} {}", bug.name(), bug.says());
    }
}

/// Plants each, and prints which seed finds it, as a table for `docs/reliability.md`; says whether all were found.
pub fn hunt(bugs: &[Bug]) -> bool {
    println!("| bug | what it does | seed | what was broken |\n|---|---|---|---|");
    let mut missed = 0;
    for bug in bugs {
        let began = Instant::now();
        let found = hunt_one(*bug);
        let (name, says) = (bug.name(), bug.says());
        match &found {
            Some((seed, violation)) => println!("| `{name}` | {says} | {seed} | {} |", violation.invariant),
            None => {
                missed += 1;
                println!("| `{name}` | {says} | NOT FOUND | |");
            }
        }
        let what = found.map(|(_, violation)| violation.what).unwrap_or_default();
        eprintln!("{name}: {:.1} s: {what}", began.elapsed().as_secs_f64());
    }
    println!(
        "\n{} bugs planted, {missed} not found in {SEEDS} seeds each",
        bugs.len()
    );
    missed == 0
}

/// The first seed that fails with the bug, and does not without.
fn hunt_one(bug: Bug) -> Option<(u64, Violation)> {
    let mut from = 1;
    loop {
        plant(Some(bug));
        let found = first_failing(from);
        plant(None);
        let (seed, violation) = found?;
        if judged(seed, true).violation.is_none() {
            return Some((seed, violation));
        }
        from = seed + 1;
    }
}

fn first_failing(from: u64) -> Option<(u64, Violation)> {
    let (next, first) = (AtomicU64::new(from), AtomicU64::new(u64::MAX));
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let found: Vec<(u64, Violation)> = std::thread::scope(|scope| {
        let hunt = || {
            while first.load(Ordering::SeqCst) == u64::MAX {
                let seed = next.fetch_add(1, Ordering::SeqCst);
                if seed > SEEDS {
                    break;
                }
                if let Some(violation) = judged(seed, true).violation {
                    first.fetch_min(seed, Ordering::SeqCst);
                    return Some((seed, violation));
                }
            }
            None
        };
        let hunters: Vec<_> = (0..threads).map(|_| scope.spawn(hunt)).collect();
        let found = hunters.into_iter().map(|hunter| hunter.join().ok().flatten());
        found.flatten().collect()
    });
    found.into_iter().min_by_key(|(seed, _)| *seed)
}
