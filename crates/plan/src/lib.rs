//! Cube's brain: every decision as a function from values to values. No IO, clock or randomness.
pub mod deployment;
pub mod event;
pub mod figures;
pub mod garbage;
pub mod namespace;
pub mod node_life;
pub mod pressure;
pub mod probe;
pub mod prune;
pub mod scheduler;
pub mod worker;
