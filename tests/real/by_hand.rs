//! What people do to Cube's containers by hand is seen, healed and told; what is not Cube's is never touched.
use super::harness::{Cube, docker, sleeper};

/// A Task that runs, and its container.
fn one() -> (Cube, String) {
    let cube = Cube::up();
    cube.write("t.yaml", &sleeper("t"));
    cube.await_running("t");
    let container = cube.container("t");
    (cube, container)
}

#[test]
fn a_status_that_someone_else_wrote_is_set_right() {
    let (cube, container) = one();
    let path = "/apis/cube/v1/namespaces/default/tasks/t/status";
    for wrong in [r#"{"status":{"phase":"Failed","exitCode":3}}"#, r#"{"status":null}"#] {
        assert_eq!(cube.patch(path, wrong), 200);
        let status = cube.await_status("t", "what is", |status| status["phase"] == "Running");
        assert_eq!(status["containerID"], container.as_str());
        assert!(status["exitCode"].is_null());
    }
}

#[test]
fn a_task_that_is_held_does_not_say_that_it_runs() {
    let cube = Cube::up();
    let held = sleeper("t").replace("name: t", "name: t, finalizers: [example.com/hold]");
    cube.write("t.yaml", &held);
    cube.await_running("t");
    cube.remove("t.yaml");
    cube.await_status("t", "that it has stopped", |status| status["reason"] == "Stopped");
    let ready = &cube.status("t")["conditions"];
    assert!(
        ready
            .as_array()
            .unwrap()
            .iter()
            .any(|condition| condition["type"] == "Ready" && condition["status"] == "False")
    );
    cube.await_true("no container is left", || cube.containers(&[]).is_empty());
    let release = r#"{"metadata":{"finalizers":null}}"#;
    assert_eq!(cube.patch("/apis/cube/v1/namespaces/default/tasks/t", release), 200);
    cube.await_true("it is gone", || cube.list("tasks").is_empty());
}

fn await_another(cube: &Cube, old: &str) -> String {
    cube.await_status("t", "that another container runs", |status| {
        status["phase"] == "Running" && status["containerID"] != old
    });
    cube.await_true("one container is left", || cube.containers(&[]).len() == 1);
    cube.container("t")
}

#[test]
fn a_container_that_someone_ends_is_started_again() {
    let (cube, mut container) = one();
    for (n, verb) in [&["kill"][..], &["stop"], &["rm", "--force"]].into_iter().enumerate() {
        let command: Vec<&str> = verb.iter().copied().chain([container.as_str()]).collect();
        docker(None, &command);
        container = await_another(&cube, &container);
        let restarts = cube.status("t")["restarts"].as_u64().unwrap();
        assert_eq!(restarts, n as u64 + 1, "after {verb:?}");
    }
    cube.await_line("container removed by someone else");
    let status = cube.status("t");
    assert_eq!(status["lastTermination"]["reason"], "Removed");
}

#[test]
fn a_container_that_someone_freezes_or_renames_is_set_right() {
    let (cube, container) = one();
    docker(None, &["pause", &container]);
    cube.await_line("paused by someone else");
    let paused = || docker(None, &["inspect", "--format", "{{.State.Paused}}", &container]);
    cube.await_true("it goes on", || paused() == "false");
    docker(None, &["rename", &container, &format!("mine-{}", cube.node())]);
    cube.await_line("renamed by someone else");
    let name = || docker(None, &["inspect", "--format", "{{.Name}}", &container]);
    cube.await_true("it has its name", || name().starts_with("/cube-default-t-"));
    assert_eq!(cube.container("t"), container);
    assert_eq!(cube.status("t")["restarts"].as_u64().unwrap_or(0), 0);
}

#[test]
fn a_container_that_someone_takes_out_of_its_network_is_brought_back() {
    let cube = Cube::up();
    // The sleeper is on the machine's network, which nobody can leave.
    let spec = "{ image: busybox, init: true, command: [sleep, '1000'], ports: [{ containerPort: 80, hostPort: 0 }] }";
    cube.write(
        "t.yaml",
        &format!("apiVersion: cube/v1\nkind: Task\nmetadata: {{ name: t }}\nspec: {spec}\n"),
    );
    cube.await_running("t");
    let container = cube.container("t");
    let networks = || {
        docker(
            None,
            &["inspect", "--format", "{{json .NetworkSettings.Networks}}", &container],
        )
    };
    let before = networks();
    let network = before.split('"').nth(1).unwrap_or_default().to_owned();
    assert!(network.starts_with("cube-default"), "{before}");
    docker(None, &["network", "disconnect", &network, &container]);
    cube.await_line("taken out of its network by someone else");
    cube.await_status("t", "that it has an address", |status| {
        status["addresses"].as_array().is_some_and(|all| all.len() == 1)
    });
    assert_eq!(cube.container("t"), container);
    assert!(networks().contains("\"t\""), "under its name again: {}", networks());
    assert_eq!(cube.status("t")["restarts"].as_u64().unwrap_or(0), 0);
}

