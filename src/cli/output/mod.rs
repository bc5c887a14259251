//! All that Cube's commands print: data on standard output, talk on standard error, colour on a terminal only.
//!
//! Owns the streams, their look, and the words for times and objects. It never asks a server. Read [`Output`] first.
mod paint;
mod progress;
mod table;
pub mod words;

use std::io::{self, Write as _};

use clap::ValueEnum;
use serde_json::Value;

use super::error::CliError;
use crate::manifest::Look;

pub use paint::Style;
pub use progress::Progress;
pub use table::{Cell, Table};

/// When output is coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Columns of what is not a terminal.
const WIDTH: usize = 100;
/// Lines of a terminal that does not say.
const HEIGHT: usize = 24;

/// The streams of one command.
#[derive(Clone, Debug)]
pub struct Output {
    out: Stream,
    talk: Stream,
}

#[derive(Clone, Copy, Debug)]
struct Stream {
    terminal: bool,
    colour: bool,
    width: usize,
    height: usize,
}

impl Stream {
    fn new(stream: impl std::os::fd::AsFd + io::IsTerminal, colour: Colour) -> Self {
        let terminal = stream.is_terminal();
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let size = terminal.then(|| rustix::termios::tcgetwinsize(stream).ok()).flatten();
        Self {
            terminal,
            colour: match colour {
                Colour::Auto => terminal && !plain,
                Colour::Always => true,
                Colour::Never => false,
            },
            width: size.map_or(WIDTH, |size| usize::from(size.ws_col).max(20)),
            height: size.map_or(HEIGHT, |size| usize::from(size.ws_row).max(5)),
        }
    }
}

impl Output {
    /// The process's own streams.
    pub fn new(colour: Colour) -> Self {
        Self {
            out: Stream::new(io::stdout(), colour),
            talk: Stream::new(io::stderr(), colour),
        }
    }

    /// Data: a line.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn line(&self, text: &str) -> Result<(), CliError> {
        self.bytes(format!("{text}\n").as_bytes())
    }

    /// Data as it is. It is out when this returns.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn bytes(&self, bytes: &[u8]) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        out.write_all(bytes)
            .and_then(|()| out.flush())
            .map_err(CliError::Stdout)
    }

    /// Data as JSON for programs, over several lines.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn json(&self, value: &Value) -> Result<(), CliError> {
        self.line(&format!("{value:#}"))
    }

    /// Data as a YAML document.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn yaml(&self, value: &Value) -> Result<(), CliError> {
        let text = serde_yaml::to_string(value).map_err(|error| {
            CliError::ended(super::error::Exit::Error, format!("it cannot be told as YAML: {error}"))
        })?;
        self.line(text.trim_end())
    }

    /// Data as a table.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn table(&self, table: &Table) -> Result<(), CliError> {
        self.bytes(table.render(self.out.colour).as_bytes())
    }

    /// Data begins anew: on a terminal at its top, elsewhere after an empty line.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn anew(&self) -> Result<(), CliError> {
        self.bytes(if self.out.terminal { b"\x1b[H\x1b[J" } else { b"\n" })
    }

    /// Data's text in a style, if that is shown.
    pub fn paint(&self, style: Style, text: &str) -> String {
        style.paint(text, self.out.colour)
    }

    /// Talk: lines for people. That nobody hears them is no error.
    pub fn talk(&self, text: &str) {
        self.shown(&tame_lines(text));
    }

    /// Talk that is drawn already, with its colours.
    pub fn shown(&self, text: &str) {
        let _ = io::stderr().lock().write_all(format!("{text}\n").as_bytes());
    }

    /// Talk: something to note.
    pub fn note(&self, text: &str) {
        let text = tame_lines(text);
        self.shown(&format!("{} {text}", Style::Note.paint("note:", self.talk.colour)));
    }

    /// Talk: something to beware of.
    pub fn warn(&self, text: &str) {
        let text = tame_lines(text);
        self.shown(&format!(
            "{} {text}",
            Style::Warning.paint("warning:", self.talk.colour)
        ));
    }

    /// Talk: what went wrong, the evidence, what to do.
    pub fn error(&self, message: &str, evidence: &[String], hint: Option<&str>) {
        let mut lines = message.lines();
        let first = words::tame(lines.next().unwrap_or_default());
        let mut text = format!("{} {first}", Style::Error.paint("error:", self.talk.colour));
        for line in lines {
            text.push('\n');
            match line.strip_prefix("hint: ") {
                Some(hint) => text.push_str(&self.hint(hint)),
                None => text.push_str(&format!("  {}", words::tame(line))),
            }
        }
        for line in evidence {
            text.push_str("\n    ");
            text.push_str(&words::tame(line));
        }
        if let Some(hint) = hint {
            text.push('\n');
            text.push_str(&self.hint(hint));
        }
        self.shown(&text);
    }

    fn hint(&self, hint: &str) -> String {
        format!("{} {}", Style::Note.paint("hint:", self.talk.colour), tame_lines(hint))
    }

    /// How diagnostics are shown.
    pub fn look(&self) -> Look {
        Look {
            colour: self.talk.colour,
            width: self.talk.width,
        }
    }

    /// Lines that tell how long work goes, on standard error.
    pub fn progress(&self) -> Progress {
        Progress::new(
            self.talk.terminal,
            self.talk.colour,
            (self.talk.width, self.talk.height),
        )
    }
}

/// Lines that do nothing to a terminal: what servers and engines say is in them.
fn tame_lines(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(words::tame).collect();
    lines.join("\n")
}
