//! Cube's brain: every decision as a function from values to values. No IO, clock or randomness.
pub mod prune;
pub mod worker;
