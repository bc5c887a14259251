//! Gives Tasks to nodes: joins the registry to the brain, `cube_plan::scheduler`.
//!
//! ```text
//! feed ─► index (what nodes have free) ─► pass: each Task in turn ─► binds, one transaction ─► registry
//!    └──► queue (who waits, for what) ◄────── fits nowhere: its status says why
//! ```
//!
//! It never decides where (the brain does) and keeps nothing that the registry does not say. A binding that is under way
//! counts in the index at once, so that passes need not wait for the disk. Read [`run`] first, then `actor.rs`.
mod actor;
#[cfg(test)]
mod tests;

use cube_api::placement::SchedulingPolicy;
use tokio_util::sync::CancellationToken;

use crate::{
    registry::{Recorder, Registry},
    world::World,
};

/// Places Tasks until `shutdown`; `policy` holds for those that name none.
pub async fn run(
    registry: Registry,
    world: World,
    recorder: Recorder,
    policy: SchedulingPolicy,
    shutdown: CancellationToken,
) {
    actor::Actor::new(registry, world, recorder, policy).run(shutdown).await;
}
