//! What is to happen in a run: who does what when, drawn from the seed before anything begins.
//!
//! A script is plain data, so that a shorter one can be tried when a run has failed.
use std::{fmt, time::Duration};

use cube_api::{kinds::Kind, placement::SchedulingPolicy};
use serde_json::{Value, json};

use crate::{
    chance::Chance,
    cluster::{Layout, MANAGER, folder_path},
    engine::Manners,
    manifests::{self, DEPLOYMENTS, NAMESPACES, TASKS, Taste},
};

/// Something that happens.
#[derive(Clone, Debug)]
pub enum Act {
    /// A person applies objects.
    Apply {
        who: usize,
        objects: Vec<Value>,
        take_over: bool,
    },
    /// A person changes an object.
    Patch {
        who: usize,
        kind: Kind,
        namespace: String,
        name: String,
        patch: Value,
    },
    /// A person deletes an object.
    Delete {
        who: usize,
        kind: Kind,
        namespace: String,
        name: String,
        grace: Option<u64>,
        cascade: u64,
    },
    /// Someone writes a file of a watched directory.
    Write {
        folder: usize,
        file: String,
        text: String,
        manner: Manner,
    },
    /// Someone removes a file.
    Unlink { folder: usize, file: String },
    /// Someone gives a file another name, perhaps that of another file, which is lost.
    Move { folder: usize, file: String, to: String },
    /// A directory is gone for a while.
    FolderGone { folder: usize, back: Duration },
    /// Word of changes in a directory gets lost for a while.
    Deaf { folder: usize, back: Duration },
    /// Someone says yes to what a source would remove.
    Approve { folder: usize },
    /// A process is killed, perhaps with its machine's power, and is back after a while.
    Kill {
        machine: String,
        power: bool,
        back: Duration,
    },
    /// A process is held still for a while.
    Hold { machine: String, back: Duration },
    /// Nothing arrives from one machine at another for a while.
    Silence { from: String, to: String, back: Duration },
    /// All that one machine says to another is late for a while.
    Clog {
        from: String,
        to: String,
        millis: u64,
        back: Duration,
    },
    /// Connections of a machine break.
    Cut { machine: String },
    /// An engine does not answer for a while; its containers may die with it.
    EngineAway { node: String, dies: bool, back: Duration },
    /// An engine's calls go wrong for a while.
    Engine {
        node: String,
        manners: Manners,
        back: Duration,
    },
    /// The store's disk has no room for a while.
    DiskFull { back: Duration },
    /// The store's next sync fails.
    SyncFails,
    /// The store's disk cannot be written for a while.
    DiskBroken { back: Duration },
    /// A machine's small files cannot be written for a while.
    NotesFull { machine: String, back: Duration },
    /// A machine's clock is set.
    Clock { machine: String, ahead: i64 },
    /// Something is done to a container of Cube's, past Cube.
    ByHand { node: String, which: u64, what: ByHand },
    /// Someone else's container appears, perhaps with Cube's labels.
    Foreign { node: String, name: String, labelled: bool },
    /// An image is taken from a node.
    DropImage { node: String, image: String },
}

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// At once.
    Whole,
    /// Half of it, and the rest a moment later.
    Halves,
    /// Put in the place of the old one.
    InPlace,
}

/// What is done to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByHand {
    /// Its program ends with this code.
    Exit(i64),
    /// It has used too much memory.
    Oom,
    /// `docker rm -f`.
    Remove,
    /// `docker pause`.
    Pause,
    /// `docker rename`.
    Rename,
    /// `docker network disconnect`.
    Disconnect,
}

/// An act at its time.
#[derive(Clone, Debug)]
pub struct Timed {
    /// When, from the beginning.
    pub at: Duration,
    /// What.
    pub act: Act,
}

impl Act {
    /// The first person applies these.
    pub fn apply(objects: Vec<Value>) -> Self {
        Self::Apply {
            who: 0,
            objects,
            take_over: false,
        }
    }
}

impl fmt::Display for Timed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>8.3} {:?}", self.at.as_secs_f64(), self.act)
    }
}

