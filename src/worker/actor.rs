//! The worker's one actor: it owns what is known and looks again at each Task that something happened to.
//!
//! At most one step of a Task is under way at a time; many Tasks' steps are. It never calls the engine itself (steps do,
//! in tasks of their own) and never decides (the brain in `cube_plan::worker` does). Begin with [`Actor::look`].
use cube_planted::{Bug, planted};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use cube_api::event::EventType;
use cube_api::probe::Healthcheck;
use cube_api::task::{Task, TaskStatus};
use cube_plan::worker::{Look, Obstacle, Progress, Step, WaitingOn, decide, in_doubt, originals, status, wanted_hash};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::form::Ground;
use super::journal::Journal;
use super::link::{Link, Taken};
use super::probes::{Prober, Report, Turns};
use super::pulls::Pulls;
use super::steps::{Outcome, Pace, carry_out};
use super::view::View;
use crate::engine::{Engine, PullProgress};
use crate::registry::TaskReport;
use crate::world::World;

/// A container that nobody wishes for is looked at twice, so long apart, before it is removed: its Task may be on its way.
pub const SECOND_LOOK: Duration = Duration::from_secs(3);

/// An engine that is being stopped takes so long at most from its first container to its own end (Docker's own bound is
/// 15 s).
pub const ENGINE_STOPS: SignedDuration = SignedDuration::from_secs(20);

/// Reason: the engine refused something that it should not.
pub const ENGINE_REFUSED: &str = "EngineRefused";
/// Reason: the engine did not answer; whether it did what it was asked is not known.
pub const ENGINE_UNREACHABLE: &str = "EngineUnreachable";

/// How often it is told how far a pull has come: each time is a write.
const PULL_TOLD: Duration = Duration::from_secs(3);

/// What is known of one Task.
pub struct Slot {
    /// As last assigned; kept after it is no longer the node's, until its containers are gone.
    pub task: Arc<Task>,
    /// Hash of the container that it wishes for.
    pub wanted: String,
    /// Whether it is the node's.
    pub assigned: bool,
    /// What is remembered.
    pub progress: Progress,
    /// The step that is under way.
    pub busy: Option<Step>,
    /// A pull that is under way, of which image; it can be given up.
    pub pull: Option<(String, AbortHandle)>,
    /// What was last reported.
    pub reported: Option<TaskStatus>,
    /// Told that it is gone.
    pub told_gone: bool,
    /// What was remembered before the last end was judged: an engine that is being stopped stops its containers first,
    /// and only its going tells that from a failure.
    pub before_end: Option<BeforeEnd>,
    /// Asks the container that runs, with a number by which what it says is told from another's.
    pub prober: Option<(u64, Prober)>,
}

impl Slot {
    /// A Task that nothing has happened to yet.
    pub fn new(task: Arc<Task>, assigned: bool, progress: Progress, reported: Option<TaskStatus>) -> Self {
        Self {
            wanted: wanted_hash(&task),
            task,
            assigned,
            progress,
            busy: None,
            pull: None,
            reported,
            told_gone: false,
            before_end: None,
            prober: None,
        }
    }
}

/// What was remembered before an end was judged.
pub struct BeforeEnd {
    /// When it was judged.
    pub at: Timestamp,
    /// The container that ended.
    pub id: String,
    /// What was remembered.
    pub progress: Progress,
}

