//! What it costs to look after thirty containers while nothing happens: the engine's processes, and Cube's.
//!
//! Swarm lives inside the engine: what it costs is its row less the engine's alone. Compose leaves nothing that runs.
use std::time::{Duration, Instant};

use cube_bench::Result;
use cube_bench::process::{kilobytes, processor, wakeups, written};

use crate::bench::Round;
use crate::book::Book;
use crate::plane::Plane;
use crate::side::{Net, Side, Wish};

pub const SIDES: &[Side] = &[Side::Engine, Side::Cube, Side::Swarm];

const MANY: usize = 30;
/// What follows a start is over by then, on every side.
const SETTLE: Duration = Duration::from_secs(10);
/// More than once what recurs each minute.
const WATCHED: Duration = Duration::from_secs(75);

/// The account of some processes together, so far.
struct Account {
    processor: Duration,
    wakeups: u64,
    written: u64,
    at: Instant,
}

impl Account {
    fn of(pids: &[u32]) -> Result<Self> {
        let mut account = Self {
            processor: Duration::ZERO,
            wakeups: 0,
            written: 0,
            at: Instant::now(),
        };
        for pid in pids {
            account.processor += processor(*pid)?;
            account.wakeups += wakeups(*pid)?;
            account.written += written(*pid)?;
        }
        Ok(account)
    }
}

pub async fn round(round: &Round<'_>, book: &mut Book) -> Result<()> {
    let Round { side, dockerd, .. } = *round;
    let wish = Wish::of(round.effort.containers(MANY), Net::Host);
    // Nobody listens to the engine meanwhile.
    let (plane, _) = Plane::at_work(side, dockerd, &wish).await?;
    let [settle, watched] = if round.effort.small {
        [Duration::from_secs(1); 2]
    } else {
        [SETTLE, WATCHED]
    };
    tokio::time::sleep(settle).await;
    let engine = dockerd.pids()?;
    let mut groups = vec![("engine and orchestrator", engine)];
    if let Plane::Cube { cube, .. } = &plane {
        groups[0].1.push(cube.pid());
        groups.push(("cube's process", vec![cube.pid()]));
    }
    let before: Vec<Account> = groups
        .iter()
        .map(|(_, pids)| Account::of(pids))
        .collect::<Result<_>>()?;
    tokio::time::sleep(watched).await;
    for ((name, pids), before) in groups.iter().zip(before) {
        note(round, book, name, pids, &before)?;
    }
    Ok(())
}

fn note(round: &Round<'_>, book: &mut Book, name: &str, pids: &[u32], before: &Account) -> Result<()> {
    let after = Account::of(pids)?;
    let seconds = (after.at - before.at).as_secs_f64();
    let mut add =
        |what: &str, unit, value| book.add(round.bench.name(), &format!("{name}: {what}"), unit, round.side, value);
    let percent = 100.0 * (after.processor - before.processor).as_secs_f64() / seconds;
    add("processor", "% of a core", percent);
    add("wakeups", "a second", (after.wakeups - before.wakeups) as f64 / seconds);
    add(
        "written to disk",
        "KiB a minute",
        (after.written - before.written) as f64 / 1024.0 * 60.0 / seconds,
    );
    for (what, file, field) in [
        ("resident", "status", "VmRSS:"),
        ("proportional set", "smaps_rollup", "Pss:"),
    ] {
        let sum: f64 = pids
            .iter()
            .map(|pid| kilobytes(*pid, file, field))
            .sum::<Result<f64>>()?;
        add(what, "MiB", sum / 1024.0);
    }
    Ok(())
}
