//! Makes things go wrong, and mends them again.
use std::{collections::BTreeMap, time::Duration};

use cube::{
    engine::{CLUSTER_LABEL, Container, ContainerSpec, Engine as _, Network},
    worker::UID_LABEL,
};
use tokio::time::Instant;

use crate::{
    cluster::{Cluster, MANAGER},
    disk::Fault,
    engine::Manners,
    script::{Act, ByHand},
};

/// The image of others' containers.
const THEIRS: &str = "theirs";

/// What is wrong now, and when it is mended.
#[derive(Default)]
pub struct Nemesis {
    mending: BTreeMap<(Instant, u64), Mend>,
    number: u64,
    lost: Vec<String>,
}

/// A process that has ended by itself is started again after so long.
const SUPERVISOR: Duration = Duration::from_secs(2);

#[derive(Clone, Debug)]
enum Mend {
    Start(String),
    GoOn(String),
    Open(String, String),
    Unclog(String, String),
    EngineBack(String),
    Behave(String),
    Room,
    Notes(String),
    Folder(usize),
    Hear(usize),
}

impl Nemesis {
    fn later(&mut self, after: Duration, mend: Mend) {
        self.number += 1;
        self.mending.insert((Instant::now() + after, self.number), mend);
    }

    /// Starts what has ended by itself, as a system's supervisor does.
    pub fn supervise(&mut self, cluster: &mut Cluster) {
        for machine in cluster.machines() {
            let waits = self
                .mending
                .values()
                .any(|mend| matches!(mend, Mend::Start(name) if *name == machine));
            if !cluster.runs(&machine) && !waits && !self.lost.contains(&machine) {
                // What a dying process had open is closed.
                cluster.kill(&machine, false);
                self.later(SUPERVISOR, Mend::Start(machine));
            }
        }
    }

    /// When something is to be mended next.
    pub fn next(&self) -> Option<Instant> {
        self.mending.keys().next().map(|(at, _)| *at)
    }

    /// Mends what is due.
    pub fn mend(&mut self, cluster: &mut Cluster) {
        while let Some(((at, number), mend)) = self.mending.pop_first() {
            if at > Instant::now() {
                self.mending.insert((at, number), mend);
                return;
            }
            carry_out(cluster, mend);
        }
    }

    /// Whether something is wrong with a machine just now.
    pub fn is_wrong(&self, name: &str) -> bool {
        self.mending.values().any(|mend| match mend {
            Mend::Start(machine)
            | Mend::GoOn(machine)
            | Mend::EngineBack(machine)
            | Mend::Behave(machine)
            | Mend::Notes(machine) => machine == name,
            Mend::Open(from, to) | Mend::Unclog(from, to) => from == name || to == name,
            Mend::Room => name == MANAGER,
            Mend::Folder(_) | Mend::Hear(_) => false,
        })
    }

    /// Mends everything, but for the machines that are lost for good.
    pub fn mend_all(&mut self, cluster: &mut Cluster, lost: &[String]) {
        self.lost = lost.to_vec();
        for machine in lost {
            cluster.kill(machine, true);
            if let Some(docker) = cluster.dockers.get(machine) {
                docker.sim.go_away();
            }
        }
        while let Some((_, mend)) = self.mending.pop_first() {
            let of_lost = match &mend {
                Mend::Start(machine) | Mend::GoOn(machine) | Mend::EngineBack(machine) => lost.contains(machine),
                _ => false,
            };
            if !of_lost {
                carry_out(cluster, mend);
            }
        }
        cluster.net.heal();
        cluster.platter.set_fault(Fault::None);
        for machine in cluster.machines() {
            if !lost.contains(&machine) {
                cluster.start(&machine);
            }
        }
    }

