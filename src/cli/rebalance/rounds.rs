//! The moves of a plan, some at a time: asked for, watched, told.
use std::collections::{BTreeMap, BTreeSet};

use cube_api::{
    condition::{READY, is_true},
    deployment::Deployment,
    kinds::Resource,
    rebalance::{MoveManner, PlannedMove, RebalanceRequest},
    task::{Phase, Task},
};
use cube_plan::scheduler::is_at_rest;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::{Args, shown};
use crate::{
    cli::{
        Context,
        error::{CliError, Exit},
        output::words,
    },
    client::{Change, Client, Follow, Form, Selection},
};

/// Objects of a kind by uid, as they are now.
struct Seen<K> {
    follow: Follow,
    objects: BTreeMap<String, K>,
}

impl<K: Resource> Seen<K> {
    async fn begin(client: &Client) -> Result<Self, CliError> {
        let mut seen = Self {
            follow: client.follow(K::KIND, Selection::default(), Form::Objects),
            objects: BTreeMap::new(),
        };
        loop {
            let change = seen.follow.next().await?;
            let is_whole = matches!(change, Change::All(_));
            seen.take(client, change)?;
            if is_whole {
                return Ok(seen);
            }
        }
    }

    /// Takes a change; answers why the server is not there, if it is not.
    fn take(&mut self, client: &Client, change: Change) -> Result<Option<String>, CliError> {
        let set = match change {
            Change::All(mut list) => {
                self.objects.clear();
                match list["items"].take() {
                    Value::Array(items) => items,
                    _ => Vec::new(),
                }
            }
            Change::Set(value) => vec![value],
            Change::Gone(value) => {
                let uid = value["metadata"]["uid"].as_str().unwrap_or_default();
                self.objects.remove(uid);
                Vec::new()
            }
            Change::Lost(error) => return Ok(Some(error.to_string())),
        };
        for value in set {
            let object = client.decode::<K>(value)?;
            self.objects.insert(object.meta().uid.clone(), object);
        }
        Ok(None)
    }
}

/// All that is watched.
struct Watched {
    tasks: Seen<Task>,
    deployments: Seen<Deployment>,
    /// Tasks that were there before the moves, or took the place of one that moved.
    known: BTreeSet<String>,
}

/// A move that is under way.
struct Open<'a> {
    planned: &'a PlannedMove,
    /// The uid of what makes another one.
    owner: Option<String>,
}

impl Args {
    /// Makes the moves, so many at a time.
    pub(super) async fn carry_out(
        &self,
        moves: &[PlannedMove],
        client: &Client,
        context: &Context,
    ) -> Result<(), CliError> {
        let until = Instant::now() + self.timeout;
        let (tasks, deployments) = (Seen::begin(client).await?, Seen::begin(client).await?);
        let known = tasks.objects.keys().cloned().collect();
        let mut watched = Watched {
            tasks,
            deployments,
            known,
        };
        let mut done = 0;
        for round in moves.chunks(self.max_parallel as usize) {
            let mut open: Vec<Open> = round.iter().map(|planned| watched.open(planned)).collect();
            let request = RebalanceRequest {
                moves: round.to_vec(),
                restarts: self.restart,
            };
            if let Err(error) = client.rebalance(&request).await {
                return Err(match error.refusal() {
                    Some(refusal) if refusal.code == 409 => {
                        let message = format!("{}; {done} of {} have moved", refusal.message, moves.len());
                        let hint = "`cube rebalance` shows what would move now";
                        CliError::ended(Exit::Refused, message).with_hint(hint)
                    }
                    _ => error.into(),
                });
            }
            loop {
                let (over, rest) = open.into_iter().partition(|open| watched.is_done(open));
                open = rest;
                let over: Vec<Open> = over;
                for one in over {
                    done += 1;
                    let line = format!("{} ({done} of {})", watched.told(context, &one), moves.len());
                    context.output.line(&line)?;
                }
                if open.is_empty() {
                    break;
                }
                match timeout_at(until, watched.next(client)).await {
                    Ok(Ok(None)) => {}
                    Ok(Ok(Some(lost))) => context.output.note(&format!("{lost}; trying again")),
                    Ok(Err(error)) => return Err(error),
                    Err(_) => {
                        let limit = words::took(self.timeout);
                        let message = format!("after {limit} {done} of {} have moved", moves.len());
                        let evidence = open.iter().map(|open| watched.stands(context, open)).collect();
                        let error = CliError::ended(Exit::TimedOut, message).with_evidence(evidence);
                        return Err(error.with_hint("what is under way goes on; nothing more is begun"));
                    }
                }
            }
        }
        Ok(())
    }
}

