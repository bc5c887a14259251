//! Tables for people: aligned by what is seen, never cut.
use unicode_width::UnicodeWidthStr as _;

use super::{Style, words::tame};

/// Spaces between columns.
const GAP: usize = 3;

/// Rows under headings.
#[derive(Clone, Debug, Default)]
pub struct Table {
    headings: Vec<String>,
    rows: Vec<Vec<Cell>>,
    /// What each column takes at least: a table that grows keeps its shape.
    widths: Vec<usize>,
}

/// One cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// A text in a style.
    pub fn new(text: impl Into<String>, style: Style) -> Self {
        Self {
            text: tame(&text.into()),
            style,
        }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text, Style::Plain)
    }
}

impl Table {
    /// A table with these headings.
    pub fn new<T: Into<String>>(headings: impl IntoIterator<Item = T>) -> Self {
        Self {
            headings: headings.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows that are there by now are taken for printed: only later ones will be, in the same columns.
    pub fn printed(&mut self) {
        self.measure();
        self.rows.clear();
        self.headings.clear();
    }

    /// The same, two spaces in.
    #[must_use]
    pub fn indented(mut self) -> Self {
        if let Some(first) = self.headings.first_mut() {
            first.insert_str(0, "  ");
        }
        for first in self.rows.iter_mut().filter_map(|row| row.first_mut()) {
            first.text.insert_str(0, "  ");
        }
        self
    }

    fn measure(&mut self) {
        let mut widths = std::mem::take(&mut self.widths);
        let mut wider = |at: usize, width: usize| {
            if widths.len() <= at {
                widths.resize(at + 1, 0);
            }
            widths[at] = widths[at].max(width);
        };
        for (at, heading) in self.headings.iter().enumerate() {
            wider(at, heading.width());
        }
        for (at, cell) in self.rows.iter().flat_map(|row| row.iter().enumerate()) {
            wider(at, cell.text.width());
        }
        self.widths = widths;
    }

    /// The whole of it, a line end after each line.
    pub fn render(&self, colour: bool) -> String {
        let mut measured = self.clone();
        measured.measure();
        let mut text = String::new();
        let headings: Vec<Cell> = self
            .headings
            .iter()
            .map(|heading| Cell {
                text: heading.clone(),
                style: Style::Heading,
            })
            .collect();
        let rows = (!headings.is_empty())
            .then_some(&headings)
            .into_iter()
            .chain(&self.rows);
        for row in rows {
            let last = row.iter().rposition(|cell| !cell.text.is_empty());
            for (at, cell) in row.iter().enumerate().take(last.map_or(0, |last| last + 1)) {
                text.push_str(&cell.style.paint(&cell.text, colour));
                if Some(at) != last {
                    let gap = measured.widths[at] - cell.text.width() + GAP;
                    text.extend(std::iter::repeat_n(' ', gap));
                }
            }
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_one_another_and_nothing_trails() {
        let mut table = Table::new(["NAME", "STATUS", "WHY"]);
        table.row(vec!["hello".into(), Cell::new("Running", Style::Good), "".into()]);
        table.row(vec![
            "wörld".into(),
            "Pending".into(),
            "8 GiB wanted\nand more\u{1b}[31m".into(),
        ]);
        assert_eq!(
            table.render(false),
            "NAME    STATUS    WHY\nhello   Running\nwörld   Pending   8 GiB wanted and more\u{241b}[31m\n"
        );
        assert!(table.render(true).contains("\u{1b}[32mRunning\u{1b}[0m\n"));
        table.printed();
        table.row(vec!["a".into(), "b".into(), "c".into()]);
        assert_eq!(table.render(false), "a       b         c\n");
    }
}
