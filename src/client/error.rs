//! Why a request did not come to its end: nobody there, refused, or not understood.
use std::{fmt, io};

use cube_api::error::{FieldError, FieldPath, Reason};
use serde_json::Value;

use super::Endpoint;

/// Why a request did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers. A retry helps once a server runs.
    #[error("{}", unreachable_words(.endpoint, .source))]
    Unreachable {
        /// Where it was looked for.
        endpoint: Endpoint,
        /// What the system said.
        source: io::Error,
    },
    /// The connection broke. A retry may help.
    #[error("the connection to {endpoint} broke: {why}")]
    Broken {
        /// With whom.
        endpoint: Endpoint,
        /// What is known of it.
        why: String,
    },
    /// The server refused. Whether a retry helps, its reason says.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// The server said something that makes no sense: a bug, or not a server of Cube's.
    #[error("{endpoint} does not answer like a server of cube: {why}")]
    Nonsense {
        /// Who.
        endpoint: Endpoint,
        /// What is wrong with it.
        why: String,
    },
}

impl Error {
    /// The refusal, if it is one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// Whether there is no such object.
    pub fn is_not_found(&self) -> bool {
        self.refusal().is_some_and(|refusal| refusal.reason == "NotFound")
    }

    /// Whether the revision is no longer known: list again.
    pub fn is_expired(&self) -> bool {
        self.refusal().is_some_and(|refusal| refusal.code == 410)
    }

    /// Whether the same request may succeed a little later: nobody there, or too busy.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Broken { .. } => true,
            Self::Refused(refusal) => matches!(refusal.code, 429 | 503 | 504),
            Self::Nonsense { .. } => false,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let Self::Unreachable { endpoint, source } = self else {
            return None;
        };
        Some(match (endpoint, source.kind()) {
            (Endpoint::Unix(_), io::ErrorKind::PermissionDenied) => {
                "become the user that runs it, or run it with `cube up --socket-group GROUP` and be in that group"
                    .to_owned()
            }
            (Endpoint::Unix(_), _) => {
                "start it with `cube up DIR`, or say where it is with --server or CUBE_SERVER".to_owned()
            }
            (Endpoint::Loopback(authority), _) => {
                let port = authority.rsplit_once(':').map_or("8001", |(_, port)| port);
                format!("start `cube proxy --port {port}` where cube runs, or leave --server out to use its socket")
            }
        })
    }
}

fn unreachable_words(endpoint: &Endpoint, source: &io::Error) -> String {
    match (endpoint, source.kind()) {
        (Endpoint::Unix(path), io::ErrorKind::NotFound) => {
            format!("cube is not running here: there is no socket {}", path.display())
        }
        (Endpoint::Unix(path), io::ErrorKind::ConnectionRefused) => {
            format!(
                "cube is not running here: nobody listens at the socket {}",
                path.display()
            )
        }
        (Endpoint::Unix(path), io::ErrorKind::PermissionDenied) => {
            format!("the socket {} is not open to you", path.display())
        }
        (Endpoint::Loopback(authority), io::ErrorKind::ConnectionRefused) => {
            format!("nobody listens at http://{authority}")
        }
        _ => format!("{endpoint} cannot be reached: {source}"),
    }
}

/// A server's no, as Kubernetes' `Status` says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP code.
    pub code: u16,
    /// The sort of refusal: `NotFound`, `Conflict`, `Invalid`, …
    pub reason: String,
    /// What happened, for people.
    pub message: String,
    /// One entry for each bad field.
    pub causes: Vec<FieldError>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Refusal {
    /// Reads a `Status`; none if it is none.
    pub fn from_status(status: &Value) -> Option<Self> {
        if status["kind"] != "Status" {
            return None;
        }
        let text = |field: &str| status[field].as_str().unwrap_or_default().to_owned();
        let causes = status["details"]["causes"].as_array().into_iter().flatten();
        Some(Self {
            code: status["code"]
                .as_u64()
                .and_then(|code| u16::try_from(code).ok())
                .unwrap_or(500),
            reason: text("reason"),
            message: text("message"),
            causes: causes.filter_map(cause).collect(),
        })
    }

    /// What a body that is no `Status` says.
    pub(super) fn from_text(code: u16, body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        let message = match text.trim() {
            "" => format!("the server answered {code}"),
            text => text.chars().take(400).collect(),
        };
        Self {
            code,
            reason: String::new(),
            message,
            causes: Vec::new(),
        }
    }

    /// Whether what was asked for is wrong in itself: asking again does not help, nor does anybody else's doing.
    pub fn is_bad_input(&self) -> bool {
        matches!(self.code, 400 | 413 | 415 | 422)
    }

    /// Whether it was understood and not allowed.
    pub fn is_denied(&self) -> bool {
        matches!(self.code, 401 | 403 | 405 | 409)
    }
}

fn cause(cause: &Value) -> Option<FieldError> {
    let path: FieldPath = cause["field"].as_str()?.parse().ok()?;
    let reason = Reason::from_k8s(cause["reason"].as_str().unwrap_or_default()).unwrap_or(Reason::Invalid);
    let message = cause["message"].as_str().unwrap_or_default();
    // The nearest right name comes in the message, as Kubernetes has no place for it.
    let meant = message
        .strip_suffix("`?")
        .and_then(|rest| rest.split_once("; did you mean `"));
    Some(match meant {
        Some((message, meant)) => FieldError::new(path, reason, message).suggest(meant),
        None => FieldError::new(path, reason, message),
    })
}

#[cfg(test)]
mod tests {
    use cube_api::kinds::Kind;

    use super::*;
    use crate::registry::ApiError;

    #[test]
    fn a_refusal_comes_over_the_wire_whole() {
        let spec = FieldPath::root().field("spec");
        let causes = vec![
            FieldError::unknown(spec.field("imgae"), Some("image")),
            FieldError::missing(spec.field("image")),
        ];
        let sent = ApiError::invalid(Kind::Task, "web", causes.clone());
        let read = Refusal::from_status(&sent.to_status()).unwrap();
        assert_eq!((read.code, read.reason.as_str()), (422, "Invalid"));
        assert_eq!(read.message, sent.message);
        assert_eq!(read.causes, causes);
        assert_eq!(Refusal::from_status(&serde_json::json!({ "kind": "Task" })), None);
    }
}
