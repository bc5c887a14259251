//! What is to be looked at: each key once, one look at a time, later and later when it fails.
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

/// Wait after the first failure. Shorter would spin where the cause stays, longer would delay what passes at once.
const FIRST: Duration = Duration::from_millis(5);
/// The longest wait of a key that was asked for during a look that then failed: what changed may be what it failed for.
/// Shorter would have what changes all the time tried all the time; longer would keep people waiting.
const WOKEN: Duration = Duration::from_secs(1);

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
    /// Those that were looked at a moment ago: not again before.
    resting: BTreeMap<K, Instant>,
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
            resting: BTreeMap::new(),
            failures: BTreeMap::new(),
        }
    }

    /// The key is to be looked at now; while it is busy or rests, once more after that.
    pub fn add(&mut self, key: K) {
        if self.busy.contains(&key) {
            self.again.insert(key);
        } else if let Some(until) = self.resting.get(&key) {
            self.add_at(key, *until);
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
        self.add_at(key, at);
    }

    fn add_at(&mut self, key: K, at: Instant) {
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

    /// The look is over, and went well. Until `rests`, the key is not looked at again.
    pub fn done(&mut self, key: &K, rests: Option<Instant>) {
        self.failures.remove(key);
        self.resting.extend(rests.map(|until| (key.clone(), until)));
        self.idle(key);
    }

    /// The look is over, and failed: again after a while, `longest` at most. `chance` spreads the waits.
    pub fn failed(&mut self, key: K, now: Instant, longest: Duration, chance: u64) {
        self.busy.remove(&key);
        // A wish for another look must not end with the one that could not know of it.
        let longest = match self.again.remove(&key) {
            true => longest.min(WOKEN),
            false => longest,
        };
        let failures = self.failures.entry(key.clone()).or_default();
        let wait = FIRST.saturating_mul(1 << (*failures).min(16)).min(longest);
        *failures += 1;
        let wait = wait / 2 + wait.mul_f64((chance % 1024) as f64 / 2048.0);
        self.add_after(key, now, wait);
    }

    /// Takes up what is due.
    pub fn due(&mut self, now: Instant) {
        self.resting.retain(|_, until| *until > now);
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
    use proptest::prelude::*;

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
        queue.done(&"a", None);
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
        queue.done(&"a", None);
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

    /// What may happen to a queue; the key of an end is that one of the busy ones.
    #[derive(Clone, Debug)]
    enum Step {
        Add(u8),
        Take,
        Done(usize, Option<u64>, Option<u64>),
        Failed(usize, u32, u64),
        Wait(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let longest = prop_oneof![Just(1_000_u64), Just(300_000)];
        prop_oneof![
            (0..4_u8).prop_map(Step::Add),
            Just(Step::Take),
            (0..4_usize, prop::option::of(0..5_000_u64), prop::option::of(0..100_u64))
                .prop_map(|(at, again, rest)| Step::Done(at, again, rest)),
            (0..4_usize, 0..20_u32, longest).prop_map(|(at, before, longest)| Step::Failed(at, before, longest)),
            prop_oneof![0..20_u64, 0..400_000_u64].prop_map(Step::Wait),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_key_that_was_asked_for_gets_its_turn_in_time_whatever_comes_between(
            steps in prop::collection::vec(step(), 0..200),
        ) {
            let (mut queue, mut now) = (Queue::new(), Instant::now());
            // By when a look was asked for that has not begun.
            let mut wanted: BTreeMap<u8, Instant> = BTreeMap::new();
            // Until when it is left alone.
            let mut rested: BTreeMap<u8, Instant> = BTreeMap::new();
            let mut busy: Vec<u8> = Vec::new();
            let ms = Duration::from_millis;
            for step in steps {
                match step {
                    Step::Add(key) => {
                        queue.add(key);
                        let by = rested.get(&key).map_or(now, |rested| now.max(*rested));
                        let at = wanted.entry(key).or_insert(by);
                        *at = (*at).min(by);
                    }
                    Step::Take => {
                        if let Some(key) = queue.take() {
                            prop_assert!(!busy.contains(&key), "one look at a time");
                            wanted.remove(&key);
                            busy.push(key);
                        }
                    }
                    Step::Done(at, again, rest) if at < busy.len() => {
                        let key = busy.remove(at);
                        let rests = rest.map(|rest| now + ms(rest));
                        queue.done(&key, rests);
                        rested.insert(key, rests.unwrap_or(now));
                        if let Some(by) = wanted.get_mut(&key) {
                            *by = (*by).max(rested[&key]);
                        }
                        if let Some(again) = again {
                            queue.add_after(key, now, ms(again));
                            let by = rested[&key].max(now + ms(again));
                            let at = wanted.entry(key).or_insert(by);
                            *at = (*at).min(by);
                        }
                    }
                    Step::Failed(at, before, longest) if at < busy.len() => {
                        let key = busy.remove(at);
                        queue.failures.insert(key, before);
                        let by = if wanted.contains_key(&key) { WOKEN } else { ms(longest) };
                        queue.failed(key, now, ms(longest), 1023);
                        wanted.insert(key, now + by);
                    }
                    Step::Done(..) | Step::Failed(..) => {}
                    Step::Wait(wait) => {
                        now += ms(wait);
                        queue.due(now);
                    }
                }
                for (key, by) in wanted.iter().filter(|(key, _)| !busy.contains(*key)) {
                    let turn = queue.later.get(key).copied().or(queue.queued.contains(key).then_some(now));
                    prop_assert!(turn.is_some_and(|turn| turn <= (*by).max(now)), "{key}: {turn:?}, wanted by {by:?}");
                    prop_assert_eq!(queue.ready.iter().filter(|ready| *ready == key).count(), usize::from(queue.queued.contains(key)));
                }
                prop_assert_eq!(queue.later.len(), queue.times.len());
            }
        }
    }
}
