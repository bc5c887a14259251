//! What the actor makes of what came back: views updated, ends judged, obstacles noted, events told.
use std::time::Duration;

use cube_api::event::EventType;
use cube_api::task::{PullPolicy, Termination};
use cube_plan::worker::{
    End, IMAGE_NEVER_PULLED, IMAGE_NOT_FOUND, IMAGE_PULL_BACK_OFF, Image, Obstacle, Step, UNHEALTHY, backoff, gone,
    judge,
};
use jiff::{SignedDuration, Timestamp};

use super::actor::{Actor, BeforeEnd, ENGINE_REFUSED, ENGINE_STOPS, ENGINE_UNREACHABLE};
use super::steps::Outcome;
use crate::engine::{Container, EngineError, State};

/// What came of a step is looked at by then at the latest, where no word comes of it.
const SEEN_AT_LAST: SignedDuration = SignedDuration::from_secs(1);
/// While something of the outside stands in the way (a port, a registry), it is tried again after so long at first.
const FIRST_RETRY: SignedDuration = SignedDuration::from_millis(500);
/// And after so long at last, where a try costs the engine little.
const LONGEST_RETRY: SignedDuration = SignedDuration::from_secs(5);

impl Actor {
    /// A step is done.
    pub(super) fn stepped(&mut self, uid: &str, step: Step, outcome: Outcome, took: Duration) {
        let Some(slot) = self.slots.get_mut(uid) else { return };
        // A pull that was given up while its answer was on its way.
        if slot.busy.as_ref() != Some(&step) {
            return;
        }
        slot.busy = None;
        let pulled = slot.pull.take().map(|(image, _)| image);
        slot.progress.pulled_bytes = None;
        let task = slot.task.clone();
        let told = took.as_secs_f64();
        let succeeded = !matches!(outcome, Outcome::Failed(_));
        if succeeded
            && slot
                .progress
                .obstacle
                .as_ref()
                .is_some_and(|obstacle| obstacle.reason == ENGINE_REFUSED)
        {
            slot.progress.obstacle = None;
        }
        if succeeded
            && matches!(
                step,
                Step::Signal(_) | Step::Kill(_) | Step::Unpause(_) | Step::Rename(..) | Step::Connect(_)
            )
        {
            // What came of it is seen by the inspection that follows, or else a little later.
            let later = self.world.now().saturating_add(SEEN_AT_LAST).unwrap_or(Timestamp::MAX);
            self.timers.insert((later, uid.to_owned()));
        } else {
            self.dirty.insert(uid.to_owned());
        }
        match outcome {
            Outcome::Failed(error) => self.failed(uid, step, error),
            // Another one is wished for by now.
            Outcome::Image(image, _) if image != task.spec.image => {}
            Outcome::Pulled if pulled.as_ref() != Some(&task.spec.image) => {}
            Outcome::Image(_, None) if task.spec.image_pull_policy == PullPolicy::Never => {
                // No word comes when someone brings it: it is looked for again.
                let message = format!(
                    "image {} is not on this node, and imagePullPolicy is Never",
                    task.spec.image
                );
                self.obstruct(uid, IMAGE_NEVER_PULLED, message);
            }
            Outcome::Image(_, None) => slot.progress.image = Image::Missing,
            Outcome::Image(_, Some(image)) => {
                slot.progress.image = Image::Present;
                self.learn_healthcheck(image.id, image.healthcheck);
            }
            Outcome::Healthcheck(image, healthcheck) => self.learn_healthcheck(image, healthcheck),
            Outcome::Pulled => {
                slot.progress.image = Image::Present;
                slot.progress.pulled_for = Some(slot.wanted.clone());
                slot.progress.obstacle = None;
                let message = format!("pulled {} in {told:.1} s", task.spec.image);
                self.link.event(&task, EventType::Normal, "Pulled", message);
            }
            Outcome::Created(container) => {
                if let Step::Create { number, .. } = step {
                    slot.progress.highest_number = number;
                }
                // A new volume is told soon: a Task that needs it is given to no other node.
                let mut named = super::form::named_volumes(&task).into_iter();
                self.relist_now |= named.any(|name| !self.volumes.contains(&name));
                if self.view.get(&container.id).is_none() {
                    self.view.put(*container);
                }
            }
            Outcome::Started(container) => {
                slot.progress.obstacle = None;
                if task.spec.image_pull_policy == PullPolicy::Always {
                    slot.progress.pulled_for = None;
                }
                self.link
                    .event(&task, EventType::Normal, "Started", format!("started in {told:.1} s"));
                if let (Step::Start(id), None) = (&step, &container) {
                    self.view.remove(id);
                }
                if let Some(container) = container {
                    let formed = container.labels.get(super::form::HASH_LABEL).cloned();
                    slot.progress.alive = Some((container.id.clone(), formed.unwrap_or_default()));
                    self.view.put(*container);
                }
            }
            Outcome::Signalled { delivered } => {
                // Of the end of one that got the signal an event tells.
                let look = !delivered || matches!(step, Step::Kill(_));
                if let Step::Signal(id) | Step::Kill(id) = step {
                    let since = slot
                        .progress
                        .stopping
                        .as_ref()
                        .filter(|(old, _)| *old == id)
                        .map(|(_, since)| *since);
                    let since = since.unwrap_or_else(|| self.world.now());
                    slot.progress.stopping = Some((id.clone(), since));
                    if look {
                        self.inspect(id);
                    }
                }
            }
            Outcome::Log(lines) => {
                if let Step::Record(id) = step {
                    self.record(uid, &id, lines);
                }
            }
            Outcome::Removed => {
                if let Step::Remove { id, .. } = step {
                    if slot.progress.alive.as_ref().is_some_and(|(alive, _)| *alive == id) {
                        slot.progress.alive = None;
                    }
                    self.view.remove(&id);
                }
            }
            Outcome::Gone => self.gone(uid),
            Outcome::Done => {
                if let Step::Unpause(id) | Step::Rename(id, _) | Step::Connect(id) = &step {
                    let (reason, message) = match step {
                        Step::Connect(_) => (
                            "Reconnected",
                            "container was taken out of its network by someone else; is in it again",
                        ),
                        Step::Unpause(_) => ("Unpaused", "container was paused by someone else; running again"),
                        _ => ("Renamed", "container was renamed by someone else; has its name again"),
                    };
                    self.link.event(&task, EventType::Warning, reason, message.to_owned());
                    self.inspect(id.clone());
                }
            }
        }
    }

