//! Whether what runs does its work: who asks which container, and what is made of the answers.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use cube_api::condition::{READY, is_true};
use cube_api::event::EventType;
use cube_api::probe::{Healthcheck, ProbeKind, ProbeResult, ProbeStatus};
use cube_api::task::TaskSpec;
use cube_plan::probe::{Check, carried_over, checks, depends_on_image};
use cube_plan::worker::{Asked, Health, Seen, SeenState};
use jiff::Timestamp;

use super::actor::{Actor, Message, Slot};
use super::probes::{Prober, Report, Target};

impl Actor {
    /// Who asks the container of the Task that runs.
    pub(super) fn asked(&self, spec: &TaskSpec, slot: &Slot, containers: &[Seen]) -> Asked {
        match wanted_checks(&self.healthchecks, spec, running(slot, containers)).as_deref() {
            None => Asked::Unknown,
            Some([]) => Asked::ByNobody,
            Some(_) => Asked::ByProbes,
        }
    }

    /// Sees to it that the container of the Task that runs is asked what it is to be asked, and no other.
    pub(super) fn see_to_probes(&mut self, uid: &str, containers: &[Seen], now: Timestamp) {
        let Some(slot) = self.slots.get_mut(uid) else { return };
        let given_up = |seen: &Seen| {
            let health = slot.progress.health.as_ref();
            health.is_some_and(|health| health.container == seen.id && health.unhealthy.is_some())
        };
        let leaves = slot.task.metadata.is_deleting() || slot.task.status.leaves_now();
        let seen = running(slot, containers).filter(|seen| !leaves && !given_up(seen));
        let Some(seen) = seen else {
            slot.prober = None;
            return;
        };
        let Some(wanted) = wanted_checks(&self.healthchecks, &slot.task.spec, Some(seen)) else {
            // What was known holds until it is found out.
            slot.prober = None;
            return;
        };
        let address = match slot.task.spec.network {
            cube_api::task::NetworkMode::Host => Some("127.0.0.1".to_owned()),
            _ => seen.addresses.first().cloned(),
        };
        if wanted.is_empty() {
            slot.prober = None;
            // What was known is of no probe any more.
            slot.progress.health = None;
            return;
        }
        let is_right = |(_, prober): &(u64, Prober)| prober.is_of(&seen.id, address.as_ref(), &wanted);
        if slot.prober.as_ref().is_some_and(is_right) {
            return;
        }
        let known: Vec<ProbeStatus> = match &slot.progress.health {
            Some(health) if health.container == seen.id => health.probes.clone(),
            _ => Vec::new(),
        };
        let before = slot.prober.as_ref().and_then(|(_, prober)| prober.asks(&seen.id));
        let told = slot
            .reported
            .as_ref()
            .filter(|told| told.container_id.as_ref() == Some(&seen.id));
        let works = told.is_some_and(|told| is_true(&told.conditions, READY));
        let known = carried_over(&known, before, &wanted, works);
        // Of one that was only listed it is not known when it started.
        let began = seen.started_at.unwrap_or(seen.created_at);
        let age = Duration::try_from(now.duration_since(began)).unwrap_or(Duration::ZERO);
        let target = Target {
            network: self.world.network(),
            container: seen.id.clone(),
            address,
            engine: self.engine.clone(),
            turns: self.exec_turns.clone(),
            left: Arc::default(),
        };
        let (sender, uid, number) = (self.sender.clone(), uid.to_owned(), self.world.random());
        let tell = move |report| {
            let uid = uid.clone();
            let _ = sender.send(Message::Probed { uid, number, report });
        };
        let (prober, first) = Prober::begin(target, wanted, age, &known, self.world.clone(), tell);
        slot.prober = Some((number, prober));
        slot.progress.health = Some(health(&seen.id, first));
    }

    /// There is something new of a container's probes.
    pub(super) fn probed(&mut self, uid: &str, number: u64, report: Report) {
        let Some(slot) = self.slots.get_mut(uid) else { return };
        // Another one asks by now, or nobody: of other probes, or another container.
        let asks = slot.prober.as_ref().is_some_and(|(asking, _)| *asking == number);
        let Some(before) = slot.progress.health.as_ref().filter(|_| asks) else {
            return;
        };
        let container = before.container.clone();
        let mut told = Vec::new();
        if let Some(unhealthy) = &report.unhealthy {
            let message = format!("{}; stopping it to start it again", unhealthy.message);
            told.push((EventType::Warning, "Unhealthy", message));
        }
        for probe in report.probes.iter().filter(|probe| probe.probe == ProbeKind::Readiness) {
            let was = before.probes.iter().find(|before| before.probe == probe.probe);
            match (was.map(|was| was.result).unwrap_or_default(), probe.result) {
                (ProbeResult::Unknown | ProbeResult::Success, ProbeResult::Failure) => {
                    let message = format!("not ready: {} fails: {}", probe.probe.shown(), probe.message);
                    told.push((EventType::Warning, "Unhealthy", message));
                }
                (ProbeResult::Failure, ProbeResult::Success) => {
                    let message = format!("ready again: {}: {}", probe.probe.shown(), probe.message);
                    told.push((EventType::Normal, "Healthy", message));
                }
                _ => {}
            }
        }
        slot.progress.health = Some(health(&container, report));
        let task = slot.task.clone();
        for (kind, reason, message) in told {
            self.link.event(&task, kind, reason, message);
        }
        self.dirty.insert(uid.to_owned());
    }

    /// It is known what an image says of how its containers are asked.
    pub(super) fn learn_healthcheck(&mut self, image_id: String, healthcheck: Option<Healthcheck>) {
        self.healthchecks.insert(image_id, healthcheck);
    }

    /// Forgets of images that no container has.
    pub(super) fn forget_healthchecks(&mut self) {
        let used: BTreeSet<&String> = self.view.containers().map(|seen| &seen.image_id).collect();
        self.healthchecks.retain(|image, _| used.contains(image));
    }
}

/// What the container is to be asked; none while its image has yet to be looked at.
fn wanted_checks(
    healthchecks: &BTreeMap<String, Option<Healthcheck>>,
    spec: &TaskSpec,
    seen: Option<&Seen>,
) -> Option<Vec<Check>> {
    let image = match seen {
        Some(seen) if depends_on_image(spec) => healthchecks.get(&seen.image_id)?.as_ref(),
        _ => None,
    };
    Some(checks(spec, image))
}

/// The container that counts, if it runs.
fn running<'a>(slot: &Slot, containers: &'a [Seen]) -> Option<&'a Seen> {
    let running = containers.iter().filter(|seen| seen.state == SeenState::Running);
    running.max_by_key(|seen| (seen.hash == slot.wanted, seen.number))
}

fn health(container: &str, report: Report) -> Health {
    Health {
        container: container.to_owned(),
        probes: report.probes,
        unhealthy: report.unhealthy,
    }
}
