//! Manifests: from text to objects, or every error with its file, line and column.
//!
//! Owns the reading of YAML and JSON and the one map from field path to place: each document keeps a tree with every
//! scalar as it was written and the place of every key and value. Never opens files, never decides what is allowed
//! (the kinds' [`Shape`]s do), never writes. Read [`read`] and [`Document::object`] first.
//!
//! ```text
//! bytes ─► split (documents) ─► reader (saphyr) ─► tree ─► dispatch (apiVersion, kind) ─► resolve (by Shape) ─► JSON
//!                                                    └───► locate (any FieldError) ─► Diagnostic ─► text for people
//! ```
//!
//! Errors of admission come as field paths too: [`Document::locate`] places them by the same map.
mod aliases;
mod diagnostic;
mod dispatch;
mod reader;
mod resolve;
mod split;
mod tree;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use cube_api::{
    error::{FieldError, FieldPath, Reason},
    shape::Shape,
};
use serde_json::Value;

pub use diagnostic::{Diagnostic, Look};
pub use dispatch::{Kinds, Object};
pub use tree::{Content, Entry, Node, Place, Scalar, Source};

/// How much is read at most; beyond it a file is refused with a word about which bound it broke.
///
/// Aliases (`*name`) may stand for 20 000 values in a document (`aliases`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a file. A manifest is written by people; too high lets one file hold the process up for seconds.
    pub bytes: usize,
    /// Maps and lists in one another. The deepest kind needs about ten.
    pub nesting: usize,
    /// Documents of a file.
    pub documents: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            bytes: 4 << 20,
            nesting: 128,
            documents: 10_000,
        }
    }
}

/// Reads all documents of a file. Empty ones are passed over; each other one has its own result.
///
/// # Errors
/// What is wrong with the file as a whole: its size, its encoding, too many documents.
pub fn read(name: &str, bytes: &[u8], limits: &Limits) -> Result<Vec<Document>, Box<Diagnostic>> {
    if bytes.len() > limits.bytes {
        let message = format!("the file has {} bytes; at most {} are read", bytes.len(), limits.bytes);
        return Err(Box::new(
            Diagnostic::of_file(name, message).help("split it into several files"),
        ));
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => return Err(Box::new(not_utf8(name, bytes, error.valid_up_to()))),
    };
    // A byte order mark says nothing in UTF-8 and would shift the first line's columns.
    let source = Arc::new(Source::new(name, text.strip_prefix('\u{feff}').unwrap_or(text)));
    let parts = split::documents(&source.text);
    if parts.len() > limits.documents {
        let message = format!(
            "the file has {} documents; at most {} are read",
            parts.len(),
            limits.documents
        );
        return Err(Box::new(
            Diagnostic::of_file(name, message).help("split it into several files"),
        ));
    }
    Ok(parts
        .into_iter()
        .filter_map(|part| reader::document(&source, part, limits))
        .collect())
}

fn not_utf8(name: &str, bytes: &[u8], at: usize) -> Diagnostic {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Diagnostic::of_file(name, "the file is UTF-16, not UTF-8").help("save it as UTF-8");
    }
    let source = Arc::new(Source::new(name, &String::from_utf8_lossy(bytes)));
    let message = format!("the file is not UTF-8: byte 0x{:02x} cannot stand here", bytes[at]);
    let place = source.place(at..at + char::REPLACEMENT_CHARACTER.len_utf8());
    Diagnostic::at(&source, place, message).help("save it as UTF-8")
}

/// One document of a file.
#[derive(Clone, Debug)]
pub struct Document {
    source: Arc<Source>,
    root: Option<Node>,
    problems: Vec<Diagnostic>,
}

impl Document {
    /// The file that it is in.
    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// The tree; none if the text is no YAML.
    pub fn root(&self) -> Option<&Node> {
        self.root.as_ref()
    }

    /// What is wrong with the text itself: syntax, duplicate keys, tags. A document with problems is not to be applied.
    pub fn problems(&self) -> &[Diagnostic] {
        &self.problems
    }

    /// The object, typed by its `apiVersion` and `kind`.
    ///
    /// # Errors
    /// Everything that is wrong with the document, [`Document::problems`] with it, in the order of the text.
    pub fn object(&self, kinds: &Kinds<'_>) -> Result<Object, Vec<Diagnostic>> {
        dispatch::object(self, kinds)
    }

    /// The document as JSON of this shape: each scalar becomes what is due at its place.
    ///
    /// # Errors
    /// Everything that does not fit the shape. (`problems` are not told again.)
    pub fn resolve(&self, shape: &Shape) -> Result<Value, Vec<FieldError>> {
        match &self.root {
            Some(root) => resolve::resolve(root, shape),
            None => Err(Vec::new()),
        }
    }

    /// An error about a field, shown at its place in the file: an unknown field at its key, a missing one at the
    /// nearest enclosing key, all else at the value.
    pub fn locate(&self, error: &FieldError) -> Diagnostic {
        let message = match error.shown_path() {
            path if path == error.path || path.is_root() => FieldError {
                suggestion: None,
                ..error.clone()
            }
            .to_string(),
            parent => format!("{} in {parent}", error.message),
        };
        let mut diagnostic = match self.place_of(&error.path, about_the_key(error)) {
            Some(place) => Diagnostic::at(&self.source, place, message),
            None => Diagnostic::of_file(&self.source.name, message),
        };
        diagnostic.label = error
            .suggestion
            .as_ref()
            .map(|meant| format!("did you mean `{meant}`?"));
        diagnostic
    }

    /// The place of a field's key or value. Of a field that is not there: that of the nearest enclosing key.
    pub fn place_of(&self, path: &FieldPath, key: bool) -> Option<Place> {
        let found = self.root.as_ref()?.find(path);
        let of_value = found.node.place.clone();
        let one_line = !self.source.text[of_value.bytes.clone()].contains('\n');
        match found.key {
            Some(of_key) if key || !found.complete || !one_line || of_value.bytes.is_empty() => Some(of_key),
            // A map or list that has no key (the whole document, an item): its first line will do.
            _ => Some(self.source.first_line_of(&of_value)),
        }
    }

    /// Where an error belongs in the order of the text: a missing field after all that is in its parent.
    fn order_of(&self, error: &FieldError) -> usize {
        let Some(root) = &self.root else { return 0 };
        let found = root.find(&error.path);
        match (error.reason, found.complete) {
            (Reason::Required, false) => found.node.place.bytes.end,
            _ => found.key.map_or(found.node.place.bytes.start, |key| key.bytes.start),
        }
    }
}

fn about_the_key(error: &FieldError) -> bool {
    error.reason == Reason::Unknown || error.message.starts_with("the key ")
}
