//! `cube up` and `cube manager`: all of it in one process, or all but the worker, until Ctrl-C.
use std::path::PathBuf;

use clap::ValueEnum;
use cube_api::placement::SchedulingPolicy;

use super::{
    Context,
    error::{CliError, Exit},
    node_args::{NodeArgs, host_name},
    places,
};
use crate::client::Endpoint;
use crate::daemon::{self, DaemonError, DataDirError, Format};

/// Run Cube on this machine, and make containers match the manifests of a directory
///
/// Prints what it does as it does it. Ctrl-C ends Cube and leaves the containers running; the next `cube up` takes them
/// up as they are. `cube down` removes them. Workers of other engines can join it (`cube worker`).
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    manager: ManagerArgs,
    #[command(flatten)]
    node: NodeArgs,
}

/// Run a manager: all of `cube up` but the worker
///
/// Workers join it with `cube worker --server unix:///…`. Ctrl-C ends it and stops nothing: the workers keep their
/// containers as last told, and catch up when it is back.
#[derive(clap::Args, Debug)]
pub struct ManagerArgs {
    /// The directory of manifests to watch; none: objects come by `cube apply` alone
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Where objects are kept; default: /var/lib/cube for root, else $XDG_STATE_HOME/cube
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where clients come to; default: /run/cube/cube.sock for root, else $XDG_RUNTIME_DIR/cube/cube.sock
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// A group, by name or number, whose members may use the socket too (they are then as good as root)
    #[arg(long, value_name = "GROUP")]
    socket_group: Option<String>,
    /// Which of the nodes that can take a Task gets it, where the Task does not say
    #[arg(long, value_enum, default_value_t, value_name = "POLICY")]
    scheduling_policy: Policy,
    /// How lines look
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    log_format: LogFormat,
}

/// Which of the nodes that can take a Task gets it.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Policy {
    /// The one with the fewest Tasks of the same Deployment, then the least loaded.
    #[default]
    Spread,
    /// The most loaded: others stay free for what is large.
    Binpack,
    /// The next one by name.
    RoundRobin,
    /// The first one by name.
    Greedy,
    /// The one where the Task costs the least opportunity.
    EPvm,
}

impl Policy {
    fn policy(self) -> SchedulingPolicy {
        match self {
            Self::Spread => SchedulingPolicy::Spread,
            Self::Binpack => SchedulingPolicy::Binpack,
            Self::RoundRobin => SchedulingPolicy::RoundRobin,
            Self::Greedy => SchedulingPolicy::Greedy,
            Self::EPvm => SchedulingPolicy::EPvm,
        }
    }
}

/// How lines look.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(super) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    pub(super) fn format(self) -> Format {
        match self {
            Self::Text => Format::Text,
            Self::Json => Format::Json,
        }
    }
}

impl Args {
    /// Runs until it is told to end.
    pub async fn run(self, context: &Context) -> Result<Exit, CliError> {
        serve(self.manager, Some(self.node), context).await
    }
}

impl ManagerArgs {
    /// Runs until it is told to end.
    pub async fn run(self, context: &Context) -> Result<Exit, CliError> {
        serve(self, None, context).await
    }
}

async fn serve(manager: ManagerArgs, node: Option<NodeArgs>, context: &Context) -> Result<Exit, CliError> {
    let format = manager.log_format.format();
    super::set_up_server_tracing(context.verbose, format == Format::Json);
    // Who says where the server is means this one too: the verbs of the same shell then find it.
    let named = match &context.server {
        Some(Endpoint::Unix(path)) => Some(path.clone()),
        _ => None,
    };
    let options = daemon::Options {
        directory: manager.directory,
        data_dir: manager.data_dir.unwrap_or_else(places::data_dir),
        socket: manager.socket.or(named).unwrap_or_else(places::socket),
        socket_group: manager.socket_group,
        node: node.map(NodeArgs::options),
        host_name: host_name(),
        scheduling_policy: manager.scheduling_policy.policy(),
        format,
    };
    daemon::run(options, context.world.clone())
        .await
        .map_err(|error| failed(&error))?;
    Ok(Exit::Done)
}

/// What people read when a process of Cube's cannot start.
pub(super) fn failed(error: &(dyn std::error::Error + 'static)) -> CliError {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    if let Some(DaemonError::DataDir(DataDirError::InUse { .. })) = error.downcast_ref() {
        let hint = "end that one first, or use another --data-dir";
        return CliError::ended(Exit::Error, text).with_hint(hint);
    }
    // Some errors carry their hint on a line of their own.
    match text.split_once("\nhint: ") {
        Some((message, hint)) => CliError::ended(Exit::Error, message).with_hint(hint),
        None => CliError::ended(Exit::Error, text),
    }
}
