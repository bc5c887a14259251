//! How soon there is somebody to tell: on an empty store to the first acknowledged write, and again with objects that are there.
use std::time::Instant;

use bollard::query_parameters::ListServicesOptions;
use cube_bench::Result;
use cube_bench::cube::{Cube, Engine};

use crate::bench::Round;
use crate::book::Book;
use crate::dockerd::Dockerd;
use crate::plane::{Plane, write};
use crate::seen::LIMIT;
use crate::side::{Net, Side, Wish};

/// Compose keeps nothing that could be started.
pub const SIDES: &[Side] = &[Side::Cube, Side::Swarm];

/// The first object is one that wishes for nothing to run.
const NOTHING: Wish = Wish::of(0, Net::Host);
/// Starts a round.
const TIMES: usize = 5;

pub async fn empty(round: &Round<'_>, book: &mut Book) -> Result<()> {
    let Round {
        bench, side, dockerd, ..
    } = *round;
    write(dockerd, &NOTHING)?;
    for _ in 0..TIMES {
        let began = Instant::now();
        let (ready, plane) = if side == Side::Cube {
            let (cube, ready) = Cube::up(&Engine::Private(dockerd.socket())).await?;
            let tasks = cube.tasks().await?;
            (
                ready,
                Plane::Cube {
                    cube: Box::new(cube),
                    tasks,
                },
            )
        } else {
            let plane = Plane::begin(side, dockerd, &NOTHING).await?;
            (began.elapsed(), plane)
        };
        book.time(bench.name(), "start on an empty store, to ready", side, ready);
        let written = plane.apply(dockerd, &NOTHING).await?;
        book.time(
            bench.name(),
            "start on an empty store, to the first write acknowledged",
            side,
            ready + written,
        );
        if side != Side::Cube {
            dockerd.ask("docker", &["swarm", "leave", "--force"]).await?;
        }
    }
    Ok(())
}

/// Started again with so many objects: until it lists them. Cube was killed before, but the engine was stopped: killed, its
/// first start fails after 15 s, for which Swarm is not to blame.
pub async fn again(round: &Round<'_>, book: &mut Book, many: usize) -> Result<()> {
    let Round {
        bench, side, dockerd, ..
    } = *round;
    let many = round.effort.containers(many);
    let wish = Wish {
        objects: many,
        ..NOTHING
    };
    let figure = format!("started again with {many} objects, to them listed");
    if side != Side::Cube && many > 1000 {
        return Err(format!("the making of {many} services takes it longer than all else here").into());
    }
    let mut plane = Plane::begin(side, dockerd, &wish).await?;
    write(dockerd, &wish)?;
    plane.apply(dockerd, &wish).await?;
    for _ in 0..TIMES {
        let took = match &mut plane {
            Plane::Cube { cube, .. } => {
                cube.kill()?;
                let began = Instant::now();
                cube.again().await?;
                let listed = cube.run(&["get", "deployments", "--output", "name"])?;
                if listed.lines().count() != many {
                    return Err(format!("{} of {many} objects are there", listed.lines().count()).into());
                }
                began.elapsed()
            }
            _ => {
                tokio::task::block_in_place(|| dockerd.stop())?;
                let began = dockerd.run().await?;
                await_services(dockerd, many, began).await?;
                began.elapsed()
            }
        };
        book.time(bench.name(), &figure, side, took);
    }
    Ok(())
}

async fn await_services(dockerd: &Dockerd, many: usize, began: Instant) -> Result<()> {
    while began.elapsed() < LIMIT {
        // While it elects itself it answers with an error.
        let listed = dockerd
            .docker()
            .list_services(None::<ListServicesOptions>)
            .await
            .unwrap_or_default();
        if listed.len() == many {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    Err("swarm does not list its services".into())
}
