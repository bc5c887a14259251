//! The whole of Cube on the real Docker engine, as a user has it: the binary, a directory, the engine's own word.
//!
//! These tests need an engine with the image `busybox` and fail without one (`dev/engine`, `dev/images busybox`).
#![allow(missing_docs, reason = "tests")]
#[allow(dead_code, reason = "tests/chaos has use for more of it")]
#[path = "real/harness.rs"]
mod harness;

#[path = "real/book.rs"]
mod book;
#[path = "real/by_hand.rs"]
mod by_hand;
#[path = "real/containers.rs"]
mod containers;
#[path = "real/crashes.rs"]
mod crashes;
#[path = "real/directory.rs"]
mod directory;
#[allow(dead_code, reason = "tests/chaos has use for more of it")]
#[path = "real/dockerd.rs"]
mod dockerd;
#[path = "real/engine_gone.rs"]
mod engine_gone;
#[path = "real/execs.rs"]
mod execs;
#[path = "real/figures.rs"]
mod figures;
#[path = "real/fleet.rs"]
mod fleet;
#[path = "real/losses.rs"]
mod losses;
#[path = "real/main_job.rs"]
mod main_job;
#[path = "real/probes.rs"]
mod probes;
#[path = "real/rebalance.rs"]
mod rebalance;
#[path = "real/workers.rs"]
mod workers;