/// What comes back to the actor.
pub enum Message {
    /// A step is done.
    Stepped {
        /// uid of its Task.
        uid: String,
        /// The step.
        step: Step,
        /// What came of it.
        outcome: Outcome,
        /// How long the engine took.
        took: Duration,
    },
    /// How far the pull of a Task's image has come: bytes fetched, bytes known of.
    Pulling(String, u64, u64),
    /// There is something new of a container's probes.
    Probed {
        /// uid of its Task.
        uid: String,
        /// Who asks.
        number: u64,
        /// What is known now.
        report: Report,
    },
    /// A container was looked at; `None`: it is gone.
    Inspected(
        String,
        Result<Option<Box<crate::engine::Container>>, crate::engine::EngineError>,
    ),
    /// A container was taken out of a network, or has ended.
    LeftNetwork(String),
    /// A namespace's network was removed.
    NetworkRemoved(String),
    /// A namespace's network could not be removed.
    NetworkStays(String),
    /// A namespace's network is there, or not.
    Network(String, Result<(), crate::engine::EngineError>),
    /// What became of a report.
    Reported(Vec<TaskReport>, Vec<Taken>),
}

/// A namespace's network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkState {
    /// Being made, or removed.
    Busy,
    /// There.
    Ready,
    /// Could not be made; to be tried again then.
    Failed {
        /// Why.
        message: String,
        /// When.
        until: Timestamp,
    },
}

/// The actor.
pub struct Actor {
    pub(super) ground: Arc<Ground>,
    pub(super) engine: Arc<dyn Engine>,
    pub(super) link: Arc<dyn Link>,
    pub(super) world: World,
    pub(super) pace: Arc<Pace>,
    pub(super) pulls: Pulls,
    pub(super) journal: Journal,
    pub(super) range: super::subnets::Range,
    pub(super) slots: BTreeMap<String, Slot>,
    pub(super) view: View,
    pub(super) networks: BTreeMap<String, NetworkState>,
    pub(super) dirty: BTreeSet<String>,
    pub(super) timers: BTreeSet<(Timestamp, String)>,
    pub(super) inspecting: BTreeMap<String, bool>,
    pub(super) unsent: BTreeMap<String, TaskReport>,
    pub(super) sending: bool,
    /// Whether the engine answers and its containers are known.
    pub(super) engine_up: bool,
    /// Whether the first snapshot of assignments has come.
    pub(super) assigned: bool,
    /// Containers without a Task that were seen once, and when.
    pub(super) strays: BTreeMap<String, Timestamp>,
    /// Containers that died with their engine, as the last list showed.
    pub(super) with_engine: BTreeSet<String>,
    /// Containers that were sent a signal by someone else, an engine that is being stopped among them.
    pub(super) signalled: BTreeSet<String>,
    /// Something is unclear: the list is to be made soon.
    pub(super) relist_now: bool,
    /// What images say of how their containers are asked whether they do their work, by id.
    pub(super) healthchecks: BTreeMap<String, Option<Healthcheck>>,
    /// Turns at starting the programs of probes.
    pub(super) exec_turns: Arc<Turns>,
    /// The engine's named volumes, as listed last.
    pub(super) volumes: BTreeSet<String>,
    pub(super) sender: mpsc::UnboundedSender<Message>,
}

impl Actor {
    /// Looks at every Task that something happened to, and sends what is to be told.
    pub fn look_at_dirty(&mut self) {
        while let Some(uid) = self.dirty.pop_first() {
            self.look(&uid);
        }
        self.send_reports();
    }

