//! `cube apply`: all or nothing, whose object it is, and the truth about what comes of it.
use std::process::Child;

use cube_api::kinds::Kind;
use serde_json::{Value, json};

use crate::environment::{Environment, deployment, running, task};

#[test]
fn created_configured_unchanged() {
    let environment = Environment::with_server();
    environment.write("m/1.yaml", deployment("web", 2));
    environment.write(
        "m/0.yaml",
        task("hello", "").replace("name: hello", "name: hello\n  namespace: rooms"),
    );
    environment.write(
        "m/9.yaml",
        "apiVersion: cube/v1\nkind: Namespace\nmetadata: { name: rooms }\n",
    );
    // A Namespace before what is in it, wherever it was read.
    let dry = environment.run("apply -f m --dry-run");
    let first = environment.run("apply -f m");
    environment.write("m/1.yaml", deployment("web", 3));
    let second = environment.run("apply -f m");
    insta::assert_snapshot!(format!("{dry}{first}{second}"));
}

#[test]
fn nothing_is_applied_if_anything_is_refused() {
    let environment = Environment::with_server();
    environment.write("m/a.yaml", task("a", ""));
    environment.write(
        "m/b.yaml",
        task("b", "").replace("name: b", "name: b\n  namespace: nowhere"),
    );
    let run = environment.run("apply -f m");
    assert_eq!(run.code, 2);
    insta::assert_snapshot!("no_namespace", run);
    assert!(environment.server().registry.get(Kind::Task, "default", "a").is_err());
}

#[test]
fn what_a_source_manages_is_refused_unless_taken_over() {
    let environment = Environment::with_server();
    let object = json!({
        "apiVersion": "cube/v1", "kind": "Task", "metadata": { "name": "web" }, "spec": { "image": "busybox" },
    });
    environment.server().create(
        Kind::Source,
        json!({ "metadata": { "name": "manifests" }, "spec": { "directory": "/srv/manifests" } }),
    );
    environment.server().apply_as("manifests", object);
    environment.write("web.yaml", task("web", "  init: true\n"));
    let refused = environment.run("apply -f web.yaml");
    assert_eq!(refused.code, 6);
    let taken = environment.run("apply -f web.yaml --take-over");
    assert_eq!(taken.code, 0);
    insta::assert_snapshot!(format!("{refused}{taken}"));
}

fn begin(environment: &Environment, name: &str, more: &str, options: &str) -> Child {
    environment.write("a.yaml", task(name, more));
    let child = environment
        .command(&format!("apply -f a.yaml --wait {options}"))
        .spawn()
        .unwrap();
    environment.server().wait_for(Kind::Task, name, |_| true);
    child
}

#[test]
fn waiting_ends_well_when_it_runs() {
    let environment = Environment::with_server();
    let child = begin(&environment, "web", "", "");
    let server = environment.server();
    server.set_status(
        Kind::Task,
        "web",
        &json!({ "phase": "Scheduled", "node": "here", "reason": "Pulling", "message": "pulling busybox", "observedGeneration": 1 }),
    );
    server.set_status(Kind::Task, "web", &running(1));
    let run = environment.finish(child);
    assert_eq!(run.code, 0, "{run}");
    assert_eq!(run.stdout, "task/web created\n");
    assert!(run.stderr.ends_with("task/web   running\n"), "{run}");

    // What runs once must be completed.
    let child = begin(&environment, "job", "  restartPolicy: Never\n", "");
    server.set_status(Kind::Task, "job", &running(1));
    std::thread::sleep(std::time::Duration::from_millis(200));
    server.set_status(
        Kind::Task,
        "job",
        &json!({ "phase": "Completed", "exitCode": 0, "observedGeneration": 1 }),
    );
    let run = environment.finish(child);
    assert_eq!(run.code, 0, "{run}");
    assert!(run.stderr.ends_with("task/job   completed\n"), "{run}");
}

