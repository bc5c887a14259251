//! A program in a Task's container, over a WebSocket, as Kubernetes' clients speak of it: `v5.channel.k8s.io`.
//!
//! Each message begins with a byte that says what it is. From the client: 0, standard input; 4, the terminal's size, as
//! JSON; 255, the channel that follows ends. To the client: 1, output; 2, errors; 3, how it ended, as a Status; then the
//! end. `v4.channel.k8s.io` is the same without 255.
use axum::{
    extract::ws::{Message, WebSocket},
    response::{IntoResponse as _, Response},
};
use bytes::{BufMut as _, Bytes, BytesMut};
use cube_api::task::{Phase, Task};
use futures_util::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{
    answer::Refusal,
    logs::{shown, why_none},
    objects::Call,
};
use crate::{
    engine::{Program, Said, TerminalSize, Told},
    registry::ApiError,
};

/// The protocols that are spoken, the best first.
pub const PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];
/// The largest message that is taken.
const LARGEST: usize = 1 << 20;

const INPUT: u8 = 0;
const OUTPUT: u8 = 1;
const ERRORS: u8 = 2;
const OUTCOME: u8 = 3;
const SIZE: u8 = 4;
const END: u8 = 255;

/// Answers `GET …/tasks/NAME/exec`.
pub(super) async fn exec(mut call: Call) -> Result<Response, Refusal> {
    let object = call.object()?;
    let task: &Task = object.typed();
    let options = call.params.exec()?;
    let upgrade = call.upgrade.take().ok_or_else(|| {
        ApiError::bad_request(format!(
            "exec is spoken over a WebSocket ({}): use `cube exec`",
            PROTOCOLS[0]
        ))
    })?;
    if task.status.phase != Phase::Running || task.status.container_id.is_none() {
        let message = format!("nothing can be run in {}: {}", shown(task), why_none(task));
        return Err(ApiError::bad_request(message).into());
    }
    let (program, ending) = (
        call.server.containers.exec(task, options.clone()).await?,
        call.server.ending.clone(),
    );
    let upgrade = upgrade
        .protocols(PROTOCOLS)
        .max_message_size(LARGEST)
        .max_frame_size(LARGEST);
    Ok(upgrade
        .on_upgrade(move |socket| join(socket, program, options.stdin, ending))
        .into_response())
}

/// Joins a program to a client, until it has ended, or one of them has gone.
async fn join(socket: WebSocket, program: Program, stdin: bool, ending: CancellationToken) {
    let (mut to_client, mut from_client) = socket.split();
    let Program { input, mut output } = program;
    let speaking = async {
        while let Some(said) = output.next().await {
            let last = !matches!(said, Said::Output { .. });
            if to_client.send(Message::Binary(message(said))).await.is_err() {
                return;
            }
            if last {
                break;
            }
        }
        let _ = to_client.send(Message::Close(None)).await;
    };
    let listening = async {
        while let Some(Ok(message)) = from_client.next().await {
            let told = match message {
                Message::Binary(bytes) => told(bytes),
                Message::Close(_) => return,
                _ => None,
            };
            let told = told.filter(|told| stdin || matches!(told, Told::Size(_)));
            if let Some(told) = told
                && input.send(told).await.is_err()
            {
                // It listens no more; what comes of it is said still.
                return std::future::pending().await;
            }
        }
    };
    tokio::select! {
        biased;
        () = speaking => {}
        () = listening => {}
        () = ending.cancelled() => {}
    }
}

fn told(mut bytes: Bytes) -> Option<Told> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Size {
        width: u16,
        height: u16,
    }
    if bytes.is_empty() {
        return None;
    }
    let channel = bytes.split_to(1)[0];
    match channel {
        // The first message of every channel may be empty: it only opens it.
        INPUT if bytes.is_empty() => None,
        INPUT => Some(Told::Input(bytes)),
        END if bytes.first() == Some(&INPUT) => Some(Told::InputEnds),
        SIZE => {
            let Size { width, height } = serde_json::from_slice(&bytes).ok()?;
            Some(Told::Size(TerminalSize { width, height }))
        }
        _ => None,
    }
}

fn message(said: Said) -> Bytes {
    let framed = |channel: u8, bytes: &[u8]| {
        let mut framed = BytesMut::with_capacity(bytes.len() + 1);
        framed.put_u8(channel);
        framed.extend_from_slice(bytes);
        framed.freeze()
    };
    match said {
        Said::Output { stderr, bytes } => framed(if stderr { ERRORS } else { OUTPUT }, &bytes),
        Said::Ended(code) => framed(OUTCOME, outcome(code).to_string().as_bytes()),
        Said::Failed(why) => {
            let status = json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "reason": "InternalError", "message": why, "code": 500,
            });
            framed(OUTCOME, status.to_string().as_bytes())
        }
    }
}

/// How a program ended, as Kubernetes tells it.
fn outcome(code: i64) -> Value {
    if code == 0 {
        return json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success" });
    }
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
        "message": format!("command terminated with exit code {code}"),
        "details": { "causes": [{ "reason": "ExitCode", "message": code.to_string() }] },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_those_of_kubernetes() {
        let read = |bytes: &[u8]| told(Bytes::copy_from_slice(bytes));
        assert_eq!(read(b"\0hello"), Some(Told::Input(Bytes::from("hello"))));
        assert_eq!(read(b"\xff\0"), Some(Told::InputEnds));
        let size = TerminalSize { width: 80, height: 24 };
        assert_eq!(read(br#"_{"Width":80,"Height":24}"#), None);
        assert_eq!(read(b"\x04{\"Width\":80,\"Height\":24}"), Some(Told::Size(size)));
        for nothing in [&b""[..], b"\0", b"\xff\x01", b"\x04{}", b"\x04nonsense", b"\x07x"] {
            assert_eq!(read(nothing), None, "{nothing:?}");
        }
        let said = |stderr| Said::Output {
            stderr,
            bytes: Bytes::from("x"),
        };
        assert_eq!(message(said(false)), &b"\x01x"[..]);
        assert_eq!(message(said(true)), &b"\x02x"[..]);
        let ended = message(Said::Ended(7));
        let status: Value = serde_json::from_slice(&ended[1..]).unwrap();
        assert_eq!((ended[0], &status["details"]["causes"][0]["message"]), (3, &json!("7")));
        let ended = message(Said::Ended(0));
        let status: Value = serde_json::from_slice(&ended[1..]).unwrap();
        assert_eq!(status["status"], "Success");
    }
}
