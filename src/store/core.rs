//! The writer without its thread: takes a group of transactions, judges each, makes them durable together, publishes.
//!
//! Owns the one place where revisions are given out. Never waits, and never looks at a clock: the caller brings the time
//! (any that only goes forward), so that a simulation can drive it. Read [`Core::commit`] first.
//!
//! After a failure it acknowledges nothing, because what the disk holds is not known: a commit that failed may be there
//! all the same. It opens the file again, compares, publishes what did land, and spends new revisions from then on.

use cube_planted::{Bug, planted};
use std::sync::Arc;
use std::time::Duration;

use super::backend::Backends;
use super::disk::{Disk, Loaded, WriteError, Writes};
use super::watch::{Event, Published, Shared};
use super::{
    Change, CommitError, Committed, Expect, Health, OpenError, Options, Record, Revision, Snapshot, Transaction,
    Trouble,
};

/// The pauses between attempts to open the file again. Each reads the whole of it, so they must not be too close; longer
/// ones only keep people waiting who have made room.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// No object with its key may have more bytes. Far above what the registry admits: this only keeps what lies on disk, whose
/// lengths are bounded, from being wrong.
const LARGEST: usize = 64 << 20;

pub(super) struct Core {
    backends: Backends,
    disk: Result<Disk, Outage>,
    options: Options,
    shared: Arc<Shared>,
    /// The highest revision ever given out, seen or not.
    highest: Revision,
}

/// The time since the disk failed.
struct Outage {
    error: WriteError,
    /// What a write that failed half-way would have published.
    pending: Option<Published>,
    pause: Duration,
    retry_at: Duration,
}

type Answer = Result<Committed, CommitError>;

impl Core {
    /// Goes on from what was found on `disk`, which `backends` leads to again after a failure.
    pub fn new((disk, loaded): (Disk, Loaded), backends: Backends, options: Options) -> Self {
        Self {
            backends,
            disk: Ok(disk),
            options,
            highest: loaded.state.revision,
            shared: Arc::new(Shared::new(loaded.cluster, Published::bare(loaded.state))),
        }
    }

    /// Opens what `backends` leads to; an empty place becomes a new store.
    pub fn over(backends: Backends, options: Options) -> Result<Self, OpenError> {
        let found = Disk::open(&backends, Some(&options.cluster))?;
        Ok(Self::new(found, backends, options))
    }

    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Answers each transaction, in order. Those that went through are durable and published when this returns.
    pub fn commit(&mut self, now: Duration, group: Vec<Transaction>) -> Vec<Answer> {
        self.recover(now);
        let disk = match &mut self.disk {
            Ok(disk) => disk,
            Err(outage) => return vec![Err(unavailable(&outage.error, false)); group.len()],
        };
        let size = group.len();
        let mut draft = Draft {
            next: Published::clone(&self.shared.published.load()),
            writes: Writes::new(),
            highest: self.highest,
        };
        let answers: Vec<_> = group.into_iter().map(|transaction| draft.take(transaction)).collect();
        let Draft { next, writes, highest } = draft;
        if highest == self.highest {
            return answers;
        }
        self.highest = highest;
        match disk.write(&writes, highest) {
            Ok(()) => {
                self.shared.publish(next, &self.options);
                answers
            }
            Err(error) => {
                // A refusal counts for nothing either: it may rest on a neighbour's write that never happened.
                let answers = match planted(Bug::AckedThoughFailed) {
                    true => answers,
                    false => vec![Err(unavailable(&error, true)); size],
                };
                self.fail(now, error, Some(next), FIRST_PAUSE);
                answers
            }
        }
    }

    /// When to call [`Core::recover`] again, if it is waiting for the disk.
    pub fn retry_at(&self) -> Option<Duration> {
        self.disk.as_ref().err().map(|outage| outage.retry_at)
    }

    /// Tries to open the file again, if it is time.
    pub fn recover(&mut self, now: Duration) {
        let Err(outage) = &mut self.disk else { return };
        if now < outage.retry_at {
            return;
        }
        let pending = outage.pending.take();
        let pause = (outage.pause * 2).min(LONGEST_PAUSE);
        match self.reopen(pending.as_ref()) {
            Ok((disk, next)) => {
                self.disk = Ok(disk);
                self.shared.publish(next, &self.options);
                self.shared.health.store(Arc::default());
            }
            Err(error) => self.fail(now, error, pending, pause),
        }
    }

