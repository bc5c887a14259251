//! Lines that tell how long work goes: one a thing. Redrawn in place on a terminal; else a line when something changed.
use std::{
    collections::BTreeMap,
    io::{self, Write as _},
};

use super::Style;

/// What is under way, a line each.
#[derive(Debug)]
pub struct Progress {
    in_place: bool,
    colour: bool,
    width: usize,
    lines: BTreeMap<usize, (String, Style)>,
    /// So many lines are on the screen now.
    drawn: usize,
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

    /// The line of a thing says this from now on.
    pub fn set(&mut self, thing: usize, text: &str, style: Style) {
        let line = (super::words::tame(text), style);
        if self.lines.get(&thing) == Some(&line) {
            return;
        }
        if self.in_place {
            self.lines.insert(thing, line);
            self.draw();
        } else {
            let _ = io::stderr().lock().write_all(format!("{}\n", line.0).as_bytes());
            self.lines.insert(thing, line);
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
        for (line, style) in self.lines.values() {
            // A line that wraps would break the count.
            let mut width = 0;
            let fits: String = line
                .chars()
                .take_while(|c| {
                    width += unicode_width::UnicodeWidthChar::width(*c).unwrap_or(0);
                    width < self.width
                })
                .collect();
            text.push_str(&format!("\r\u{1b}[2K{}\n", style.paint(&fits, self.colour)));
        }
        self.drawn = self.lines.len();
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }
}
