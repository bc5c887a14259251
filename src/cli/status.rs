//! `cube status`: one screen that says whether all is well, and if not, what is not.
//!
//! Owns the fetching and the form; what is counted and what is wrong is [`summary`]'s. Read [`Args::run`] first.
mod summary;

use cube_api::{deployment::Deployment, node::Node, source::Source, task::Task};
use serde_json::Value;

use super::{
    Context,
    error::{CliError, Exit},
    nodes::Telling,
    output::{Cell, Style, Table, words},
};
use crate::client::Selection;
use summary::{Summary, Trouble};

/// So many troubles are shown: with all else they fill a screen.
const TROUBLES: usize = 12;
/// So many objects of one trouble are named.
const NAMED: usize = 3;

/// Show on one screen how all is: server, nodes, tasks, deployments, sources, and what is wrong
#[derive(clap::Args, Debug)]
pub struct Args {
    /// How to tell it; json and yaml are stable
    #[arg(short, long, value_enum)]
    output: Option<Telling>,
}

impl Args {
    /// Prints it.
    pub async fn run(self, context: &Context) -> Result<Exit, CliError> {
        let client = context.client();
        let all = Selection::default();
        let info = client.info().await?;
        let nodes = client.list_typed::<Node>(&all).await?.items;
        let deployments = client.list_typed::<Deployment>(&all).await?.items;
        let tasks = client.list_typed::<Task>(&all).await?.items;
        let sources = client.list_typed::<Source>(&all).await?.items;
        let summary = summary::of(&nodes, &deployments, &tasks, &sources);
        if let Some(telling) = self.output {
            let mut told = serde_json::to_value(&summary).unwrap_or_default();
            told["server"] = info;
            telling.tell(context, &told)?;
            return Ok(Exit::Done);
        }
        context.output.table(&facts(context, &info, &summary))?;
        waiting(context, &summary)?;
        troubles(context, &summary)?;
        Ok(Exit::Done)
    }
}

/// The numbers.
fn facts(context: &Context, info: &Value, summary: &Summary) -> Table {
    let mut table = Table::default();
    let mut fact = |name: &str, text: String, well: bool| {
        let style = if well { Style::Plain } else { Style::Waiting };
        let heading = Cell::new(format!("{name}:"), Style::Heading);
        table.row(vec![heading, Cell::new(text, style)]);
    };
    let text = |field: &str| info[field].as_str().unwrap_or_default().to_owned();
    let server = format!(
        "cube {} at {}, revision {}",
        text("version"),
        context.endpoint(),
        info["revision"]
    );
    fact("Server", server, true);
    let nodes = &summary.nodes;
    let mut words = format!("{} of {} ready", nodes.ready, nodes.all);
    if nodes.cordoned > 0 {
        words.push_str(&format!(", {} cordoned", nodes.cordoned));
    }
    fact("Nodes", words, nodes.ready == nodes.all);
    let tasks: Vec<String> = summary
        .tasks
        .iter()
        .map(|(phase, number)| format!("{number} {phase}"))
        .collect();
    let words = if tasks.is_empty() {
        "none".to_owned()
    } else {
        tasks.join(", ")
    };
    fact("Tasks", words, true);
    let deployments = &summary.deployments;
    let words = match deployments.all {
        0 => "none".to_owned(),
        all => format!("{} of {all} ready", deployments.ready),
    };
    fact("Deployments", words, deployments.ready == deployments.all);
    for source in &summary.sources {
        let (objects, files) = (
            words::count(source.objects as usize, "object"),
            words::count(source.files as usize, "file"),
        );
        let words = format!("{}: {objects} in {files}, {}", source.directory, source.state);
        fact(&format!("Source {}", source.name), words, source.state == "in step");
    }
    table
}

/// What waits for a yes.
fn waiting(context: &Context, summary: &Summary) -> Result<(), CliError> {
    let waiting: Vec<_> = summary.sources.iter().filter(|source| source.waiting > 0).collect();
    if waiting.is_empty() {
        return Ok(());
    }
    heading(context, "Waits for a yes")?;
    for source in waiting {
        let objects = words::count(source.waiting, "removal");
        context.output.line(&format!(
            "  {objects} of source {}: {}; `cube approve --show {0}` lists them, `cube approve {0}` says yes",
            source.name,
            words::tame(&source.waiting_reason)
        ))?;
    }
    Ok(())
}

/// What is wrong, the same trouble of several objects once.
fn troubles(context: &Context, summary: &Summary) -> Result<(), CliError> {
    if summary.wrong.is_empty() {
        return Ok(());
    }
    heading(context, "Wrong")?;
    let mut table = Table::default();
    for trouble in summary.wrong.iter().take(TROUBLES) {
        table.row(vec![
            Cell::new(trouble.reason.as_str(), Style::Bad),
            named(context, trouble).into(),
            trouble.message.as_str().into(),
        ]);
    }
    context.output.table(&table.indented())?;
    if let Some(more) = summary.wrong.len().checked_sub(TROUBLES).filter(|more| *more > 0) {
        let objects: usize = summary.wrong[TROUBLES..]
            .iter()
            .map(|trouble| trouble.objects.len())
            .sum();
        context.output.line(&format!(
            "  and {more} more, of {}: `cube get all -A` shows them",
            words::count(objects, "object")
        ))?;
    }
    Ok(())
}

fn named(context: &Context, trouble: &Trouble) -> String {
    let names = trouble.objects.iter().take(NAMED).map(|id| context.shown(id));
    let mut names: Vec<String> = names.collect();
    if trouble.objects.len() > NAMED {
        names.push(format!("{} more", trouble.objects.len() - NAMED));
    }
    words::list(&names)
}

fn heading(context: &Context, text: &str) -> Result<(), CliError> {
    context
        .output
        .line(&format!("{}:", context.output.paint(Style::Heading, text)))
}