    /// What is on disk decides: with the write that failed, or without it.
    fn reopen(&self, pending: Option<&Published>) -> Result<(Disk, Published), WriteError> {
        let (mut disk, loaded) = Disk::open(&self.backends, None).map_err(|error| WriteError {
            step: "open again",
            cause: error.trouble(),
            error: error.to_string(),
        })?;
        let found = loaded.state;
        let before = self.shared.published.load();
        let mut next = ([pending, Some(&**before)].into_iter().flatten())
            .find(|known| known.snapshot.revision <= found.revision && known.snapshot.same_states(&found))
            .cloned()
            .ok_or_else(|| WriteError {
                step: "open again",
                cause: Trouble::Corrupt,
                error: format!(
                    "the file is at revision {}, which is not what was written to it up to {}",
                    found.revision,
                    before.snapshot.revision()
                ),
            })?;
        // A first write proves that the disk takes writes, and that the numbers that were in doubt stay unused.
        next.snapshot.revision = self.highest;
        disk.settle(self.highest)?;
        Ok((disk, next))
    }

    /// Lets go of the file in good order.
    pub fn close(self) {
        if let Ok(disk) = self.disk {
            disk.close();
        }
    }

    fn fail(&mut self, now: Duration, error: WriteError, pending: Option<Published>, pause: Duration) {
        self.shared.health.store(Arc::new(Health {
            writable: false,
            error: Some(unavailable(&error, false).to_string()),
        }));
        self.disk = Err(Outage {
            error,
            pending,
            pause,
            retry_at: now + pause,
        });
    }
}

/// A group on its way: the state as it will be.
struct Draft {
    next: Published,
    writes: Writes,
    highest: Revision,
}

impl Draft {
    /// Adds one transaction, or refuses it and leaves the draft as it was.
    fn take(&mut self, transaction: Transaction) -> Answer {
        for (key, expected) in &transaction.expects {
            check(&self.next.snapshot, key, *expected)?;
        }
        if let Some(change) = transaction.changes.iter().find(|change| too_large(change)) {
            return Err(CommitError::Unavailable {
                step: "write",
                cause: Trouble::TooLarge,
                error: format!("{} has {} bytes, more than an object may", change.key(), change.size()),
                in_doubt: false,
            });
        }
        // One change alone is refused before it is made; without a fork the state is changed in place.
        let fork = (transaction.changes.len() > 1).then(|| self.next.snapshot.clone());
        let mut revision = self.highest;
        let commit = revision + transaction.changes.len() as Revision;
        let mut events = Vec::with_capacity(transaction.changes.len());
        for change in transaction.changes {
            revision += 1;
            match self.change(change, revision, commit) {
                Ok(event) => events.push(Arc::new(event)),
                Err(refused) => {
                    if let Some(fork) = fork {
                        self.next.snapshot = fork;
                    }
                    return Err(refused);
                }
            }
        }
        self.highest = commit;
        self.next.snapshot.revision = commit;
        let mut records = Vec::with_capacity(events.len());
        for event in events {
            self.writes.insert(event.key.clone(), event.after.clone());
            records.extend(event.after.clone().or(event.deleted.clone()));
            self.next.push(event);
        }
        Ok(Committed {
            revision: commit,
            records,
        })
    }

    fn change(&mut self, change: Change, revision: Revision, commit: Revision) -> Result<Event, CommitError> {
        let key = change.key().clone();
        let (before, after) = match change {
            Change::Put(key, bytes) => {
                let record = Arc::new(Record::new(key.clone(), revision, bytes));
                (self.next.snapshot.apply(&key, Some(record.clone())), Some(record))
            }
            Change::Delete(key) => {
                check(&self.next.snapshot, &key, Expect::Present)?;
                (self.next.snapshot.apply(&key, None), None)
            }
        };
        let deleted = match &after {
            Some(_) => None,
            None => before.as_ref().map(|record| Arc::new(record.stamped(revision))),
        };
        Ok(Event {
            revision,
            key,
            before,
            after,
            deleted,
            commit,
        })
    }
}

fn too_large(change: &Change) -> bool {
    change.size() > LARGEST || change.key().as_str().len() > usize::from(u16::MAX)
}

fn check(state: &Snapshot, key: &super::Key, expected: Expect) -> Result<(), CommitError> {
    let actual = state.get(key).map(|record| record.revision);
    if expected.holds(actual) {
        return Ok(());
    }
    Err(CommitError::Conflict {
        key: key.clone(),
        expected,
        actual,
    })
}

fn unavailable(error: &WriteError, in_doubt: bool) -> CommitError {
    CommitError::Unavailable {
        step: error.step,
        cause: error.cause,
        error: error.error.clone(),
        in_doubt,
    }
}
