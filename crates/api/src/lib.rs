//! Cube's nouns: metadata, one file per kind, quantities, conditions. No IO, no async.
pub mod error;
