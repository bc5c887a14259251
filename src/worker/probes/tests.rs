//! Probes against servers and programs that hang, lie, or answer more than anybody wants to know.
use std::sync::atomic::{AtomicU64, Ordering};

use cube_api::probe::ProbeResult;
use cube_api::task::TaskSpec;
use cube_plan::probe::checks;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::*;
use crate::engine::ContainerSpec;
use crate::engine::sim::{SimConfig, SimEngine, Verb};

/// What a server does once it has read a request.
#[derive(Clone)]
enum Act {
    /// Says this.
    Say(&'static str),
    /// Says nothing more, and keeps the connection.
    Hang,
    /// Says this again and again, for ever.
    Repeat(&'static str),
}

/// A server on a port of this machine.
struct Server {
    port: u16,
    /// Bytes that clients let it write.
    written: Arc<AtomicU64>,
    /// The heads of the requests.
    heads: mpsc::UnboundedReceiver<String>,
}

async fn serve(acts: &[Act]) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let written = Arc::new(AtomicU64::new(0));
    let (told, heads) = mpsc::unbounded_channel();
    let (acts, counted) = (acts.to_vec(), written.clone());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(act(stream, acts.clone(), counted.clone(), told.clone()));
        }
    });
    Server { port, written, heads }
}

async fn act(mut stream: TcpStream, acts: Vec<Act>, written: Arc<AtomicU64>, told: mpsc::UnboundedSender<String>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let _ = told.send(String::from_utf8_lossy(&head).into_owned());
    for act in acts {
        match act {
            Act::Say(text) => {
                let _ = stream.write_all(text.as_bytes()).await;
            }
            Act::Hang => {
                // Until the other end goes.
                let _ = stream.read_u8().await;
            }
            Act::Repeat(text) => {
                while stream.write_all(text.as_bytes()).await.is_ok() {
                    written.fetch_add(text.len() as u64, Ordering::Relaxed);
                }
            }
        }
    }
}

fn target(engine: &SimEngine, container: &str) -> Target {
    Target {
        container: container.to_owned(),
        address: Some("127.0.0.1".to_owned()),
        network: World::real().network(),
        engine: Arc::new(engine.clone()),
        turns: Arc::default(),
        left: Arc::default(),
    }
}

fn engine() -> SimEngine {
    let engine = SimEngine::new(World::real(), SimConfig::default());
    engine.add_image("x");
    engine
}

fn liveness(probe: serde_json::Value) -> Check {
    let spec: TaskSpec = serde_json::from_value(json!({ "image": "x", "livenessProbe": probe })).unwrap();
    checks(&spec, None).remove(0)
}

async fn get(port: u16) -> Answer {
    let mut check = liveness(
        json!({ "httpGet": { "port": port, "path": "/healthz?a=b", "httpHeaders": [{ "name": "X-Who", "value": "me" }] } }),
    );
    check.timeout = Duration::from_millis(700);
    ask(&target(&engine(), "c"), &check).await
}

#[tokio::test]
async fn what_is_answered_is_told() {
    let chunked = "HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbusy\r\n0\r\n\r\n";
    for (answer, good, words, details) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", true, "HTTP 200", ""),
        (
            "HTTP/1.1 302 Found\r\nLocation: http://10.0.0.1/\r\nContent-Length: 0\r\n\r\n",
            true,
            "HTTP 302",
            "",
        ),
        ("HTTP/1.0 204 No Content\r\n\r\n", true, "HTTP 204", ""),
        (
            "HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nnope\n",
            false,
            "HTTP 404",
            "nope\n",
        ),
        (chunked, false, "HTTP 503", "busy"),
    ] {
        let mut server = serve(&[Act::Say(answer)]).await;
        let told = get(server.port).await;
        let told = (told.good, told.words.as_str(), told.details.as_str());
        assert_eq!(told, (Some(good), words, details), "{answer}");
        let head = server.heads.recv().await.unwrap().to_lowercase();
        assert!(head.starts_with("get /healthz?a=b http/1.1\r\n"), "{head}");
        assert!(head.contains(&format!("host: 127.0.0.1:{}\r\n", server.port)), "{head}");
        assert!(head.contains("x-who: me\r\n"), "{head}");
    }
}

#[tokio::test]
async fn one_that_hangs_has_failed_in_time() {
    let begun = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nok";
    for acts in [
        vec![Act::Hang],
        vec![Act::Say("HTTP/1.1 200 OK\r\n"), Act::Hang],
        vec![Act::Say(begun), Act::Hang],
    ] {
        let server = serve(&acts).await;
        let told = get(server.port).await;
        assert_eq!(
            (told.good, told.words.as_str()),
            (Some(false), "no answer within 0.7 s")
        );
    }
}

#[tokio::test]
async fn one_that_lies_is_not_believed() {
    for lie in [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: nonsense\r\n\r\nok",
        "200 OK\r\n\r\n",
        "\u{1}\u{2}\u{3}\u{4}\r\n\r\n",
        "",
    ] {
        let server = serve(&[Act::Say(lie)]).await;
        let told = get(server.port).await;
        assert_eq!(told.good, Some(false), "{lie:?}: {told:?}");
        assert!(told.words.starts_with("no proper answer"), "{told:?}");
    }
}

#[tokio::test]
async fn no_more_is_read_than_is_needed() {
    let letters = "spam and eggs and more spam ";
    // A body without an end, and a head without one.
    let body = serve(&[Act::Say("HTTP/1.1 500 Oh\r\n\r\n"), Act::Repeat(letters)]).await;
    let told = get(body.port).await;
    assert_eq!((told.words.as_str(), told.details.len()), ("HTTP 500", READ));
    let head = serve(&[
        Act::Say("HTTP/1.1 200 OK\r\n"),
        Act::Repeat("X-Spam: and eggs and more spam\r\n"),
    ])
    .await;
    assert_eq!(get(head.port).await.good, Some(false));
    for server in [body, head] {
        // What the kernel's buffers took is nobody's memory here.
        assert!(server.written.load(Ordering::Relaxed) < 10 << 20);
    }
}

