//! `cube down`: the containers and networks of a data directory go; objects and data stay.
use std::path::PathBuf;

use super::{
    Context,
    ask::confirmed,
    error::{CliError, Exit},
    node_args::EngineArgs,
    output::words,
    places,
    up::failed,
};
use crate::daemon::{DataDir, Down, TakenDown, down};

/// End this machine's cube, and remove its containers and networks
///
/// Objects and data (volumes) stay: the next `cube up` brings everything back. Asks first.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Where objects are kept; default: where the cube that answers keeps them, else /var/lib/cube for root,
    /// $XDG_STATE_HOME/cube for others
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    engine: EngineArgs,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

impl Args {
    /// Asks, and takes down.
    pub async fn run(self, context: &Context) -> Result<Exit, CliError> {
        let data_dir = match self.data_dir {
            Some(given) => given,
            None => served(context).await.unwrap_or_else(places::data_dir),
        };
        let process = DataDir::holder(&data_dir);
        if !self.yes {
            let ends = process.map_or(String::new(), |pid| format!("ends cube (pid {pid}) and "));
            let question = format!(
                "This {ends}removes all containers and networks of {}; objects and data stay. Go on? [y/N]",
                data_dir.display()
            );
            if !confirmed(context, &question)? {
                return Err(CliError::ended(Exit::Refused, "nothing was taken down"));
            }
        }
        let options = Down {
            data_dir,
            engine: self.engine.choice(),
        };
        let taken = down(&options, context.world.clone())
            .await
            .map_err(|error| failed(&error))?;
        context.output.line(&shown(taken))?;
        Ok(Exit::Done)
    }
}

/// The data directory of the cube that answers, if one does: who names a server means that one, and no other.
async fn served(context: &Context) -> Option<PathBuf> {
    let info = context.client().info().await.ok()?;
    info["dataDir"].as_str().map(PathBuf::from)
}

fn shown(taken: TakenDown) -> String {
    let ended = taken
        .process
        .map_or(String::new(), |pid| format!("ended cube (pid {pid}); "));
    let strangers = match taken.strangers {
        0 => String::new(),
        n => format!(
            " ({} with its labels, made by others, left alone)",
            words::count(n, "container")
        ),
    };
    format!(
        "{ended}removed {} and {}{strangers}; objects and data stay, and the next start brings it all back",
        words::count(taken.containers, "container"),
        words::count(taken.networks, "network")
    )
}
