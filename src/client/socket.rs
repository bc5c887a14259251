//! WebSockets: what goes both ways for as long as both wish.
//!
//! Owns the opening alone; what is said over one is its opener's affair.
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        self,
        client::IntoClientRequest as _,
        http::{HeaderValue, header},
        protocol::WebSocketConfig,
    },
};

use super::{Client, Error, Refusal};
use crate::world::network::Connection;

/// The largest message that is taken. A worker's assignments come in pieces far below it.
const LARGEST: usize = 16 << 20;

/// What is read at once: a link holds so much for as long as it lives.
const READ: usize = 16 << 10;

/// An open WebSocket.
pub type Socket = WebSocketStream<Box<dyn Connection>>;

impl Client {
    /// Opens a WebSocket at a path, offering these protocols, best first.
    ///
    /// # Errors
    /// When nobody is there, or the server refuses.
    pub async fn socket(&self, target: &str, protocols: &[&str]) -> Result<Socket, Error> {
        let transport = &self.transport;
        let nonsense = |error: tungstenite::Error| transport.nonsense(error.to_string());
        let mut request = format!("ws://{}{target}", transport.host())
            .into_client_request()
            .map_err(nonsense)?;
        if let Ok(offered) = HeaderValue::from_str(&protocols.join(", "))
            && !protocols.is_empty()
        {
            request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, offered);
        }
        let config = WebSocketConfig::default()
            .max_message_size(Some(LARGEST))
            .max_frame_size(Some(LARGEST))
            .read_buffer_size(READ);
        let stream = transport.stream().await?;
        match client_async_with_config(request, stream, Some(config)).await {
            Ok((socket, _)) => Ok(socket),
            Err(tungstenite::Error::Http(answer)) => {
                let (code, text) = (answer.status().as_u16(), answer.body().clone().unwrap_or_default());
                let refusal = serde_json::from_slice(&text)
                    .ok()
                    .and_then(|status| Refusal::from_status(&status));
                let refusal = refusal.unwrap_or_else(|| Refusal::from_text(code, &text));
                Err(Error::Refused(Box::new(refusal)))
            }
            Err(error) => Err(transport.broken(error)),
        }
    }
}
