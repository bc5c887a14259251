//! Whether a Task may move for the sake of balance, and how.
use std::fmt;

use cube_api::{
    condition,
    deployment::Deployment,
    kinds::AnyResource,
    node::Node,
    placement::SchedulingPolicy,
    rebalance::MoveManner,
    task::{Phase, RestartPolicy, Task},
};

use crate::{
    deployment::{Bounds, Way},
    node_life::{DRAINED_CONDITION, NODE_LOST, data_on_node},
    scheduler::UNSCHEDULABLE,
};

/// Why a Task is not moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stays {
    /// Its policy does not ask for evenness.
    Policy(SchedulingPolicy),
    /// Its data is on its node.
    Data,
    /// It runs once: what it has done so far would be lost.
    RunsOnce,
    /// Nobody makes another one in its place.
    Alone,
    /// It would stop before another one starts.
    StopsFirst,
    /// Its Deployment is not at rest.
    Unsettled,
    /// It does not run yet, or is on its way out.
    UnderWay,
    /// What makes it is none of Cube's Deployments.
    Foreign,
    /// Its node takes no part: it is not ready, cordoned or drained.
    Node,
}

impl fmt::Display for Stays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Policy(SchedulingPolicy::Binpack) => "policy binpack fills nodes one after the other",
            Self::Policy(policy) => return write!(f, "policy {} does not go by load", policy.as_str()),
            Self::Data => "its data is on its node",
            Self::RunsOnce => "it runs once, and would begin anew",
            Self::Alone => "no Deployment starts another one first; --restart moves it all the same",
            Self::StopsFirst => "its Deployment stops it before another one starts; --restart moves it all the same",
            Self::Unsettled => "its Deployment is not at rest",
            Self::UnderWay => "it does not run yet, or is on its way out",
            Self::Foreign => "what makes it is unknown",
            Self::Node => "its node takes no part",
        })
    }
}

/// What makes another Task where one goes.
#[derive(Clone, Copy)]
pub(super) enum Maker<'a> {
    Nobody,
    Deployment(&'a Deployment),
    /// A Deployment of whose Tasks some are on their way out.
    Unsettled,
    Unknown,
}

/// Whether the Task is on its way off its node.
pub(super) fn is_leaving(task: &Task) -> bool {
    task.metadata.is_deleting() || task.status.eviction.is_some()
}

/// How the Task moves, if it may.
pub(super) fn of(task: &Task, maker: Maker, policy: SchedulingPolicy) -> Result<MoveManner, Stays> {
    if !matches!(policy, SchedulingPolicy::Spread | SchedulingPolicy::EPvm) {
        return Err(Stays::Policy(policy));
    }
    if task.spec.restart_policy != RestartPolicy::Always {
        return Err(Stays::RunsOnce);
    }
    if data_on_node(task).is_some() {
        return Err(Stays::Data);
    }
    if task.status.phase != Phase::Running || is_leaving(task) {
        return Err(Stays::UnderWay);
    }
    match maker {
        Maker::Nobody => Ok(MoveManner::Restart),
        Maker::Unknown => Err(Stays::Foreign),
        Maker::Unsettled => Err(Stays::Unsettled),
        Maker::Deployment(deployment) if !is_at_rest(deployment) => Err(Stays::Unsettled),
        Maker::Deployment(deployment) => Ok(match Way::of(deployment) {
            Way::Rolling(Bounds { surge: 1.., .. }) => MoveManner::StartFirst,
            _ => MoveManner::StopFirst,
        }),
    }
}

/// Whether nothing about the object is under way: no Task starts, stops, leaves, waits for a node or has one that has fallen
/// silent; no Deployment rolls; no node is being drained. What is as it is until somebody does something holds nobody up: a Task that fits nowhere or
/// crashes again and again, a node that is away for good.
pub fn is_settled(object: &dyn AnyResource) -> bool {
    let any = object.as_any();
    if let Some(task) = any.downcast_ref::<Task>() {
        let status = &task.status;
        let waits = match &status.node {
            None => status.reason != UNSCHEDULABLE,
            Some(_) => status.phase != Phase::Running || status.reason == NODE_LOST || status.eviction.is_some(),
        };
        !task.metadata.is_deleting() && (status.phase.is_over() || !waits)
    } else if let Some(deployment) = any.downcast_ref::<Deployment>() {
        let (meta, status) = (&deployment.metadata, &deployment.status);
        !meta.is_deleting()
            && status.observed_generation == meta.generation
            && [status.replicas, status.updated_replicas] == [deployment.spec.replicas; 2]
    } else if let Some(node) = any.downcast_ref::<Node>() {
        let drained = condition::is_true(&node.status.conditions, DRAINED_CONDITION);
        !node.metadata.is_deleting() && (node.spec.drain.is_none() || drained)
    } else {
        true
    }
}

/// Whether all that the Deployment wishes is there, ready, and nothing else.
pub fn is_at_rest(deployment: &Deployment) -> bool {
    let (meta, status, wished) = (&deployment.metadata, &deployment.status, deployment.spec.replicas);
    !meta.is_deleting()
        && status.observed_generation == meta.generation
        && [status.replicas, status.updated_replicas, status.available_replicas] == [wished; 3]
}
