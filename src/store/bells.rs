//! Wakes who waits for news of certain keys, and nobody else, in the order in which they began to wait.
//!
//! There is a bell for each scope that is watched: everything, a kind, a namespace of it, one key. A write rings the four
//! that it is in, so that thousands who wait for other keys cost nothing. Each bell also knows what the history has
//! forgotten of its keys, so that who has slept for long is told that it missed something only if it did.
//!
//! tokio's watch channel would serve as well, but for one thing: it draws lots in which order it wakes, and a simulation
//! must wake in the same order each time.
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, futures::Notified};

use super::{Key, Revision};

/// Those who listen are spread over so many lists, so that thousands who begin to listen again at once do not wait for
/// each other.
const PLACES: usize = 8;

/// The bell of a scope.
#[derive(Default)]
pub(super) struct Bell {
    places: [Notify; PLACES],
    given: AtomicUsize,
    /// So many have it. Changed while the bells are held.
    listeners: AtomicUsize,
    /// The newest of its events that the history has forgotten.
    forgotten: AtomicU64,
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

    /// The newest event of its keys that a watch can no longer be told.
    pub fn forgotten(&self) -> Revision {
        self.forgotten.load(Ordering::SeqCst)
    }

    fn ring(&self) {
        for place in &self.places {
            place.notify_waiters();
        }
    }
}

/// All bells that somebody listens to.
#[derive(Default)]
pub(super) struct Bells {
    bells: Mutex<BTreeMap<Box<str>, Arc<Bell>>>,
    closed: AtomicBool,
}

impl Bells {
    /// Holds the bells still: none comes or goes, and nothing is published meanwhile by those who hold them too.
    pub fn hold(&self) -> Held<'_> {
        Held(self.bells.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether none will ever ring again.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Rings all, for the last time.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.hold().0.values().for_each(|bell| bell.ring());
    }
}

/// The bells, held still.
pub(super) struct Held<'a>(MutexGuard<'a, BTreeMap<Box<str>, Arc<Bell>>>);

impl Held<'_> {
    /// The bell of a scope for one more who listens; made if there is none.
    pub fn join(&mut self, scope: &str) -> Arc<Bell> {
        if !self.0.contains_key(scope) {
            self.0.insert(scope.into(), Arc::default());
        }
        let bell = Arc::clone(&self.0[scope]);
        bell.listeners.fetch_add(1, Ordering::Relaxed);
        bell
    }

    /// Who had that bell listens no more; it goes with the last one.
    pub fn leave(&mut self, scope: &str, bell: &Bell) {
        if bell.listeners.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.remove(scope);
        }
    }

    /// The history no longer has this event.
    pub fn forget(&self, key: &Key, revision: Revision) {
        self.of(key, |bell| bell.forgotten.store(revision, Ordering::SeqCst));
    }

    /// The bells that these keys ring, each once.
    pub fn rung_by<'k>(&self, keys: impl Iterator<Item = &'k Key>) -> Rung {
        let mut rung: Vec<Arc<Bell>> = Vec::new();
        let mut known = BTreeMap::new();
        for key in keys {
            self.of(key, |bell| {
                if known.insert(Arc::as_ptr(bell), ()).is_none() {
                    rung.push(Arc::clone(bell));
                }
            });
        }
        Rung(rung)
    }

    fn of(&self, key: &Key, mut meet: impl FnMut(&Arc<Bell>)) {
        if self.0.is_empty() {
            return;
        }
        for scope in key.scopes() {
            if let Some(bell) = self.0.get(scope) {
                meet(bell);
            }
        }
    }
}

/// Bells that are yet to ring.
pub(super) struct Rung(Vec<Arc<Bell>>);

impl Rung {
    /// Rings them.
    pub fn ring(self) {
        self.0.iter().for_each(|bell| bell.ring());
    }
}
