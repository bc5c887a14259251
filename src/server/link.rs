//! Where workers come to: WebSockets, handed on to whoever lets workers in.
use std::sync::Arc;

use async_trait::async_trait;
use axum::{
    extract::{Path, State, WebSocketUpgrade, ws::WebSocket},
    response::{IntoResponse as _, Response},
};

use super::{Server, answer::Refusal};

/// The largest message that is taken of a worker: some hundred reports.
const LARGEST: usize = 16 << 20;

/// Lets workers in.
#[async_trait]
pub trait Door: Send + Sync {
    /// A worker's link; ends with it.
    async fn session(&self, node: String, socket: WebSocket);

    /// A stream that a worker was asked for.
    async fn stream(&self, id: String, socket: WebSocket);
}

pub(super) async fn session(
    State(server): State<Arc<Server>>,
    Path(node): Path<String>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let Some(door) = server.door.clone() else {
        return Refusal::no_such_path().into_response();
    };
    bounded(upgrade).on_upgrade(move |socket| async move { door.session(node, socket).await })
}

pub(super) async fn stream(
    State(server): State<Arc<Server>>,
    Path((_, id)): Path<(String, String)>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let Some(door) = server.door.clone() else {
        return Refusal::no_such_path().into_response();
    };
    bounded(upgrade).on_upgrade(move |socket| async move { door.stream(id, socket).await })
}

fn bounded(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    upgrade.max_message_size(LARGEST).max_frame_size(LARGEST)
}
