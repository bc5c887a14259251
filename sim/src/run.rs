//! One run: a script carried out, and everything held against it.
use std::{collections::BTreeMap, time::Duration};

use cube::engine::sim::Verb;
use cube_api::kinds::Kind;
use tokio::time::Instant;

use crate::{
    bounds::Held,
    chance::Chance,
    cluster::{Cluster, MANAGER},
    history::{History, Violation},
    nemesis::{self, Nemesis},
    panics,
    people::Person,
    script::{Act, Manner, Script, source_of},
    trap::{Point, Trap},
};

/// So often everything is looked at, besides at each step.
const LOOK: Duration = Duration::from_millis(500);
/// Once nothing is wrong any more, all is as it should be within this time: the longest back-off of a container (5 min),
/// and what comes after it.
const SETTLES: Duration = Duration::from_secs(420);
/// Then nothing is done for so long, and nothing must be.
const QUIET: Duration = Duration::from_secs(600);

/// How a run ended.
pub struct Ended {
    /// The promise that was not kept, if there was one.
    pub violation: Option<Violation>,
    /// What happened last.
    pub lines: Vec<String>,
    /// What tells it from every other run.
    pub fingerprint: u64,
    /// How long it went on in its own time.
    pub simulated: Duration,
    /// What there was at the end, without what chance decides (names, nodes).
    pub end: Vec<String>,
}

/// The same, with a process that dies at one point (or none, to learn which there are, from that time on); says too which
/// points came by and whether it died.
pub fn run_trapped(seed: u64, script: &Script, after: Duration, point: Option<Point>) -> (Ended, Vec<Point>, bool) {
    let trap = Trap::default();
    let ended = run_with(seed, script, true, false, Some((trap.clone(), after, point)));
    (ended, trap.points(), trap.has_sprung())
}

/// Carries a script out; `liveness`: at its end nothing is wrong any more, and all must become as it should be.
pub fn run(seed: u64, script: &Script, liveness: bool, trace: bool) -> Ended {
    run_with(seed, script, liveness, trace, None)
}

type Trapped = (Trap, Duration, Option<Point>);

fn run_with(seed: u64, script: &Script, liveness: bool, trace: bool, trapped: Option<Trapped>) -> Ended {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without a driver for IO always starts");
    let mut ended = runtime.block_on(async {
        let history = History::begin(trace);
        let trap = trapped.as_ref().map(|(trap, ..)| trap.clone()).unwrap_or_default();
        if let Some((trap, after, point)) = trapped {
            trap.begin(after, point);
        }
        let mut run = Run::begin(seed, script, history.clone(), trap);
        run.play(script).await;
        if liveness && history.violation().is_none() {
            run.calm(script).await;
        }
        Ended {
            violation: history.violation(),
            lines: history.lines(),
            fingerprint: history.fingerprint(),
            simulated: history.now(),
            end: run.cluster.oracle.end(),
        }
    });
    drop(runtime);
    if let Some(panic) = panics::take() {
        ended.violation.get_or_insert(Violation {
            invariant: "nothing panics",
            what: format!("at the very end: {panic}"),
            at: ended.simulated,
        });
    }
    ended
}

struct Run {
    cluster: Cluster,
    nemesis: Nemesis,
    history: History,
    people: Vec<Person>,
}

impl Run {
    fn begin(seed: u64, script: &Script, history: History, trap: Trap) -> Self {
        let chance = Chance::new(seed);
        let mut cluster = Cluster::new(script.layout.clone(), &chance, history.clone(), trap);
        cluster.start_all();
        let person = |name: String| Person {
            client: cluster.client(&name),
            name,
            history: history.clone(),
            oracle: cluster.oracle.clone(),
        };
        let people: Vec<Person> = (0..3).map(|n| person(format!("person{n}"))).collect();
        for (n, kind) in [Kind::Task, Kind::Deployment].into_iter().enumerate() {
            tokio::spawn(person(format!("watcher{n}")).follow(kind));
        }
        Self {
            cluster,
            nemesis: Nemesis::default(),
            history,
            people,
        }
    }

    async fn play(&mut self, script: &Script) {
        let began = Instant::now();
        let mut acts = script.acts.iter().peekable();
        let end = began + script.length;
        let mut look = began + LOOK;
        while self.history.violation().is_none() {
            let next_act = acts.peek().map(|timed| began + timed.at);
            let next = [next_act, self.nemesis.next(), Some(look), Some(end)];
            let next = next.into_iter().flatten().min().unwrap_or(end);
            tokio::time::sleep_until(next).await;
            let now = Instant::now();
            self.nemesis.mend(&mut self.cluster);
            while let Some(timed) = acts.next_if(|timed| began + timed.at <= now) {
                self.act(&timed.act).await;
            }
            if look <= now {
                look = now + LOOK;
                self.nemesis.supervise(&mut self.cluster);
                self.look();
            }
            if now >= end {
                return;
            }
        }
    }

    fn look(&self) {
        if let Some(panic) = panics::take() {
            self.history.violated("nothing panics", panic);
        }
        self.blame();
        self.cluster.oracle.look();
    }

