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
    /// Columns and lines of the terminal.
    size: (usize, usize),
    lines: BTreeMap<usize, Line>,
    /// So many lines are on the screen now, to be drawn over.
    drawn: usize,
}

#[derive(Debug)]
struct Line {
    text: String,
    style: Style,
    /// It is the last of its thing.
    last: bool,
    /// When it will have lasted long enough to be printed; none when it was.
    due: Option<Instant>,
}

impl Progress {
    pub(super) fn new(in_place: bool, colour: bool, size: (usize, usize)) -> Self {
        Self {
            in_place,
            colour,
            size,
            lines: BTreeMap::new(),
            drawn: 0,
        }
    }

    /// The line of a thing says this from now on. What is `last` of it is shown at once, and stays.
    pub fn set(&mut self, thing: usize, text: &str, style: Style, last: bool) {
        let text = tame(text);
        let known = self.lines.get(&thing);
        if known.is_some_and(|line| line.text == text && line.style == style && line.last == last) {
            return;
        }
        let due = Instant::now() + if last { Duration::ZERO } else { WORTH };
        let due = Some(due);
        let line = Line { text, style, last, due };
        self.lines.insert(thing, line);
    }

    /// When [`Progress::show`] has something to do next though nothing changes.
    pub fn due(&self) -> Option<Instant> {
        if self.in_place {
            None
        } else {
            self.lines.values().filter_map(|line| line.due).min()
        }
    }

    /// Brings what was set before the eyes.
    pub fn show(&mut self) {
        let text = if self.in_place { self.redrawn() } else { self.worth() };
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }

    /// The lines stay as they are; what is said next comes below them.
    pub fn leave(&mut self) {
        self.drawn = 0;
        self.lines.clear();
    }

    /// The lines that have lasted long enough, and were not printed.
    fn worth(&mut self) -> String {
        let now = Instant::now();
        let due = self
            .lines
            .values_mut()
            .filter(|line| line.due.is_some_and(|due| due <= now));
        due.map(|line| {
            line.due = None;
            format!("{}\n", line.text)
        })
        .collect()
    }

    /// What was drawn is drawn over: first what is new and last, which scrolls away; then what is under way, as much of
    /// it as the screen has room for.
    fn redrawn(&mut self) -> String {
        let mut text = match self.drawn {
            0 => String::new(),
            lines => format!("\u{1b}[{lines}A\r\u{1b}[J"),
        };
        let (colour, columns) = (self.colour, self.size.0);
        let shown = |line: &Line| format!("{}\n", line.style.paint(&fitting(&line.text, columns), colour));
        for line in self.lines.values_mut().filter(|line| line.last && line.due.is_some()) {
            line.due = None;
            text.push_str(&shown(line));
        }
        let under_way: Vec<&Line> = self.lines.values().filter(|line| !line.last).collect();
        let room = self.size.1.saturating_sub(3);
        let all = under_way.len() <= room;
        let lines = under_way.iter().take(if all { room } else { room - 1 });
        self.drawn = lines.clone().count();
        text.extend(lines.map(|line| shown(line)));
        if !all {
            text.push_str(&format!("… and {} more\n", under_way.len() - self.drawn));
            self.drawn += 1;
        }
        text
    }
}

/// As much of a text as fits on a line: one that wraps would break the count of lines.
fn fitting(text: &str, columns: usize) -> String {
    let mut width = 0;
    let fits = text.chars().take_while(|c| {
        width += c.width().unwrap_or(0);
        width < columns
    });
    fits.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn in_a_log_only_what_lasts_is_worth_a_line() {
        let mut progress = Progress::new(false, false, (80, 24));
        progress.set(0, "a   pulling", Style::Plain, false);
        assert_eq!(progress.worth(), "");
        progress.set(0, "a   creating", Style::Plain, false);
        tokio::time::sleep_until(progress.due().unwrap()).await;
        assert_eq!(progress.worth(), "a   creating\n");
        assert_eq!((progress.worth(), progress.due()), (String::new(), None));
        progress.set(0, "a   running", Style::Good, true);
        assert_eq!(progress.worth(), "a   running\n");
    }

    #[tokio::test(start_paused = true)]
    async fn on_a_screen_what_is_under_way_is_drawn_over() {
        let mut progress = Progress::new(true, false, (12, 6));
        progress.set(0, "a   pulling something", Style::Plain, false);
        progress.set(1, "b   pulling", Style::Plain, false);
        assert_eq!(progress.redrawn(), "a   pulling\nb   pulling\n");
        progress.set(0, "a   running", Style::Good, true);
        assert_eq!(progress.redrawn(), "\u{1b}[2A\r\u{1b}[Ja   running\nb   pulling\n");
        for thing in 2..10 {
            progress.set(thing, "c   waiting", Style::Plain, false);
        }
        assert_eq!(
            progress.redrawn(),
            "\u{1b}[1A\r\u{1b}[Jb   pulling\nc   waiting\n… and 7 more\n"
        );
    }
}
