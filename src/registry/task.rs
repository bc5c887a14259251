//! What only Tasks have: the binding to a node, and what the node's worker reports.
//!
//! A binding begins an epoch. A report counts only if it is of this uid, node and epoch, so that a node that was given
//! up cannot speak for a Task that has moved.
use cube_api::{
    condition::{self, Condition, READY, SCHEDULED, Truth},
    kinds::{Kind, Resource},
    task::{Eviction, Phase, Task, TaskStatus},
};
use cube_planted::{Bug, planted};
use futures_util::future::join_all;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    ApiError, CONTAINER_FINALIZER, Object, Registry, Write, WriteOptions, find,
    object::shown,
    rules::{self, Next},
};
use crate::store::{Origin, Snapshot};

/// What a worker has seen of one Task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskReport {
    /// The Task's namespace.
    pub namespace: String,
    /// The Task's name.
    pub name: String,
    /// The Task's uid.
    pub uid: String,
    /// The epoch that was carried out.
    pub epoch: u64,
    /// What is seen; node and epoch in it are passed over.
    pub status: TaskStatus,
    /// Nothing of the Task is left on the node.
    pub gone: bool,
}

impl Registry {
    /// Gives a Task to a node.
    ///
    /// # Errors
    /// 409 when it is another Task, not at this revision, has a node or is being deleted; 404 when it or the node is not there.
    pub async fn bind(
        &self,
        namespace: &str,
        name: &str,
        uid: &str,
        node: &str,
        resource_version: u64,
    ) -> Result<Object, ApiError> {
        let task = self.get(Kind::Task, namespace, name)?;
        if task.uid() != uid || task.revision() != resource_version {
            return Err(ApiError::modified(Kind::Task, name));
        }
        let node = node.to_owned();
        let mut answer = self.transact(vec![Write::Bind { task, node }]).await?;
        answer
            .pop()
            .ok_or_else(|| ApiError::internal("a binding without an answer"))
    }

    /// Takes what a node's worker has seen; each report stands for itself, and together they share a sync.
    ///
    /// A Task that is being deleted is removed with the report that nothing of it is left. What has not changed is not
    /// written.
    ///
    /// # Errors
    /// For each report: 404 when there is no such Task, 409 when it is another one, elsewhere, or of another epoch.
    pub async fn report(&self, node: &str, reports: &[TaskReport]) -> Vec<Result<(), ApiError>> {
        join_all(reports.iter().map(|report| self.report_one(node, report))).await
    }

    async fn report_one(&self, node: &str, report: &TaskReport) -> Result<(), ApiError> {
        let options = WriteOptions {
            origin: Origin::Loop,
            ..WriteOptions::new("worker")
        };
        let now = self.world.now();
        let decide = |before: &Object| reported(before, node, report, now);
        let written = self.modify(Kind::Task, &report.namespace, &report.name, &options, decide);
        written.await.map(drop)
    }
}

/// A Task as its binding leaves it.
pub(super) fn bound(snapshot: &Snapshot, before: &Object, node: &str, now: Timestamp) -> Result<Next, ApiError> {
    let conflict = |why: String| Err(ApiError::conflict(Kind::Task, before.name(), why));
    let Some(task) = before.try_typed::<Task>() else {
        return Err(rules::no_subresource(before.kind(), before.name(), "binding"));
    };
    if find(snapshot, Kind::Node, "", node).is_none() {
        return Err(ApiError::not_found(Kind::Node, node));
    }
    if before.is_deleting() {
        return conflict("it is being deleted".to_owned());
    }
    if let Some(there) = &task.status.node {
        return conflict(format!("node {there} has it already"));
    }
    if task.status.phase.is_over() {
        return conflict("it is over".to_owned());
    }
    // What a former node's container was is not what is to come; what counts over all containers stays.
    let old = &task.status;
    let mut conditions = old.conditions.clone();
    let scheduled = Condition {
        kind: SCHEDULED.to_owned(),
        status: Truth::True,
        reason: "Bound".to_owned(),
        observed_generation: task.metadata.generation,
        ..Condition::default()
    };
    condition::set(&mut conditions, scheduled, now);
    let status = TaskStatus {
        phase: Phase::Scheduled,
        node: Some(node.to_owned()),
        epoch: snapshot.revision() + 1,
        restarts: old.restarts,
        failures: old.failures,
        last_termination: old.last_termination.clone(),
        conditions,
        observed_generation: old.observed_generation,
        ..TaskStatus::default()
    };
    Ok(with_status(before, &status, &[]))
}

