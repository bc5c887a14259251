//! Which node gets a Task, and if none does, why not.
//!
//! [`Index::place`] knows the nodes, what their Tasks take, and how many Tasks of which sort are where: sums, changed with
//! each Task and Node, that are always what they would be if they were built from nothing. It keeps the order of the nodes
//! for each demand, so that one more Task costs what has changed since the last one, not a pass over the nodes. It never
//! binds or waits.
//!
//! ```text
//! Task ─► demand ─► ranking of that demand, brought up to date with the nodes that have changed
//!                     │  each node: filters (yes, or a refusal), score (preferences, then policy)
//!                     ▼
//!                   groups of nodes with the same surroundings ─► judged (affinity, spread) ─► the best node
//!                                             └─ none: refusals counted ─► explanation
//! ```
//!
//! [`Rebalancer`] says which Tasks would be better elsewhere, by the same index.
//!
//! For a Task that fits nowhere [`Index::find_room`] says who must give way. [`Queue`] says which Task is next, and which of those that fit nowhere are to be looked at again.
mod crowd;
mod demand;
mod explain;
mod facts;
mod filter;
mod image;
mod index;
mod log;
mod node;
mod preempt;
mod queue;
mod ranking;
mod rebalance;
mod score;
mod status;
mod surroundings;
mod survey;
#[cfg(test)]
mod tests;

pub use crowd::Who;
pub use demand::{Demand, HostPort, Spread, Term, Tolerated, fixed_ports};
pub use explain::Explanation;
pub use filter::Refusal;
pub use index::Index;
pub use node::Usage;
pub use preempt::Room;
pub use queue::{Queue, Rank};
pub use rebalance::{REBALANCED, Rebalancer, Stays, is_at_rest, is_settled, rebalanced};
pub use status::{UNSCHEDULABLE, WAITING, is_told, nominated, unschedulable};
pub use survey::survey;