#[tokio::test]
async fn nobody_there_is_a_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let tcp = liveness(json!({ "tcpSocket": { "port": port } }));
    let target = target(&engine(), "c");
    assert_eq!(ask(&target, &tcp).await, Answer::good("connected"));
    drop(listener);
    let words = format!("connection refused (port {port})");
    assert_eq!(ask(&target, &tcp).await, Answer::bad(words.clone(), ""));
    assert_eq!(get(port).await.words, words);
    let nowhere = Target {
        address: None,
        ..target
    };
    assert_eq!(ask(&nowhere, &tcp).await.words, "the container has no address");
}

#[tokio::test]
async fn https_takes_any_certificate_but_no_plain_text() {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

    let asked = async |port: u16| {
        let check = Check {
            timeout: Duration::from_millis(700),
            ..liveness(json!({ "httpGet": { "port": port, "scheme": "HTTPS" } }))
        };
        ask(&target(&engine(), "c"), &check).await
    };
    let plain = serve(&[Act::Say("HTTP/1.1 200 OK\r\n\r\n")]).await;
    assert_eq!(asked(plain.port).await.good, Some(false));

    // Made out to nobody by nobody, and long expired.
    let certificate = CertificateDer::from_pem_slice(include_bytes!("testdata/certificate.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("testdata/key.pem")).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(stream).await.unwrap();
        let _ = stream.read_u8().await;
        let _ = stream
            .write_all(b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy")
            .await;
        let _ = stream.shutdown().await;
    });
    assert_eq!(asked(port).await, Answer::bad("HTTP 503", "busy"));
}

/// A simulated container that runs.
async fn container(engine: &SimEngine) -> String {
    let spec = ContainerSpec {
        name: "it".to_owned(),
        image: "x".to_owned(),
        ..ContainerSpec::default()
    };
    let id = engine.create(&spec).await.unwrap();
    engine.start(&id).await.unwrap();
    id
}

#[tokio::test(start_paused = true)]
async fn a_programs_exit_code_is_its_answer() {
    let engine = engine();
    let id = container(&engine).await;
    let target = target(&engine, &id);
    let run = async |script: &str| {
        let check = liveness(json!({ "exec": { "command": ["sh", "-c", script] } }));
        ask(&target, &check).await
    };
    assert_eq!(run("true").await, Answer::good("exit 0"));
    assert_eq!(
        run("echo no database >&2; exit 2").await,
        Answer::bad("exit 2", "no database\n")
    );
    assert_eq!(run("sleep 2").await.words, "no answer within 1 s");
    assert_eq!(engine.calls(Verb::EndExec), 1, "what hangs is killed");
    engine.exit(&id, 0);
    assert_eq!(run("true").await.good, None, "nothing is learnt of one that has ended");
    engine.go_away();
    assert_eq!(run("true").await.good, None);
}

#[tokio::test(start_paused = true)]
async fn programs_that_cannot_be_killed_are_not_piled_up() {
    let engine = engine();
    let id = container(&engine).await;
    let target = target(&engine, &id);
    let check = liveness(json!({ "exec": { "command": ["sleep", "1000"] } }));
    for asked in 0..10 {
        let error = crate::engine::EngineError::Refused {
            status: 500,
            message: "no".to_owned(),
        };
        engine.fail_next(Verb::EndExec, error);
        assert_eq!(ask(&target, &check).await.good, Some(false), "{asked}");
    }
    assert_eq!(engine.calls(Verb::Exec), 2);
    // Once they have ended by themselves, it is asked again.
    tokio::time::sleep(Duration::from_secs(1000)).await;
    ask(&target, &check).await;
    assert_eq!(engine.calls(Verb::Exec), 3);
}

#[tokio::test(start_paused = true)]
async fn a_prober_tells_what_is_new_and_ends_when_it_is_dropped() {
    let engine = engine();
    let id = container(&engine).await;
    let spec: TaskSpec = serde_json::from_value(json!({ "image": "x",
        "readinessProbe": { "exec": { "command": ["true"] } },
        "livenessProbe": { "exec": { "command": ["false"] }, "periodSeconds": 1 } }))
    .unwrap();
    let (sender, mut reports) = mpsc::unbounded_channel();
    let tell = move |report| {
        let _ = sender.send(report);
    };
    let asked = checks(&spec, None);
    let (prober, first) = Prober::begin(
        target(&engine, &id),
        asked.clone(),
        Duration::ZERO,
        &[],
        World::real(),
        tell,
    );
    assert!(prober.is_of(&id, Some(&"127.0.0.1".to_owned()), &asked));
    assert!(!prober.is_of(&id, None, &asked));
    assert!(first.unhealthy.is_none() && first.probes.iter().all(|probe| probe.result == ProbeResult::Unknown));
    let ready: Report = reports.recv().await.unwrap();
    assert!(cube_plan::probe::is_ready(&ready.probes), "{ready:?}");
    let dead = loop {
        let report = reports.recv().await.unwrap();
        if let Some(unhealthy) = report.unhealthy {
            break unhealthy;
        }
    };
    assert_eq!(dead.message, "liveness probe failed 3 times: exit 1");
    let calls = engine.calls(Verb::Exec);
    drop(prober);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(engine.calls(Verb::Exec), calls);
}