    /// Does what the act says.
    pub fn act(&mut self, cluster: &mut Cluster, act: &Act) {
        match act {
            Act::Kill { machine, power, back } => {
                cluster.kill(machine, *power);
                self.later(*back, Mend::Start(machine.clone()));
            }
            Act::Hold { machine, back } => {
                cluster.hold(machine, true);
                self.later(*back, Mend::GoOn(machine.clone()));
            }
            Act::Silence { from, to, back } => {
                cluster
                    .history
                    .note("network", format_args!("{from} is not heard by {to}"));
                cluster.net.set_silent(from, to, true);
                self.later(*back, Mend::Open(from.clone(), to.clone()));
            }
            Act::Clog { from, to, millis, back } => {
                cluster
                    .history
                    .note("network", format_args!("{from} to {to} takes {millis} ms"));
                cluster.net.set_clogged(from, to, *millis);
                self.later(*back, Mend::Unclog(from.clone(), to.clone()));
            }
            Act::Cut { machine } => {
                cluster
                    .history
                    .note("network", format_args!("connections of {machine} break"));
                cluster.net.cut(machine, None);
            }
            Act::EngineAway { node, dies, back } => {
                let docker = &cluster.dockers[node];
                cluster
                    .history
                    .note(node, if *dies { "its engine dies" } else { "its engine is away" });
                docker.sim.go_away();
                if *dies {
                    docker.sim.reboot();
                }
                self.later(*back, Mend::EngineBack(node.clone()));
            }
            Act::Engine { node, manners, back } => {
                cluster.history.note(node, format_args!("{manners:?}"));
                cluster.dockers[node].set_manners(*manners);
                self.later(*back, Mend::Behave(node.clone()));
            }
            Act::DiskFull { back } => {
                cluster.history.note(MANAGER, "its disk is full");
                cluster.platter.set_fault(Fault::Full);
                self.later(*back, Mend::Room);
            }
            Act::SyncFails => {
                cluster.history.note(MANAGER, "its next sync fails");
                cluster.platter.set_fault(Fault::NextSync);
            }
            Act::DiskBroken { back } => {
                cluster.history.note(MANAGER, "its disk is broken");
                cluster.platter.set_fault(Fault::Broken);
                self.later(*back, Mend::Room);
            }
            Act::NotesFull { machine, back } => {
                if let Some(cabinet) = cluster.cabinet(machine) {
                    cluster.history.note(machine, "its small files cannot be written");
                    cabinet.set_full(true);
                    self.later(*back, Mend::Notes(machine.clone()));
                }
            }
            Act::Clock { machine, ahead } => {
                if let Some(clock) = cluster.clock(machine) {
                    cluster
                        .history
                        .note(machine, format_args!("its clock is {ahead} s ahead"));
                    clock.set_ahead(*ahead);
                    cluster.oracle.clock_set(machine);
                }
            }
            Act::ByHand { node, which, what } => {
                cluster.oracle.by_hand();
                by_hand(cluster, node, *which, *what);
            }
            Act::Foreign { .. } => {}
            Act::DropImage { node, image } => cluster.dockers[node].sim.drop_image(image),
            Act::FolderGone { folder, back } => {
                cluster
                    .history
                    .note("files", format_args!("directory {folder} is gone"));
                cluster.folders[*folder].set_there(false);
                self.later(*back, Mend::Folder(*folder));
            }
            Act::Deaf { folder, back } => {
                cluster.folders[*folder].set_deaf(true);
                self.later(*back, Mend::Hear(*folder));
            }
            Act::Apply { .. }
            | Act::Patch { .. }
            | Act::Delete { .. }
            | Act::Approve { .. }
            | Act::Write { .. }
            | Act::Unlink { .. }
            | Act::Move { .. } => {}
        }
    }
}

fn carry_out(cluster: &mut Cluster, mend: Mend) {
    match mend {
        Mend::Start(machine) => cluster.start(&machine),
        Mend::GoOn(machine) => cluster.hold(&machine, false),
        Mend::Open(from, to) => {
            cluster
                .history
                .note("network", format_args!("{from} is heard by {to} again"));
            cluster.net.set_silent(&from, &to, false);
        }
        Mend::Unclog(from, to) => cluster.net.set_clogged(&from, &to, 0),
        Mend::EngineBack(node) => {
            cluster.history.note(&node, "its engine is back");
            cluster.dockers[&node].sim.come_back();
        }
        Mend::Behave(node) => cluster.dockers[&node].set_manners(Manners {
            latency: cluster.layout.latency.2,
            ..Manners::default()
        }),
        Mend::Room => cluster.platter.set_fault(Fault::None),
        Mend::Notes(machine) => {
            if let Some(cabinet) = cluster.cabinet(&machine) {
                cabinet.set_full(false);
            }
        }
        Mend::Folder(folder) => {
            cluster
                .history
                .note("files", format_args!("directory {folder} is back"));
            cluster.folders[folder].set_there(true);
        }
        Mend::Hear(folder) => cluster.folders[folder].set_deaf(false),
    }
}

/// Cube's containers on a node, in order.
fn ours(cluster: &Cluster, node: &str) -> Vec<Container> {
    let mut all = cluster.dockers[node].sim.containers();
    all.retain(|container| container.labels.contains_key(CLUSTER_LABEL) && container.image != THEIRS);
    all
}

fn by_hand(cluster: &Cluster, node: &str, which: u64, what: ByHand) {
    let ours = ours(cluster, node);
    if ours.is_empty() {
        return;
    }
    let container = &ours[(which % ours.len() as u64) as usize];
    cluster
        .history
        .note(node, format_args!("by hand: {what:?} {}", container.name));
    let sim = &cluster.dockers[node].sim;
    match what {
        ByHand::Exit(code) => sim.exit(&container.id, code),
        ByHand::Oom => sim.oom(&container.id),
        ByHand::Pause => sim.pause(&container.id),
        ByHand::Disconnect => sim.disconnect(&container.id),
        ByHand::Remove | ByHand::Rename => {
            let (sim, container) = (sim.clone(), container.clone());
            tokio::spawn(async move {
                let _ = match what {
                    ByHand::Remove => sim.remove(&container.id, true).await,
                    _ => sim.rename(&container.id, &format!("{}-old", container.name)).await,
                };
            });
        }
    }
}

/// Someone else makes and starts a container.
pub async fn foreign(cluster: &Cluster, node: &str, name: &str, labelled: bool) {
    let sim = cluster.dockers[node].sim.clone();
    sim.add_image(THEIRS);
    // Of a Task that nobody knows: whoever removes it goes by labels, which anyone can write.
    let labels = [
        (CLUSTER_LABEL, cluster.id()),
        (UID_LABEL, "00000000-0000-7000-8000-000000000000"),
    ];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let spec = ContainerSpec {
        name: name.to_owned(),
        image: THEIRS.to_owned(),
        network: Network::None,
        labels: if labelled { labels } else { BTreeMap::new() },
        ..ContainerSpec::default()
    };
    let Ok(id) = sim.create(&spec).await else { return };
    let _ = sim.start(&id).await;
    if let Ok(Some(seen)) = sim.inspect(&id).await {
        cluster
            .history
            .note(node, format_args!("someone else's {name} is there"));
        cluster.oracle.foreign(node, seen);
    }
}
