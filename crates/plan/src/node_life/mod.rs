//! What becomes of a node and of its Tasks when it is silent, tainted, drained or gone.
//!
//! [`decide`] takes one look at one node and says what is to be written: that it is not ready, and which of its Tasks stay,
//! leave it, or are taken from it. It never waits and never acts; who hears the workers is `src/roster`.
//!
//! ```text
//! heard ──► ready                       tainted NoExecute, or drained: Tasks are asked to leave, some at a time
//!   │ silent for GRACE                     │ of a Deployment: another one is there first
//!   ▼                                      ▼
//! not ready ── tolerated for 30 s ──► its Tasks are taken from it: each waits for another node
//!                                          └ but not those whose data is there: Stranded
//! ```
//!
//! Guarantees: a Task whose data lives on the node is never started empty elsewhere, unless the Node is deleted, which gives the data
//! up. A node is judged by how long its worker has been silent to a manager that listened, never by its own clock.
mod data;
mod moves;

use std::collections::BTreeMap;

use cube_api::{
    condition::{self, Condition, READY, Truth},
    node::Node,
    task::{Eviction, Task, TaskStatus},
};
use jiff::{SignedDuration, Timestamp};

pub use data::data_on_node;

/// A node whose worker has been silent for so long is not ready. A few missed heartbeats, so that a short pause of the
/// worker is no loss.
pub const GRACE: SignedDuration = SignedDuration::from_secs(15);
/// So much longer its Tasks wait for it, where they do not say otherwise.
pub const TOLERATION: SignedDuration = SignedDuration::from_secs(30);
/// While most nodes seem to be lost, so often is a Task moved: it is more likely that the network or the manager's
/// machine is at fault, and what is left could not carry them all anyway.
pub const SLOWED: SignedDuration = SignedDuration::from_secs(1);
/// Nodes that are lost within this time are lost together.
const TOGETHER: SignedDuration = SignedDuration::from_secs(60);

/// The key of the taint that a node has while nothing is heard of its worker.
pub const UNREACHABLE: &str = "cube/unreachable";
/// The key of the taint that a node has while its worker says that it is not ready.
pub const NOT_READY: &str = "cube/not-ready";
/// The reason of a node of whose worker nothing is heard, and of its Tasks' conditions.
pub const NODE_LOST: &str = "NodeLost";
/// The reason of a Task whose data is on a node that is lost.
pub const STRANDED: &str = "Stranded";
/// The reason of Tasks that leave a node because it is drained.
pub const DRAINED: &str = "Drained";
/// The reason of Tasks that leave a node because of a taint.
pub const TAINTED: &str = "Tainted";
/// The condition of a node that is drained: nothing is left that could leave it.
pub const DRAINED_CONDITION: &str = "Drained";

/// One look at a node.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its object; none when it has been deleted.
    pub node: Option<&'a Node>,
    /// How long nothing has been heard of its worker.
    pub silence: SignedDuration,
    /// The Tasks that it has.
    pub tasks: &'a [&'a Task],
    /// Since when it has had its NoExecute taints, by key and value, as far as is remembered.
    pub tainted_since: &'a BTreeMap<(String, String), Timestamp>,
    /// So many Tasks may be taken from it now; see [`is_disaster`].
    pub allowance: usize,
    /// The time.
    pub now: Timestamp,
}

/// What becomes of one Task; the number is its place in the look.
#[derive(Clone, Debug, PartialEq)]
pub enum Move {
    /// It is asked to leave.
    Evict(usize, Eviction),
    /// It stays after all.
    Keep(usize),
    /// It is taken from the node at once: one that is being deleted goes, any other waits for another node.
    Release {
        /// Which.
        task: usize,
        /// Why, in one word.
        reason: String,
        /// Why, for people.
        message: String,
    },
    /// What is known of it, while nobody can say more.
    Tell(usize, Box<TaskStatus>),
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// Conditions of the node that are to be so.
    pub conditions: Vec<Condition>,
    /// A condition that it is to have no longer.
    pub without: Option<&'static str>,
    /// What becomes of its Tasks.
    pub moves: Vec<Move>,
    /// Tasks that would be taken from it now, if it were allowed.
    pub held_back: usize,
    /// When to look again even if nothing changes.
    pub again: Option<SignedDuration>,
}

/// What is to be done about a node and its Tasks.
pub fn decide(look: &Look) -> Decision {
    let mut decision = Decision::default();
    let lost = lost_since(look, &mut decision);
    moves::decide(look, lost.as_ref(), &mut decision);
    decision
}

/// How a node is lost.
pub(crate) struct Lost {
    /// Since when.
    pub since: Timestamp,
    /// Its worker is there, but its engine is not; else nothing is heard.
    pub heard: bool,
    /// What people are told.
    pub message: String,
}

/// Whether the node is lost, and since when; a node that has just fallen silent is said to be.
fn lost_since(look: &Look, decision: &mut Decision) -> Option<Lost> {
    let silent = look.silence >= GRACE;
    if !silent {
        decision.wake_after(GRACE - look.silence);
    }
    let Some(node) = look.node else {
        let deleted = |()| Lost {
            since: look.now,
            heard: false,
            message: format!("node {} was deleted", look.name),
        };
        return silent.then_some(()).map(deleted);
    };
    let ready = condition::find(&node.status.conditions, READY);
    let is = ready.map(|ready| ready.status);
    if silent {
        let message = format!(
            "nothing has been heard of the worker of node {} for {} s",
            look.name,
            GRACE.as_secs()
        );
        let since = ready
            .filter(|_| is == Some(Truth::Unknown))
            .and_then(|ready| ready.last_transition_time);
        if is != Some(Truth::Unknown) {
            decision.conditions.push(Condition {
                kind: READY.to_owned(),
                status: Truth::Unknown,
                reason: NODE_LOST.to_owned(),
                message: message.clone(),
                ..Condition::default()
            });
        }
        return Some(Lost {
            since: since.unwrap_or(look.now),
            heard: false,
            message,
        });
    }
    // One that is heard says itself how it is.
    let not_ready = ready.filter(|ready| ready.status == Truth::False)?;
    Some(Lost {
        since: not_ready.last_transition_time.unwrap_or(look.now),
        heard: true,
        message: format!("node {} is not ready: {}", look.name, not_ready.message),
    })
}

impl Decision {
    fn wake_after(&mut self, wait: SignedDuration) {
        self.again = Some(self.again.map_or(wait, |again| again.min(wait)));
    }
}

/// Whether so many nodes were lost together that more is wrong than they are: more than half of all, of three or more,
/// within a minute. `lost` is when each lost node was lost.
pub fn is_disaster(nodes: usize, lost: impl IntoIterator<Item = Timestamp>) -> bool {
    if nodes < 3 {
        return false;
    }
    let mut lost: Vec<Timestamp> = lost.into_iter().collect();
    lost.sort_unstable();
    let many = nodes / 2 + 1;
    lost.windows(many).any(|together| match together {
        [first, .., last] => last.duration_since(*first) <= TOGETHER,
        _ => false,
    })
}

/// Since when a node has been lost, as its conditions say; none while it is not.
pub fn lost_at(node: &Node) -> Option<Timestamp> {
    let ready = condition::find(&node.status.conditions, READY)?;
    (ready.status == Truth::Unknown)
        .then_some(ready.last_transition_time)
        .flatten()
}

#[cfg(test)]
mod tests;
