//! `cube proxy`: the API for programs that cannot speak to a Unix socket (kubectl, browsers' tools), on this machine alone.
//!
//! Whoever can open a page in a browser here could make it send requests to a port of this machine: so a request must
//! name this machine as its `Host`, come from no page of elsewhere (`Origin`, `Sec-Fetch-Site`), and have no form's body.
use std::{convert::Infallible, net::Ipv4Addr};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{Either, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn, upgrade::OnUpgrade};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::TcpListener;

use super::{
    Context,
    error::{CliError, Exit},
};
use crate::client::{Client, is_loopback};

/// Serve the API on a port of this machine, for kubectl and the like
///
/// `kubectl --server http://127.0.0.1:8001 get tasks`. Only programs of this machine reach it; all of them do, so do
/// not leave it open where you do not trust every user.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The port; 0 for any that is free
    #[arg(long, default_value_t = 8001)]
    port: u16,
}

type Answer = Response<Either<Incoming, Full<Bytes>>>;

impl Args {
    /// Serves until it is ended.
    pub async fn run(self, context: &Context) -> Result<Exit, CliError> {
        let client = context.client();
        // Better told now than by the first request.
        client.version().await?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port))
            .await
            .map_err(CliError::io(format!("listen at 127.0.0.1:{}", self.port)))?;
        let address = listener.local_addr().map_err(CliError::io("listen"))?;
        context
            .output
            .line(&format!("{} at http://{address}", client.endpoint()))?;
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                // Of this connection alone, or too many open: the others go on.
                Err(error) => {
                    context
                        .output
                        .warn(&format!("a connection could not be taken: {error}"));
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    continue;
                }
            };
            let client = client.clone();
            let service = service_fn(move |request| {
                let client = client.clone();
                async move { Ok::<_, Infallible>(forward(&client, request).await) }
            });
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new());
            // Errors are the other side's: it has gone.
            tokio::spawn(async move {
                let connection = server.serve_connection(TokioIo::new(stream), service);
                drop(connection.with_upgrades().await);
            });
        }
    }
}

async fn forward(client: &Client, mut request: Request<Incoming>) -> Answer {
    if let Err(why) = is_local(request.headers(), request.uri()) {
        return refuse(StatusCode::FORBIDDEN, "Forbidden", &why);
    }
    if request.method() == Method::POST && is_a_forms(request.headers()) {
        let why = "a request that makes something must say that its body is JSON (`content-type: application/json`)";
        return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", why);
    }
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let Ok(target) = target.parse::<Uri>() else {
        return refuse(StatusCode::BAD_REQUEST, "BadRequest", "the path cannot be read");
    };
    *request.uri_mut() = target;
    *request.version_mut() = http::Version::HTTP_11;
    // A WebSocket (a program in a container): what becomes of this connection becomes of the one behind it.
    let upgrade = request.headers().get(header::UPGRADE).cloned();
    let upgraded = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
    without_hops(request.headers_mut());
    request
        .headers_mut()
        .insert(header::HOST, header::HeaderValue::from_static("localhost"));
    if let Some(upgrade) = &upgrade {
        keep_upgrade(request.headers_mut(), upgrade);
    }
    let sent = match client.connect().await {
        Ok(mut sender) => sender.send_request(request).await.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match sent {
        Ok(mut answer) => {
            let switched = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
            without_hops(answer.headers_mut());
            if let (true, Some(upgrade), Some(client)) = (switched, upgrade, upgraded) {
                keep_upgrade(answer.headers_mut(), &upgrade);
                tokio::spawn(join(client, hyper::upgrade::on(&mut answer)));
            }
            answer.map(Either::Left)
        }
        Err(why) => refuse(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", &why),
    }
}

fn keep_upgrade(headers: &mut HeaderMap, protocol: &header::HeaderValue) {
    headers.insert(header::CONNECTION, header::HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, protocol.clone());
}

/// Joins two connections that have become something else.
async fn join(client: OnUpgrade, server: OnUpgrade) {
    if let (Ok(client), Ok(server)) = tokio::join!(client, server) {
        let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
        // Errors are either side's: it has gone.
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    }
}

/// That a request is for this machine, and from no page of elsewhere.
fn is_local(headers: &HeaderMap, uri: &Uri) -> Result<(), String> {
    let host = match (headers.get(header::HOST), uri.authority()) {
        (Some(host), _) => host.to_str().unwrap_or_default(),
        (None, Some(authority)) => authority.as_str(),
        (None, None) => "",
    };
    if headers.get_all(header::HOST).iter().count() > 1 || !is_loopback(without_port(host)) {
        return Err(format!(
            "the request is for the host {host:?}; this proxy answers for localhost alone"
        ));
    }
    // Browsers say so themselves, also of requests whose origin they do not tell.
    if headers
        .get("sec-fetch-site")
        .is_some_and(|site| site == "cross-site" || site == "same-site")
    {
        return Err("the request is from a page of elsewhere; this proxy answers to this machine's alone".to_owned());
    }
    for origin in headers.get_all(header::ORIGIN) {
        let origin = origin.to_str().unwrap_or_default();
        let host = origin
            .strip_prefix("http://")
            .or_else(|| origin.strip_prefix("https://"));
        if !host.is_some_and(|host| is_loopback(without_port(host))) {
            return Err(format!(
                "the request is from a page of {origin:?}; this proxy answers to this machine's alone"
            ));
        }
    }
    Ok(())
}

/// Whether a body is, or may be, one that any page's form can send without being asked first.
fn is_a_forms(headers: &HeaderMap) -> bool {
    let given = headers.get(header::CONTENT_TYPE).and_then(|text| text.to_str().ok());
    let name = given.and_then(|text| text.split(';').next()).unwrap_or_default().trim();
    let forms = [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
    ];
    forms.iter().any(|form| name.eq_ignore_ascii_case(form))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Takes out what is between two neighbours only.
fn without_hops(headers: &mut HeaderMap) {
    for name in [
        header::CONNECTION,
        header::HeaderName::from_static("keep-alive"),
        header::PROXY_AUTHENTICATE,
        header::PROXY_AUTHORIZATION,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ] {
        headers.remove(name);
    }
}

fn refuse(code: StatusCode, reason: &str, message: &str) -> Answer {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code.as_u16(),
    });
    let mut answer = Response::new(Either::Right(Full::new(Bytes::from(status.to_string()))));
    *answer.status_mut() = code;
    let json = header::HeaderValue::from_static("application/json");
    answer.headers_mut().insert(header::CONTENT_TYPE, json);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_answered() {
        let ask = |host: &str, origin: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            if !origin.is_empty() {
                headers.insert(header::ORIGIN, origin.parse().unwrap());
            }
            is_local(&headers, &Uri::from_static("/version")).is_ok()
        };
        for host in [
            "localhost",
            "localhost:8001",
            "127.0.0.1:8001",
            "[::1]:1",
            "[::1]",
            "LOCALHOST",
        ] {
            assert!(ask(host, ""), "{host}");
            assert!(ask(host, &format!("http://{host}")), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:8001",
            "127.0.0.1.evil.example",
            "localhost:8001@evil",
            "10.0.0.1:80",
        ] {
            assert!(!ask(host, ""), "{host}");
        }
        for origin in [
            "null",
            "http://evil.example",
            "https://localhost.evil.example",
            "file://",
            "localhost",
        ] {
            assert!(!ask("localhost", origin), "{origin}");
        }
        assert!(
            is_local(&HeaderMap::new(), &Uri::from_static("/version")).is_err(),
            "no host at all"
        );
    }
}