/// A Task that is to leave its node; one that is asked to leave at once is not asked to wait again.
pub(super) fn evicted(before: &Object, eviction: &Eviction) -> Result<Next, ApiError> {
    let conflict = |why: &str| Err(ApiError::conflict(Kind::Task, before.name(), why.to_owned()));
    let Some(task) = before.try_typed::<Task>() else {
        return Err(rules::no_subresource(before.kind(), before.name(), "eviction"));
    };
    if task.status.node.is_none() {
        return conflict("no node has it");
    }
    if before.is_deleting() {
        return conflict("it is being deleted");
    }
    if task.status.phase.is_over() {
        return conflict("it is over");
    }
    let mut status = task.status.clone();
    if !(status.leaves_now() && eviction.after_replacement) {
        status.eviction = Some(eviction.clone());
    }
    Ok(with_status(before, &status, &[]))
}

/// A Task without its node: it waits for another one, or goes if it is being deleted.
pub(super) fn released(before: &Object, reason: &str, message: &str, now: Timestamp) -> Result<Next, ApiError> {
    let Some(task) = before.try_typed::<Task>() else {
        return Err(rules::no_subresource(before.kind(), before.name(), "binding"));
    };
    if task.status.node.is_none() || (task.status.phase.is_over() && !before.is_deleting()) {
        let why = "it has no node to lose".to_owned();
        return Err(ApiError::conflict(Kind::Task, before.name(), why));
    }
    if before.is_deleting() {
        return Ok(with_status(before, &task.status, &[CONTAINER_FINALIZER]));
    }
    Ok(with_status(before, &without_node(task, reason, message, now), &[]))
}

/// The status of a Task that waits for another node. What counts over all its containers stays; the failures in a row may
/// have been the node's.
fn without_node(task: &Task, reason: &str, message: &str, now: Timestamp) -> TaskStatus {
    let old = &task.status;
    let mut conditions = old.conditions.clone();
    for kind in [SCHEDULED, READY] {
        let condition = Condition {
            kind: kind.to_owned(),
            status: Truth::False,
            reason: reason.to_owned(),
            message: message.to_owned(),
            observed_generation: task.metadata.generation,
            ..Condition::default()
        };
        condition::set(&mut conditions, condition, now);
    }
    TaskStatus {
        phase: Phase::Pending,
        epoch: old.epoch,
        restarts: old.restarts,
        last_termination: old.last_termination.clone(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        conditions,
        observed_generation: task.metadata.generation,
        ..TaskStatus::default()
    }
}

/// A Task as a report leaves it.
fn reported(before: &Object, node: &str, report: &TaskReport, now: Timestamp) -> Result<Next, ApiError> {
    let task: &Task = before.typed();
    let (old, name) = (&task.status, before.name());
    let shown = shown(Task::KIND, before.namespace(), name);
    let conflict = |why: String| Err(ApiError::conflict(Kind::Task, name, why));
    if before.uid() != report.uid {
        return conflict(format!("{shown} is another one now (uid {})", before.uid()));
    }
    if old.node.as_deref() != Some(node) && !planted(Bug::ReportFromElsewhere) {
        let there = old.node.as_deref().unwrap_or("no node");
        return conflict(format!("{there} has {shown} now, not {node}"));
    }
    if old.epoch != report.epoch && !planted(Bug::ReportFromElsewhere) {
        return conflict(format!("{shown} is in epoch {} now, not {}", old.epoch, report.epoch));
    }
    if report.gone
        && !before.is_deleting()
        && let Some(eviction) = old.eviction.as_ref().filter(|_| old.leaves_now())
    {
        let status = without_node(task, &eviction.reason, &eviction.message, now);
        return Ok(with_status(before, &status, &[]));
    }
    let mut status = TaskStatus {
        node: old.node.clone(),
        epoch: old.epoch,
        eviction: old.eviction.clone(),
        ..report.status.clone()
    };
    // Since when something is so is told by the manager's clock: a node's may be wrong.
    for new in &mut status.conditions {
        let same = condition::find(&old.conditions, &new.kind).filter(|old| old.status == new.status);
        new.last_transition_time = same.and_then(|old| old.last_transition_time).or(Some(now));
    }
    let released: &[&str] = if report.gone && before.is_deleting() {
        &[CONTAINER_FINALIZER]
    } else {
        &[]
    };
    Ok(with_status(before, &status, released))
}

fn with_status(before: &Object, status: &TaskStatus, released: &[&str]) -> Next {
    if released.is_empty() {
        // Stored times have whole seconds.
        let status = status.clone().in_whole_seconds();
        if status == before.typed::<Task>().status {
            return Next::Same;
        }
        return Next::Status(serde_json::to_string(&status).unwrap_or_default());
    }
    let current = before.stored();
    let mut value = current.clone();
    value["status"] = serde_json::to_value(status).unwrap_or_default();
    let kept = before.meta().finalizers.iter();
    let kept: Vec<&String> = kept
        .filter(|finalizer| !released.contains(&finalizer.as_str()))
        .collect();
    if kept.is_empty() {
        rules::metadata(rules::object(&mut value)).remove("finalizers");
    } else {
        value["metadata"]["finalizers"] = serde_json::json!(kept);
    }
    rules::settle(before, &current, value)
}
