//! Fifty Tasks: brought up and taken down, beside the same straight on the engine.
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cube_api::kinds::Kind;
use cube_api::source::Source;

use crate::{Effort, Result};
use cube_bench::cube::{Cube, Engine, LIMIT, names, sleepers};
use cube_bench::report::{Row, Samples};
use cube_bench::straight::Straight;

const MANY: usize = 50;
/// How many containers the straight way has under way; the best of them counts.
const IN_FLIGHT: [usize; 3] = [2, 4, 6];

#[derive(Default)]
struct Direct {
    up: Samples,
    down: Samples,
    create: Samples,
    start: Samples,
    both: Samples,
}

pub async fn measure(effort: Effort) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for network in ["namespace", "host"] {
        rows.extend(on_network(network, effort).await?);
    }
    Ok(rows)
}

async fn on_network(network: &str, effort: Effort) -> Result<Vec<Row>> {
    let (cube, _) = Cube::up(&Engine::Docker).await?;
    let straight = Straight::new(network).await?;
    // The namespace's network is there beforehand, as the straight way's is.
    let mut tasks = cube.tasks().await?;
    cube.write("keep.yaml", &sleepers(&names("keep", 1), written(network)))?;
    tasks.running(names("keep", 1)).await?;
    drop(tasks);
    let (mut up, mut first, mut down) = <(Samples, Samples, Samples)>::default();
    let mut direct: BTreeMap<usize, Direct> = BTreeMap::new();
    for round in 0..effort.rounds {
        // Each round begins with another one.
        for turn in 0..=IN_FLIGHT.len() {
            match (turn + round) % (IN_FLIGHT.len() + 1) {
                0 => with_cube(&cube, &straight, round, network, [&mut up, &mut first, &mut down]).await?,
                at => {
                    let in_flight = IN_FLIGHT[at - 1];
                    without(&straight, in_flight, direct.entry(in_flight).or_default()).await?;
                }
            }
        }
    }
    straight.clean().await?;
    cube.down()?;
    Ok(rows(network, [up, first, down], direct))
}

fn written(network: &str) -> &str {
    if network == "host" { "host" } else { "" }
}

async fn with_cube(
    cube: &Cube,
    straight: &Straight,
    round: usize,
    network: &str,
    [up, first, down]: [&mut Samples; 3],
) -> Result<()> {
    let fifty = names(&format!("r{round}"), MANY);
    let mut tasks = cube.tasks().await?;
    let saved = cube.write("fifty.yaml", &sleepers(&fifty, written(network)))?;
    let (first_at, last_at) = tasks.running(fifty.clone()).await?;
    first.time(first_at - saved);
    up.time(last_at - saved);

    // So many wait for a yes, and it is from there that the engine has something to do.
    cube.remove("fifty.yaml")?;
    await_question(cube).await?;
    let began = Instant::now();
    cube.run(&["approve"])?;
    let gone = tasks.gone(fifty).await?;
    down.time(gone - began);
    let info = cube.client().info().await?;
    let left = straight.count(info["cluster"].as_str().unwrap_or_default()).await?;
    if left != 1 {
        return Err(format!("{} containers are left behind", left - 1).into());
    }
    Ok(())
}

async fn await_question(cube: &Cube) -> Result<()> {
    let began = Instant::now();
    while began.elapsed() < LIMIT {
        let sources = cube.client().list_typed::<Source>(&Default::default()).await?;
        if sources.items.iter().any(|source| source.status.waiting.len() == MANY) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(format!("{} does not wait for a yes", Kind::Source.info().plural).into())
}

async fn without(straight: &Straight, in_flight: usize, samples: &mut Direct) -> Result<()> {
    let began = Instant::now();
    let (ids, took) = straight.up(MANY, in_flight).await?;
    samples.up.time(began.elapsed());
    for took in took {
        samples.create.time(took.create);
        samples.start.time(took.start);
        samples.both.time(took.create + took.start);
    }
    let began = Instant::now();
    straight.down(ids, in_flight).await?;
    samples.down.time(began.elapsed());
    Ok(())
}

fn rows(network: &str, [up, first, down]: [Samples; 3], direct: BTreeMap<usize, Direct>) -> Vec<Row> {
    let mut rows = Vec::new();
    let by = |of: fn(&Direct) -> &Samples| {
        let all = direct
            .iter()
            .map(|(in_flight, samples)| (*in_flight, of(samples).median()));
        all.min_by(|one, other| one.1.total_cmp(&other.1))
            .unwrap_or((0, f64::NAN))
    };
    let ((best, floor_up), (best_down, floor_down)) = (by(|direct| &direct.up), by(|direct| &direct.down));
    for (in_flight, samples) in &direct {
        let at = format!("{network}: straight, {in_flight} in flight");
        rows.push(Row::new(format!("{at}: 50 up"), "ms", samples.up.clone()));
        rows.push(Row::new(format!("{at}: 50 down"), "ms", samples.down.clone()));
        if *in_flight == best {
            rows.push(Row::new(format!("{at}: one create"), "ms", samples.create.clone()));
            rows.push(Row::new(format!("{at}: one start"), "ms", samples.start.clone()));
            rows.push(Row::new(format!("{at}: both"), "ms", samples.both.clone()));
        }
    }
    let start = direct.get(&best).map_or(f64::NAN, |direct| direct.start.median());
    let over = |samples: &Samples, floor: f64| samples.median() / floor;
    let (up_ratio, down_ratio, first_ratio) = (over(&up, floor_up), over(&down, floor_down), over(&first, start));
    rows.push(
        Row::new(format!("{network}: Cube, file saved to 50 Running"), "ms", up)
            .judged(format!("over {best} in flight"), up_ratio)
            .at_most(1.10),
    );
    rows.push(
        Row::new(format!("{network}: Cube, file saved to first Running"), "ms", first)
            .judged("over one start", first_ratio)
            .at_most(1.3),
    );
    rows.push(
        Row::new(format!("{network}: Cube, yes said to 50 gone"), "ms", down)
            .judged(format!("over {best_down} in flight"), down_ratio)
            .at_most(1.10),
    );
    rows
}
