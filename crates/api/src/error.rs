//! What is wrong with a field, and where: the one form in which decoding, admission and cross-field checks all speak.
//!
//! Owns the words around an error (path, reason, what was given, the nearest right name). Never knows files or lines:
//! the manifest reader turns a [`FieldPath`] into a place. Read [`FieldError`] first.
use std::{fmt, str::FromStr};

/// One step of a [`FieldPath`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Segment {
    /// A field of a fixed structure: `.spec`.
    Field(String),
    /// A key of a free map, such as a label's: `["a/b"]`.
    Key(String),
    /// An item of a list: `[0]`.
    Index(usize),
}

/// The way from an object's root to one of its values: `spec.ports[0].name`, `metadata.labels["a/b"]`.
///
/// It may also lead to a field that is not there (a missing one).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldPath(Vec<Segment>);

impl FieldPath {
    /// The object itself. Displays as nothing.
    pub fn root() -> Self {
        FieldPath::default()
    }

    /// This path and one field more.
    #[must_use]
    pub fn field(&self, name: impl Into<String>) -> Self {
        self.then(Segment::Field(name.into()))
    }

    /// This path and one list item more.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.then(Segment::Index(index))
    }

    /// This path and one key of a free map more.
    #[must_use]
    pub fn key(&self, key: impl Into<String>) -> Self {
        self.then(Segment::Key(key.into()))
    }

    /// This path and one step more.
    #[must_use]
    pub fn then(&self, segment: Segment) -> Self {
        let mut segments = Vec::with_capacity(self.0.len() + 1);
        segments.extend_from_slice(&self.0);
        segments.push(segment);
        FieldPath(segments)
    }

    /// The steps, outermost first.
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// Whether this is the object itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The path without its last step; none for the root.
    pub fn parent(&self) -> Option<FieldPath> {
        let (_, rest) = self.0.split_last()?;
        Some(FieldPath(rest.to_vec()))
    }

    /// The last step's name, if it is a field or a key.
    pub fn leaf(&self) -> Option<&str> {
        match self.0.last()? {
            Segment::Field(name) | Segment::Key(name) => Some(name),
            Segment::Index(_) => None,
        }
    }
}

impl From<Vec<Segment>> for FieldPath {
    fn from(segments: Vec<Segment>) -> Self {
        FieldPath(segments)
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, segment) in self.0.iter().enumerate() {
            match segment {
                // A field with a dot or bracket in its name (a stray one of a user's) is written as a key, so that
                // every displayed path can be read back.
                Segment::Field(name) if is_plain(name) => {
                    write!(f, "{}{name}", if at == 0 { "" } else { "." })?;
                }
                Segment::Field(name) | Segment::Key(name) => write!(f, "[{name:?}]")?,
                Segment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| matches!(c, '.' | '[' | ']' | '"' | '\\') || c.is_control())
}

/// The text is not a field path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a field path: {0:?}")]
pub struct NotAPath(pub String);

impl FromStr for FieldPath {
    type Err = NotAPath;

    /// Reads back what `Display` wrote, so that errors that came over the wire find their place too.
    fn from_str(text: &str) -> Result<Self, NotAPath> {
        let wrong = || NotAPath(text.to_owned());
        let mut segments = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some(inside) = rest.strip_prefix('[') {
                let (segment, used) = bracketed(inside).ok_or_else(wrong)?;
                segments.push(segment);
                rest = &inside[used..];
            } else {
                let name = match rest.strip_prefix('.') {
                    Some(after) if !segments.is_empty() => after,
                    None if segments.is_empty() => rest,
                    _ => return Err(wrong()),
                };
                let end = name.find(['.', '[']).unwrap_or(name.len());
                if end == 0 {
                    return Err(wrong());
                }
                segments.push(Segment::Field(name[..end].to_owned()));
                rest = &name[end..];
            }
        }
        Ok(FieldPath(segments))
    }
}