#[test]
fn what_was_done_while_cube_was_away_is_seen_when_it_is_back() {
    let (mut cube, container) = one();
    cube.write(
        "once.yaml",
        "apiVersion: cube/v1\nkind: Task\nmetadata: { name: once }\nspec: { image: busybox, init: true, restartPolicy: Never, command: [sleep, '1000'] }\n",
    );
    cube.await_running("once");
    let once = cube.container("once");
    cube.kill();
    docker(None, &["kill", &container]);
    docker(None, &["rm", "--force", &once]);
    cube.start();
    await_another_of(&cube, "t", &container);
    // What runs once is not run twice because somebody removed it.
    let status = cube.await_status("once", "that it has failed", |status| status["phase"] == "Failed");
    assert_eq!(status["reason"], "Removed");
}

fn await_another_of(cube: &Cube, task: &str, old: &str) {
    cube.await_status(task, "that another container runs", |status| {
        status["phase"] == "Running" && status["containerID"] != old
    });
}

#[test]
fn a_stranger_with_the_next_containers_name_is_told_of_and_never_touched() {
    let (cube, container) = one();
    let name = docker(None, &["inspect", "--format", "{{.Name}}", &container]);
    let next = format!("{}2", name.trim_start_matches('/').strip_suffix('1').unwrap());
    let command = [
        "run",
        "--detach",
        "--init",
        "--name",
        next.as_str(),
        "--label",
        "stranger=yes",
        "busybox",
        "sleep",
        "1000",
    ];
    let stranger = docker(None, &command);
    docker(None, &["rm", "--force", &container]);
    let another = await_another(&cube, &container);
    assert_ne!(another, stranger);
    cube.await_true("somebody is told", || {
        let told = cube
            .list("events")
            .into_iter()
            .find(|event| event["reason"] == "NameInUse");
        told.is_some_and(|event| event["message"].as_str().unwrap().contains(&next))
    });
    cube.remove("t.yaml");
    cube.await_true("what is Cube's is gone", || cube.containers(&[]).is_empty());
    let running = docker(
        None,
        &["inspect", "--format", "{{.State.Running}} {{.Name}}", &stranger],
    );
    docker(None, &["rm", "--force", &stranger]);
    assert_eq!(running, format!("true /{next}"));
}

#[test]
fn containers_of_strangers_are_never_touched() {
    let (mut cube, container) = one();
    let labels = docker(
        None,
        &[
            "inspect",
            "--format",
            "{{index .Config.Labels \"cube.cluster\"}}",
            &container,
        ],
    );
    let uid = "0192aaaa-bbbb-7ccc-8ddd-eeeeffff0009";
    let stranger = docker(
        None,
        &[
            "run",
            "--detach",
            "--init",
            "--label",
            &format!("cube.cluster={labels}"),
            "--label",
            &format!("cube.uid={uid}"),
            "--label",
            "cube.task=x",
            "--label",
            "cube.namespace=default",
            "--label",
            "stranger=yes",
            "busybox",
            "sleep",
            "1000",
        ],
    );
    // Its name is what the next container of a Task would have.
    cube.interrupt();
    cube.start();
    cube.write("u.yaml", &sleeper("u"));
    cube.await_running("u");
    cube.remove("u.yaml");
    cube.await_true("u is gone", || cube.object("task", "u").is_null());
    // Longer than a second look takes.
    let began = std::time::Instant::now();
    cube.await_true("some time has passed", || began.elapsed().as_secs() >= 5);
    let running = docker(None, &["inspect", "--format", "{{.State.Running}}", &stranger]);
    assert_eq!(running, "true");
    assert_eq!(cube.container("t"), container);
    docker(None, &["rm", "--force", &stranger]);
}

#[test]
fn a_network_that_someone_removes_is_made_anew() {
    let (cube, container) = one();
    let network = cube.networks().remove(0);
    docker(None, &["network", "disconnect", "--force", &network, &container]);
    docker(None, &["network", "rm", &network]);
    docker(None, &["kill", &container]);
    await_another(&cube, &container);
    assert_eq!(cube.networks().len(), 1);
    assert_eq!(cube.containers(&[]).len(), 1);
}

#[test]
fn a_copy_of_a_container_is_a_strangers_also_when_all_is_taken_down() {
    let (cube, container) = one();
    let image = format!("{}:copy", cube.node());
    docker(None, &["commit", &container, &image]);
    let copy = docker(
        None,
        &["run", "--detach", "--init", "--entrypoint", "sleep", &image, "1000"],
    );
    let stranger = "cube.uid=0192aaaa-bbbb-7ccc-8ddd-eeeeffff0009";
    let stranger = docker(
        None,
        &[
            "run",
            "--detach",
            "--init",
            "--label",
            stranger,
            "--entrypoint",
            "sleep",
            &image,
            "1000",
        ],
    );
    docker(None, &["kill", &container]);
    cube.await_status("t", "that another container runs", |status| {
        status["phase"] == "Running" && status["containerID"] != container.as_str()
    });
    let running = |id: &str| docker(None, &["inspect", "--format", "{{.State.Running}}", id]);
    assert_eq!((running(&copy).as_str(), running(&stranger).as_str()), ("true", "true"));
    cube.down();
    assert_eq!((running(&copy).as_str(), running(&stranger).as_str()), ("true", "true"));
    docker(None, &["rm", "--force", &copy, &stranger]);
    docker(None, &["rmi", &image]);
}
