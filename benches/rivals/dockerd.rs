//! A private engine for one measurement: data and socket of its own, nothing on it but the image.
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bollard::query_parameters::ListContainersOptionsBuilder;
use bollard::{API_DEFAULT_VERSION, Docker};
use cube_bench::Result;
use cube_bench::process::binary;
use rustix::process::{Pid, Signal, kill_process};

/// A start takes 1.5 s; after a kill the first ones are known to fail.
const START_LIMIT: Duration = Duration::from_secs(120);
/// The engine gives its containers 10 s, and thirty take a while.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// The engine. Assumes that no other one uses the network that this program is in: `dev/rivals` makes one for it.
pub struct Dockerd {
    /// On the disk that counts, not in a memory file system.
    data: tempfile::TempDir,
    /// Sockets want short paths.
    run: tempfile::TempDir,
    child: Mutex<Option<Child>>,
    docker: Docker,
}

impl Dockerd {
    /// Starts one that has the image of that tar.
    pub async fn start(image: &Path) -> Result<Self> {
        let data = tempfile::Builder::new()
            .prefix("rivals-")
            .tempdir_in(binary()?.parent().unwrap_or(Path::new(".")))?;
        let run = tempfile::Builder::new().prefix("rivals-").tempdir()?;
        let socket = run.path().join("docker.sock");
        // The socket is there later; connecting waits for the first call, but wants a file by then.
        File::create(&socket)?;
        let docker = Docker::connect_with_unix(&socket.display().to_string(), 120, API_DEFAULT_VERSION)?;
        fs::remove_file(&socket)?;
        let dockerd = Self {
            data,
            run,
            child: Mutex::default(),
            docker,
        };
        dockerd.run().await?;
        let image = image.display().to_string();
        dockerd.ask("docker", &["load", "--quiet", "--input", &image]).await?;
        Ok(dockerd)
    }

    /// Starts the process, as often as it takes, and waits until it answers; gives the moment at which the one that answers
    /// was started.
    pub async fn run(&self) -> Result<Instant> {
        let began = Instant::now();
        while began.elapsed() < START_LIMIT {
            let log = File::create(self.data.path().join("log"))?;
            let mut command = Command::new("dockerd");
            command.arg("--data-root").arg(self.data.path().join("data"));
            command.arg("--exec-root").arg(self.run.path().join("exec"));
            command.arg("--pidfile").arg(self.run.path().join("pid"));
            command.args(["--host", &self.address()]);
            command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
            let spawned = Instant::now();
            let mut child = command.spawn()?;
            while child.try_wait()?.is_none() && began.elapsed() < START_LIMIT {
                if self.docker.ping().await.is_ok() {
                    *self.child() = Some(child);
                    return Ok(spawned);
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let _ = child.kill();
            child.wait()?;
        }
        let log = fs::read_to_string(self.data.path().join("log")).unwrap_or_default();
        Err(format!("dockerd does not start: {log}").into())
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn socket(&self) -> PathBuf {
        self.run.path().join("docker.sock")
    }

    fn address(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    pub fn docker(&self) -> &Docker {
        &self.docker
    }

    /// How many containers there are, running or not.
    pub async fn containers(&self) -> Result<usize> {
        let all = ListContainersOptionsBuilder::new().all(true).build();
        Ok(self.docker.list_containers(Some(all)).await?.len())
    }

    /// A directory for files that belong to the measurement.
    pub fn files(&self) -> &Path {
        self.data.path()
    }

    /// Runs a program that talks to this engine; gives what it printed.
    pub async fn ask(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(program);
        command.args(arguments).env("DOCKER_HOST", self.address());
        command.current_dir(self.data.path()).stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || command.output()).await??;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{program} {}: {}", arguments.join(" "), said.trim()).into());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The engine's processes, without those of containers.
    pub fn pids(&self) -> Result<Vec<u32>> {
        let own = self.child().as_ref().map(Child::id).ok_or("dockerd does not run")?;
        let containerd = self.containerd().ok_or("containerd does not run")?;
        Ok(vec![own, containerd.as_raw_nonzero().get().cast_unsigned()])
    }

    /// Kills it with its containerd, as the machine's memory killer may; the containers run on.
    pub fn kill(&self) -> Result<()> {
        let Some(mut child) = self.child().take() else {
            return Ok(());
        };
        child.kill()?;
        child.wait()?;
        // Alone it would stand in the way of the next engine for a while.
        kill_process(self.containerd().ok_or("containerd does not run")?, Signal::KILL)?;
        Ok(())
    }

    /// The pid of its containerd, which is a process of its own.
    fn containerd(&self) -> Option<Pid> {
        let file = self.run.path().join("exec/containerd/containerd.pid");
        Pid::from_raw(fs::read_to_string(file).ok()?.trim().parse().ok()?)
    }

    /// Asks it to end, and waits.
    pub fn stop(&self) -> Result<()> {
        let Some(mut child) = self.child().take() else {
            return Ok(());
        };
        kill_process(Pid::from_child(&child), Signal::TERM)?;
        let began = Instant::now();
        while began.elapsed() < STOP_LIMIT {
            if child.try_wait()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        child.kill()?;
        child.wait()?;
        Err("dockerd did not stop, and was killed".into())
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("{error}");
        }
        // Whatever ended the engine, what it kept must not outlive the measurement.
        if let Some(pid) = self.containerd()
            && fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero()))
                .is_ok_and(|name| name.trim() == "containerd")
        {
            let _ = kill_process(pid, Signal::KILL);
        }
        end_containers(self.run.path());
        unmount(&[self.data.path(), self.run.path()]);
    }
}

/// Ends the containers' keepers, which name the directory of their engine, and their programs.
fn end_containers(root: &Path) {
    let kill = |pid: i32| {
        if let Some(pid) = Pid::from_raw(pid) {
            let _ = kill_process(pid, Signal::KILL);
        }
    };
    let root = root.display().to_string();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()) {
        let said = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let said = String::from_utf8_lossy(&said).into_owned();
        if said.contains("containerd-shim") && said.contains(&root) {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
            children
                .split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .for_each(kill);
            kill(pid);
        }
    }
}

/// What stays mounted would keep the directories from being removed.
fn unmount(roots: &[&Path]) {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(Path::new);
    for mount in points.filter(|mount| roots.iter().any(|root| mount.starts_with(root))) {
        // One that goes by itself in between is none that fails.
        let _ = Command::new("umount")
            .arg("--lazy")
            .arg(mount)
            .stderr(Stdio::null())
            .status();
    }
}
