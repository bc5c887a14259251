//! What others of this size get wrong, where only a real engine tells. The list of all is docs/book-bugs.md.
use std::{
    io::{BufRead as _, BufReader},
    process::Stdio,
    time::Duration,
};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{
    fleet::{Worker, task},
    harness::{Cube, docker, sleeper},
};

#[test]
fn the_book_loses_a_task_whose_worker_cannot_be_reached() {
    let cube = Cube::manager();
    let mut a = Worker::start(&cube, "a");
    a.process.kill();
    // For a moment nobody knows that it is away.
    cube.write("t.json", &task("t", &json!({})));
    let status = cube.await_status("t", "that it has its node", |status| status["node"] == "a");
    assert_ne!(status["phase"], "Running", "nobody has said that it runs");
    a.start_again(&cube);
    let running = cube.await_running("t");
    assert_eq!(running["node"], "a");
    assert_eq!(a.running("t").len(), 1);
}

#[test]
fn the_book_loses_a_stop_that_arrives_before_the_start() {
    let cube = Cube::up();
    let file = cube.path("t.yaml");
    for round in 0..12_u64 {
        std::fs::write(&file, sleeper("t")).unwrap();
        cube.ok(&["apply", "-f", file.to_str().unwrap()]);
        // From before its container is made to after it is started.
        std::thread::sleep(Duration::from_millis(round * 40));
        cube.ok(&["stop", "t", "--timeout", "30s"]);
        assert_eq!(cube.containers(&[]), [] as [&str; 0], "round {round}");
    }
}

#[test]
fn the_book_publishes_ports_at_random_and_shows_them_nowhere() {
    let cube = Cube::up();
    cube.write(
        "t.yaml",
        "apiVersion: cube/v1\nkind: Task\nmetadata: { name: t }\nspec:\n  image: busybox\n  init: true\n  \
         command: [sleep, '1000']\n  ports: [{ containerPort: 80, hostPort: 0 }, { containerPort: 81 }]\n",
    );
    let status = cube.await_running("t");
    let published = status["ports"].as_array().unwrap();
    // On both kinds of addresses; and what is not to be published is not.
    assert!(
        !published.is_empty() && published.iter().all(|port| port["containerPort"] == 80),
        "{status}"
    );
    let port = published[0]["hostPort"].as_u64().unwrap().to_string();
    let told = docker(None, &["port", &cube.container("t")]);
    assert!(
        told.lines()
            .all(|line| line.starts_with("80/tcp") && line.ends_with(&port)),
        "{told}"
    );
    for shown in [
        cube.ok(&["get", "tasks", "-o", "wide"]),
        cube.ok(&["describe", "task", "t"]),
    ] {
        assert!(shown.contains(&port), "{port}: {shown}");
    }
}

/// Connections of the process to sockets.
fn sockets(pid: u32) -> usize {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    open.filter(|open| std::fs::read_link(open.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:")))
        .count()
}

#[test]
fn the_book_reads_a_log_once_and_never_closes_it() {
    let cube = Cube::up();
    cube.write("t.json", &task("t", &json!({})));
    cube.await_running("t");
    // Whatever is kept for the next request is there before it is counted.
    assert!(cube.ok(&["logs", "t", "--tail", "1"]).starts_with("line "));
    let mut least = usize::MAX;
    cube.await_true("it is quiet", || {
        least = least.min(sockets(cube.pid()));
        cube.status("t")["phase"] == "Running"
    });
    let mut readers = Vec::new();
    for _ in 0..8 {
        let mut reader = cube.command(&["logs", "-f", "t", "--tail", "1"]);
        let mut reader = reader.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(reader.stdout.take().unwrap()).lines();
        let number = |line: String| line.trim_start_matches("line ").parse::<u64>().unwrap();
        let first = number(lines.next().unwrap().unwrap());
        let second = number(lines.next().unwrap().unwrap());
        assert!(second > first, "what is written later is read too");
        readers.push((reader, lines));
    }
    assert!(sockets(cube.pid()) >= least + 8);
    for (mut reader, _) in readers {
        reader.kill().unwrap();
        reader.wait().unwrap();
    }
    // Nobody has to write a line for it to be noticed: but one comes each second.
    cube.await_true("their streams are closed", || sockets(cube.pid()) <= least + 3);
}

#[test]
fn the_book_believes_an_engine_that_is_gone() {
    let cube = Cube::manager();
    let mut a = Worker::start(&cube, "a");
    let waits = json!({ "tolerations": [{ "operator": "Exists" }] });
    cube.write("t.json", &task("t", &waits));
    cube.await_running("t");
    let ready = |status: &Value| {
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        let ready = conditions.into_iter().find(|condition| condition["type"] == "Ready");
        ready.map_or(Value::Null, |ready| ready["status"].clone())
    };
    assert_eq!(ready(&cube.status("t")), "True");
    a.engine.signal(Signal::KILL);
    cube.await_true("its node is not ready", || a.ready(&cube) == "False");
    cube.await_status("t", "that nobody says that it works", |status| ready(status) != "True");
    a.engine.run();
    cube.await_status("t", "that it works again", |status| ready(status) == "True");
    assert_eq!(a.running("t").len(), 1);
}
