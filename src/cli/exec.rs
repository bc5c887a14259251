//! `cube exec`: a program in a Task's container, joined to this terminal. Whatever node the container is on.
//!
//! Bytes go through as they are. Read [`Args::run`] first.
use std::{convert::Infallible, io::Write as _};

use bytes::{BufMut as _, Bytes, BytesMut};
use cube_api::{
    condition::{READY, is_true},
    kinds::Kind,
    task::{Phase, Task},
};
use futures_util::{SinkExt as _, StreamExt as _, stream::SplitSink};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_tungstenite::tungstenite::Message;

use super::{
    Context,
    error::{CliError, Exit},
    names, terminal,
};
use crate::{
    client::{Client, ExecQuery, Socket},
    engine::TerminalSize,
    source::ObjectId,
};

/// So much of the input is read at once.
const PIECE: usize = 16 << 10;

/// Run a program in a Task's container
///
/// Beside the container's own program, and wherever the container is. Ends with the program's exit code; 126 and 127 where it
/// cannot be run. When this ends before the program does, the program is hung up on. For a shell: cube exec -it TASK
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Pass standard input on
    #[arg(short = 'i', long)]
    stdin: bool,
    /// Give it a terminal: this one
    #[arg(short = 't', long)]
    tty: bool,
    /// A Task's name, or KIND/NAME; of a Deployment one of its Tasks
    #[arg(value_name = "TASK|KIND/NAME")]
    what: String,
    /// The program and its arguments; default: sh
    #[arg(
        value_name = "COMMAND",
        trailing_var_arg = true,
        allow_hyphen_values = true,
        default_value = "sh",
        hide_default_value = true
    )]
    command: Vec<String>,
}

impl Args {
    /// Runs the program to its end.
    pub async fn run(self, context: &Context) -> Result<Exit, CliError> {
        if self.command.first().is_none_or(String::is_empty) {
            let error = CliError::usage("the program has no name");
            return Err(error.with_hint("cube exec TASK -- PROGRAM ARGUMENTS…"));
        }
        let client = context.client();
        let id = task_of(&self.what, &client, context).await?;
        let tty = self.tty && terminal::is_there();
        if self.tty && !tty {
            context
                .output
                .note("standard input is no terminal: going on without -t");
        }
        let query = ExecQuery {
            command: self.command,
            stdin: self.stdin,
            tty,
        };
        let socket = client.exec(&id.namespace, &id.name, &query).await;
        let socket = socket.map_err(|error| match error.refusal() {
            // What was asked makes sense: there is only nothing to run it in.
            Some(refusal) if refusal.is_bad_input() => {
                let shown = format!("`cube describe {}` shows more", context.shown(&id));
                CliError::ended(Exit::Error, refusal.to_string()).with_hint(shown)
            }
            _ => context.explain(&id, error),
        })?;
        let raw = match tty {
            true => Some(terminal::Raw::begin().map_err(CliError::io("take over the terminal"))?),
            false => None,
        };
        let ended = join(socket, context, &query).await;
        drop(raw);
        ended
    }
}

/// The Task that is meant: of a Deployment one that is ready, or runs at least.
async fn task_of(what: &str, client: &Client, context: &Context) -> Result<ObjectId, CliError> {
    let id = names::task_or(what, context)?;
    match id.kind {
        Kind::Task => Ok(id),
        Kind::Deployment => {
            let selection = names::tasks_of(&id, client, context).await?;
            let tasks = client.list_typed::<Task>(&selection).await?.items;
            let runs = |task: &&Task| task.status.phase == Phase::Running && !task.metadata.is_deleting();
            let best = tasks
                .iter()
                .filter(runs)
                .min_by_key(|task| (!is_true(&task.status.conditions, READY), task.metadata.name.clone()));
            match best {
                Some(task) => Ok(ObjectId {
                    kind: Kind::Task,
                    name: task.metadata.name.clone(),
                    ..id
                }),
                None => {
                    let shown = context.shown(&id);
                    let error = CliError::ended(Exit::Error, format!("none of the Tasks of {shown} runs"));
                    Err(error.with_hint(format!("`cube describe {shown}` shows why")))
                }
            }
        }
        other => Err(
            CliError::usage(format!("nothing can be run in a {}", other.info().singular))
                .with_hint("name a task or a deployment"),
        ),
    }
}

