//! Engines of the tests' own, to be stopped and killed without harm to the machine's.
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::harness::docker;

/// A private `dockerd`, with data and socket of its own.
pub struct Dockerd {
    directory: tempfile::TempDir,
    child: Option<Child>,
    /// With a bridge and rules, in a network of its own: containers reach one another, and nobody else.
    networked: bool,
}

impl Dockerd {
    pub fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), false)
    }

    /// One that has all that belongs to networks, which is nobody else's.
    pub fn with_network() -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), true)
    }

    /// One whose data is in that directory.
    pub fn start_in(directory: tempfile::TempDir, networked: bool) -> Self {
        let mut dockerd = Self {
            directory,
            child: None,
            networked,
        };
        dockerd.run();
        let image = dockerd.directory.path().join("busybox.tar");
        docker(None, &["save", "--output", image.to_str().unwrap(), "busybox"]);
        docker(
            Some(&dockerd.address()),
            &["load", "--quiet", "--input", image.to_str().unwrap()],
        );
        dockerd
    }

    pub fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    pub fn address(&self) -> String {
        format!("unix://{}", self.path("docker.sock"))
    }

    /// The process, whose network is also that of its rules and of its containers' outer ends.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Kills it, and nothing else of it: its containerd stands in the way of the next one for a while.
    pub fn kill_alone(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Starts it, as often as it takes: after a kill the first try is known to fail.
    pub fn run(&mut self) {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(120) {
            let log = std::fs::File::create(self.path("log")).unwrap();
            // In a network of its own: without a bridge it would take away the other engine's.
            let without_network = [
                "--bridge",
                "none",
                "--iptables=false",
                "--ip6tables=false",
                "--ip-forward=false",
            ];
            let child = Command::new("unshare")
                .args(["--net", "dockerd"])
                .args(["--data-root", &self.path("data"), "--exec-root", &self.path("run")])
                .args(["--pidfile", &self.path("pid"), "--host", &self.address()])
                .args(if self.networked { &[][..] } else { &without_network })
                .stdin(Stdio::null())
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn()
                .expect("no dockerd");
            self.child = Some(child);
            while self.child.as_mut().unwrap().try_wait().unwrap().is_none() {
                let mut version = Command::new("docker");
                version.env("DOCKER_HOST", self.address()).arg("version");
                if version
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .status()
                    .unwrap()
                    .success()
                {
                    return;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        panic!(
            "dockerd does not start: {}",
            std::fs::read_to_string(self.path("log")).unwrap()
        );
    }

    pub fn signal(&mut self, signal: rustix::process::Signal) {
        let child = self.child.as_mut().unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).unwrap();
        child.wait().unwrap();
        self.child = None;
        if signal == rustix::process::Signal::KILL {
            // Its containerd goes on alone and would stand in the way of the next one.
            if let Ok(pid) = std::fs::read_to_string(self.path("run/containerd/containerd.pid")) {
                let pid = pid.trim().parse().ok().and_then(rustix::process::Pid::from_raw);
                let _ = rustix::process::kill_process(pid.unwrap(), rustix::process::Signal::KILL);
            }
        }
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        if self.child.is_some() {
            let address = self.address();
            if std::thread::panicking() {
                self.signal(rustix::process::Signal::KILL);
                end_containers(self.directory.path());
                return unmount(self.directory.path());
            }
            for id in docker(Some(&address), &["ps", "--all", "--quiet"]).lines() {
                docker(Some(&address), &["rm", "--force", id]);
            }
            self.signal(rustix::process::Signal::TERM);
        }
        unmount(self.directory.path());
    }
}

/// Ends what runs on after its engine: the containers' keepers, which name its directory, and their programs.
fn end_containers(root: &Path) {
    let kill = |pid: i32| {
        if let Some(pid) = rustix::process::Pid::from_raw(pid) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    };
    let root = root.display().to_string();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    for pid in processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()) {
        let said = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let said = String::from_utf8_lossy(&said).into_owned();
        if said.contains("containerd-shim") && said.contains(&root) {
            let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
            children
                .split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .for_each(kill);
            kill(pid);
        }
    }
}

/// What a killed engine left mounted would keep the directory from being removed.
fn unmount(root: &Path) {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    let below = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    for mount in below.filter(|mount| Path::new(mount).starts_with(root)) {
        let _ = Command::new("umount").args(["--lazy", mount]).status();
    }
}
