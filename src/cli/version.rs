//! `cube version`: which releases speak with one another.
use std::time::Duration;

use super::{
    Context,
    error::{CliError, Exit},
};
use crate::client::Error;

/// A server on this machine that takes longer does not answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Show the version of this command, and of the server if one answers
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Ask no server
    #[arg(long)]
    client: bool,
}

impl Args {
    /// Prints the versions.
    pub async fn run(self, context: &Context) -> Result<Exit, CliError> {
        context.output.line(concat!("client  ", env!("CARGO_PKG_VERSION")))?;
        if self.client {
            return Ok(Exit::Done);
        }
        let client = context.client();
        match tokio::time::timeout(PATIENCE, client.version()).await {
            Ok(Ok(version)) => {
                let told = version["gitVersion"].as_str().unwrap_or("unknown");
                // Kubernetes' clients want a version of Kubernetes'; ours is behind it.
                let own = told.split_once("+cube.").map_or(told, |(_, own)| own);
                context.output.line(&format!("server  {own}"))?;
            }
            // That none runs is an answer, unless one was asked for by name.
            Ok(Err(error @ Error::Unreachable { .. })) if context.server.is_none() => {
                context.output.talk(&format!("server  none: {error}"));
            }
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => {
                let message = format!("the server at {} does not answer", client.endpoint());
                return Err(CliError::ended(Exit::TimedOut, message));
            }
        }
        Ok(Exit::Done)
    }
}
