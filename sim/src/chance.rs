//! Chance from one seed: every stream of it has a name, and draws from one do not disturb another.
use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// A stream of chance. Cloning gives another handle to the same one.
#[derive(Clone, Debug)]
pub struct Chance {
    seed: u64,
    stream: Arc<Mutex<fastrand::Rng>>,
}

impl Chance {
    /// The first stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            stream: Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))),
        }
    }

    /// A stream of its own: the same for the same seed and name, whatever was drawn before.
    pub fn fork(&self, name: &str) -> Self {
        // With fixed keys: the same in every run.
        let mut hasher = DefaultHasher::new();
        (self.seed, name).hash(&mut hasher);
        Self::new(hasher.finish())
    }

    fn stream(&self) -> MutexGuard<'_, fastrand::Rng> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Any number.
    pub fn number(&self) -> u64 {
        self.stream().u64(..)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&self, bound: u64) -> u64 {
        self.stream().u64(..bound)
    }

    /// A number from `least` to `most`.
    pub fn range(&self, least: u64, most: u64) -> u64 {
        self.stream().u64(least..=most)
    }

    /// Yes once in `n` times.
    pub fn once_in(&self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// A time from `least` to `most` milliseconds.
    pub fn millis(&self, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.range(least, most))
    }

    /// One of some.
    pub fn pick<'a, T>(&self, some: &'a [T]) -> &'a T {
        &some[self.stream().usize(..some.len())]
    }
}
