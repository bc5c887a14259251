//! Which node gets a Task, and if none does, why not.
//!
//! [`Index::place`] looks at the nodes alone: what their Tasks take is kept summed up in the [`Index`], plain data that is
//! changed with each Task and Node and is always what it would be if it were built from nothing. It never binds or waits.
//!
//! ```text
//! Task ─► demand ─► filters (per node: yes, or a refusal) ─► scores (least loaded) ─► node
//!                        └─ nowhere: refusals counted ─► explanation, kept with all Tasks of that demand
//! ```
//!
//! [`Queue`] says which Task is next, and which of those that fit nowhere are to be looked at again.
mod demand;
mod explain;
mod filter;
mod index;
mod queue;
mod score;
mod status;
#[cfg(test)]
mod tests;

pub use demand::{Demand, HostPort, fixed_ports};
pub use explain::Explanation;
pub use filter::Refusal;
pub use index::{Index, NodeState, Usage};
pub use queue::{Queue, Rank};
pub use status::{UNSCHEDULABLE, WAITING, is_told, unschedulable};
