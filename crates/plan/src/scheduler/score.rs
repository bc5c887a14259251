//! Which of the nodes that can take a Task is best: `spread`, the least loaded.
use cube_api::node::TaintEffect;

use super::{
    Demand,
    index::{NodeState, Said},
};

/// Lower is better, compared from left to right: taints that only prefer others, Tasks of the same controller, load in
/// millionths (of CPU and memory, the Task included), number of Tasks.
pub(super) type Score = (usize, u32, u64, u64);

/// The score of a node that can take the Task.
pub(super) fn score(demand: &Demand, state: &NodeState, said: &Said) -> Score {
    let avoided = said
        .taints
        .iter()
        .filter(|taint| taint.effect == TaintEffect::PreferNoSchedule && !demand.tolerates(taint));
    let kin = demand.kin.as_ref().and_then(|kin| state.kin.get(kin));
    let load = share(state.used.cpu + demand.cpu, said.allocatable.cpu)
        + share(state.used.memory + demand.memory, said.allocatable.memory);
    (avoided.count(), kin.copied().unwrap_or(0), load, state.used.tasks)
}

fn share(part: u64, whole: u64) -> u64 {
    let share = u128::from(part) * 1_000_000 / u128::from(whole.max(1));
    u64::try_from(share).unwrap_or(u64::MAX) / 2
}
