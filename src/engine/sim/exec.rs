//! Programs in a simulated container.
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use tokio::io::{AsyncReadExt, DuplexStream};
use tokio::sync::{mpsc, watch};

use super::machine::Machine;
use super::program::{Step, steps_of};
use crate::engine::{Ending, EngineError, Exec, ExecOptions, ExecStatus, LogChunk, Result, State};

/// So many pieces of output wait to be read at most; then the program waits.
const WAITING: usize = 16;

/// A program as its engine knows it.
pub(super) struct Executed {
    pub(super) status: ExecStatus,
    /// Told when it is to end, and with what.
    ending: watch::Sender<Option<i64>>,
}

/// Starts a program in a running container.
pub(super) fn start(machine: &Arc<Mutex<Machine>>, id: &str, options: ExecOptions) -> Result<Exec> {
    let mut locked = machine.lock().unwrap_or_else(PoisonError::into_inner);
    let container = locked.get(id)?;
    if container.seen.state != State::Running {
        return Err(EngineError::NotRunning { id: id.to_owned() });
    }
    let (container, changed) = (container.seen.id.clone(), container.changed.subscribe());
    let exec = locked.new_exec_id();
    let (ending, told) = watch::channel(None);
    let status = ExecStatus {
        running: true,
        exit_code: None,
    };
    locked.execs.insert(exec.clone(), Executed { status, ending });
    let (output, written) = mpsc::channel(WAITING);
    let (input, stdin) = tokio::io::duplex(4096);
    let run = Run {
        machine: Arc::downgrade(machine),
        container,
        output,
        tty: options.tty,
        stdin: options.stdin.then_some(stdin),
    };
    let (stdin, id) = (options.stdin, exec.clone());
    crate::world::spawn(run.play(exec, options.command, changed, told));
    let output = stream::unfold(written, |mut written| async {
        written.recv().await.map(|chunk| (Ok(chunk), written))
    });
    Ok(Exec {
        id,
        output: output.boxed(),
        input: stdin.then(|| Box::pin(input) as _),
    })
}

/// Ends a program that runs.
pub(super) fn end(machine: &mut Machine, exec: &str, how: Ending) -> Result<bool> {
    let executed = find(machine, exec)?;
    let running = executed.status.running;
    executed.ending.send_replace(Some(match how {
        Ending::HangUp => 129,
        Ending::Kill => 137,
    }));
    Ok(running)
}

pub(super) fn find<'a>(machine: &'a mut Machine, exec: &str) -> Result<&'a mut Executed> {
    let missing = || EngineError::NotFound {
        what: format!("exec {exec}"),
    };
    machine.execs.get_mut(exec).ok_or_else(missing)
}

struct Run {
    machine: std::sync::Weak<Mutex<Machine>>,
    container: String,
    output: mpsc::Sender<LogChunk>,
    tty: bool,
    stdin: Option<DuplexStream>,
}

impl Run {
    async fn play(
        mut self,
        exec: String,
        command: Vec<String>,
        mut changed: watch::Receiver<()>,
        mut told: watch::Receiver<Option<i64>>,
    ) {
        let machine = self.machine.clone();
        let container = self.container.clone();
        let ended = async {
            loop {
                let gone = changed.changed().await.is_err();
                let Some(machine) = machine.upgrade() else { return };
                let mut machine = machine.lock().unwrap_or_else(PoisonError::into_inner);
                let state = machine.get(&container).map(|container| container.seen.state.clone());
                if gone || !state.is_ok_and(|state| state.is_running()) {
                    return;
                }
            }
        };
        let code = tokio::select! {
            biased;
            () = ended => 137,
            _ = told.changed() => told.borrow().unwrap_or(137),
            code = self.steps(&command) => code,
        };
        if let Some(machine) = self.machine.upgrade() {
            let mut machine = machine.lock().unwrap_or_else(PoisonError::into_inner);
            if let Ok(executed) = find(&mut machine, &exec) {
                executed.status = ExecStatus {
                    running: false,
                    exit_code: Some(code),
                };
            }
        }
    }

    async fn steps(&mut self, command: &[String]) -> i64 {
        let steps = match steps_of(command) {
            Ok(steps) => steps,
            Err(error) => {
                self.write(false, Bytes::from(format!("{error}\n"))).await;
                return 127;
            }
        };
        for step in steps {
            match step {
                Step::Write { stderr, line } => self.write(stderr, Bytes::from(line)).await,
                Step::Sleep(wait) => tokio::time::sleep(wait).await,
                Step::Resolve(name) => {
                    let Some(machine) = self.machine.upgrade() else {
                        return 137;
                    };
                    let mut machine = machine.lock().unwrap_or_else(PoisonError::into_inner);
                    if !machine.resolves(&self.container, &name) {
                        return 1;
                    }
                }
                Step::Copy => self.copy().await,
                Step::IgnoreTerm => {}
                Step::Exit(code) => return code,
                Step::RunForEver => tokio::time::sleep(Duration::MAX).await,
            }
        }
        0
    }

    /// Writes what is read, to the end.
    async fn copy(&mut self) {
        let Some(mut stdin) = self.stdin.take() else { return };
        let mut piece = [0; 4096];
        while let Ok(read @ 1..) = stdin.read(&mut piece).await {
            self.write(false, Bytes::copy_from_slice(&piece[..read])).await;
        }
    }

    async fn write(&mut self, stderr: bool, bytes: Bytes) {
        let stderr = stderr && !self.tty;
        // Nobody reads any more: the program goes on, as on a real engine.
        let _ = self.output.send(LogChunk { stderr, bytes }).await;
    }
}