    /// A step failed: what stands in the way, and when it is tried again.
    fn failed(&mut self, uid: &str, step: Step, error: EngineError) {
        tracing::debug!(uid, ?step, %error, "step failed");
        if let (Step::Pull, Some(slot)) = (&step, self.slots.get_mut(uid)) {
            // Someone may build or load it in the meantime.
            slot.progress.image = Image::Unknown;
        }
        match (step, error) {
            (step, error) if error.outcome_unknown() => {
                if let (Step::Start(id), Some(slot)) = (step, self.slots.get_mut(uid)) {
                    slot.progress.unsure = Some(id);
                }
                // Says nothing about the container: look before anything else is done.
                self.obstruct(uid, ENGINE_UNREACHABLE, error.to_string());
                self.relist_soon();
            }
            (Step::FindHealthcheck(image), error) => {
                tracing::warn!(image, %error, "cannot look for a HEALTHCHECK; there is taken to be none");
                self.learn_healthcheck(image, None);
            }
            (Step::Create { .. }, EngineError::NoSuchImage { .. }) => {
                if let Some(slot) = self.slots.get_mut(uid) {
                    slot.progress.image = Image::Unknown;
                    slot.progress.pulled_for = None;
                }
            }
            (Step::Create { number, .. }, EngineError::NameInUse { name }) => {
                let Some(slot) = self.slots.get_mut(uid) else { return };
                slot.progress.highest_number = number;
                let message = format!("a container that is not Cube's has the name {name}; another is taken");
                let task = slot.task.clone();
                self.link.event(&task, EventType::Warning, "NameInUse", message);
            }
            (Step::Create { .. }, EngineError::NotFound { what }) => {
                // The network, most likely: someone removed it.
                if let Some(slot) = self.slots.get(uid) {
                    let namespace = slot.task.metadata.namespace().to_owned();
                    self.networks.remove(&namespace);
                }
                self.obstruct(uid, "CreateFailed", format!("{what} not found"));
            }
            (Step::Pull, error @ EngineError::PullFailed { permanent: true, .. }) => {
                self.obstruct(uid, IMAGE_NOT_FOUND, error.to_string());
            }
            (Step::Pull, error) => self.obstruct(uid, IMAGE_PULL_BACK_OFF, error.to_string()),
            (Step::Start(id), EngineError::InvalidCommand { code, message }) => {
                self.start_failed(uid, &id, code, message)
            }
            (Step::Start(_) | Step::Connect(_), EngineError::NotFound { what }) if what.starts_with("network") => {
                // Someone removed it (`docker network prune`), or a process that was killed has made a second one: it is
                // seen to, and the container started in it.
                if let Some(slot) = self.slots.get(uid) {
                    let namespace = slot.task.metadata.namespace().to_owned();
                    self.networks.remove(&namespace);
                }
                self.obstruct(
                    uid,
                    "NetworkGone",
                    format!("{what}: removed or doubled by someone else; set right"),
                );
            }
            (Step::Start(id), EngineError::NotFound { .. }) => {
                self.view.remove(&id);
            }
            (Step::Start(_), EngineError::PortInUse { port, message }) => {
                let text = port.map_or(message, |port| {
                    format!("port {port} is in use by someone else; waiting until it is free")
                });
                self.obstruct(uid, "PortInUse", text);
            }
            (Step::Start(id), error) => {
                self.inspect(id);
                self.obstruct(uid, "StartFailed", error.to_string());
            }
            (Step::Create { .. }, error) => self.obstruct(uid, "CreateFailed", error.to_string()),
            (Step::Signal(id), error @ (EngineError::Refused { .. } | EngineError::InvalidSpec { .. })) => {
                // A signal that the engine does not know: the grace runs all the same, and then it is killed.
                let now = self.world.now();
                if let Some(slot) = self.slots.get_mut(uid) {
                    slot.progress.stopping = Some((id, now));
                }
                self.obstruct(uid, ENGINE_REFUSED, error.to_string());
            }
            (
                Step::Unpause(id)
                | Step::Connect(id)
                | Step::Rename(id, _)
                | Step::Remove { id, .. }
                | Step::Signal(id)
                | Step::Kill(id),
                error,
            ) => {
                self.inspect(id);
                self.obstruct(uid, ENGINE_REFUSED, error.to_string());
            }
            (_, error) => self.obstruct(uid, ENGINE_REFUSED, error.to_string()),
        }
    }

