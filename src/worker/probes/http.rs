//! What is answered to an HTTP request. As a kubelet does: 200 to 399 is good, redirects are not followed, a certificate
//! is not looked at, and of the answer at most 10 KiB are read.
use std::pin::pin;

use bytes::Bytes;
use cube_api::probe::{HttpHeader, Scheme};
use cube_plan::probe::Answer;
use http::{Request, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{READ, tcp};
use crate::world::network::Network;

/// The head of an answer may have so many bytes; more is no answer to a probe.
const HEAD: usize = 16 << 10;

/// Sends the request and reads the answer.
pub(super) async fn ask(
    network: &dyn Network,
    host: &str,
    port: u16,
    scheme: Scheme,
    path: &str,
    headers: &[HttpHeader],
) -> Answer {
    let request = match request(host, port, path, headers) {
        Ok(request) => request,
        Err(error) => return Answer::bad(format!("cannot be asked: {error}"), ""),
    };
    let stream = match tcp::connect(network, host, port).await {
        Ok(stream) => stream,
        Err(answer) => return answer,
    };
    match scheme {
        Scheme::Http => exchange(stream, request).await,
        Scheme::Https => match super::tls::wrap(stream, host).await {
            Ok(stream) => exchange(stream, request).await,
            Err(error) => Answer::bad(format!("no TLS: {error}"), ""),
        },
    }
}

fn request(host: &str, port: u16, path: &str, headers: &[HttpHeader]) -> http::Result<Request<Empty<Bytes>>> {
    let mut request = Request::get(path);
    for HttpHeader { name, value } in headers {
        request = request.header(name, value);
    }
    let given = |name: header::HeaderName| {
        headers
            .iter()
            .any(|header| header.name.eq_ignore_ascii_case(name.as_str()))
    };
    if !given(header::HOST) {
        let host = match host.contains(':') && !host.starts_with('[') {
            true => format!("[{host}]"),
            false => host.to_owned(),
        };
        request = request.header(header::HOST, format!("{host}:{port}"));
    }
    if !given(header::USER_AGENT) {
        request = request.header(header::USER_AGENT, concat!("cube-probe/", env!("CARGO_PKG_VERSION")));
    }
    if !given(header::ACCEPT) {
        request = request.header(header::ACCEPT, "*/*");
    }
    request.header(header::CONNECTION, "close").body(Empty::new())
}

async fn exchange(stream: impl AsyncRead + AsyncWrite + Unpin, request: Request<Empty<Bytes>>) -> Answer {
    let begun = http1::Builder::new()
        .max_buf_size(HEAD)
        .handshake(TokioIo::new(stream))
        .await;
    let (mut sender, connection) = match begun {
        Ok(begun) => begun,
        Err(error) => return broken(&error),
    };
    let answer = async {
        let answer = match sender.send_request(request).await {
            Ok(answer) => answer,
            Err(error) => return broken(&error),
        };
        let status = answer.status();
        let mut body = answer.into_body();
        let mut read = Vec::new();
        while read.len() < READ {
            match body.frame().await {
                None => break,
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        read.extend_from_slice(&data[..data.len().min(READ - read.len())]);
                    }
                }
                Some(Err(error)) => return broken(&error),
            }
        }
        let words = format!("HTTP {}", status.as_u16());
        match status.as_u16() {
            200..400 => Answer::good(words),
            _ => Answer::bad(words, String::from_utf8_lossy(&read)),
        }
    };
    // The connection is driven here, so that it ends with the question; it may end before what came over it is read.
    let (mut answer, mut connection) = (pin!(answer), pin!(connection));
    tokio::select! {
        biased;
        answer = &mut answer => return answer,
        _ = &mut connection => {}
    }
    answer.await
}

fn broken(error: &hyper::Error) -> Answer {
    let mut words = format!("no proper answer: {error}");
    if let Some(cause) = std::error::Error::source(error) {
        words = format!("{words}: {cause}");
    }
    Answer::bad(words, "")
}