    /// One look at one Task: decide, tell, step.
    fn look(&mut self, uid: &str) {
        if !self.engine_up || !self.assigned {
            return;
        }
        let now = self.world.now();
        let Some(slot) = self.slots.get(uid) else {
            return self.look_at_stray(uid, now);
        };
        let (task, busy) = (slot.task.clone(), slot.busy.is_some());
        if busy && !self.give_up_pull(uid) {
            return self.tell_of_pull(uid, now);
        }
        let containers = originals(&task, self.view.of(uid));
        if let Some(alive) = containers
            .iter()
            .filter(|seen| seen.state == cube_plan::worker::SeenState::Running)
            .max_by_key(|seen| seen.number)
        {
            let alive = (alive.id.clone(), alive.hash.clone());
            if let Some(slot) = self.slots.get_mut(uid) {
                slot.progress.alive = Some(alive);
            }
        }
        self.see_to_probes(uid, &containers, now);
        let network_ready = self.network_ready(&task);
        let Some(slot) = self.slots.get(uid) else { return };
        let look = Look {
            task: &task,
            wanted: &slot.wanted,
            containers: &containers,
            progress: &slot.progress,
            network_ready,
            asked: self.asked(&task.spec, slot, &containers),
            now,
        };
        let step = decide(&look);
        let status = status(&look, &step);
        // What the engine has just refused is not asked for again at once.
        let refused = |obstacle: &&Obstacle| {
            [ENGINE_REFUSED, ENGINE_UNREACHABLE].contains(&obstacle.reason.as_str()) && obstacle.until > now
        };
        let refused = slot
            .progress
            .obstacle
            .as_ref()
            .filter(refused)
            .map(|obstacle| obstacle.until);
        let told_gone = slot.told_gone;
        if step != Step::Gone
            && let Some(slot) = self.slots.get_mut(uid)
        {
            slot.told_gone = false;
        }
        // Nothing is told of a container of which a moment later more will be known.
        if !matches!(step, Step::Gone | Step::FindHealthcheck(_)) {
            self.tell(uid, &task, status, false);
        }
        if let Some(until) = refused {
            self.timers.insert((until, uid.to_owned()));
            return;
        }
        match step {
            Step::Gone if told_gone => {}
            Step::Wait(reason) => self.wait(uid, &reason),
            Step::EnsureNetwork => self.ensure_network(&task, uid, now),
            Step::RecordRemoved(id) => self.record_removed(uid, id),
            step => self.begin(uid, task, step),
        }
    }

    /// The clock was set by so much: what is waited for is as far away as it was.
    pub fn clock_was_set(&mut self, by: SignedDuration) {
        if planted(Bug::GraceByWallClock) {
            return;
        }
        tracing::warn!(by = %by, "the machine's clock was set");
        let moved = |at: Timestamp| at.saturating_add(by).unwrap_or(at);
        let timers = std::mem::take(&mut self.timers).into_iter();
        self.timers = timers.map(|(at, uid)| (moved(at), uid)).collect();
        for slot in self.slots.values_mut() {
            slot.progress.clock_was_set(by);
            if let Some(before) = &mut slot.before_end {
                before.at = moved(before.at);
                before.progress.clock_was_set(by);
            }
        }
        for network in self.networks.values_mut() {
            if let NetworkState::Failed { until, .. } = network {
                *until = moved(*until);
            }
        }
        for since in self.strays.values_mut() {
            *since = moved(*since);
        }
    }

    /// Gives up a pull that nobody wishes for any more: a registry that hangs must not hold up a deletion or a new image.
    fn give_up_pull(&mut self, uid: &str) -> bool {
        let Some(slot) = self.slots.get_mut(uid) else {
            return false;
        };
        let unwished =
            |(image, _): &mut (String, AbortHandle)| slot.task.metadata.is_deleting() || *image != slot.task.spec.image;
        let Some((_, pull)) = slot.pull.take_if(unwished) else {
            return false;
        };
        pull.abort();
        slot.busy = None;
        slot.progress.pulled_bytes = None;
        true
    }

    /// While an image is being pulled, how far it has come is told.
    fn tell_of_pull(&mut self, uid: &str, now: Timestamp) {
        let Some(slot) = self.slots.get(uid).filter(|slot| slot.pull.is_some()) else {
            return;
        };
        let task = slot.task.clone();
        let containers = originals(&task, self.view.of(uid));
        let look = Look {
            task: &task,
            wanted: &slot.wanted,
            containers: &containers,
            progress: &slot.progress,
            network_ready: self.network_ready(&task),
            asked: self.asked(&task.spec, slot, &containers),
            now,
        };
        let status = status(&look, &Step::Pull);
        self.tell(uid, &task, status, false);
    }

