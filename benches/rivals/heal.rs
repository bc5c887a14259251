//! One of thirty containers is killed: until the engine has started what takes its place.
//!
//! Each is killed but once, so that no side's back-off for what crashes again and again is in it.
use std::time::{Duration, Instant};

use bollard::query_parameters::{InspectContainerOptions, ListContainersOptions};
use cube_bench::Result;
use rustix::process::{Pid, Signal, kill_process};

use crate::bench::Round;
use crate::book::Book;
use crate::plane::Plane;
use crate::side::{Net, Side, Wish};

/// Compose starts nothing again by itself: its row is the engine's own `restart: always`, which starts the same container.
pub const SIDES: &[Side] = &[Side::Engine, Side::Cube, Side::Swarm, Side::SwarmAtOnce, Side::Compose];

const MANY: usize = 30;
/// Kills a round: three rounds kill as many as there are.
const A_ROUND: usize = 10;
/// Between two kills: the engine is at rest again.
const REST: Duration = Duration::from_millis(500);

pub async fn round(round: &Round<'_>, book: &mut Book) -> Result<()> {
    let Round {
        bench, side, dockerd, ..
    } = *round;
    let wish = Wish::of(round.effort.containers(MANY), Net::Host);
    let figure = format!("one of {} killed, to its successor started", wish.containers());
    let (plane, seen) = Plane::at_work(side, dockerd, &wish).await?;
    let running = dockerd.docker().list_containers(None::<ListContainersOptions>).await?;
    for victim in running.into_iter().filter_map(|container| container.id).take(A_ROUND) {
        tokio::time::sleep(REST).await;
        if let Plane::Engine { straight, .. } = &plane {
            let began = Instant::now();
            // What a successor needs at least.
            let (id, _) = straight.one().await?;
            book.time(bench.name(), &figure, side, began.elapsed());
            straight.down(vec![id], 1).await?;
            continue;
        }
        // Past the engine, which would take a kill of its own for a stop that is meant.
        let state = dockerd
            .docker()
            .inspect_container(&victim, None::<InspectContainerOptions>)
            .await?
            .state;
        let pid = state
            .and_then(|state| state.pid)
            .and_then(|pid| i32::try_from(pid).ok());
        let pid = pid.and_then(Pid::from_raw).ok_or("a container without a process")?;
        let began = Instant::now();
        kill_process(pid, Signal::KILL)?;
        let started = seen.until("start", 1, began).await?;
        book.time(bench.name(), &figure, side, started[0] - began);
    }
    Ok(())
}
