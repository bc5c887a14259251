//! The judge of the dialect: the real kubectl, every version that is at hand, against the server on loopback.
//!
//! What is found next to the `kubectl` on the path under a name such as `kubectl.1.27` is tried too (Google's package has
//! several). Without any there is no verdict: the test fails and says what to install.
use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use cube::{
    registry::{Patch, TaskReport, WriteOptions},
    store::{Options, Store},
};
use cube_api::kinds::Kind;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::Command,
    time::timeout,
};

use crate::serving::Serving;

/// A kubectl that takes so long hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server of its own, and one kubectl that talks to it.
struct Stage {
    kubectl: PathBuf,
    version: (u64, u64),
    server: Serving,
    home: TempDir,
}

struct Output {
    code: i32,
    out: String,
    err: String,
}

impl Stage {
    async fn new(kubectl: &Path, version: (u64, u64)) -> Self {
        Self {
            kubectl: kubectl.to_owned(),
            version,
            server: Serving::start(Store::memory(Options::default()), 0).await,
            home: tempfile::tempdir().unwrap(),
        }
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(&self.kubectl);
        command
            .args(words(line))
            .arg(format!("--server={}", self.server.url()))
            .env_clear()
            .env("HOME", self.home.path())
            .env("PATH", env::var_os("PATH").unwrap_or_default())
            .env("KUBE_EDITOR", "sed -i s/busybox:1/busybox:9/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    async fn run_with(&self, line: &str, input: &str) -> Output {
        let mut child = self.command(line).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A kubectl that does not read its input closes it: no matter.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let output = timeout(PATIENCE, child.wait_with_output())
            .await
            .unwrap_or_else(|_| panic!("{}: `kubectl {line}` hangs", self.name()))
            .unwrap();
        Output {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn name(&self) -> String {
        format!("kubectl {}.{}", self.version.0, self.version.1)
    }

    /// Runs it with that input, and expects the code and each of these texts on one of its outputs.
    async fn input(&self, line: &str, input: &str, code: i32, expected: &[&str]) -> String {
        let Output { code: got, out, err } = self.run_with(line, input).await;
        let shown = format!("{}: `kubectl {line}` → {got}\n{out}--- stderr\n{err}", self.name());
        assert_eq!(got, code, "{shown}");
        for text in expected {
            assert!(
                squeezed(&out).contains(text) || squeezed(&err).contains(text),
                "{text:?} is missing\n{shown}"
            );
        }
        out
    }

    async fn ok(&self, line: &str, expected: &[&str]) -> String {
        self.input(line, "", 0, expected).await
    }

    async fn fails(&self, line: &str, expected: &[&str]) {
        self.input(line, "", 1, expected).await;
    }

    fn since(&self, minor: u64) -> bool {
        self.version >= (1, minor)
    }

    /// Gives a Task a status, as its worker would.
    async fn status(&self, name: &str, status: Value) {
        let registry = &self.server.registry;
        let task = registry.get(Kind::Task, "default", name).unwrap();
        if let Some(node) = status["node"].as_str()
            && task.to_value()["status"]["node"].is_null()
        {
            // The binding alone gives a node.
            let value = json!({ "metadata": { "name": node } });
            let _ = registry
                .create(Kind::Node, "", value, &WriteOptions::new("worker"))
                .await;
            let bound = registry.bind("default", name, task.uid(), node, task.revision());
            bound.await.unwrap();
        }
        let options = WriteOptions::new("worker").status();
        let patch = Patch::Merge(json!({ "status": status }));
        let patched = self
            .server
            .registry
            .patch(Kind::Task, "default", name, &patch, &options);
        patched.await.unwrap();
    }
}

/// Splits at spaces, but for what is in single quotes.
fn words(line: &str) -> Vec<String> {
    let parts = line.split('\'').enumerate();
    let words = parts.flat_map(|(index, part)| match index % 2 {
        0 => part.split_whitespace().map(str::to_owned).collect(),
        _ => vec![part.to_owned()],
    });
    words.collect()
}

/// Runs of spaces as one: how wide a column is says nothing.
fn squeezed(text: &str) -> String {
    let lines = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.collect::<Vec<_>>().join("\n")
}

/// Every kubectl that is at hand, by version.
async fn kubectls() -> BTreeMap<(u64, u64), PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let main = env::split_paths(&path)
        .map(|dir| dir.join("kubectl"))
        .find(|file| file.exists());
    let mut found = Vec::new();
    if let Some(main) = main.and_then(|main| fs::canonicalize(main).ok()) {
        let beside = main
            .parent()
            .and_then(|dir| fs::read_dir(dir).ok())
            .into_iter()
            .flatten();
        let beside = beside.filter_map(Result::ok).map(|entry| entry.path());
        found.extend(beside.filter(|file| {
            let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.strip_prefix("kubectl.").is_some_and(|rest| rest.starts_with("1."))
        }));
        found.push(main);
    }
    let mut versions = BTreeMap::new();
    for file in found {
        let output = Command::new(&file)
            .args(["version", "--client", "-o", "json"])
            .output()
            .await;
        let told: Value = output
            .ok()
            .and_then(|output| serde_json::from_slice(&output.stdout).ok())
            .unwrap_or_default();
        let number = |field: &str| {
            let text = told["clientVersion"][field].as_str()?;
            text.trim_end_matches('+').parse::<u64>().ok()
        };
        if let (Some(major), Some(minor)) = (number("major"), number("minor")) {
            versions.entry((major, minor)).or_insert(file);
        }
    }
    assert!(
        !versions.is_empty(),
        "there is no kubectl on the path to judge the server: install one (Debian: dev/packages kubernetes-client)"
    );
    versions
}

const WEB: &str = "\
apiVersion: cube/v1
kind: Task
metadata: { name: web, labels: { app: web } }
spec: { image: 'busybox:1', ports: [{ containerPort: 80, hostPort: 0 }] }
";

const DEPLOYMENT: &str = "\
apiVersion: cube/v1
kind: Deployment
metadata: { name: api, labels: { app: api } }
spec: { replicas: 2, template: { spec: { image: 'busybox:1' } } }
";

#[tokio::test(flavor = "multi_thread")]
async fn every_kubectl_works_unchanged() {
    let mut running = tokio::task::JoinSet::new();
    for (version, kubectl) in kubectls().await {
        running.spawn(async move {
            let stage = Stage::new(&kubectl, version).await;
            looks_around(&stage).await;
            applies(&stage).await;
            reads(&stage).await;
            changes(&stage).await;
            waits(&stage).await;
            deletes(&stage).await;
            stage.server.stop().await;
        });
    }
    // All verdicts, not only the first: their messages are on stderr.
    let mut failed = 0;
    while let Some(judged) = running.join_next().await {
        failed += usize::from(judged.is_err());
    }
    assert_eq!(failed, 0, "so many versions of kubectl do not work");
}

async fn looks_around(stage: &Stage) {
    stage.ok("version", &["cube"]).await;
    stage
        .ok(
            "api-resources --api-group=cube",
            &[
                "tasks t cube/v1 true Task",
                "deployments deploy cube/v1 true Deployment",
                "nodes no cube/v1 false Node",
            ],
        )
        .await;
    stage.ok("get --raw /readyz", &["ok"]).await;
    stage.ok("auth can-i delete tasks", &["yes"]).await;
    stage
        .ok("get tasks", &["No resources found in default namespace."])
        .await;
    if stage.since(27) {
        stage
            .ok(
                "explain task",
                &["KIND: Task", "GROUP: cube", "spec", "What is wished."],
            )
            .await;
        stage
            .ok(
                "explain task.spec.image",
                &["Image to run. Example: `nginx:1.27`.", "<string>"],
            )
            .await;
        stage
            .ok(
                "explain task.spec.restartPolicy",
                &["OnFailure", "unless its exit code was 0"],
            )
            .await;
        stage
            .ok("explain task.spec.ports", &["containerPort <integer> -required-"])
            .await;
        stage
            .ok("explain task.spec.resources.limits", &["cpu", "memory", "64Mi"])
            .await;
        stage
            .ok(
                "explain deployment --recursive",
                &["replicas <integer>", "maxSurge", "containerPort"],
            )
            .await;
    }
}

async fn applies(stage: &Stage) {
    let both = format!("{WEB}---\n{DEPLOYMENT}");
    let created = ["task.cube/web created", "deployment.cube/api created"];
    stage.input("apply -f -", &both, 0, &created).await;
    let same = ["task.cube/web unchanged", "deployment.cube/api unchanged"];
    stage.input("apply -f -", &both, 0, &same).await;
    if stage.since(27) {
        stage.input("diff -f -", &both, 0, &[]).await;
        let other = both.replace("replicas: 2", "replicas: 3");
        stage
            .input("diff -f -", &other, 1, &["- replicas: 2", "+ replicas: 3"])
            .await;
        let dry = "apply --dry-run=server -f -";
        stage
            .input(dry, &other, 0, &["deployment.cube/api configured (server dry run)"])
            .await;
        stage
            .ok("get deployment api -o 'jsonpath={.spec.replicas}'", &["2"])
            .await;
    }
    let other = both.replace("busybox:1", "busybox:2");
    stage
        .input("apply -f -", &other, 0, &["task.cube/web configured"])
        .await;
    stage
        .ok("get task web -o 'jsonpath={.spec.image}'", &["busybox:2"])
        .await;
    // What is left out is taken back.
    stage
        .input(
            "apply -f -",
            &WEB.replace(", ports: [{ containerPort: 80, hostPort: 0 }]", ""),
            0,
            &["configured"],
        )
        .await;
    let ports = stage.ok("get task web -o 'jsonpath={.spec.ports}'", &[]).await;
    assert_eq!(ports, "");
    stage.input("apply -f -", WEB, 0, &["configured"]).await;

    let typo = WEB.replace("spec: {", "spec: { imgae: x,");
    stage
        .input("apply -f -", &typo, 1, &["unknown field \"spec.imgae\""])
        .await;
    let bad = WEB
        .replace("containerPort: 80", "containerPort: 0")
        .replace("name: web", "name: bad");
    stage
        .input("apply -f -", &bad, 1, &["spec.ports[0].containerPort"])
        .await;
    stage
        .input("apply -n nowhere -f -", WEB, 1, &["namespaces \"nowhere\" not found"])
        .await;
    if stage.since(27) {
        let warning = ["Warning: unknown field \"spec.imgae\"", "configured"];
        stage.input("apply --validate=warn -f -", &typo, 0, &warning).await;
        stage
            .input("apply --server-side -f -", WEB, 1, &["application/merge-patch+json"])
            .await;
    }
}

async fn reads(stage: &Stage) {
    stage
        .status(
            "web",
            json!({ "phase": "Running", "node": "here", "restarts": 3, "message": "all is well" }),
        )
        .await;
    let header = "NAME STATUS READY RESTARTS NODE AGE WHY";
    stage
        .ok("get tasks", &[header, "web Running no 3 here", "all is well"])
        .await;
    stage
        .ok("get tasks -o wide", &["IMAGE PORTS ADDRESS WHY", "busybox:1"])
        .await;
    stage
        .ok("get tasks -A", &["NAMESPACE NAME STATUS", "default web Running"])
        .await;
    stage
        .ok("get tasks,deployments", &["task.cube/web", "deployment.cube/api 0/2"])
        .await;
    stage.ok("get all", &["task.cube/web", "deployment.cube/api"]).await;
    stage.ok("get deploy --show-labels", &["app=api"]).await;
    stage.ok("get tasks -o name", &["task.cube/web"]).await;
    stage
        .ok(
            "get tasks.cube web -o yaml",
            &["apiVersion: cube/v1", "kind: Task", "image: busybox:1"],
        )
        .await;
    stage
        .ok("get tasks -o json", &["\"kind\": \"List\"", "\"name\": \"web\""])
        .await;
    stage
        .ok("get tasks -l 'app in (web, other),!gone' -o name", &["task.cube/web"])
        .await;
    stage.ok("get tasks -l app!=web", &["No resources found"]).await;
    stage
        .ok(
            "get tasks --field-selector=status.phase=Running -o name",
            &["task.cube/web"],
        )
        .await;
    stage.ok("get tasks --sort-by=.metadata.name", &["web Running"]).await;
    stage
        .ok(
            "get tasks -o 'custom-columns=N:.metadata.name,I:.spec.image'",
            &["web busybox:1"],
        )
        .await;
    stage.ok("get ns", &["default Active"]).await;
    stage
        .fails(
            "get task nothing",
            &["Error from server (NotFound): tasks.cube \"nothing\" not found"],
        )
        .await;
    stage
        .fails("get pods", &["the server doesn't have a resource type \"pods\""])
        .await;
    stage
        .fails(
            "get tasks --field-selector=spec.image=x",
            &["field label not supported: spec.image"],
        )
        .await;

    let task = stage.server.registry.get(Kind::Task, "default", "web").unwrap();
    let event = json!({
        "metadata": { "name": "web.1" }, "involvedObject": serde_json::to_value(task.reference()).unwrap(),
        "reason": "Started", "message": "container is up", "type": "Normal", "count": 2,
        "firstTimestamp": "2030-01-01T00:00:00Z", "lastTimestamp": "2030-01-01T00:00:00Z",
        "source": { "component": "worker", "host": "here" },
    });
    let options = WriteOptions::new("worker");
    stage
        .server
        .registry
        .create(Kind::Event, "default", event, &options)
        .await
        .unwrap();
    let described = [
        "Name: web",
        "Kind: Task",
        "Image: busybox:1",
        "Events:",
        "Started",
        "container is up",
    ];
    stage.ok("describe task web", &described).await;
    stage
        .ok(
            "get events",
            &[
                "LAST SEEN TYPE REASON OBJECT COUNT MESSAGE",
                "Normal Started task/web 2 container is up",
            ],
        )
        .await;
    if stage.since(27) {
        stage.ok("events", &["Started", "Task/web"]).await;
    }
}

async fn changes(stage: &Stage) {
    stage.ok("label task web tier=front", &["task.cube/web labeled"]).await;
    stage.fails("label task web tier=back", &["already has a value"]).await;
    stage.ok("label task web tier=back --overwrite", &["labeled"]).await;
    stage.ok("get tasks -l tier=back -o name", &["task.cube/web"]).await;
    stage.ok("label task web tier-", &["task.cube/web"]).await;
    stage
        .ok("annotate task web note=hello", &["task.cube/web annotate"])
        .await;
    stage
        .fails(
            "annotate task web note=bye --overwrite --resource-version=1",
            &["the object has been modified"],
        )
        .await;
    stage
        .ok("scale deployment api --replicas=5", &["deployment.cube/api scaled"])
        .await;
    stage
        .ok("get deployment api -o 'jsonpath={.spec.replicas}'", &["5"])
        .await;
    stage
        .fails(
            "scale deployment api --replicas=6 --current-replicas=2",
            &["Expected replicas to be 2, was 5"],
        )
        .await;
    let patch = r#"patch deployment api --type=merge -p '{"spec":{"replicas":4}}'"#;
    stage.ok(patch, &["deployment.cube/api patched"]).await;
    stage.ok(patch, &["(no change)"]).await;
    let patch = r#"patch deployment api --type=json -p '[{"op":"replace","path":"/spec/replicas","value":1}]'"#;
    stage.ok(patch, &["patched"]).await;
    stage
        .fails(
            r#"patch task web -p '{"spec":{"image":"x"}}'"#,
            &["application/merge-patch+json"],
        )
        .await;

    let task = WEB.replace("web", "made");
    stage.input("create -f -", &task, 0, &["task.cube/made created"]).await;
    stage
        .input("create -f -", &task, 1, &["tasks.cube \"made\" already exists"])
        .await;
    stage
        .input(
            "replace -f -",
            &task.replace("busybox:1", "busybox:3"),
            0,
            &["task.cube/made replaced"],
        )
        .await;
    stage
        .ok(
            "get task made -o 'jsonpath={.spec.image} {.metadata.generation}'",
            &["busybox:3 2"],
        )
        .await;
    stage.ok("edit task web", &["task.cube/web edited"]).await;
    stage
        .ok("get task web -o 'jsonpath={.spec.image}'", &["busybox:9"])
        .await;
}

async fn waits(stage: &Stage) {
    let condition = |generation: u64| {
        json!({ "conditions": [{ "type": "Ready", "status": "True", "reason": "Running", "observedGeneration": generation }],
                "observedGeneration": generation })
    };
    let generation = stage
        .server
        .registry
        .get(Kind::Task, "default", "web")
        .unwrap()
        .meta()
        .generation;
    stage
        .fails(
            "wait --for=condition=Ready task/web --timeout=1s",
            &["timed out waiting"],
        )
        .await;
    let waiting = stage.ok("wait --for=condition=Ready task/web --timeout=50s", &["condition met"]);
    let telling = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        stage.status("web", condition(generation)).await;
    };
    tokio::join!(waiting, telling);

    let mut watching = stage.command("get tasks -w").spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let mut seen = Vec::new();
    let read = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            seen.push(squeezed(&line));
            if seen.len() == 3 {
                stage
                    .status("web", json!({ "phase": "Failed", "reason": "OOMKilled" }))
                    .await;
            }
            if line.contains("Failed (OOMKilled)") {
                break;
            }
        }
    };
    let watched = timeout(PATIENCE, read).await;
    assert!(watched.is_ok(), "{}: {seen:#?}", stage.name());
    assert!(seen[0].starts_with("NAME STATUS"), "{seen:#?}");
    assert!(
        seen[1].starts_with("made Pending") && seen[2].starts_with("web Running yes"),
        "{seen:#?}"
    );
    assert_eq!(seen.len(), 4, "{seen:#?}");
    watching.kill().await.unwrap();
}

