//! What Cube costs while nothing happens: processor, memory, writes.
use std::time::{Duration, Instant};

use cube_bench::process::{kilobytes, processor};
use cube_bench::report::Row;

use cube_bench::cube::{Cube, Engine, names, sleepers};

use crate::{Effort, Result};

const MANY: usize = 50;
/// What follows a start (Events, statuses) is over by then.
const SETTLE: Duration = Duration::from_secs(5);
/// More than once what recurs each minute.
const WATCHED: Duration = Duration::from_secs(75);

pub async fn measure(_: Effort) -> Result<Vec<Row>> {
    let (cube, _) = Cube::up(&Engine::Docker).await?;
    let mut tasks = cube.tasks().await?;
    cube.write("idle.yaml", &sleepers(&names("idle", MANY), ""))?;
    tasks.running(names("idle", MANY)).await?;
    drop(tasks);
    tokio::time::sleep(SETTLE).await;
    let pid = cube.pid();
    let (revision, spent, began) = (cube.revision().await?, processor(pid)?, Instant::now());
    tokio::time::sleep(WATCHED).await;
    let percent = 100.0 * (processor(pid)? - spent).as_secs_f64() / began.elapsed().as_secs_f64();
    let writes = cube.revision().await? - revision;
    let resident = kilobytes(pid, "status", "VmRSS:")? / 1024.0;
    let proportional = kilobytes(pid, "smaps_rollup", "Pss:")? / 1024.0;
    cube.down()?;
    let seconds = WATCHED.as_secs();
    Ok(vec![
        Row::new(
            format!("idle with 50 containers, {seconds} s: processor"),
            "% of a core",
            percent,
        )
        .at_most(0.2),
        Row::new("idle with 50 containers: writes of the store", "writes", writes as f64).at_most(0.0),
        Row::new("cube up with 50 containers: resident", "MiB", resident).at_most(30.0),
        Row::new("cube up with 50 containers: proportional set", "MiB", proportional),
    ])
}
