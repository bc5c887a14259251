//! Cube and its engines treated badly, on the real engine, and what must hold all the same read from the engine itself.
//!
//! `dev/chaos` runs all of it; the ordinary tests here are the short forms, for every day. CHAOS_SEED repeats a run's choices.
#![allow(missing_docs, reason = "tests")]
#[allow(dead_code, reason = "not all that the other tests need")]
#[path = "real/dockerd.rs"]
mod dockerd;
#[allow(dead_code, reason = "not all that the other tests need")]
#[path = "real/fleet.rs"]
mod fleet;
#[allow(dead_code, reason = "not all that the other tests need")]
#[path = "real/harness.rs"]
mod harness;

#[path = "chaos/chance.rs"]
mod chance;
#[path = "chaos/clocks.rs"]
mod clocks;
#[path = "chaos/disks.rs"]
mod disks;
#[path = "chaos/engines.rs"]
mod engines;
#[path = "chaos/hands.rs"]
mod hands;
#[path = "chaos/kills.rs"]
mod kills;
#[path = "chaos/loops.rs"]
mod loops;
#[path = "chaos/oracle.rs"]
mod oracle;
#[path = "chaos/rivals.rs"]
mod rivals;
#[path = "chaos/rolls.rs"]
mod rolls;
#[path = "chaos/soak.rs"]
mod soak;
#[path = "chaos/upgrades.rs"]
mod upgrades;
#[path = "chaos/watched.rs"]
mod watched;
