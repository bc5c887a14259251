//! How the registry refuses: one error that is at once a Kubernetes `Status` and a sentence for people.
use std::fmt;

use cube_api::{
    GROUP,
    error::FieldError,
    kinds::{Kind, KindInfo},
};
use serde_json::{Value, json};

/// Kubernetes' reasons for a refusal; each has one HTTP code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusReason {
    /// The request makes no sense; repeating it does not help.
    BadRequest,
    /// Not allowed, whoever asks.
    Forbidden,
    /// There is no such object.
    NotFound,
    /// There is no such verb here.
    MethodNotAllowed,
    /// An object of this name exists.
    AlreadyExists,
    /// The object is not as the writer thought: read it again, and retry.
    Conflict,
    /// The revision is no longer known: list again.
    Expired,
    /// The body is too large.
    RequestEntityTooLarge,
    /// The body is of a type that is not understood.
    UnsupportedMediaType,
    /// Fields are against the rules; the causes say which.
    Invalid,
    /// Too much at once: retry later.
    TooManyRequests,
    /// A bug of ours.
    InternalError,
    /// The store does not answer or cannot write: retry later.
    ServiceUnavailable,
    /// It took too long: retry.
    Timeout,
}

impl StatusReason {
    /// The HTTP code.
    pub fn code(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::AlreadyExists | Self::Conflict => 409,
            Self::Expired => 410,
            Self::RequestEntityTooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::Invalid => 422,
            Self::TooManyRequests => 429,
            Self::InternalError => 500,
            Self::ServiceUnavailable => 503,
            Self::Timeout => 504,
        }
    }

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "BadRequest",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "NotFound",
            Self::MethodNotAllowed => "MethodNotAllowed",
            Self::AlreadyExists => "AlreadyExists",
            Self::Conflict => "Conflict",
            Self::Expired => "Expired",
            Self::RequestEntityTooLarge => "RequestEntityTooLarge",
            Self::UnsupportedMediaType => "UnsupportedMediaType",
            Self::Invalid => "Invalid",
            Self::TooManyRequests => "TooManyRequests",
            Self::InternalError => "InternalError",
            Self::ServiceUnavailable => "ServiceUnavailable",
            Self::Timeout => "Timeout",
        }
    }
}

/// A refusal. Its `Display` is its message, in Kubernetes' words where Kubernetes has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// The HTTP code.
    pub code: u16,
    /// The sort of refusal.
    pub reason: StatusReason,
    /// What happened, for people.
    pub message: String,
    /// One entry for each bad field.
    pub causes: Vec<FieldError>,
    /// The kind of the object, where it is about one.
    pub kind: Option<Kind>,
    /// The name of the object, where it is about one.
    pub name: String,
}

impl ApiError {
    /// A refusal with nothing but a message.
    pub fn new(reason: StatusReason, message: impl Into<String>) -> Self {
        Self {
            code: reason.code(),
            reason,
            message: message.into(),
            causes: Vec::new(),
            kind: None,
            name: String::new(),
        }
    }

    /// The same, about an object.
    #[must_use]
    pub fn about(self, kind: Kind, name: &str) -> Self {
        Self {
            kind: Some(kind),
            name: name.to_owned(),
            ..self
        }
    }

    /// There is no such object.
    pub fn not_found(kind: Kind, name: &str) -> Self {
        Self::new(StatusReason::NotFound, format!("{} not found", quoted(kind, name))).about(kind, name)
    }

    /// An object of this name exists.
    pub fn already_exists(kind: Kind, name: &str) -> Self {
        let message = format!("{} already exists", quoted(kind, name));
        Self::new(StatusReason::AlreadyExists, message).about(kind, name)
    }

    /// The object cannot be written because of `why`.
    pub fn conflict(kind: Kind, name: &str, why: impl fmt::Display) -> Self {
        let message = format!("Operation cannot be fulfilled on {}: {why}", quoted(kind, name));
        Self::new(StatusReason::Conflict, message).about(kind, name)
    }

