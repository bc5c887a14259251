//! Twenty replicas are replaced, five more at most and none fewer: how long, and how many ran at the least.
//!
//! No requests are sent: neither side's containers on the machine's network share an address, so that what failed would be this
//! client's choice of container. What the engine tells of starts and ends says how many there were to choose from.
use std::time::{Duration, Instant};

use cube_bench::Result;

use crate::bench::Round;
use crate::book::Book;
use crate::plane::{Plane, SETTLE, write};
use crate::side::{Net, Side, Wish};

/// Compose knows no roll: it replaces all at once.
pub const SIDES: &[Side] = &[Side::Cube, Side::Swarm, Side::Compose];

const MANY: usize = 20;

pub async fn round(round: &Round<'_>, book: &mut Book) -> Result<()> {
    let Round {
        bench, side, dockerd, ..
    } = *round;
    let wish = Wish::of(round.effort.containers(MANY), Net::Host);
    let many = wish.containers();
    let (plane, seen) = Plane::at_work(side, dockerd, &wish).await?;
    tokio::time::sleep(SETTLE).await;
    let wish = Wish { version: 2, ..wish };
    write(dockerd, &wish)?;
    let began = Instant::now();
    match &plane {
        Plane::Swarm(_) => {
            let update = format!(
                "service update --quiet --detach --no-resolve-image --update-parallelism {} --update-order start-first \
                 --update-delay 0s --update-monitor 1ms --env-add VERSION=2 sleeper-0",
                many.div_ceil(4)
            );
            dockerd.ask("docker", &update.split(' ').collect::<Vec<_>>()).await?;
        }
        _ => _ = plane.apply(dockerd, &wish).await?,
    }
    let started = seen.until("start", many, began).await?;
    let ended = seen.until("die", many, began).await?;
    let last = |moments: &[Instant]| moments.last().map_or(Duration::ZERO, |at| *at - began);
    let figure = format!("{many} replaced");
    book.time(bench.name(), &figure, side, last(&started).max(last(&ended)));
    let (mut now, mut least, mut most) = (many, many, many);
    for moment in seen.since(began) {
        match moment.what.as_str() {
            "start" => now += 1,
            "die" => now = now.saturating_sub(1),
            _ => {}
        }
        least = least.min(now);
        most = most.max(now);
    }
    book.add(
        bench.name(),
        &format!("{figure}: running at the least"),
        "containers",
        side,
        least as f64,
    );
    book.add(
        bench.name(),
        &format!("{figure}: running at the most"),
        "containers",
        side,
        most as f64,
    );
    Ok(())
}
