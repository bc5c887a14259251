//! Engines that are not there, do not answer, or go away; each is a few lines of the test's own behind a socket.
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cube::engine::docker::Limits;
use cube::engine::sim::{SimConfig, SimEngine};
use cube::engine::{Action, ContainerSpec, DockerEngine, Engine, EngineError, EngineEvent, LogOptions, NetworkSpec};
use cube::world::World;
use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Barrier;

use crate::bench::within;

struct Socket {
    directory: tempfile::TempDir,
}

impl Socket {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().expect("a directory"),
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("engine.sock")
    }

    fn engine(&self) -> DockerEngine {
        let host = format!("unix://{}", self.path().display());
        let short = Duration::from_millis(300);
        DockerEngine::connect(Some(&host))
            .expect("an address")
            .with_limits(Limits {
                answer: short,
                change: short,
                pull_silence: short,
            })
    }

    /// An engine that does this with each connection.
    fn serve<F: Future<Output = ()> + Send>(&self, serve: impl Fn(UnixStream) -> F + Clone + Send + 'static) -> Guard {
        let listener = UnixListener::bind(self.path()).expect("a socket");
        Guard(tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn({
                    let serve = serve.clone();
                    async move { serve(connection).await }
                });
            }
        }))
    }
}

struct Guard(tokio::task::JoinHandle<()>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The path of the next request on a connection; `None` at its end.
async fn request(connection: &mut UnixStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(connection.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    Some(head.split_whitespace().nth(1)?.to_owned())
}

async fn answer(connection: &mut UnixStream, body: &str) {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    let _ = connection.write_all(format!("{head}{body}").as_bytes()).await;
}

async fn every_verb(engine: &dyn Engine) -> Vec<EngineError> {
    let spec = ContainerSpec::default();
    let network = NetworkSpec {
        name: "net".to_owned(),
        ..NetworkSpec::default()
    };
    let verbs = futures_util::join!(
        async { [engine.info().await.err(), engine.list("c").await.err()] },
        async { [engine.inspect("a").await.err(), engine.image("a").await.err()] },
        async { [engine.create(&spec).await.err(), engine.start("a").await.err()] },
        async {
            [
                engine.signal("a", "TERM").await.err(),
                engine.stop_signal("a").await.err(),
            ]
        },
        async { [engine.unpause("a").await.err(), engine.rename("a", "b").await.err()] },
        async { [engine.remove("a", true).await.err(), engine.networks("c").await.err()] },
        async {
            [
                engine.ensure_network(&network).await.err(),
                engine.remove_network("a").await.err(),
            ]
        },
        async {
            let labels = Default::default();
            [
                engine.ensure_volume("a", &labels).await.err(),
                engine.remove_volume("a").await.err(),
            ]
        },
        async {
            let labels = Default::default();
            [engine.volumes(&labels).await.err(), engine.list("c").await.err()]
        },
        async {
            let log = engine.logs("a", LogOptions::default()).await.err();
            [engine.events("c").await.err(), log]
        },
    );
    let verbs = [
        verbs.0, verbs.1, verbs.2, verbs.3, verbs.4, verbs.5, verbs.6, verbs.7, verbs.8,
    ];
    let verbs = verbs.into_iter().flatten();
    verbs.map(|error| error.expect("a failure")).collect()
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_unreachable_until_it_is() {
    let socket = Socket::new();
    let engine = socket.engine();
    for error in every_verb(&engine).await {
        match &error {
            EngineError::Unreachable { message } => assert!(message.contains("engine.sock"), "{message}"),
            other => panic!("{other:?}"),
        }
        assert!(error.is_temporary() && error.outcome_unknown());
    }
    let pull = engine.pull("a", &|_| {}).await;
    assert!(matches!(pull, Err(EngineError::Unreachable { .. })), "{pull:?}");
    let _guard = socket.serve(async |mut connection| {
        while request(&mut connection).await.is_some() {
            answer(&mut connection, "[]").await;
        }
    });
    assert_eq!(engine.list("c").await, Ok(vec![]));
}

#[tokio::test]
async fn an_engine_that_hangs_is_given_up() {
    let socket = Socket::new();
    let engine = socket.engine();
    let _guard = socket.serve(async |mut connection| {
        let _ = request(&mut connection).await;
        std::future::pending::<()>().await;
    });
    for error in every_verb(&engine).await {
        assert!(matches!(error, EngineError::TimedOut { .. }), "{error:?}");
        assert!(error.is_temporary() && error.outcome_unknown());
    }
    let pull = engine.pull("a", &|_| {}).await;
    let given_up = matches!(pull, Err(EngineError::PullFailed { permanent: false, .. }));
    assert!(given_up, "{pull:?}");
}

#[tokio::test]
async fn an_engine_that_hangs_up_is_unreachable() {
    let socket = Socket::new();
    let engine = socket.engine();
    let _guard = socket.serve(async |mut connection| {
        let _ = request(&mut connection).await;
        let _ = connection
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[")
            .await;
    });
    // What needs no more than the status has that; all else is cut.
    for call in [engine.list("c").await.err(), engine.info().await.err()] {
        assert!(matches!(call, Some(EngineError::Unreachable { .. })), "{call:?}");
    }
}

#[tokio::test]
async fn a_connection_that_was_closed_is_not_used_again() {
    let socket = Socket::new();
    let engine = socket.engine();
    let _guard = socket.serve(async |mut connection| {
        let _ = request(&mut connection).await;
        answer(&mut connection, "[]").await;
    });
    for _ in 0..5 {
        assert_eq!(engine.list("c").await, Ok(vec![]));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn connections_are_kept() {
    let socket = Socket::new();
    let engine = socket.engine();
    let opened = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let _guard = socket.serve({
        let opened = opened.clone();
        move |mut connection| {
            opened.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            async move {
                while request(&mut connection).await.is_some() {
                    answer(&mut connection, "[]").await;
                }
            }
        }
    });
    for _ in 0..20 {
        engine.list("c").await.expect("a list");
    }
    assert_eq!(opened.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[tokio::test]
async fn calls_do_not_wait_for_one_another() {
    const CALLS: usize = 40;
    let socket = Socket::new();
    let engine = socket.engine();
    let all = Arc::new(Barrier::new(CALLS));
    let _guard = socket.serve(move |mut connection| {
        let all = all.clone();
        async move {
            while request(&mut connection).await.is_some() {
                all.wait().await;
                answer(&mut connection, "[]").await;
            }
        }
    });
    let calls = (0..CALLS).map(|_| engine.list("c"));
    let lists = futures_util::future::join_all(calls).await;
    assert!(lists.iter().all(Result::is_ok), "all are under way at once: {lists:?}");
}

#[tokio::test]
async fn a_stream_of_events_does_not_end_quietly() {
    let socket = Socket::new();
    let engine = socket.engine();
    let (go_on, wait) = tokio::sync::watch::channel(false);
    let _guard = socket.serve(move |mut connection| {
        let mut wait = wait.clone();
        async move {
            while let Some(path) = request(&mut connection).await {
                if !path.starts_with("/events") {
                    answer(&mut connection, "OK").await;
                    continue;
                }
                let _ = wait.wait_for(|go_on| *go_on).await;
                let event = r#"{"Type":"container","Action":"die","Actor":{"ID":"a","Attributes":{"name":"n","exitCode":"3"}},"time":1,"timeNano":1000000000}"#;
                let chunk = format!("{:x}\r\n{event}\n\r\n", event.len() + 1);
                let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
                let _ = connection.write_all(format!("{head}{chunk}").as_bytes()).await;
                return;
            }
        }
    });
    let subscribing = engine.events("c");
    tokio::pin!(subscribing);
    let early = tokio::time::timeout(Duration::from_millis(100), &mut subscribing).await;
    assert!(early.is_err(), "not before the engine has answered");
    go_on.send_replace(true);
    let mut events = subscribing.await.expect("subscribed");
    let event = within(events.next()).await;
    let expected = EngineEvent::Changed {
        id: "a".to_owned(),
        name: "n".to_owned(),
        action: Action::Die { code: Some(3) },
        at: jiff::Timestamp::from_second(1).expect("a time"),
    };
    assert_eq!(event, Some(Ok(expected)));
    // What happens to networks is told by a stream of its own, which this engine answers alike.
    let mut last = within(events.next()).await;
    while let Some(Ok(_)) = last {
        last = within(events.next()).await;
    }
    assert!(matches!(last, Some(Err(EngineError::Unreachable { .. }))), "{last:?}");
}

#[tokio::test]
async fn the_simulated_engine_goes_away_like_a_real_one() {
    let sim = SimEngine::new(World::real(), SimConfig::default());
    let mut events = sim.events("c").await.expect("subscribed");
    sim.go_away();
    let last = within(events.next()).await;
    assert!(matches!(last, Some(Err(EngineError::Unreachable { .. }))), "{last:?}");
    assert_eq!(within(events.next()).await, None);
    for error in every_verb(&sim).await {
        assert!(matches!(error, EngineError::Unreachable { .. }), "{error:?}");
    }
    sim.come_back();
    assert!(sim.info().await.is_ok());
}
