//! `cube rebalance`: Tasks move to where nodes are loaded less, now or by themselves.
//!
//! Owns the words; what moves is the server's decision, made anew for each round, and how a move goes on is the
//! Deployments' and workers' work. Read [`Args::run`] first.
mod rounds;

use std::time::Duration;

use clap::ValueEnum;
use cube_api::{
    API_VERSION,
    kinds::{Kind, Resource as _},
    rebalance::{Burden, MoveManner, PlannedMove, RebalancePlan},
    settings::{AutoRebalance, CLUSTER, Settings, SettingsSpec},
};

use super::{
    Context,
    ask::confirmed,
    error::{CliError, Exit},
    nodes::Telling,
    output::{Cell, Style, Table, words},
};
use crate::{
    client::{Apply, Client, Outcome},
    source::ObjectId,
};

/// Move Tasks to where nodes are loaded less, as to one that is new or has returned
///
/// Shows which Tasks would move where, and what of that gets more even; asks, and moves them, so many at a time. Of a
/// Deployment another Task is ready first. Tasks stay whose data is on their node, that run once, or that others must be
/// near to; Tasks that would stop before another one starts stay too, but for --restart. What was shown is done, or
/// refused where things have changed meanwhile (ends with 6).
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Show what would move, and move nothing
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Move Tasks too that stop before another one starts: those of no Deployment, or of one whose strategy or port wants it
    #[arg(long)]
    restart: bool,
    /// So many Tasks are on their way at once
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    max_parallel: u32,
    /// How long it is waited for all of them
    #[arg(long, value_name = "TIME", value_parser = words::duration, default_value = "10m")]
    timeout: Duration,
    /// From now on Tasks move by themselves, whenever all is at rest (kept as settings/cluster); off ends that
    #[arg(long, value_enum, value_name = "on|off", num_args = 0..=1, default_missing_value = "on", require_equals = true,
          conflicts_with_all = ["yes", "dry_run", "restart", "max_parallel", "timeout", "output", "status"])]
    auto: Option<Auto>,
    /// So many Tasks move by themselves in a minute, at most; default: 4
    #[arg(long, value_name = "NUMBER", requires = "auto", value_parser = clap::value_parser!(u32).range(1..=60))]
    moves_per_minute: Option<u32>,
    /// Show whether Tasks move by themselves, what the nodes carry, and whether a move would help
    #[arg(long, conflicts_with_all = ["yes", "dry_run", "max_parallel", "timeout", "output"])]
    status: bool,
    /// How to tell what would move, which then does not; json and yaml are stable
    #[arg(short, long, value_enum, conflicts_with = "yes")]
    output: Option<Telling>,
}

/// Whether Tasks move by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Auto {
    /// They do.
    On,
    /// They do not.
    Off,
}

impl Args {
    /// Shows, asks, moves and tells.
    pub async fn run(self, context: &Context) -> Result<Exit, CliError> {
        let client = context.client();
        if let Some(auto) = self.auto {
            return self.set_auto(auto, &client, context).await;
        }
        let plan = client.rebalance_plan(self.restart).await?;
        if self.status {
            return status(&plan, &client, context).await;
        }
        if let Some(telling) = self.output {
            let mut value = serde_json::to_value(&plan).unwrap_or_default();
            value["apiVersion"] = API_VERSION.into();
            value["kind"] = "RebalancePlan".into();
            telling.tell(context, &value)?;
            return Ok(Exit::Done);
        }
        if plan.moves.is_empty() {
            context.output.line("no move would make the nodes more even")?;
            if !plan.nodes.is_empty() {
                context.output.line("")?;
                context.output.table(&carried(&plan))?;
            }
            tell_what_stays(context, &plan);
            return Ok(Exit::Done);
        }
        context.output.table(&moves(context, &plan.moves))?;
        context.output.line("")?;
        context.output.table(&before_and_after(&plan))?;
        tell_what_stays(context, &plan);
        if self.dry_run {
            return Ok(Exit::Done);
        }
        if !self.yes && !confirmed(context, &question(&plan.moves))? {
            return Err(CliError::ended(Exit::Refused, "nothing was moved"));
        }
        context.output.line("")?;
        self.carry_out(&plan.moves, &client, context).await?;
        let after = client.rebalance_plan(self.restart).await?;
        context.output.line("")?;
        context.output.table(&carried(&after))?;
        if !after.moves.is_empty() {
            let more = words::count(after.moves.len(), "move");
            context
                .output
                .note(&format!("{more} more would help now: `cube rebalance` again"));
        }
        Ok(Exit::Done)
    }

