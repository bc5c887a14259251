//! From nothing to all Tasks running, and what that takes.
use std::time::{Duration, Instant};

use cube_bench::report::Row;

use crate::crew::Crew;
use crate::manager::{LIMIT, Manager};
use crate::wish::Wish;
use crate::{Fleet, Result, Size};

/// Begins manager and workers, makes the wish, and waits until all of it runs.
pub async fn rise(size: Size) -> Result<(Fleet, Vec<Row>)> {
    let manager = Manager::begin().await?;
    let mut crew = Crew::begin(&manager.socket(), size.nodes)?;
    let began = Instant::now();
    crew.work(0..size.nodes)?;
    crew.until("all links are up", LIMIT, |told| told.links == size.nodes as i64)
        .await?;
    let joined = began.elapsed();
    let (first, revision) = ((manager.spent()?, crew.spent()?), manager.revision().await?);
    let wish = Wish::from(size);
    wish.deploy(&manager).await?;
    let asked = began.elapsed();
    crew.until("all Tasks run", LIMIT, |told| told.running == size.tasks as i64)
        .await?;
    let all = began.elapsed();
    let writes = manager.revision().await? - revision;
    let (manager_cpu, crew_cpu) = (manager.spent()?, crew.spent()?);
    let each = |time: Duration| time.as_secs_f64() * 1e6 / size.tasks as f64;
    let (resident, peak) = manager.memory()?;
    let rows = vec![
        Row::new(format!("{} nodes there", size.nodes), "s", joined.as_secs_f64()),
        Row::new("  wish made", "s", (asked - joined).as_secs_f64()),
        Row::new(
            format!("{} Tasks Running, from nothing", size.tasks),
            "s",
            all.as_secs_f64(),
        )
        .at_most(size.rise_target()),
        Row::new("  processor of the manager: nodes", "s", first.0.as_secs_f64()),
        Row::new("  … Tasks", "s", (manager_cpu - first.0).as_secs_f64()),
        Row::new("  … each Task", "µs", each(manager_cpu - first.0)),
        Row::new("  processor of the workers, each Task", "µs", each(crew_cpu - first.1)),
        Row::new("  writes, each Task", "writes", writes as f64 / size.tasks as f64),
        Row::new("  reports refused", "reports", crew.told().refused as f64),
        Row::new("  links broken", "links", crew.told().broken as f64).at_most(0.0),
        Row::new("manager resident", "MiB", resident).at_most(1024.0),
        Row::new("  at most", "MiB", peak).at_most(1024.0),
        Row::new("  store's file", "MiB", manager.stored()?),
    ];
    let fleet = Fleet {
        size,
        manager,
        crew,
        wish,
    };
    Ok((fleet, rows))
}
