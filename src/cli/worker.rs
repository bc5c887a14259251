//! `cube worker`: one worker of a manager elsewhere, until Ctrl-C.
use std::path::PathBuf;

use super::{
    Context,
    error::{CliError, Exit},
    node_args::NodeArgs,
    places,
    up::{LogFormat, failed},
};
use crate::daemon::{Format, worker};

/// Run a worker: the containers of one engine, for a manager elsewhere
///
/// Joins the manager at --server (or CUBE_SERVER). While the manager is away its containers go on as they were last told,
/// restarts included. Ctrl-C ends it and leaves the containers running; the next `cube worker` takes them up as they are.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Where the worker keeps what it has to know; default: /var/lib/cube-worker for root, else $XDG_STATE_HOME/cube-worker
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    node: NodeArgs,
    /// How lines look
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    log_format: LogFormat,
}

impl Args {
    /// Runs until it is told to end.
    pub async fn run(self, context: &Context) -> Result<Exit, CliError> {
        let format = self.log_format.format();
        super::set_up_server_tracing(context.verbose, format == Format::Json);
        let options = worker::WorkerOptions {
            server: context.endpoint(),
            data_dir: self.data_dir.unwrap_or_else(places::worker_dir),
            node: self.node.options(),
            format,
        };
        worker::run(options, context.world.clone())
            .await
            .map_err(|error| failed(&error))?;
        Ok(Exit::Done)
    }
}