    async fn set_auto(&self, auto: Auto, client: &Client, context: &Context) -> Result<Exit, CliError> {
        let mut settings = match client.typed::<Settings>("", CLUSTER).await {
            Ok(settings) => settings.spec,
            Err(error) if error.is_not_found() => SettingsSpec::default(),
            Err(error) => return Err(error.into()),
        };
        let before = settings.auto_rebalance.take();
        if auto == Auto::On {
            let mut wished = before.unwrap_or_default();
            wished.moves_per_minute = self.moves_per_minute.unwrap_or(wished.moves_per_minute);
            settings.auto_rebalance = Some(wished);
        }
        let line = told(settings.auto_rebalance.as_ref());
        let mut object = Settings::default();
        object.metadata.name = CLUSTER.to_owned();
        object.spec = settings;
        let batch = Apply {
            objects: vec![object.to_value()],
            ..Apply::default()
        };
        let applied = client.apply(&batch).await?.into_iter().next();
        if let Some(Outcome::Refused(refusal)) = applied.map(|applied| applied.outcome) {
            let refused = CliError::ended(Exit::Refused, format!("settings/{CLUSTER}: {}", refusal.message));
            return Err(refused.with_hint("change it where it is written"));
        }
        context.output.line(&line)?;
        Ok(Exit::Done)
    }
}

/// Whether Tasks move by themselves, in words.
fn told(auto: Option<&AutoRebalance>) -> String {
    match auto {
        Some(auto) => {
            let moves = auto.moves_per_minute;
            format!("Tasks move by themselves whenever all is at rest, at most {moves} a minute")
        }
        None => "Tasks move only when `cube rebalance` says so".to_owned(),
    }
}

async fn status(plan: &RebalancePlan, client: &Client, context: &Context) -> Result<Exit, CliError> {
    let settings = match client.typed::<Settings>("", CLUSTER).await {
        Ok(settings) => settings.spec,
        Err(error) if error.is_not_found() => SettingsSpec::default(),
        Err(error) => return Err(error.into()),
    };
    context.output.line(&told(settings.auto_rebalance.as_ref()))?;
    let help = match plan.moves.len() {
        0 => "no move would make the nodes more even".to_owned(),
        moves => format!("{} would make the nodes more even", words::count(moves, "move")),
    };
    context.output.line(&help)?;
    if !plan.nodes.is_empty() {
        context.output.line("")?;
        context.output.table(&carried(plan))?;
    }
    Ok(Exit::Done)
}

fn question(moves: &[PlannedMove]) -> String {
    let stop = moves
        .iter()
        .filter(|planned| planned.how != MoveManner::StartFirst)
        .count();
    let stop = match stop {
        0 => String::new(),
        stop => format!(", {stop} of which stop before another one starts"),
    };
    format!("This moves {}{stop}. Go on? [y/N]", words::count(moves.len(), "task"))
}

/// `task/web-1-abcde`.
fn shown(context: &Context, namespace: &str, name: &str) -> String {
    context.shown(&ObjectId {
        kind: Kind::Task,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    })
}

fn moves(context: &Context, moves: &[PlannedMove]) -> Table {
    let mut table = Table::new(["TASK", "FROM", "TO", "HOW", "WHY"]);
    for planned in moves {
        let style = match planned.how {
            MoveManner::StartFirst => Style::Plain,
            MoveManner::StopFirst | MoveManner::Restart => Style::Waiting,
        };
        table.row(vec![
            shown(context, &planned.namespace, &planned.name).into(),
            planned.from.as_str().into(),
            planned.to.as_str().into(),
            Cell::new(planned.how.as_str(), style),
            planned.why.as_str().into(),
        ]);
    }
    table
}

/// `24 %`.
fn percent(burden: Burden) -> String {
    format!("{} %", (burden.load + 5) / 10)
}

fn before_and_after(plan: &RebalancePlan) -> Table {
    let mut table = Table::new(["NODE", "TASKS", "LOAD"]);
    for node in &plan.nodes {
        let change = |before: String, after: String| match before == after {
            true => before,
            false => format!("{before} → {after}"),
        };
        let tasks = change(node.before.tasks.to_string(), node.after.tasks.to_string());
        let load = change(percent(node.before), percent(node.after));
        table.row(vec![node.name.as_str().into(), tasks.into(), load.into()]);
    }
    table
}

fn carried(plan: &RebalancePlan) -> Table {
    let mut table = Table::new(["NODE", "TASKS", "LOAD", "WHY"]);
    for node in &plan.nodes {
        let why = match node.takes_part {
            true => "",
            false => "takes no part: not ready, cordoned or drained",
        };
        let tasks = node.before.tasks.to_string();
        table.row(vec![
            node.name.as_str().into(),
            tasks.into(),
            percent(node.before).into(),
            why.into(),
        ]);
    }
    table
}

/// Why Tasks are not moved, on standard error.
fn tell_what_stays(context: &Context, plan: &RebalancePlan) {
    for staying in &plan.stays {
        let (tasks, stay) = (
            staying.tasks as usize,
            if staying.tasks == 1 { "stays" } else { "stay" },
        );
        let line = format!("{} {stay}: {}", words::count(tasks, "task"), staying.why);
        context.output.note(&line);
    }
}
