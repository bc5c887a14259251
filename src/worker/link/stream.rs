//! Streams: what a manager asks of a worker, answered on a connection of its own that the worker dials.
//!
//! Each has its own connection so that one that nobody reads holds up no other, and nothing of the link itself.
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::tungstenite::Message;

use super::frames::{Ask, Streamed};
use super::program;
use crate::client::{Client, Socket};
use crate::roster::{Agent, AgentError};

/// Answers what a manager asks, at that path.
pub async fn serve(client: Client, path: String, ask: Ask, agent: Arc<dyn Agent>) {
    match client.socket(&path, &[]).await {
        Ok(mut socket) => {
            answer(&mut socket, ask, &*agent).await;
            let _ = socket.close(None).await;
        }
        Err(error) => tracing::debug!(%error, "a stream that the manager asked for cannot be opened"),
    }
}

async fn answer(socket: &mut Socket, ask: Ask, agent: &dyn Agent) {
    match ask {
        Ask::Logs { container, options } => match agent.logs(&container, options).await {
            Err(error) => say(socket, &failed(&error)).await,
            Ok(mut pieces) => {
                say(socket, &Streamed::Begins).await;
                loop {
                    tokio::select! {
                        biased;
                        // Whoever reads goes away.
                        gone = socket.next() => if !matches!(gone, Some(Ok(_))) { return },
                        piece = pieces.next() => match piece {
                            Some(Ok(piece)) => if socket.send(Message::Binary(piece)).await.is_err() { return },
                            Some(Err(why)) => return say(socket, &Streamed::Fails { gone: false, why }).await,
                            None => return say(socket, &Streamed::Ends).await,
                        },
                    }
                }
            }
        },
        Ask::Figures { containers } => match agent.figures(containers).await {
            Err(error) => say(socket, &failed(&error)).await,
            Ok(measured) => {
                say(socket, &Streamed::Begins).await;
                let text = serde_json::to_vec(&measured).unwrap_or_default();
                let _ = socket.send(Message::binary(text)).await;
            }
        },
        Ask::Exec { container, options } => match agent.exec(&container, options).await {
            Err(error) => say(socket, &failed(&error)).await,
            Ok(running) => {
                say(socket, &Streamed::Begins).await;
                program::join(socket, running).await;
            }
        },
    }
}

async fn say(socket: &mut Socket, word: &Streamed) {
    let text = serde_json::to_string(word).unwrap_or_default();
    let _ = socket.send(Message::text(text)).await;
}

fn failed(error: &AgentError) -> Streamed {
    match error {
        AgentError::NotFound(what) => Streamed::Fails {
            gone: true,
            why: what.clone(),
        },
        AgentError::Unavailable(why) => Streamed::Fails {
            gone: false,
            why: why.clone(),
        },
    }
}

/// What comes on a stream.
pub enum Piece {
    /// Bytes.
    Bytes(Bytes),
    /// A word.
    Word(Streamed),
}
