//! Who runs the core: a thread of its own over a real disk, a task of its own over a simulated one that takes its time, the
//! caller itself where nothing ever waits.

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use super::core::Core;
use super::watch::Shared;
use super::{CommitError, Committed, OpenError, Options, Transaction};
use crate::world::spawn;

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

/// Takes a job, and says whether somebody works on it.
type Take = Box<dyn Fn(Job) -> bool + Send>;

enum Way {
    Queue {
        /// None once the writer is closed.
        queue: Mutex<Option<Take>>,
        places: Arc<Semaphore>,
        thread: Mutex<Option<JoinHandle<()>>>,
    },
    Caller {
        core: Box<Mutex<Core>>,
        started: Instant,
    },
}

impl Way {
    fn queue(queue: Take, thread: Option<JoinHandle<()>>) -> Self {
        Self::Queue {
            queue: Mutex::new(Some(queue)),
            places: Arc::new(Semaphore::new(QUEUE)),
            thread: Mutex::new(thread),
        }
    }
}

impl Writer {
    /// A thread of its own, which groups what gathers while the disk is busy.
    pub fn thread(core: Core, options: &Options) -> Result<Self, OpenError> {
        let shared = core.shared().clone();
        let (queue, jobs) = channel();
        let bounds = Bounds::of(options);
        let thread = std::thread::Builder::new()
            .name("store".into())
            .spawn(move || work(core, &jobs, bounds))
            .map_err(OpenError::Io)?;
        let queue = Box::new(move |job| queue.send(job).is_ok());
        Ok(Self {
            way: Way::queue(queue, Some(thread)),
            shared,
        })
    }

    /// A task of its own, which groups what gathers for as long as each time `disk` says that the disk is busy.
    pub fn task(core: Core, options: &Options, disk: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        let shared = core.shared().clone();
        let (queue, jobs) = mpsc::unbounded_channel();
        spawn(work_in_time(core, jobs, Bounds::of(options), disk));
        let queue = Box::new(move |job| queue.send(job).is_ok());
        Self {
            way: Way::queue(queue, None),
            shared,
        }
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
            Way::Queue { queue, places, .. } => {
                let place = (places.clone().acquire_owned().await).map_err(|_| CommitError::Closed)?;
                let (answer, answered) = oneshot::channel();
                let job = Job {
                    transaction,
                    answer,
                    _place: place,
                };
                let taken = lock(queue).as_ref().is_some_and(|queue| queue(job));
                if !taken {
                    return Err(CommitError::Closed);
                }
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
        if let Way::Queue { queue, places, thread } = &self.way {
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

/// How large a group may be.
#[derive(Clone, Copy)]
struct Bounds {
    changes: usize,
    bytes: usize,
}

impl Bounds {
    fn of(options: &Options) -> Self {
        Self {
            changes: options.group_changes,
            bytes: options.group_bytes,
        }
    }
}

/// Transactions that share a sync, and who waits for what becomes of each.
#[derive(Default)]
struct Group {
    transactions: Vec<Transaction>,
    answers: Vec<oneshot::Sender<Answer>>,
}

impl Group {
    /// The first job, and those that `more` has, up to the bounds.
    fn gather(first: Job, bounds: Bounds, mut more: impl FnMut() -> Option<Job>) -> Self {
        let mut group = Self::default();
        let (mut changes, mut bytes) = (0, 0);
        let mut job = Some(first);
        while let Some(Job {
            transaction, answer, ..
        }) = job
        {
            changes += transaction.changes.len();
            bytes += transaction.changes.iter().map(super::Change::size).sum::<usize>();
            group.transactions.push(transaction);
            group.answers.push(answer);
            let room = changes < bounds.changes && bytes < bounds.bytes;
            job = room.then(&mut more).flatten();
        }
        group
    }

    fn commit(self, core: &mut Core, now: Duration) {
        for (answer, result) in self.answers.into_iter().zip(core.commit(now, self.transactions)) {
            // Who asked may have gone; the commit stands.
            let _ = answer.send(result);
        }
    }
}

fn work(mut core: Core, jobs: &Receiver<Job>, bounds: Bounds) {
    let started = Instant::now();
    while let Some(first) = next(&mut core, jobs, started) {
        let group = Group::gather(first, bounds, || jobs.try_recv().ok());
        group.commit(&mut core, started.elapsed());
    }
    core.close();
}

/// The same on a task.
async fn work_in_time(
    mut core: Core,
    mut jobs: mpsc::UnboundedReceiver<Job>,
    bounds: Bounds,
    disk: impl Fn() -> Duration + Send + Sync,
) {
    let started = Instant::now();
    loop {
        let first = match core.retry_at() {
            None => jobs.recv().await,
            Some(at) => match tokio::time::timeout_at(started + at, jobs.recv()).await {
                Ok(job) => job,
                Err(_) => {
                    core.recover(started.elapsed());
                    continue;
                }
            },
        };
        let Some(first) = first else { break };
        tokio::time::sleep(disk()).await;
        let group = Group::gather(first, bounds, || jobs.try_recv().ok());
        group.commit(&mut core, started.elapsed());
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
