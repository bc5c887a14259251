//! The binary at work: a data directory, a socket and a directory of manifests of its own.
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::process::binary;
use crate::wire::Wire;
use cube::client::{Client, Endpoint, Selection, Watch, WatchEvent};
use cube::world::World;
use cube_api::kinds::Kind;
use http::Method;
use serde_json::Value;

use crate::{Fault, Result};

/// Nothing that is measured takes so long.
pub const LIMIT: Duration = Duration::from_secs(180);

/// Which engine a cube has.
#[derive(Clone)]
pub enum Engine {
    /// The machine's own.
    Docker,
    /// The same, through a socket of ours.
    Through(PathBuf),
    /// One that pretends.
    Pretended(PathBuf),
    /// One that ends with what is measured, so that nothing on it need be swept away.
    Private(PathBuf),
}

/// A cube that is up.
pub struct Cube {
    /// On the disk that counts, not in a memory file system.
    data: tempfile::TempDir,
    /// Sockets want short paths.
    run: tempfile::TempDir,
    child: Child,
    engine: Engine,
    /// Whether there may be containers of it.
    sweep: bool,
}

impl Cube {
    /// Starts `cube up`, and waits until it is ready; how long that took is the second value.
    pub async fn up(engine: &Engine) -> Result<(Self, Duration)> {
        let data = tempfile::Builder::new()
            .prefix("cube-bench-")
            .tempdir_in(binary()?.parent().unwrap_or(Path::new(".")))?;
        let run = tempfile::tempdir()?;
        fs::create_dir(data.path().join("manifests"))?;
        let began = Instant::now();
        let cube = Self {
            child: spawn(engine, data.path(), run.path())?,
            engine: engine.clone(),
            data,
            run,
            sweep: !matches!(engine, Engine::Pretended(_) | Engine::Private(_)),
        };
        cube.await_ready(began).await?;
        let took = began.elapsed();
        cube.await_node().await?;
        Ok((cube, took))
    }

    /// Kills it, and nothing that it looks after.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts it again with the data that it has, and waits until it is ready.
    pub async fn again(&mut self) -> Result<Duration> {
        let began = Instant::now();
        self.child = spawn(&self.engine, self.data.path(), self.run.path())?;
        self.await_ready(began).await?;
        Ok(began.elapsed())
    }

