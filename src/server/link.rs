//! Where workers come to: WebSockets, handed on to whoever lets workers in.
use std::sync::Arc;

use async_trait::async_trait;
use axum::{
    extract::{
        Path, State, WebSocketUpgrade,
        rejection::PathRejection,
        ws::{WebSocket, rejection::WebSocketUpgradeRejection},
    },
    response::Response,
};

use super::{Server, answer::Refusal};
use crate::registry::ApiError;

/// The largest message that is taken of a worker: some hundred reports.
const LARGEST: usize = 16 << 20;

/// What is read of a worker at once. Each link holds so much for as long as it lives, and there may be thousands; larger
/// messages come in more reads.
const READ: usize = 8 << 10;

/// What is gathered before it is written to a worker. A link holds as much for as long as it lives, too.
const WRITE: usize = 4 << 10;

/// Lets workers in.
#[async_trait]
pub trait Door: Send + Sync {
    /// A worker's link; ends with it.
    async fn session(&self, node: String, socket: WebSocket);

    /// A stream that a worker was asked for.
    async fn stream(&self, id: String, socket: WebSocket);
}

type Upgrade = Result<WebSocketUpgrade, WebSocketUpgradeRejection>;

pub(super) async fn session(
    State(server): State<Arc<Server>>,
    node: Result<Path<String>, PathRejection>,
    upgrade: Upgrade,
) -> Result<Response, Refusal> {
    let (door, Path(node)) = (door(&server)?, node.map_err(|_| Refusal::no_such_path())?);
    Ok(bounded(upgrade)?.on_upgrade(move |socket| async move { door.session(node, socket).await }))
}

pub(super) async fn stream(
    State(server): State<Arc<Server>>,
    path: Result<Path<(String, String)>, PathRejection>,
    upgrade: Upgrade,
) -> Result<Response, Refusal> {
    let (door, Path((_, id))) = (door(&server)?, path.map_err(|_| Refusal::no_such_path())?);
    Ok(bounded(upgrade)?.on_upgrade(move |socket| async move { door.stream(id, socket).await }))
}

fn door(server: &Server) -> Result<Arc<dyn Door>, Refusal> {
    server.door.clone().ok_or_else(Refusal::no_such_path)
}

fn bounded(upgrade: Upgrade) -> Result<WebSocketUpgrade, Refusal> {
    let upgrade = upgrade.map_err(|error| {
        let message = format!("a worker's link is spoken over a WebSocket: {error}");
        ApiError::bad_request(message)
    })?;
    let upgrade = upgrade.max_message_size(LARGEST).max_frame_size(LARGEST);
    Ok(upgrade.read_buffer_size(READ).write_buffer_size(WRITE))
}
