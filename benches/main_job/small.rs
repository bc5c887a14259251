//! The binary by itself: its size, its shortest verb, and how soon it is ready.
use std::fs;
use std::process::{Command, Stdio};
use std::time::Instant;

use cube_bench::process::binary;
use cube_bench::report::{Row, Samples};

use crate::{Effort, Result};
use cube_bench::cube::{Cube, Engine};

pub async fn measure(effort: Effort) -> Result<Vec<Row>> {
    let size = fs::metadata(binary()?)?.len() as f64 / f64::from(1 << 20);
    let mut version = Samples::default();
    for _ in 0..effort.rounds * 10 {
        let mut command = Command::new(binary()?);
        // There is a server to ask or there is none: here there is none.
        command
            .args(["version"])
            .env("CUBE_SERVER", "unix:///nowhere/cube.sock");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let began = Instant::now();
        command.status()?;
        version.time(began.elapsed());
    }
    let mut ready = Samples::default();
    for _ in 0..effort.rounds * 4 {
        let (cube, took) = Cube::up(&Engine::Docker).await?;
        ready.time(took);
        drop(cube);
    }
    Ok(vec![
        Row::new("the binary", "MiB", size).at_most(16.0),
        Row::new("cube version", "ms", version).at_most(10.0),
        Row::new("cube up on an empty store: to ready", "ms", ready).at_most(100.0),
    ])
}
