//! Who runs the core: a thread of its own over a real disk, the caller itself where nothing ever waits.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;

use super::core::Core;
use super::watch::Shared;
use super::{CommitError, Committed, OpenError, Options, Transaction};

/// So many transactions may wait for the disk; who comes later waits to be let in. Bounds memory when the disk is slow.
const QUEUE: usize = 4096;

type Answer = Result<Committed, CommitError>;

struct Job {
    transaction: Transaction,
    answer: oneshot::Sender<Answer>,
    _place: OwnedSemaphorePermit,
}

/// How commits reach the core.
pub(super) struct Writer {
    way: Way,
    shared: Arc<Shared>,
}

enum Way {
    Thread {
        queue: Mutex<Option<Sender<Job>>>,
        places: Arc<Semaphore>,
        thread: Mutex<Option<JoinHandle<()>>>,
    },
    Caller {
        core: Box<Mutex<Core>>,
        started: Instant,
    },
}

impl Writer {
    /// A thread of its own, which groups what gathers while the disk is busy.
    pub fn thread(core: Core, options: &Options) -> Result<Self, OpenError> {
        let shared = core.shared().clone();
        let (queue, jobs) = channel();
        let (group_changes, group_bytes) = (options.group_changes, options.group_bytes);
        let thread = std::thread::Builder::new()
            .name("store".into())
            .spawn(move || work(core, &jobs, group_changes, group_bytes))
            .map_err(OpenError::Io)?;
        let way = Way::Thread {
            queue: Mutex::new(Some(queue)),
            places: Arc::new(Semaphore::new(QUEUE)),
            thread: Mutex::new(Some(thread)),
        };
        Ok(Self { way, shared })
    }

    /// No thread: each commit is done by who asks for it, so that a simulation stays on its one thread.
    pub fn caller(core: Core) -> Self {
        let shared = core.shared().clone();
        let way = Way::Caller {
            core: Box::new(Mutex::new(core)),
            started: Instant::now(),
        };
        Self { way, shared }
    }

    pub async fn commit(&self, transaction: Transaction) -> Answer {
        match &self.way {
            Way::Thread { queue, places, .. } => {
                let place = (places.clone().acquire_owned().await).map_err(|_| CommitError::Closed)?;
                let (answer, answered) = oneshot::channel();
                let job = Job {
                    transaction,
                    answer,
                    _place: place,
                };
                let queue = lock(queue).clone().ok_or(CommitError::Closed)?;
                queue.send(job).map_err(|_| CommitError::Closed)?;
                drop(queue);
                answered.await.unwrap_or(Err(CommitError::Closed))
            }
            Way::Caller { core, started } => {
                // A disk takes its time too: without this, code under test would never see others come in between.
                tokio::task::yield_now().await;
                if self.shared.is_closed() {
                    return Err(CommitError::Closed);
                }
                let mut answers = lock(core).commit(started.elapsed(), vec![transaction]);
                answers.pop().unwrap_or(Err(CommitError::Closed))
            }
        }
    }

    /// Takes nothing more, finishes what waits, and lets go of the file.
    pub fn close(&self) {
        if let Way::Thread { queue, places, thread } = &self.way {
            places.close();
            drop(lock(queue).take());
            if let Some(thread) = lock(thread).take() {
                // It ends by itself; a panic in there was reported by the thread.
                let _ = thread.join();
            }
        }
        self.shared.close();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn work(mut core: Core, jobs: &Receiver<Job>, group_changes: usize, group_bytes: usize) {
    let started = Instant::now();
    while let Some(first) = next(&mut core, jobs, started) {
        let (mut group, mut answers) = (Vec::new(), Vec::new());
        let (mut changes, mut bytes) = (0, 0);
        let mut job = Some(first);
        while let Some(Job {
            transaction, answer, ..
        }) = job
        {
            changes += transaction.changes.len();
            bytes += transaction.changes.iter().map(super::Change::size).sum::<usize>();
            group.push(transaction);
            answers.push(answer);
            let room = changes < group_changes && bytes < group_bytes;
            job = room.then(|| jobs.try_recv().ok()).flatten();
        }
        for (answer, result) in answers.into_iter().zip(core.commit(started.elapsed(), group)) {
            // Who asked may have gone; the commit stands.
            let _ = answer.send(result);
        }
    }
    core.close();
}

/// The next transaction; opens a failed file again while there is none. `None` when the store is closed.
fn next(core: &mut Core, jobs: &Receiver<Job>, started: Instant) -> Option<Job> {
    loop {
        let Some(retry_at) = core.retry_at() else {
            return jobs.recv().ok();
        };
        match jobs.recv_timeout(retry_at.saturating_sub(started.elapsed()).max(Duration::from_millis(1))) {
            Ok(job) => return Some(job),
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) => core.recover(started.elapsed()),
        }
    }
}
