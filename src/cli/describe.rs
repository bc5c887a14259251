//! `cube describe`: all about one object, with what happened to it and what it wrote last.
//!
//! Owns the fetching and the order of the parts; what is said of each kind is in [`facts`]. Read [`Args::run`] first.
mod facts;
mod probes;

use cube_api::{deployment::Deployment, kinds::Kind, meta::ObjectMeta, task::Task};
use serde_json::Value;

use super::{
    Context,
    error::{CliError, Exit},
    events,
    names::{self, Wanted},
    output::{Cell, Style, Table, words},
};
use crate::{
    client::{Client, LogQuery, Selection},
    registry::PERSON,
    source::ObjectId,
};

/// So many lines of output are shown. More push the reason for looking off the screen.
const LINES: u64 = 10;
/// So many events, the newest.
const EVENTS: usize = 20;

/// Show all about objects: what is wished, what is seen, events, and the last lines of output
#[derive(clap::Args, Debug)]
pub struct Args {
    /// KIND NAME…, KIND/NAME…, or KIND for all of it
    #[arg(value_name = "KIND", required = true)]
    what: Vec<String>,
    /// Only with these labels: app=web,tier!=db
    #[arg(
        short = 'l',
        long,
        value_name = "LABELS",
        default_value = "",
        hide_default_value = true
    )]
    selector: String,
}

impl Args {
    /// Prints what is known.
    pub async fn run(self, context: &Context) -> Result<Exit, CliError> {
        let client = context.client();
        let mut found = Vec::new();
        match names::wanted(&self.what, context)? {
            Wanted::Objects(_) if !self.selector.is_empty() => {
                return Err(CliError::usage("objects are chosen by name or by labels, not by both"));
            }
            Wanted::Objects(ids) => {
                for id in ids {
                    let value = client.get(id.kind, &id.namespace, &id.name).await;
                    found.push((id.clone(), value.map_err(|error| context.explain(&id, error))?));
                }
            }
            Wanted::Kinds(kinds) => {
                found = names::listed(&client, &kinds, &self.selector, context).await?;
                if found.is_empty() {
                    context
                        .output
                        .talk(&format!("nothing to describe in namespace {}", context.namespace()));
                }
            }
        }
        for (at, (id, value)) in found.iter().enumerate() {
            if at > 0 {
                context.output.line("")?;
            }
            one(&client, context, id, value).await?;
        }
        Ok(Exit::Done)
    }
}

async fn one(client: &Client, context: &Context, id: &ObjectId, value: &Value) -> Result<(), CliError> {
    let meta: ObjectMeta = serde_json::from_value(value["metadata"].clone()).unwrap_or_default();
    let mut facts = Table::default();
    for (name, cell) in about(context, id, &meta) {
        facts.row(vec![Cell::new(format!("{name}:"), Style::Heading), cell]);
    }
    let now = context.world.now();
    let of_kind = facts::of(id.kind, value.clone(), now).map_err(|error| {
        CliError::ended(
            Exit::Error,
            format!("{} is not understood by this release: {error}", context.shown(id)),
        )
    })?;
    for (name, cell) in of_kind.facts {
        facts.row(vec![Cell::new(format!("{name}:"), Style::Heading), cell]);
    }
    context.output.table(&facts)?;
    for (heading, lines) in &of_kind.texts {
        text(context, heading, lines)?;
    }
    for (heading, table) in &of_kind.tables {
        section(context, heading, table)?;
    }
    match id.kind {
        Kind::Deployment => tasks(client, context, value).await?,
        Kind::Node => tasks_of_node(client, context, &id.name).await?,
        _ => {}
    }
    if id.kind != Kind::Event {
        happened(client, context, id).await?;
    }
    if id.kind == Kind::Task {
        let known = of_kind.texts.iter().map(|(_, lines)| &lines[..]);
        wrote(client, context, id, &known.collect::<Vec<_>>()).await?;
    }
    Ok(())
}

