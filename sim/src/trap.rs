//! Kills a process at one exact point: right after its n-th write of the store, or right before or after its n-th call of an
//! engine.
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use cube::world::process::Process;
use tokio::time::Instant;

use crate::engine::When;

/// A point of a run at which a process can die. Numbers count from 0, from the trap's beginning on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// The store has been written: the manager dies, and nobody is answered.
    Store(u64),
    /// An engine is asked, and does what it is asked: its worker dies before it is asked.
    Before(String, u64),
    /// The same; its worker dies once it is done, and does not hear of it.
    After(String, u64),
}

/// The trap. Cloning gives another handle to the same one.
#[derive(Clone, Default)]
pub struct Trap(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    /// Points are counted from then on; none: not at all.
    from: Option<Instant>,
    armed: Option<Point>,
    counts: BTreeMap<String, (u64, u64)>,
    processes: BTreeMap<String, Process>,
    sprung: bool,
}

/// What the store is called among the engines.
const STORE: &str = "";

impl Trap {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the points from that time of the run on, and kills at one of them.
    pub fn begin(&self, after: Duration, armed: Option<Point>) {
        let mut inner = self.inner();
        inner.from = Some(Instant::now() + after);
        inner.armed = armed;
    }

    /// A process begins; it is what dies in that place from now on.
    pub fn process(&self, name: &str, process: &Process) {
        self.inner().processes.insert(name.to_owned(), process.clone());
    }

    /// All points that came by.
    pub fn points(&self) -> Vec<Point> {
        let inner = self.inner();
        let mut points = Vec::new();
        for (node, (asked, done)) in &inner.counts {
            if node == STORE {
                points.extend((0..*done).map(Point::Store));
                continue;
            }
            points.extend((0..*asked).map(|n| Point::Before(node.clone(), n)));
            points.extend((0..*done).map(|n| Point::After(node.clone(), n)));
        }
        points
    }

    /// Whether it has killed.
    pub fn has_sprung(&self) -> bool {
        self.inner().sprung
    }

    /// The store was written by that process.
    pub fn written(&self, process: &Process) {
        let victim = {
            let mut inner = self.inner();
            let Some(n) = inner.count(STORE, When::Done) else {
                return;
            };
            (inner.armed == Some(Point::Store(n))).then(|| inner.spring())
        };
        if victim.is_some() {
            process.kill();
        }
    }

    /// An engine was asked for something, or has done it; `worker` is where its worker runs.
    pub fn called(&self, node: &str, worker: &str, when: When) {
        let victim = {
            let mut inner = self.inner();
            let Some(n) = inner.count(node, when) else { return };
            let point = match when {
                When::Asked => Point::Before(node.to_owned(), n),
                When::Done => Point::After(node.to_owned(), n),
            };
            let process = inner.processes.get(worker).cloned();
            process
                .filter(|_| inner.armed == Some(point))
                .inspect(|_| inner.spring())
        };
        if let Some(process) = victim {
            process.kill();
        }
    }
}

impl Inner {
    /// The number of this point, if points are counted by now.
    fn count(&mut self, what: &str, when: When) -> Option<u64> {
        self.from.filter(|from| *from <= Instant::now())?;
        let counts = self.counts.entry(what.to_owned()).or_default();
        let count = match when {
            When::Asked => &mut counts.0,
            When::Done => &mut counts.1,
        };
        *count += 1;
        Some(*count - 1)
    }

    fn spring(&mut self) {
        self.sprung = true;
        self.armed = None;
    }
}
