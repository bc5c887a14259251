//! The connection to an engine: one pool of kept connections, which bollard's calls and our own streams share.
//!
//! bollard's own transport opens a connection for each request, refuses to be made while the socket is missing, and hides the
//! moment at which an answer begins; this one does none of that. Never retries. Read [`Wire`] first.
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bollard::errors::Error;
use bollard::{BollardRequest, Docker, body_full};
use bytes::{Buf, Bytes, BytesMut};
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::UnixStream;

use super::fault;
use crate::engine::{EngineError, Result};

/// How long an idle connection is kept: long enough for the calls of one change, short enough that an idle Cube holds none.
const KEEP: Duration = Duration::from_secs(20);
/// A machine that is there answers within this.
const CONNECT: Duration = Duration::from_secs(10);
/// Idle connections that are kept; more than that many calls at once is rare.
const KEPT: usize = 32;
/// No line of an engine's JSON is longer; bounds what a broken one can make us hold.
const LONGEST_LINE: usize = 16 << 20;
/// bollard's own limit, far above ours, which are the ones that count.
const BOLLARD_SECONDS: u64 = 24 * 3600;

type Send = dyn Fn(BollardRequest) -> BoxFuture<'static, std::result::Result<Response<Incoming>, legacy::Error>>
    + std::marker::Send
    + Sync;

/// A way to send requests to one engine. Connects when a request needs it.
#[derive(Clone)]
pub(super) struct Wire {
    send: Arc<Send>,
    /// What stands before each path.
    base: String,
    /// The engine's socket, if it is on this machine.
    socket: Option<PathBuf>,
}

impl Wire {
    /// For a host as `DOCKER_HOST` has it: `unix://PATH`, `tcp://HOST:PORT` or `http://HOST:PORT`.
    pub(super) fn new(host: &str) -> Result<Self> {
        if let Some(path) = host.strip_prefix("unix://") {
            let socket = PathBuf::from(path);
            return Ok(Self {
                send: sender(UnixConnector(Arc::new(socket.clone()))),
                base: "http://docker".to_owned(),
                socket: Some(socket),
            });
        }
        let address = host.strip_prefix("tcp://").or_else(|| host.strip_prefix("http://"));
        let address = address.map(|address| address.trim_end_matches('/'));
        match address.filter(|address| !address.is_empty() && !address.contains('/')) {
            Some(address) => Ok(Self {
                send: sender(tcp_connector()),
                base: format!("http://{address}"),
                socket: None,
            }),
            None => Err(EngineError::InvalidSpec {
                field: "engine address".to_owned(),
                message: format!("{host:?} must be unix://PATH or tcp://HOST:PORT"),
            }),
        }
    }

    /// The engine's socket, if it is on this machine.
    pub(super) fn socket(&self) -> Option<&Path> {
        self.socket.as_deref()
    }

    /// A bollard client over this wire.
    pub(super) fn bollard(&self) -> Result<Docker> {
        let send = self.send.clone();
        let transport = move |request: BollardRequest| {
            let answer = send(request);
            async move { answer.await.map_err(Error::from) }
        };
        Docker::connect_with_custom_transport(
            transport,
            Some(self.base.as_str()),
            BOLLARD_SECONDS,
            bollard::API_DEFAULT_VERSION,
        )
        .map_err(fault::of)
    }

    /// Sends a request; the answer has begun when the future resolves, and its status was a good one.
    pub(super) async fn request(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Incoming>> {
        let answer = self.answer(method, path, query, headers, body).await?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        Err(refusal(answer).await?)
    }

    /// Sends a request whose connection becomes something else with the answer.
    pub(super) async fn upgrade(&self, path: &str, headers: HeaderMap, body: Bytes) -> Result<Response<Incoming>> {
        let answer = self.answer(Method::POST, path, &[], headers, body).await?;
        match answer.status() {
            StatusCode::SWITCHING_PROTOCOLS => Ok(answer),
            status if status.is_success() => Err(EngineError::BadAnswer {
                message: format!("{status} to a request for a connection"),
            }),
            _ => Err(refusal(answer).await?),
        }
    }

    async fn answer(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Incoming>> {
        let uri = format!("{}{path}{}", self.base, query_string(query));
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .body(body_full(body))
            .map_err(|error| fault::of(Error::from(error)))?;
        *request.headers_mut() = headers;
        (self.send)(request).await.map_err(|error| fault::unreachable(&error))
    }

    /// A request without a body.
    pub(super) async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Response<Incoming>> {
        self.request(Method::GET, path, query, HeaderMap::new(), Bytes::new())
            .await
    }
}

/// What an engine says that refuses.
async fn refusal(answer: Response<Incoming>) -> Result<EngineError> {
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await;
    let body = body.map_err(|error| fault::of(error.into()))?;
    Ok(fault::refused(status, &body.to_bytes()))
}

fn sender<C>(connector: C) -> Arc<Send>
where
    C: Connect + Clone + std::marker::Send + Sync + 'static,
{
    let client = Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(KEEP)
        .pool_max_idle_per_host(KEPT)
        .build(connector);
    Arc::new(move |request| Box::pin(client.request(request)))
}

fn tcp_connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT));
    // A stream of events is silent for long; only this tells that the other machine went without a word.
    connector.set_keepalive(Some(KEEP));
    connector
}