    /// Nodes that something is wrong with are not blamed for a while.
    fn blame(&self) {
        let manager = !self.cluster.runs(MANAGER) || self.nemesis.is_wrong(MANAGER);
        for (node, ..) in &self.cluster.layout.nodes {
            let dead = !self.cluster.is_own(node) && !self.cluster.runs(node);
            if manager {
                self.cluster.oracle.trouble(MANAGER);
            }
            if manager || dead || !self.cluster.net.is_open(MANAGER, node) || self.nemesis.is_wrong(node) {
                self.cluster.oracle.trouble(node);
            }
        }
    }

    async fn act(&mut self, act: &Act) {
        match act {
            Act::Apply { who, .. } | Act::Patch { who, .. } | Act::Delete { who, .. } => {
                tokio::spawn(self.people[*who].clone().act(act.clone()));
            }
            Act::Approve { folder } => {
                tokio::spawn(self.people[0].clone().approve(source_of(*folder)));
            }
            Act::Write {
                folder,
                file,
                text,
                manner,
            } => {
                self.history.note(
                    "files",
                    format_args!("{file} in directory {folder} is written ({manner:?})"),
                );
                self.cluster.oracle.file(&source_of(*folder), file, Some(text));
                let (folder, text) = (&self.cluster.folders[*folder], text.as_bytes());
                match manner {
                    Manner::Whole => folder.write(file, text, true),
                    Manner::InPlace => folder.put_in_place(file, text),
                    Manner::Halves => {
                        folder.write(file, &text[..text.len() / 2], false);
                        tokio::time::sleep(Duration::from_millis(30)).await;
                        folder.write(file, text, true);
                    }
                }
            }
            Act::Move { folder, file, to } => {
                let Some(text) = self.cluster.folders[*folder].text(file).filter(|_| file != to) else {
                    return;
                };
                self.history.note(
                    "files",
                    format_args!("{file} in directory {folder} is {to} from now on"),
                );
                self.cluster.oracle.file(&source_of(*folder), file, None);
                self.cluster.oracle.file(&source_of(*folder), to, Some(&text));
                self.cluster.folders[*folder].rename(file, to);
            }
            Act::Unlink { folder, file } => {
                self.history
                    .note("files", format_args!("{file} in directory {folder} is removed"));
                self.cluster.oracle.file(&source_of(*folder), file, None);
                self.cluster.folders[*folder].remove(file);
            }
            Act::Foreign { node, name, labelled } => nemesis::foreign(&self.cluster, node, name, *labelled).await,
            fault => {
                self.nemesis.act(&mut self.cluster, fault);
                // Also of what is over before the next look.
                self.blame();
            }
        }
    }

    /// Nothing is wrong any more: all becomes as it should be, and then stays so, with nothing done.
    async fn calm(&mut self, script: &Script) {
        self.history.note("nemesis", "mends everything");
        self.cluster.oracle.nodes_are_lost(&script.lost);
        self.nemesis.mend_all(&mut self.cluster, &script.lost);
        // What word was lost of is found within a minute.
        tokio::time::sleep(Duration::from_secs(65)).await;
        let limit = Instant::now() + SETTLES;
        loop {
            self.nemesis.supervise(&mut self.cluster);
            self.nemesis.mend(&mut self.cluster);
            self.look();
            if self.history.violation().is_some() {
                return;
            }
            let unsettled = self.cluster.oracle.unsettled(&script.lost);
            let Some(unsettled) = unsettled else { break };
            if Instant::now() >= limit {
                let bound = SETTLES.as_secs();
                let what = format!("{bound} s after the last fault: {unsettled}");
                return self.history.violated("I2: all becomes as it should be", what);
            }
            tokio::time::sleep(LOOK).await;
        }
        self.history.note("oracle", "all is as it should be");
        let held = Held::of(&self.cluster);
        self.history.note("oracle", format_args!("{held}"));
        if let Some(what) = held.too_much() {
            self.history
                .violated("I15: what is held is bounded", format_args!("{what}: {held}"));
        }
        if self.cluster.oracle.is_restless() {
            return;
        }
        // Events of what has just become so are still on their way, and which images a node has is told with its next list.
        tokio::time::sleep(Duration::from_secs(90)).await;
        let before = self.work();
        tokio::time::sleep(QUIET).await;
        let after = self.work();
        if before != after {
            let what = format!("in {} s of calm: before {before:?}, after {after:?}", QUIET.as_secs());
            self.history
                .violated("I2: what is as it should be stays so, and nothing is done", what);
        }
        self.look();
        if let Some(unsettled) = self.cluster.oracle.unsettled(&script.lost) {
            self.history
                .violated("I2: what is as it should be stays so, and nothing is done", unsettled);
        }
    }

    /// What was done so far: calls that change an engine, and the store's revision.
    fn work(&self) -> (BTreeMap<&str, u64>, u64) {
        let dockers = self.cluster.dockers.iter();
        // Programs that ask whether a container does its work change nothing.
        let calls = dockers.map(|(node, docker)| {
            let asked = [Verb::Exec, Verb::EndExec, Verb::ResizeExec].map(|verb| docker.sim.calls(verb));
            (node.as_str(), docker.sim.changes() - asked.iter().sum::<u64>())
        });
        (calls.collect(), self.cluster.oracle.revision())
    }
}
