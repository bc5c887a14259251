//! What happened in a run, in the order in which it happened: the same seed gives the same lines.
use std::{
    collections::VecDeque,
    fmt::Display,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// So many lines are kept of a run that is not traced.
const KEPT: usize = 400;

/// The history of one run. Cloning gives another handle to the same one.
#[derive(Clone)]
pub struct History(Arc<Mutex<Inner>>);

struct Inner {
    began: Instant,
    lines: VecDeque<String>,
    whole: bool,
    hasher: DefaultHasher,
    violation: Option<Violation>,
}

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which, as `docs/reliability.md` calls it.
    pub invariant: &'static str,
    /// What was seen.
    pub what: String,
    /// When.
    pub at: Duration,
}

impl History {
    /// Begins with the run; `whole`: no line is forgotten.
    pub fn begin(whole: bool) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            began: Instant::now(),
            lines: VecDeque::new(),
            whole,
            hasher: DefaultHasher::new(),
            violation: None,
        })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long the run has gone on, in its own time.
    pub fn now(&self) -> Duration {
        self.inner().began.elapsed()
    }

    /// Notes that something happened to, or was done by, `who`.
    pub fn note(&self, who: impl Display, what: impl Display) {
        let mut inner = self.inner();
        let line = format!("{:>10.3} {who:<10} {what}", inner.began.elapsed().as_secs_f64());
        line.hash(&mut inner.hasher);
        if !inner.whole && inner.lines.len() == KEPT {
            inner.lines.pop_front();
        }
        inner.lines.push_back(line);
    }

    /// Notes that a promise was not kept; the first one counts.
    pub fn violated(&self, invariant: &'static str, what: impl Display) {
        let what = what.to_string();
        self.note("VIOLATED", format!("{invariant}: {what}"));
        let mut inner = self.inner();
        let at = inner.began.elapsed();
        inner.violation.get_or_insert(Violation { invariant, what, at });
    }

    /// The promise that was not kept, if there is one.
    pub fn violation(&self) -> Option<Violation> {
        self.inner().violation.clone()
    }

    /// The lines that are kept.
    pub fn lines(&self) -> Vec<String> {
        self.inner().lines.iter().cloned().collect()
    }

    /// A number that any other history would not have.
    pub fn fingerprint(&self) -> u64 {
        self.inner().hasher.finish()
    }
}