/// Connects to a Unix socket, wherever the address leads.
#[derive(Clone)]
struct UnixConnector(Arc<PathBuf>);

impl tower_service::Service<Uri> for UnixConnector {
    type Response = TokioIo<UnixStream>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = std::io::Result<Self::Response>> + std::marker::Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let path = self.0.clone();
        Box::pin(async move {
            let connected = UnixStream::connect(&*path).await;
            // The path says more than "no such file".
            let named =
                |error: std::io::Error| std::io::Error::new(error.kind(), format!("{}: {error}", path.display()));
            connected.map(TokioIo::new).map_err(named)
        })
    }
}

/// Writes a name as one segment of a path. What no engine could have made is not found.
pub(super) fn segment(name: &str) -> Result<String> {
    if matches!(name, "" | "." | "..") {
        return Err(EngineError::NotFound {
            what: format!("{name:?}"),
        });
    }
    Ok(escape(name))
}

fn query_string(query: &[(&str, &str)]) -> String {
    let pairs = query.iter().map(|(key, value)| format!("{key}={}", escape(value)));
    match query {
        [] => String::new(),
        _ => format!("?{}", pairs.collect::<Vec<_>>().join("&")),
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b':' | b'@' => {
                escaped.push(byte as char);
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// A body that is read in pieces of whatever size is wanted.
pub(super) struct Inflow {
    body: Incoming,
    buffer: BytesMut,
}

impl Inflow {
    pub(super) fn new(body: Incoming) -> Self {
        Self {
            body,
            buffer: BytesMut::new(),
        }
    }

    /// Reads on; `false` at the end.
    async fn fill(&mut self) -> Result<bool> {
        loop {
            match self.body.frame().await {
                None => return Ok(false),
                Some(Err(error)) => return Err(fault::of(error.into())),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data()
                        && !data.is_empty()
                    {
                        self.buffer.extend_from_slice(&data);
                        return Ok(true);
                    }
                }
            }
        }
    }

    /// The next line that is not empty, without its end; `None` at the end.
    pub(super) async fn line(&mut self) -> Result<Option<Bytes>> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.buffer[searched..].iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(searched + at).freeze();
                self.buffer.advance(1);
                searched = 0;
                if !line.trim_ascii().is_empty() {
                    return Ok(Some(line));
                }
                continue;
            }
            searched = self.buffer.len();
            if searched > LONGEST_LINE {
                return Err(EngineError::BadAnswer {
                    message: format!("a line of more than {LONGEST_LINE} bytes"),
                });
            }
            if !self.fill().await? {
                let rest = self.buffer.split().freeze();
                return Ok((!rest.trim_ascii().is_empty()).then_some(rest));
            }
        }
    }

    /// The next `length` bytes; `None` at the end.
    pub(super) async fn exactly(&mut self, length: usize) -> Result<Option<Bytes>> {
        while self.buffer.len() < length {
            if !self.fill().await? {
                if self.buffer.is_empty() {
                    return Ok(None);
                }
                return Err(EngineError::BadAnswer {
                    message: format!("{} bytes of {length}, then the end", self.buffer.len()),
                });
            }
        }
        Ok(Some(self.buffer.split_to(length).freeze()))
    }

    /// Whatever comes next; `None` at the end.
    pub(super) async fn any(&mut self) -> Result<Option<Bytes>> {
        if self.buffer.is_empty() && !self.fill().await? {
            return Ok(None);
        }
        Ok(Some(self.buffer.split().freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_one_segment() {
        assert_eq!(segment("cube-a_b.1").as_deref(), Ok("cube-a_b.1"));
        assert_eq!(segment("a/../b?c#d %").as_deref(), Ok("a%2F..%2Fb%3Fc%23d%20%25"));
        for none in ["", ".", ".."] {
            assert!(segment(none).is_err(), "{none:?}");
        }
        assert_eq!(
            query_string(&[("a", "{\"b\":1}"), ("c", "d")]),
            "?a=%7B%22b%22%3A1%7D&c=d".replace("%3A", ":")
        );
    }

    #[test]
    fn addresses_are_those_of_docker_host() {
        for good in ["unix:///var/run/docker.sock", "tcp://10.0.0.1:2375", "http://h:1/"] {
            assert!(Wire::new(good).is_ok(), "{good}");
        }
        for bad in ["", "ssh://host", "tcp://", "/var/run/docker.sock", "tcp://h:1/x"] {
            assert!(Wire::new(bad).is_err(), "{bad}");
        }
    }
}