    async fn await_ready(&self, began: Instant) -> Result<()> {
        while !self.is_ready().await {
            if began.elapsed() > LIMIT {
                return Err(format!("cube up is not ready: {}", self.log()).into());
            }
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
        Ok(())
    }

    async fn is_ready(&self) -> bool {
        let ready = async { self.wire().await?.send(Method::GET, "/readyz", "").await };
        matches!(ready.await, Ok((200, _)))
    }

    /// Until it has heard of its engine: no figure is to include that.
    async fn await_node(&self) -> Result<()> {
        let began = Instant::now();
        loop {
            let node = self.client().get(Kind::Node, "", "bench").await.unwrap_or_default();
            let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
            if conditions
                .iter()
                .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
            {
                return Ok(());
            }
            if began.elapsed() > LIMIT {
                return Err(format!("the node is not ready: {}", self.log()).into());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// What it printed.
    pub fn log(&self) -> String {
        fs::read_to_string(self.data.path().join("log")).unwrap_or_default()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn socket(&self) -> PathBuf {
        self.run.path().join("cube.sock")
    }

    pub fn data(&self) -> &Path {
        self.data.path()
    }

    pub fn client(&self) -> Client {
        Client::new(Endpoint::Unix(self.socket()), World::real().network())
    }

    pub async fn wire(&self) -> Result<Wire> {
        Wire::open(&self.socket()).await
    }

    fn manifest(&self, name: &str) -> PathBuf {
        self.data.path().join("manifests").join(name)
    }

    /// Writes a file of the directory; gives the moment at which it was closed.
    pub fn write(&self, name: &str, text: &str) -> Result<Instant> {
        let mut file = File::create(self.manifest(name))?;
        file.write_all(text.as_bytes())?;
        let closed = Instant::now();
        drop(file);
        Ok(closed)
    }

    pub fn remove(&self, name: &str) -> Result<()> {
        Ok(fs::remove_file(self.manifest(name))?)
    }

    /// Runs a verb.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(binary()?);
        command.args(arguments).stdin(Stdio::null());
        command.env("CUBE_SERVER", format!("unix://{}", self.socket().display()));
        let output = command.output()?;
        if !output.status.success() {
            return Err(format!("cube {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The store's revision: one more for each object that was written.
    pub async fn revision(&self) -> Result<u64> {
        let info = self.client().info().await?;
        info["revision"].as_u64().ok_or_else(|| "no revision".into())
    }

    /// A watch of Tasks from now on.
    pub async fn tasks(&self) -> Result<Tasks> {
        let list = self.client().list(Kind::Task, &Selection::default()).await?;
        let watch = self
            .client()
            .watch(
                Kind::Task,
                &Selection::default(),
                &list.revision,
                cube::client::Form::Objects,
            )
            .await?;
        Ok(Tasks {
            watch,
            said: "none".to_owned(),
        })
    }

    /// Takes away all that it has on the engine, and ends it.
    pub fn down(mut self) -> Result<()> {
        self.sweep = false;
        self.take_down()
    }

    fn take_down(&self) -> Result<()> {
        let data = self.data.path().join("data");
        self.run(&["down", "--yes", "--data-dir", &data.to_string_lossy()])?;
        Ok(())
    }
}

impl Drop for Cube {
    fn drop(&mut self) {
        // A figure that was broken off leaves nothing behind either.
        if self.sweep
            && let Err(error) = self.take_down()
        {
            eprintln!("{error}");
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts the process.
fn spawn(engine: &Engine, data: &Path, run: &Path) -> Result<Child> {
    let mut command = Command::new(binary()?);
    command.arg("up").arg(data.join("manifests"));
    command.arg("--data-dir").arg(data.join("data"));
    command.arg("--socket").arg(run.join("cube.sock"));
    command.args(["--node-name", "bench"]);
    if let Engine::Through(socket) | Engine::Pretended(socket) | Engine::Private(socket) = engine {
        command.env("DOCKER_HOST", format!("unix://{}", socket.display()));
    }
    let log = File::create(data.join("log"))?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    Ok(command.spawn()?)
}

/// What becomes of Tasks.
pub struct Tasks {
    watch: Watch,
    /// What was last said of one, for who waits in vain.
    said: String,
}

impl Tasks {
    async fn next(&mut self) -> Result<WatchEvent> {
        let next = tokio::time::timeout(LIMIT, self.watch.next()).await;
        let waited = |_| Fault::from(format!("waited in vain for Tasks; the last word is {}", self.said));
        let event = next.map_err(waited)??.ok_or("the watch ended")?;
        if let WatchEvent::Added(task) | WatchEvent::Modified(task) = &event {
            let status = &task["status"];
            let [reason, message] = ["reason", "message"].map(|name| status[name].as_str().unwrap_or_default());
            self.said = format!("{}: {reason}: {message}", task["metadata"]["name"]);
        }
        Ok(event)
    }

    /// The moment at which `is` was first seen of some Task.
    pub async fn until(&mut self, mut is: impl FnMut(&Value) -> bool) -> Result<Instant> {
        loop {
            if let WatchEvent::Added(task) | WatchEvent::Modified(task) = self.next().await?
                && is(&task)
            {
                return Ok(Instant::now());
            }
        }
    }

    /// The moments at which the first and the last of these Tasks were seen running.
    pub async fn running(&mut self, mut names: BTreeSet<String>) -> Result<(Instant, Instant)> {
        let mut first = None;
        loop {
            let at = self
                .until(|task| is_running(task) && names.remove(task["metadata"]["name"].as_str().unwrap_or_default()))
                .await?;
            let first = *first.get_or_insert(at);
            if names.is_empty() {
                return Ok((first, at));
            }
        }
    }

    /// The moment at which the last of these Tasks was gone.
    pub async fn gone(&mut self, mut names: BTreeSet<String>) -> Result<Instant> {
        while !names.is_empty() {
            if let WatchEvent::Deleted(task) = self.next().await? {
                names.remove(task["metadata"]["name"].as_str().unwrap_or_default());
            }
        }
        Ok(Instant::now())
    }
}

pub fn is_running(task: &Value) -> bool {
    task["status"]["phase"] == "Running" && task["status"]["reason"] == "Running"
}

/// Names `PREFIX-0`, `PREFIX-1`, ….
pub fn names(prefix: &str, many: usize) -> BTreeSet<String> {
    (0..many).map(|n| format!("{prefix}-{n}")).collect()
}

/// Tasks that sleep until they are told to stop, and obey at once.
pub fn sleepers(names: &BTreeSet<String>, network: &str) -> String {
    let mut text = String::new();
    for name in names {
        let _ = write!(
            text,
            "---\napiVersion: cube/v1\nkind: Task\nmetadata:\n  name: {name}\nspec:\n  image: busybox\n  init: true\n"
        );
        let _ = writeln!(text, "  command: [sleep, \"100000\"]");
        if !network.is_empty() {
            let _ = writeln!(text, "  network: {network}");
        }
    }
    text
}
