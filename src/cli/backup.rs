//! `cube backup`: everything that a server has, as of one moment, in one file.
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use super::{
    Context,
    error::{CliError, Exit},
};
use crate::client::{Body, Client};

/// Write a backup of all objects, consistent while writes go on
///
/// `cube restore` makes a data directory from it. It holds all that the manifests say, environment variables included.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The file to write
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Replace the file if there is one
    #[arg(long)]
    force: bool,
}

impl Args {
    /// Fetches the backup; the file is there whole, or not at all.
    pub async fn run(self, context: &Context) -> Result<Exit, CliError> {
        let Some(name) = self.file.file_name() else {
            return Err(CliError::usage(format!("{} does not name a file", self.file.display())));
        };
        if self.file.symlink_metadata().is_ok() && !self.force {
            let message = format!("{} exists", self.file.display());
            return Err(CliError::ended(Exit::Refused, message).with_hint("--force replaces it"));
        }
        let mut draft = name.to_owned();
        draft.push(".tmp");
        let draft = self.file.with_file_name(draft);
        let written = write(&context.client(), &draft).await;
        let placed = written.and_then(|size| {
            fs::rename(&draft, &self.file).map_err(CliError::io(format!("write {}", self.file.display())))?;
            Ok(size)
        });
        let size = placed.inspect_err(|_| drop(fs::remove_file(&draft)))?;
        context.output.line(&format!("{}: {size} bytes", self.file.display()))?;
        Ok(Exit::Done)
    }
}

async fn write(client: &Client, draft: &Path) -> Result<u64, CliError> {
    let wrong = |error| CliError::io(format!("write {}", draft.display()))(error);
    let body = client.backup().await?;
    // It holds what manifests hold: for its owner alone.
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(draft)
        .map_err(wrong)?;
    match copy(body, file).await? {
        Ok(size) => Ok(size),
        Err(error) => Err(wrong(error)),
    }
}

async fn copy(mut body: Body, mut file: File) -> Result<io::Result<u64>, CliError> {
    let mut size = 0;
    while let Some(piece) = body.next().await? {
        size += piece.len() as u64;
        if let Err(error) = file.write_all(&piece) {
            return Ok(Err(error));
        }
    }
    Ok(file.sync_all().map(|()| size))
}