#[test]
fn waiting_ends_as_soon_as_the_end_is_plain() {
    let unplaced = |reason: &str| -> Value {
        json!({
            "reason": "Unschedulable", "message": "8 GiB wanted, at most 5.2 GiB free (3 nodes)", "observedGeneration": 1,
            "conditions": [{ "type": "Scheduled", "status": "False", "reason": reason }],
        })
    };
    let crash = |phase: &str, failures: u64| {
        json!({
            "phase": phase, "node": "here", "reason": "BackOff", "failures": failures, "restarts": failures,
            "observedGeneration": 1,
            "lastTermination": {
                "exitCode": 1, "reason": "Error",
                "log": ["starting", "nginx: [emerg] unknown directive \"worker_proceses\" in /etc/nginx/nginx.conf:1"],
            },
        })
    };
    let cases = [
        ("unplaced", "", unplaced("Unschedulable"), 3),
        ("crashed_three_times", "", crash("Scheduled", 3), 4),
        ("failed_for_good", "", crash("Failed", 0), 4),
        ("timed_out", "--timeout 1s", unplaced("WaitingForRoom"), 5),
        ("crashed_twice", "--timeout 1s", crash("Scheduled", 2), 5),
    ];
    for (name, options, status, code) in cases {
        let environment = Environment::with_server();
        let child = begin(&environment, "web", "", options);
        environment.server().set_status(Kind::Task, "web", &status);
        let run = environment.finish(child);
        assert_eq!(run.code, code, "{name}: {run}");
        let end = run.stderr.find("error:").map(|at| &run.stderr[at..]);
        insta::assert_snapshot!(name, end.unwrap_or_default());
    }
}

#[test]
fn what_runs_for_a_moment_only_is_not_believed() {
    let environment = Environment::with_server();
    let child = begin(&environment, "web", "", "");
    let server = environment.server();
    let failed = |failures: u64| {
        json!({
            "phase": "Scheduled", "node": "here", "reason": "BackOff", "failures": failures, "restarts": failures,
            "observedGeneration": 1, "lastTermination": { "exitCode": 1, "reason": "Error", "log": ["no config"] },
        })
    };
    for failures in 1..=3 {
        server.set_status(Kind::Task, "web", &running(1));
        server.set_status(Kind::Task, "web", &failed(failures));
    }
    let run = environment.finish(child);
    assert_eq!(run.code, 4, "{run}");
    // Nor is what has failed lately and happens to run when it is looked at.
    let mut lucky = running(1);
    lucky["failures"] = 1.into();
    server.set_status(Kind::Task, "web", &lucky);
    let child = environment.command("apply -f a.yaml --wait").spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(200));
    server.set_status(
        Kind::Task,
        "web",
        &json!({ "phase": "Failed", "exitCode": 1, "observedGeneration": 1 }),
    );
    assert_eq!(environment.finish(child).code, 4);
}

#[test]
fn waiting_for_a_deployment_looks_at_its_tasks() {
    let environment = Environment::with_server();
    environment.write("web.yaml", deployment("web", 1));
    let child = environment.command("apply -f web.yaml --wait").spawn().unwrap();
    let server = environment.server();
    server.wait_for(Kind::Deployment, "web", |_| true);
    server.create(
        Kind::Task,
        json!({
            "metadata": {
                "name": "web-1-x", "namespace": "default",
                "labels": { "cube/deployment": "web", "cube/revision": "1" },
            },
            "spec": { "image": "nginx:1.27" },
        }),
    );
    let status = |ready: u32| {
        json!({
            "replicas": 1, "updatedReplicas": 1, "readyReplicas": ready, "availableReplicas": ready, "revision": 1, "observedGeneration": 1,
        })
    };
    server.set_status(Kind::Deployment, "web", &status(0));
    server.set_status(Kind::Task, "web-1-x", &running(1));
    server.set_status(Kind::Deployment, "web", &status(1));
    let run = environment.finish(child);
    assert_eq!(run.code, 0, "{run}");
    assert!(
        run.stderr.ends_with("deployment/web   revision 1   ready 1/1\n"),
        "{run}"
    );
    // What runs already is there at once.
    let again = environment.run("apply -f web.yaml --wait");
    assert_eq!(
        (again.code, again.stdout.as_str()),
        (0, "deployment/web unchanged\n"),
        "{again}"
    );
}
