//! What a simulated process gets from outside: its machine's clock, chance from the seed, files and connections that can fail.
use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use cube::world::{
    Source, World,
    files::{Disk, Files},
    host::Machine,
    network::Network,
    notes::Notes,
};
use cube_plan::pressure::Space;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;
use uuid::Uuid;

use crate::chance::Chance;

/// The wall clock of a machine: it can be wrong, and can be set. Cloning gives another handle to the same one.
#[derive(Clone, Debug)]
pub struct Clock {
    began: Instant,
    /// Seconds that it is ahead of the truth.
    ahead: Arc<AtomicI64>,
}

/// When every run begins.
const BEGINNING: i64 = 1_900_000_000;

impl Clock {
    /// A clock that is right.
    pub fn new() -> Self {
        Self {
            began: Instant::now(),
            ahead: Arc::default(),
        }
    }

    /// Sets it so many seconds ahead of the truth, or behind.
    pub fn set_ahead(&self, seconds: i64) {
        self.ahead.store(seconds, Ordering::SeqCst);
    }

    /// What it shows.
    pub fn now(&self) -> Timestamp {
        let ahead = self.ahead.load(Ordering::SeqCst);
        let began = Timestamp::from_second(BEGINNING + ahead).unwrap_or(Timestamp::MAX);
        let elapsed = SignedDuration::try_from(self.began.elapsed()).unwrap_or(SignedDuration::MAX);
        began.saturating_add(elapsed).unwrap_or(Timestamp::MAX)
    }
}

/// What one process has from outside.
pub struct Outside {
    /// Its machine's clock.
    pub clock: Clock,
    /// Its chance.
    pub chance: Chance,
    /// Files that it watches; none: it watches none.
    pub files: Option<Arc<dyn Files>>,
    /// Small files that it keeps.
    pub notes: Arc<dyn Notes>,
    /// Its ways to others.
    pub network: Arc<dyn Network>,
    /// When its machine was started, by its own clock.
    pub booted_at: Timestamp,
}

impl Outside {
    /// The world that it sees.
    pub fn world(self) -> World {
        World::new(self)
    }
}

impl Source for Outside {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn uuid(&self) -> Uuid {
        let millis = u64::try_from(self.clock.now().as_millisecond()).unwrap_or_default();
        let (one, other) = (self.chance.number().to_le_bytes(), self.chance.number().to_le_bytes());
        let mut random = [0; 10];
        random[..8].copy_from_slice(&one);
        random[8..].copy_from_slice(&other[..2]);
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }

    fn random(&self) -> u64 {
        self.chance.number()
    }

    fn files(&self) -> Arc<dyn Files> {
        self.files.clone().unwrap_or_else(|| Arc::new(Disk))
    }

    fn notes(&self) -> Arc<dyn Notes> {
        Arc::clone(&self.notes)
    }

    fn network(&self) -> Arc<dyn Network> {
        Arc::clone(&self.network)
    }

    fn machine(&self) -> Arc<dyn Machine> {
        Arc::new(Hardware(self.booted_at))
    }
}

/// A machine whose engine keeps its data elsewhere, so that its room says nothing.
struct Hardware(Timestamp);

impl Machine for Hardware {
    fn cores(&self) -> usize {
        2
    }

    fn routes(&self) -> Vec<String> {
        Vec::new()
    }

    fn memory(&self) -> Option<Space> {
        None
    }

    fn disk(&self, _: &std::path::Path) -> Option<Space> {
        None
    }

    fn booted_at(&self) -> Option<Timestamp> {
        Some(self.0)
    }
}
