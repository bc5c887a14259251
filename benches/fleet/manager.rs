//! The manager that is measured: the binary as it is shipped, in a process of its own, on a disk that counts.
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cube::client::{Client, Endpoint};
use cube::world::World;
use cube_bench::process::{self, binary, kilobytes};
use cube_bench::wire::Wire;
use http::Method;
use serde_json::Value;

use crate::Result;

/// Nothing that is waited for takes so long.
pub const LIMIT: Duration = Duration::from_secs(600);

pub struct Manager {
    /// Not in a memory file system.
    data: tempfile::TempDir,
    /// Sockets want short paths.
    run: tempfile::TempDir,
    child: Child,
}

impl Manager {
    /// Begins a manager on a fresh data directory, and waits until it is ready.
    pub async fn begin() -> Result<Self> {
        let own = binary()?;
        let data = tempfile::Builder::new()
            .prefix("cube-fleet-")
            .tempdir_in(own.parent().unwrap_or(Path::new(".")))?;
        let run = tempfile::tempdir()?;
        let child = spawn(data.path(), run.path())?;
        let manager = Self { data, run, child };
        manager.await_ready().await?;
        Ok(manager)
    }

    /// Kills it as a power cut would, and begins it again on the same data; gives the time from its start until it is ready.
    pub async fn begin_again(&mut self) -> Result<Duration> {
        self.child.kill()?;
        self.child.wait()?;
        self.child = spawn(self.data.path(), self.run.path())?;
        self.await_ready().await
    }

    async fn await_ready(&self) -> Result<Duration> {
        let began = Instant::now();
        loop {
            let ready = async { self.wire().await?.send(Method::GET, "/readyz", "").await };
            if matches!(ready.await, Ok((200, _))) {
                return Ok(began.elapsed());
            }
            if began.elapsed() > LIMIT {
                return Err(format!("the manager is not ready: {}", self.log()).into());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
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
        socket(self.run.path())
    }

    pub async fn wire(&self) -> Result<Wire> {
        Wire::open(&self.socket()).await
    }

    pub fn client(&self) -> Client {
        Client::new(Endpoint::Unix(self.socket()), World::real().network())
    }

    /// The store's revision: one more for each object that was written.
    pub async fn revision(&self) -> Result<u64> {
        let info = self.client().info().await?;
        info["revision"].as_u64().ok_or_else(|| "no revision".into())
    }

    /// Sends a request that has to go well.
    pub async fn ask(&self, method: Method, target: &str, body: &Value) -> Result<Value> {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let (code, text) = self.wire().await?.send(method, target, body).await?;
        match code {
            200..300 => Ok(serde_json::from_slice(&text)?),
            _ => Err(format!("{target}: code {code}: {}", String::from_utf8_lossy(&text)).into()),
        }
    }

    /// Processor time so far.
    pub fn spent(&self) -> Result<Duration> {
        process::spent(self.pid())
    }

    /// Resident now, and at most so far, in MiB.
    pub fn memory(&self) -> Result<(f64, f64)> {
        let mebibytes = |field| Ok::<_, crate::Fault>(kilobytes(self.pid(), "status", field)? / 1024.0);
        Ok((mebibytes("VmRSS:")?, mebibytes("VmHWM:")?))
    }

    /// Forgets how much was resident at most.
    pub fn forget_peak(&self) -> Result<()> {
        Ok(fs::write(format!("/proc/{}/clear_refs", self.pid()), "5")?)
    }

    /// The size of the store's file, in MiB.
    pub fn stored(&self) -> Result<f64> {
        let size = fs::metadata(cube::daemon::store_file(&self.data.path().join("data")))?.len();
        Ok(size as f64 / f64::from(1 << 20))
    }
}

fn socket(run: &Path) -> PathBuf {
    run.join("cube.sock")
}

fn spawn(data: &Path, run: &Path) -> Result<Child> {
    let mut command = Command::new(binary()?);
    command.arg("manager").arg("--data-dir").arg(data.join("data"));
    command.arg("--socket").arg(socket(run));
    let log = File::options().create(true).append(true).open(data.join("log"))?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    Ok(command.spawn()?)
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
