//! A proxy between Cube and the engine that notes when each call began and when its answer did.
//!
//! It looks at the first bytes of what passes and changes nothing. Assumption: one request at a time on a connection, as
//! HTTP/1.1 clients have it that do not pipeline.
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

use crate::Result;

/// A call of the engine.
#[derive(Clone, Debug)]
pub struct Call {
    /// `POST /v1.41/containers/create?name=…`
    pub line: String,
    pub began: Instant,
    pub answered: Option<Instant>,
}

impl Call {
    pub fn is_create(&self) -> bool {
        self.line.starts_with("POST ") && self.line.contains("/containers/create")
    }

    pub fn is_start(&self) -> bool {
        self.line.starts_with("POST ") && self.line.ends_with("/start")
    }

    pub fn took(&self) -> Duration {
        self.answered
            .map_or(Duration::ZERO, |answered| answered.duration_since(self.began))
    }
}

type Calls = Arc<Mutex<Vec<Call>>>;

/// The proxy.
pub struct Tap {
    directory: tempfile::TempDir,
    calls: Calls,
}

impl Tap {
    /// Before the engine at the usual socket.
    pub fn open() -> Result<Self> {
        let engine = std::env::var("DOCKER_HOST").unwrap_or_default();
        let engine = engine.strip_prefix("unix://").unwrap_or("/var/run/docker.sock");
        let engine = PathBuf::from(engine);
        let directory = tempfile::tempdir()?;
        let listener = UnixListener::bind(directory.path().join("tap.sock"))?;
        let calls = Calls::default();
        let noted = calls.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (engine, noted) = (engine.clone(), noted.clone());
                tokio::spawn(async move {
                    let _ = pass(client, &engine, &noted).await;
                });
            }
        });
        Ok(Self { directory, calls })
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("tap.sock")
    }

    /// Takes the calls that were noted.
    pub fn take(&self) -> Vec<Call> {
        std::mem::take(&mut *self.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn pass(mut client: UnixStream, engine: &Path, calls: &Calls) -> Result<()> {
    let mut engine = UnixStream::connect(engine).await?;
    let (mut asked, mut answered) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let mut open: Option<usize> = None;
    loop {
        tokio::select! {
            biased;
            read = client.read(&mut asked) => {
                let bytes = &asked[..read?];
                if bytes.is_empty() {
                    return Ok(());
                }
                if let Some(line) = request_line(bytes) {
                    let mut calls = calls.lock().unwrap_or_else(PoisonError::into_inner);
                    calls.push(Call { line, began: Instant::now(), answered: None });
                    open = Some(calls.len() - 1);
                }
                engine.write_all(bytes).await?;
            }
            read = engine.read(&mut answered) => {
                let bytes = &answered[..read?];
                if bytes.is_empty() {
                    return Ok(());
                }
                if let Some(at) = open.take()
                    && let Some(call) = calls.lock().unwrap_or_else(PoisonError::into_inner).get_mut(at)
                {
                    call.answered = Some(Instant::now());
                }
                client.write_all(bytes).await?;
            }
        }
    }
}

/// Method and path, if a request begins here.
fn request_line(bytes: &[u8]) -> Option<String> {
    let line = bytes.split(|byte| *byte == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?;
    line.strip_suffix(" HTTP/1.1").map(str::to_owned)
}
