//! One of thirty containers is killed: until its successor runs, beside what one create and start take on the engine.
use std::time::{Duration, Instant};

use cube_api::kinds::Kind;

use crate::tap::{Call, Tap};
use crate::{Effort, Result};
use cube_bench::cube::{Cube, Engine, is_running, names, sleepers};
use cube_bench::report::{Row, Samples};
use cube_bench::straight::Straight;

const MANY: usize = 30;
/// Each Task's first restart is at once, so that each can be killed but once.
const A_ROUND: usize = 6;
/// Between two samples: the engine is at rest again.
const REST: Duration = Duration::from_millis(400);

pub async fn measure(effort: Effort) -> Result<Vec<Row>> {
    let tap = Tap::open()?;
    let (cube, _) = Cube::up(&Engine::Through(tap.socket())).await?;
    let straight = Straight::new("namespace").await?;
    let mut tasks = cube.tasks().await?;
    let all = names("heal", MANY);
    cube.write("heal.yaml", &sleepers(&all, ""))?;
    tasks.running(all.clone()).await?;
    let (mut direct, mut healed, mut noticed) = <(Samples, Samples, Samples)>::default();
    let (mut own, mut beside) = <(Samples, Samples)>::default();
    for name in all.iter().take((effort.rounds * A_ROUND).min(MANY)) {
        tokio::time::sleep(REST).await;
        let began = Instant::now();
        let (id, _) = straight.one().await?;
        direct.time(began.elapsed());
        straight.down(vec![id], 1).await?;

        let task = cube.client().get(Kind::Task, "default", name).await?;
        let old = task["status"]["containerID"].as_str().unwrap_or_default().to_owned();
        tokio::time::sleep(REST).await;
        tap.take();
        let began = Instant::now();
        straight.kill(&old).await?;
        let mine = |task: &serde_json::Value| task["metadata"]["name"] == name.as_str();
        let seen = tasks.until(|task| mine(task) && !is_running(task)).await?;
        noticed.time(seen - began);
        let running = tasks
            .until(|task| mine(task) && is_running(task) && task["status"]["containerID"] != old.as_str())
            .await?;
        healed.time(running - began);
        let calls = tap.take();
        let find = |is: fn(&Call) -> bool| calls.iter().find(|call| is(call)).ok_or("a call was not seen");
        let engine = find(Call::is_create)?.took() + find(Call::is_start)?.took();
        own.time(engine);
        beside.time((running - seen).saturating_sub(engine));
    }
    straight.clean().await?;
    cube.down()?;
    let more = healed.median() - direct.median();
    Ok(vec![
        Row::new("create + start straight, beside 30", "ms", direct),
        Row::new("one of 30 killed: to its end told", "ms", noticed),
        Row::new("one of 30 killed: to its successor Running", "ms", healed)
            .judged("less straight, p50", more)
            .at_most(150.0),
        Row::new("  the same two calls as Cube made them", "ms", own),
        Row::new("  all else after its end was told", "ms", beside),
    ])
}
