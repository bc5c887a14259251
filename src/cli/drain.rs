//! `cube drain`: a node's Tasks leave it, as far as they can. The manager moves them; this asks, watches and tells.
use std::time::Duration;

use cube_api::{
    condition::{self, Truth},
    kinds::Kind,
    node::Node,
};
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use super::{
    Context,
    error::{CliError, Exit},
    names,
    output::words,
};
use crate::client::{Change, Form, Selection};

/// Move a node's Tasks to other nodes, and place nothing new on it
///
/// So many at a time; of a Deployment another Task is there first, where its strategy allows it. A Task whose data lives on
/// the node stays, and is told. It goes on without this command; `cube uncordon` ends it. Ends with 0 when nothing is left
/// that keeps the machine, with 6 when something stays.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The node
    #[arg(value_name = "NODE")]
    node: String,
    /// So many Tasks are on their way at once
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    max_parallel: u32,
    /// Do not wait until they have left
    #[arg(long)]
    no_wait: bool,
    /// How long it is waited
    #[arg(long, value_name = "TIME", value_parser = words::duration, default_value = "10m", conflicts_with = "no_wait")]
    timeout: Duration,
}

impl Args {
    /// Asks, waits and tells.
    pub async fn run(self, context: &Context) -> Result<Exit, CliError> {
        let client = context.client();
        let name = self.node.strip_prefix("node/").unwrap_or(&self.node);
        let id = names::of_kind(Kind::Node, name, context);
        let patch = json!({ "spec": { "unschedulable": true, "drain": { "maxParallel": self.max_parallel } } });
        let patched = client.merge_patch(Kind::Node, "", name, &patch).await;
        patched.map_err(|error| context.explain(&id, error))?;
        let shown = context.shown(&id);
        if self.no_wait {
            context.output.line(&format!("{shown} is being drained"))?;
            return Ok(Exit::Done);
        }
        let until = Instant::now() + self.timeout;
        let mut changes = client.follow(Kind::Node, Selection::default().named(name), Form::Objects);
        let mut told = String::new();
        loop {
            let Ok(change) = timeout_at(until, changes.next()).await else {
                let limit = self.timeout.as_secs();
                let error = CliError::ended(Exit::TimedOut, format!("{shown} is not empty after {limit} s: {told}"));
                let hint = format!(
                    "it goes on; `cube get tasks -A -o wide` shows why a Task has no other node, `cube uncordon {name}` ends it"
                );
                return Err(error.with_hint(hint));
            };
            let node = match change.map_err(|error| context.explain(&id, error))? {
                Change::All(mut list) => match list["items"].get_mut(0) {
                    Some(node) => client.decode::<Node>(node.take())?,
                    None => return Err(context.not_found(&id)),
                },
                Change::Set(node) => client.decode::<Node>(node)?,
                Change::Gone(_) => return Err(context.not_found(&id)),
                Change::Lost(error) => {
                    context.output.note(&format!("{error}; trying again"));
                    continue;
                }
            };
            if node.spec.drain.is_none() {
                return Err(CliError::ended(
                    Exit::Refused,
                    format!("{shown} was uncordoned meanwhile"),
                ));
            }
            let Some(drained) = condition::find(&node.status.conditions, "Drained") else {
                continue;
            };
            if drained.status == Truth::True {
                if drained.message.is_empty() {
                    context.output.line(&format!("{shown} is drained"))?;
                    return Ok(Exit::Done);
                }
                let error = CliError::ended(Exit::Refused, format!("{shown} is not empty: {}", drained.message));
                return Err(error.with_hint(format!(
                    "all else has left it; delete those Tasks or move their data, or `cube uncordon {name}`"
                )));
            }
            if drained.message != told {
                told.clone_from(&drained.message);
                context.output.note(&format!("{shown}: {told}"));
            }
        }
    }
}
