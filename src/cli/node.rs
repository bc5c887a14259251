//! `cube node delete`: a node that does not come back is struck off.
use clap::Subcommand;
use cube_api::{
    condition::{READY, is_true},
    kinds::Kind,
    node::Node,
    task::Task,
};

use super::{
    Context,
    ask::confirmed,
    error::{CliError, Exit},
    names,
    output::words,
    removal::{Doomed, Removal},
};
use crate::client::{Delete, Selection};

/// So many Tasks are named; more would push the question off the screen.
const NAMED: usize = 5;

/// Strike nodes off
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    Delete(DeleteArgs),
}

/// Delete a node that does not come back: its name is free, and its Tasks are given to others
///
/// Asks first. Refused while the node is ready: its worker would make it again at once. Containers that still run there
/// are not seen to by anybody; data that lived there is given up.
#[derive(clap::Args, Debug)]
struct DeleteArgs {
    /// The node
    #[arg(value_name = "NODE")]
    node: String,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

impl Args {
    /// Does it.
    pub async fn run(self, context: &Context) -> Result<Exit, CliError> {
        match self.verb {
            Verb::Delete(args) => args.run(context).await,
        }
    }
}

impl DeleteArgs {
    async fn run(self, context: &Context) -> Result<Exit, CliError> {
        let client = context.client();
        let name = self.node.strip_prefix("node/").unwrap_or(&self.node);
        let id = names::of_kind(Kind::Node, name, context);
        let node: Node = client
            .typed("", name)
            .await
            .map_err(|error| context.explain(&id, error))?;
        let tasks = client.list_typed::<Task>(&Selection::default()).await?.items;
        let has: Vec<&Task> = tasks.iter().filter(|task| is_on(task, name)).collect();
        let becomes = what_becomes(context, &has);
        if is_true(&node.status.conditions, READY) {
            let message = format!("node {name} is ready: its worker would make it again at once");
            let hint = format!(
                "`cube cordon {name}` keeps new tasks away; end its worker, and delete the node when it is no longer ready"
            );
            let refused = CliError::ended(Exit::Refused, message).with_evidence(vec![becomes]);
            return Err(refused.with_hint(hint));
        }
        let question = format!("This deletes node {name}; {becomes}. Go on? [y/N]");
        if !self.yes && !confirmed(context, &question)? {
            return Err(CliError::ended(Exit::Refused, "nothing was deleted"));
        }
        let removal = Removal {
            how: Delete::default(),
            wait: true,
            timeout: None,
            done: "deleted",
            under_way: "being deleted",
        };
        let doomed = vec![Doomed::new(id, &node.metadata)];
        removal.carry_out(&client, context, doomed).await
    }
}

/// Whether a node has the Task, and it is not over.
fn is_on(task: &Task, node: &str) -> bool {
    task.status.node.as_deref() == Some(node) && !task.status.phase.is_over()
}

/// `its 3 tasks (task/a, task/b and task/c) are given to other nodes`.
fn what_becomes(context: &Context, tasks: &[&Task]) -> String {
    if tasks.is_empty() {
        return "it has no tasks".to_owned();
    }
    let shown = |task: &&Task| {
        let meta = &task.metadata;
        let id = crate::source::ObjectId {
            kind: Kind::Task,
            namespace: meta.namespace().to_owned(),
            name: meta.name.clone(),
        };
        context.shown(&id)
    };
    let mut names: Vec<String> = tasks.iter().take(NAMED).map(shown).collect();
    if tasks.len() > NAMED {
        names.push(format!("{} more", tasks.len() - NAMED));
    }
    let goes = if tasks.len() == 1 { "is" } else { "are" };
    format!(
        "its {} ({}) {goes} then given to other nodes, where named volumes and paths of this one begin empty",
        words::count(tasks.len(), "task"),
        words::list(&names)
    )
}