async fn deletes(stage: &Stage) {
    let held = WEB
        .replace("web", "held")
        .replace("labels:", "finalizers: [test/held], labels:");
    stage.input("apply -f -", &held, 0, &["created"]).await;
    let waiting = stage.ok("delete task held --timeout=50s", &["task.cube \"held\" deleted"]);
    let releasing = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        let patch = r#"patch task held --type=merge -p '{"metadata":{"finalizers":null}}'"#;
        stage.ok(patch, &["patched"]).await;
    };
    tokio::join!(waiting, releasing);
    stage
        .ok("delete task made --wait=false", &["task.cube \"made\" deleted"])
        .await;
    // The Task has a node: it goes when its worker, seeing that it is to go, says that nothing is left of it.
    let waiting = stage.input("delete -f -", WEB, 0, &["task.cube \"web\" deleted"]);
    let releasing = async {
        let task = loop {
            let task = stage.server.registry.get(Kind::Task, "default", "web").unwrap();
            if task.is_deleting() {
                break task;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        let report = TaskReport {
            namespace: "default".to_owned(),
            name: "web".to_owned(),
            uid: task.uid().to_owned(),
            epoch: task.to_value()["status"]["epoch"].as_u64().unwrap_or_default(),
            gone: true,
            ..TaskReport::default()
        };
        stage.server.registry.report("here", &[report]).await.remove(0).unwrap();
    };
    tokio::join!(waiting, releasing);
    stage.fails("get task web", &["NotFound"]).await;
    stage.ok("delete task web --ignore-not-found", &[]).await;
    stage
        .ok(
            "delete deployments --all --cascade=foreground --wait=false",
            &["deployment.cube \"api\" deleted"],
        )
        .await;
    stage
        .fails("delete ns default", &["this namespace may not be deleted"])
        .await;
}
