//! What is as it should be is applied again: thirty objects that run, and a thousand that wish for nothing to run.
use std::time::Instant;

use cube_bench::Result;

use crate::bench::Round;
use crate::book::Book;
use crate::plane::{Plane, SETTLE};
use crate::side::{Net, Side, Wish};

/// The engine alone knows no wishes.
pub const SIDES: &[Side] = &[Side::Cube, Side::Swarm, Side::Compose];

/// Each side applies so often a round.
const TIMES: usize = 5;

/// Thirty objects of one container each, or a thousand of none: no machine of this size runs a thousand containers.
pub async fn round(round: &Round<'_>, book: &mut Book, objects: usize, replicas: usize) -> Result<()> {
    let Round {
        bench, side, dockerd, ..
    } = *round;
    let wish = Wish {
        objects: round.effort.containers(objects),
        ..Wish::of(replicas, Net::Host)
    };
    let what = format!("{} objects applied again", wish.objects);
    let (plane, seen) = Plane::at_work(side, dockerd, &wish).await?;
    tokio::time::sleep(SETTLE).await;
    let (before, began) = (plane.revision().await?, Instant::now());
    for _ in 0..TIMES {
        let took = plane.apply(dockerd, &wish).await?;
        book.time(bench.name(), &what, side, took);
    }
    tokio::time::sleep(SETTLE).await;
    let touched = seen.since(began).len();
    book.add(
        bench.name(),
        &format!("{what}: containers touched"),
        "events",
        side,
        touched as f64,
    );
    if let (Some(before), Some(after)) = (before, plane.revision().await?) {
        book.add(
            bench.name(),
            &format!("{what}: writes of the store"),
            "writes",
            side,
            (after - before) as f64,
        );
    }
    Ok(())
}
