//! The tree of a document: scalars as they were written, and the place of every key and value.
use std::{fmt, ops::Range};

use cube_api::error::{FieldPath, Segment};

/// A file's text.
#[derive(PartialEq, Eq)]
pub struct Source {
    /// Its name, as people know it.
    pub name: String,
    /// Its text, without a byte order mark.
    pub text: String,
    /// Where each line begins.
    lines: Vec<usize>,
}

impl fmt::Debug for Source {
    /// Its name alone: it is part of every diagnostic.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Source {
    pub(super) fn new(name: &str, text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect();
        Source {
            name: name.to_owned(),
            text: text.to_owned(),
            lines,
        }
    }

    /// The place of these bytes, which must be at borders of characters.
    pub fn place(&self, bytes: Range<usize>) -> Place {
        let line = self.lines.partition_point(|start| *start <= bytes.start);
        let start = self.lines[line - 1];
        Place {
            line,
            column: self.text[start..bytes.start].chars().count() + 1,
            bytes,
        }
    }

    /// A line's bytes, without its end. Lines count from 1.
    pub(super) fn line(&self, line: usize) -> Range<usize> {
        let start = self.lines[line - 1];
        let end = self.lines.get(line).copied().unwrap_or(self.text.len());
        start..start + self.text[start..end].trim_end_matches(['\n', '\r']).len()
    }

    pub(super) fn first_line_of(&self, place: &Place) -> Place {
        let end = self.line(place.line).end.clamp(place.bytes.start, place.bytes.end);
        Place {
            bytes: place.bytes.start..end,
            ..place.clone()
        }
    }
}

/// Where something stands in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The bytes of the text.
    pub bytes: Range<usize>,
}

/// A value and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What it is.
    pub content: Content,
    /// Where it stands. An alias stands where it was used, what is in it where it was written.
    pub place: Place,
}

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// A text, number, truth value or null: which one, the expected type decides.
    Scalar(Scalar),
    /// A list.
    Sequence(Vec<Node>),
    /// A map, in the order of the text; each key once.
    Mapping(Vec<Entry>),
}

/// A scalar as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scalar {
    /// Its text, without quotes and escapes.
    pub text: String,
    /// Whether it was bare: then it may be a number, a truth value or null. In quotes, in a block, or with `!!str` it
    /// is text.
    pub plain: bool,
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key as it was written.
    pub key: String,
    /// Where the key stands.
    pub key_place: Place,
    /// The value.
    pub value: Node,
}

/// What a path led to.
pub(super) struct Found<'a> {
    /// The last node of the way that is there.
    pub node: &'a Node,
    /// The innermost key on the way.
    pub key: Option<Place>,
    /// Whether the way led to its end.
    pub complete: bool,
}

impl Node {
    /// The value at this key.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        match &self.content {
            Content::Mapping(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    pub(super) fn find(&self, path: &FieldPath) -> Found<'_> {
        let mut found = Found {
            node: self,
            key: None,
            complete: true,
        };
        for segment in path.segments() {
            match (segment, &found.node.content) {
                (Segment::Field(name) | Segment::Key(name), _) if let Some(entry) = found.node.get(name) => {
                    found.key = Some(entry.key_place.clone());
                    found.node = &entry.value;
                }
                (Segment::Index(index), Content::Sequence(items)) if let Some(item) = items.get(*index) => {
                    found.key = None;
                    found.node = item;
                }
                _ => {
                    found.complete = false;
                    break;
                }
            }
        }
        found
    }
}