/// Reads what follows a `[`, closing bracket included: the step, and how many bytes it took.
fn bracketed(inside: &str) -> Option<(Segment, usize)> {
    let Some(quoted) = inside.strip_prefix('"') else {
        let end = inside.find(']')?;
        return Some((Segment::Index(inside[..end].parse().ok()?), end + 1));
    };
    let mut key = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return quoted[at + 1..].starts_with(']').then_some((Segment::Key(key), at + 3)),
            '\\' => match chars.next()?.1 {
                'n' => key.push('\n'),
                'r' => key.push('\r'),
                't' => key.push('\t'),
                '0' => key.push('\0'),
                'u' => {
                    let hex: String = chars
                        .by_ref()
                        .map(|(_, c)| c)
                        .skip(1)
                        .take_while(|c| *c != '}')
                        .collect();
                    key.push(u32::from_str_radix(&hex, 16).ok().and_then(char::from_u32)?);
                }
                other => key.push(other),
            },
            other => key.push(other),
        }
    }
    None
}

/// What sort of error a [`FieldError`] is. Clients may act on it; people read the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// A field that must be there is not.
    Required,
    /// The value has the right type, but not a right form, range or relation to other fields.
    Invalid,
    /// The value is none of those that the field knows.
    NotSupported,
    /// The field may not be set here, or may not change.
    Forbidden,
    /// The same again where each must differ.
    Duplicate,
    /// There is no such field.
    Unknown,
    /// The value has a wrong type.
    TypeInvalid,
    /// The text or list is longer than allowed.
    TooLong,
    /// What the value names does not exist.
    NotFound,
}

impl Reason {
    const ALL: [Reason; 9] = [
        Reason::Required,
        Reason::Invalid,
        Reason::NotSupported,
        Reason::Forbidden,
        Reason::Duplicate,
        Reason::Unknown,
        Reason::TypeInvalid,
        Reason::TooLong,
        Reason::NotFound,
    ];

    /// The name of this reason in a Kubernetes `Status` cause. Kubernetes has none for an unknown field (it says so in
    /// a message only); `FieldValueUnknown` is ours.
    pub fn as_k8s(self) -> &'static str {
        match self {
            Reason::Required => "FieldValueRequired",
            Reason::Invalid => "FieldValueInvalid",
            Reason::NotSupported => "FieldValueNotSupported",
            Reason::Forbidden => "FieldValueForbidden",
            Reason::Duplicate => "FieldValueDuplicate",
            Reason::Unknown => "FieldValueUnknown",
            Reason::TypeInvalid => "FieldValueTypeInvalid",
            Reason::TooLong => "FieldValueTooLong",
            Reason::NotFound => "FieldValueNotFound",
        }
    }

    /// The reason that [`Reason::as_k8s`] names so.
    pub fn from_k8s(name: &str) -> Option<Reason> {
        Reason::ALL.into_iter().find(|reason| reason.as_k8s() == name)
    }
}

/// One thing that is wrong with one field. Checks collect all of them, not the first.
///
/// The path leads to the field that it is about, also when that is missing or unknown. The message says what must be
/// or cannot be; what was given and the nearest right name are beside it, not in it.
///
/// ```
/// use cube_api::error::{FieldError, FieldPath, Reason};
/// let spec = FieldPath::root().field("spec");
/// let unknown = FieldError::unknown(spec.field("imgae"), Some("image"));
/// assert_eq!(unknown.to_string(), "spec: unknown field `imgae`; did you mean `image`?");
/// let wrong = FieldError::new(spec.field("replicas"), Reason::Invalid, "must be at least 0").given("-1");
/// assert_eq!(wrong.to_string(), "spec.replicas: must be at least 0, given -1");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// The field that it is about.
    pub path: FieldPath,
    /// The sort of error.
    pub reason: Reason,
    /// What must be or cannot be; lowercase, no full stop.
    pub message: String,
    /// What was given instead, as people write it.
    pub given: Option<String>,
    /// The nearest right name or value.
    pub suggestion: Option<String>,
}

impl FieldError {
    /// An error with nothing given and nothing suggested.
    pub fn new(path: FieldPath, reason: Reason, message: impl Into<String>) -> Self {
        FieldError {
            path,
            reason,
            message: message.into(),
            given: None,
            suggestion: None,
        }
    }

    /// The field at `path` must be there and is not: `missing field ...`.
    pub fn missing(path: FieldPath) -> Self {
        let message = format!("missing field `{}`", path.leaf().unwrap_or_default());
        FieldError::new(path, Reason::Required, message)
    }

