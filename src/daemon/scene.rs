//! What is going on, and which lines that gives: pure, fed with facts, Events and changes of objects.
use std::collections::{BTreeMap, BTreeSet};

use cube_api::condition::{self, READY, Truth};
use cube_api::deployment::Deployment;
use cube_api::event::EventType;
use cube_api::kinds::Kind;
use cube_api::task::{Phase, Task};
use cube_plan::prune::{ObjectId, Wait};
use jiff::Timestamp;
use tokio::time::Instant;

use super::lines::tame;
use crate::registry::{Object, Told, WatchEvent};
use crate::source::{Became, Fact};

/// How a line is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Plain,
    /// Somebody should look.
    Warning,
}

/// One line for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    tone: Tone,
    /// What it is about; empty for Cube itself.
    subject: String,
    reason: String,
    message: String,
    /// Shown as it is, over several lines.
    block: Option<String>,
}

impl Line {
    /// A line of Cube itself.
    pub fn plain(message: &str) -> Self {
        Self {
            tone: Tone::Plain,
            subject: String::new(),
            reason: String::new(),
            message: message.to_owned(),
            block: None,
        }
    }

    /// Several lines; `message` is the short form for logs.
    pub fn block(tone: Tone, block: String, message: String) -> Self {
        Self {
            tone,
            block: Some(block),
            message,
            ..Self::plain("")
        }
    }

    /// A line about something.
    pub fn about(subject: impl Into<String>, reason: &str, message: impl Into<String>) -> Self {
        Self {
            subject: subject.into(),
            reason: reason.to_owned(),
            message: message.into(),
            ..Self::plain("")
        }
    }

    /// The same, as a worry.
    #[must_use]
    pub fn warning(self) -> Self {
        Self {
            tone: Tone::Warning,
            ..self
        }
    }

    /// For people.
    pub fn text(&self, colour: bool) -> String {
        if let Some(block) = &self.block {
            return block.clone();
        }
        // What an engine or a registry says may hold anything.
        let message = tame(&self.message);
        let line = match self.subject.as_str() {
            "" => message,
            subject => format!("{subject:<19} {message}"),
        };
        match self.tone {
            Tone::Warning if colour => format!("\u{1b}[33m{line}\u{1b}[0m"),
            Tone::Plain | Tone::Warning => line,
        }
    }

    /// For programs.
    pub fn json(&self, now: Timestamp) -> String {
        let level = match self.tone {
            Tone::Plain => "info",
            Tone::Warning => "warn",
        };
        let mut value = serde_json::json!({ "time": now.to_string(), "level": level, "message": self.message });
        for (name, text) in [("object", &self.subject), ("reason", &self.reason)] {
            if !text.is_empty() {
                value[name] = text.as_str().into();
            }
        }
        value.to_string()
    }
}

/// A Task or Deployment as it was seen last.
#[derive(Clone, Debug)]
struct Actor {
    settled: bool,
    /// A container of it has run.
    ran: bool,
    /// When it began to be not as wished.
    since: Instant,
    deleting: bool,
}

/// What is going on.
pub struct Scene {
    directory: String,
    actors: BTreeMap<String, Actor>,
    unsettled: BTreeSet<String>,
    containers: BTreeSet<String>,
    /// Objects that left with their file and are not gone yet.
    leaving: BTreeSet<String>,
    unchanged: usize,
    created: bool,
    started: bool,
    /// Whether "all as desired" is still to be said.
    open: bool,
    /// Objects that files say, in number.
    objects: BTreeSet<String>,
    first: bool,
    /// What the directory says and nobody has told yet what became of; none before it was read.
    untold: Option<usize>,
}

impl Scene {
    /// Nothing is known yet; `directory` is what people call the source.
    pub fn new(directory: &str) -> Self {
        Self {
            directory: directory.to_owned(),
            actors: BTreeMap::new(),
            unsettled: BTreeSet::new(),
            containers: BTreeSet::new(),
            leaving: BTreeSet::new(),
            unchanged: 0,
            created: false,
            started: false,
            open: true,
            objects: BTreeSet::new(),
            first: true,
            untold: directory.is_empty().then_some(0),
        }
    }

    /// The watches begin anew: what is there comes again.
    pub fn begin_again(&mut self) {
        self.actors.clear();
        self.unsettled.clear();
        self.containers.clear();
    }

    /// Containers that run.
    pub fn running(&self) -> usize {
        self.containers.len()
    }

