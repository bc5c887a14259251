//! What a program says that is run in the container: its exit code, and the first of what it writes.
//!
//! A program that has not ended in time is killed where that is possible; where it is not, no more than [`LEFT`] of them
//! are left in a container.
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cube_plan::probe::Answer;
use futures_util::StreamExt as _;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{READ, Target, no_answer};
use crate::engine::exec::exit_code;
use crate::engine::{Ending, EngineError, Exec, ExecOptions, Result};

/// So many programs are being started at once at most: each start costs the engine some hundredths of a second of a
/// processor, and what it has to do for containers comes first.
const STARTS: usize = 4;
/// One start that hangs in the engine holds up no other container's for longer.
const TURN: Duration = Duration::from_secs(5);
/// So many programs that did not end in time are left in a container at most.
const LEFT: usize = 2;

/// Turns at starting programs.
pub struct Turns(Semaphore);

impl Default for Turns {
    fn default() -> Self {
        Self(Semaphore::new(STARTS))
    }
}

/// Programs of earlier questions that may still run in a container, by the engine's ids.
#[derive(Default)]
pub struct Left(Mutex<Vec<String>>);

impl Left {
    fn put(&self, ids: Vec<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = ids;
    }

    fn ids(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Runs the program. The limit counts from its start.
pub(super) async fn ask(target: &Target, command: &[String], limit: Duration) -> Answer {
    if are_too_many_left(target).await {
        return Answer::bad("the programs of earlier questions still run", "");
    }
    let exec = match start(target, command).await {
        Ok(exec) => exec,
        // It has just ended, which is seen without asking, or the engine is away: nothing is learnt of the program.
        Err(error) => return Answer::none(error.to_string()),
    };
    let id = exec.id.clone();
    let mut written = Vec::new();
    match timeout(limit, run(target, exec, &mut written)).await {
        Ok(Ok(code)) => told(code, &written),
        Ok(Err(error)) => Answer::none(error.to_string()),
        Err(_) => late(target, &id, limit, &written).await,
    }
}

async fn start(target: &Target, command: &[String]) -> Result<Exec> {
    let options = ExecOptions {
        command: command.to_vec(),
        ..ExecOptions::default()
    };
    let turn = target.turns.0.acquire().await;
    let mut started = pin!(target.engine.exec(&target.container, options));
    if let Ok(started) = timeout(TURN, started.as_mut()).await {
        return started;
    }
    drop(turn);
    started.await
}

async fn run(target: &Target, mut exec: Exec, written: &mut Vec<u8>) -> Result<i64> {
    while let Some(chunk) = exec.output.next().await {
        let bytes = chunk?.bytes;
        written.extend_from_slice(&bytes[..bytes.len().min(READ - written.len())]);
    }
    exit_code(&*target.engine, &exec.id).await
}

/// A program whose output has not ended in time: it may have ended, and what it has left behind holds its output.
async fn late(target: &Target, exec: &str, limit: Duration, written: &[u8]) -> Answer {
    let status = target.engine.exec_status(exec).await;
    if let Some(code) = status.as_ref().ok().and_then(|status| status.exit_code) {
        return told(code, written);
    }
    let killed = target.engine.end_exec(exec, Ending::Kill).await.unwrap_or_default();
    if !killed {
        let mut left = target.left.ids();
        left.push(exec.to_owned());
        target.left.put(left);
    }
    let mut answer = no_answer(limit);
    answer.details = String::from_utf8_lossy(written).into_owned();
    answer
}

async fn are_too_many_left(target: &Target) -> bool {
    let before = target.left.ids();
    if before.is_empty() {
        return false;
    }
    let mut left = Vec::new();
    for exec in before {
        match target.engine.exec_status(&exec).await {
            Ok(status) if !status.running => {}
            Err(EngineError::NotFound { .. }) => {}
            _ => left.push(exec),
        }
    }
    let many = left.len() >= LEFT;
    target.left.put(left);
    many
}

fn told(code: i64, written: &[u8]) -> Answer {
    let words = format!("exit {code}");
    match code {
        0 => Answer::good(words),
        _ => Answer::bad(words, String::from_utf8_lossy(written)),
    }
}
