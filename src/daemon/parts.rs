//! The parts of a process: begun one by one, ended together.
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::DaemonError;
use crate::world::process::belonging;

/// How long the parts have to end after they were told to; longer would make Ctrl-C feel broken.
const ENDING: Duration = Duration::from_secs(5);

/// The parts at work.
pub struct Parts {
    running: JoinSet<(&'static str, Result<(), DaemonError>)>,
    /// Told when all are to end.
    pub shutdown: CancellationToken,
}

impl Parts {
    pub(super) fn new() -> Self {
        Self {
            running: JoinSet::new(),
            shutdown: CancellationToken::new(),
        }
    }

    /// A part that ends with the shutdown only.
    pub(super) fn run(&mut self, name: &'static str, part: impl Future<Output = ()> + Send + 'static) {
        self.running.spawn(belonging(async move {
            part.await;
            (name, Ok(()))
        }));
    }

    /// A part that may find that it cannot go on.
    pub(super) fn trying(
        &mut self,
        name: &'static str,
        part: impl Future<Output = Result<(), DaemonError>> + Send + 'static,
    ) {
        self.running.spawn(belonging(async move { (name, part.await) }));
    }

    /// Waits until somebody asks for the end, or a part has ended by itself, which is an error.
    pub(super) async fn ended(&mut self) -> Result<(), DaemonError> {
        tokio::select! {
            biased;
            signal = asked_to_end() => signal.map_err(DaemonError::Signals),
            error = self.failed() => Err(error),
        }
    }

    /// Waits until a part has ended by itself; safe to drop while it waits.
    pub async fn failed(&mut self) -> DaemonError {
        match self.running.join_next().await {
            Some(Ok((_, Err(error)))) => error,
            Some(Ok((name, Ok(())))) => DaemonError::Ended(name),
            _ => DaemonError::Ended("a part of Cube"),
        }
    }

    /// Ends all.
    pub async fn end(mut self) {
        self.shutdown.cancel();
        let all = async { while self.running.join_next().await.is_some() {} };
        if tokio::time::timeout(ENDING, all).await.is_err() {
            tracing::warn!("not all parts have ended in time");
        }
    }
}

/// Waits until somebody asks for the end: Ctrl-C, SIGTERM, or a terminal that is closed.
pub(super) async fn asked_to_end() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    tokio::select! {
        biased;
        interrupt = tokio::signal::ctrl_c() => interrupt,
        _ = terminate.recv() => Ok(()),
        _ = hang_up.recv() => Ok(()),
    }
}
