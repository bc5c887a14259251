//! An environment for one test: its own home, nothing of the caller's, and if wished a server with no engine behind it.
//!
//! The server is the real one over a store in memory, with a clock that stands in the future: ages are `0s` everywhere.
use std::{
    fmt, fs,
    io::{Read, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use cube::{
    engine::{ExecOptions, LogOptions, Program, Said, Told},
    registry::{ApiError, Registry, Write},
    server::{self, Containers, ServerState},
    store::{Options, Store},
    world::{Source, World},
};
use cube_api::{figures::Measured, kinds::Kind, task::Task};
use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// What a command did.
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.stdout)?;
        if !self.stderr.is_empty() {
            write!(f, "--- stderr\n{}", self.stderr)?;
        }
        writeln!(f, "--- exit {}", self.code)
    }
}

/// A home of its own.
pub struct Environment {
    home: tempfile::TempDir,
    server: Option<TestServer>,
}

impl Environment {
    /// With no server.
    pub fn new() -> Self {
        Self {
            home: tempfile::tempdir().unwrap(),
            server: None,
        }
    }

    /// With a server at the socket that `CUBE_SERVER` names.
    pub fn with_server() -> Self {
        let mut environment = Self::new();
        environment.server = Some(TestServer::start(&environment.path("cube.sock")));
        environment
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Writes a file; directories before it are made.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn command(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cube"));
        command
            .args(words.split_whitespace())
            .env_clear()
            .env("HOME", self.home.path())
            .env("XDG_RUNTIME_DIR", self.home.path())
            .env("CUBE_SERVER", format!("unix://{}", self.path("cube.sock").display()))
            .current_dir(self.home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, words: &str) -> Run {
        self.finish(self.command(words).spawn().unwrap())
    }

    /// Runs a command that reads this.
    pub fn run_with(&self, words: &str, input: &[u8]) -> Run {
        let mut child = self.command(words).stdin(Stdio::piped()).spawn().unwrap();
        // Whoever has read enough closes its end.
        let _ = child.stdin.take().unwrap().write_all(input);
        self.finish(child)
    }

    /// What a command did; one that does not end is ended, and the test with it.
    pub fn finish(&self, mut child: Child) -> Run {
        let (out, talk) = (reader(child.stdout.take()), reader(child.stderr.take()));
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if begun.elapsed() > Duration::from_secs(30) {
                child.kill().unwrap();
                panic!("it does not end: {}", talk.join().unwrap());
            }
            thread::sleep(Duration::from_millis(2));
        };
        let text = |reader: JoinHandle<String>| self.redacted(&reader.join().unwrap());
        Run {
            code: status.code().unwrap_or(-1),
            stdout: text(out),
            stderr: text(talk),
        }
    }

    /// Without what differs from run to run.
    fn redacted(&self, text: &str) -> String {
        text.replace(&self.home.path().display().to_string(), "~")
    }

    pub fn server(&self) -> &TestServer {
        self.server.as_ref().unwrap()
    }
}

fn reader(stream: Option<impl Read + Send + 'static>) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            let _ = stream.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// A manifest of a Task.
pub fn task(name: &str, spec: &str) -> String {
    format!("apiVersion: cube/v1\nkind: Task\nmetadata:\n  name: {name}\nspec:\n  image: busybox\n{spec}")
}

/// A manifest of a Deployment.
pub fn deployment(name: &str, replicas: u32) -> String {
    format!(
        "apiVersion: cube/v1\nkind: Deployment\nmetadata:\n  name: {name}\nspec:\n  replicas: {replicas}\n  template:\n    \
         spec:\n      image: nginx:1.27\n"
    )
}

/// A world whose clock stands and whose ids count.
#[derive(Default)]
struct Still(AtomicU64);

impl Source for Still {
    fn now(&self) -> jiff::Timestamp {
        "2100-01-02T03:04:05Z".parse().unwrap()
    }

    fn uuid(&self) -> Uuid {
        Uuid::from_u64_pair(0, self.random())
    }

    fn random(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// Containers' output: three lines of each Task, one each second, in turns.
struct Output;

#[async_trait]
impl Containers for Output {
    async fn logs(
        &self,
        task: &Task,
        options: LogOptions,
    ) -> Result<BoxStream<'static, Result<Bytes, String>>, ApiError> {
        let name = task.metadata.name.clone();
        let offset = name.bytes().last().unwrap_or_default() % 10;
        let from = 3 - options.tail.unwrap_or(3).min(3);
        let lines = (from..3).map(move |n| {
            let time = match options.timestamps {
                true => format!("2030-01-01T00:00:0{n}.{offset}Z "),
                false => String::new(),
            };
            Ok(Bytes::from(format!("{time}line {n} of {name}\n")))
        });
        Ok(stream::iter(lines.collect::<Vec<_>>()).boxed())
    }

    async fn figures(&self, node: &str, _: Vec<String>) -> Result<Measured, ApiError> {
        Err(ApiError::unavailable(format!("there is no worker of node {node}")))
    }

    /// A program that repeats its input, and then says what it is, as an error; it ends with the number of its words.
    async fn exec(&self, _: &Task, options: ExecOptions) -> Result<Program, ApiError> {
        let (input, told) = tokio::sync::mpsc::channel(1);
        let (say, said) = tokio::sync::mpsc::channel(1);
        tokio::spawn(async move {
            let mut inputs = options.stdin.then_some(told);
            while let Some(told) = &mut inputs
                && let Some(Told::Input(bytes)) = told.recv().await
            {
                let _ = say.send(Said::Output { stderr: false, bytes }).await;
            }
            let bytes = format!("{:?}\n", options.command).into();
            let _ = say.send(Said::Output { stderr: true, bytes }).await;
            let _ = say.send(Said::Ended(options.command.len() as i64)).await;
        });
        let output = stream::unfold(said, |mut said| async { said.recv().await.map(|next| (next, said)) });
        Ok(Program {
            input,
            output: output.boxed(),
        })
    }
}

/// A server with no engine behind it.
pub struct TestServer {
    runtime: tokio::runtime::Runtime,
    ending: CancellationToken,
    pub registry: Registry,
}

impl TestServer {
    fn start(socket: &Path) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let registry = runtime
            .block_on(Registry::open(
                Store::memory(Options::default()),
                World::new(Still::default()),
            ))
            .unwrap();
        let ending = CancellationToken::new();
        let state = ServerState {
            registry: registry.clone(),
            containers: Arc::new(Output),
            door: None,
            scheduling_policy: Default::default(),
            recorder: None,
            info: json!({}),
        };
        let listener = runtime
            .block_on(async { tokio::net::UnixListener::bind(socket) })
            .unwrap();
        runtime.spawn(server::serve(listener, state, ending.clone()));
        Self {
            runtime,
            ending,
            registry,
        }
    }

    /// Sets the status of an object, as a loop or worker would.
    pub fn set_status(&self, kind: Kind, name: &str, status: &Value) {
        let namespace = if kind.info().namespaced { "default" } else { "" };
        let mut object = self.registry.get(kind, namespace, name).unwrap();
        if let Some(node) = status["node"].as_str()
            && object.to_value()["status"]["node"].is_null()
        {
            // The binding alone gives a node, and wants one that is there at that moment.
            let made = self.registry.get(Kind::Node, "", node).is_err();
            if made {
                self.create(Kind::Node, serde_json::json!({ "metadata": { "name": node } }));
            }
            let (uid, revision) = (object.uid().to_owned(), object.revision());
            let binding = self.registry.bind(namespace, name, &uid, node, revision);
            object = self.runtime.block_on(binding).unwrap();
            if made {
                self.delete(Kind::Node, node);
            }
        }
        self.runtime
            .block_on(self.registry.transact(vec![Write::status(&object, status)]))
            .unwrap();
    }

    /// A Task leaves its node, and is as it says there on the next.
    pub fn move_task(&self, name: &str, status: &Value) {
        let task = self.registry.get(Kind::Task, "default", name).unwrap();
        let (reason, message) = ("Rebalanced".to_owned(), String::new());
        let write = Write::Release { task, reason, message };
        self.runtime.block_on(self.registry.transact(vec![write])).unwrap();
        self.set_status(Kind::Task, name, status);
    }

    /// Makes an object, as a loop would.
    pub fn create(&self, kind: Kind, value: Value) {
        self.runtime
            .block_on(self.registry.transact(vec![Write::Create(kind, value)]))
            .unwrap();
    }

    /// Applies an object, as a source would.
    pub fn apply_as(&self, manager: &str, value: Value) {
        let request = cube::registry::ApplyRequest {
            manager: manager.to_owned(),
            objects: vec![value],
            ..Default::default()
        };
        self.runtime.block_on(self.registry.apply(&request));
    }

    /// Removes an object at once.
    pub fn delete(&self, kind: Kind, name: &str) {
        let namespace = if kind.info().namespaced { "default" } else { "" };
        let options = cube::registry::DeleteOptions {
            grace_seconds: Some(0),
            ..Default::default()
        };
        self.runtime
            .block_on(self.registry.delete(kind, namespace, name, &options))
            .unwrap();
    }

    /// Takes the finalizers off a Task, as who holds it would.
    pub fn release(&self, name: &str) {
        let object = self.registry.get(Kind::Task, "default", name).unwrap();
        let write = Write::edit(&object, |value| value["metadata"]["finalizers"] = json!([]));
        self.runtime.block_on(self.registry.transact(vec![write])).unwrap();
    }

    /// Waits until an object is so.
    pub fn wait_for(&self, kind: Kind, name: &str, holds: impl Fn(&Value) -> bool) {
        for _ in 0..500 {
            let namespace = if kind.info().namespaced { "default" } else { "" };
            if self
                .registry
                .get(kind, namespace, name)
                .is_ok_and(|object| holds(&object.to_value()))
            {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("{kind:?} {name} did not become so");
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.ending.cancel();
    }
}

/// The status of a Task that runs.
pub fn running(generation: u64) -> Value {
    json!({
        "phase": "Running", "reason": "Running", "node": "here", "containerID": "c0ffee", "observedGeneration": generation,
        "conditions": [{ "type": "Ready", "status": "True", "reason": "Running" }],
    })
}
