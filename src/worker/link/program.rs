//! A program's stream: what it is told goes down, what it says goes up. Both ends of it.
use bytes::{BufMut as _, BytesMut};
use futures_util::stream::SplitStream;
use futures_util::{SinkExt as _, StreamExt as _, stream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use super::frames::Streamed;
use crate::client::Socket;
use crate::engine::{PIECES, Program, Said, Told, Word};

/// The first byte of a program's output.
const OUT: u8 = 1;
/// The same of its errors.
const ERR: u8 = 2;

/// The worker's end: joins a program to the manager, until one of them has gone.
pub(super) async fn join(socket: &mut Socket, program: Program) {
    let Program { input, mut output } = program;
    let (mut up, mut down) = socket.split();
    let speaking = async {
        while let Some(said) = output.next().await {
            if up.send(message(said)).await.is_err() {
                return;
            }
        }
    };
    let listening = async {
        while let Some(Ok(message)) = down.next().await {
            let told = match message {
                Message::Binary(bytes) => Some(Told::Input(bytes)),
                Message::Text(text) => word(&text),
                Message::Close(_) => return,
                _ => None,
            };
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
    }
}

fn message(said: Said) -> Message {
    let word = match said {
        Said::Output { stderr, bytes } => {
            let mut framed = BytesMut::with_capacity(bytes.len() + 1);
            framed.put_u8(if stderr { ERR } else { OUT });
            framed.extend_from_slice(&bytes);
            return Message::Binary(framed.freeze());
        }
        Said::Ended(code) => Streamed::Exited { code },
        Said::Failed(why) => Streamed::Fails { gone: false, why },
    };
    Message::text(serde_json::to_string(&word).unwrap_or_default())
}

fn word(text: &str) -> Option<Told> {
    match serde_json::from_str(text).ok()? {
        Word::InputEnds => Some(Told::InputEnds),
        Word::Size(size) => Some(Told::Size(size)),
    }
}

/// The manager's end: the program behind a worker's stream that has begun.
pub(super) fn behind(socket: axum::extract::ws::WebSocket) -> Program {
    let (mut down, up) = socket.split();
    let (input, mut told) = mpsc::channel(PIECES);
    let output = stream::unfold(Some(up), |up| async {
        let mut up = up?;
        let said = heard(&mut up).await;
        let goes_on = matches!(said, Said::Output { .. });
        Some((said, goes_on.then_some(up)))
    });
    crate::world::spawn(async move {
        use axum::extract::ws::Message;
        while let Some(told) = told.recv().await {
            let word = match told {
                Told::Input(bytes) => {
                    if down.send(Message::Binary(bytes)).await.is_err() {
                        return;
                    }
                    continue;
                }
                Told::InputEnds => Word::InputEnds,
                Told::Size(size) => Word::Size(size),
            };
            let text = serde_json::to_string(&word).unwrap_or_default();
            if down.send(Message::text(text)).await.is_err() {
                return;
            }
        }
        // Nobody is there any more: the worker is to hang up.
        let _ = down.send(Message::Close(None)).await;
    });
    Program {
        input,
        output: output.boxed(),
    }
}

type Up = SplitStream<axum::extract::ws::WebSocket>;

async fn heard(up: &mut Up) -> Said {
    use axum::extract::ws::Message;
    let broke_off = || Said::Failed("the node's worker broke off".to_owned());
    loop {
        match up.next().await {
            Some(Ok(Message::Binary(mut bytes))) if !bytes.is_empty() => {
                let stderr = bytes.split_to(1)[0] == ERR;
                return Said::Output { stderr, bytes };
            }
            Some(Ok(Message::Text(text))) => match serde_json::from_str(&text) {
                Ok(Streamed::Exited { code }) => return Said::Ended(code),
                Ok(Streamed::Fails { why, .. }) => return Said::Failed(why),
                _ => {}
            },
            Some(Ok(Message::Close(_)) | Err(_)) | None => return broke_off(),
            Some(Ok(_)) => {}
        }
    }
}