    /// Notes what stands in the way of a Task, with a growing wait before the next try.
    pub(super) fn obstruct(&mut self, uid: &str, reason: &str, message: String) {
        let now = self.world.now();
        let Some(slot) = self.slots.get_mut(uid) else { return };
        let tries = slot
            .progress
            .obstacle
            .as_ref()
            .filter(|old| old.reason == reason)
            .map_or(0, |old| old.tries)
            + 1;
        let wait = match reason {
            // A registry is asked less and less often; what the machine itself has to free is looked at every few seconds.
            IMAGE_PULL_BACK_OFF | IMAGE_NOT_FOUND => backoff(tries + 1),
            _ => (FIRST_RETRY * 2_i32.pow(tries.min(10) as u32 - 1)).min(LONGEST_RETRY),
        };
        let until = now.saturating_add(wait).unwrap_or(now);
        let first = tries == 1;
        slot.progress.obstacle = Some(Obstacle {
            reason: reason.to_owned(),
            message: message.clone(),
            tries,
            until,
        });
        self.timers.insert((until, uid.to_owned()));
        self.dirty.insert(uid.to_owned());
        if first {
            let task = slot.task.clone();
            self.link.event(&task, EventType::Warning, reason, message);
        }
    }

    /// A container whose command cannot be run: that is an end of it.
    fn start_failed(&mut self, uid: &str, id: &str, code: i64, message: String) {
        let now = self.world.now();
        let termination = Termination {
            exit_code: Some(code),
            reason: "StartError".to_owned(),
            message,
            container_id: Some(id.to_owned()),
            started_at: None,
            finished_at: Some(now),
            log: vec![],
        };
        let hash = self.hash_of(id);
        if let Some(container) = self.view.get(id).cloned() {
            let error = termination.message.clone();
            self.view.put(Container {
                state: State::Exited {
                    code,
                    oom_killed: false,
                    error,
                },
                ..container
            });
        }
        self.judged(
            uid,
            End {
                id: id.to_owned(),
                hash,
                termination,
                excused: false,
                seen_at: now,
            },
        );
    }