impl Watched {
    fn open<'a>(&self, planned: &'a PlannedMove) -> Open<'a> {
        let task = self.tasks.objects.get(&planned.uid);
        let owner = task.and_then(|task| task.metadata.controller());
        Open {
            planned,
            owner: owner.map(|owner| owner.uid.clone()),
        }
    }

    /// Waits for a change; answers why the server is not there, if it is not.
    async fn next(&mut self, client: &Client) -> Result<Option<String>, CliError> {
        tokio::select! {
            biased;
            change = self.tasks.follow.next() => self.tasks.take(client, change?),
            change = self.deployments.follow.next() => self.deployments.take(client, change?),
        }
    }

    fn is_done(&self, open: &Open) -> bool {
        let task = self.tasks.objects.get(&open.planned.uid);
        match (open.planned.how, task) {
            (MoveManner::Restart, Some(task)) => {
                is_ready(task) && task.status.node.as_ref() != Some(&open.planned.from)
            }
            // Its Deployment may have been deleted meanwhile, or somebody the Task.
            (_, None) => {
                let owner = open
                    .owner
                    .as_ref()
                    .and_then(|owner| self.deployments.objects.get(owner));
                owner.is_none_or(is_at_rest)
            }
            (_, Some(_)) => false,
        }
    }

    /// What has become of a move that is done.
    fn told(&mut self, context: &Context, open: &Open) -> String {
        let PlannedMove {
            namespace, name, from, ..
        } = open.planned;
        let moved = shown(context, namespace, name);
        if let Some(task) = self.tasks.objects.get(&open.planned.uid) {
            let node = task.status.node.as_deref().unwrap_or_default();
            return format!("{moved} runs on {node}");
        }
        let new = self.replacement(open).map(|task| {
            let node = task.status.node.as_deref().unwrap_or_default();
            let new = shown(context, namespace, &task.metadata.name);
            (
                task.metadata.uid.clone(),
                format!("{moved} has left {from}: {new} is ready on {node}"),
            )
        });
        match new {
            Some((uid, line)) => {
                self.known.insert(uid);
                line
            }
            None => format!("{moved} has left {from}"),
        }
    }

    /// The Task that took the place of one that has moved: of those that are new, one where it was to be.
    fn replacement(&self, open: &Open) -> Option<&Task> {
        let owner = open.owner.as_ref()?;
        let tasks = self.tasks.objects.values();
        let new = tasks.filter(|task| {
            let controller = task.metadata.controller();
            controller.is_some_and(|controller| controller.uid == *owner)
                && !self.known.contains(&task.metadata.uid)
                && !task.metadata.is_deleting()
        });
        new.min_by_key(|task| task.status.node.as_ref() != Some(&open.planned.to))
    }

    /// Where a move stands that is not done.
    fn stands(&self, context: &Context, open: &Open) -> String {
        let PlannedMove {
            namespace, name, to, ..
        } = open.planned;
        let moved = shown(context, namespace, name);
        let why = |task: &Task| match (task.status.message.as_str(), task.status.reason.as_str()) {
            ("", "") => format!("{:?}", task.status.phase),
            ("", reason) => reason.to_owned(),
            (message, _) => message.to_owned(),
        };
        match (self.replacement(open), self.tasks.objects.get(&open.planned.uid)) {
            (Some(new), _) if !is_ready(new) => {
                let shown = shown(context, namespace, &new.metadata.name);
                format!("{moved}: {shown} in its place is not ready: {}", why(new))
            }
            (None, Some(task)) if open.planned.how == MoveManner::Restart => {
                format!("{moved} does not run on {to} yet: {}", why(task))
            }
            _ => format!("{moved} has not left {}", open.planned.from),
        }
    }
}

fn is_ready(task: &Task) -> bool {
    task.status.phase == Phase::Running && is_true(&task.status.conditions, READY)
}
