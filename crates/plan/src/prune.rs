//! What leaves with a directory's files: what may be removed now, what waits, and why.
//!
//! It decides which of a source's objects go because no file says them any more. It never looks at files or time itself,
//! and never decides about what the files do say. Read [`decide_prune`] first.
//!
//! Guarantees: from a scan that is not complete nothing goes, whoever says yes; what no yes was given for goes only after
//! a time of quiet, from the directory that it came from, and in small numbers; what was said to wait for a yes waits for
//! it, however long that takes.
use cube_planted::{Bug, planted};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Write as _},
    str::FromStr,
    time::Duration,
};

use cube_api::kinds::Kind;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

/// The directory must have been quiet for so long. Too short takes an editor's remove-and-rename for a removal, too long
/// keeps people waiting for what they deleted.
pub const QUIET: Duration = Duration::from_secs(1);
/// What leaves within this time is counted together. Too short lets a slow `rm -r` through in small portions.
pub const WINDOW: Duration = Duration::from_secs(600);
/// So many may always leave without a yes; below it people would be asked about every tidying.
pub const FEW: usize = 3;
/// So many of a hundred may leave without a yes.
pub const PERCENT: usize = 30;
/// On a Source: the [`digest`] of the list that someone said yes to.
pub const APPROVED_ANNOTATION: &str = "cube/approved";

/// Which object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; empty for an object of the whole cluster.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for ObjectId {
    /// `task/default/web`, `namespace/web`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.info().singular)?;
        if !self.namespace.is_empty() {
            write!(f, "/{}", self.namespace)?;
        }
        write!(f, "/{}", self.name)
    }
}

impl FromStr for ObjectId {
    type Err = ();

    /// Reads what `Display` writes.
    fn from_str(text: &str) -> Result<Self, ()> {
        let parts: Vec<&str> = text.split('/').collect();
        let (kind, namespace, name) = match parts[..] {
            [kind, namespace, name] => (kind, namespace, name),
            [kind, name] => (kind, "", name),
            _ => return Err(()),
        };
        Ok(ObjectId {
            kind: Kind::from_name(kind).ok_or(())?,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }
}

/// What is known of an object that the source manages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owned {
    /// `cube/prune: disabled`: it is never removed.
    pub keep: bool,
    /// So many objects that are not the source's would go with it (what others have in a namespace).
    pub others: usize,
}

/// What the files say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scan {
    /// Every file was read: these are all the objects.
    Complete(BTreeSet<ObjectId>),
    /// Not every file could be read, or not the directory; why, for people.
    Incomplete(String),
}

/// What is to be decided about.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The moment.
    pub now: Timestamp,
    /// The objects that the source manages and that are not being deleted.
    pub owned: BTreeMap<ObjectId, Owned>,
    /// What the files say.
    pub scan: Scan,
    /// How long nothing has changed in the directory.
    pub quiet_for: Duration,
    /// The directory that was read.
    pub directory: String,
    /// The directory that the objects came from, if that is known.
    pub bound_to: Option<String>,
    /// What was removed without a yes, and when.
    pub removed: Vec<(ObjectId, Timestamp)>,
    /// What a yes has been waited for since it left: it does not go without one because time passes.
    pub waited: BTreeSet<ObjectId>,
    /// The digest of the list that someone said yes to.
    pub approved: Option<String>,
}

/// Why objects that no file says stay for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not every file could be read; no yes helps.
    Incomplete(String),
    /// The directory changed a moment ago; look again after this time.
    Quiet(Duration),
    /// Another directory than the one that the objects came from: waits for a yes.
    OtherDirectory {
        /// Where they came from; empty when nobody knows any more.
        was: String,
        /// What was read.
        is: String,
    },
    /// Too much leaves at once: waits for a yes.
    TooMany {
        /// So many leave, or left within [`WINDOW`].
        gone: usize,
        /// So many the directory had.
        of: usize,
    },
    /// So much left at once, earlier, that it was said to wait for a yes: it still does.
    StillWaits {
        /// So many leave.
        gone: usize,
        /// So many the directory had.
        of: usize,
    },
    /// What is not the source's would go too: waits for a yes.
    TakesOthers {
        /// The object that takes them along.
        with: ObjectId,
        /// How many.
        others: usize,
    },
}

impl Wait {
    /// How many leave, of how many, where that is too much to go without a yes.
    pub fn too_much(&self) -> Option<(usize, usize)> {
        match self {
            Wait::TooMany { gone, of } | Wait::StillWaits { gone, of } => Some((*gone, *of)),
            _ => None,
        }
    }

