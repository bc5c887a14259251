//! A cube of a test's own: data directory, socket, manifests, and the real engine.
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longer than anything takes on a loaded machine; a test that waits so long has failed.
pub const LIMIT: Duration = Duration::from_secs(60);

/// One cube, up or down.
pub struct Cube {
    directory: tempfile::TempDir,
    process: Option<Process>,
    /// Options that each `up` gets.
    options: Vec<String>,
    /// The engine's address; none: the machine's own.
    engine: Option<String>,
    /// Whether it ever ran, and may have left containers.
    ran: bool,
    /// `up`, or `manager`.
    verb: &'static str,
    /// The binary: the one that was built with the tests, else what CUBE_BINARY or a test says.
    binary: PathBuf,
    /// What the processes that are started find in their environment.
    environment: Vec<(String, String)>,
}

/// A process whose lines are kept.
pub struct Process {
    pub child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Process {
    pub fn spawn(mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let streams: [Box<dyn std::io::Read + Send>; 2] = [
            Box::new(child.stdout.take().unwrap()),
            Box::new(child.stderr.take().unwrap()),
        ];
        for stream in streams {
            let lines = lines.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    lines.lock().unwrap().push(line);
                }
            });
        }
        Self { child, lines }
    }

    /// All that it has printed.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Cube {
    /// A cube with an empty directory of manifests, not up yet.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("manifests")).unwrap();
        Self {
            directory,
            process: None,
            options: Vec::new(),
            engine: None,
            ran: false,
            verb: "up",
            binary: std::env::var_os("CUBE_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_cube").into(), PathBuf::from),
            environment: Vec::new(),
        }
    }

    /// A manager without a worker of its own, that is up.
    pub fn manager() -> Self {
        let mut cube = Self::new().without_worker();
        cube.start();
        cube
    }

    /// The same without a worker of its own.
    pub fn without_worker(mut self) -> Self {
        self.verb = "manager";
        self
    }

    /// Processes that are started from now on are of that binary.
    pub fn set_binary(&mut self, binary: &Path) {
        self.binary = binary.to_owned();
    }

    /// The same with a variable in the environment of `cube up`.
    pub fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same with options for `cube up`.
    pub fn with(mut self, options: &[&str]) -> Self {
        self.options.extend(options.iter().map(|option| (*option).to_owned()));
        self
    }

    /// The same on another engine.
    pub fn on_engine(mut self, address: &str) -> Self {
        self.engine = Some(address.to_owned());
        self
    }

    /// A cube that is up.
    pub fn up() -> Self {
        let mut cube = Self::new();
        cube.start();
        cube
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn manifests(&self) -> PathBuf {
        self.path("manifests")
    }

    /// Writes a file of the watched directory.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.manifests().join(name), text).unwrap();
    }

    pub fn remove(&self, name: &str) {
        fs::remove_file(self.manifests().join(name)).unwrap();
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .args(arguments)
            .env("CUBE_SERVER", format!("unix://{}", self.path("cube.sock").display()))
            .env("NO_COLOR", "1")
            .env("COLUMNS", "200")
            .stdin(Stdio::null());
        if let Some(engine) = &self.engine {
            command.env("DOCKER_HOST", engine);
        }
        command
    }

    /// Starts `cube up`, and waits until it answers.
    pub fn start(&mut self) {
        self.spawn();
        let began = Instant::now();
        while !self.cube(&["get", "namespaces"]).status.success() {
            assert!(self.is_up(), "cube up has ended:\n{}", self.lines().join("\n"));
            assert!(
                began.elapsed() < LIMIT,
                "cube up does not answer:\n{}",
                self.lines().join("\n")
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts `cube up`.
    pub fn spawn(&mut self) {
        let (data, socket) = (self.path("data"), self.path("cube.sock"));
        let manifests = self.manifests();
        let mut arguments = vec![self.verb, manifests.to_str().unwrap()];
        let node = self.node();
        arguments.extend([
            "--data-dir",
            data.to_str().unwrap(),
            "--socket",
            socket.to_str().unwrap(),
        ]);
        if self.verb == "up" {
            arguments.extend(["--node-name", &node]);
        }
        arguments.extend(self.options.iter().map(String::as_str));
        let mut command = self.command(&arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        self.process = Some(Process::spawn(command));
        self.ran = true;
    }

    pub fn is_up(&mut self) -> bool {
        self.process
            .as_mut()
            .is_some_and(|process| process.child.try_wait().unwrap().is_none())
    }

    /// All that `cube up` has printed.
    pub fn lines(&self) -> Vec<String> {
        self.process.as_ref().map(Process::lines).unwrap_or_default()
    }

    pub fn await_line(&self, what: &str) -> String {
        self.await_some(what, || self.lines().into_iter().find(|line| line.contains(what)))
    }

    /// Ends `cube up` as Ctrl-C does, and gives its exit code.
    pub fn interrupt(&mut self) -> Option<i32> {
        self.signal(rustix::process::Signal::INT);
        self.await_end()
    }

    pub fn kill(&mut self) {
        self.signal(rustix::process::Signal::KILL);
        self.await_end();
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        self.process.as_ref().unwrap().signal(signal);
    }

    pub fn await_end(&mut self) -> Option<i32> {
        let process = self.process.as_mut().unwrap();
        let began = Instant::now();
        loop {
            if let Some(status) = process.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(began.elapsed() < LIMIT, "cube up does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn pid(&self) -> u32 {
        self.process.as_ref().unwrap().child.id()
    }

    /// Runs a verb.
    pub fn cube(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Starts a verb.
    pub fn begin(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    }

    /// Runs a verb that must succeed, and gives what it printed.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.cube(arguments);
        assert!(output.status.success(), "cube {arguments:?}: {}", shown(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Sends a merge patch past all verbs, and gives the answer's code.
    pub fn patch(&self, path: &str, merge: &str) -> u16 {
        let mut stream = UnixStream::connect(self.path("cube.sock")).unwrap();
        let head = "Host: localhost\r\nConnection: close\r\nContent-Type: application/merge-patch+json";
        let length = merge.len();
        write!(
            stream,
            "PATCH {path} HTTP/1.1\r\n{head}\r\nContent-Length: {length}\r\n\r\n{merge}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .unwrap_or_default()
    }

    /// An object as JSON; null when there is none.
    pub fn object(&self, kind: &str, name: &str) -> Value {
        let output = self.cube(&["get", kind, name, "-o", "json"]);
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    pub fn list(&self, kind: &str) -> Vec<Value> {
        let list: Value = serde_json::from_str(&self.ok(&["get", kind, "-o", "json"])).unwrap();
        list["items"].as_array().cloned().unwrap_or_default()
    }

    pub fn status(&self, task: &str) -> Value {
        self.object("task", task)["status"].clone()
    }

    /// Waits until a Task runs, and gives its status.
    pub fn await_running(&self, task: &str) -> Value {
        self.await_status(task, "that it runs", |status| {
            status["phase"] == "Running" && status["reason"] == "Running"
        })
    }

    pub fn await_status(&self, task: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        self.await_some(&format!("task {task}: {what}"), || {
            let status = self.status(task);
            last = status.clone();
            is(&status).then_some(status)
        })
    }

    pub fn await_true(&self, what: &str, mut is: impl FnMut() -> bool) {
        self.await_some(what, || is().then_some(()));
    }

    /// Waits for something, and gives it.
    pub fn await_some<T>(&self, what: &str, mut some: impl FnMut() -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(found) = some() {
                return found;
            }
            if began.elapsed() > LIMIT {
                self.await_lost(what);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Fails with all that is known of why.
    pub fn await_lost(&self, what: &str) -> ! {
        let mut said = String::new();
        let _ = writeln!(said, "{}", self.lines().join("\n"));
        let objects = self.cube(&["get", "tasks,deployments", "-A", "-o", "wide"]);
        let _ = writeln!(said, "{}", shown(&objects));
        let _ = writeln!(said, "{}", shown(&self.cube(&["events", "-A"])));
        panic!("waited in vain for: {what}\n{said}");
    }

    /// Runs `docker`, which must succeed, and gives what it printed.
    pub fn docker(&self, arguments: &[&str]) -> String {
        docker(self.engine.as_deref(), arguments)
    }

    /// The container of a Task, by the engine's word.
    pub fn container(&self, task: &str) -> String {
        let all = self.containers(&[&format!("label=cube.task={task}")]);
        assert_eq!(all.len(), 1, "containers of {task}: {all:?}");
        all[0].clone()
    }

    /// Ids of this cube's containers, whatever their state, that pass the filters.
    pub fn containers(&self, filters: &[&str]) -> Vec<String> {
        let cluster = self.cluster_filter();
        let mut arguments = vec!["ps", "--all", "--quiet", "--no-trunc", "--filter", &cluster];
        for filter in filters {
            arguments.extend(["--filter", filter]);
        }
        self.docker(&arguments).lines().map(str::to_owned).collect()
    }

    /// This cube's networks.
    pub fn networks(&self) -> Vec<String> {
        let cluster = self.cluster_filter();
        let listed = self.docker(&["network", "ls", "--quiet", "--filter", &cluster]);
        listed.lines().map(str::to_owned).collect()
    }

    /// Each test's node has a name of its own, so that containers are found without knowing the cluster's id.
    fn cluster_filter(&self) -> String {
        format!("label=cube.node={}", self.node())
    }

    /// The node's name.
    pub fn node(&self) -> String {
        let name = self.directory.path().file_name().unwrap().to_string_lossy();
        name.to_lowercase().replace('.', "")
    }

    pub fn down(&self) {
        let data = self.path("data");
        let down = self.cube(&["down", "--yes", "--data-dir", data.to_str().unwrap()]);
        assert!(down.status.success(), "cube down: {}", shown(&down));
    }
}

impl Drop for Cube {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.child.kill();
            let _ = process.child.wait();
        }
        if self.engine.is_some() && std::thread::panicking() {
            return;
        }
        if self.ran && self.verb == "up" && !self.options.iter().any(|option| option == "sim") {
            for id in self.containers(&[]) {
                self.docker(&["rm", "--force", "--volumes", &id]);
            }
            for id in self.networks() {
                self.docker(&["network", "rm", &id]);
            }
        }
    }
}

/// Runs `docker`, which must succeed.
pub fn docker(engine: Option<&str>, arguments: &[&str]) -> String {
    let mut command = Command::new("docker");
    if let Some(engine) = engine {
        command.env("DOCKER_HOST", engine);
    }
    let output = command.args(arguments).output().expect("no docker command");
    assert!(output.status.success(), "docker {arguments:?}: {}", shown(&output));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

pub fn shown(output: &Output) -> String {
    format!(
        "exit {:?}\n{}{}",
        output.status.code(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// A Task that runs until it is told to stop, and obeys at once.
pub fn sleeper(name: &str) -> String {
    format!(
        "apiVersion: cube/v1\nkind: Task\nmetadata: {{ name: {name} }}\nspec: {{ image: busybox, init: true, command: [sleep, '100000'] }}\n"
    )
}

/// A file of the tests' own, for what needs one.
pub fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
}