/// Joins the program to this terminal until it ends.
async fn join(socket: Socket, context: &Context, query: &ExecQuery) -> Result<Exit, CliError> {
    let (to, mut from) = socket.split();
    let watch = |kind| signal(kind).map_err(CliError::io("watch for signals"));
    let (mut ended, mut hung_up) = (watch(SignalKind::terminate())?, watch(SignalKind::hangup())?);
    let resized = watch(SignalKind::window_change())?;
    let listening = async {
        loop {
            match from.next().await {
                Some(Ok(Message::Binary(bytes))) => {
                    if let Some(exit) = hear(context, bytes)? {
                        return Ok(exit);
                    }
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => {
                    let message = "the connection broke off; whether the program still runs is not known";
                    return Err(CliError::ended(Exit::Error, message));
                }
                Some(Ok(_)) => {}
            }
        }
    };
    // Beside each other: a program that wants to be heard before it reads on must not wait for ever.
    tokio::select! {
        biased;
        exit = listening => exit,
        never = speak(to, query, resized) => match never {},
        // The terminal is to be given back; the program is hung up on.
        _ = ended.recv() => Ok(Exit::Program(143)),
        _ = hung_up.recv() => Ok(Exit::Program(129)),
    }
}

/// Passes on what is typed, and the terminal's size. Never ends: how the program ends is heard.
async fn speak(mut to: SplitSink<Socket, Message>, query: &ExecQuery, mut resized: Signal) -> Infallible {
    let mut stdin = query.stdin.then(tokio::io::stdin);
    let mut piece = vec![0; PIECE];
    let mut size = terminal::size().filter(|_| query.tty).map(size_message);
    loop {
        let message = match size.take() {
            Some(size) => size,
            None => tokio::select! {
                biased;
                _ = resized.recv(), if query.tty => {
                    size = terminal::size().map(size_message);
                    continue;
                }
                read = read(&mut stdin, &mut piece) => match read {
                    0 => {
                        stdin = None;
                        Message::Binary(Bytes::from_static(&[255, 0]))
                    }
                    read => framed(0, &piece[..read]),
                },
            },
        };
        if to.send(message).await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// Reads what is typed; 0 at its end. Waits for ever where nothing is to be passed on.
async fn read(stdin: &mut Option<tokio::io::Stdin>, piece: &mut [u8]) -> usize {
    match stdin {
        Some(stdin) => stdin.read(piece).await.unwrap_or_default(),
        None => std::future::pending().await,
    }
}

fn framed(channel: u8, bytes: &[u8]) -> Message {
    let mut framed = BytesMut::with_capacity(bytes.len() + 1);
    framed.put_u8(channel);
    framed.extend_from_slice(bytes);
    Message::Binary(framed.freeze())
}

fn size_message(size: TerminalSize) -> Message {
    let size = json!({ "Width": size.width, "Height": size.height });
    framed(4, size.to_string().as_bytes())
}

/// Takes in a message; gives how the program ended, if that is what it says.
fn hear(context: &Context, mut bytes: Bytes) -> Result<Option<Exit>, CliError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    match bytes.split_to(1)[0] {
        1 => context.output.bytes(&bytes).map(|()| None),
        2 => {
            let mut stderr = std::io::stderr().lock();
            let written = stderr.write_all(&bytes).and_then(|()| stderr.flush());
            written
                .map(|()| None)
                .map_err(CliError::io("standard error cannot be written"))
        }
        3 => outcome(&bytes).map(Some),
        _ => Ok(None),
    }
}

/// How the program ended, from the Status that says so.
fn outcome(bytes: &[u8]) -> Result<Exit, CliError> {
    let status: Value = serde_json::from_slice(bytes).unwrap_or_default();
    if status["status"] == "Success" {
        return Ok(Exit::Done);
    }
    let causes = status["details"]["causes"].as_array();
    let code = causes.and_then(|causes| causes.iter().find(|cause| cause["reason"] == "ExitCode"));
    let code = code.and_then(|cause| cause["message"].as_str()?.parse::<i64>().ok());
    match code {
        Some(code) => Ok(Exit::Program(u8::try_from(code).unwrap_or(255))),
        None => {
            let message = status["message"]
                .as_str()
                .unwrap_or("it is not known how the program ended");
            Err(CliError::ended(Exit::Error, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_is_the_programs() {
        assert_eq!(outcome(br#"{"status":"Success"}"#).unwrap(), Exit::Done);
        let failed = br#"{"status":"Failure","details":{"causes":[{"reason":"ExitCode","message":"7"}]}}"#;
        assert_eq!(outcome(failed).unwrap(), Exit::Program(7));
        let lost = outcome(br#"{"status":"Failure","message":"the node's worker broke off"}"#).unwrap_err();
        assert_eq!(
            (lost.exit(), lost.to_string().as_str()),
            (Exit::Error, "the node's worker broke off")
        );
        assert_eq!(outcome(b"").unwrap_err().exit(), Exit::Error);
    }
}
