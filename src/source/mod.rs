//! A watched directory: what its files say is applied, what leaves with them is removed with care.
//!
//! Owns the reading of one directory and one `Source` object, and keeps what the directory says so, also against
//! others' writes. Never decides what may be removed (`cube_plan::prune` does) nor what a write means (the registry
//! does). Read [`run`] first.
//!
//! ```text
//! inotify ─► changes ─► table (read, parse, remember) ─► dirty objects ─► registry: the one apply ─► told
//!              scan ──────┘                                  ▲    │
//! registry's watch (others' writes, a yes) ──────────────────┘    └─► decide_prune ─► removed, or waits for a yes
//! ```
//!
//! Flow: a file acts when it is closed; the whole directory is looked at when directories change, when word was lost,
//! once a minute, and before anything is removed. Guarantees: each can be repeated at any time, and writes nothing when
//! all is so. Assumption: one source of a name at a time.
mod actor;
mod apply;
mod drift;
mod parse;
mod prune;
mod status;
mod table;
mod tell;
#[cfg(test)]
mod tests;
mod walk;

use std::{path::PathBuf, sync::Arc};

use tokio_util::sync::CancellationToken;

use crate::{registry::Registry, world::World};

pub use cube_plan::prune::{APPROVED_ANNOTATION, ObjectId, Wait, digest};
pub use tell::{Became, Fact, Tell};
pub(crate) use walk::{Trust, walk};

/// What is watched, and as whom.
#[derive(Clone, Debug)]
pub struct Options {
    /// The source's name, and the manager of its objects. See [`name_of`].
    pub name: String,
    /// The directory, as people gave it.
    pub directory: PathBuf,
}

/// The name that a directory's source has by default: its last step, in the letters that a name may have.
pub fn name_of(directory: &std::path::Path) -> String {
    let real = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
    let last = real.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let letters = last
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' });
    let name: String = letters.take(63).collect();
    let name = name.trim_matches(['-', '.']);
    match name {
        // `cube` is the manager of what people apply.
        "" | "cube" => "manifests".to_owned(),
        name => name.to_owned(),
    }
}

/// Watches a directory until it is told to stop; then everything stays as it is.
pub async fn run(options: Options, registry: Registry, world: World, tell: Arc<dyn Tell>, shutdown: CancellationToken) {
    actor::Actor::new(options, registry, world, tell).run(shutdown).await;
}
