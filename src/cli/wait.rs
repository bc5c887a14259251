//! What has come of objects that were applied: they run, are on their way, cannot be placed, or have failed.
//!
//! Owns the wait; the judgement is [`verdict`]'s. Never writes. Read [`until_all_run`] first.
mod verdict;

use std::{collections::BTreeMap, time::Duration};

use cube_api::{deployment::Deployment, kinds::Kind, task::Task};
use serde_json::Value;
use tokio::time::Instant;

use super::{
    Context,
    error::{CliError, Exit},
    output::{Style, words},
};
use verdict::{Verdict, judge_deployment, judge_task};

use crate::{
    client::{Change, Client, Form, Selection},
    source::ObjectId,
};

/// What has just started must run so long before it is believed: what does not find its configuration or its port has
/// mostly ended by then. Longer would hold up every script.
const STEADY: Duration = Duration::from_secs(1);

/// An object to wait for.
#[derive(Clone, Debug)]
pub struct Awaited {
    /// Which.
    pub id: ObjectId,
    /// Failures that it had before.
    pub before: u64,
    /// It was made or changed just now: that it runs at the first look says little.
    pub fresh: bool,
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

    /// The Tasks that an object consists of.
    fn parts(&self, awaited: &Awaited) -> Vec<&Task> {
        let id = &awaited.id;
        match id.kind {
            Kind::Task => self.tasks.get(id).into_iter().collect(),
            Kind::Deployment => self.deployments.get(id).map_or_else(Vec::new, |deployment| {
                let selector = cube_api::selector::Selector::parse(&deployment.selector()).unwrap_or_default();
                let tasks = self.tasks.iter();
                tasks
                    .filter(|(other, task)| other.namespace == id.namespace && selector.matches(&task.metadata.labels))
                    .map(|(_, task)| task)
                    .collect()
            }),
            _ => Vec::new(),
        }
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
            Kind::Deployment => self
                .deployments
                .get(id)
                .map_or_else(gone, |deployment| judge_deployment(deployment, &self.parts(awaited))),
            _ => Verdict::Done("there".to_owned()),
        }
    }
}

/// Since when objects run without an end.
struct Steady {
    /// When each may be believed; none while it does not run.
    from: Vec<Option<Instant>>,
    /// How often what each consists of has ended, as last seen.
    ends: Vec<u64>,
}

impl Steady {
    /// What runs at the first look has run before, unless it was changed just now or something of it has failed lately.
    fn begin(seen: &Seen, awaited: &[Awaited], verdicts: &[Verdict], now: Instant) -> Self {
        let from = awaited.iter().zip(verdicts).map(|(one, verdict)| {
            let failed = seen.parts(one).iter().any(|task| task.status.failures > 0);
            let wait = if failed || one.fresh { STEADY } else { Duration::ZERO };
            matches!(verdict, Verdict::Done(_)).then_some(now + wait)
        });
        Self {
            from: from.collect(),
            ends: awaited.iter().map(|one| ends(seen, one)).collect(),
        }
    }

    /// Takes what is seen now of the object at `at`.
    fn look(&mut self, at: usize, seen: &Seen, one: &Awaited, verdict: &Verdict, now: Instant) {
        let ends = ends(seen, one);
        let ended = std::mem::replace(&mut self.ends[at], ends) != ends;
        let over = one.id.kind == Kind::Task && seen.parts(one).iter().all(|task| task.status.phase.is_over());
        let from = &mut self.from[at];
        match verdict {
            Verdict::Done(_) if over => *from = Some(now),
            Verdict::Done(_) if ended => *from = Some(now + STEADY),
            Verdict::Done(_) => *from = from.or(Some(now + STEADY)),
            _ => *from = None,
        }
    }

    /// When the last of them may be believed; none while one does not run.
    fn all_from(&self) -> Option<Instant> {
        let all: Option<Vec<Instant>> = self.from.iter().copied().collect();
        all.and_then(|all| all.into_iter().max())
    }
}

fn ends(seen: &Seen, one: &Awaited) -> u64 {
    seen.parts(one).iter().map(|task| task.status.restarts).sum()
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
    let mut steady = Steady::begin(&seen, awaited, &verdicts, Instant::now());
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
        if let Some(error) = failed(context, awaited, &verdicts) {
            progress.leave();
            return Err(error);
        }
        let believed = steady.all_from();
        if believed.is_some_and(|from| from <= Instant::now()) {
            progress.leave();
            return Ok(Exit::Done);
        }
        // What runs when the time is over is given the moment that it still needs.
        let last = believed.unwrap_or(deadline);
        let wake = progress.due().map_or(last, |due| due.min(last));
        let next = follows.iter_mut().map(|follow| Box::pin(follow.next()));
        let changed = tokio::time::timeout_at(wake, futures_util::future::select_all(next)).await;
        let Ok((change, at, _)) = changed else {
            if believed.is_some() || Instant::now() < deadline {
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
            steady.look(*at, &seen, &awaited[*at], &verdicts[*at], Instant::now());
        }
    }
}

/// Whether a change of one object may change what has come of another.
fn concerns(changed: &ObjectId, of: &ObjectId) -> bool {
    changed == of || (of.kind == Kind::Deployment && changed.namespace == of.namespace)
}

/// What has failed or cannot be placed, if anything has.
fn failed(context: &Context, awaited: &[Awaited], verdicts: &[Verdict]) -> Option<CliError> {
    let both = || awaited.iter().zip(verdicts);
    for (one, verdict) in both() {
        if let Verdict::Failed { message, evidence } = verdict {
            let message = format!("{} {message}", context.shown(&one.id));
            let error = CliError::ended(Exit::Failed, message).with_evidence(evidence.clone());
            return Some(error.with_hint(format!("`cube describe {}` shows more", context.shown(&one.id))));
        }
    }
    for (one, verdict) in both() {
        if let Verdict::Unplaced(why) = verdict {
            let shown = context.shown(&one.id);
            let error = CliError::ended(Exit::Unplaced, format!("{shown} cannot be placed: {why}"));
            return Some(error.with_hint(format!(
                "it starts by itself when there is room; `cube describe {shown}` shows more"
            )));
        }
    }
    None
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
