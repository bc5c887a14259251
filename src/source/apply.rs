//! From changed words of files to the registry's one apply, and what becomes of it.
//!
//! Read [`Actor::apply`] first.
use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash as _, Hasher as _},
    path::PathBuf,
};

use cube_plan::prune::ObjectId;
use tokio::time::Instant;

use super::{
    Became, Fact,
    actor::{Actor, RETRY, SETTLE},
    parse,
};
use crate::registry::{ApiError, Applied, ApplyRequest, Object, Outcome};

/// Objects of one transaction. Too many keep the first waiting for the last.
const BATCH: usize = 1000;

/// The state in which an apply left an object; its status is no part of it.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    /// The revision.
    pub revision: u64,
    state: u64,
}

impl PartialEq for Mark {
    fn eq(&self, other: &Self) -> bool {
        self.state == other.state
    }
}

impl Mark {
    /// The mark of an object.
    pub fn of(object: &Object) -> Self {
        let meta = object.meta();
        let mut hash = DefaultHasher::new();
        (
            &meta.uid,
            meta.generation,
            &meta.labels,
            &meta.annotations,
            meta.manager(),
        )
            .hash(&mut hash);
        Self {
            revision: object.revision(),
            state: hash.finish(),
        }
    }
}

/// Why an object is not as its file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub file: PathBuf,
    pub why: String,
}

impl Actor {
    /// Applies the objects about which files have changed their word, or others theirs.
    pub(super) async fn apply(&mut self) {
        let now = Instant::now();
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            self.dirty.extend(self.refused.keys().cloned());
        }
        self.count_twice(now);
        let first = !self.found && self.table.directory.is_ok();
        let mut batch = Vec::new();
        // By kind: what others depend on comes first.
        for id in std::mem::take(&mut self.dirty) {
            match self.table.sayers(&id)[..] {
                [] => {
                    self.refused.remove(&id);
                    self.drifted.remove(&id);
                    self.prune_at = Some(now);
                }
                [file] => {
                    if let Some(value) = self.table.value(file, &id) {
                        batch.push((id.clone(), file.to_owned(), value.clone()));
                    }
                }
                _ => {}
            }
        }
        for batch in batch.chunks(BATCH) {
            let request = ApplyRequest {
                manager: self.name.clone(),
                objects: batch.iter().map(|(_, _, value)| (**value).clone()).collect(),
                ..ApplyRequest::default()
            };
            let applied = self.registry.apply(&request).await;
            for ((id, file, _), applied) in batch.iter().zip(applied) {
                self.became(id, file, applied, first);
            }
        }
        self.found |= first;
        if self.refused.is_empty() {
            (self.retry_at, self.retry_after) = (None, RETRY);
        } else if self.retry_at.is_none() {
            self.retry_at = Some(now + self.retry_after);
            self.retry_after = (self.retry_after * 2).min(std::time::Duration::from_secs(60));
        }
    }

    fn became(&mut self, id: &ObjectId, file: &std::path::Path, applied: Applied, first: bool) {
        let became = match applied.outcome {
            Outcome::Created => Became::Created,
            Outcome::Configured => Became::Configured,
            Outcome::Unchanged => Became::Unchanged,
            Outcome::Refused(error) => return self.refuse(id, file, &error),
            // Only where one refusal stops all.
            Outcome::Withheld => return,
        };
        self.refused.remove(id);
        if let Some(object) = &applied.object {
            self.marks.insert(id.clone(), Mark::of(object));
        }
        let drifted = self.drifted.remove(id);
        let object = id.clone();
        match (drifted, became) {
            (Some(_), Became::Unchanged) => {}
            (Some(deleted), _) => self.tell.tell(Fact::SetRight { object, deleted }),
            (None, Became::Unchanged) if !first => {}
            (None, became) => self.tell.tell(Fact::Applied { object, became }),
        }
    }

    fn refuse(&mut self, id: &ObjectId, file: &std::path::Path, error: &ApiError) {
        let there = self.registry.get(id.kind, &id.namespace, &id.name);
        let passing = there.is_ok_and(|object| object.is_deleting());
        // While its predecessor goes there is nothing to tell: it comes when that is gone.
        let why = if passing { String::new() } else { error.message.clone() };
        let refusal = Refusal {
            file: file.to_owned(),
            why,
        };
        if self.refused.get(id) == Some(&refusal) {
            return;
        }
        if !refusal.why.is_empty() {
            let diagnostics = match &error.causes[..] {
                [] => Vec::new(),
                causes => parse::locate(file, &self.table.bytes(file), id, causes),
            };
            let file = file.to_owned();
            self.tell.tell(if diagnostics.is_empty() {
                let (object, why) = (id.clone(), error.message.clone());
                Fact::Refused { object, file, why }
            } else {
                Fact::Invalid { file, diagnostics }
            });
        }
        self.refused.insert(id.clone(), refusal);
    }

    /// Objects that several files say stay as they are; that is told when it lasts, for an object moves from one file to
    /// another in two steps.
    fn count_twice(&mut self, now: Instant) {
        for id in &self.dirty {
            let files: Vec<PathBuf> = self.table.sayers(id).into_iter().map(ToOwned::to_owned).collect();
            if files.len() < 2 {
                self.twice.remove(id);
            } else if self.twice.get(id).is_none_or(|(known, _, _)| *known != files) {
                self.twice.insert(id.clone(), (files, now + SETTLE, false));
            }
        }
        for (object, (files, at, told)) in &mut self.twice {
            if *at <= now && !*told {
                *told = true;
                let (object, files) = (object.clone(), files.clone());
                self.tell.tell(Fact::Twice { object, files });
            }
        }
    }
}
