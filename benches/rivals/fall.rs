//! Thirty are taken back: until none runs, and until none is left; such as obey, and such as wait for the kill.
use std::time::Duration;

use cube_bench::Result;

use crate::bench::Round;
use crate::book::Book;
use crate::plane::{Plane, SETTLE};
use crate::side::{Manners, Net, Side, Wish};

pub const SIDES: &[Side] = &[Side::Engine, Side::Cube, Side::Swarm, Side::Compose];

const MANY: usize = 30;

pub async fn round(round: &Round<'_>, book: &mut Book, manners: Manners) -> Result<()> {
    let Round {
        bench, side, dockerd, ..
    } = *round;
    let wish = Wish {
        manners,
        grace: if round.effort.small { 1 } else { 10 },
        ..Wish::of(round.effort.containers(MANY), Net::Host)
    };
    let (mut plane, seen) = Plane::at_work(side, dockerd, &wish).await?;
    tokio::time::sleep(SETTLE).await;
    let began = plane.down(dockerd, &wish).await?;
    let many = wish.containers();
    let kind = match manners {
        Manners::Obeys => format!("{many} that obey"),
        Manners::Ignores => format!("{many} that ignore TERM, grace {} s", wish.grace),
    };
    let last = |moments: Vec<_>| moments.last().map_or(Duration::ZERO, |at| *at - began);
    let ended = last(seen.until("die", many, began).await?);
    book.time(bench.name(), &format!("{kind}: none runs"), side, ended);
    let gone = last(seen.until("destroy", many, began).await?);
    book.time(bench.name(), &format!("{kind}: none is left"), side, gone);
    tokio::time::sleep(SETTLE).await;
    let left = dockerd.containers().await?;
    book.add(
        bench.name(),
        &format!("{kind}: leftovers"),
        "containers",
        side,
        left as f64,
    );
    Ok(())
}
