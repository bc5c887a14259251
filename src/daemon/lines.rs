//! Writes lines for people (or JSON for programs) to standard output or wherever else; decides nothing about what they say.
use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;

use super::scene::Line;
use crate::world::World;

/// How the lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Takes whole lines.
type Out = Arc<dyn Fn(&str) + Send + Sync>;

/// Where lines go. Cloning is cheap.
#[derive(Clone)]
pub struct Lines {
    format: Format,
    /// Whether colours are shown.
    pub colour: bool,
    world: World,
    out: Out,
}

impl Lines {
    /// Lines of that form on standard output.
    pub fn new(format: Format, world: World) -> Self {
        let terminal =
            std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            format,
            colour: terminal && format == Format::Text,
            world,
            out: Arc::new(|text| {
                let mut out = std::io::stdout().lock();
                // Whoever read it may be gone; Cube goes on.
                let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
            }),
        }
    }

    /// Lines for people that go elsewhere.
    pub fn to(out: impl Fn(&str) + Send + Sync + 'static, world: World) -> Self {
        Self {
            format: Format::Text,
            colour: false,
            world,
            out: Arc::new(out),
        }
    }

    /// A line of Cube itself.
    pub fn say(&self, text: &str) {
        self.write(vec![Line::plain(text)]);
    }

    /// A line that somebody should heed.
    pub fn worry(&self, subject: &str, text: &str) {
        self.write(vec![Line::about(subject, "", text).warning()]);
    }

    /// Writes lines, all or none of them between others'.
    pub fn write(&self, lines: Vec<Line>) {
        if lines.is_empty() {
            return;
        }
        let mut text = String::new();
        for line in lines {
            match self.format {
                Format::Text => text.push_str(&line.text(self.colour)),
                Format::Json => text.push_str(&line.json(self.world.now())),
            }
            text.push('\n');
        }
        (self.out)(&text);
    }
}

/// A text on one line that does nothing to a terminal: what comes from containers may hold anything.
pub fn tame(text: &str) -> String {
    let shown = text.trim_end().chars().map(|c| match c {
        '\n' | '\r' | '\t' => ' ',
        '\0'..='\u{1f}' => char::from_u32(0x2400 + u32::from(c)).unwrap_or(' '),
        '\u{7f}'..='\u{9f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' => '\u{fffd}',
        c => c,
    });
    shown.collect()
}
