//! The query of a request. What is not known is passed over, as Kubernetes does; of what is given twice the first counts.
use std::time::Duration;

use cube_api::{kinds::Kind, selector::Selector, shape::UnknownFields};
use jiff::{SignedDuration, Timestamp};

use super::answer::Refusal;
use crate::{
    engine::{ExecOptions, LogOptions},
    registry::{ApiError, FieldSelector, Filter},
};

/// The query, as names and values.
#[derive(Clone, Debug, Default)]
pub(super) struct Params(Vec<(String, String)>);

/// What becomes of fields that a kind does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldValidation {
    /// They are refused. The default, other than in Kubernetes: a typing error must not pass for a wish.
    Strict,
    /// They are dropped, and told.
    Warn,
    /// They are dropped.
    Ignore,
}

impl FieldValidation {
    pub fn unknown(self) -> UnknownFields {
        match self {
            Self::Strict => UnknownFields::Refuse,
            Self::Warn | Self::Ignore => UnknownFields::Drop,
        }
    }
}

impl Params {
    pub fn parse(query: Option<&str>) -> Self {
        let uri = query.and_then(|query| http::Uri::builder().path_and_query(format!("/?{query}")).build().ok());
        let pairs = uri.and_then(|uri| axum::extract::Query::try_from_uri(&uri).ok());
        Self(pairs.map(|axum::extract::Query(pairs)| pairs).unwrap_or_default())
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// As Kubernetes reads it: there at all means yes, unless it says no.
    pub fn flag(&self, name: &str) -> bool {
        self.choice(name) == Some(true)
    }

    fn choice(&self, name: &str) -> Option<bool> {
        let no = |value: &str| value == "0" || value.eq_ignore_ascii_case("false");
        self.get(name).map(|value| !no(value))
    }

    fn number(&self, name: &str) -> Result<Option<u64>, Refusal> {
        match self.get(name) {
            None | Some("") => Ok(None),
            Some(text) => text
                .parse()
                .map(Some)
                .map_err(|_| ApiError::bad_request(format!("{name} must be a number, not {text:?}")).into()),
        }
    }

    /// Which objects are meant.
    pub fn filter(&self, kind: Kind, namespace: Option<&str>) -> Result<Filter, Refusal> {
        let labels = Selector::parse(self.get("labelSelector").unwrap_or_default()).map_err(ApiError::bad_request)?;
        let fields = FieldSelector::parse(kind, self.get("fieldSelector").unwrap_or_default())?;
        Ok(Filter {
            namespace: namespace.map(str::to_owned),
            labels,
            fields,
        })
    }

    /// Whether nothing is to be written.
    pub fn dry_run(&self) -> Result<bool, Refusal> {
        dry_run(self.get("dryRun"))
    }

    pub fn field_validation(&self) -> Result<FieldValidation, Refusal> {
        match self.get("fieldValidation") {
            None | Some("" | "Strict") => Ok(FieldValidation::Strict),
            Some("Warn") => Ok(FieldValidation::Warn),
            Some("Ignore") => Ok(FieldValidation::Ignore),
            Some(other) => {
                let message = format!("fieldValidation must be Strict, Warn or Ignore, not {other:?}");
                Err(ApiError::bad_request(message).into())
            }
        }
    }

    /// The revision that is asked for; none: whatever is newest.
    pub fn revision(&self) -> Result<Option<u64>, Refusal> {
        let revision = self.number("resourceVersion")?;
        Ok(revision.filter(|revision| *revision > 0))
    }

    pub fn has_revision(&self) -> bool {
        self.get("resourceVersion").is_some_and(|text| !text.is_empty())
    }

    pub fn revision_match(&self) -> Option<&str> {
        self.get("resourceVersionMatch").filter(|text| !text.is_empty())
    }

    /// Whether a watch is to begin with what is there; none: as `resourceVersion` has it.
    pub fn send_initial_events(&self) -> Option<bool> {
        self.choice("sendInitialEvents")
    }

    pub fn timeout(&self) -> Result<Option<Duration>, Refusal> {
        let seconds = self.number("timeoutSeconds")?;
        Ok(seconds.filter(|seconds| *seconds > 0).map(Duration::from_secs))
    }

    /// So many objects are wished at once at most; none: all.
    pub fn limit(&self) -> Result<Option<usize>, Refusal> {
        let limit = self.number("limit")?.filter(|limit| *limit > 0);
        Ok(limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)))
    }

    pub fn grace_seconds(&self) -> Result<Option<u64>, Refusal> {
        self.number("gracePeriodSeconds")
    }

    /// All values of a name, in their order.
    fn all(&self, name: &str) -> Vec<String> {
        let found = self.0.iter().filter(|(key, _)| key == name);
        found.map(|(_, value)| value.clone()).collect()
    }

    /// Which program is to be run in a Task's container.
    pub fn exec(&self) -> Result<ExecOptions, Refusal> {
        let command = self.all("command");
        if command.iter().all(String::is_empty) {
            return Err(ApiError::bad_request("say which program: command=…, once for each word").into());
        }
        if command.iter().any(|word| word.contains('\0')) {
            return Err(ApiError::bad_request("no word of a command can have a NUL character").into());
        }
        Ok(ExecOptions {
            command,
            stdin: self.flag("stdin"),
            tty: self.flag("tty"),
        })
    }

    /// Which part of a Task's output is asked for.
    pub fn log(&self, now: Timestamp) -> Result<LogOptions, Refusal> {
        let ago = self.number("sinceSeconds")?.map(|seconds| {
            let seconds = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
            now.checked_sub(seconds).unwrap_or(Timestamp::MIN)
        });
        let at = match self.get("sinceTime").filter(|text| !text.is_empty()) {
            None => None,
            Some(text) => Some(text.parse::<Timestamp>().map_err(|_| {
                ApiError::bad_request(format!(
                    "sinceTime must be a time such as 2030-01-02T03:04:05Z, not {text:?}"
                ))
            })?),
        };
        if ago.is_some() && at.is_some() {
            return Err(ApiError::bad_request("only one of sinceSeconds and sinceTime can be given").into());
        }
        Ok(LogOptions {
            follow: self.flag("follow"),
            tail: self.number("tailLines")?,
            since: ago.or(at),
            timestamps: self.flag("timestamps"),
        })
    }
}

/// Reads a `dryRun`: absent, or `All`. One that says nothing is refused: who meant to try must not write.
pub(super) fn dry_run(given: Option<&str>) -> Result<bool, Refusal> {
    match given {
        None => Ok(false),
        Some("All") => Ok(true),
        Some(other) => Err(ApiError::bad_request(format!("dryRun must be All, not {other:?}")).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_queries_as_kubernetes_does() {
        let params = Params::parse(Some(
            "watch&follow=false&a=1&a=2&labelSelector=app%3Dweb%2C%21old&timeoutSeconds=5",
        ));
        assert!(params.flag("watch") && !params.flag("follow") && !params.flag("missing"));
        assert_eq!(params.get("a"), Some("1"));
        assert_eq!(params.get("labelSelector"), Some("app=web,!old"));
        assert_eq!(params.timeout().unwrap(), Some(Duration::from_secs(5)));
        assert_eq!(Params::parse(Some("resourceVersion=0")).revision().unwrap(), None);
        assert!(Params::parse(Some("resourceVersion=x")).revision().is_err());
        assert!(Params::parse(Some("dryRun=Some")).dry_run().is_err());
        assert!(Params::parse(Some("dryRun=")).dry_run().is_err());
        assert!(Params::parse(None).field_validation().unwrap() == FieldValidation::Strict);
    }
}