/// A run to be.
#[derive(Clone, Debug)]
pub struct Script {
    /// How the cluster is laid out.
    pub layout: Layout,
    /// What people wish for.
    pub taste: Taste,
    /// How long it goes on.
    pub length: Duration,
    /// Machines that stay dead when all else is mended.
    pub lost: Vec<String>,
    /// What happens.
    pub acts: Vec<Timed>,
    /// Which kinds of faults there are.
    pub faults: Faults,
}

/// Kinds of faults; each run has some of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    pub processes: bool,
    pub network: bool,
    pub engines: bool,
    pub disk: bool,
    pub clocks: bool,
    pub by_hand: bool,
}

impl Script {
    /// Written by hand: nothing in it but these acts.
    pub fn by_hand(layout: Layout, length: Duration, acts: Vec<Timed>) -> Self {
        Self {
            layout,
            taste: Taste {
                bad: false,
                namespaces: false,
            },
            length,
            lost: Vec::new(),
            acts,
            faults: Faults::default(),
        }
    }

    /// What the seed says.
    pub fn draw(seed: u64, liveness: bool) -> Self {
        let chance = Chance::new(seed).fork("script");
        let nodes = *chance.pick(&[1, 1, 2, 3, 3, 4, 6, 10, 20]);
        let nodes: Vec<(String, u64, u64)> = (0..nodes)
            .map(|n| (format!("n{n}"), chance.range(1, 4), chance.range(2, 8)))
            .collect();
        let calm = chance.once_in(10);
        let some = |n: u64| !calm && chance.once_in(n);
        let faults = Faults {
            processes: some(2),
            network: some(3),
            engines: some(2),
            disk: some(3),
            clocks: some(5),
            by_hand: some(3),
        };
        let policies = [
            SchedulingPolicy::Spread,
            SchedulingPolicy::Binpack,
            SchedulingPolicy::RoundRobin,
            SchedulingPolicy::Greedy,
            SchedulingPolicy::EPvm,
        ];
        let layout = Layout {
            own: chance.once_in(2),
            folders: usize::try_from(chance.below(3)).unwrap_or_default(),
            policy: *chance.pick(&policies),
            latency: (chance.below(30), *chance.pick(&[1, 5, 50]), *chance.pick(&[1, 10, 200])),
            history_events: *chance.pick(&[20, 200, 10_000]),
            nodes,
        };
        let taste = Taste {
            bad: chance.once_in(3),
            namespaces: chance.once_in(3),
        };
        let length = Duration::from_secs(chance.range(60, 300));
        let count = chance.range(8, 50);
        let mut acts: Vec<Timed> = (0..count)
            .map(|_| Timed {
                at: Duration::from_millis(chance.below(length.as_millis() as u64)),
                act: act(&chance, &layout, taste, faults),
            })
            .collect();
        let mut lost = Vec::new();
        if liveness && layout.nodes.len() > 1 && chance.once_in(2) {
            let last = &layout.nodes[layout.nodes.len() - 1].0;
            lost.push(last.clone());
            if faults.clocks {
                acts.extend(lost_while_the_clock_is_set(&chance, last, length));
            }
        }
        acts.sort_by_key(|timed| timed.at);
        Self {
            layout,
            taste,
            length,
            lost,
            acts,
            faults,
        }
    }
}

/// A node goes for good, and the manager's clock is set before its Tasks are to move.
fn lost_while_the_clock_is_set(chance: &Chance, node: &str, length: Duration) -> [Timed; 2] {
    let at = length.saturating_sub(chance.millis(1000, 40_000));
    let gone = Act::Kill {
        machine: node.to_owned(),
        power: true,
        back: length,
    };
    let set = Act::Clock {
        machine: MANAGER.to_owned(),
        ahead: *chance.pick(&[-60, 60, -3600, 3600, -315_360_000]),
    };
    let set_at = (at + chance.millis(16_000, 44_000)).min(length.saturating_sub(Duration::from_millis(1)));
    [Timed { at, act: gone }, Timed { at: set_at, act: set }]
}

