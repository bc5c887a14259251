//! Real sockets: heads that do not come, bodies that do not end, readers that leave, and the end of the server.
use std::path::Path;

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    task::JoinHandle,
    time::{Instant, sleep},
};

use super::*;

struct Socket {
    dir: TempDir,
    registry: Registry,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
}

impl Socket {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::open(Store::memory(Options::default()), World::real())
            .await
            .unwrap();
        let shutdown = CancellationToken::new();
        let state = state(&registry, json!({}));
        let listener = UnixListener::bind(dir.path().join("socket")).unwrap();
        let serving = tokio::spawn(super::super::serve(listener, state, shutdown.clone()));
        Self {
            dir,
            registry,
            shutdown,
            serving,
        }
    }

    async fn connect(&self) -> UnixStream {
        let path: &Path = self.dir.path();
        UnixStream::connect(path.join("socket")).await.unwrap()
    }

    async fn ask(&self, request: &str) -> UnixStream {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }
}

/// Reads until that text has come; what came.
async fn until(stream: &mut UnixStream, text: &str) -> String {
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains(text) {
        assert_ne!(
            stream.read_buf(&mut seen).await.unwrap(),
            0,
            "{}",
            String::from_utf8_lossy(&seen)
        );
    }
    String::from_utf8(seen).unwrap()
}

