//! What a source has to say, as facts: whoever shows them to people finds the words.
use std::path::PathBuf;

use cube_plan::prune::{ObjectId, Wait};

use crate::manifest::Diagnostic;

/// Takes what a source tells; must return at once.
pub trait Tell: Send + Sync {
    /// Something happened.
    fn tell(&self, fact: Fact);
}

/// What became of an object of the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Became {
    /// It was not there.
    Created,
    /// It was there and has changed.
    Configured,
    /// It was so already; told at the start only.
    Unchanged,
}

/// Something that happened. Files are named from the directory on.
#[derive(Clone, Debug)]
pub enum Fact {
    /// The directory was read for the first time, or again after it was gone; what was found is applied after this.
    Found {
        /// Files that say something.
        files: usize,
        /// Objects that they say.
        objects: usize,
    },
    /// An object was applied.
    Applied {
        /// Which.
        object: ObjectId,
        /// What became of it.
        became: Became,
    },
    /// The registry refuses an object; it is tried again.
    Refused {
        /// Which.
        object: ObjectId,
        /// The file that says it.
        file: PathBuf,
        /// Why, for people.
        why: String,
    },
    /// A file is bad: its objects stay as they last were.
    Invalid {
        /// Which.
        file: PathBuf,
        /// All that is wrong with it.
        diagnostics: Vec<Diagnostic>,
    },
    /// A file that was bad is good again, or gone.
    Mended {
        /// Which.
        file: PathBuf,
    },
    /// Several files say the same object: it stays as it was.
    Twice {
        /// Which.
        object: ObjectId,
        /// The files.
        files: Vec<PathBuf>,
    },
    /// The directory cannot be read: nothing is removed.
    DirectoryGone {
        /// Why, for people.
        why: String,
    },
    /// Changes of the directory are seen once a minute only.
    NotWatched {
        /// Why, for people.
        why: String,
    },
    /// Nothing is removed until someone says yes: `cube approve SOURCE`.
    WaitsForYes {
        /// The source.
        source: String,
        /// So many objects would go.
        n: usize,
        /// So many the source has.
        of: usize,
        /// Why it waits.
        why: Wait,
    },
    /// An object left with its file and was removed.
    Removed {
        /// Which.
        object: ObjectId,
    },
    /// An object was changed or deleted past the directory, and is again as its file says.
    SetRight {
        /// Which.
        object: ObjectId,
        /// It had been deleted, not changed.
        deleted: bool,
    },
}
