//! A watch: changes of objects, a JSON line each.
use serde_json::Value;

use super::{Body, Error, Refusal, revision_of, transport::Transport};

/// Changes, as they come.
pub struct Watch {
    body: Body,
    transport: Transport,
}

/// A change. What is told is an object, or a table of one row.
#[derive(Clone, Debug, PartialEq)]
pub enum WatchEvent {
    /// It is there now, and was not (or was not meant).
    Added(Value),
    /// It has changed.
    Modified(Value),
    /// It is gone (or no longer meant); as it last was.
    Deleted(Value),
    /// Nothing changed up to this revision.
    Bookmark(String),
}

impl Watch {
    pub(super) fn new(body: Body, transport: Transport) -> Self {
        Self { body, transport }
    }

    /// The next change; none when the server ends the watch. Safe to drop while it waits.
    ///
    /// # Errors
    /// When the connection breaks, or the revision is too old ([`Error::is_expired`]).
    pub async fn next(&mut self) -> Result<Option<WatchEvent>, Error> {
        while let Some(line) = self.body.line().await? {
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let mut event: Value =
                serde_json::from_slice(&line).map_err(|error| self.transport.nonsense(format!("no JSON: {error}")))?;
            let object = event["object"].take();
            return Ok(Some(match event["type"].as_str().unwrap_or_default() {
                "ADDED" => WatchEvent::Added(object),
                "MODIFIED" => WatchEvent::Modified(object),
                "DELETED" => WatchEvent::Deleted(object),
                "BOOKMARK" => WatchEvent::Bookmark(revision_of(&object)),
                "ERROR" => {
                    let refusal = Refusal::from_status(&object).unwrap_or_default();
                    return Err(Error::Refused(Box::new(refusal)));
                }
                other => return Err(self.transport.nonsense(format!("a watch event of type {other:?}"))),
            }));
        }
        Ok(None)
    }
}
