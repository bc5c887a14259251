//! Workers with engines of their own, and Tasks for them.
use std::process::Command;

use serde_json::{Value, json};

use super::dockerd::Dockerd;
use super::harness::{Cube, Process, docker};

/// A worker and its engine.
pub struct Worker {
    pub name: &'static str,
    pub engine: Dockerd,
    pub process: Process,
}

/// A worker of that node with the engine at that address.
pub fn process(cube: &Cube, name: &str, engine: &str) -> Process {
    Process::spawn(command(cube, name, engine))
}

/// How that worker is started.
pub fn command(cube: &Cube, name: &str, engine: &str) -> Command {
    let data = cube.path(name);
    let arguments = [
        "worker",
        "--node-name",
        name,
        "--data-dir",
        data.to_str().unwrap(),
        "--docker-host",
        engine,
    ];
    cube.command(&arguments)
}

impl Worker {
    /// A worker that its manager knows.
    pub fn start(cube: &Cube, name: &'static str) -> Self {
        let engine = Dockerd::start();
        let process = process(cube, name, &engine.address());
        let worker = Self { name, engine, process };
        cube.await_true(&format!("node {name} is ready"), || worker.ready(cube) == "True");
        worker
    }

    pub fn start_again(&mut self, cube: &Cube) {
        self.process = process(cube, self.name, &self.engine.address());
    }

    /// What its Node says of it.
    pub fn ready(&self, cube: &Cube) -> String {
        let node = cube.object("node", self.name);
        let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ready = conditions.iter().find(|condition| condition["type"] == "Ready");
        ready.map_or_else(String::new, |ready| ready["status"].as_str().unwrap().to_owned())
    }

    /// The running containers of a Task, by the engine's word.
    pub fn running(&self, task: &str) -> Vec<String> {
        let label = format!("label=cube.task={task}");
        let listed = docker(
            Some(&self.engine.address()),
            &["ps", "--quiet", "--no-trunc", "--filter", &label],
        );
        listed.lines().map(str::to_owned).collect()
    }

    /// All that run there.
    pub fn all(&self) -> Vec<String> {
        let listed = docker(Some(&self.engine.address()), &["ps", "--quiet", "--no-trunc"]);
        listed.lines().map(str::to_owned).collect()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("worker {}:\n{}", self.name, self.process.lines().join("\n"));
        }
        // Where its clock is wrong, it is the child of what makes it so.
        let pid = self.process.child.id();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        for child in children.split_whitespace().filter_map(|pid| pid.parse().ok()) {
            if let Some(child) = rustix::process::Pid::from_raw(child) {
                let _ = rustix::process::kill_process(child, rustix::process::Signal::KILL);
            }
        }
        let _ = self.process.child.kill();
        let _ = self.process.child.wait();
    }
}

/// A Task that counts aloud, and is moved off a lost node after a second.
pub fn task(name: &str, more: &Value) -> String {
    let mut spec = json!({
        "image": "busybox", "init": true, "network": "none",
        "command": ["sh", "-c", "n=0; while true; do echo line $n; n=$((n + 1)); sleep 1; done"],
        "tolerations": [{ "key": "cube/unreachable", "operator": "Exists", "tolerationSeconds": 1 }],
    });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "apiVersion": "cube/v1", "kind": "Task", "metadata": { "name": name }, "spec": spec }).to_string()
}
