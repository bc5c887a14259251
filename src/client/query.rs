//! Paths and queries, as the server's dialect has them.
use std::fmt::Write as _;

use cube_api::{API_VERSION, kinds::Kind};

/// A query under construction.
#[derive(Clone, Debug, Default)]
pub(super) struct Target(String, bool);

impl Target {
    /// A path of the server's own.
    pub fn path(path: &str) -> Self {
        Self(path.to_owned(), false)
    }

    /// `/apis/cube/v1`, and what comes below it.
    pub fn api(below: &str) -> Self {
        Self(format!("/apis/{API_VERSION}{below}"), false)
    }

    /// All objects of a kind, of one namespace or of all.
    pub fn list(kind: Kind, namespace: Option<&str>) -> Self {
        let info = kind.info();
        match namespace.filter(|_| info.namespaced) {
            Some(namespace) => Self::api(&format!("/namespaces/{}/{}", escaped(namespace), info.plural)),
            None => Self::api(&format!("/{}", info.plural)),
        }
    }

    /// One object.
    pub fn object(kind: Kind, namespace: &str, name: &str) -> Self {
        let Self(list, _) = Self::list(kind, Some(namespace));
        Self(format!("{list}/{}", escaped(name)), false)
    }

    /// One step more.
    pub fn below(mut self, step: &str) -> Self {
        self.0.push('/');
        self.0.push_str(step);
        self
    }

    /// A parameter more; an empty value is none.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        if !value.is_empty() {
            let mark = if std::mem::replace(&mut self.1, true) { '&' } else { '?' };
            let _ = write!(self.0, "{mark}{name}={}", escaped(value));
        }
        self
    }

    /// A parameter more that says yes, if it does.
    pub fn when(self, name: &str, yes: bool) -> Self {
        self.with(name, if yes { "true" } else { "" })
    }

    /// The same parameter once for each word, the empty ones too.
    pub fn words(mut self, name: &str, words: &[String]) -> Self {
        for word in words {
            let mark = if std::mem::replace(&mut self.1, true) { '&' } else { '?' };
            let _ = write!(self.0, "{mark}{name}={}", escaped(word));
        }
        self
    }

    pub fn into_text(self) -> String {
        self.0
    }
}

/// A text as one step of a path or one value of a query.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_kubernetes() {
        let text = |target: Target| target.into_text();
        assert_eq!(text(Target::list(Kind::Task, None)), "/apis/cube/v1/tasks");
        assert_eq!(
            text(Target::object(Kind::Node, "default", "a")),
            "/apis/cube/v1/nodes/a"
        );
        assert_eq!(
            text(
                Target::list(Kind::Task, Some("web"))
                    .with("labelSelector", "a in (b)")
                    .when("watch", true)
            ),
            "/apis/cube/v1/namespaces/web/tasks?labelSelector=a%20in%20%28b%29&watch=true"
        );
        assert_eq!(
            text(
                Target::object(Kind::Task, "default", "a/../b")
                    .below("log")
                    .when("follow", false)
            ),
            "/apis/cube/v1/namespaces/default/tasks/a%2F..%2Fb/log"
        );
    }
}
