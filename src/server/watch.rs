//! Watches: one JSON line an event, as they come, until the time is over, the place is lost, or the server ends.
//!
//! A watch is pulled by its reader and has no buffer of its own: one that reads slowly costs a place in the store's
//! history, and is told to list again when that has moved on. Read [`watch`] first.
//!
//! ```text
//! what is there (if asked for) ─► bookmark (if asked for) ─► changes, bookmarks … ─► end
//! ```
use std::{convert::Infallible, sync::Arc, time::Duration, vec};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures_util::stream;
use http::StatusCode;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, sleep_until},
};

use super::{
    Server,
    answer::{self, Refusal},
    objects::Call,
    render::{self, Renderer},
};
use crate::registry::{ApiError, FieldSelector, ObjectWatch, StatusReason, WatchEvent, WatchOptions};

/// Time between bookmarks, about. More often costs wake-ups of idle clients; less often lets a client that comes back
/// fall out of the history, so that it has to list again.
const BOOKMARKS: Duration = Duration::from_secs(60);
/// A watch that names no time ends after this, or up to twice as much: so that clients spread over servers, one day.
const LONGEST: Duration = Duration::from_secs(30 * 60);
/// About so many bytes go out at once. Less costs calls, more costs memory a watch.
const PIECE: usize = 64 << 10;

/// A watch that is being told.
struct Feed {
    server: Arc<Server>,
    watch: ObjectWatch,
    renderer: Renderer,
    /// Events that are known and not told yet.
    pending: vec::IntoIter<WatchEvent>,
    /// Something was told, the columns of a Table with it.
    begun: bool,
    /// What was there is known; until then the watch stands nowhere.
    known: bool,
    /// That all was told which was there is yet to be said.
    announce: bool,
    bookmarks: bool,
    next_bookmark: Instant,
    deadline: Instant,
    over: bool,
    _slot: OwnedSemaphorePermit,
}

/// Answers a watch.
pub(super) fn watch(call: Call) -> Result<Response, Refusal> {
    let (target, params) = (&call.target, &call.params);
    let mut filter = params.filter(target.kind, target.namespace.as_deref())?;
    if let Some(name) = &target.name {
        filter.fields = FieldSelector::name(name);
    }
    let asked = params.revision()?;
    let send = params.send_initial_events();
    check_match(send, params.revision_match())?;
    let registry = &call.server.registry;
    let slot = Arc::clone(&call.server.watches).try_acquire_owned();
    let slot = slot.map_err(|_| Refusal::too_many("too many watches are open; try again"))?;
    let bookmarks = params.flag("allowWatchBookmarks");
    let newest = registry.store().revision();
    let after = match send {
        Some(false) => asked.or(Some(newest)),
        Some(true) => None,
        None => asked,
    };
    let options = WatchOptions {
        filter,
        after,
        send_initial_events: false,
    };
    // In the stream and not as an HTTP code: some clients know only the former, and would ask the same for ever.
    let lost = |error: ApiError| -> Result<Response, Refusal> {
        if error.reason != StatusReason::Expired {
            return Err(error.into());
        }
        Ok(lines(Body::from(render::error(&error.to_status()))))
    };
    if let Some(asked) = asked.filter(|asked| *asked > newest) {
        let message = format!("Too large resource version: {asked}, current: {newest}");
        return lost(ApiError::new(StatusReason::Expired, message));
    }
    let watch = match registry.watch(target.kind, options) {
        Ok(watch) => watch,
        Err(error) => return lost(error),
    };
    let now = Instant::now();
    let spread = registry.world().random();
    let timeout = params
        .timeout()?
        .unwrap_or_else(|| LONGEST + Duration::from_secs(spread % LONGEST.as_secs()));
    let feed = Feed {
        watch,
        renderer: call.renderer,
        pending: Vec::new().into_iter(),
        begun: false,
        known: after.is_some(),
        announce: bookmarks && send == Some(true),
        bookmarks,
        next_bookmark: now + BOOKMARKS + Duration::from_millis(spread % 5000),
        // A time beyond all clocks is as good as the longest.
        deadline: now.checked_add(timeout).unwrap_or(now + LONGEST),
        over: false,
        server: call.server,
        _slot: slot,
    };
    let pieces = stream::unfold(feed, |mut feed| async move {
        let piece = feed.next().await?;
        Some((Ok::<_, Infallible>(piece), feed))
    });
    Ok(lines(Body::from_stream(pieces)))
}

fn check_match(send: Option<bool>, revision_match: Option<&str>) -> Result<(), Refusal> {
    let wrong = |field: &str, message: &str| Err(Refusal::new(422, "Invalid", format!("{field}: {message}")));
    match (send, revision_match) {
        (None, None) | (Some(_), Some("NotOlderThan")) => Ok(()),
        (None, Some(_)) => wrong(
            "resourceVersionMatch",
            "Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        ),
        (Some(_), _) => wrong(
            "resourceVersionMatch",
            "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ),
    }
}

fn lines(body: Body) -> Response {
    answer::typed(StatusCode::OK, "application/json", body)
}

impl Feed {
    /// The next lines; none at the end. Never empty.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.over {
                return None;
            }
            if !self.pending.as_slice().is_empty() {
                return Some(self.piece());
            }
            if self.known && self.announce {
                self.announce = false;
                return Some(self.bookmark(true));
            }
            // Looked at by hand: a watch that always has news would else never see its time.
            if Instant::now() >= self.deadline {
                return self.end();
            }
            tokio::select! {
                biased;
                () = self.server.ending.cancelled() => return self.end(),
                events = self.watch.next() => match events {
                    Ok(events) => {
                        self.pending = events.into_iter();
                        self.known = true;
                    }
                    Err(error) => return self.lost(&error),
                },
                () = sleep_until(self.deadline) => return self.end(),
                () = sleep_until(self.next_bookmark), if self.bookmarks => {
                    // It may have slept through others' changes: it stands after them.
                    match self.watch.ready() {
                        Ok(events) if events.is_empty() => {
                            self.next_bookmark = Instant::now() + BOOKMARKS;
                            return Some(self.bookmark(false));
                        }
                        Ok(events) => {
                            self.pending = events.into_iter();
                            self.known = true;
                        }
                        Err(error) => return self.lost(&error),
                    }
                }
            }
        }
    }

    /// Some of what is pending, as lines.
    fn piece(&mut self) -> Bytes {
        let mut text = Vec::new();
        for event in self.pending.by_ref() {
            self.renderer.event(&mut text, &event, !self.begun);
            self.begun = true;
            if text.len() >= PIECE {
                break;
            }
        }
        text.into()
    }

    fn bookmark(&self, ends_initial: bool) -> Bytes {
        self.renderer.bookmark(self.watch.revision(), ends_initial).into()
    }

    /// The end, because the place is lost.
    fn lost(&mut self, error: &ApiError) -> Option<Bytes> {
        self.over = true;
        Some(render::error(&error.to_status()).into())
    }

    /// The end, in good order: the client can go on from here.
    fn end(&mut self) -> Option<Bytes> {
        self.over = true;
        if !(self.bookmarks && self.known) {
            return None;
        }
        let mut text = Vec::new();
        for event in self.watch.ready().ok()? {
            self.renderer.event(&mut text, &event, !self.begun);
        }
        text.extend_from_slice(&self.bookmark(false));
        Some(text.into())
    }
}
