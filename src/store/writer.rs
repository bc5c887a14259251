//! Who runs the core: a thread of its own over a real disk, a task of its own over a simulated one that takes its time, the
//! caller itself where nothing ever waits.

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use super::core::Core;
use super::line::Line;
use super::watch::Shared;
use super::{CommitError, Committed, OpenError, Options, Origin, Transaction};
use crate::world::spawn;

/// So many transactions of each origin may wait for the disk; who comes later waits to be let in. Bounds memory when the disk is slow.
const QUEUE: usize = 4096;

type Answer = Result<Committed, CommitError>;

struct Job {
    transaction: Transaction,
    who: Who,
}

/// Who waits for a transaction.
struct Who {
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
        clients: Arc<Semaphore>,
        loops: Arc<Semaphore>,
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
            clients: Arc::new(Semaphore::new(QUEUE)),
            loops: Arc::new(Semaphore::new(QUEUE)),
            thread: Mutex::new(thread),
        }
    }
}

impl Writer {
    /// A thread of its own, which groups what gathers while the disk is busy.
    pub fn thread(core: Core, options: &Options) -> Result<Self, OpenError> {
        let shared = core.shared().clone();
        let (queue, jobs) = channel();
        let waiting = Line::new(options);
        let thread = std::thread::Builder::new()
            .name("store".into())
            .spawn(move || work(core, &jobs, waiting))
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
        spawn(work_in_time(core, jobs, Line::new(options), disk));
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
            Way::Queue {
                queue, clients, loops, ..
            } => {
                let places = match transaction.origin {
                    Origin::Client => clients,
                    Origin::Loop => loops,
                };
                let place = (places.clone().acquire_owned().await).map_err(|_| CommitError::Closed)?;
                let (answer, answered) = oneshot::channel();
                let job = Job {
                    transaction,
                    who: Who { answer, _place: place },
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
        if let Way::Queue {
            queue,
            clients,
            loops,
            thread,
        } = &self.way
        {
            clients.close();
            loops.close();
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

type Waiting = Line<Who>;

impl Waiting {
    fn take(&mut self, job: Job) {
        self.join(job.transaction, job.who);
    }
}

/// Those that are next share a sync.
fn commit(core: &mut Core, now: Duration, waiting: &mut Waiting) {
    let (transactions, who): (Vec<_>, Vec<_>) = waiting.next().into_iter().unzip();
    for (who, result) in who.into_iter().zip(core.commit(now, transactions)) {
        // Who asked may have gone; the commit stands.
        let _ = who.answer.send(result);
    }
}

fn work(mut core: Core, jobs: &Receiver<Job>, mut waiting: Waiting) {
    let started = Instant::now();
    loop {
        if waiting.is_empty() {
            let Some(first) = next(&mut core, jobs, started) else {
                break;
            };
            waiting.take(first);
        }
        while let Ok(job) = jobs.try_recv() {
            waiting.take(job);
        }
        commit(&mut core, started.elapsed(), &mut waiting);
    }
    core.close();
}

/// The same on a task.
async fn work_in_time(
    mut core: Core,
    mut jobs: mpsc::UnboundedReceiver<Job>,
    mut waiting: Waiting,
    disk: impl Fn() -> Duration + Send + Sync,
) {
    let started = Instant::now();
    loop {
        if waiting.is_empty() {
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
            waiting.take(first);
        }
        tokio::time::sleep(disk()).await;
        while let Ok(job) = jobs.try_recv() {
            waiting.take(job);
        }
        commit(&mut core, started.elapsed(), &mut waiting);
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
