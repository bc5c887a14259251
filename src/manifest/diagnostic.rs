//! What is wrong with a file, shown as rustc shows it: the file, the line, the line itself, and what to do.
use std::{fmt, ops::Range, sync::Arc};

use annotate_snippets::{AnnotationKind, Level, Origin, Renderer, Snippet};

use super::{Place, Source};

/// One thing that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file.
    pub file: String,
    /// Where in the file; none if it is about the whole.
    pub place: Option<Place>,
    /// What is wrong.
    pub message: String,
    /// What to say at the very place, such as `did you mean ...`.
    pub label: Option<String>,
    /// What to do.
    pub help: Option<String>,
    /// The text that `place` is in.
    source: Option<Arc<Source>>,
}

/// How a diagnostic is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// With the terminal's colours.
    pub colour: bool,
    /// Columns that a line may take.
    pub width: usize,
}

impl Default for Look {
    /// Plain, 100 columns.
    fn default() -> Self {
        Look {
            colour: false,
            width: 100,
        }
    }
}

impl Diagnostic {
    /// About a file as a whole.
    pub fn of_file(file: &str, message: impl Into<String>) -> Self {
        let (place, label, help, source) = (None, None, None, None);
        Diagnostic {
            file: file.to_owned(),
            place,
            message: message.into(),
            label,
            help,
            source,
        }
    }

    /// About a place.
    pub fn at(source: &Arc<Source>, place: Place, message: impl Into<String>) -> Self {
        let source = Some(source.clone());
        Diagnostic {
            place: Some(place),
            source,
            ..Diagnostic::of_file("", message)
        }
        .named()
    }

    fn named(mut self) -> Self {
        self.file = self
            .source
            .as_ref()
            .map(|source| source.name.clone())
            .unwrap_or_default();
        self
    }

    /// The same, with what to do.
    #[must_use]
    pub fn help(self, help: impl Into<String>) -> Self {
        Diagnostic {
            help: Some(help.into()),
            ..self
        }
    }

    /// The whole of it for people, over several lines, without a line end at its end.
    pub fn render(&self, look: Look) -> String {
        let renderer = if look.colour {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let renderer = renderer.term_width(look.width);
        let file = shown(&self.file);
        let title = Level::ERROR.primary_title(shown(&self.message));
        let mut group = match (&self.place, &self.source) {
            (Some(place), Some(source)) => {
                let line = ShownLine::new(source, place, look.width);
                let label = self.label.as_deref().map(shown);
                let annotation = AnnotationKind::Primary.span(line.marked).label(label);
                title.element(
                    Snippet::source(line.text)
                        .path(file)
                        .line_start(place.line)
                        .annotation(annotation),
                )
            }
            _ => title.element(Origin::path(file)),
        };
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(shown(help)));
        }
        renderer.render(&[group])
    }
}

impl fmt::Display for Diagnostic {
    /// On one line, for logs: `web.yaml:9:7: unknown field ...; did you mean ...`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.file))?;
        if let Some(place) = &self.place {
            write!(f, ":{}:{}", place.line, place.column)?;
        }
        write!(f, ": {}", shown(&self.message))?;
        for more in [&self.label, &self.help].into_iter().flatten() {
            write!(f, "; {}", shown(more))?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostic {}

/// The character as it is shown: one for one, so that columns stay right.
fn tamed(c: char) -> char {
    match c {
        '\t' => c,
        // Control characters would act on the terminal: their pictures do not.
        '\0'..='\u{1f}' => char::from_u32(0x2400 + u32::from(c)).unwrap_or(char::REPLACEMENT_CHARACTER),
        '\u{7f}' => '\u{2421}',
        // Marks of writing direction would reorder the line, and what has no width would hide in it.
        '\u{80}'..='\u{9f}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{2069}'
        | '\u{feff}' => char::REPLACEMENT_CHARACTER,
        c => c,
    }
}

/// Our own words, with names of the user's in them: those may be of any length.
fn shown(text: &str) -> String {
    const MOST: usize = 400;
    let cut = text.char_indices().nth(MOST).map(|(at, _)| at);
    let mut shown: String = text[..cut.unwrap_or(text.len())].chars().map(tamed).collect();
    if cut.is_some() {
        shown.push('…');
    }
    shown
}

/// A line as it is shown: tamed, and without what is far behind the mark. (The renderer cuts what is far before it.)
struct ShownLine {
    text: String,
    marked: Range<usize>,
}

impl ShownLine {
    fn new(source: &Source, place: &Place, width: usize) -> Self {
        let line = source.line(place.line);
        let start = place.bytes.start.clamp(line.start, line.end);
        let end = place.bytes.end.clamp(start, line.end);
        let before: String = source.text[line.start..start].chars().map(tamed).collect();
        // More than a screen's width is not marked, or the renderer would show all of it.
        let marked: String = source.text[start..end].chars().take(width).map(tamed).collect();
        let after = source.text[end..line.end].chars().take(width).map(tamed);
        let range = before.len()..before.len() + marked.len();
        ShownLine {
            text: before + &marked + &after.collect::<String>(),
            marked: range,
        }
    }
}
