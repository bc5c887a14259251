//! Cube's nouns: metadata, one file per kind, quantities, conditions; defaults, validation, schemas.
//!
//! It decides what an object may say and never does IO, keeps no clock and knows nothing else of ours, so that others
//! can build clients on it. Read [`kinds`] first: the one table of all kinds.
pub mod condition;
pub mod deployment;
pub mod error;
pub mod event;
pub mod figures;
pub mod hash;
pub mod kinds;
pub mod meta;
pub mod namespace;
pub mod node;
pub mod placement;
pub mod probe;
pub mod quantity;
pub mod rebalance;
pub mod revision;
pub mod selector;
pub mod settings;
pub mod shape;
pub mod shared;
pub mod source;
pub mod survey;
pub mod task;
mod typeless;
pub mod validate;

/// The one API group and version, as manifests write it.
pub const API_VERSION: &str = "cube/v1";
/// The API group.
pub const GROUP: &str = "cube";
/// The API version within the group.
pub const VERSION: &str = "v1";

/// Whether a value is its type's default, for fields that are left out when they say nothing.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
