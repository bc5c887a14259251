//! `cube completion`: what a shell needs to complete Cube's command line.
use clap_complete::Shell;

use super::{
    Context, command,
    error::{CliError, Exit},
};

/// Write the completion script of a shell
///
/// For bash: `cube completion bash > /etc/bash_completion.d/cube`; for zsh: `cube completion zsh > ~/.zfunc/_cube`;
/// for fish: `cube completion fish > ~/.config/fish/completions/cube.fish`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Args {
    /// Prints the script.
    pub async fn run(self, context: &Context) -> Result<Exit, CliError> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command(), "cube", &mut script);
        context.output.bytes(&script)?;
        Ok(Exit::Done)
    }
}
