//! What looks after thirty containers is killed, or the engine is: until all is as it should be, and what was restarted for it.
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bollard::query_parameters::ListContainersOptionsBuilder;
use cube_bench::Result;

use crate::bench::Round;
use crate::book::Book;
use crate::dockerd::Dockerd;
use crate::plane::{Plane, SETTLE};
use crate::seen::LIMIT;
use crate::side::{Net, Side, Wish};

pub const SIDES: &[Side] = &[Side::Engine, Side::Cube, Side::Swarm, Side::Compose];

const MANY: usize = 30;
/// How often the engine is asked.
const ASKED_EVERY: Duration = Duration::from_millis(50);
/// What holds for so long is taken to stay.
const STEADY: Duration = Duration::from_secs(4);

/// Cube alone is killed: Swarm is the engine's own process, and Compose has none.
pub async fn orchestrator(round: &Round<'_>, book: &mut Book) -> Result<()> {
    let Round {
        bench, side, dockerd, ..
    } = *round;
    if side != Side::Cube {
        // The other part is what it comes to for them.
        return Ok(());
    }
    let wish = Wish::of(round.effort.containers(MANY), Net::Host);
    let many = wish.containers();
    let (mut plane, seen) = Plane::at_work(side, dockerd, &wish).await?;
    tokio::time::sleep(SETTLE).await;
    let Plane::Cube { cube, .. } = &mut plane else {
        return Ok(());
    };
    let before = running(dockerd).await?;
    cube.kill()?;
    let began = Instant::now();
    let killed = began;
    cube.again().await?;
    while cube.run(&["get", "tasks"])?.matches(" Running ").count() < many {
        if began.elapsed() > LIMIT {
            return Err("cube does not say that all run".into());
        }
    }
    book.time(
        bench.name(),
        "cube killed and started, to it saying that all run",
        side,
        began.elapsed(),
    );
    tokio::time::sleep(STEADY).await;
    let touched = seen.since(killed).len();
    book.add(
        bench.name(),
        "cube killed and started: containers touched",
        "events",
        side,
        touched as f64,
    );
    if running(dockerd).await? != before {
        return Err("other containers run than before".into());
    }
    Ok(())
}

/// The engine is killed with its containerd, and started again.
pub async fn engine(round: &Round<'_>, book: &mut Book) -> Result<()> {
    let Round {
        bench, side, dockerd, ..
    } = *round;
    let wish = Wish::of(round.effort.containers(MANY), Net::Host);
    let many = wish.containers();
    let (plane, _) = Plane::at_work(side, dockerd, &wish).await?;
    tokio::time::sleep(SETTLE).await;
    dockerd.kill()?;
    // It answers at the second try; the one that failed is nobody's here.
    let began = dockerd.run().await?;
    let answered = began.elapsed();
    let name = format!("engine killed with {many}");
    book.time(
        bench.name(),
        &format!("{name}: from its start to its first answer"),
        side,
        answered,
    );
    if let Plane::Engine { straight, .. } = &plane {
        // The floor: what making them anew takes, the corpses left aside.
        straight.up(many, 4).await?;
        book.time(
            bench.name(),
            &format!("{name}: from its start to all running"),
            side,
            began.elapsed(),
        );
        return Ok(());
    }
    let settled = await_steady(dockerd, many, began).await?;
    book.time(
        bench.name(),
        &format!("{name}: from its start to all running"),
        side,
        settled - began,
    );
    let listed = dockerd.containers().await?;
    book.add(
        bench.name(),
        &format!("{name}: corpses left"),
        "containers",
        side,
        (listed - many) as f64,
    );
    Ok(())
}

/// The ids of what runs.
async fn running(dockerd: &Dockerd) -> Result<BTreeSet<String>> {
    let options = ListContainersOptionsBuilder::new().build();
    let listed = dockerd.docker().list_containers(Some(options)).await?;
    Ok(listed.into_iter().filter_map(|container| container.id).collect())
}

/// The moment from which so many ran, and the same ones for a while.
async fn await_steady(dockerd: &Dockerd, many: usize, began: Instant) -> Result<Instant> {
    let (mut since, mut before) = (Instant::now(), BTreeSet::new());
    while began.elapsed() < LIMIT {
        let now = running(dockerd).await?;
        if now != before || now.len() != many {
            (since, before) = (Instant::now(), now);
        } else if since.elapsed() > STEADY {
            return Ok(since);
        }
        tokio::time::sleep(ASKED_EVERY).await;
    }
    Err(format!("{} of {many} run", before.len()).into())
}
