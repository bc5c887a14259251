//! Notices when the wall clock is set: by a person, or by a machine that learns the time late.
//!
//! Waits are measured by what cannot be set (tokio's clock); what is remembered in the wall clock's terms has to be moved
//! along with it, or a wait of seconds becomes one of years.
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::World;

/// A clock that is slewed, or a look that takes its time, is not one that was set.
const TOLERATED: SignedDuration = SignedDuration::from_millis(500);

/// A clock that nobody sets: the wall clock as it was at first, and the time that has passed since.
#[derive(Clone, Copy, Debug)]
pub struct Steady {
    began: Timestamp,
    at: Instant,
}

impl Steady {
    /// Begins now, with what the wall clock shows.
    pub fn new(wall: Timestamp) -> Self {
        Self {
            began: wall,
            at: Instant::now(),
        }
    }

    /// What it shows.
    pub fn now(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.at.elapsed()).unwrap_or(SignedDuration::MAX);
        self.began.saturating_add(passed).unwrap_or(self.began)
    }
}

/// Compares the wall clock with the time that passes.
pub struct ClockWatch(Steady);

impl ClockWatch {
    /// From now on.
    pub fn new(world: &World) -> Self {
        Self(Steady::new(world.now()))
    }

    /// By how much the clock was set since it was last asked, if it was.
    pub fn set_by(&mut self, world: &World) -> Option<SignedDuration> {
        let wall = world.now();
        let by = wall.duration_since(self.0.now());
        // What is tolerated adds up: a clock that stands still is a little late at each of many looks.
        (by.abs() > TOLERATED).then(|| {
            self.0 = Steady::new(wall);
            by
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicI64, Ordering},
        time::Duration,
    };

    use uuid::Uuid;

    use super::*;
    use crate::world::Source;

    /// A clock on which so many seconds more have passed.
    struct Set(Instant, std::sync::Arc<AtomicI64>);

    impl Source for Set {
        fn now(&self) -> Timestamp {
            let seconds = i64::try_from(self.0.elapsed().as_secs()).unwrap();
            Timestamp::from_second(1_000_000_000 + seconds + self.1.load(Ordering::SeqCst)).unwrap()
        }

        fn uuid(&self) -> Uuid {
            Uuid::nil()
        }

        fn random(&self) -> u64 {
            0
        }
    }

    /// A clock that stands still.
    struct Standing;

    impl Source for Standing {
        fn now(&self) -> Timestamp {
            Timestamp::UNIX_EPOCH
        }

        fn uuid(&self) -> Uuid {
            Uuid::nil()
        }

        fn random(&self) -> u64 {
            0
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_is_told_from_one_that_goes_on() {
        let ahead = std::sync::Arc::new(AtomicI64::new(0));
        let world = World::new(Set(Instant::now(), ahead.clone()));
        let mut watch = ClockWatch::new(&world);
        tokio::time::advance(Duration::from_secs(100)).await;
        assert_eq!(watch.set_by(&world), None);
        for by in [-3600, 315_360_000] {
            ahead.store(by, Ordering::SeqCst);
            tokio::time::advance(Duration::from_secs(7)).await;
            let told = watch.set_by(&world).unwrap();
            assert_eq!(told, SignedDuration::from_secs(if by < 0 { by } else { by + 3600 }));
            assert_eq!(watch.set_by(&world), None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_stands_still_is_noticed_however_often_it_is_looked_at() {
        let world = World::new(Standing);
        let mut watch = ClockWatch::new(&world);
        let mut moved = SignedDuration::ZERO;
        for _ in 0..20 {
            tokio::time::advance(Duration::from_millis(200)).await;
            moved += watch.set_by(&world).unwrap_or_default();
        }
        assert!(moved <= SignedDuration::from_millis(-3500), "{moved}");
    }
}
