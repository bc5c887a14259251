//! An engine of the test's own that is restarted and killed: said on the Node, taken for unknown, adopted when it is back.
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::harness::{Cube, docker};

/// A private `dockerd`, with data and socket of its own.
struct Dockerd {
    directory: tempfile::TempDir,
    child: Option<Child>,
}

impl Dockerd {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut dockerd = Self { directory, child: None };
        dockerd.run();
        let image = dockerd.directory.path().join("busybox.tar");
        docker(None, &["save", "--output", image.to_str().unwrap(), "busybox"]);
        docker(
            Some(&dockerd.address()),
            &["load", "--quiet", "--input", image.to_str().unwrap()],
        );
        dockerd
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    fn address(&self) -> String {
        format!("unix://{}", self.path("docker.sock"))
    }

    /// Starts it, as often as it takes: after a kill the first try is known to fail.
    fn run(&mut self) {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(120) {
            let log = std::fs::File::create(self.path("log")).unwrap();
            // In a network of its own: without a bridge it would take away the other engine's.
            let child = Command::new("unshare")
                .args(["--net", "dockerd"])
                .args(["--data-root", &self.path("data"), "--exec-root", &self.path("run")])
                .args(["--pidfile", &self.path("pid"), "--host", &self.address()])
                .args([
                    "--bridge",
                    "none",
                    "--iptables=false",
                    "--ip6tables=false",
                    "--ip-forward=false",
                ])
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

    fn signal(&mut self, signal: rustix::process::Signal) {
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

/// What a killed engine left mounted would keep the directory from being removed.
fn unmount(root: &Path) {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    let below = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    for mount in below.filter(|mount| Path::new(mount).starts_with(root)) {
        let _ = Command::new("umount").args(["--lazy", mount]).status();
    }
}

fn task(name: &str) -> String {
    format!(
        "apiVersion: cube/v1\nkind: Task\nmetadata: {{ name: {name} }}\nspec: {{ image: busybox, init: true, network: none, command: [sleep, '100000'] }}\n"
    )
}

#[test]
fn an_engine_that_is_restarted_or_killed_loses_nothing() {
    let mut dockerd = Dockerd::start();
    let mut cube = Cube::new().on_engine(&dockerd.address());
    for name in ["a", "b"] {
        cube.write(&format!("{name}.yaml"), &task(name));
    }
    cube.start();
    cube.await_running("a");
    cube.await_running("b");

    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::KILL] {
        dockerd.signal(signal);
        let node = cube.node();
        let ready = |cube: &Cube| {
            let conditions = cube.object("node", &node)["status"]["conditions"].clone();
            let ready = conditions
                .as_array()
                .unwrap()
                .iter()
                .find(|one| one["type"] == "EngineReady")
                .cloned();
            ready.unwrap()["status"].as_str().unwrap().to_owned()
        };
        cube.await_true("the node says that its engine is away", || ready(&cube) == "False");
        dockerd.run();
        cube.await_true("the node is ready again", || ready(&cube) == "True");
        for name in ["a", "b"] {
            let label = format!("label=cube.task={name}");
            cube.await_true("one container runs", || {
                cube.containers(&[&label, "status=running"]).len() == 1 && cube.containers(&[&label]).len() == 1
            });
            let container = cube.container(name);
            let status = cube.await_status(name, "that it runs", |status| {
                status["containerID"] == container.as_str()
            });
            // Having been stopped with the engine is nobody's failure.
            assert_eq!(status["failures"].as_u64().unwrap_or(0), 0, "{status}");
            assert_eq!(status["restarts"].as_u64().unwrap_or(0), 0, "{status}");
        }
    }
    // A machine that stops takes Cube first, then the engine; both come back.
    cube.interrupt();
    dockerd.signal(rustix::process::Signal::TERM);
    dockerd.run();
    cube.start();
    for name in ["a", "b"] {
        let status = cube.await_running(name);
        assert_eq!(status["failures"].as_u64().unwrap_or(0), 0, "{status}");
        assert_eq!(status["restarts"].as_u64().unwrap_or(0), 0, "{status}");
    }
    cube.down();
}
