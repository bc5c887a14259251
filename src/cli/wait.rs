//! What has come of objects that were applied: they run, are on their way, cannot be placed, or have failed.
//!
//! Owns that judgement, as a function of what the server says, and the wait until it is made. Never writes. Read
//! [`judge_task`] first.
use std::{collections::BTreeMap, time::Duration};

use cube_api::{
    condition::{self, Truth},
    deployment::Deployment,
    kinds::Kind,
    meta::REVISION_LABEL,
    task::{Phase, RestartPolicy, Task, Termination},
};
use serde_json::Value;
use tokio::time::Instant;

use super::{
    Context,
    error::{CliError, Exit},
    logs,
    output::{Style, words},
};
use crate::{
    client::{Change, Client, Form, Selection},
    source::ObjectId,
};

/// So many crashes in a row are no accident.
const CRASHES: u64 = 3;
/// The condition of a Task that says whether a node has it.
const SCHEDULED: &str = "Scheduled";
/// Its reason when no node has room and nothing under way will make some.
const UNSCHEDULABLE: &str = "Unschedulable";

/// What has come of an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It runs; or, for what runs once, it is completed.
    Done(String),
    /// It is on its way.
    UnderWay(String),
    /// No node will have it.
    Unplaced(String),
    /// It has failed, with evidence.
    Failed {
        /// What happened.
        message: String,
        /// Its last lines.
        evidence: Vec<String>,
    },
}

/// What has come of a Task. `before` are the failures that it had before this was wished of it.
pub fn judge_task(task: &Task, before: u64) -> Verdict {
    let status = &task.status;
    let why = why(task);
    if task.metadata.is_deleting() {
        return Verdict::Failed {
            message: "is being deleted".to_owned(),
            evidence: Vec::new(),
        };
    }
    if status.observed_generation < task.metadata.generation && status.phase != Phase::Pending {
        // What is said is of what was wished before.
        return Verdict::UnderWay("waiting for its node".to_owned());
    }
    // A count below that of before was begun anew.
    let crashes = status.failures.checked_sub(before).unwrap_or(status.failures);
    let once = task.spec.restart_policy != RestartPolicy::Always;
    match status.phase {
        Phase::Failed => failed(status.last_termination.as_ref(), status.exit_code, 1),
        _ if crashes >= CRASHES => failed(status.last_termination.as_ref(), None, crashes),
        Phase::Pending if fits_nowhere(task) => Verdict::Unplaced(match &status.message[..] {
            "" => "no node has room for it".to_owned(),
            message => message.to_owned(),
        }),
        Phase::Completed => Verdict::Done("completed".to_owned()),
        Phase::Running if once => Verdict::UnderWay("running".to_owned()),
        Phase::Running if !is_current(task) => Verdict::UnderWay("replacing its container".to_owned()),
        Phase::Running if condition::is_true(&status.conditions, condition::READY) => {
            Verdict::Done("running".to_owned())
        }
        _ => Verdict::UnderWay(why),
    }
}

/// Whether it is plain that no node will have it, as things are and as they are about to be.
fn fits_nowhere(task: &Task) -> bool {
    let status = &task.status;
    status.observed_generation == task.metadata.generation
        && condition::find(&status.conditions, SCHEDULED)
            .is_some_and(|scheduled| scheduled.status == Truth::False && scheduled.reason == UNSCHEDULABLE)
}

/// Whether the container that runs is the one that is wished for.
fn is_current(task: &Task) -> bool {
    let wanted = cube_plan::worker::wanted_hash(task);
    // A server of another release may hash otherwise; without a hash nothing is known against it.
    task.status.hash.is_empty() || task.status.hash == wanted || task.status.hash.len() != wanted.len()
}

fn why(task: &Task) -> String {
    let status = &task.status;
    match (&status.reason[..], &status.message[..]) {
        ("", "") => format!("{:?}", status.phase).to_lowercase(),
        (reason, "") => reason.to_owned(),
        ("", message) => message.to_owned(),
        (reason, message) => format!("{reason}: {message}"),
    }
}

