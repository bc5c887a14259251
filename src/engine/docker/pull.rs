//! Fetching an image: credentials, progress over all layers, and what a failure means.
use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use serde::Deserialize;

use super::credentials::DockerConfig;
use super::fault;
use super::wire::{Inflow, Wire};
use crate::engine::reference::Reference;
use crate::engine::{EngineError, OnProgress, PullProgress, Result};

/// bollard's own pull writes the credentials in a way that engines read only by luck (base64's other alphabet), and then
/// pull without any.
const CREDENTIALS: &str = "X-Registry-Auth";

/// One line of a pull.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Told {
    id: String,
    status: String,
    #[serde(rename = "progressDetail")]
    progress: Option<Detail>,
    /// What engines said up to API 1.52.
    error: Option<String>,
    #[serde(rename = "errorDetail")]
    error_detail: Option<Failure>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Failure {
    message: String,
}

impl Told {
    /// Why the pull has failed.
    fn failure(&self) -> Option<String> {
        let detail = self.error_detail.as_ref().map(|detail| &detail.message);
        detail.or(self.error.as_ref()).cloned()
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Detail {
    current: i64,
    total: i64,
}

/// Pulls one tag. `stall` bounds each silence, not the whole.
pub(super) async fn pull(
    wire: &Wire,
    config: &DockerConfig,
    reference: &str,
    stall: Duration,
    progress: OnProgress<'_>,
) -> Result<()> {
    let parsed = Reference::parse(reference);
    let found = config.credentials(parsed.registry).await;
    let failed = |permanent, message: String| EngineError::PullFailed {
        image: reference.to_owned(),
        permanent,
        // What was wrong with the credentials is likely the reason, and never said by the registry.
        message: match &found.problem {
            Some(problem) => format!("{message} (without credentials: {problem})"),
            None => message,
        },
    };
    if parsed.name.is_empty() {
        return Err(failed(true, "invalid reference format".to_owned()));
    }
    let silent = |_| failed(false, format!("nothing was heard of it for {stall:?}"));
    let mut headers = HeaderMap::new();
    if let Some(credentials) = &found.header
        && let Ok(mut value) = HeaderValue::from_str(credentials)
    {
        value.set_sensitive(true);
        headers.insert(CREDENTIALS, value);
    }
    let query = [("fromImage", parsed.name), ("tag", parsed.tag)];
    let request = wire.request(Method::POST, "/images/create", &query, headers, Bytes::new());
    let answer = match tokio::time::timeout(stall, request).await.map_err(silent)? {
        Err(EngineError::Refused { status, message }) => {
            // 408 and 429 ask for patience; other refusals below 500 are of the reference or of who asks.
            let refused = matches!(status, 400..500) && !matches!(status, 408 | 429);
            return Err(failed(refused || fault::is_permanent_refusal(&message), message));
        }
        other => other?,
    };
    let mut inflow = Inflow::new(answer.into_body());
    let mut layers = Layers::default();
    while let Some(line) = tokio::time::timeout(stall, inflow.line()).await.map_err(silent)?? {
        let told: Told = serde_json::from_slice(&line).map_err(|error| EngineError::BadAnswer {
            message: format!("a pull's progress: {error}"),
        })?;
        if let Some(message) = told.failure() {
            return Err(failed(fault::is_permanent_refusal(&message), message));
        }
        if layers.hear(told) {
            progress(layers.sum());
        }
    }
    Ok(())
}

/// How far each layer is.
#[derive(Debug, Default)]
struct Layers(BTreeMap<String, PullProgress>);

impl Layers {
    /// Whether that changed anything.
    fn hear(&mut self, told: Told) -> bool {
        let number = |number: i64| u64::try_from(number).unwrap_or_default();
        match (told.status.as_str(), told.progress) {
            ("Downloading", Some(detail)) => {
                let now = PullProgress {
                    done_bytes: number(detail.current),
                    // Not known with some registries; what is there is then all that is known of.
                    total_bytes: number(detail.total.max(detail.current)),
                };
                self.0.insert(told.id, now) != Some(now)
            }
            ("Verifying Checksum" | "Download complete" | "Pull complete", _) => {
                let Some(layer) = self.0.get_mut(&told.id) else {
                    return false;
                };
                let changed = layer.done_bytes != layer.total_bytes;
                layer.done_bytes = layer.total_bytes;
                changed
            }
            _ => false,
        }
    }

    fn sum(&self) -> PullProgress {
        self.0
            .values()
            .fold(PullProgress::default(), |sum, layer| PullProgress {
                done_bytes: sum.done_bytes + layer.done_bytes,
                total_bytes: sum.total_bytes + layer.total_bytes,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_seen_in_the_streams_of_old_and_new_engines() {
        for line in [
            r#"{"errorDetail":{"message":"gone"},"error":"gone"}"#,
            r#"{"errorDetail":{"code":404,"message":"gone"}}"#,
            r#"{"error":"gone"}"#,
        ] {
            let told: Told = serde_json::from_str(line).expect("a line");
            assert_eq!(told.failure().as_deref(), Some("gone"), "{line}");
        }
        let told: Told = serde_json::from_str(r#"{"status":"Pulling"}"#).expect("a line");
        assert_eq!(told.failure(), None);
    }

    #[test]
    fn progress_is_the_sum_over_layers() {
        let mut layers = Layers::default();
        let mut sums = Vec::new();
        for line in [
            r#"{"status":"Pulling from library/nginx","id":"latest"}"#,
            r#"{"status":"Pulling fs layer","progressDetail":{},"id":"a"}"#,
            r#"{"status":"Downloading","progressDetail":{"current":10,"total":100},"id":"a"}"#,
            r#"{"status":"Downloading","progressDetail":{"current":5,"total":50},"id":"b"}"#,
            r#"{"status":"Downloading","progressDetail":{"current":5,"total":50},"id":"b"}"#,
            r#"{"status":"Download complete","progressDetail":{},"id":"a"}"#,
            r#"{"status":"Extracting","progressDetail":{"current":1,"total":100},"id":"a"}"#,
            r#"{"status":"Already exists","progressDetail":{},"id":"c"}"#,
        ] {
            if layers.hear(serde_json::from_str(line).expect("a line of progress")) {
                let sum = layers.sum();
                sums.push((sum.done_bytes, sum.total_bytes));
            }
        }
        assert_eq!(sums, [(10, 100), (15, 150), (105, 150)]);
    }
}
