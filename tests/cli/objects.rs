//! `get`, `describe`, `delete`, `restart`, `approve`, `events`, `backup` and `restore` against a server.
use cube_api::kinds::Kind;
use serde_json::{Value, json};

use crate::environment::{Environment, deployment, running, task};

/// A server with two Tasks, a Deployment, and an Event.
fn populated() -> Environment {
    let environment = Environment::with_server();
    environment.write(
        "a.yaml",
        format!(
            "{}---\n{}---\n{}",
            task("hello", ""),
            task("crash", ""),
            deployment("web", 2)
        ),
    );
    assert_eq!(environment.run("apply -f a.yaml").code, 0);
    let server = environment.server();
    server.set_status(Kind::Task, "hello", &running(1));
    server.set_status(
        Kind::Task,
        "crash",
        &json!({
            "phase": "Scheduled", "node": "here", "reason": "BackOff", "message": "exit 127: sh: foo: not found",
            "failures": 2, "restarts": 2, "observedGeneration": 1,
            "lastTermination": { "exitCode": 127, "reason": "Error", "log": ["sh: foo: not found"] },
        }),
    );
    server.create(
        Kind::Event,
        json!({
            "metadata": { "name": "crash.1", "namespace": "default" }, "type": "Warning", "reason": "BackOff",
            "message": "exited with code 127; again in 1 s", "count": 3, "lastTimestamp": "2100-01-02T03:04:05Z",
            "involvedObject": { "kind": "Task", "namespace": "default", "name": "crash" },
        }),
    );
    environment
}