    fn wait(&mut self, uid: &str, reason: &WaitingOn) {
        if let Some(until) = reason.until() {
            self.timers.insert((until, uid.to_owned()));
        }
    }

    /// Starts a step.
    pub(super) fn begin(&mut self, uid: &str, task: Arc<Task>, step: Step) {
        if matches!(step, Step::Create { .. })
            && let Err(error) = self.journal.add(uid)
        {
            let message = format!("cannot write {}: {error}", "the worker's journal");
            self.obstruct(uid, "WorkerDiskFailed", message);
            return;
        }
        if step == Step::Pull {
            self.link.event(
                &task,
                EventType::Normal,
                "Pulling",
                format!("pulling {}", task.spec.image),
            );
        }
        if let Some(slot) = self.slots.get_mut(uid) {
            slot.busy = Some(step.clone());
        }
        let (ground, engine, pace) = (self.ground.clone(), self.engine.clone(), self.pace.clone());
        let (sender, uid) = (self.sender.clone(), uid.to_owned());
        if step == Step::Pull {
            return self.begin_pull(uid, task.spec.image.clone());
        }
        crate::world::spawn(async move {
            let (outcome, took) = carry_out(step.clone(), task, ground, engine, pace).await;
            let _ = sender.send(Message::Stepped {
                uid,
                step,
                outcome,
                took,
            });
        });
    }

    /// Joins the pull of an image, and tells now and then how far it has come.
    fn begin_pull(&mut self, uid: String, image: String) {
        let (pull, mut progress) = self.pulls.join(&self.engine, &image);
        let (sender, name) = (self.sender.clone(), uid.clone());
        let began = Instant::now();
        let waiting = crate::world::spawn(async move {
            let told = async {
                while progress.changed().await.is_ok() {
                    let PullProgress {
                        done_bytes,
                        total_bytes,
                    } = *progress.borrow_and_update();
                    let _ = sender.send(Message::Pulling(name.clone(), done_bytes, total_bytes));
                    tokio::time::sleep(PULL_TOLD).await;
                }
                std::future::pending::<()>().await;
            };
            let result = tokio::select! {
                biased;
                result = pull => result,
                () = told => return,
            };
            let outcome = result.map_or_else(Outcome::Failed, |()| Outcome::Pulled);
            let _ = sender.send(Message::Stepped {
                uid: name,
                step: Step::Pull,
                outcome,
                took: began.elapsed(),
            });
        });
        if let Some(slot) = self.slots.get_mut(&uid) {
            slot.pull = Some((image, waiting.abort_handle()));
        }
    }

    /// Notes what is to be told of a Task, unless it was told already.
    pub(super) fn tell(&mut self, uid: &str, task: &Task, status: TaskStatus, gone: bool) {
        let status = status.in_whole_seconds();
        let Some(slot) = self.slots.get_mut(uid) else { return };
        if !slot.assigned || (!gone && slot.reported.as_ref() == Some(&status)) {
            return;
        }
        slot.reported = Some(status.clone());
        let meta = &task.metadata;
        let report = TaskReport {
            namespace: meta.namespace().to_owned(),
            name: meta.name.clone(),
            uid: uid.to_owned(),
            epoch: task.status.epoch,
            status,
            gone,
        };
        self.link.remember(&report);
        self.unsent.insert(uid.to_owned(), report);
    }

    /// The engine does not answer: what it was last seen to do, nobody can say it does.
    pub(super) fn doubt_all(&mut self) {
        let now = self.world.now();
        let message = "its node's engine does not answer";
        let reported = self.slots.iter().filter_map(|(uid, slot)| {
            let doubtful = in_doubt(slot.reported.as_ref()?, ENGINE_UNREACHABLE, message, now)?;
            Some((uid.clone(), Arc::clone(&slot.task), doubtful))
        });
        for (uid, task, doubtful) in reported.collect::<Vec<_>>() {
            self.tell(&uid, &task, doubtful, false);
        }
    }

