//! A thousand objects that are as they should be, applied again.
use std::time::Instant;

use crate::stub::Stub;
use crate::{Effort, Result};
use cube_bench::cube::{Cube, Engine, names, sleepers};
use cube_bench::report::{Row, Samples};

const MANY: usize = 1000;

pub async fn measure(effort: Effort) -> Result<Vec<Row>> {
    let stub = Stub::open()?;
    let (cube, _) = Cube::up(&Engine::Pretended(stub.socket())).await?;
    let mut tasks = cube.tasks().await?;
    let file = cube.data().join("thousand.yaml");
    std::fs::write(&file, sleepers(&names("same", MANY), "host"))?;
    let apply = ["apply", "-f", &file.to_string_lossy()];
    cube.run(&apply)?;
    tasks.running(names("same", MANY)).await?;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let (revision, calls) = (cube.revision().await?, stub.calls());
    let mut wall = Samples::default();
    for _ in 0..effort.rounds * 4 {
        let began = Instant::now();
        cube.run(&apply)?;
        wall.time(began.elapsed());
    }
    let writes = cube.revision().await? - revision;
    let calls = stub.calls() - calls;
    Ok(vec![
        Row::new("1,000 unchanged objects applied again (cube apply)", "ms", wall).at_most(100.0),
        Row::new("  writes of the store", "writes", writes as f64).at_most(0.0),
        Row::new("  calls of the engine", "calls", calls as f64).at_most(0.0),
    ])
}