    /// Something that the source tells.
    pub fn fact(&mut self, fact: Fact) -> Vec<Line> {
        let line = match fact {
            Fact::Found { files, objects } => {
                self.untold = Some(objects);
                let text = format!(
                    "watching {}: {}, {}",
                    self.directory,
                    counted(files, "file"),
                    counted(objects, "object")
                );
                Line::plain(&text)
            }
            Fact::Applied { object, became } => {
                let subject = subject(&object);
                self.objects.insert(subject.clone());
                self.open = true;
                self.untold = self.untold.map(|n| n.saturating_sub(1));
                match became {
                    Became::Created => {
                        self.created = true;
                        Line::plain(&format!("  + {subject}"))
                    }
                    Became::Configured => Line::plain(&format!("  ~ {subject}")),
                    Became::Unchanged => {
                        self.unchanged += 1;
                        return Vec::new();
                    }
                }
            }
            Fact::Refused { object, file, why } => {
                self.untold = self.untold.map(|n| n.saturating_sub(1));
                let why = why.replace("\nhint: ", "; ");
                Line::about(
                    subject(&object),
                    "Refused",
                    format!("refused ({}): {why}", file.display()),
                )
                .warning()
            }
            // Shown with its diagnostics by the narrator.
            Fact::Invalid { .. } => return Vec::new(),
            Fact::Mended { file } => Line::plain(&format!("{} has no errors any more", file.display())),
            Fact::Twice { object, files } => {
                let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
                let why = format!(
                    "is in {}: it stays as it was; take it out of one",
                    files.join(" and in ")
                );
                Line::about(subject(&object), "Twice", why).warning()
            }
            Fact::DirectoryGone { why } => {
                let text = format!("cannot be read: {why}; nothing is removed, and it is looked for again");
                Line::about(self.directory.clone(), "DirectoryGone", text).warning()
            }
            Fact::NotWatched { why } => {
                let text = format!("changes are seen once a minute only: {why}");
                Line::about(self.directory.clone(), "NotWatched", text).warning()
            }
            Fact::WaitsForYes { source, n, of, why } => return self.waits(&source, n, of, &why),
            Fact::Removed { object } => {
                self.objects.remove(&subject(&object));
                if !matches!(object.kind, Kind::Task | Kind::Deployment) {
                    return self.flushed(Line::about(
                        subject(&object),
                        "Removed",
                        format!("gone from {}; removed", self.directory),
                    ));
                }
                self.leaving.insert(subject(&object));
                return self.flushed_none();
            }
            Fact::SetRight { object, deleted } => {
                let text = if deleted {
                    format!(
                        "was deleted by someone else; it is in {}, so it is back",
                        self.directory
                    )
                } else {
                    format!("was changed by someone else; set right as {} says", self.directory)
                };
                Line::about(subject(&object), "SetRight", text).warning()
            }
        };
        self.flushed(line)
    }

    fn waits(&mut self, source: &str, n: usize, of: usize, why: &Wait) -> Vec<Line> {
        let first = match why.too_much() {
            Some(_) => format!("{n} of {of} objects are gone from the directory: nothing removed"),
            None => format!("{n} of {of} objects would go: nothing removed ({why})"),
        };
        let second = format!(
            "{:<19} if that is meant:  cube approve {source}      what would go:  cube approve {source} --show",
            ""
        );
        vec![
            Line::about(self.directory.clone(), "WaitsForYes", first).warning(),
            Line::plain(&second),
        ]
    }

    /// An Event; `owned`: its object belongs to another one, of which the good news are told.
    pub fn told(&mut self, told: &Told, owned: bool) -> Vec<Line> {
        let about = &told.about;
        if told.reason == "Started" {
            self.started = true;
        }
        let worry = told.kind == EventType::Warning;
        let silent = matches!(told.reason.as_str(), "Scheduled" | "Created" | "Deleted");
        if silent || (owned && !worry && !matches!(told.reason.as_str(), "Pulling" | "Pulled")) {
            return Vec::new();
        }
        let Some(kind) = Kind::from_kind(&about.kind) else {
            return Vec::new();
        };
        let id = ObjectId {
            kind,
            namespace: about.namespace.clone(),
            name: about.name.clone(),
        };
        let line = Line::about(subject(&id), &told.reason, told.message.clone());
        self.flushed(if worry { line.warning() } else { line })
    }