    /// Sends what is to be told, one batch at a time.
    fn send_reports(&mut self) {
        if self.sending || self.unsent.is_empty() {
            return;
        }
        self.sending = true;
        let batch: Vec<TaskReport> = std::mem::take(&mut self.unsent).into_values().collect();
        let (link, sender) = (self.link.clone(), self.sender.clone());
        crate::world::spawn(async move {
            let taken = link.report(batch.clone()).await;
            if taken.iter().any(|taken| matches!(taken, Taken::TryAgain(_))) {
                // The manager cannot write just now; asking at once would only keep it busy.
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            let _ = sender.send(Message::Reported(batch, taken));
        });
    }

    /// What became of a report.
    pub(super) fn reported(&mut self, batch: Vec<TaskReport>, taken: Vec<Taken>) {
        self.sending = false;
        for (report, taken) in batch.into_iter().zip(taken) {
            let uid = report.uid.clone();
            match taken {
                Taken::TryAgain(_) if planted(Bug::ReportDropped) => {}
                Taken::TryAgain(_) => {
                    self.unsent.entry(uid).or_insert(report);
                }
                Taken::Written if report.gone => {
                    self.slots.remove(&uid);
                }
                Taken::Written => {}
                Taken::Refused => tracing::debug!(task = report.name, "a report of an older epoch was refused"),
            }
        }
    }

    /// A container whose Task is not the node's: removed after a second look, if it is proved to be Cube's own.
    fn look_at_stray(&mut self, uid: &str, now: Timestamp) {
        let containers = self.view.of(uid);
        if containers.is_empty() {
            self.strays.remove(uid);
            return;
        }
        if !self.journal.has(uid) && !planted(Bug::ProofUnasked) {
            if self.strays.insert(uid.to_owned(), now).is_none() {
                for seen in &containers {
                    tracing::warn!(
                        container = seen.name,
                        "has this cluster's label, but Cube did not make it: left alone"
                    );
                }
            }
            return;
        }
        let first = *self.strays.entry(uid.to_owned()).or_insert(now);
        let due = first
            .saturating_add(jiff::SignedDuration::try_from(SECOND_LOOK).unwrap_or_default())
            .unwrap_or(now);
        if now < due {
            self.timers.insert((due, uid.to_owned()));
            return;
        }
        self.strays.remove(uid);
        // Nobody's Task any more: a Task made up from its labels, that is being deleted, is dismantled as any other.
        let Some(container) = self.view.containers().find(|container| {
            container
                .labels
                .get(super::form::UID_LABEL)
                .is_some_and(|label| label == uid)
        }) else {
            return;
        };
        let mut task = Task::default();
        let label = |name: &str| container.labels.get(name).cloned().unwrap_or_default();
        task.metadata.name = label(super::form::TASK_LABEL);
        task.metadata.namespace = Some(label(super::form::NAMESPACE_LABEL));
        task.metadata.uid = uid.to_owned();
        task.spec.termination_grace_period_seconds = cube_api::task::DEFAULT_GRACE_SECONDS;
        task.metadata.deletion_timestamp = now.saturating_add(jiff::SignedDuration::from_secs(30)).ok();
        self.slots.insert(
            uid.to_owned(),
            Slot::new(Arc::new(task), false, Progress::default(), None),
        );
        self.look(uid);
    }

    /// Looks at a container that something happened to; one look at a time each.
    pub(super) fn inspect(&mut self, id: String) {
        if let Some(again) = self.inspecting.get_mut(&id) {
            *again = true;
            return;
        }
        self.inspecting.insert(id.clone(), false);
        let (engine, sender) = (self.engine.clone(), self.sender.clone());
        crate::world::spawn(async move {
            let seen = engine.inspect(&id).await.map(|seen| seen.map(Box::new));
            let _ = sender.send(Message::Inspected(id, seen));
        });
    }
}
