//! `cube cordon` and `cube uncordon`: whether anything new is placed on a node.
use cube_api::{kinds::Kind, node::Node};
use serde_json::{Value, json};

use super::{
    Context,
    error::{CliError, Exit},
    names,
};

/// Place nothing new on nodes; what runs there stays
#[derive(clap::Args, Debug)]
pub struct CordonArgs {
    /// The nodes
    #[arg(value_name = "NODE", required = true)]
    nodes: Vec<String>,
}

/// Let nodes have Tasks again; a drain ends
#[derive(clap::Args, Debug)]
pub struct UncordonArgs {
    /// The nodes
    #[arg(value_name = "NODE", required = true)]
    nodes: Vec<String>,
}

impl CordonArgs {
    /// Cordons.
    pub async fn run(self, context: &Context) -> Result<Exit, CliError> {
        set(context, &self.nodes, true).await
    }
}

impl UncordonArgs {
    /// Uncordons.
    pub async fn run(self, context: &Context) -> Result<Exit, CliError> {
        set(context, &self.nodes, false).await
    }
}

async fn set(context: &Context, nodes: &[String], unschedulable: bool) -> Result<Exit, CliError> {
    let client = context.client();
    let (word, value) = if unschedulable {
        ("cordoned", Value::Bool(true))
    } else {
        ("uncordoned", Value::Null)
    };
    let mut patch = json!({ "spec": { "unschedulable": value } });
    if !unschedulable {
        // A drain ends with it.
        patch["spec"]["drain"] = Value::Null;
    }
    let ids: Vec<_> = nodes
        .iter()
        .map(|word| names::of_kind(Kind::Node, word.strip_prefix("node/").unwrap_or(word), context))
        .collect();
    // All are looked up before the first is changed.
    let mut found = Vec::new();
    for id in ids {
        let node = client.typed::<Node>("", &id.name).await;
        let node = node.map_err(|error| context.explain(&id, error))?;
        found.push((id, node));
    }
    for (id, node) in found {
        let drains = !unschedulable && node.spec.drain.is_some();
        let already = if node.spec.unschedulable == unschedulable && !drains {
            "already "
        } else {
            let patched = client.merge_patch(Kind::Node, "", &id.name, &patch).await;
            patched.map_err(|error| context.explain(&id, error))?;
            ""
        };
        let line = format!("{} {already}{word}", context.shown(&id));
        context.output.line(&line)?;
    }
    Ok(Exit::Done)
}
