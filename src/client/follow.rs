//! A list that stays current: lists, watches, goes on where a connection broke, lists anew where the past is forgotten.
//!
//! Flow: [`Change::All`] first, then a change each; `All` again when the server no longer knows what came between.
//! Guarantees: nothing is left out between two `All`s; what is told may be told again.
use std::time::Duration;

use cube_api::kinds::Kind;
use serde_json::Value;
use tokio::time::Instant;

use super::{Client, Error, Form, Selection, Watch, WatchEvent, revision_of};

/// The first wait before a broken connection is tried anew; a server that restarts is back within it.
const FIRST_RETRY: Duration = Duration::from_millis(100);
/// The longest; longer would leave people before a screen that stands still though the server is back.
const LONGEST_RETRY: Duration = Duration::from_secs(2);

/// A list that stays current.
pub struct Follow {
    client: Client,
    kind: Kind,
    selection: Selection,
    form: Form,
    revision: Option<String>,
    watch: Option<Watch>,
    /// Whether a list was had: from then on, what passes is waited for.
    begun: bool,
    /// Failures in a row.
    failures: u32,
    /// No new try before this. Kept, so that who looks in between does not put it off.
    retry_at: Option<Instant>,
}

/// Something new.
#[derive(Debug)]
pub enum Change {
    /// All objects: a list, or a table, as it was asked for.
    All(Value),
    /// An object is there, or has changed.
    Set(Value),
    /// An object is gone.
    Gone(Value),
    /// The connection is lost, and will be tried again and again. Told once.
    Lost(Error),
}

impl Follow {
    pub(super) fn new(client: Client, kind: Kind, selection: Selection, form: Form) -> Self {
        Self {
            client,
            kind,
            selection,
            form,
            revision: None,
            watch: None,
            begun: false,
            failures: 0,
            retry_at: None,
        }
    }

    /// The same, going on after what is known already.
    #[must_use]
    pub fn after(self, revision: &str) -> Self {
        Self {
            revision: Some(revision.to_owned()),
            begun: true,
            ..self
        }
    }

    /// What is new next. Safe to drop while it waits.
    ///
    /// # Errors
    /// What no retry mends: a selector that is wrong, no right to look; and nobody there at the first try.
    pub async fn next(&mut self) -> Result<Change, Error> {
        loop {
            if let Some(at) = self.retry_at {
                tokio::time::sleep_until(at).await;
                self.retry_at = None;
            }
            match self.step().await {
                Ok(change) => {
                    self.failures = 0;
                    if let Some(change) = change {
                        return Ok(change);
                    }
                }
                Err(error) if error.is_expired() => {
                    (self.revision, self.watch) = (None, None);
                }
                Err(error) if error.is_passing() && self.begun => {
                    self.watch = None;
                    self.failures += 1;
                    let wait = FIRST_RETRY.saturating_mul(1 << self.failures.min(5));
                    self.retry_at = Some(Instant::now() + wait.min(LONGEST_RETRY));
                    if self.failures == 1 {
                        return Ok(Change::Lost(error));
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn step(&mut self) -> Result<Option<Change>, Error> {
        let Some(revision) = &self.revision else {
            let list = self.client.list_as(self.kind, &self.selection, self.form).await?;
            self.revision = Some(revision_of(&list));
            self.begun = true;
            return Ok(Some(Change::All(list)));
        };
        let watch = match &mut self.watch {
            Some(watch) => watch,
            none => none.insert(
                self.client
                    .watch(self.kind, &self.selection, revision, self.form)
                    .await?,
            ),
        };
        let change = match watch.next().await? {
            None => {
                self.watch = None;
                return Ok(None);
            }
            Some(WatchEvent::Bookmark(revision)) => {
                self.revision = Some(revision);
                return Ok(None);
            }
            Some(WatchEvent::Added(object) | WatchEvent::Modified(object)) => Change::Set(object),
            Some(WatchEvent::Deleted(object)) => Change::Gone(object),
        };
        if let Change::Set(object) | Change::Gone(object) = &change {
            let revision = revision_of(object);
            if !revision.is_empty() {
                self.revision = Some(revision);
            }
        }
        Ok(Some(change))
    }
}
