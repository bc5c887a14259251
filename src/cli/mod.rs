//! The command line: one file a verb, its arguments' comment is its help; output in one place.
//!
//! Owns words and exit codes. Verbs speak with a server through [`crate::client`] alone, but for those that are one (`up`)
//! or work on its files while it is down (`restore`). Read [`main`] first, then the verb that matters.
//!
//! To add a verb: a file with an `Args` struct and `async fn run(self, context: &Context) -> Result<Exit, CliError>`, and a
//! line in [`Verb`] and in `run` below. Data goes to `context.output`'s `line`, `json`, `table`; talk to `note`, `warn`, `talk`.
mod apply;
mod approve;
mod ask;
mod backup;
mod completion;
mod context;
mod cordon;
mod delete;
mod describe;
mod down;
mod drain;
mod error;
mod events;
mod exec;
mod explain_placement;
mod get;
mod logs;
mod manifests;
mod names;
mod node;
mod node_args;
mod nodes;
mod output;
mod places;
mod proxy;
mod rebalance;
mod removal;
mod restart;
mod restore;
mod run;
mod schema;
mod status;
mod stop;
mod terminal;
mod top;
mod up;
mod validate;
mod version;
mod wait;
mod worker;

use std::{pin::Pin, process::ExitCode};

use clap::{CommandFactory as _, Parser, Subcommand};
use tracing_subscriber::{EnvFilter, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use context::{Context, Global};
use error::{CliError, EXIT_CODES, Exit};

/// Makes containers match manifests: a declarative orchestrator in one small binary
#[derive(Parser, Debug)]
#[command(name = "cube", version, max_term_width = 100, after_help = EXIT_CODES, infer_subcommands = false)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    global: Global,
}

#[derive(Subcommand, Debug)]
enum Verb {
    Up(up::Args),
    Manager(up::ManagerArgs),
    Worker(worker::Args),
    Down(down::Args),
    Status(status::Args),
    Run(run::Args),
    Stop(stop::Args),
    Apply(apply::Args),
    Get(get::Args),
    Describe(describe::Args),
    Delete(delete::Args),
    Logs(logs::Args),
    Exec(exec::Args),
    Events(events::Args),
    ExplainPlacement(explain_placement::Args),
    Restart(restart::Args),
    Approve(approve::Args),
    Nodes(nodes::Args),
    Top(top::Args),
    Node(node::Args),
    Cordon(cordon::CordonArgs),
    Uncordon(cordon::UncordonArgs),
    Drain(drain::Args),
    Rebalance(rebalance::Args),
    Validate(validate::Args),
    Schema(schema::Args),
    Proxy(proxy::Args),
    Backup(backup::Args),
    Restore(restore::Args),
    Completion(completion::Args),
    Version(version::Args),
}

impl Verb {
    /// Whether the verb is the server itself, or works like one: on all cores, with a log of its own.
    fn is_server(&self) -> bool {
        matches!(self, Self::Up(_) | Self::Manager(_) | Self::Worker(_))
    }

    async fn run(self, context: &Context) -> Result<Exit, CliError> {
        match self {
            Self::Up(args) => args.run(context).await,
            Self::Manager(args) => args.run(context).await,
            Self::Worker(args) => args.run(context).await,
            Self::Down(args) => args.run(context).await,
            Self::Status(args) => args.run(context).await,
            Self::Run(args) => args.run(context).await,
            Self::Stop(args) => args.run(context).await,
            Self::Apply(args) => args.run(context).await,
            Self::Get(args) => args.run(context).await,
            Self::Describe(args) => args.run(context).await,
            Self::Delete(args) => args.run(context).await,
            Self::Logs(args) => args.run(context).await,
            Self::Exec(args) => args.run(context).await,
            Self::Events(args) => args.run(context).await,
            Self::ExplainPlacement(args) => args.run(context).await,
            Self::Restart(args) => args.run(context).await,
            Self::Approve(args) => args.run(context).await,
            Self::Nodes(args) => args.run(context).await,
            Self::Top(args) => args.run(context).await,
            Self::Node(args) => args.run(context).await,
            Self::Cordon(args) => args.run(context).await,
            Self::Uncordon(args) => args.run(context).await,
            Self::Drain(args) => args.run(context).await,
            Self::Rebalance(args) => args.run(context).await,
            Self::Validate(args) => args.run(context).await,
            Self::Schema(args) => args.run(context).await,
            Self::Proxy(args) => args.run(context).await,
            Self::Backup(args) => args.run(context).await,
            Self::Restore(args) => args.run(context).await,
            Self::Completion(args) => args.run(context).await,
            Self::Version(args) => args.run(context).await,
        }
    }
}

/// Reads the command line and does what it says.
pub fn main() -> ExitCode {
    let Cli { verb, global } = Cli::parse();
    let context = Context::new(global);
    if !verb.is_server() {
        set_up_tracing(context.verbose);
    }
    let mut builder = if verb.is_server() {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    let ended = match builder.enable_all().build() {
        Ok(runtime) => {
            // In a box: of all that verbs do there is then one copy in the binary, not one for each way to wait for it.
            let running: Pin<Box<dyn Future<Output = _>>> = Box::pin(verb.run(&context));
            let ended = runtime.block_on(running);
            // A read of standard input that nobody waits for any more must not hold the end up.
            runtime.shutdown_background();
            ended
        }
        Err(error) => Err(CliError::io("start")(error)),
    };
    let exit = ended.unwrap_or_else(|error| {
        error.tell(&context.output);
        error.exit()
    });
    exit.into()
}

/// What happens inside a server, on standard error: what somebody should look at, and more where it is asked for.
fn set_up_server_tracing(verbose: u8, json: bool) {
    let level = match verbose {
        0 => "warn",
        1 => "warn,cube=debug",
        _ => "trace",
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false);
    let registry = tracing_subscriber::registry().with(EnvFilter::new(level));
    if json {
        registry.with(lines.json()).init();
    } else {
        registry.with(lines).init();
    }
}

/// What happens inside, on standard error; nothing unless asked for.
fn set_up_tracing(verbose: u8) {
    let level = match verbose {
        0 => return,
        1 => "cube=debug",
        _ => "trace",
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false);
    tracing_subscriber::registry()
        .with(EnvFilter::new(level))
        .with(lines)
        .init();
}

/// The command line as clap knows it.
fn command() -> clap::Command {
    Cli::command()
}
