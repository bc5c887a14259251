//! What goes on: logs and watches.
use std::{
    io::{BufRead as _, BufReader},
    process::{Child, ChildStdout},
};

use cube_api::kinds::Kind;
use serde_json::{Value, json};

use crate::environment::{Environment, deployment, running, task};

fn task_of_web(name: &str) -> Value {
    json!({
        "metadata": { "name": name, "namespace": "default", "labels": { "cube/deployment": "web", "cube/revision": "1" } },
        "spec": { "image": "nginx:1.27" },
    })
}

fn with_web() -> Environment {
    let environment = Environment::with_server();
    environment.write("a.yaml", format!("{}---\n{}", task("hello", ""), deployment("web", 2)));
    assert_eq!(environment.run("apply -f a.yaml").code, 0);
    for name in ["web-1-a", "web-1-b"] {
        environment.server().create(Kind::Task, task_of_web(name));
        environment.server().set_status(Kind::Task, name, &running(1));
    }
    environment
}

#[test]
fn logs_of_a_task_and_of_a_deployment() {
    let environment = with_web();
    let mut shown = String::new();
    for words in [
        "logs hello",
        "logs web-1-a",
        "logs task/web-1-a --tail 1",
        "logs web-1-a --timestamps",
        "logs deploy/web",
        "logs deploy/web --tail 1 --timestamps",
        "logs deploy/nobody",
        "logs nobody",
        "logs node/a",
        "logs web-1-a --since yesterday",
        "logs web-1-a --previous",
    ] {
        shown.push_str(&format!("$ cube {words}\n{}\n", environment.run(words)));
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn programs_in_containers() {
    let environment = with_web();
    let running = json!({ "phase": "Running", "containerID": "c", "node": "n" });
    environment.server().set_status(Kind::Task, "web-1-b", &running);
    let mut shown = String::new();
    for words in [
        "exec web-1-b",
        "exec web-1-b -- ls -l /",
        "exec task/web-1-b ls -l",
        "exec -it web-1-b cat",
        "exec deploy/web true",
        "exec hello true",
        "exec nobody true",
        "exec deploy/nobody true",
        "exec node/a true",
        "exec",
    ] {
        shown.push_str(&format!("$ cube {words}\n{}\n", environment.run(words)));
    }
    insta::assert_snapshot!(shown);
}

/// A command that goes on, and its lines.
struct Going(Child, BufReader<ChildStdout>);

impl Going {
    fn start(environment: &Environment, words: &str) -> Self {
        let mut child = environment.command(words).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self(child, lines)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.1.read_line(&mut line).unwrap();
        line
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn followed_logs_go_on_over_containers_and_tasks() {
    let environment = with_web();
    // The Task is over: so are its logs.
    let mut going = Going::start(&environment, "logs -f web-1-a");
    assert_eq!(
        [going.line(), going.line(), going.line()],
        [0, 1, 2].map(|n| format!("line {n} of web-1-a\n"))
    );
    let mut next = running(1);
    next["containerID"] = "decaf".into();
    environment.server().set_status(Kind::Task, "web-1-a", &next);
    assert_eq!(going.line(), "line 0 of web-1-a\n", "the next container's");
    let over = json!({ "phase": "Completed", "containerID": "decaf", "observedGeneration": 1 });
    environment.server().set_status(Kind::Task, "web-1-a", &over);
    assert_eq!(
        [going.line(), going.line()],
        [1, 2].map(|n| format!("line {n} of web-1-a\n"))
    );
    assert_eq!(going.line(), "");
    assert!(going.0.wait().unwrap().success());

    let mut all = Going::start(&environment, "logs -f deploy/web --tail 1");
    let mut first = [all.line(), all.line()];
    first.sort();
    assert_eq!(
        first,
        ["web-1-a | line 2 of web-1-a\n", "web-1-b | line 2 of web-1-b\n"]
    );
    environment.server().create(Kind::Task, task_of_web("web-1-c"));
    environment.server().set_status(Kind::Task, "web-1-c", &running(1));
    assert_eq!(
        all.line(),
        "web-1-c | line 0 of web-1-c\n",
        "all of one that comes later"
    );
}

#[test]
fn watched_tables_keep_their_columns() {
    let environment = with_web();
    let mut going = Going::start(&environment, "get tasks -w");
    let shown = [going.line(), going.line(), going.line(), going.line()];
    environment.server().set_status(Kind::Task, "hello", &running(1));
    let changed = going.line() + &going.line();
    environment.server().delete(Kind::Task, "hello");
    let marked = going.line();
    insta::assert_snapshot!(format!("{}{changed}{marked}", shown.concat()));

    let mut names = Going::start(&environment, "get task web-1-a -w -o name");
    assert_eq!(names.line(), "task/web-1-a\n");
}

#[test]
fn a_reader_that_has_enough_is_no_error() {
    let environment = with_web();
    let mut command = std::process::Command::new("sh");
    let cube = env!("CARGO_BIN_EXE_cube");
    let server = environment.path("cube.sock");
    let script =
        format!("{{ {cube} schema; echo exit $? >&2; }} | head -c 10 >/dev/null; {cube} get tasks -o json | head -1");
    let output = command
        .args(["-c", &script])
        .env("CUBE_SERVER", format!("unix://{}", server.display()))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "exit 0\n");
}
