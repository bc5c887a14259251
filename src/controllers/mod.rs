//! The manager's hands: one runner, and a few lines a loop that join it to its brain in `cube_plan`.
//!
//! ```text
//! feed (all changes) ─► index (who owns whom) ─► loops: whom does it concern ─► queue (keyed, deduplicated)
//!        ▲                                                                        │ one at a time a key
//!        └───────── registry ◄── transactions ◄── decision ◄── brain ◄── look ◄───┘
//! ```
//!
//! It decides nothing and keeps nothing that the registry does not say: every loop can be ended and begun again at any
//! point. Guarantee: a loop never looks at less than what its own last transaction wrote. Read [`run`] first, then
//! `runner.rs`; to add a loop is one file like `namespace.rs` and its line in [`run`].
mod deployment;
mod event;
mod garbage;
mod index;
mod namespace;
mod node;
mod queue;
mod rebalance;
mod runner;
#[cfg(test)]
pub(crate) mod tests;

use cube_api::placement::SchedulingPolicy;
use tokio_util::sync::CancellationToken;

use crate::{
    registry::{Recorder, Registry},
    roster::Roster,
    world::World,
};

/// Runs all loops until `shutdown`; `policy` is how a node is chosen for Tasks that do not say.
pub async fn run(
    registry: Registry,
    world: World,
    roster: Roster,
    recorder: Recorder,
    policy: SchedulingPolicy,
    shutdown: CancellationToken,
) {
    let hands: Vec<Box<dyn runner::Hand>> = vec![
        Box::new(deployment::Deployments),
        Box::new(garbage::Garbage),
        Box::new(namespace::Namespaces),
        Box::new(event::Events::default()),
        Box::new(node::Nodes::new(roster)),
        Box::new(rebalance::Rebalance::new(policy)),
    ];
    runner::Runner::new(registry, world, recorder, hands)
        .run(shutdown)
        .await;
}
