//! Beginning what goes on beside: everything that is spawned belongs to the process that spawned it.
//!
//! In the real world that is the process of the operating system, and [`spawn`] is tokio's. In a simulation many processes
//! share one thread; each is a [`Process`] that can be held still and killed, with all that it has begun.
use std::{
    cell::RefCell,
    future::Future,
    mem,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use futures_util::future::{BoxFuture, Either, FutureExt as _};
use tokio::task::JoinHandle;

thread_local! {
    /// The simulated process that is being carried on just now; none in the real world.
    static CURRENT: RefCell<Option<Process>> = const { RefCell::new(None) };
}

/// Begins something that goes on beside whoever begins it.
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(belonging(future))
}

/// The same work, as a part of the process that asks; for those who spawn it by other means.
pub fn belonging<F>(future: F) -> Either<F, BoxFuture<'static, F::Output>>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    match CURRENT.with_borrow(Clone::clone) {
        None => Either::Left(future),
        Some(process) => Either::Right(process.run(future)),
    }
}

/// Does what blocks where it keeps nobody waiting: on a thread of its own; in a simulation, where nothing blocks, at once.
///
/// # Panics
/// When `work` does.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    if CURRENT.with_borrow(Option::is_some) {
        tokio::task::yield_now().await;
        return work();
    }
    joined(tokio::task::spawn_blocking(work)).await
}

/// Does it as a task of its own: who waits for many at once holds no thread while each of them is worked at.
///
/// # Panics
/// When `work` does.
pub async fn apart<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    joined(spawn(work)).await
}

async fn joined<T>(handle: JoinHandle<T>) -> T {
    match handle.await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is ending, and with it whoever waits here.
            Err(_) => std::future::pending().await,
        },
    }
}

/// A process of a simulation. Cloning gives another handle to the same one.
#[derive(Clone, Debug)]
pub struct Process(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    alive: bool,
    held: bool,
    /// Who wanted to go on meanwhile.
    waiting: Vec<Waker>,
}

impl Default for Process {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State {
            alive: true,
            held: false,
            waiting: Vec::new(),
        })))
    }
}

impl Process {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The work as a part of this process: it stands still while the process is held, and for ever once it is killed. What
    /// it spawns is part of the process too.
    pub fn run<F>(&self, future: F) -> BoxFuture<'static, F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let part = Part {
            process: self.clone(),
            future: Some(future.boxed()),
        };
        part.boxed()
    }

    /// Ends it on the spot: nothing of it moves again.
    pub fn kill(&self) {
        let mut state = self.state();
        state.alive = false;
        for waker in state.waiting.drain(..) {
            waker.wake();
        }
    }

    /// Whether it was not killed.
    pub fn is_alive(&self) -> bool {
        self.state().alive
    }

    /// Holds it still, as SIGSTOP does.
    pub fn hold(&self) {
        self.state().held = true;
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        let mut state = self.state();
        state.held = false;
        for waker in state.waiting.drain(..) {
            waker.wake();
        }
    }
}

/// A part of a process.
struct Part<T> {
    process: Process,
    future: Option<BoxFuture<'static, T>>,
}

impl<T> Future for Part<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        {
            let mut state = self.process.state();
            if !state.alive {
                drop(state);
                self.future = None;
                return Poll::Pending;
            }
            if state.held {
                state.waiting.push(context.waker().clone());
                return Poll::Pending;
            }
        }
        let this = &mut *self;
        let Some(future) = &mut this.future else {
            return Poll::Pending;
        };
        let outer = CURRENT.replace(Some(this.process.clone()));
        let polled = future.poll_unpin(context);
        CURRENT.set(outer);
        if polled.is_ready() {
            drop(mem::take(&mut this.future));
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicU32, Ordering},
        time::Duration,
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_a_process_began_is_held_and_killed_with_it() {
        let process = Process::default();
        let count = Arc::new(AtomicU32::new(0));
        let counted = count.clone();
        let work = process.run(async move {
            spawn(async move {
                loop {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    counted.fetch_add(1, Ordering::SeqCst);
                }
            });
        });
        work.await;
        let after = |seconds: u64| {
            let count = count.clone();
            async move {
                tokio::time::sleep(Duration::from_millis(seconds * 1000)).await;
                count.load(Ordering::SeqCst)
            }
        };
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(after(3).await, 3);
        process.hold();
        assert_eq!(after(3).await, 3);
        process.go_on();
        assert!(after(3).await > 4);
        process.kill();
        assert!(!process.is_alive());
        let at_its_end = count.load(Ordering::SeqCst);
        assert_eq!(after(3).await, at_its_end);
        assert_eq!(blocking(|| 1).await, 1);
    }
}