/// What every object has.
fn about(context: &Context, id: &ObjectId, meta: &ObjectMeta) -> Vec<(&'static str, Cell)> {
    let now = context.world.now();
    let pairs = |map: &std::collections::BTreeMap<String, String>| {
        let pairs: Vec<String> = map.iter().map(|(key, value)| format!("{key}={value}")).collect();
        pairs.join(", ")
    };
    let mut facts: Vec<(&str, Cell)> = vec![(id.kind.info().kind, id.name.as_str().into())];
    let mut add = |name: &'static str, text: String| {
        if !text.is_empty() {
            facts.push((name, text.into()));
        }
    };
    add("Namespace", id.namespace.clone());
    add("Labels", pairs(&meta.labels));
    add("Annotations", pairs(&meta.annotations));
    if let Some(owner) = meta.controller() {
        add("Belongs to", format!("{}/{}", owner.kind.to_lowercase(), owner.name));
    }
    add(
        "Managed by",
        match meta.manager() {
            None => String::new(),
            Some(PERSON) => "cube apply".to_owned(),
            Some(source) => format!("source {source}"),
        },
    );
    if let Some(at) = meta.creation_timestamp {
        add("Created", format!("{} ago", words::age(now, at)));
    }
    if let Some(at) = meta.deletion_timestamp {
        let when = if at > now {
            format!("within {}", words::age(at, now))
        } else {
            format!("due {} ago", words::age(now, at))
        };
        add("Being deleted", when);
    }
    add("Held by", meta.finalizers.join(", "));
    facts
}

async fn tasks(client: &Client, context: &Context, value: &Value) -> Result<(), CliError> {
    let deployment: Deployment = client.decode(value.clone())?;
    let namespace = deployment.metadata.namespace().to_owned();
    let selection = Selection {
        labels: deployment.selector(),
        ..Selection::of(&namespace)
    };
    let tasks = client.list_typed::<Task>(&selection).await?.items;
    let mut table = Table::new(["NAME", "STATUS", "RESTARTS", "NODE", "AGE", "WHY"]);
    for task in &tasks {
        table.row(facts::task_row(task, context.world.now()));
    }
    section(context, "Tasks", &table)
}

/// What the node has, and what that asks for.
async fn tasks_of_node(client: &Client, context: &Context, node: &str) -> Result<(), CliError> {
    let selection = Selection {
        fields: format!("status.node={node}"),
        ..Selection::default()
    };
    let tasks = client.list_typed::<Task>(&selection).await?.items;
    let mut table = Table::new(["NAMESPACE", "NAME", "STATUS", "RESTARTS", "CPU", "MEMORY", "AGE", "WHY"]);
    for task in &tasks {
        table.row(facts::row_of_node(task, context.world.now()));
    }
    section(context, "Tasks", &table)
}

async fn happened(client: &Client, context: &Context, id: &ObjectId) -> Result<(), CliError> {
    let events = client.list(Kind::Event, &events::of_object(id)).await?.items;
    let events = events::in_order(client, events)?;
    let mut table = Table::default();
    for event in events.iter().rev().take(EVENTS).rev() {
        let style = match event.kind {
            cube_api::event::EventType::Normal => Style::Plain,
            cube_api::event::EventType::Warning => Style::Waiting,
        };
        table.row(vec![
            events::when(context, event).into(),
            Cell::new(event.reason.as_str(), style),
            event.message.as_str().into(),
        ]);
    }
    section(context, "Events", &table)
}

/// What it wrote last, unless that was told already.
async fn wrote(client: &Client, context: &Context, id: &ObjectId, known: &[&[String]]) -> Result<(), CliError> {
    let query = LogQuery {
        tail: Some(LINES),
        ..LogQuery::default()
    };
    // That there is no output is no reason to fail: all else was told.
    let Ok(body) = client.log(&id.namespace, &id.name, &query).await else {
        return Ok(());
    };
    let output = body.all().await?;
    let lines: Vec<String> = String::from_utf8_lossy(&output).lines().map(str::to_owned).collect();
    if known.contains(&&lines[..]) {
        return Ok(());
    }
    text(context, "Last output", &lines)
}

/// A table below a heading; nothing if it is empty.
fn section(context: &Context, heading: &str, table: &Table) -> Result<(), CliError> {
    if table.is_empty() {
        return Ok(());
    }
    context
        .output
        .line(&format!("{}:", context.output.paint(Style::Heading, heading)))?;
    context.output.table(&table.clone().indented())
}

/// Lines below a heading; nothing if there are none.
fn text(context: &Context, heading: &str, lines: &[String]) -> Result<(), CliError> {
    if lines.is_empty() {
        return Ok(());
    }
    context
        .output
        .line(&format!("{}:", context.output.paint(Style::Heading, heading)))?;
    lines
        .iter()
        .try_for_each(|line| context.output.line(&format!("  {}", words::tame(line))))
}