    /// A container that ended is recorded with its last lines.
    fn record(&mut self, uid: &str, id: &str, log: Vec<String>) {
        let now = self.world.now();
        let Some(container) = self.view.get(id).cloned() else {
            return;
        };
        let State::Exited {
            code,
            oom_killed,
            error,
        } = container.state.clone()
        else {
            return;
        };
        let with_engine = self.with_engine.remove(id);
        let Some(slot) = self.slots.get_mut(uid) else { return };
        let resumed = slot.progress.resumed.take().unwrap_or_default();
        if resumed.last.is_some_and(|last| is_same_end(&last, &container, code)) {
            // A worker before this one has told of it already.
            slot.progress.recorded = Some(id.to_owned());
            return;
        }
        let stopped = slot
            .progress
            .stopping
            .as_ref()
            .is_some_and(|(stopping, _)| stopping == id);
        let health = slot.progress.health.as_ref();
        let unhealthy = health
            .filter(|health| stopped && health.container == id)
            .and_then(|health| health.unhealthy.clone());
        let excused = with_engine || (stopped && unhealthy.is_none()) || resumed.down;
        let (reason, message) = match (with_engine, unhealthy, oom_killed, code) {
            (true, ..) => ("StoppedWithEngine", error),
            (_, Some(unhealthy), ..) => (UNHEALTHY, unhealthy.message),
            (_, _, true, _) => ("OOMKilled", "used more memory than its limit".to_owned()),
            (.., 0) => ("Completed", error),
            _ => ("Error", error),
        };
        let termination = Termination {
            exit_code: Some(code),
            reason: reason.to_owned(),
            message,
            container_id: Some(id.to_owned()),
            started_at: container.started_at,
            finished_at: container.finished_at.or(Some(now)),
            log,
        };
        let hash = self.hash_of(id);
        self.judged(
            uid,
            End {
                id: id.to_owned(),
                hash,
                termination,
                excused,
                seen_at: now,
            },
        );
    }

    /// A container that someone removed is an end without a code.
    pub(super) fn record_removed(&mut self, uid: &str, id: String) {
        let now = self.world.now();
        let Some(slot) = self.slots.get(uid) else { return };
        let termination = Termination {
            exit_code: None,
            reason: "Removed".to_owned(),
            message: "container removed by someone else".to_owned(),
            container_id: Some(id.clone()),
            started_at: slot.reported.as_ref().and_then(|status| status.started_at),
            finished_at: Some(now),
            log: vec![],
        };
        let alive = slot.progress.alive.as_ref().filter(|(alive, _)| *alive == id);
        let hash = alive.map(|(_, hash)| hash.clone()).unwrap_or_default();
        self.judged(
            uid,
            End {
                id,
                hash,
                termination,
                excused: false,
                seen_at: now,
            },
        );
        self.dirty.insert(uid.to_owned());
    }

