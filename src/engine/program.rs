//! A program that runs in a container, as whoever asked for it has it, in the same process or over a link.
//!
//! Flow: [`Program::input`] goes to it, [`Program::output`] comes from it and ends with [`Said::Ended`] or
//! [`Said::Failed`]. Both are bounded: where nobody reads, the program waits. Whoever drops both hangs up on it.
use bytes::Bytes;
use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::TerminalSize;

/// Pieces on their way at once, each way. Each is some ten kilobytes at most.
pub const PIECES: usize = 16;

/// A program that runs.
pub struct Program {
    /// What it is told.
    pub input: mpsc::Sender<Told>,
    /// What it says.
    pub output: BoxStream<'static, Said>,
}

/// What a program is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// More of its standard input.
    Input(Bytes),
    /// Its standard input ends.
    InputEnds,
    /// Its terminal has this size now.
    Size(TerminalSize),
}

/// What comes of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// It writes.
    Output {
        /// As errors.
        stderr: bool,
        /// This.
        bytes: Bytes,
    },
    /// It has ended, with this exit code.
    Ended(i64),
    /// Nothing more is heard of it: why, for people.
    Failed(String),
}

/// What is told over a link, beside bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "tell", rename_all = "camelCase")]
pub enum Word {
    /// [`Told::InputEnds`].
    InputEnds,
    /// [`Told::Size`].
    Size(TerminalSize),
}