fn act(chance: &Chance, layout: &Layout, taste: Taste, faults: Faults) -> Act {
    let mut kinds = vec![0; 6];
    let all = [
        faults.processes,
        faults.network,
        faults.engines,
        faults.disk,
        faults.clocks,
        faults.by_hand,
    ];
    kinds.extend(
        all.iter()
            .enumerate()
            .filter(|(_, there)| **there)
            .flat_map(|(n, _)| [n + 1, n + 1]),
    );
    match *chance.pick(&kinds) {
        1 => process_fault(chance, layout),
        2 => network_fault(chance, layout),
        3 => engine_fault(chance, layout),
        4 => disk_fault(chance, layout),
        5 => Act::Clock {
            machine: machine(chance, layout),
            ahead: *chance.pick(&[1, -1, 60, -60, 3600, -3600, 315_360_000, -315_360_000]),
        },
        6 => by_hand(chance, layout),
        _ if layout.folders > 0 && chance.once_in(2) => file(chance, layout, taste),
        _ => person(chance, layout, taste),
    }
}

fn node(chance: &Chance, layout: &Layout) -> String {
    chance.pick(&layout.nodes).0.clone()
}

/// A machine that has a process.
fn machine(chance: &Chance, layout: &Layout) -> String {
    let node = node(chance, layout);
    let own = layout.own && layout.nodes[0].0 == node;
    match own || chance.once_in(3) {
        true => MANAGER.to_owned(),
        false => node,
    }
}

fn soon(chance: &Chance) -> Duration {
    let most = *chance.pick(&[500, 5000, 20_000, 60_000, 120_000]);
    chance.millis(1, most)
}

fn process_fault(chance: &Chance, layout: &Layout) -> Act {
    let machine = machine(chance, layout);
    match chance.below(3) {
        0 => Act::Hold {
            machine,
            back: chance.millis(1, 100_000),
        },
        kind => Act::Kill {
            machine,
            power: kind == 1,
            back: soon(chance),
        },
    }
}

fn network_fault(chance: &Chance, layout: &Layout) -> Act {
    let node = node(chance, layout);
    let (from, to) = match chance.once_in(2) {
        true => (node, MANAGER.to_owned()),
        false => (MANAGER.to_owned(), node),
    };
    match chance.below(4) {
        0 => Act::Cut { machine: from },
        1 => Act::Clog {
            from,
            to,
            millis: *chance.pick(&[100, 1000, 8000]),
            back: soon(chance),
        },
        _ => Act::Silence {
            from,
            to,
            back: soon(chance),
        },
    }
}

fn engine_fault(chance: &Chance, layout: &Layout) -> Act {
    let node = node(chance, layout);
    if chance.once_in(3) {
        return Act::EngineAway {
            node,
            dies: chance.once_in(2),
            back: soon(chance),
        };
    }
    let some = |most: u64| if chance.once_in(3) { chance.below(most) } else { 0 };
    let manners = Manners {
        latency: *chance.pick(&[5, 100, 2000]),
        fails_before: some(300),
        fails_after: some(300),
        late: some(50),
        hangs: some(50),
        lost: some(500),
        doubled: some(300),
        delayed: some(500),
    };
    Act::Engine {
        node,
        manners,
        back: soon(chance),
    }
}

fn disk_fault(chance: &Chance, layout: &Layout) -> Act {
    match chance.below(5) {
        0 => Act::DiskFull { back: soon(chance) },
        1 => Act::SyncFails,
        2 => Act::DiskBroken { back: soon(chance) },
        3 => Act::NotesFull {
            machine: machine(chance, layout),
            back: soon(chance),
        },
        _ => Act::Kill {
            machine: MANAGER.to_owned(),
            power: true,
            back: chance.millis(1, 5000),
        },
    }
}

