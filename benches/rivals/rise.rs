//! From a wish to all that it wishes for running: on the machine's network, on bridges, and many at once.
use std::time::Instant;

use cube_bench::Result;

use crate::bench::Round;
use crate::book::Book;
use crate::plane::Plane;
use crate::seen::Seen;
use crate::side::{Net, Side, Wish};

/// So many at once, on such a network: replicas of one object.
pub async fn round(round: &Round<'_>, book: &mut Book, many: usize, network: Net) -> Result<()> {
    let many = round.effort.containers(many);
    let kind = match network {
        Net::Host => "",
        Net::Bridge => " on the engine's bridge",
        Net::Own => " on a bridge of their own",
    };
    up(round, book, &Wish::of(many, network), kind).await
}

/// So many objects of one container each.
pub async fn apart(round: &Round<'_>, book: &mut Book, many: usize) -> Result<()> {
    let wish = Wish {
        objects: round.effort.containers(many),
        ..Wish::of(1, Net::Host)
    };
    up(round, book, &wish, " as objects of one each").await
}

async fn up(round: &Round<'_>, book: &mut Book, wish: &Wish, kind: &str) -> Result<()> {
    let Round {
        bench, side, dockerd, ..
    } = *round;
    let many = wish.containers();
    let mut plane = Plane::begin(side, dockerd, wish).await?;
    let seen = Seen::open(dockerd.docker()).await;
    let began = Instant::now();
    let rise = plane.up(dockerd, wish, &seen).await?;
    book.time(bench.name(), &format!("{many} up{kind}"), side, rise.all);
    book.time(bench.name(), &format!("  first of {many}{kind}"), side, rise.first);
    // What was started and did not stay so is not up.
    let ended = seen.since(began).iter().filter(|moment| moment.what == "die").count();
    if ended > 0 {
        return Err(format!("{ended} of {many} ended by themselves").into());
    }
    Ok(())
}

/// Who can be asked for it.
pub const SIDES: &[Side] = &[Side::Engine, Side::Cube, Side::Swarm, Side::Compose];