    /// The object is no longer as the writer read it.
    pub fn modified(kind: Kind, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(kind, name, why)
    }

    /// Fields are against the rules.
    pub fn invalid(kind: Kind, name: &str, causes: Vec<FieldError>) -> Self {
        let mut all: Vec<String> = causes.iter().map(ToString::to_string).collect();
        let told = if all.len() == 1 {
            all.remove(0)
        } else {
            format!("[{}]", all.join(", "))
        };
        let message = format!("{}.{GROUP} {name:?} is invalid: {told}", kind.info().kind);
        Self {
            causes,
            ..Self::new(StatusReason::Invalid, message).about(kind, name)
        }
    }

    /// The request makes no sense.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusReason::BadRequest, message)
    }

    /// Not allowed, because of `why`.
    pub fn forbidden(kind: Kind, name: &str, why: impl fmt::Display) -> Self {
        let message = format!("{} is forbidden: {why}", quoted(kind, name));
        Self::new(StatusReason::Forbidden, message).about(kind, name)
    }

    /// The revision is no longer known.
    pub fn expired(asked: u64, oldest: u64) -> Self {
        let message = format!("too old resource version: {asked} ({oldest})");
        Self::new(StatusReason::Expired, message)
    }

    /// The store does not answer or cannot write.
    pub fn unavailable(why: impl fmt::Display) -> Self {
        let message = format!("the store cannot take this now: {why}; try again");
        Self::new(StatusReason::ServiceUnavailable, message)
    }

    /// A bug of ours.
    pub fn internal(why: impl fmt::Display) -> Self {
        Self::new(StatusReason::InternalError, format!("internal error: {why}"))
    }

    /// Whether reading again and retrying may help.
    pub fn is_conflict(&self) -> bool {
        self.reason == StatusReason::Conflict
    }

    /// Whether there is no such object.
    pub fn is_not_found(&self) -> bool {
        self.reason == StatusReason::NotFound
    }

    /// Whether the list has to be read anew.
    pub fn is_expired(&self) -> bool {
        self.reason == StatusReason::Expired
    }

    /// As a Kubernetes `Status` object.
    pub fn to_status(&self) -> Value {
        let mut details = serde_json::Map::new();
        if let Some(info) = self.kind.map(Kind::info) {
            details.insert("name".to_owned(), self.name.as_str().into());
            details.insert("group".to_owned(), GROUP.into());
            // Kubernetes says the resource here, except for an invalid object, whose kind it names.
            let word = match self.reason {
                StatusReason::Invalid => info.kind,
                _ => info.plural,
            };
            details.insert("kind".to_owned(), word.into());
        }
        if !self.causes.is_empty() {
            let causes = self.causes.iter().map(cause).collect();
            details.insert("causes".to_owned(), Value::Array(causes));
        }
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason.as_str(), "code": self.code,
        });
        if matches!(
            self.reason,
            StatusReason::ServiceUnavailable | StatusReason::TooManyRequests
        ) {
            details.insert("retryAfterSeconds".to_owned(), 1.into());
        }
        if !details.is_empty() {
            status["details"] = Value::Object(details);
        }
        status
    }
}

fn cause(error: &FieldError) -> Value {
    let mut message = error.message.clone();
    if let Some(given) = &error.given {
        message = format!("{message}, given {given}");
    }
    if let Some(suggestion) = &error.suggestion {
        message = format!("{message}; did you mean `{suggestion}`?");
    }
    json!({ "reason": error.reason.as_k8s(), "message": message, "field": error.path.to_string() })
}

/// `tasks.cube "web"`; a namespace as Kubernetes' core has it: `namespaces "x"`.
fn quoted(kind: Kind, name: &str) -> String {
    let KindInfo { plural, .. } = kind.info();
    match kind {
        Kind::Namespace => format!("{plural} {name:?}"),
        _ => format!("{plural}.{GROUP} {name:?}"),
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ApiError {}
