//! The loop of a source: what wakes it, and in which order it works.
//!
//! Each pass works from what is there: look, apply, prune, say how it goes. Read [`Actor::run`] first.
use cube_planted::{Bug, planted};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use cube_plan::prune::{ObjectId, Wait};
use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    Fact, Options, Tell,
    apply::{Mark, Refusal},
    drift::Drift,
    table::Table,
    walk::{Means, means},
};
use crate::{
    registry::Registry,
    world::{
        World,
        files::{Changed, Changes, Files, Seen},
        process::blocking,
    },
};

/// The whole directory is looked at so often, in case word was lost or never comes (network file systems).
const RESCAN: Duration = Duration::from_secs(60);
/// A directory that cannot be read is looked for so often: no word comes of its return.
const LOOK_FOR: Duration = Duration::from_secs(1);
/// A file that was made or written but not closed, or that does not parse, is read (again) after this time. Too short
/// tells people of errors in half-written files, too long keeps them waiting for those that are real.
pub(super) const SETTLE: Duration = Duration::from_millis(250);
/// What failed and may pass by itself is tried again after this time, then twice as long, up to [`RESCAN`].
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// A source at work.
pub(super) struct Actor {
    pub(super) name: String,
    pub(super) registry: Registry,
    pub(super) world: World,
    pub(super) tell: Arc<dyn Tell>,
    files: Arc<dyn Files>,
    changes: Changes,
    pub(super) table: Table,
    /// Files to be read now.
    urgent: BTreeSet<PathBuf>,
    /// Files to be read at a time, unless they are closed before.
    pub(super) unsettled: BTreeMap<PathBuf, Instant>,
    /// Files that someone is writing, and when they last did: a truncated one says less than it will.
    pub(super) being_written: BTreeMap<PathBuf, Instant>,
    scan_at: Instant,
    /// The directory was looked at as a whole since its last change.
    pub(super) verified: bool,
    pub(super) last_change: Instant,
    /// What was found has been told since the directory was last gone.
    pub(super) found: bool,
    gone: Option<String>,
    unwatched: Option<String>,

    pub(super) dirty: BTreeSet<ObjectId>,
    /// Changed by others; whether it was deleted.
    pub(super) drifted: BTreeMap<ObjectId, bool>,
    pub(super) marks: BTreeMap<ObjectId, Mark>,
    pub(super) refused: BTreeMap<ObjectId, Refusal>,
    pub(super) retry_at: Option<Instant>,
    pub(super) retry_after: Duration,
    /// Objects that several files say: those files, and since when.
    pub(super) twice: BTreeMap<ObjectId, (Vec<PathBuf>, Instant, bool)>,

    pub(super) prune_at: Option<Instant>,
    pub(super) waiting: (Vec<ObjectId>, Option<Wait>),
    /// What a yes is waited for, since too much left at once.
    pub(super) waited: BTreeSet<ObjectId>,
    /// The directory that the objects came from.
    pub(super) bound_to: Option<String>,
    pub(super) history: Vec<(ObjectId, Timestamp)>,
    /// Objects on their way out by this source.
    pub(super) leaving: BTreeSet<ObjectId>,
    pub(super) status_at: Option<Instant>,
}

