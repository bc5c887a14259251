//! `cube restore`: a data directory from a backup, while no server uses it.
use std::{fs, path::PathBuf};

use super::{
    Context,
    error::{CliError, Exit},
    output::words,
    places,
};
use crate::{
    daemon::{DataDir, DataDirError, store_file},
    store::{Existing, RestoreError, Store},
};

/// Make a data directory from a backup, while cube does not run on it
///
/// The next `cube up` with this data directory goes on from the backup; containers that it knows are adopted.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The backup
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The data directory; default: that of this machine's cube
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Replace what the data directory has; it is kept with `.replaced` at the end of its name
    #[arg(long)]
    force: bool,
}

impl Args {
    /// Restores.
    pub async fn run(self, context: &Context) -> Result<Exit, CliError> {
        let directory = self.data_dir.unwrap_or_else(places::data_dir);
        let backup = fs::File::open(&self.file)
            .map_err(|error| CliError::usage(format!("{} cannot be read: {error}", self.file.display())))?;
        // Held to the end: no cube may start on it meanwhile.
        let _held = DataDir::take(&directory).map_err(|error| match error {
            DataDirError::InUse { .. } => in_use(error.to_string()),
            DataDirError::Io { ref source, .. } => CliError::ended(Exit::Error, format!("{error}: {source}")),
        })?;
        let existing = if self.force {
            Existing::Replace
        } else {
            Existing::Refuse
        };
        let path = store_file(&directory);
        let restored = Store::restore(&path, backup, existing).map_err(|error| match error {
            RestoreError::Exists(path) => {
                CliError::ended(Exit::Refused, format!("there is a store already: {}", path.display()))
                    .with_hint("--force replaces it, and keeps it beside")
            }
            RestoreError::InUse => in_use(format!("another process has {} open", path.display())),
            error @ (RestoreError::Broken(_) | RestoreError::Newer { .. }) => {
                CliError::ended(Exit::BadInput, error.to_string())
            }
            error => CliError::ended(Exit::Error, error.to_string()),
        })?;
        let objects = words::count(usize::try_from(restored.records).unwrap_or(usize::MAX), "object");
        context.output.line(&format!(
            "{}: {objects}, as of revision {}",
            directory.display(),
            restored.backup
        ))?;
        Ok(Exit::Done)
    }
}

fn in_use(message: String) -> CliError {
    CliError::ended(Exit::Refused, message)
        .with_hint("end it first (Ctrl-C, or systemctl stop cube); its containers run on")
}
