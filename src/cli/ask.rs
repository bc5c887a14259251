//! The question before what cannot be taken back.
use std::io::{BufRead as _, IsTerminal as _};

use super::{Context, error::CliError};

/// Whether somebody says yes.
///
/// # Errors
/// When there is nobody to ask, or the answer cannot be read.
pub fn confirmed(context: &Context, question: &str) -> Result<bool, CliError> {
    if !std::io::stdin().is_terminal() {
        return Err(
            CliError::usage("this asks before it goes on, and there is nobody to ask")
                .with_hint("--yes says yes beforehand"),
        );
    }
    context.output.talk(question);
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(CliError::io("read the answer"))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