fn failed(last: Option<&Termination>, code: Option<i64>, times: u64) -> Verdict {
    let code = code.or(last.and_then(|last| last.exit_code));
    let reason = last.map(|last| last.reason.as_str()).unwrap_or_default();
    let mut message = match (code, reason) {
        (Some(code), "" | "Error" | "Completed") => format!("exited with code {code}"),
        (Some(code), reason) => format!("exited with code {code} ({reason})"),
        (None, "") => "failed".to_owned(),
        (None, reason) => format!("ended: {reason}"),
    };
    if times > 1 {
        message.push_str(&format!(", {times} times"));
    }
    let mut evidence = last.map(|last| last.log.clone()).unwrap_or_default();
    if let Some(more) = last.map(|last| &last.message).filter(|message| !message.is_empty()) {
        message.push_str(&format!(": {more}"));
    }
    if evidence.iter().any(|line| !line.trim().is_empty()) {
        message.push_str("; its last lines:");
    } else {
        evidence.clear();
    }
    Verdict::Failed { message, evidence }
}

/// What has come of a Deployment, from what it says and what its Tasks say.
pub fn judge_deployment(deployment: &Deployment, tasks: &[&Task]) -> Verdict {
    let (wanted, status) = (deployment.spec.replicas, &deployment.status);
    if deployment.metadata.is_deleting() {
        return Verdict::Failed {
            message: "is being deleted".to_owned(),
            evidence: Vec::new(),
        };
    }
    if status.observed_generation < deployment.metadata.generation {
        return Verdict::UnderWay("waiting to be looked at".to_owned());
    }
    let revision = status.revision.to_string();
    let newest = tasks
        .iter()
        .filter(|task| task.metadata.labels.get(REVISION_LABEL) == Some(&revision) && !task.metadata.is_deleting());
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    let mut unplaced = None;
    for task in newest {
        let name = &task.metadata.name;
        match judge_task(task, 0) {
            Verdict::Failed { message, evidence } => {
                return Verdict::Failed {
                    message: format!("revision {revision} failed: {name} {message}"),
                    evidence,
                };
            }
            Verdict::Unplaced(why) => unplaced = Some(format!("{name}: {why}")),
            Verdict::UnderWay(_) => {
                let reason = task.status.reason.as_str();
                *reasons
                    .entry(if reason.is_empty() { "waiting" } else { reason })
                    .or_default() += 1;
            }
            Verdict::Done(_) => {}
        }
    }
    let ready = format!("revision {revision}   ready {}/{wanted}", status.ready_replicas);
    if status.updated_replicas == wanted && status.ready_replicas == wanted && status.replicas == wanted {
        return Verdict::Done(ready);
    }
    if let Some(why) = unplaced {
        return Verdict::Unplaced(why);
    }
    let more = reasons
        .iter()
        .map(|(reason, count)| format!("   {count} {}", reason.to_lowercase()));
    Verdict::UnderWay(ready + &more.collect::<String>())
}

/// An object to wait for.
#[derive(Clone, Debug)]
pub struct Awaited {
    /// Which.
    pub id: ObjectId,
    /// Failures that it had before.
    pub before: u64,
}

/// What is known of the objects.
#[derive(Default)]
struct Seen {
    tasks: BTreeMap<ObjectId, Task>,
    deployments: BTreeMap<ObjectId, Deployment>,
}

impl Seen {
    /// Takes word of a change; answers which objects it is about, none for all.
    fn take(
        &mut self,
        (kind, namespace): &(Kind, String),
        client: &Client,
        context: &Context,
        change: Change,
    ) -> Result<Option<ObjectId>, CliError> {
        match change {
            Change::All(mut list) => {
                self.tasks
                    .retain(|id, _| !(*kind == Kind::Task && id.namespace == *namespace));
                self.deployments
                    .retain(|id, _| !(*kind == Kind::Deployment && id.namespace == *namespace));
                for item in list["items"].as_array_mut().map(std::mem::take).unwrap_or_default() {
                    self.set(*kind, client, context, item)?;
                }
                Ok(None)
            }
            Change::Set(object) => self.set(*kind, client, context, object).map(Some),
            Change::Gone(object) => {
                let id = context.id_of(*kind, &object);
                self.tasks.remove(&id);
                self.deployments.remove(&id);
                Ok(Some(id))
            }
            Change::Lost(error) => {
                context.output.note(&format!("{error}; trying again"));
                Ok(None)
            }
        }
    }

