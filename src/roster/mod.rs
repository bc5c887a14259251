//! What the manager knows of its workers from hearing them: who is there, and since when one is silent.
//!
//! It is kept in memory only and is never written: a heartbeat costs no disk, and a manager that begins anew knows
//! nothing of anybody, which says nothing against them. It decides nothing (`cube_plan::node_life` does).
//!
//! Guarantee: a node is never said to be silent for longer than this process has been awake to hear it. A restart, or a
//! pause of the machine, begins everybody's silence anew.
mod agent;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

#[cfg(test)]
pub(crate) use agent::tests::Nobody;
pub use agent::{Agent, AgentError};

/// How often a worker is heard from at the latest, and how often [`Roster::keep_awake`] looks at the clock. A node's
/// grace is a few of these; more often costs both sides a wake-up each time.
pub const BEAT: Duration = Duration::from_secs(3);
/// Not having looked at the clock for so long means that this process did not run meanwhile.
const PAUSED: Duration = Duration::from_secs(6);

/// Who is there. Cloning is cheap.
#[derive(Clone)]
pub struct Roster(Arc<Mutex<Inner>>);

struct Inner {
    entries: BTreeMap<String, Entry>,
    sessions: u64,
    /// Nobody has been silent since before this.
    awake_since: Instant,
    /// When the clock was looked at last.
    looked: Instant,
}

/// One node.
struct Entry {
    /// Which worker it is.
    worker: String,
    heard: Instant,
    session: Option<(u64, CancellationToken, Arc<dyn Agent>)>,
}

/// A worker that is there, from its greeting to its end.
#[derive(Debug)]
pub struct Session {
    number: u64,
    /// Another session of the same worker has taken its place.
    pub replaced: CancellationToken,
}

/// The name is another worker's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameTaken {
    /// How long that one has been silent.
    pub silent: Duration,
}

impl Roster {
    /// Nobody is there yet.
    pub fn new() -> Self {
        let now = Instant::now();
        Self(Arc::new(Mutex::new(Inner {
            entries: BTreeMap::new(),
            sessions: 0,
            awake_since: now,
            looked: now,
        })))
    }

    /// A worker comes. An older session of the same worker ends.
    ///
    /// # Errors
    /// When another worker of that name is there.
    pub fn enter(&self, node: &str, worker: &str, agent: Arc<dyn Agent>) -> Result<Session, NameTaken> {
        let mut inner = self.inner();
        let heard = Instant::now();
        inner.sessions += 1;
        let number = inner.sessions;
        let before = inner.entries.remove(node);
        if let Some(before) = before {
            if before.worker != worker && before.session.is_some() {
                let silent = before.heard.elapsed();
                inner.entries.insert(node.to_owned(), before);
                return Err(NameTaken { silent });
            }
            if let Some((_, replaced, _)) = before.session {
                replaced.cancel();
            }
        }
        let replaced = CancellationToken::new();
        let entry = Entry {
            worker: worker.to_owned(),
            heard,
            session: Some((number, replaced.clone(), agent)),
        };
        inner.entries.insert(node.to_owned(), entry);
        Ok(Session { number, replaced })
    }

    /// A worker was heard.
    pub fn heard(&self, node: &str, session: &Session) {
        let mut inner = self.inner();
        if let Some(entry) = inner.entries.get_mut(node)
            && entry.is(session)
        {
            entry.heard = Instant::now();
        }
    }

    /// Hears a worker that is in this process, for as long as it is waited for.
    pub async fn beat(&self, node: &str, session: &Session) {
        loop {
            self.heard(node, session);
            tokio::time::sleep(BEAT).await;
        }
    }

    /// A session has ended.
    pub fn leave(&self, node: &str, session: &Session) {
        let mut inner = self.inner();
        if let Some(entry) = inner.entries.get_mut(node)
            && entry.is(session)
        {
            entry.session = None;
        }
    }

    /// The node's worker, if it is there.
    pub fn agent(&self, node: &str) -> Option<Arc<dyn Agent>> {
        let inner = self.inner();
        let session = inner.entries.get(node)?.session.as_ref()?;
        Some(Arc::clone(&session.2))
    }

    /// How long nothing has been heard of a node's worker.
    pub fn silence(&self, node: &str) -> Duration {
        let inner = self.inner();
        let heard = inner.entries.get(node).map(|entry| entry.heard);
        let since = heard.map_or(inner.awake_since, |heard| heard.max(inner.awake_since));
        since.elapsed()
    }

    /// Looks at the clock now and then, so that a pause of this process is noticed; until `shutdown`.
    pub async fn keep_awake(self, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(BEAT) => drop(self.inner()),
            }
        }
    }

    /// Who is there; also notices that this process did not run for a while, whoever asks first.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if now.duration_since(inner.looked) > PAUSED {
            inner.awake_since = now;
        }
        inner.looked = now;
        inner
    }
}

impl Default for Roster {
    fn default() -> Self {
        Self::new()
    }
}

impl Entry {
    fn is(&self, session: &Session) -> bool {
        self.session
            .as_ref()
            .is_some_and(|(number, ..)| *number == session.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nobody() -> Arc<dyn Agent> {
        Arc::new(Nobody)
    }

    async fn pass(seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_is_one_workers_while_it_is_there() {
        let roster = Roster::new();
        let first = roster.enter("a", "one", nobody()).unwrap();
        pass(2).await;
        let taken = roster.enter("a", "two", nobody()).unwrap_err();
        assert_eq!(taken.silent, Duration::from_secs(2));
        // The same worker again: its connection broke before this side noticed.
        let again = roster.enter("a", "one", nobody()).unwrap();
        assert!(first.replaced.is_cancelled() && !again.replaced.is_cancelled());
        roster.leave("a", &first);
        assert!(roster.agent("a").is_some(), "the older session's end says nothing");
        roster.leave("a", &again);
        assert!(roster.agent("a").is_none());
        assert!(roster.enter("a", "two", nobody()).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn silence_counts_only_while_somebody_listens() {
        let roster = Roster::new();
        let keeping = tokio::spawn(roster.clone().keep_awake(CancellationToken::new()));
        let session = roster.enter("a", "one", nobody()).unwrap();
        for _ in 0..4 {
            pass(3).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(roster.silence("a"), Duration::from_secs(12));
        assert_eq!(roster.silence("never heard"), Duration::from_secs(12));
        roster.heard("a", &session);
        assert_eq!(roster.silence("a"), Duration::ZERO);
        // The machine stands still for an hour: nobody's fault.
        keeping.abort();
        pass(3600).await;
        assert_eq!(roster.silence("a"), Duration::ZERO);
        pass(5).await;
        assert_eq!(roster.silence("a"), Duration::from_secs(5));
    }
}
