//! What comes from outside: clock, ids, chance, files, connections, the machine. Real here; the simulation gives its own.
//!
//! Nothing else in the control plane may ask the system for the time, an id or a random number (clippy's
//! `disallowed-methods` keeps it so), read or write a file, open a connection, or spawn (`tests/house.rs` does), so that
//! all of it can run from one seed. Sleeping goes through `tokio::time`, which can be paused.
pub mod clock;
pub mod files;
pub mod host;
pub mod network;
pub mod notes;
pub mod process;
pub mod slice;

use std::sync::Arc;

use jiff::Timestamp;
pub use process::spawn;
pub use slice::Slice;
use uuid::Uuid;

/// Where time and chance come from.
pub trait Source: Send + Sync {
    /// The wall clock.
    fn now(&self) -> Timestamp;
    /// A fresh UUID (version 7).
    fn uuid(&self) -> Uuid;
    /// 64 random bits, for jitter and name suffixes; not for secrets.
    fn random(&self) -> u64;
    /// The files; the machine's own unless a world gives others.
    fn files(&self) -> Arc<dyn files::Files> {
        Arc::new(files::Disk)
    }
    /// The small files that a process keeps.
    fn notes(&self) -> Arc<dyn notes::Notes> {
        Arc::new(notes::OnDisk)
    }
    /// The ways to elsewhere.
    fn network(&self) -> Arc<dyn network::Network> {
        Arc::new(network::Sockets)
    }
    /// The machine that the process runs on.
    fn machine(&self) -> Arc<dyn host::Machine> {
        Arc::new(host::ThisMachine)
    }
}

/// A cheap handle to the world, passed to whatever needs time or chance.
#[derive(Clone)]
pub struct World(Arc<dyn Source>);

impl World {
    /// A world made of `source`.
    pub fn new(source: impl Source + 'static) -> Self {
        Self(Arc::new(source))
    }

    /// The machine's own clock and chance.
    pub fn real() -> Self {
        Self::new(Real)
    }

    /// The wall clock.
    pub fn now(&self) -> Timestamp {
        self.0.now()
    }

    /// A fresh UUID (version 7).
    pub fn uuid(&self) -> Uuid {
        self.0.uuid()
    }

    /// 64 random bits, for jitter and name suffixes; not for secrets.
    pub fn random(&self) -> u64 {
        self.0.random()
    }

    /// The files.
    pub fn files(&self) -> Arc<dyn files::Files> {
        self.0.files()
    }

    /// The small files that the process keeps.
    pub fn notes(&self) -> Arc<dyn notes::Notes> {
        self.0.notes()
    }

    /// The ways to elsewhere.
    pub fn network(&self) -> Arc<dyn network::Network> {
        self.0.network()
    }

    /// The machine that the process runs on.
    pub fn machine(&self) -> Arc<dyn host::Machine> {
        self.0.machine()
    }
}

struct Real;

#[expect(clippy::disallowed_methods, reason = "the one place that asks the system")]
impl Source for Real {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn uuid(&self) -> Uuid {
        Uuid::now_v7()
    }

    fn random(&self) -> u64 {
        // Version 7 fills its last 62 bits from the system's generator.
        Uuid::now_v7()
            .as_u64_pair()
            .1
            .rotate_left(2)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }
}