async fn rest(stream: &mut UnixStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn the_head_of_a_watch_comes_before_its_events_and_its_end_with_the_server() {
    let socket = Socket::new().await;
    let mut watch = socket
        .ask("GET /apis/cube/v1/tasks?watch=1 HTTP/1.1\r\nhost: x\r\n\r\n")
        .await;
    let head = until(&mut watch, "\r\n\r\n").await;
    assert!(
        head.starts_with("HTTP/1.1 200") && head.contains("transfer-encoding: chunked"),
        "{head}"
    );
    let idle = socket.connect().await;
    let task = json!({ "metadata": { "name": "web" }, "spec": { "image": "x" } });
    let options = crate::registry::WriteOptions::new("test");
    socket
        .registry
        .create(Kind::Task, "default", task, &options)
        .await
        .unwrap();
    until(&mut watch, "\"ADDED\"").await;
    socket.shutdown.cancel();
    let begun = Instant::now();
    // The last chunk: the stream has ended, not broken.
    assert!(rest(&mut watch).await.ends_with("0\r\n\r\n"));
    drop(idle);
    socket.serving.await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(4), "nothing was waited for");
    assert!(UnixStream::connect(socket.dir.path().join("socket")).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_come_is_not_waited_for() {
    let socket = Socket::new().await;
    for request in ["", "GET /livez HTTP/1.1\r\nhost: x\r\na: b\r\n"] {
        let begun = Instant::now();
        let mut slow = socket.ask(request).await;
        rest(&mut slow).await;
        assert_eq!(begun.elapsed().as_secs(), 100, "{request:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let socket = Socket::new().await;
    let begun = Instant::now();
    let mut slow = socket
        .ask("POST /apis/cube/v1/apply HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
        .await;
    let answer = until(&mut slow, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
    assert_eq!(begun.elapsed().as_secs(), 60);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let socket = Socket::new().await;
    let head = format!("POST {TASKS} HTTP/1.1\r\nhost: x\r\n");
    // Told beforehand, and beyond what anyone reads.
    let mut huge = socket.ask(&format!("{head}content-length: 999999999999\r\n\r\n")).await;
    assert!(until(&mut huge, "\r\n\r\n").await.starts_with("HTTP/1.1 413"));
    // Not told: it is seen when it has come, and the client, which sends it whole, sees the answer.
    let mut chunked = socket.ask(&format!("{head}transfer-encoding: chunked\r\n\r\n")).await;
    let piece = format!("100000\r\n{}\r\n", "x".repeat(0x10_0000));
    for _ in 0..8 {
        chunked.write_all(piece.as_bytes()).await.unwrap();
    }
    chunked.write_all(b"0\r\n\r\n").await.unwrap();
    let answer = until(&mut chunked, "limit is").await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn who_leaves_frees_the_watch() {
    let socket = Socket::new().await;
    let watches = async || {
        let mut asked = socket
            .ask("GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .await;
        let text = rest(&mut asked).await;
        let line = text.lines().find(|line| line.starts_with("cube_watches ")).unwrap();
        line["cube_watches ".len()..].parse::<u64>().unwrap()
    };
    let mut watch = socket
        .ask("GET /apis/cube/v1/tasks?watch=1 HTTP/1.1\r\nhost: x\r\n\r\n")
        .await;
    until(&mut watch, "\r\n\r\n").await;
    assert_eq!(watches().await, 1);
    drop(watch);
    for _ in 0..500 {
        if watches().await == 0 {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("the watch is open still");
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_does_not_hold_up_the_end() {
    let socket = Socket::new().await;
    let options = crate::registry::WriteOptions::new("test");
    for name in 0..40 {
        let env = json!([{ "name": "A", "value": "x".repeat(100_000) }]);
        let task = json!({ "metadata": { "name": format!("t{name}") }, "spec": { "image": "x", "env": env } });
        socket
            .registry
            .create(Kind::Task, "default", task, &options)
            .await
            .unwrap();
    }
    let mut asleep = socket.ask("GET /apis/cube/v1/tasks HTTP/1.1\r\nhost: x\r\n\r\n").await;
    until(&mut asleep, "\r\n\r\n").await;
    socket.shutdown.cancel();
    let begun = Instant::now();
    socket.serving.await.unwrap();
    assert_eq!(begun.elapsed().as_secs(), 5);
}

/// Connections that live in memory: ten thousand of them need no more of the system than one.
struct Piped(tokio::sync::mpsc::UnboundedReceiver<tokio::io::DuplexStream>);

impl axum::serve::Listener for Piped {
    type Io = tokio::io::DuplexStream;
    type Addr = ();

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.0.recv().await {
            Some(stream) => (stream, ()),
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        Ok(())
    }
}

struct Pipes {
    connect: tokio::sync::mpsc::UnboundedSender<tokio::io::DuplexStream>,
    registry: Registry,
}

impl Pipes {
    async fn new(options: Options) -> Self {
        let registry = Registry::open(Store::memory(options), World::real()).await.unwrap();
        let state = state(&registry, json!({}));
        let (connect, connected) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(super::super::serve(Piped(connected), state, CancellationToken::new()));
        Self { connect, registry }
    }

    async fn ask(&self, request: &str) -> tokio::io::DuplexStream {
        let (mut ours, theirs) = tokio::io::duplex(4 << 10);
        self.connect.send(theirs).unwrap();
        ours.write_all(request.as_bytes()).await.unwrap();
        ours
    }

    async fn is_live(&self) -> bool {
        let mut asked = self
            .ask("GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .await;
        let mut answer = String::new();
        asked.read_to_string(&mut answer).await.unwrap();
        answer.starts_with("HTTP/1.1 200")
    }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_idle_connections_keep_nobody_out_and_are_closed() {
    let pipes = Pipes::new(Options::default()).await;
    let begun = Instant::now();
    let mut idle = Vec::new();
    for number in 0..10_000 {
        // Some say nothing, some begin and go on as slowly as they can.
        idle.push(pipes.ask(["", "GET /livez HTTP/1.1\r\na: b\r\n"][number % 2]).await);
    }
    assert!(pipes.is_live().await);
    for mut connection in idle {
        let mut rest = Vec::new();
        connection.read_to_end(&mut rest).await.unwrap();
    }
    assert_eq!(
        begun.elapsed().as_secs(),
        100,
        "all at once, and no later than a head may take"
    );
}

#[tokio::test(start_paused = true)]
async fn a_thousand_watches_that_nobody_reads_hold_up_no_write_and_lose_their_places() {
    let history = 100;
    let pipes = Pipes::new(Options {
        history_events: history,
        ..Options::default()
    })
    .await;
    let mut watches = Vec::new();
    for _ in 0..1000 {
        let from = pipes.registry.store().revision();
        let path = format!("/apis/cube/v1/tasks?watch=1&resourceVersion={from}");
        watches.push(pipes.ask(&format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await);
    }
    let options = crate::registry::WriteOptions::new("test");
    // Three times what the history keeps, each larger than what a connection takes unread.
    for number in 0..3 * history {
        let env = json!([{ "name": "A", "value": "x".repeat(5000) }]);
        let task = json!({ "metadata": { "name": format!("t{number}") }, "spec": { "image": "x", "env": env } });
        pipes
            .registry
            .create(Kind::Task, "default", task, &options)
            .await
            .unwrap();
        tokio::task::yield_now().await;
    }
    assert!(pipes.is_live().await);
    // Whoever reads at last is told what was on its way, and then that there is more than is known here.
    for mut watch in watches.into_iter().step_by(100) {
        let mut told = Vec::new();
        watch.read_to_end(&mut told).await.unwrap();
        let told = String::from_utf8_lossy(&told).into_owned();
        let events = told.matches("\"ADDED\"").count();
        assert!(
            events < 2 * history,
            "{events} events were kept for one that does not read"
        );
        assert!(told.contains("\"code\":410") && told.ends_with("0\r\n\r\n"), "{events}");
    }
}
