//! The Source object: made when it is missing, its status kept current, written only when it changed.
//!
//! Read [`Actor::write_status`] first.
use std::collections::BTreeMap;

use cube_api::{
    condition::{self, Condition, READY, Truth},
    kinds::{Kind, Resource as _},
    source::{Removal, Source, SourceStatus},
};
use cube_plan::prune::Wait;
use tokio::time::Instant;

use super::actor::{Actor, RETRY};
use crate::registry::{ApiError, Object, Write, WriteOptions};

/// Errors that the status shows; with more the object would grow without bound.
const MOST_ERRORS: usize = 100;
/// Letters of one of them.
const LONGEST_ERROR: usize = 1000;

impl Actor {
    /// The very directory that was read.
    pub(super) fn identity(&self) -> Option<String> {
        let directory = self.table.directory.as_ref().ok()?;
        let (device, inode) = directory.inode;
        Some(format!("{} {device}:{inode}", directory.path.display()))
    }

    /// A source that has brought nothing yet belongs to the directory that is there, before it brings anything.
    pub(super) async fn bind_first(&mut self) {
        if self.bound_to.is_some() || self.found || self.table.directory.is_err() || !self.owned().is_empty() {
            return;
        }
        self.bound_to = self.identity();
        self.write_status().await;
    }

    /// Writes how it goes; whether that is now known to be there.
    pub(super) async fn write_status(&mut self) -> bool {
        self.status_at = None;
        let written = self.try_write_status().await;
        if let Err(error) = &written {
            tracing::warn!(source = self.name, %error, "the status cannot be written; tried again");
            self.status_at = Some(Instant::now() + RETRY);
        }
        written.is_ok()
    }

    async fn try_write_status(&self) -> Result<(), ApiError> {
        let object = self.ensure_source().await?;
        let before = &object.typed::<Source>().status;
        let status = self.status(before);
        if status != *before {
            self.registry.transact(vec![Write::status(&object, &status)]).await?;
        }
        Ok(())
    }

    /// The Source object, naming the directory.
    async fn ensure_source(&self) -> Result<Object, ApiError> {
        let directory = self.table.directory.as_ref().ok();
        let directory = directory.map(|directory| directory.path.display().to_string());
        let Some(object) = self.source() else {
            let mut source = Source::default();
            source.metadata.name.clone_from(&self.name);
            source.spec.directory = directory;
            let options = WriteOptions::new(&self.name);
            return self
                .registry
                .create(Kind::Source, "", source.to_value(), &options)
                .await;
        };
        if directory.is_none() || object.typed::<Source>().spec.directory == directory {
            return Ok(object);
        }
        let write = Write::edit(&object, |value| value["spec"]["directory"] = directory.into());
        let mut written = self.registry.transact(vec![write]).await?;
        Ok(written.pop().unwrap_or(object))
    }

    fn status(&self, before: &SourceStatus) -> SourceStatus {
        let errors = self.errors();
        let (waiting, why) = &self.waiting;
        let needs_yes = why.as_ref().is_some_and(Wait::needs_yes);
        let reason = match () {
            () if self.table.directory.is_err() => "DirectoryGone",
            () if !errors.is_empty() => "Errors",
            () if needs_yes => "WaitsForYes",
            () => "InStep",
        };
        let message = match reason {
            "DirectoryGone" => self.unread().unwrap_or_default(),
            "Errors" => errors[0].clone(),
            "WaitsForYes" => why.as_ref().map(ToString::to_string).unwrap_or_default(),
            _ => String::new(),
        };
        let mut conditions = before.conditions.clone();
        let ready = Condition {
            kind: READY.to_owned(),
            status: Truth::of(reason == "InStep"),
            reason: reason.to_owned(),
            message,
            ..Condition::default()
        };
        condition::set(&mut conditions, ready, self.world.now());
        SourceStatus {
            identity: self.bound_to.clone().unwrap_or_default(),
            files: self.table.count() as u64,
            objects: self.table.objects().count() as u64,
            errors,
            waiting: waiting.iter().map(ToString::to_string).collect(),
            waiting_reason: why.as_ref().map(ToString::to_string).unwrap_or_default(),
            removed: self.removed(before),
            conditions,
        }
    }

    /// What the status says was removed; its times are kept as they were written (in whole seconds).
    fn removed(&self, before: &SourceStatus) -> Vec<Removal> {
        let removed = self.history.iter().map(|(id, at)| {
            let object = id.to_string();
            let written = before.removed.iter().find(|entry| {
                let same = |known: &jiff::Timestamp| known.as_second() == at.as_second();
                entry.object == object && entry.at.as_ref().is_some_and(same)
            });
            let at = written.map_or(Some(*at), |entry| entry.at);
            Removal { object, at }
        });
        removed.collect()
    }

    /// What is wrong, one entry a file.
    fn errors(&self) -> Vec<String> {
        let mut by_file: BTreeMap<String, Vec<String>> = BTreeMap::new();
        if let Err(why) = &self.table.directory {
            by_file.entry(String::new()).or_default().push(why.clone());
        }
        let faults = self.table.faults().filter(|(_, fault)| !fault.fresh);
        for (path, fault) in faults {
            let file = by_file.entry(path.display().to_string()).or_default();
            file.extend(fault.diagnostics.iter().map(ToString::to_string));
        }
        for refusal in self.refused.values().filter(|refusal| !refusal.why.is_empty()) {
            let file = refusal.file.display().to_string();
            let entry = format!("{file}: {}", refusal.why);
            by_file.entry(file).or_default().push(entry);
        }
        for (id, (files, _, _)) in self.twice.iter().filter(|(_, (_, _, told))| *told) {
            let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
            let entry = format!("{id} is in {}: it stays as it was", files.join(" and in "));
            by_file.entry(files[0].clone()).or_default().push(entry);
        }
        let shortened = by_file.into_values().map(|entries| {
            let text = entries.join("\n");
            match text.char_indices().nth(LONGEST_ERROR) {
                Some((at, _)) => format!("{}…", &text[..at]),
                None => text,
            }
        });
        shortened.take(MOST_ERRORS).collect()
    }
}