    /// A Task or Deployment changed.
    pub fn seen(&mut self, event: &WatchEvent, now: Instant) -> Vec<Line> {
        let object = event.object();
        let id = ObjectId {
            kind: object.kind(),
            namespace: object.namespace().to_owned(),
            name: object.name().to_owned(),
        };
        let (subject, uid) = (subject(&id), object.uid().to_owned());
        if let WatchEvent::Deleted(_) = event {
            return self.gone(object, subject, &uid, now);
        }
        let before = self.actors.get(&uid).cloned();
        let settled = is_settled(object);
        let running = object
            .try_typed::<Task>()
            .is_some_and(|task| task.status.phase == Phase::Running);
        let same = before
            .as_ref()
            .is_some_and(|before| before.settled == settled && before.deleting == object.is_deleting());
        let since = match &before {
            Some(before) if same || settled => before.since,
            _ => now,
        };
        let lines = match (&before, object.try_typed::<Deployment>()) {
            (Some(before), Some(deployment)) if settled && !before.settled => {
                let took = now.duration_since(before.since).as_secs_f64();
                let text = format!(
                    "{}/{} ready in {took:.1} s",
                    deployment.status.ready_replicas, deployment.spec.replicas
                );
                self.flushed(Line::about(subject, "Ready", text))
            }
            _ => Vec::new(),
        };
        if running {
            self.containers.insert(uid.clone());
        } else {
            self.containers.remove(&uid);
        }
        if settled {
            self.unsettled.remove(&uid);
        } else {
            self.open = true;
            self.unsettled.insert(uid.clone());
        }
        let actor = Actor {
            settled,
            ran: running || before.is_some_and(|before| before.ran),
            since,
            deleting: object.is_deleting(),
        };
        self.actors.insert(uid, actor);
        lines
    }

    fn gone(&mut self, object: &Object, subject: String, uid: &str, now: Instant) -> Vec<Line> {
        self.unsettled.remove(uid);
        self.containers.remove(uid);
        let before = self.actors.remove(uid);
        let ran = before.as_ref().is_some_and(|before| before.ran);
        self.open = true;
        if object.meta().controller().is_some() {
            return Vec::new();
        }
        let why = match self.leaving.remove(&subject) {
            true => format!("gone from {}; ", self.directory),
            false => "deleted; ".to_owned(),
        };
        let took = before.map_or(0.0, |before| now.duration_since(before.since).as_secs_f64());
        let what = match object.kind() {
            Kind::Task if ran => format!("stopped in {took:.1} s, removed"),
            _ => "removed".to_owned(),
        };
        self.flushed(Line::about(subject, "Removed", format!("{why}{what}")))
    }

    /// Nothing was heard for a moment: what was held back is said, and whether all is as desired.
    pub fn pause(&mut self) -> Vec<Line> {
        let mut lines = self.flushed_none();
        if !self.open || !self.unsettled.is_empty() || self.untold != Some(0) {
            return lines;
        }
        self.open = false;
        let adopted = if self.first && !self.started && !self.containers.is_empty() {
            " (adopted as they were)"
        } else {
            ""
        };
        self.first = false;
        let text = format!(
            "all as desired · {}, {}{adopted} · Ctrl-C leaves them running",
            counted(self.objects.len(), "object"),
            counted(self.containers.len(), "container")
        );
        lines.push(Line::plain(&text));
        lines
    }

    fn flushed(&mut self, line: Line) -> Vec<Line> {
        let mut lines = self.flushed_none();
        lines.push(line);
        lines
    }

    fn flushed_none(&mut self) -> Vec<Line> {
        match std::mem::take(&mut self.unchanged) {
            0 => Vec::new(),
            n => vec![Line::plain(&format!("  = {n} unchanged"))],
        }
    }
}

/// Whether nothing more is to come of an object by itself.
fn is_settled(object: &Object) -> bool {
    if object.is_deleting() {
        return false;
    }
    if let Some(task) = object.try_typed::<Task>() {
        let current = task.status.observed_generation == task.metadata.generation;
        return match task.status.phase {
            Phase::Running => {
                let ready = condition::find(&task.status.conditions, READY);
                let unready = ready.is_some_and(|ready| ready.status != Truth::True);
                current && task.status.reason == "Running" && !unready
            }
            Phase::Completed | Phase::Failed => true,
            Phase::Pending | Phase::Scheduled => false,
        };
    }
    object.try_typed::<Deployment>().is_none_or(|deployment| {
        let (status, wished) = (&deployment.status, deployment.spec.replicas);
        status.observed_generation == deployment.metadata.generation
            && status.updated_replicas == wished
            && status.replicas == wished
            && status.available_replicas == wished
    })
}

/// `task/web`, `task/other/web`: the namespace only where it is not the default one.
fn subject(id: &ObjectId) -> String {
    let kind = id.kind.info().singular;
    match id.namespace.as_str() {
        "" | cube_api::namespace::DEFAULT => format!("{kind}/{}", id.name),
        namespace => format!("{kind}/{namespace}/{}", id.name),
    }
}

fn counted(n: usize, what: &str) -> String {
    match n {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    }
}

#[cfg(test)]
mod tests;
