//! What is to be looked at: each key once, one look at a time, later and later when it fails.
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

/// Wait after the first failure. Shorter would spin where the cause stays, longer would delay what passes at once.
const FIRST: Duration = Duration::from_millis(5);
/// Keys to be looked at.
#[derive(Debug)]
pub(super) struct Queue<K> {
    ready: VecDeque<K>,
    queued: BTreeSet<K>,
    busy: BTreeSet<K>,
    /// Asked for while they were busy.
    again: BTreeSet<K>,
    later: BTreeMap<K, Instant>,
    times: BTreeSet<(Instant, K)>,
    failures: BTreeMap<K, u32>,
}

impl<K: Ord + Clone> Queue<K> {
    pub fn new() -> Self {
        Self {
            ready: VecDeque::new(),
            queued: BTreeSet::new(),
            busy: BTreeSet::new(),
            again: BTreeSet::new(),
            later: BTreeMap::new(),
            times: BTreeSet::new(),
            failures: BTreeMap::new(),
        }
    }

    /// The key is to be looked at now; while it is busy, once more after that.
    pub fn add(&mut self, key: K) {
        if self.busy.contains(&key) {
            self.again.insert(key);
        } else if self.queued.insert(key.clone()) {
            self.forget_time(&key);
            self.ready.push_back(key);
        }
    }

    /// The key is to be looked at after this time, if not before.
    pub fn add_after(&mut self, key: K, now: Instant, wait: Duration) {
        if self.queued.contains(&key) || self.again.contains(&key) {
            return;
        }
        let at = now + wait;
        if self.later.get(&key).is_none_or(|there| at < *there) {
            self.forget_time(&key);
            self.later.insert(key.clone(), at);
            self.times.insert((at, key));
        }
    }

    /// The next key; it is busy until [`Queue::done`] or [`Queue::failed`].
    pub fn take(&mut self) -> Option<K> {
        let key = self.ready.pop_front()?;
        self.queued.remove(&key);
        self.busy.insert(key.clone());
        Some(key)
    }

    /// The look is over, and went well.
    pub fn done(&mut self, key: &K) {
        self.failures.remove(key);
        self.idle(key);
    }

    /// The look is over, and failed: again after a while, `longest` at most. `chance` spreads the waits.
    pub fn failed(&mut self, key: K, now: Instant, longest: Duration, chance: u64) {
        let failures = self.failures.entry(key.clone()).or_default();
        let wait = FIRST.saturating_mul(1 << (*failures).min(16)).min(longest);
        *failures += 1;
        let wait = wait / 2 + wait.mul_f64((chance % 1024) as f64 / 2048.0);
        self.busy.remove(&key);
        self.again.remove(&key);
        self.add_after(key, now, wait);
    }

    /// Takes up what is due.
    pub fn due(&mut self, now: Instant) {
        while self.times.first().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, key)) = self.times.pop_first() {
                self.later.remove(&key);
                self.add(key);
            }
        }
    }

    /// When the next key is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.times.first().map(|(at, _)| *at)
    }

    fn idle(&mut self, key: &K) {
        self.busy.remove(key);
        if self.again.remove(key) {
            self.add(key.clone());
        }
    }

    fn forget_time(&mut self, key: &K) {
        if let Some(at) = self.later.remove(key) {
            self.times.remove(&(at, key.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_key_once_one_look_at_a_time_and_failures_wait_longer_and_longer() {
        let mut queue = Queue::new();
        for key in ["a", "b", "a"] {
            queue.add(key);
        }
        assert_eq!(queue.take(), Some("a"));
        queue.add("a");
        queue.add("a");
        assert_eq!(queue.take(), Some("b"));
        assert_eq!(queue.take(), None, "a is busy");
        queue.done(&"a");
        assert_eq!(queue.take(), Some("a"));
        assert_eq!(queue.take(), None);

        let mut before = Duration::ZERO;
        for failures in 0..20 {
            queue.failed("a", Instant::now(), Duration::from_secs(30), u64::MAX);
            let wait = queue.next_due().unwrap() - Instant::now();
            assert!(wait > before || failures > 12, "{wait:?} after {failures}");
            assert!(wait <= Duration::from_secs(30));
            before = wait;
            queue.due(Instant::now());
            assert_eq!(queue.take(), None, "it is not due yet");
            tokio::time::advance(wait).await;
            queue.due(Instant::now());
            assert_eq!(queue.take(), Some("a"));
            assert_eq!(queue.next_due(), None);
        }
        queue.done(&"a");
        queue.add("a");
        queue.take();
        queue.failed("a", Instant::now(), Duration::from_secs(30), 0);
        assert!(
            queue.next_due().unwrap() - Instant::now() < FIRST,
            "what went well is forgotten"
        );
        queue.add("a");
        assert_eq!(
            (queue.take(), queue.next_due()),
            (Some("a"), None),
            "word of a change does not wait"
        );
    }
}
