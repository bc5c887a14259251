//! Requests, one after the other: whatever they say, the answer is well-formed, and one that is refused changes nothing.
//!
//! ```text
//! METHOD /path?query
//! header: value
//!
//! body
//! %%
//! the next request
//! ```
use std::time::Duration;

use axum::body::Body;
use futures_util::StreamExt;
use http::{HeaderMap, Method, Request, StatusCode, header};
use serde_json::Value;
use tower::ServiceExt;

use super::served::{self, Served};

/// Requests of an input; more only take longer.
const REQUESTS: usize = 8;
/// Pieces of an answer that are read: a watch has no end.
const PIECES: usize = 64;

pub fn run(bytes: &[u8]) {
    served::with(|served| {
        for bytes in split(bytes, b"\n%%\n").into_iter().take(REQUESTS) {
            if let Some(request) = request(bytes) {
                answered(served, request);
            }
        }
    });
}

fn split<'a>(bytes: &'a [u8], by: &[u8]) -> Vec<&'a [u8]> {
    let (mut parts, mut rest) = (Vec::new(), bytes);
    while let Some(at) = rest.windows(by.len()).position(|found| found == by) {
        parts.push(&rest[..at]);
        rest = &rest[at + by.len()..];
    }
    parts.push(rest);
    parts
}

/// The request, if HTTP could carry it.
fn request(bytes: &[u8]) -> Option<Request<Body>> {
    let at = bytes.windows(2).position(|found| found == b"\n\n");
    let (head, body) = match at {
        Some(at) => (&bytes[..at], &bytes[at + 2..]),
        None => (bytes, &[][..]),
    };
    let mut lines = head.split(|byte| *byte == b'\n');
    let first = lines.next()?;
    let space = first.iter().position(|byte| *byte == b' ')?;
    let mut request = Request::builder().method(&first[..space]).uri(&first[space + 1..]);
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':')?;
        request = request.header(&line[..colon], line[colon + 1..].trim_ascii());
    }
    request.body(Body::from(body.to_vec())).ok()
}

fn answered(served: &Served, request: Request<Body>) {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let before = served.registry.store().revision();
    let (status, headers, text) = served.runtime.block_on(answer(served, request));
    let about = || format!("{method} {uri}: {status} {}", String::from_utf8_lossy(&text));
    // What may be so without anybody's fault: no worker is there, and a revision is not there yet.
    let deliberate = matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT);
    assert!(!status.is_server_error() || deliberate, "{}", about());
    let is_error = status.is_client_error() || status.is_server_error();
    let json = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|text| text == "application/json");
    if is_error && method != Method::HEAD {
        let told: Value = serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{error}: {}", about()));
        assert!(json, "{}", about());
        assert_eq!(told["kind"], "Status", "{}", about());
        assert_eq!(told["code"], status.as_u16(), "{}", about());
        assert!(
            told["message"].as_str().is_some_and(|message| !message.is_empty()),
            "{}",
            about()
        );
    } else if json {
        // One value, or a line each of a watch.
        for value in serde_json::Deserializer::from_slice(&text).into_iter::<Value>() {
            match value {
                Ok(value) => assert!(value.is_object(), "{}", about()),
                Err(error) => assert!(error.is_eof(), "{error}: {}", about()),
            }
        }
    }
    let dry = uri
        .query()
        .is_some_and(|query| query.split('&').any(|part| part == "dryRun=All"));
    let after = served.registry.store().revision();
    if is_error || dry || method == Method::GET || method == Method::HEAD {
        assert_eq!(after, before, "nothing is to be written: {}", about());
    }
    if after != before {
        served.sound();
    }
}

async fn answer(served: &Served, request: Request<Body>) -> (StatusCode, HeaderMap, Vec<u8>) {
    let Ok(response) = served.router.clone().oneshot(request).await;
    let (parts, body) = response.into_parts();
    let mut pieces = body.into_data_stream().take(PIECES);
    let mut text = Vec::new();
    let read = async {
        while let Some(piece) = pieces.next().await {
            text.extend_from_slice(&piece.expect("an answer is sent whole"));
        }
    };
    // A watch that hears nothing: an hour of a clock that passes it over.
    let _ = tokio::time::timeout(Duration::from_secs(3600), read).await;
    (parts.status, parts.headers, text)
}
