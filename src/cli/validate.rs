//! `cube validate`: what is wrong with manifests, without a server.
use super::{
    Context,
    error::{CliError, Exit},
    manifests::{self, FileArgs},
    output::words,
};

/// Check manifests without a server: every error with its file, line and column
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    files: FileArgs,
    /// The same as -f
    #[arg(value_name = "FILE|DIR|-")]
    more: Vec<String>,
}

impl Args {
    /// Reads everything, and says how much it was.
    pub async fn run(mut self, context: &Context) -> Result<Exit, CliError> {
        self.files.files.append(&mut self.more);
        if self.files.files.is_empty() {
            return Err(
                CliError::usage("say what to validate").with_hint("cube validate -f FILE, DIR or - for standard input")
            );
        }
        let manifests = manifests::read(&self.files, context, "")?;
        let (objects, files) = (
            words::count(manifests.objects.len(), "object"),
            words::count(manifests.files, "file"),
        );
        context.output.line(&format!("{objects} in {files}: valid"))?;
        Ok(Exit::Done)
    }
}
