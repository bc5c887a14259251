//! What a simulated container does: enough of a shell for scripts that behave alike on a real engine and here.
use std::time::Duration;

use crate::engine::{EngineError, Result};

/// One thing that a program does.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    Write {
        stderr: bool,
        line: String,
    },
    Sleep(Duration),
    /// Ends with 1 unless the name is known in the container's network.
    Resolve(String),
    /// Writes its input, to the end.
    Copy,
    /// From here on SIGTERM is ignored.
    IgnoreTerm,
    Exit(i64),
    RunForEver,
}

/// What `argv` does. Unknown programs run for ever; those whose name begins with `missing` cannot be found.
pub(super) fn steps_of(argv: &[String]) -> Result<Vec<Step>> {
    let Some(program) = argv.first() else {
        return Ok(vec![Step::RunForEver]);
    };
    if program.rsplit('/').next().unwrap_or_default().starts_with("missing") {
        return Err(EngineError::InvalidCommand {
            code: 127,
            message: format!("exec: {program:?}: executable file not found in $PATH"),
        });
    }
    let words: Vec<&str> = argv.iter().map(String::as_str).collect();
    let mut steps = Vec::new();
    match words.as_slice() {
        ["sh" | "/bin/sh", "-c", script, ..] => {
            for statement in script.split([';', '\n']) {
                let words: Vec<&str> = statement.split_whitespace().collect();
                steps.extend(step_of(&words));
                if steps.last() == Some(&Step::RunForEver) {
                    break;
                }
            }
        }
        words => steps.extend(step_of(words)),
    }
    if !matches!(steps.last(), Some(Step::Exit(_) | Step::RunForEver)) {
        steps.push(Step::Exit(0));
    }
    Ok(steps)
}

fn step_of(words: &[&str]) -> Option<Step> {
    Some(match words {
        [] => return None,
        ["exec", rest @ ..] => return step_of(rest),
        ["true"] => Step::Exit(0),
        ["false"] => Step::Exit(1),
        ["exit"] => Step::Exit(0),
        ["exit", code] => code.parse().map_or(Step::Exit(2), Step::Exit),
        ["echo", words @ .., ">&2"] => write(true, words),
        ["echo", words @ ..] => write(false, words),
        ["nslookup", name] => Step::Resolve((*name).to_owned()),
        ["cat"] => Step::Copy,
        ["trap", "''", "TERM"] => Step::IgnoreTerm,
        ["sleep", seconds] => match seconds.parse().map(Duration::try_from_secs_f64) {
            Ok(Ok(duration)) => Step::Sleep(duration),
            _ => Step::RunForEver,
        },
        _ => Step::RunForEver,
    })
}

fn write(stderr: bool, words: &[&str]) -> Step {
    Step::Write {
        stderr,
        line: words.join(" ") + "\n",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(argv: &[&str]) -> Vec<Step> {
        let argv: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
        steps_of(&argv).expect("a program that is found")
    }

    #[test]
    fn programs_do_what_their_words_say() {
        assert_eq!(steps(&[]), [Step::RunForEver]);
        assert_eq!(steps(&["nginx", "-g"]), [Step::RunForEver]);
        assert_eq!(steps(&["false"]), [Step::Exit(1)]);
        assert_eq!(steps(&["exit", "4"]), [Step::Exit(4)]);
        assert_eq!(
            steps(&["sh", "-c", "echo a b; echo c >&2; sleep 1; exit 3"]),
            [
                write(false, &["a", "b"]),
                write(true, &["c"]),
                Step::Sleep(Duration::from_secs(1)),
                Step::Exit(3)
            ]
        );
        assert_eq!(
            steps(&["sh", "-c", "trap '' TERM; while true; do sleep 1; done"]),
            [Step::IgnoreTerm, Step::RunForEver]
        );
    }
}
