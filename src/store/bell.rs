//! Wakes everyone who waits for news, in the order in which they began to wait.
//!
//! tokio's watch channel would serve as well, but for one thing: it draws lots in which order it wakes, and a simulation
//! must wake in the same order each time.
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::{Notify, futures::Notified};

/// Those who listen are spread over so many lists, so that thousands who begin to listen again at once do not wait for
/// each other.
const PLACES: usize = 8;

/// The bell.
#[derive(Default)]
pub(super) struct Bell {
    places: [Notify; PLACES],
    given: AtomicUsize,
    closed: AtomicBool,
}

impl Bell {
    /// A place for one who will listen.
    pub fn place(&self) -> usize {
        self.given.fetch_add(1, Ordering::Relaxed) % PLACES
    }

    /// Waits until it rings; once `enable`d, no ring is missed.
    pub fn listen(&self, place: usize) -> Notified<'_> {
        self.places[place % PLACES].notified()
    }

    /// Wakes all who listen.
    pub fn ring(&self) {
        for place in &self.places {
            place.notify_waiters();
        }
    }

    /// Wakes all who listen, for the last time.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.ring();
    }

    /// Whether it will never ring again.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }
}