    fn judged(&mut self, uid: &str, end: End) {
        let Some(slot) = self.slots.get_mut(uid) else { return };
        let task = slot.task.clone();
        let termination = end.termination.clone();
        let excused = end.excused;
        let code = termination.exit_code;
        // Only a signal can have come from an engine that is being stopped.
        let by_signal = self.signalled.remove(&end.id) || code.is_none_or(|code| code > 128);
        // Started again, it may end once more with the same engine: the first of these ends is the one to go back before.
        let same = |before: &BeforeEnd| end.seen_at.duration_since(before.at) <= ENGINE_STOPS;
        if !slot.before_end.as_ref().is_some_and(same) {
            slot.before_end = (!excused && by_signal).then(|| BeforeEnd {
                at: end.seen_at,
                id: end.id.clone(),
                progress: slot.progress.clone(),
            });
        }
        judge(&mut slot.progress, end, task.spec.restart_policy);
        let delay = backoff(slot.progress.failures);
        let ended = match (termination.exit_code, termination.reason.as_str()) {
            (_, "Removed") => "container removed by someone else".to_owned(),
            (_, UNHEALTHY) => termination.message.clone(),
            (_, "OOMKilled") => "killed: used more memory than its limit".to_owned(),
            (Some(code), _) => match termination
                .log
                .last()
                .or(Some(&termination.message).filter(|text| !text.is_empty()))
            {
                Some(line) => format!("exited with code {code}: {line}"),
                None => format!("exited with code {code}"),
            },
            (None, reason) => reason.to_owned(),
        };
        let (kind, reason, message) = match &slot.progress.over {
            _ if excused && termination.reason == "StoppedWithEngine" => (
                EventType::Normal,
                "StoppedWithEngine",
                "stopped with its engine; starting again".to_owned(),
            ),
            None if excused => (EventType::Normal, "Restarting", "starting again".to_owned()),
            Some(over) if over.phase == cube_api::task::Phase::Completed => {
                (EventType::Normal, "Completed", "completed".to_owned())
            }
            Some(_) => (EventType::Warning, "Failed", ended),
            None if delay > SignedDuration::ZERO => (
                EventType::Warning,
                "BackOff",
                format!("{ended}; starting again in {} s", delay.as_secs()),
            ),
            None => (EventType::Warning, "Restarting", format!("{ended}; starting again")),
        };
        self.link.event(&task, kind, reason, message);
    }

    fn hash_of(&self, id: &str) -> String {
        let label = |container: &Container| container.labels.get(super::form::HASH_LABEL).cloned();
        self.view.get(id).and_then(label).unwrap_or_default()
    }

    /// Nothing of a Task is left.
    fn gone(&mut self, uid: &str) {
        let Some(slot) = self.slots.get_mut(uid) else { return };
        let task = slot.task.clone();
        if !slot.assigned {
            self.slots.remove(uid);
            return;
        }
        // It was the node's no more when this began, and is again: nothing of what it is now is gone.
        if !task.metadata.is_deleting() && !task.status.leaves_now() {
            return;
        }
        if std::mem::replace(&mut slot.told_gone, true) {
            return;
        }
        // Someone else's finalizer may keep the Task for long: it must not say that it runs.
        let status = gone(&task, self.world.now());
        self.tell(uid, &task, status, true);
    }
}

/// Whether a container that is found dead ended as it was told before. What an older release told does not name the
/// container, and its times have whole seconds.
fn is_same_end(told: &Termination, container: &Container, code: i64) -> bool {
    if let Some(id) = &told.container_id {
        return *id == container.id;
    }
    let second = |at: Option<Timestamp>| at.map(Timestamp::as_second);
    told.exit_code == Some(code)
        && second(told.started_at) == second(container.started_at)
        && second(told.finished_at) == second(container.finished_at)
}
