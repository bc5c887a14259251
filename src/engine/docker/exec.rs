//! Programs in a container: started over a connection that becomes theirs.
use std::time::Duration;

use bollard::Docker;
use bollard::exec::{CreateExecOptions, ResizeExecOptions};
use bollard::models::ExecInspectResponse;
use bytes::{Buf, Bytes, BytesMut};
use futures_util::stream::{self, StreamExt};
use http::header::{CONNECTION, CONTENT_TYPE, UPGRADE};
use http::{HeaderMap, HeaderValue};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, ReadHalf};

use super::fault;
use super::wire::{Wire, segment};
use crate::engine::{Ending, EngineError, Exec, ExecOptions, ExecStatus, LogChunk, Result, TerminalSize};
use crate::world::host;

/// A frame's stream type, three zero bytes and the payload's length.
const HEADER: usize = 8;
/// So much is read at once.
const PIECE: usize = 32 << 10;
/// So long after a program's start at most an engine notes which process it is, and this often is asked.
const NOTED: Duration = Duration::from_secs(2);
const NOTED_STEP: Duration = Duration::from_millis(10);

/// Makes a program ready in a container, and starts it.
pub(super) async fn start(wire: &Wire, docker: &Docker, id: &str, options: ExecOptions) -> Result<Exec> {
    let (stdin, tty) = (options.stdin, options.tty);
    let wish = CreateExecOptions {
        attach_stdin: Some(stdin),
        attach_stdout: Some(true),
        attach_stderr: Some(!tty),
        tty: Some(tty),
        cmd: Some(options.command),
        ..CreateExecOptions::default()
    };
    let made = docker.create_exec(&segment(id)?, wish).await.map_err(fault::of);
    let exec = made.map_err(|error| not_there(error, id))?.id;
    let headers = HeaderMap::from_iter([
        (CONNECTION, HeaderValue::from_static("Upgrade")),
        (UPGRADE, HeaderValue::from_static("tcp")),
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
    ]);
    let body = serde_json::json!({ "Detach": false, "Tty": tty }).to_string();
    let path = format!("/exec/{}/start", segment(&exec)?);
    let answer = wire.upgrade(&path, headers, Bytes::from(body)).await;
    let answer = answer.map_err(|error| not_there(error, id))?;
    let upgraded = hyper::upgrade::on(answer)
        .await
        .map_err(|error| EngineError::Unreachable {
            message: format!("cannot join a program: {error}"),
        })?;
    let (reader, writer) = tokio::io::split(TokioIo::new(upgraded));
    let inflow = Inflow {
        reader,
        buffer: BytesMut::new(),
        raw: tty,
    };
    let read = |inflow: Option<Inflow>| async move {
        let mut inflow = inflow?;
        let item = inflow.next().await;
        let rest = item.is_ok().then_some(inflow);
        Some((item.transpose()?, rest))
    };
    Ok(Exec {
        id: exec,
        output: stream::unfold(Some(inflow), read).boxed(),
        input: stdin.then(|| Box::pin(writer) as _),
    })
}

async fn look(docker: &Docker, exec: &str) -> Result<ExecInspectResponse> {
    let answer = docker.inspect_exec(&segment(exec)?).await.map_err(fault::of);
    answer.map_err(|error| fault::missing(error, &format!("exec {exec}")))
}

/// How a program does.
pub(super) async fn status(docker: &Docker, exec: &str) -> Result<ExecStatus> {
    let answer = look(docker, exec).await?;
    let running = answer.running.unwrap_or_default();
    Ok(ExecStatus {
        running,
        exit_code: answer.exit_code.filter(|_| !running),
    })
}

/// Gives its terminal another size.
pub(super) async fn resize(docker: &Docker, exec: &str, size: TerminalSize) -> Result<()> {
    let options = ResizeExecOptions {
        height: size.height,
        width: size.width,
    };
    match docker.resize_exec(&segment(exec)?, options).await.map_err(fault::of) {
        Ok(()) => Ok(()),
        // It has ended, or not begun: engines have several words for that.
        Err(EngineError::Refused { .. }) if !status(docker, exec).await?.running => Ok(()),
        Err(error) => Err(fault::missing(error, &format!("exec {exec}"))),
    }
}

/// Makes a program and what it has started end, if its processes are to be found on this machine.
pub(super) async fn end(docker: &Docker, exec: &str, how: Ending) -> Result<bool> {
    let signal = match how {
        Ending::HangUp => host::Signal::HUP,
        Ending::Kill => host::Signal::KILL,
    };
    let mut waited = Duration::ZERO;
    loop {
        let answer = look(docker, exec).await?;
        let pid = answer.pid.and_then(|pid| i32::try_from(pid).ok());
        let pid = pid.filter(|pid| *pid > 0);
        match (answer.running, pid, answer.container_id) {
            (Some(true), Some(pid), Some(container)) => return Ok(host::signal_session(pid, &container, signal)),
            // It may write already before the engine has noted which process it is.
            (Some(true), None, _) if waited < NOTED => {
                tokio::time::sleep(NOTED_STEP).await;
                waited += NOTED_STEP;
            }
            _ => return Ok(false),
        }
    }
}

fn not_there(error: EngineError, id: &str) -> EngineError {
    match fault::status(&error) {
        // Not started, ended, or frozen.
        Some(409) => EngineError::NotRunning { id: id.to_owned() },
        _ => fault::missing(error, &format!("container {id}")),
    }
}

/// What comes from the program.
struct Inflow {
    reader: ReadHalf<TokioIo<Upgraded>>,
    buffer: BytesMut,
    /// It has a terminal, whose output has no frames.
    raw: bool,
}

impl Inflow {
    async fn next(&mut self) -> Result<Option<LogChunk>> {
        if self.raw {
            if self.buffer.is_empty() && !self.fill().await? {
                return Ok(None);
            }
            let bytes = self.buffer.split().freeze();
            return Ok(Some(LogChunk { stderr: false, bytes }));
        }
        loop {
            let Some(header) = self.at_least(HEADER).await? else {
                return Ok(None);
            };
            let stderr = match header[0] {
                0 | 1 => false,
                2 => true,
                other => {
                    let message = format!("a frame of type {other} of a program's output");
                    return Err(EngineError::BadAnswer { message });
                }
            };
            let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]) as usize;
            self.buffer.advance(HEADER);
            if length == 0 {
                continue;
            }
            // A frame is what the program wrote in one go; of a larger one the rest is what comes next.
            if self.at_least(length).await?.is_none() {
                return Ok(None);
            }
            let bytes = self.buffer.split_to(length).freeze();
            return Ok(Some(LogChunk { stderr, bytes }));
        }
    }

    /// What is there, once it is so much; `None` at the end.
    async fn at_least(&mut self, length: usize) -> Result<Option<&[u8]>> {
        while self.buffer.len() < length {
            if !self.fill().await? {
                // A connection that is cut is no end of a program; how that ended its status says.
                return Ok(None);
            }
        }
        Ok(Some(&self.buffer[..length]))
    }

    /// Reads on; `false` at the end.
    async fn fill(&mut self) -> Result<bool> {
        self.buffer.reserve(PIECE);
        let read = self.reader.read_buf(&mut self.buffer).await;
        let read = read.map_err(|error| EngineError::Unreachable {
            message: format!("a program's output: {error}"),
        })?;
        Ok(read > 0)
    }
}
