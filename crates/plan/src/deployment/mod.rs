//! What a Deployment's loop does next: its wish against its Revisions and Tasks.
//!
//! [`decide`] takes one look and answers with everything that can be done now, to be carried out whole or not at all,
//! and with the status as it is once that is done. It never waits, names or writes anything.
//!
//! ```text
//! template ─ hash ─► revision (new | one of before, moved up) ─► which Tasks go, which are made, which are edited
//!                                                                     bounds of the strategy ─┘
//! ```
//!
//! Guarantees: with what it answers there are never more than `replicas + maxSurge` Tasks that are not over and not
//! being deleted, nor, while the Deployment rolls, fewer available than `replicas - maxUnavailable` through its doing. Assumption: nobody else makes Tasks
//! with this controller.
mod bounds;
mod revision;
mod roll;
mod status;
mod task;
#[cfg(test)]
mod tests;

use std::fmt;

use cube_api::{
    deployment::{Deployment, DeploymentStatus},
    meta::ObjectMeta,
    revision::Revision,
    task::Task,
};
use jiff::Timestamp;

pub use bounds::{Bounds, Way};

/// One decision makes and deletes so many Tasks at most, the next one the rest. More makes one transaction so long that
/// others' writes to its Tasks come between again and again.
const BATCH: usize = 128;

/// One look at a Deployment.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// The Deployment.
    pub deployment: &'a Deployment,
    /// The Revisions that it owns, and those that nobody owns and that bear its label.
    pub revisions: &'a [&'a Revision],
    /// The Tasks that it owns, and those that nobody owns and that bear its label.
    pub tasks: &'a [&'a Task],
    /// The time.
    pub now: Timestamp,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// A new Revision.
    CreateRevision(Revision),
    /// A Revision that is there is to be so.
    ChangeRevision(Revision),
    /// A Revision that is too many.
    DeleteRevision(String),
    /// A new Task; its name is made from `generateName`.
    CreateTask(Box<Task>),
    /// A Task that is there is to be so; its container is not touched.
    ChangeTask(Box<Task>),
    /// A Task that is to go.
    DeleteTask {
        /// Its name.
        name: String,
        /// Why.
        why: Why,
    },
}

/// Why a Task goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is over; another one takes its place.
    Over,
    /// There are more than wished.
    TooMany,
    /// It is of an older revision.
    OldRevision,
}

/// Why nothing more is done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitingOn {
    /// All is as wished.
    Nothing,
    /// So many new Tasks are not available; until then no more old ones go.
    Ready(u32),
    /// So many Tasks that are being deleted have to be gone before new ones are made.
    Gone(u32),
    /// The rest comes with the next look.
    NextLook,
    /// The Deployment is being deleted.
    Deletion,
}

/// Something that people are told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Another number of Tasks is wished.
    Scaled {
        /// Before.
        from: u32,
        /// Now.
        to: u32,
    },
    /// Tasks that were gone or over are made anew.
    Replaced(u32),
    /// A change of the template begins.
    Rolling {
        /// To this revision.
        revision: u64,
        /// It was there before.
        again: bool,
        /// How.
        way: Way,
    },
    /// A change of the template is done.
    Rolled {
        /// The revision.
        revision: u64,
        /// Ready Tasks.
        ready: u32,
    },
}

impl Told {
    /// In one word.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Scaled { .. } => "Scaled",
            Self::Replaced(_) => "Replaced",
            Self::Rolling { .. } => "Rolling",
            Self::Rolled { .. } => "RolledOut",
        }
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scaled { from, to } if from < to => write!(f, "scaled up from {from} to {to}"),
            Self::Scaled { from, to } => write!(f, "scaled down from {from} to {to}"),
            Self::Replaced(1) => f.write_str("a Task was gone or over: made another one"),
            Self::Replaced(n) => write!(f, "{n} Tasks were gone or over: made others"),
            Self::Rolling { revision, again, way } => {
                let back = if *again { " (there before)" } else { "" };
                write!(f, "rolling to revision {revision}{back}: {way}")
            }
            Self::Rolled { revision, ready } => write!(f, "revision {revision} is rolled out: {ready} ready"),
        }
    }
}

/// What is to be done, all or nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// What is to be done.
    pub actions: Vec<Action>,
    /// The status as it is then.
    pub status: DeploymentStatus,
    /// What more waits for.
    pub waiting: WaitingOn,
    /// When to look again even if nothing changes: a Task has then been ready for long enough.
    pub again: Option<Timestamp>,
    /// What people are told once it is done.
    pub told: Vec<Told>,
}

/// What is to be done for one Deployment.
pub fn decide(look: &Look) -> Decision {
    let mut tasks = roll::sort(look);
    if look.deployment.metadata.is_deleting() {
        return Decision {
            actions: Vec::new(),
            status: status::going(look, &tasks),
            waiting: WaitingOn::Deletion,
            again: None,
            told: Vec::new(),
        };
    }
    let current = revision::current(look);
    tasks.divide(&current);
    let plan = roll::plan(look, &tasks, &current);
    let mut actions = revision::actions(look, &current, &tasks);
    let status = status::after(look, &tasks, &current, &plan);
    let told = status::told(look, &current, &plan, &status);
    actions.extend(plan.actions(look, &tasks, &current));
    Decision {
        actions,
        status,
        waiting: plan.waiting,
        again: roll::next_available(look, &tasks),
        told,
    }
}

/// Whether the Deployment controls the object.
fn is_own(deployment: &Deployment, meta: &ObjectMeta) -> bool {
    meta.controller()
        .is_some_and(|owner| owner.uid == deployment.metadata.uid)
}