    /// Whether a yes would let it go.
    pub fn needs_yes(&self) -> bool {
        !matches!(self, Wait::Incomplete(_) | Wait::Quiet(_))
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wait::Incomplete(why) => write!(f, "nothing is removed while {why}"),
            Wait::Quiet(_) => f.write_str("the directory changed a moment ago"),
            Wait::OtherDirectory { was, is } if was.is_empty() => {
                write!(f, "nobody knows whether the objects came from {is}")
            }
            Wait::OtherDirectory { was, is } => write!(f, "the objects came from {was}, this is {is}"),
            Wait::TooMany { gone, of } => write!(f, "{gone} of {of} objects are gone from the directory"),
            Wait::StillWaits { gone, of } => {
                write!(
                    f,
                    "{gone} of {of} objects are gone from the directory and wait for a yes"
                )
            }
            Wait::TakesOthers { with, others: 1 } => {
                write!(f, "with {with} 1 object that is not the directory's would go")
            }
            Wait::TakesOthers { with, others } => {
                write!(f, "with {with} {others} objects that are not the directory's would go")
            }
        }
    }
}

/// What is to be done about what no file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// To be removed now, what depends on others first.
    pub remove: Vec<ObjectId>,
    /// Someone said yes to `remove`: it does not count for what may leave later.
    pub approved: bool,
    /// What stays for now.
    pub waiting: Vec<ObjectId>,
    /// Why it does.
    pub why: Option<Wait>,
    /// What stays for good, since it says so.
    pub kept: Vec<ObjectId>,
    /// The source's objects are from now on those of the directory that was read.
    pub bind: bool,
}

/// What of a source's objects goes now, what waits, and why.
pub fn decide_prune(seen: &Seen) -> Decision {
    let said = match &seen.scan {
        Scan::Complete(said) => said,
        Scan::Incomplete(why) => {
            return Decision {
                why: Some(Wait::Incomplete(why.clone())),
                ..Decision::default()
            };
        }
    };
    let left = seen.owned.iter().filter(|(id, _)| !said.contains(id));
    let (kept, gone): (Vec<_>, Vec<_>) = left.partition(|(_, owned)| owned.keep);
    let kept = kept.into_iter().map(|(id, _)| id.clone()).collect();
    // Kinds come after those that they depend on.
    let gone: Vec<ObjectId> = gone.into_iter().rev().map(|(id, _)| id.clone()).collect();
    if gone.is_empty() {
        let bind = seen.bound_to.as_ref() != Some(&seen.directory);
        return Decision {
            kept,
            bind,
            ..Decision::default()
        };
    }
    let why = reason_to_wait(seen, said, &gone);
    let approved = why.as_ref().is_some_and(Wait::needs_yes) && seen.approved.as_ref() == Some(&digest(&gone));
    match why {
        Some(why) if !approved => Decision {
            waiting: gone,
            why: Some(why),
            kept,
            ..Decision::default()
        },
        _ => Decision {
            remove: gone,
            approved,
            kept,
            ..Decision::default()
        },
    }
}

fn reason_to_wait(seen: &Seen, said: &BTreeSet<ObjectId>, gone: &[ObjectId]) -> Option<Wait> {
    if seen.quiet_for < QUIET {
        return Some(Wait::Quiet(QUIET - seen.quiet_for));
    }
    if seen.bound_to.as_ref() != Some(&seen.directory) {
        return Some(Wait::OtherDirectory {
            was: seen.bound_to.clone().unwrap_or_default(),
            is: seen.directory.clone(),
        });
    }
    let recent = seen.removed.iter().filter(|(_, at)| is_recent(*at, seen.now));
    let mut leaving: BTreeSet<&ObjectId> = recent.map(|(id, _)| id).filter(|id| !said.contains(id)).collect();
    leaving.extend(gone);
    let of = seen
        .owned
        .keys()
        .chain(leaving.iter().copied())
        .collect::<BTreeSet<_>>()
        .len();
    // In whole objects, so that 30 % of 11 are 3.
    if leaving.len() > FEW.max(of * PERCENT / 100) && !planted(Bug::PruneUnasked) {
        return Some(Wait::TooMany {
            gone: leaving.len(),
            of,
        });
    }
    if gone.iter().any(|id| seen.waited.contains(id)) {
        return Some(Wait::StillWaits { gone: gone.len(), of });
    }
    let takes = gone.iter().find(|id| seen.owned[*id].others > 0)?;
    Some(Wait::TakesOthers {
        with: takes.clone(),
        others: seen.owned[takes].others,
    })
}

/// Whether a removal still counts. One from the future (the clock was set back) does.
pub fn is_recent(at: Timestamp, now: Timestamp) -> bool {
    now.duration_since(at).as_secs_f64() < WINDOW.as_secs_f64()
}

/// A digest of a list of objects: a yes is a yes to exactly these, in whatever order.
pub fn digest<T: ToString>(waiting: &[T]) -> String {
    let names: BTreeSet<String> = waiting.iter().map(ToString::to_string).collect();
    let mut hash = Sha256::new();
    for name in names {
        hash.update(name.as_bytes());
        hash.update(b"\n");
    }
    let mut text = String::new();
    for byte in &hash.finalize()[..16] {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests;
