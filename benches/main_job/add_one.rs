//! One Task: from its closed file to its started container, and with a thousand others there to the engine's create call.
use std::time::{Duration, Instant};

use cube_api::kinds::Kind;

use crate::stub::Stub;
use crate::tap::{Call, Tap};
use crate::{Effort, Result};
use cube_bench::cube::{Cube, Engine, LIMIT, is_running, names, sleepers};
use cube_bench::report::{Row, Samples};
use cube_bench::straight::Straight;

/// Samples a round.
const EACH: usize = 10;
/// Between two samples: the engine is at rest again, and what was told of the last one (Events) is written.
const REST: Duration = Duration::from_millis(400);
/// Files that are there already.
const THERE: usize = 1000;

pub async fn measure(effort: Effort) -> Result<Vec<Row>> {
    let mut rows = on_the_engine(effort).await?;
    rows.extend(beside_a_thousand(effort).await?);
    Ok(rows)
}

async fn on_the_engine(effort: Effort) -> Result<Vec<Row>> {
    let tap = Tap::open()?;
    let (cube, _) = Cube::up(&Engine::Through(tap.socket())).await?;
    let straight = Straight::new("namespace").await?;
    let mut tasks = cube.tasks().await?;
    // The namespace's network is there before, on both sides.
    cube.write("keep.yaml", &sleepers(&names("keep", 1), ""))?;
    tasks.running(names("keep", 1)).await?;
    let (mut direct, mut to_created, mut to_started, mut to_running) =
        <(Samples, Samples, Samples, Samples)>::default();
    let (mut beside, mut own) = <(Samples, Samples)>::default();
    for sample in 0..effort.rounds * EACH {
        tokio::time::sleep(REST).await;
        let began = Instant::now();
        let (id, _) = straight.one().await?;
        direct.time(began.elapsed());
        straight.down(vec![id], 1).await?;

        let name = format!("one-{sample}");
        tokio::time::sleep(REST).await;
        tap.take();
        let closed = cube.write("one.yaml", &sleepers(&[name.clone()].into(), ""))?;
        let running = tasks
            .until(|task| task["metadata"]["name"] == name.as_str() && is_running(task))
            .await?;
        let calls = tap.take();
        let find = |is: fn(&Call) -> bool| calls.iter().find(|call| is(call)).ok_or("a call was not seen");
        let (create, start) = (find(Call::is_create)?, find(Call::is_start)?);
        let started = start.answered.ok_or("a start without an answer")?;
        let engine = create.took() + start.took();
        own.time(engine);
        to_created.time(create.began - closed);
        to_started.time(started - closed);
        to_running.time(running - closed);
        beside.time((started - closed).saturating_sub(engine));
        cube.client()
            .delete(Kind::Task, "default", &name, &Default::default())
            .await?;
        cube.remove("one.yaml")?;
        tasks.gone([name].into()).await?;
    }
    straight.clean().await?;
    cube.down()?;
    let floor = direct.median();
    let (started, running) = (to_started.median(), to_running.median());
    Ok(vec![
        Row::new("create + start straight", "ms", direct),
        Row::new("one Task: the same two calls as Cube made them", "ms", own),
        Row::new("one Task: file closed to create call", "ms", to_created),
        Row::new("one Task: file closed to container started", "ms", to_started)
            .judged("less straight, p50", started - floor)
            .at_most(15.0),
        Row::new("  all of it but the two calls", "ms", beside).at_most(15.0),
        Row::new("one Task: file closed to seen Running by a client", "ms", to_running)
            .judged("less straight, p50", running - floor),
    ])
}

async fn beside_a_thousand(effort: Effort) -> Result<Vec<Row>> {
    let stub = Stub::open()?;
    let (cube, _) = Cube::up(&Engine::Pretended(stub.socket())).await?;
    let mut tasks = cube.tasks().await?;
    let there = names("there", THERE);
    for name in &there {
        cube.write(&format!("{name}.yaml"), &sleepers(&[name.clone()].into(), "host"))?;
    }
    tasks.running(there).await?;
    let mut samples = Samples::default();
    for sample in 0..effort.rounds * 4 * EACH {
        tokio::time::sleep(REST).await;
        let name = format!("more-{sample}");
        let text = sleepers(&[name.clone()].into(), "host");
        let closed = cube.write(&format!("{name}.yaml"), &text)?;
        let at = loop {
            if let Some(at) = stub.created_at(&name) {
                break at;
            }
            if closed.elapsed() > LIMIT {
                return Err(format!("no create call: {}", cube.log()).into());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        samples.time(at - closed);
    }
    Ok(vec![
        Row::new("one Task file added to 1,000: to the create call", "ms", samples)
            .p99()
            .at_most(30.0),
    ])
}
