//! The name under which a record is kept.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// `tasks/default/web`, `nodes//here`: a kind's plural, a namespace (empty for what belongs to the whole cluster) and a name.
///
/// Keys sort by kind, then namespace, then name, so that a kind, or a namespace of it, is one range: `tasks/`,
/// `tasks/default/`. Copies share their text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

impl Key {
    /// The key of an object. None of the parts has a `/`: whoever admits names sees to it.
    pub fn new(plural: &str, namespace: &str, name: &str) -> Self {
        debug_assert!(
            ![plural, namespace, name].iter().any(|part| part.contains('/')),
            "a part of a key has no slash: {plural:?}, {namespace:?}, {name:?}"
        );
        Self(format!("{plural}/{namespace}/{name}").into())
    }

    /// Reads back what [`Key::as_str`] gave; `None` when it is not of three parts.
    pub fn parse(text: &str) -> Option<Self> {
        (text.bytes().filter(|&byte| byte == b'/').count() == 2).then(|| Self(text.into()))
    }

    /// The whole key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The kind's plural: `tasks`.
    pub fn plural(&self) -> &str {
        self.part(0)
    }

    /// The namespace, empty for what belongs to the whole cluster.
    pub fn namespace(&self) -> &str {
        self.part(1)
    }

    /// The object's own name.
    pub fn name(&self) -> &str {
        self.part(2)
    }

    /// What it is in, the widest first: everything (empty), its kind (`tasks/`), its namespace (`tasks/default/`), itself.
    pub(super) fn scopes(&self) -> [&str; 4] {
        let text = self.as_str();
        let mut ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'/');
        let mut end = || ends.next().map_or(text.len(), |(at, _)| at + 1);
        let (kind, namespace) = (end(), end());
        ["", &text[..kind], &text[..namespace], text]
    }

    fn part(&self, index: usize) -> &str {
        self.0.splitn(3, '/').nth(index).unwrap_or_default()
    }
}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}