fn by_hand(chance: &Chance, layout: &Layout) -> Act {
    let node = node(chance, layout);
    let what = match chance.below(7) {
        0 => ByHand::Exit(0),
        1 => ByHand::Exit(1),
        2 => ByHand::Oom,
        3 => ByHand::Remove,
        4 => ByHand::Pause,
        5 if chance.once_in(2) => ByHand::Disconnect,
        5 => ByHand::Rename,
        _ if chance.once_in(2) => {
            let name = format!("cube-default-{}-00000000-0123456789-1", chance.pick(TASKS));
            let labelled = chance.once_in(2);
            return Act::Foreign { node, name, labelled };
        }
        _ => {
            let image = format!("app:{}", chance.below(4));
            return Act::DropImage { node, image };
        }
    };
    let which = chance.number();
    Act::ByHand { node, which, what }
}

fn file(chance: &Chance, layout: &Layout, taste: Taste) -> Act {
    let folder = chance.below(layout.folders as u64) as usize;
    // Each directory has its own files; sometimes two say the same object.
    let file = format!("{}.yaml", chance.below(4));
    match chance.below(13) {
        0 | 1 => Act::Unlink { folder, file },
        12 => {
            let to = format!("{}.yaml", chance.below(4));
            Act::Move { folder, file, to }
        }
        2 => Act::FolderGone {
            folder,
            back: soon(chance),
        },
        3 => Act::Deaf {
            folder,
            back: soon(chance),
        },
        4 => Act::Approve { folder },
        5 => Act::Write {
            folder,
            file,
            text: manifests::bad_text(chance).to_owned(),
            manner: Manner::Whole,
        },
        _ => Act::Write {
            folder,
            file,
            text: manifests::text(chance, taste),
            manner: *chance.pick(&[Manner::Whole, Manner::Halves, Manner::InPlace]),
        },
    }
}

fn person(chance: &Chance, layout: &Layout, taste: Taste) -> Act {
    let who = chance.below(3) as usize;
    let namespace = (*chance.pick(&NAMESPACES[..if taste.namespaces { 2 } else { 1 }])).to_owned();
    let (kind, name) = match chance.once_in(2) {
        true => (Kind::Task, (*chance.pick(TASKS)).to_owned()),
        false => (Kind::Deployment, (*chance.pick(DEPLOYMENTS)).to_owned()),
    };
    let patched = |kind, name, patch| Act::Patch {
        who,
        kind,
        namespace: namespace.clone(),
        name,
        patch,
    };
    match chance.below(20) {
        0..=2 => Act::Delete {
            who,
            kind,
            namespace,
            name,
            grace: chance.once_in(3).then(|| chance.below(3)),
            cascade: chance.below(6),
        },
        3 => Act::Delete {
            who,
            kind: Kind::Namespace,
            namespace: String::new(),
            name: NAMESPACES[1].to_owned(),
            grace: None,
            cascade: 0,
        },
        4..=6 => {
            let name = (*chance.pick(DEPLOYMENTS)).to_owned();
            patched(
                Kind::Deployment,
                name,
                json!({ "spec": { "replicas": chance.below(6) } }),
            )
        }
        7 | 8 => {
            let image = format!("app:{}", chance.below(4));
            let patch = match kind {
                Kind::Task => json!({ "spec": { "image": image } }),
                _ => json!({ "spec": { "template": { "spec": { "image": image } } } }),
            };
            patched(kind, name, patch)
        }
        9 => {
            let patch = json!({ "spec": { "unschedulable": chance.once_in(2) } });
            patched(Kind::Node, node(chance, layout), patch)
        }
        10 => {
            let drain = if chance.once_in(2) { json!({}) } else { Value::Null };
            let patch = json!({ "spec": { "unschedulable": !drain.is_null(), "drain": drain } });
            patched(Kind::Node, node(chance, layout), patch)
        }
        11 => Act::Delete {
            who,
            kind: Kind::Node,
            namespace: String::new(),
            name: node(chance, layout),
            grace: None,
            cascade: 0,
        },
        _ => Act::Apply {
            who,
            objects: (0..chance.range(1, 4))
                .map(|_| manifests::object(chance, taste))
                .collect(),
            take_over: chance.once_in(4),
        },
    }
}

/// The name of a folder's source.
pub fn source_of(folder: usize) -> String {
    cube::source::name_of(&folder_path(folder))
}
