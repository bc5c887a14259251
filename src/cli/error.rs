//! How a verb ends: the exit codes, and what people read when it fails.
//!
//! First what, then why, then what to do next, each on its own line. Read [`CliError`] first.
use std::{io, process::ExitCode};

use super::output::Output;
use crate::{client, manifest::Diagnostic};

/// How a verb ended. The numbers are part of the interface, and the same for every verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Done.
    Done,
    /// Something went wrong.
    Error,
    /// What was given is wrong: the command line, or a file.
    BadInput,
    /// It cannot be placed: no node has room or is allowed, and nothing under way changes that.
    Unplaced,
    /// The work failed.
    Failed,
    /// It took too long.
    TimedOut,
    /// Refused: a conflict, or not allowed.
    Refused,
    /// The program that was run (`cube exec`) ended with this code of its own.
    Program(u8),
}

/// The exit codes, as `--help` tells them.
pub const EXIT_CODES: &str = "\
Exit codes, the same for every verb (but that of `exec` is its program's):
  0  done
  1  error
  2  bad input or usage
  3  cannot be placed
  4  the work failed
  5  timed out
  6  refused (conflict, not allowed)";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(match exit {
            Exit::Done => 0,
            Exit::Error => 1,
            Exit::BadInput => 2,
            Exit::Unplaced => 3,
            Exit::Failed => 4,
            Exit::TimedOut => 5,
            Exit::Refused => 6,
            Exit::Program(code) => code,
        })
    }
}

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The command line, or what it names, is wrong.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// Files are wrong.
    #[error("{}", manifests_words(.diagnostics, .consequence))]
    Manifests {
        /// All that is wrong with them.
        diagnostics: Vec<Diagnostic>,
        /// What that led to. Example: `nothing was applied`.
        consequence: &'static str,
        /// What it comes to.
        exit: Exit,
    },
    /// The server did not do it.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// The machine did not do it.
    #[error("{what}: {source}")]
    Io {
        /// The step and the thing. Example: `write /tmp/backup`.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// Standard output cannot be written.
    #[error("standard output cannot be written: {0}")]
    Stdout(io::Error),
    /// Something else: it ends so.
    #[error("{message}")]
    Ended {
        /// How it ends.
        exit: Exit,
        /// What happened.
        message: String,
        /// The evidence, a line each.
        evidence: Vec<String>,
        /// What to do.
        hint: Option<String>,
    },
    /// All was said where it happened.
    #[error("it did not work")]
    Told(Exit),
}

impl CliError {
    /// The command line, or what it names, is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage {
            message: message.into(),
            hint: None,
        }
    }

    /// It ends so.
    pub fn ended(exit: Exit, message: impl Into<String>) -> Self {
        Self::Ended {
            exit,
            message: message.into(),
            evidence: Vec::new(),
            hint: None,
        }
    }

    /// The machine did not do it.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// The same, with what to do.
    #[must_use]
    pub fn with_hint(self, next: impl Into<String>) -> Self {
        let hint = Some(next.into());
        match self {
            Self::Usage { message, .. } => Self::Usage { message, hint },
            Self::Ended {
                exit,
                message,
                evidence,
                ..
            } => Self::Ended {
                exit,
                message,
                evidence,
                hint,
            },
            other => other,
        }
    }

    /// The same, with evidence.
    #[must_use]
    pub fn with_evidence(self, lines: Vec<String>) -> Self {
        match self {
            Self::Ended {
                exit, message, hint, ..
            } => Self::Ended {
                exit,
                message,
                evidence: lines,
                hint,
            },
            other => other,
        }
    }

    /// The exit code that it comes to.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage { .. } => Exit::BadInput,
            Self::Manifests { exit, .. } | Self::Ended { exit, .. } | Self::Told(exit) => *exit,
            Self::Client(error) => match error.refusal() {
                Some(refusal) if refusal.is_denied() => Exit::Refused,
                Some(refusal) if refusal.is_bad_input() => Exit::BadInput,
                _ => Exit::Error,
            },
            Self::Io { .. } => Exit::Error,
            // Whoever read our output has seen enough: `cube get tasks | head -1` is no error.
            Self::Stdout(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
            Self::Stdout(_) => Exit::Error,
        }
    }

    /// Tells people, on standard error.
    pub fn tell(&self, output: &Output) {
        match self {
            Self::Told(_) => {}
            Self::Stdout(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Self::Manifests { diagnostics, .. } => {
                for diagnostic in diagnostics {
                    output.shown(&diagnostic.render(output.look()));
                }
                output.talk(&self.to_string());
            }
            Self::Usage { message, hint } => output.error(message, &[], hint.as_deref()),
            Self::Ended {
                message,
                evidence,
                hint,
                ..
            } => output.error(message, evidence, hint.as_deref()),
            Self::Client(error) => output.error(&error.to_string(), &[], error.hint().as_deref()),
            Self::Io { .. } | Self::Stdout(_) => output.error(&self.to_string(), &[], None),
        }
    }
}

/// `2 errors in web.yaml; nothing was applied`.
fn manifests_words(diagnostics: &[Diagnostic], consequence: &str) -> String {
    let mut files: Vec<&str> = diagnostics.iter().map(|diagnostic| diagnostic.file.as_str()).collect();
    files.dedup();
    files.sort_unstable();
    files.dedup();
    let place = match files[..] {
        [one] => one.to_owned(),
        _ => format!("{} files", files.len()),
    };
    let errors = match diagnostics.len() {
        1 => "1 error".to_owned(),
        many => format!("{many} errors"),
    };
    if consequence.is_empty() {
        format!("{errors} in {place}")
    } else {
        format!("{errors} in {place}; {consequence}")
    }
}