impl Actor {
    pub(super) fn new(options: Options, registry: Registry, world: World, tell: Arc<dyn Tell>) -> Self {
        let changes = Changes::default();
        let now = Instant::now();
        Self {
            name: options.name,
            table: Table::new(world.files(), options.directory, changes.clone()),
            files: world.files(),
            registry,
            world,
            tell,
            changes,
            urgent: BTreeSet::new(),
            unsettled: BTreeMap::new(),
            being_written: BTreeMap::new(),
            scan_at: now,
            verified: false,
            last_change: now,
            found: false,
            gone: None,
            unwatched: None,
            dirty: BTreeSet::new(),
            drifted: BTreeMap::new(),
            marks: BTreeMap::new(),
            refused: BTreeMap::new(),
            retry_at: None,
            retry_after: RETRY,
            twice: BTreeMap::new(),
            prune_at: Some(now),
            waiting: (Vec::new(), None),
            waited: BTreeSet::new(),
            bound_to: None,
            history: Vec::new(),
            leaving: BTreeSet::new(),
            status_at: None,
        }
    }

    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        let mut drift = Drift::new(&self.registry, &self.name);
        self.recall();
        let changes = self.changes.clone();
        loop {
            let mut this = tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                this = self.pass() => this,
            };
            let due = this.next_due();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                changed = changes.next() => this.take(changed),
                events = drift.next() => this.heed(events),
                () = tokio::time::sleep_until(due) => {}
            }
            self = this;
        }
    }

    /// One pass over all that is due.
    async fn pass(mut self) -> Self {
        // Files can take their time (a network's, a slow disk's): not on the threads that serve everyone.
        let mut this = blocking(move || {
            self.read();
            self
        })
        .await;
        this.tell_of_files();
        this.bind_first().await;
        this.apply().await;
        this.prune().await;
        this.write_status().await;
        this
    }

    /// Reads what is due.
    fn read(&mut self) {
        let now = Instant::now();
        let due: Vec<PathBuf> = self
            .unsettled
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(path, _)| path.clone())
            .collect();
        for path in due.iter().chain(&self.urgent) {
            self.unsettled.remove(path);
            if self.table.refresh(path) {
                self.scan_at = now;
            }
        }
        self.urgent.clear();
        if self.scan_at <= now {
            self.table.scan();
            self.verified = true;
            let whole = self.table.directory.is_ok();
            self.scan_at = Instant::now() + if whole { RESCAN } else { LOOK_FOR };
            if planted(Bug::RescanSkipped) && whole {
                self.scan_at += Duration::from_secs(86_400);
            }
            self.prune_at = Some(now);
        }
        // What does not parse is perhaps half-written: it gets one more look.
        let fresh: Vec<PathBuf> = self
            .table
            .faults()
            .filter(|(path, fault)| fault.fresh && !due.iter().any(|due| due == path))
            .map(|(path, _)| path.to_owned())
            .collect();
        for path in fresh {
            self.unsettled.entry(path).or_insert(Instant::now() + SETTLE);
        }
        self.dirty.append(&mut self.table.dirty);
    }

    fn tell_of_files(&mut self) {
        let gone = self.table.directory.as_ref().err().cloned();
        if gone != self.gone {
            if let Some(why) = &gone {
                self.found = false;
                self.tell.tell(Fact::DirectoryGone { why: why.clone() });
            }
            self.gone = gone;
        }
        if self.table.unwatched != self.unwatched {
            self.unwatched.clone_from(&self.table.unwatched);
            if let Some(why) = self.unwatched.clone() {
                self.tell.tell(Fact::NotWatched { why });
            }
        }
        if self.gone.is_none() && !self.found {
            let (files, objects) = (self.table.count(), self.table.objects().count());
            self.tell.tell(Fact::Found { files, objects });
        }
        for file in std::mem::take(&mut self.table.mended) {
            self.prune_at = Some(Instant::now());
            self.tell.tell(Fact::Mended { file });
        }
        let settled: Vec<PathBuf> = self
            .table
            .faults()
            .filter(|(path, _)| !self.unsettled.contains_key(*path))
            .map(|(path, _)| path.to_owned())
            .collect();
        for file in settled {
            if let Some(diagnostics) = self.table.settle(&file) {
                self.prune_at = Some(Instant::now());
                self.tell.tell(Fact::Invalid { file, diagnostics });
            }
        }
    }

    /// Takes word of changes in the directory.
    fn take(&mut self, changed: Changed) {
        let now = Instant::now();
        let Ok(directory) = &self.table.directory else {
            self.scan_at = now;
            return;
        };
        let root = directory.path.clone();
        let mut touched = changed.lost;
        let mut whole = changed.lost;
        for path in &changed.open {
            if let Means::File(path) = means(&root, path) {
                self.unsettled.insert(path.clone(), now + SETTLE);
                // A link is made without being closed.
                if !self.is_link(&path) {
                    self.being_written.insert(path, now);
                }
                touched = true;
            }
        }
        for path in changed.closed.iter().chain(&changed.moved) {
            match means(&root, path) {
                Means::File(path) => {
                    self.unsettled.remove(&path);
                    self.being_written.remove(&path);
                    self.urgent.insert(path);
                    touched = true;
                }
                // A file that is no manifest was written: nothing to us. Renamed, it may be a directory; and a directory
                // may have been given other rights.
                Means::Tree if changed.moved.contains(path) || *path == root || self.is_directory(path) => whole = true,
                Means::Tree | Means::Nothing => {}
            }
        }
        // Links are made without being closed, Kubernetes' `..data` among them.
        let made = changed
            .open
            .iter()
            .any(|path| means(&root, path) == Means::Tree && self.is_link(path));
        let directories = changed
            .directories
            .iter()
            .any(|path| means(&root, path) != Means::Nothing);
        if whole || made || directories {
            (touched, self.scan_at) = (true, now);
        }
        if touched {
            self.last_change = now;
            self.verified = false;
        }
    }

    fn is_link(&self, path: &Path) -> bool {
        matches!(self.files.look(path), Ok(Seen::Link(_) | Seen::LinkToFile(..)))
    }

    fn is_directory(&self, path: &Path) -> bool {
        matches!(self.files.look(path), Ok(Seen::Directory))
    }

    fn next_due(&self) -> Instant {
        let settle = self.unsettled.values().copied().min();
        let twice = self
            .twice
            .values()
            .filter(|(_, _, told)| !told)
            .map(|(_, at, _)| *at)
            .min();
        [settle, twice, self.retry_at, self.prune_at, self.status_at]
            .into_iter()
            .flatten()
            .fold(self.scan_at, Instant::min)
    }

    /// The whole directory is to be looked at, and what may leave to be judged, in the next pass.
    pub(super) fn verify(&mut self) {
        self.scan_at = Instant::now();
    }
}