#[test]
fn tables_for_people() {
    let environment = populated();
    let mut shown = String::new();
    for words in [
        "get tasks",
        "get t,deploy",
        "get all -A",
        "get task/crash deploy/web",
        "get task hello nobody",
        "get tasks -l app=x",
        "get tasks -n empty",
        "get ns",
        "get nodes",
        "get tasks -o wide",
        "get task --field-selector status.phase=Running",
    ] {
        shown.push_str(&format!("$ cube {words}\n{}\n", environment.run(words)));
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn json_and_yaml_for_programs() {
    let environment = populated();
    let list: Value = serde_json::from_str(&environment.run("get tasks -o json").stdout).unwrap();
    assert_eq!(list["kind"], "TaskList");
    assert!(
        list["metadata"]["resourceVersion"]
            .as_str()
            .unwrap()
            .parse::<u64>()
            .unwrap()
            > 0
    );
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
    assert!(list["items"][0]["metadata"]["managedFields"].is_null());
    let mixed: Value = serde_json::from_str(&environment.run("get all -o json").stdout).unwrap();
    assert_eq!(mixed["kind"], "List");
    assert_eq!(mixed["items"].as_array().unwrap().len(), 3);
    let none: Value = serde_json::from_str(&environment.run("get tasks -n none -o json").stdout).unwrap();
    assert_eq!(none["items"], json!([]));
    let one: Value =
        serde_json::from_str(&environment.run("get task hello -o json --show-managed-fields").stdout).unwrap();
    assert_eq!(one["metadata"]["managedFields"][0]["manager"], "cube");
    assert!(one["spec"]["restartPolicy"].is_null());
    let full: Value = serde_json::from_str(&environment.run("get task hello -o json --show-defaults").stdout).unwrap();
    assert_eq!(full["spec"]["restartPolicy"], "Always");
    let full: Value = serde_json::from_str(&environment.run("get deploy web -o json --show-defaults").stdout).unwrap();
    assert_eq!(full["spec"]["strategy"]["rollingUpdate"]["maxSurge"], "25%");
    assert_eq!(full["spec"]["template"]["spec"]["terminationGracePeriodSeconds"], 30);
    assert_eq!(
        environment.run("get all -o name").stdout,
        "deployment/web\ntask/crash\ntask/hello\n"
    );
    insta::assert_snapshot!(environment.run("get deployment web -o yaml"));
    // What is shown can be applied.
    let yaml = environment.run("get task hello -o yaml").stdout;
    assert_eq!(
        environment.run_with("apply -f -", yaml.as_bytes()).stdout,
        "task/hello unchanged\n"
    );
}

#[test]
fn all_about_one_object() {
    let environment = populated();
    let source = json!({ "metadata": { "name": "manifests" }, "spec": { "directory": "/srv/manifests" } });
    environment.server().create(Kind::Source, source);
    let node = json!({ "metadata": { "name": "here" }, "spec": {} });
    environment.server().create(Kind::Node, node);
    let mut shown = String::new();
    for words in [
        "describe task crash",
        "describe task/hello",
        "describe deploy web",
        "describe ns",
        "describe node here",
        "describe source manifests",
        "describe event crash.1",
        "describe task nobody",
    ] {
        shown.push_str(&format!("$ cube {words}\n{}\n", environment.run(words)));
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn events_of_all_and_of_one() {
    let environment = populated();
    let mut shown = String::new();
    for words in [
        "events",
        "events -A",
        "events --for task/crash",
        "events --for task/hello",
        "events -n none",
    ] {
        shown.push_str(&format!("$ cube {words}\n{}\n", environment.run(words)));
    }
    insta::assert_snapshot!(shown);
    let list: Value = serde_json::from_str(&environment.run("events -o json").stdout).unwrap();
    assert_eq!(list["items"][0]["count"], 3);
}

#[test]
fn deletion_says_what_went_and_what_comes_back() {
    let environment = populated();
    let object = json!({
        "apiVersion": "cube/v1", "kind": "Task", "metadata": { "name": "kept" }, "spec": { "image": "busybox" },
    });
    let source = json!({ "metadata": { "name": "manifests" }, "spec": { "directory": "/srv/manifests" } });
    environment.server().create(Kind::Source, source);
    environment.server().apply_as("manifests", object);
    let mut shown = String::new();
    for words in [
        "delete task/hello task/nobody",
        "delete task kept",
        "delete task/hello --force",
        "delete -f a.yaml --force",
        "delete tasks -l app=x",
        "delete namespace default",
    ] {
        shown.push_str(&format!("$ cube {words}\n{}\n", environment.run(words)));
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn deletion_waits_for_the_node() {
    let environment = populated();
    let bind = |name: &str| {
        let value = json!({ "metadata": { "name": name, "namespace": "default", "finalizers": ["test/hold"] }, "spec": { "image": "a" } });
        environment.server().create(Kind::Task, value);
    };
    bind("held");
    let now = environment.run("delete task held --wait=false");
    assert_eq!(
        (now.code, now.stdout.as_str()),
        (0, "task/held is being deleted\n"),
        "{now}"
    );
    let late = environment.run("delete task held --timeout 300ms");
    assert_eq!(late.code, 5, "{late}");
    insta::assert_snapshot!("delete_timed_out", late);
    let child = environment.command("delete task held").spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(200));
    environment.server().release("held");
    let run = environment.finish(child);
    assert_eq!((run.code, run.stdout.as_str()), (0, "task/held deleted\n"), "{run}");
}

#[test]
fn a_restart_is_a_wish_on_the_object() {
    let environment = populated();
    let annotations = || {
        let object = environment
            .server()
            .registry
            .get(Kind::Deployment, "default", "web")
            .unwrap();
        object.meta().annotations.clone()
    };
    assert_eq!(
        environment.run("restart deploy/web --pull").stdout,
        "deployment/web restarted\n"
    );
    let both = annotations();
    assert_eq!(both["cube/restartedAt"], both["cube/pullAt"]);
    assert_eq!(
        environment.run("restart deploy/web").stdout,
        "deployment/web restarted\n"
    );
    let one = annotations();
    assert!(
        one["cube/restartedAt"] > both["cube/restartedAt"] && !one.contains_key("cube/pullAt"),
        "{one:?}"
    );
    let missing = environment.run("restart deploy/nobody");
    assert_eq!(missing.code, 1);
    insta::assert_snapshot!("restart_of_nobody", missing);
}

#[test]
fn a_yes_is_for_the_list_that_was_shown() {
    let environment = populated();
    assert_eq!(environment.run("approve").stderr, "nothing waits for a yes\n");
    let source = json!({ "metadata": { "name": "manifests" }, "spec": { "directory": "/srv/manifests" } });
    environment.server().create(Kind::Source, source);
    let waiting = [
        "task/default/hello",
        "task/default/crash",
        "deployment/default/web",
        "task/other/a",
    ];
    let status = json!({ "waiting": waiting, "waitingReason": "4 of 5 objects are gone from the directory" });
    environment.server().set_status(Kind::Source, "manifests", &status);
    let shown = environment.run("approve --show");
    let approved = || {
        let object = environment
            .server()
            .registry
            .get(Kind::Source, "", "manifests")
            .unwrap();
        object.meta().annotations.get("cube/approved").cloned()
    };
    assert_eq!(approved(), None);
    let yes = environment.run("approve manifests");
    assert_eq!(approved(), Some(cube::source::digest(&waiting)));
    insta::assert_snapshot!(format!("{shown}{yes}{}", environment.run("approve nobody")));
}

#[test]
fn a_backup_comes_back_as_a_data_directory() {
    let environment = populated();
    let run = environment.run("backup b.cube");
    assert_eq!(run.code, 0, "{run}");
    assert!(
        run.stdout.starts_with("b.cube: ") && run.stdout.ends_with(" bytes\n"),
        "{run}"
    );
    let again = environment.run("backup b.cube");
    assert_eq!(again.code, 6, "{again}");
    assert_eq!(environment.run("backup b.cube --force").code, 0);
    assert!(!environment.path("b.cube.tmp").exists());

    let restored = environment.run("restore b.cube --data-dir data");
    assert_eq!(restored.code, 0, "{restored}");
    let twice = environment.run("restore b.cube --data-dir data");
    assert_eq!(twice.code, 6, "{twice}");
    assert_eq!(environment.run("restore b.cube --data-dir data --force").code, 0);
    let store = cube::store::Store::open(&environment.path("data/cube.redb"), Default::default()).unwrap();
    let key = cube::store::Key::new("tasks", "default", "hello");
    assert!(store.snapshot().get(&key).is_some());
    let used = environment.run("restore b.cube --data-dir data --force");
    assert_eq!(used.code, 6, "{used}");
    environment.write("bad.cube", b"CUBEBAK\n\x01\0\0\0cut");
    let bad = environment.run("restore bad.cube --data-dir other");
    assert_eq!(bad.code, 2, "{bad}");
    let missing = environment.run("restore missing.cube --data-dir other");
    insta::assert_snapshot!(format!("{again}{twice}{used}{bad}{missing}"));
}