    fn set(&mut self, kind: Kind, client: &Client, context: &Context, object: Value) -> Result<ObjectId, CliError> {
        let id = context.id_of(kind, &object);
        match kind {
            Kind::Task => drop(self.tasks.insert(id.clone(), client.decode(object)?)),
            Kind::Deployment => drop(self.deployments.insert(id.clone(), client.decode(object)?)),
            _ => {}
        }
        Ok(id)
    }

    fn judge(&self, awaited: &Awaited) -> Verdict {
        let gone = || Verdict::Failed {
            message: "was deleted".to_owned(),
            evidence: Vec::new(),
        };
        let id = &awaited.id;
        match id.kind {
            Kind::Task => self
                .tasks
                .get(id)
                .map_or_else(gone, |task| judge_task(task, awaited.before)),
            Kind::Deployment => self.deployments.get(id).map_or_else(gone, |deployment| {
                let selector = cube_api::selector::Selector::parse(&logs::selector(deployment)).unwrap_or_default();
                let tasks = self
                    .tasks
                    .iter()
                    .filter(|(other, task)| other.namespace == id.namespace && selector.matches(&task.metadata.labels));
                judge_deployment(deployment, &tasks.map(|(_, task)| task).collect::<Vec<_>>())
            }),
            _ => Verdict::Done("there".to_owned()),
        }
    }
}

/// Waits until all run, and tells how it goes.
///
/// # Errors
/// As soon as one has failed, cannot be placed, or the time is over; with the evidence.
pub async fn until_all_run(
    client: &Client,
    context: &Context,
    awaited: &[Awaited],
    limit: Duration,
) -> Result<Exit, CliError> {
    let mut kinds: Vec<(Kind, String)> = Vec::new();
    for Awaited { id, .. } in awaited {
        // A Deployment is known by its Tasks.
        for kind in [Kind::Deployment, Kind::Task] {
            let of = (kind, id.namespace.clone());
            if matches!(id.kind, Kind::Deployment | Kind::Task) && kind >= id.kind && !kinds.contains(&of) {
                kinds.push(of);
            }
        }
    }
    let mut follows: Vec<_> = kinds
        .iter()
        .map(|(kind, namespace)| client.follow(*kind, Selection::of(namespace), Form::Objects))
        .collect();
    let mut seen = Seen::default();
    for (follow, of) in follows.iter_mut().zip(&kinds) {
        let change = follow.next().await?;
        seen.take(of, client, context, change)?;
    }
    let deadline = Instant::now() + limit;
    let mut progress = context.output.progress();
    let mut verdicts: Vec<Verdict> = awaited.iter().map(|one| seen.judge(one)).collect();
    let mut judged: Vec<usize> = (0..awaited.len()).collect();
    loop {
        for at in judged {
            let (one, verdict) = (&awaited[at], &verdicts[at]);
            if one.id.kind == Kind::Namespace {
                continue;
            }
            let name = context.shown(&one.id);
            match verdict {
                Verdict::Done(text) => progress.set(at, &format!("{name}   {text}"), Style::Good, true),
                Verdict::UnderWay(text) => progress.set(at, &format!("{name}   {text}"), Style::Plain, false),
                // That is the end of it, told whole below.
                Verdict::Unplaced(_) | Verdict::Failed { .. } => {}
            }
        }
        progress.show();
        if let Some(end) = end(context, awaited, &verdicts) {
            progress.leave();
            return end;
        }
        let wake = progress.due().map_or(deadline, |due| due.min(deadline));
        let next = follows.iter_mut().map(|follow| Box::pin(follow.next()));
        let changed = tokio::time::timeout_at(wake, futures_util::future::select_all(next)).await;
        let Ok((change, at, _)) = changed else {
            if Instant::now() < deadline {
                judged = Vec::new();
                continue;
            }
            progress.leave();
            return Err(timed_out(context, awaited, &verdicts, limit));
        };
        let changed = seen.take(&kinds[at], client, context, change?)?;
        let about = |at: &usize| {
            changed
                .as_ref()
                .is_none_or(|changed| concerns(changed, &awaited[*at].id))
        };
        judged = (0..awaited.len()).filter(about).collect();
        for at in &judged {
            verdicts[*at] = seen.judge(&awaited[*at]);
        }
    }
}

