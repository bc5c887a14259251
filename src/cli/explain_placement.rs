//! `cube explain-placement`: where a Task could run, and why.
use cube_api::{
    kinds::Kind,
    placement::SchedulingPolicy,
    survey::{PlacementSurvey, SurveyedNode},
};

use super::{
    Context,
    error::{CliError, Exit},
    names,
    nodes::Telling,
    output::{Cell, Style, Table},
};

/// Show what every filter and every score makes of every node for a Task, and which node it would get
///
/// A Task that runs is looked at as if it had no node yet; it stays where it is.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The Task
    #[arg(value_name = "TASK")]
    task: String,
    /// How to tell it; json and yaml are stable
    #[arg(short, long, value_enum)]
    output: Option<Telling>,
}

impl Args {
    /// Prints it.
    pub async fn run(self, context: &Context) -> Result<Exit, CliError> {
        let id = match self.task.contains('/') {
            true => names::object(&self.task, context)?,
            false => names::of_kind(Kind::Task, &self.task, context),
        };
        if id.kind != Kind::Task {
            return Err(CliError::usage(format!("{} is no task", context.shown(&id))));
        }
        let told = context.client().placement(&id.namespace, &id.name).await;
        let told = told.map_err(|error| context.explain(&id, error))?;
        if let Some(telling) = self.output {
            let value = serde_json::to_value(&told).unwrap_or_default();
            telling.tell(context, &value)?;
            return Ok(Exit::Done);
        }
        if !told.nodes.is_empty() {
            context.output.table(&filters(&told))?;
            context.output.line("")?;
            context.output.table(&scores(&told))?;
            context.output.line("")?;
        }
        context.output.line(&conclusion(&context.shown(&id), &told))?;
        Ok(Exit::Done)
    }
}

/// What each filter says of each node.
fn filters(told: &PlacementSurvey) -> Table {
    let names = told.nodes.first().into_iter().flat_map(|node| &node.filters);
    let names = names.map(|verdict| verdict.filter.to_uppercase());
    let headings = ["NODE".to_owned()].into_iter().chain(names);
    let mut table = Table::new(headings.chain(["WHY NOT".to_owned()]));
    for node in &told.nodes {
        let mut cells: Vec<Cell> = vec![named(node, told)];
        let verdicts = node.filters.iter().map(|verdict| match verdict.passes {
            true => Cell::new("yes", Style::Plain),
            false => Cell::new("NO", Style::Bad),
        });
        cells.extend(verdicts);
        let refusals = node.filters.iter().filter(|verdict| !verdict.passes);
        let refusals: Vec<&str> = refusals.map(|verdict| verdict.message.as_str()).collect();
        cells.push(refusals.join("; ").into());
        table.row(cells);
    }
    table
}

/// The scores of each node, in the order in which they are compared.
fn scores(told: &PlacementSurvey) -> Table {
    let headings = [
        "NODE",
        "PREFERNOSCHEDULE",
        "PREFERRED",
        "CROWDED",
        "SAME CONTROLLER",
        "COST",
        "TASKS",
    ];
    let mut table = Table::new(headings);
    for node in &told.nodes {
        let scores = &node.scores;
        let cost = match told.policy {
            SchedulingPolicy::Spread | SchedulingPolicy::Binpack => scores.cost as f64 / 1e6,
            SchedulingPolicy::EPvm => scores.cost as f64 / 1e9,
            SchedulingPolicy::RoundRobin | SchedulingPolicy::Greedy => 0.0,
        };
        table.row(vec![
            named(node, told),
            scores.prefer_no_schedule.to_string().into(),
            scores.preferred.to_string().into(),
            scores.crowded.to_string().into(),
            scores.same_controller.to_string().into(),
            format!("{cost:.3}").into(),
            scores.tasks.to_string().into(),
        ]);
    }
    table
}

fn named(node: &SurveyedNode, told: &PlacementSurvey) -> Cell {
    let style = if told.chosen.as_ref() == Some(&node.name) {
        Style::Good
    } else {
        Style::Plain
    };
    Cell::new(node.name.as_str(), style)
}

/// Which node it gets, or why none.
fn conclusion(shown: &str, told: &PlacementSurvey) -> String {
    let policy = told.policy.as_str();
    let now = match &told.node {
        Some(node) if told.chosen.as_ref() == Some(node) => {
            return format!("{shown} is on {node}, and would be given to it again (policy {policy})");
        }
        Some(node) => format!("{shown} is on {node}; without it, it "),
        None => format!("{shown} "),
    };
    match &told.chosen {
        Some(chosen) => format!("{now}would be given to {chosen} (policy {policy})"),
        None => format!("{now}fits nowhere: {}", told.message),
    }
}
