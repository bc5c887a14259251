//! Programs that are run in a container beside its own.
use std::pin::Pin;
use std::time::Duration;

use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWrite;

use super::{Engine, EngineError, LogChunk, Result};

/// An engine has written down how a program ended this long after its output did, at the latest.
const WRITTEN_DOWN: Duration = Duration::from_secs(10);

/// Which program, and what it is joined to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExecOptions {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// It is given a standard input; without one it reads an end at once.
    pub stdin: bool,
    /// It is given a terminal: its errors come among its output.
    pub tty: bool,
}

/// A program that was started in a container.
///
/// Dropping it closes what the program is joined to, and does not end the program: no engine can.
/// [`Engine::end_exec`] may.
pub struct Exec {
    /// The engine's id.
    pub id: String,
    /// What it writes. Read no further, the program waits. Ends with the program, and when that and all that it has
    /// started have closed their output.
    pub output: BoxStream<'static, Result<LogChunk>>,
    /// Its standard input, if it was asked for; shutting it down is its end.
    pub input: Option<Pin<Box<dyn AsyncWrite + Send>>>,
}

/// The size of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Letters a line.
    pub width: u16,
    /// Lines.
    pub height: u16,
}

/// How a program is made to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// As by a terminal that is gone: it may have made itself deaf to that (`nohup`).
    HangUp,
    /// At once.
    Kill,
}

/// How a program does that was started in a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExecStatus {
    /// It runs.
    pub running: bool,
    /// Its exit code, once it has ended.
    pub exit_code: Option<i64>,
}

/// The exit code of a program whose output has ended; 126 and 127 also for one that could not be run, which its output
/// then tells of.
///
/// # Errors
/// When the engine does not say how it ended.
pub async fn exit_code(engine: &dyn Engine, exec: &str) -> Result<i64> {
    let mut wait = Duration::from_millis(2);
    let mut waited = Duration::ZERO;
    loop {
        if let Some(code) = engine.exec_status(exec).await?.exit_code {
            return Ok(code);
        }
        if waited >= WRITTEN_DOWN {
            return Err(EngineError::BadAnswer {
                message: "a program's output has ended, and it has not".to_owned(),
            });
        }
        tokio::time::sleep(wait).await;
        waited += wait;
        wait = (wait * 2).min(Duration::from_millis(200));
    }
}
