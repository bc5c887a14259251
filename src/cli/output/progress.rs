//! Lines that tell how long work goes: one a thing. Redrawn in place on a terminal; elsewhere a line when it is worth one.
use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    time::Duration,
};

use tokio::time::Instant;
use unicode_width::UnicodeWidthChar as _;

use super::{Style, words::tame};

/// What lasts less is not worth a line of a log. Longer would make people wonder whether anything moves.
const WORTH: Duration = Duration::from_secs(1);

/// What is under way, a line each.
#[derive(Debug)]
pub struct Progress {
    in_place: bool,
    colour: bool,
    width: usize,
    lines: BTreeMap<usize, Line>,
    /// So many lines are on the screen now.
    drawn: usize,
}

#[derive(Debug)]
struct Line {
    text: String,
    style: Style,
    /// When it will have lasted long enough to be printed; none when it was.
    due: Option<Instant>,
}

impl Progress {
    pub(super) fn new(in_place: bool, colour: bool, width: usize) -> Self {
        Self {
            in_place,
            colour,
            width,
            lines: BTreeMap::new(),
            drawn: 0,
        }
    }

    /// The line of a thing says this from now on. What is `last` of it is shown at once.
    pub fn set(&mut self, thing: usize, text: &str, style: Style, last: bool) {
        let text = tame(text);
        if self
            .lines
            .get(&thing)
            .is_some_and(|line| line.text == text && line.style == style)
        {
            return;
        }
        let due = Instant::now() + if last { Duration::ZERO } else { WORTH };
        self.lines.insert(
            thing,
            Line {
                text,
                style,
                due: Some(due),
            },
        );
        if self.in_place {
            self.draw();
        } else {
            self.print();
        }
    }

    /// When [`Progress::print`] has something to do next.
    pub fn due(&self) -> Option<Instant> {
        if self.in_place {
            None
        } else {
            self.lines.values().filter_map(|line| line.due).min()
        }
    }

    /// Prints what has lasted long enough, where lines are not redrawn.
    pub fn print(&mut self) {
        let now = Instant::now();
        let due = self
            .lines
            .values_mut()
            .filter(|line| line.due.is_some_and(|due| due <= now));
        for line in due {
            line.due = None;
            let _ = io::stderr().lock().write_all(format!("{}\n", line.text).as_bytes());
        }
    }

    /// The lines stay as they are; what is said next comes below them.
    pub fn leave(&mut self) {
        self.drawn = 0;
        self.lines.clear();
    }

    fn draw(&mut self) {
        let mut text = String::new();
        if self.drawn > 0 {
            text.push_str(&format!("\u{1b}[{}A", self.drawn));
        }
        for line in self.lines.values() {
            // A line that wraps would break the count.
            let mut width = 0;
            let fits = line.text.chars().take_while(|c| {
                width += c.width().unwrap_or(0);
                width < self.width
            });
            let fits: String = fits.collect();
            text.push_str(&format!("\r\u{1b}[2K{}\n", line.style.paint(&fits, self.colour)));
        }
        self.drawn = self.lines.len();
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }
}