    /// There is no field such as `path`'s last: `unknown field ...`.
    pub fn unknown(path: FieldPath, suggestion: Option<&str>) -> Self {
        let message = format!("unknown field `{}`", path.leaf().unwrap_or_default());
        FieldError {
            suggestion: suggestion.map(str::to_owned),
            ..FieldError::new(path, Reason::Unknown, message)
        }
    }

    /// The value at `path` is against the rule that `message` says.
    pub fn invalid(path: FieldPath, message: impl Into<String>) -> Self {
        FieldError::new(path, Reason::Invalid, message)
    }

    /// The same, with what was given.
    #[must_use]
    pub fn given(self, given: impl Into<String>) -> Self {
        FieldError {
            given: Some(given.into()),
            ..self
        }
    }

    /// The same, with the nearest right name or value.
    #[must_use]
    pub fn suggest(self, suggestion: impl Into<String>) -> Self {
        FieldError {
            suggestion: Some(suggestion.into()),
            ..self
        }
    }

    /// Where people look for it: the parent for a missing or unknown field whose message names the field itself.
    pub fn shown_path(&self) -> FieldPath {
        let names_itself = matches!(self.reason, Reason::Required | Reason::Unknown)
            && self
                .path
                .leaf()
                .is_some_and(|leaf| self.message.contains(&format!("`{leaf}`")));
        match self.path.parent() {
            Some(parent) if names_itself => parent,
            _ => self.path.clone(),
        }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.shown_path();
        if !path.is_root() {
            write!(f, "{path}: ")?;
        }
        f.write_str(&self.message)?;
        if let Some(given) = &self.given {
            write!(f, ", given {given}")?;
        }
        if let Some(suggestion) = &self.suggestion {
            write!(f, "; did you mean `{suggestion}`?")?;
        }
        Ok(())
    }
}

impl std::error::Error for FieldError {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_display_as_people_write_them() {
        let root = FieldPath::root();
        for (path, text) in [
            (root.clone(), ""),
            (
                root.field("spec").field("ports").index(0).field("name"),
                "spec.ports[0].name",
            ),
            (
                root.field("metadata").field("labels").key("a/b"),
                r#"metadata.labels["a/b"]"#,
            ),
            (root.field("data").key("a.b").field("c"), r#"data["a.b"].c"#),
        ] {
            assert_eq!(path.to_string(), text);
            assert_eq!(text.parse(), Ok(path));
        }
        for wrong in [".a", "a..b", "a.", "a[", "a[x]", "a[\"x]", "a[0]b"] {
            assert_eq!(wrong.parse::<FieldPath>(), Err(NotAPath(wrong.to_owned())));
        }
    }

    #[test]
    fn errors_say_where_what_and_what_was_meant() {
        let spec = FieldPath::root().field("spec").field("template").field("spec");
        for (error, text) in [
            (
                FieldError::unknown(spec.field("imgae"), Some("image")),
                "spec.template.spec: unknown field `imgae`; did you mean `image`?",
            ),
            (
                FieldError::missing(spec.field("image")),
                "spec.template.spec: missing field `image`",
            ),
            (
                FieldError::missing(FieldPath::root().field("spec")),
                "missing field `spec`",
            ),
            (
                FieldError::new(spec.field("image"), Reason::Required, "must be set for a build"),
                "spec.template.spec.image: must be set for a build",
            ),
            (
                FieldError::invalid(spec.field("tty"), "must be true or false").given("\"yes\""),
                "spec.template.spec.tty: must be true or false, given \"yes\"",
            ),
        ] {
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn reasons_go_to_kubernetes_and_back() {
        for reason in Reason::ALL {
            assert_eq!(Reason::from_k8s(reason.as_k8s()), Some(reason));
        }
        assert_eq!(Reason::from_k8s("FieldValueOdd"), None);
    }

    proptest! {
        #[test]
        fn any_path_reads_back_and_any_text_is_survived(keys in proptest::collection::vec(".*", 0..4), text in ".*") {
            let path = keys.iter().fold(FieldPath::root(), |path, key| path.key(key.clone()).index(1));
            prop_assert_eq!(path.to_string().parse::<FieldPath>(), Ok(path));
            let _ = text.parse::<FieldPath>();
        }
    }
}