/// Whether a change of one object may change what has come of another.
fn concerns(changed: &ObjectId, of: &ObjectId) -> bool {
    changed == of || (of.kind == Kind::Deployment && changed.namespace == of.namespace)
}

/// The end, if this is one.
fn end(context: &Context, awaited: &[Awaited], verdicts: &[Verdict]) -> Option<Result<Exit, CliError>> {
    let both = || awaited.iter().zip(verdicts);
    for (one, verdict) in both() {
        if let Verdict::Failed { message, evidence } = verdict {
            let message = format!("{} {message}", context.shown(&one.id));
            let error = CliError::ended(Exit::Failed, message).with_evidence(evidence.clone());
            return Some(Err(
                error.with_hint(format!("`cube describe {}` shows more", context.shown(&one.id)))
            ));
        }
    }
    for (one, verdict) in both() {
        if let Verdict::Unplaced(why) = verdict {
            let shown = context.shown(&one.id);
            let error = CliError::ended(Exit::Unplaced, format!("{shown} cannot be placed: {why}"));
            return Some(Err(error.with_hint(format!(
                "it starts by itself when there is room; `cube describe {shown}` shows more"
            ))));
        }
    }
    verdicts
        .iter()
        .all(|verdict| matches!(verdict, Verdict::Done(_)))
        .then_some(Ok(Exit::Done))
}

fn timed_out(context: &Context, awaited: &[Awaited], verdicts: &[Verdict], limit: Duration) -> CliError {
    let late = awaited.iter().zip(verdicts).filter_map(|(one, verdict)| match verdict {
        Verdict::UnderWay(text) => Some((context.shown(&one.id), text)),
        _ => None,
    });
    let late: Vec<(String, &String)> = late.collect();
    let within = words::took(limit);
    let error = match &late[..] {
        [(name, text)] => CliError::ended(Exit::TimedOut, format!("{name} is not up after {within}: {text}")),
        _ => CliError::ended(
            Exit::TimedOut,
            format!("{} objects are not up after {within}", late.len()),
        )
        .with_evidence(late.iter().map(|(name, text)| format!("{name}   {text}")).collect()),
    };
    let name = late.first().map(|(name, _)| name.as_str()).unwrap_or_default();
    error.with_hint(format!("what was applied stays so; `cube describe {name}` shows more"))
}

#[cfg(test)]
mod tests {
    use cube_api::condition::Condition;

    use super::*;

    fn task(change: impl FnOnce(&mut Task)) -> Task {
        let mut task = Task::default();
        task.metadata.name = "web-1-a".to_owned();
        task.metadata.generation = 2;
        task.spec.image = "a".to_owned();
        task.status.observed_generation = 2;
        change(&mut task);
        task
    }

    fn ready(task: &mut Task) {
        task.status.phase = Phase::Running;
        let condition = Condition {
            kind: "Ready".to_owned(),
            status: Truth::True,
            ..Condition::default()
        };
        task.status.conditions.push(condition);
    }

    fn fits_nowhere_by(task: &mut Task, reason: &str) {
        task.status.reason = "Unschedulable".to_owned();
        task.status.message = "8 GiB wanted".to_owned();
        let scheduled = Condition {
            kind: "Scheduled".to_owned(),
            status: Truth::False,
            reason: reason.to_owned(),
            ..Condition::default()
        };
        task.status.conditions.push(scheduled);
    }

    fn ended(code: i64, log: &[&str]) -> Option<Termination> {
        let log = log.iter().map(|line| (*line).to_owned()).collect();
        Some(Termination {
            exit_code: Some(code),
            reason: "Error".to_owned(),
            log,
            ..Termination::default()
        })
    }

    fn told(verdict: Verdict) -> String {
        match verdict {
            Verdict::Done(text) => format!("done: {text}"),
            Verdict::UnderWay(text) => format!("under way: {text}"),
            Verdict::Unplaced(text) => format!("unplaced: {text}"),
            Verdict::Failed { message, evidence } => format!("failed: {message} {evidence:?}"),
        }
    }

