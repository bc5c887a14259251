//! One of a thousand objects is changed so that a container is to run: until the engine has made it.
//!
//! Cube watches the directory of files; the others watch nothing, so that their command is run after the file is written.
use std::time::{Duration, Instant};

use cube_bench::Result;

use crate::bench::Round;
use crate::book::Book;
use crate::plane::{Plane, SETTLE, write};
use crate::seen::{LIMIT, Seen};
use crate::side::{Net, Side, Wish};

/// The engine alone knows no files.
pub const SIDES: &[Side] = &[Side::Cube, Side::Swarm, Side::Compose];

const MANY: usize = 1000;
/// Changes a round, for each of which the container goes again.
const TIMES: usize = 5;

pub async fn round(round: &Round<'_>, book: &mut Book) -> Result<()> {
    let Round {
        bench, side, dockerd, ..
    } = *round;
    let still = Wish {
        objects: round.effort.containers(MANY),
        ..Wish::of(0, Net::Host)
    };
    let figure = format!("one of {} files changed, to its container made", still.objects);
    let plane = Plane::begin(side, dockerd, &still).await?;
    let seen = Seen::open(dockerd.docker()).await;
    match &plane {
        Plane::Cube { cube, .. } => {
            for (name, text) in still.manifests() {
                cube.write(&format!("{name}.yaml"), &text)?;
            }
            let began = Instant::now();
            while cube.run(&["get", "deployments", "--output", "name"])?.lines().count() < still.objects {
                if began.elapsed() > LIMIT {
                    return Err("not all files were taken".into());
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        _ => {
            write(dockerd, &still)?;
            plane.apply(dockerd, &still).await?;
        }
    }
    for _ in 0..TIMES {
        tokio::time::sleep(SETTLE).await;
        let one = Wish { extra: 1, ..still };
        let began = change(round, &plane, &one).await?;
        let made = seen.until("create", 1, began).await?;
        book.time(bench.name(), &figure, side, made[0] - began);
        seen.until("start", 1, began).await?;
        let began = change(round, &plane, &still).await?;
        seen.until("destroy", 1, began).await?;
    }
    Ok(())
}

/// Writes the changed file, and has it read; gives the moment at which it was closed.
async fn change(round: &Round<'_>, plane: &Plane, wish: &Wish) -> Result<Instant> {
    if let Plane::Cube { cube, .. } = plane {
        let (name, text) = wish.manifests().next().ok_or("no objects")?;
        return cube.write(&format!("{name}.yaml"), &text);
    }
    write(round.dockerd, wish)?;
    let began = Instant::now();
    plane.apply(round.dockerd, wish).await?;
    Ok(began)
}
