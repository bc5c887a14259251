//! One HTTP exchange over a socket, and bodies that come in pieces.
//!
//! Each request has a connection of its own: on one machine that costs less than it takes to tell, and a stream that
//! never ends holds nobody up. Read [`Transport::send`] first.
use std::{collections::VecDeque, fmt, io, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::Value;

use super::{Endpoint, Error, Refusal};
use crate::world::network::{Connection, Network};

/// A line of a watch longer than this is no object.
const LONGEST_LINE: usize = 64 << 20;

/// Who is asked, and how to get there.
#[derive(Clone)]
pub(super) struct Transport {
    pub endpoint: Endpoint,
    pub network: Arc<dyn Network>,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Transport({})", self.endpoint)
    }
}

/// What is asked for.
pub(super) struct Ask {
    pub method: Method,
    /// Path and query, as on the wire.
    pub target: String,
    pub accept: &'static str,
    /// A body and its type.
    pub body: Option<(&'static str, Vec<u8>)>,
}

impl Ask {
    pub fn get(target: String) -> Self {
        Self {
            method: Method::GET,
            target,
            accept: "application/json",
            body: None,
        }
    }
}

impl Transport {
    /// Opens a connection that a request can be sent over.
    pub async fn connect<B>(&self) -> Result<http1::SendRequest<B>, Error>
    where
        B: hyper::body::Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let stream = self.stream().await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.broken(error))?;
        // It ends with the answer, or when whoever reads the answer lets it go.
        crate::world::spawn(connection.with_upgrades());
        Ok(sender)
    }

    /// Opens a connection.
    pub async fn stream(&self) -> Result<Box<dyn Connection>, Error> {
        let lost = |source: io::Error| Error::Unreachable {
            endpoint: self.endpoint.clone(),
            source,
        };
        let opened = match &self.endpoint {
            Endpoint::Unix(path) => self.network.unix(path).await,
            Endpoint::Loopback(authority) => self.network.tcp(authority).await,
        };
        opened.map_err(lost)
    }

    /// The server's name, as the `Host` header has it.
    pub fn host(&self) -> &str {
        match &self.endpoint {
            Endpoint::Unix(_) => "localhost",
            Endpoint::Loopback(authority) => authority,
        }
    }

    pub fn broken(&self, why: impl std::fmt::Display) -> Error {
        Error::Broken {
            endpoint: self.endpoint.clone(),
            why: why.to_string(),
        }
    }

    pub fn nonsense(&self, why: impl Into<String>) -> Error {
        Error::Nonsense {
            endpoint: self.endpoint.clone(),
            why: why.into(),
        }
    }

    /// Sends a request; the answer's body is still to be read. A refusal is an error.
    pub async fn send(&self, ask: Ask) -> Result<Body, Error> {
        tracing::debug!(method = %ask.method, target = %ask.target, "asks");
        let mut request = Request::builder()
            .method(ask.method)
            .uri(ask.target)
            .header(header::HOST, self.host())
            .header(header::ACCEPT, ask.accept)
            .header(header::USER_AGENT, concat!("cube/", env!("CARGO_PKG_VERSION")));
        let mut content = Vec::new();
        if let Some((content_type, body)) = ask.body {
            request = request.header(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
            content = body;
        }
        let request = request
            .body(Full::new(Bytes::from(content)))
            .map_err(|error| self.nonsense(error.to_string()))?;
        let mut sender = self.connect().await?;
        let answer = sender.send_request(request).await.map_err(|error| self.broken(error))?;
        let code = answer.status();
        tracing::debug!(%code, "is answered");
        let body = Body {
            transport: self.clone(),
            incoming: answer.into_body(),
            pieces: VecDeque::new(),
            size: 0,
        };
        if code.is_success() {
            return Ok(body);
        }
        let text = body.all().await?;
        let refusal = serde_json::from_slice::<Value>(&text)
            .ok()
            .and_then(|status| Refusal::from_status(&status));
        Err(Error::Refused(Box::new(
            refusal.unwrap_or_else(|| Refusal::from_text(code.as_u16(), &text)),
        )))
    }

    /// Sends a request whose answer is JSON.
    pub async fn json(&self, ask: Ask) -> Result<Value, Error> {
        let text = self.send(ask).await?.all().await?;
        serde_json::from_slice(&text).map_err(|error| self.nonsense(format!("no JSON: {error}")))
    }
}

/// The body of an answer, as it comes.
pub struct Body {
    transport: Transport,
    incoming: Incoming,
    /// What came and was not yet taken, for lines.
    pieces: VecDeque<Bytes>,
    size: usize,
}

impl Body {
    /// The next piece; none at the end. Safe to drop while it waits.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        while let Some(frame) = self.incoming.frame().await {
            let frame = frame.map_err(|error| self.transport.broken(error))?;
            if let Ok(data) = frame.into_data()
                && !data.is_empty()
            {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// All that is left of it.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn all(mut self) -> Result<Vec<u8>, Error> {
        let mut all = Vec::new();
        while let Some(piece) = self.next().await? {
            all.extend_from_slice(&piece);
        }
        Ok(all)
    }

    /// The next line, without its end; none at the end. Safe to drop while it waits.
    ///
    /// # Errors
    /// When the connection breaks, or a line is beyond all measure.
    pub async fn line(&mut self) -> Result<Option<Vec<u8>>, Error> {
        // Only the piece that came last is searched: a long line is not searched again for each of its pieces.
        let mut unsearched = 0;
        loop {
            while unsearched < self.pieces.len() {
                if let Some(at) = self.pieces[unsearched].iter().position(|byte| *byte == b'\n') {
                    return Ok(Some(self.take_line(unsearched, at)));
                }
                unsearched += 1;
            }
            if self.size > LONGEST_LINE {
                return Err(self
                    .transport
                    .nonsense(format!("a line of more than {LONGEST_LINE} bytes")));
            }
            match self.next().await? {
                Some(piece) => {
                    self.size += piece.len();
                    self.pieces.push_back(piece);
                }
                None if self.pieces.is_empty() => return Ok(None),
                None => {
                    self.size = 0;
                    return Ok(Some(self.pieces.drain(..).flatten().collect()));
                }
            }
        }
    }

    /// Takes all before the line's end, which is in that piece at that place.
    fn take_line(&mut self, piece: usize, at: usize) -> Vec<u8> {
        let mut line: Vec<u8> = self.pieces.drain(..piece).flatten().collect();
        if let Some(last) = self.pieces.front_mut() {
            line.extend_from_slice(&last.split_to(at));
            // The end itself.
            let _ = last.split_to(1);
            if last.is_empty() {
                self.pieces.pop_front();
            }
        }
        self.size = self.pieces.iter().map(Bytes::len).sum();
        line
    }
}