    #[test]
    fn a_task_is_judged_by_what_is_known_of_what_is_wished() {
        type Change = fn(&mut Task);
        let cases: [(Change, u64, &str); 13] = [
            (|_| {}, 0, "under way: pending"),
            (ready, 0, "done: running"),
            (
                |task| {
                    ready(task);
                    task.metadata.generation = 3;
                },
                0,
                "under way: waiting for its node",
            ),
            (
                |task| {
                    ready(task);
                    task.status.hash = "0000000000".to_owned();
                },
                0,
                "under way: replacing its container",
            ),
            (
                |task| {
                    ready(task);
                    task.spec.restart_policy = RestartPolicy::Never;
                },
                0,
                "under way: running",
            ),
            (|task| task.status.phase = Phase::Completed, 0, "done: completed"),
            (
                |task| {
                    task.status.phase = Phase::Scheduled;
                    task.status.reason = "Pulling".to_owned();
                },
                0,
                "under way: Pulling",
            ),
            (
                |task| {
                    fits_nowhere_by(task, "Unschedulable");
                },
                0,
                "unplaced: 8 GiB wanted",
            ),
            (
                |task| {
                    fits_nowhere_by(task, "WaitingForRoom");
                },
                0,
                "under way: Unschedulable: 8 GiB wanted",
            ),
            (
                |task| {
                    task.status.phase = Phase::Failed;
                    task.status.last_termination = ended(7, &["no"]);
                },
                0,
                "failed: exited with code 7; its last lines: [\"no\"]",
            ),
            (
                |task| {
                    task.status.phase = Phase::Scheduled;
                    task.status.failures = 3;
                    task.status.last_termination = ended(1, &[]);
                },
                0,
                "failed: exited with code 1, 3 times []",
            ),
            (
                |task| {
                    task.status.phase = Phase::Scheduled;
                    task.status.failures = 5;
                    task.status.reason = "BackOff".to_owned();
                },
                3,
                "under way: BackOff",
            ),
            (
                |task| {
                    ready(task);
                    task.status.failures = 1;
                },
                3,
                "done: running",
            ),
        ];
        for (change, before, expected) in cases {
            assert_eq!(told(judge_task(&task(change), before)), expected);
        }
    }

    #[test]
    fn a_deployment_is_judged_by_its_newest_tasks() {
        let mut deployment = Deployment::default();
        deployment.metadata.generation = 2;
        deployment.spec.replicas = 2;
        assert_eq!(
            told(judge_deployment(&deployment, &[])),
            "under way: waiting to be looked at"
        );
        deployment.status.observed_generation = 2;
        deployment.status.revision = 5;
        let of = |revision: &str, change: fn(&mut Task)| {
            let mut task = task(change);
            task.metadata
                .labels
                .insert(REVISION_LABEL.to_owned(), revision.to_owned());
            task
        };
        let crashed = |task: &mut Task| {
            task.status.failures = 4;
            task.status.last_termination = ended(1, &["emerg"]);
        };
        let (old, up) = (of("4", crashed), of("5", ready));
        let pulling = of("5", |task| task.status.reason = "Pulling".to_owned());
        deployment.status.ready_replicas = 1;
        assert_eq!(
            told(judge_deployment(&deployment, &[&old, &up, &pulling])),
            "under way: revision 5   ready 1/2   1 pulling"
        );
        assert_eq!(
            told(judge_deployment(&deployment, &[&up, &of("5", crashed)])),
            "failed: revision 5 failed: web-1-a exited with code 1, 4 times; its last lines: [\"emerg\"]"
        );
        let unplaced = of("5", |task| fits_nowhere_by(task, "Unschedulable"));
        assert_eq!(
            told(judge_deployment(&deployment, &[&up, &unplaced])),
            "unplaced: web-1-a: 8 GiB wanted"
        );
        let status = &mut deployment.status;
        (status.replicas, status.updated_replicas, status.ready_replicas) = (3, 2, 2);
        assert!(
            matches!(judge_deployment(&deployment, &[&up, &up]), Verdict::UnderWay(_)),
            "an old one still runs"
        );
        deployment.status.replicas = 2;
        assert_eq!(
            told(judge_deployment(&deployment, &[&up, &up])),
            "done: revision 5   ready 2/2"
        );
    }
}
