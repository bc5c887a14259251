//! Containers that cannot be, that fail, and that run once.
use std::net::TcpListener;

use super::harness::{Cube, docker};

fn task(name: &str, spec: &str) -> String {
    format!("apiVersion: cube/v1\nkind: Task\nmetadata: {{ name: {name} }}\nspec: {{ image: busybox, {spec} }}\n")
}

#[test]
fn what_runs_once_ends_as_its_exit_code_says_and_keeps_its_log() {
    let cube = Cube::up();
    cube.write(
        "good.yaml",
        &task("good", "restartPolicy: Never, command: [echo, done]"),
    );
    cube.write(
        "bad.yaml",
        &task("bad", "restartPolicy: Never, command: [sh, -c, 'echo oh no; exit 3']"),
    );
    let good = cube.await_status("good", "that it is over", |status| status["phase"] == "Completed");
    assert_eq!((&good["exitCode"], &good["reason"]), (&0.into(), &"Completed".into()));
    let bad = cube.await_status("bad", "that it is over", |status| status["phase"] == "Failed");
    assert_eq!(bad["exitCode"], 3);
    assert_eq!(bad["lastTermination"]["log"][0], "oh no");
    assert_eq!(cube.ok(&["logs", "good"]), "done\n");
    // Their containers stay for their logs.
    assert_eq!(cube.containers(&[]).len(), 2);
}

#[test]
fn a_command_that_does_not_exist_backs_off_and_says_so() {
    let cube = Cube::up();
    cube.write("t.yaml", &task("t", "command: [no-such-program]"));
    let status = cube.await_status("t", "that it backs off", |status| {
        status["reason"] == "BackOff" && status["restarts"].as_u64() >= Some(2)
    });
    assert_eq!(status["lastTermination"]["exitCode"], 127);
    assert!(
        status["message"].as_str().unwrap().contains("no-such-program"),
        "{status}"
    );
    let described = cube.ok(&["describe", "task", "t"]);
    assert!(described.contains("BackOff"), "{described}");
}

#[test]
fn an_image_that_does_not_exist_is_told_and_holds_up_no_other() {
    let cube = Cube::up();
    cube.write(
        "t.yaml",
        "apiVersion: cube/v1\nkind: Task\nmetadata: { name: t }\nspec: { image: '127.0.0.1:9/no/such:image' }\n",
    );
    cube.write("u.yaml", &task("u", "init: true, command: [sleep, '1000']"));
    cube.await_running("u");
    let status = cube.await_status("t", "that it cannot be pulled", |status| {
        status["reason"] == "ImagePullBackOff"
    });
    assert!(
        status["message"]
            .as_str()
            .unwrap()
            .contains("127.0.0.1:9/no/such:image"),
        "{status}"
    );
}

#[test]
fn a_registry_that_hangs_holds_up_no_other_and_a_deletion_goes_through() {
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = deaf.local_addr().unwrap().port();
    let cube = Cube::up();
    cube.write(
        "t.yaml",
        &format!(
            "apiVersion: cube/v1\nkind: Task\nmetadata: {{ name: t }}\nspec: {{ image: '127.0.0.1:{port}/a:b' }}\n"
        ),
    );
    cube.await_status("t", "that it is being pulled", |status| status["reason"] == "Pulling");
    cube.write("u.yaml", &task("u", "init: true, command: [sleep, '1000']"));
    cube.await_running("u");
    cube.remove("t.yaml");
    cube.await_true("t is gone", || cube.object("task", "t").is_null());
}

#[test]
fn a_port_in_use_by_a_stranger_is_waited_for() {
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = stranger.local_addr().unwrap().port();
    let cube = Cube::up();
    let ports = format!(
        "init: true, command: [sleep, '1000'], ports: [{{ containerPort: 80, hostPort: {port}, hostIP: 127.0.0.1 }}]"
    );
    cube.write("t.yaml", &task("t", &ports));
    let status = cube.await_status("t", "that the port is in use", |status| status["reason"] == "PortInUse");
    assert!(
        status["message"].as_str().unwrap().contains(&port.to_string()),
        "{status}"
    );
    drop(stranger);
    let status = cube.await_running("t");
    assert_eq!(status["ports"][0]["hostPort"], port);
    assert_eq!(status["restarts"].as_u64().unwrap_or(0), 0);
}

#[test]
fn memory_that_the_machine_has_not_is_explained_and_given_up_for_less() {
    let cube = Cube::up();
    let needs = |memory: &str| {
        task(
            "t",
            &format!("init: true, command: [sleep, '1000'], resources: {{ requests: {{ memory: {memory} }} }}"),
        )
    };
    cube.write("t.yaml", &needs("900Ti"));
    let status = cube.await_status("t", "that it fits nowhere", |status| {
        status["reason"] == "Unschedulable"
    });
    assert_eq!(status["phase"].as_str().unwrap_or("Pending"), "Pending");
    let message = status["message"].as_str().unwrap();
    assert!(
        message.starts_with("0/1 node can run this: ") && message.contains("memory"),
        "{message}"
    );
    // Who waits for one like it need not wait until the time is over.
    let file = cube.path("other.yaml");
    super::harness::write(&file, &needs("900Ti").replace("name: t", "name: u"));
    let waited = cube.cube(&["apply", "--wait", "--timeout", "30s", "-f", file.to_str().unwrap()]);
    assert_eq!(waited.status.code(), Some(3));
    cube.write("t.yaml", &needs("1Mi"));
    cube.await_running("t");
}

#[test]
fn an_out_of_memory_kill_says_so() {
    let cube = Cube::up();
    cube.write(
        "t.yaml",
        &task("t", "restartPolicy: Never, command: [sh, -c, 'x=aaaaaaaaaaaaaaaa; while true; do x=$x$x; done'], resources: { limits: { memory: 16Mi } }"),
    );
    let status = cube.await_status("t", "that it is over", |status| status["phase"] == "Failed");
    assert_eq!(status["reason"], "OOMKilled", "{status}");
}

#[test]
fn a_program_that_ignores_the_signal_is_killed_when_its_grace_is_over() {
    let cube = Cube::up();
    cube.write(
        "t.yaml",
        &task(
            "t",
            "terminationGracePeriodSeconds: 2, command: [sh, -c, 'trap \"\" TERM; while true; do sleep 0.1; done']",
        ),
    );
    cube.await_running("t");
    let began = std::time::Instant::now();
    cube.remove("t.yaml");
    cube.await_true("it is gone", || cube.containers(&[]).is_empty());
    let took = began.elapsed().as_secs_f64();
    assert!(took > 2.0, "killed after {took} s");
}

#[test]
fn defaults_are_safe() {
    let cube = Cube::up();
    cube.write("t.yaml", &task("t", "init: true, command: [sleep, '1000']"));
    cube.await_running("t");
    let id = cube.container("t");
    let seen = docker(
        None,
        &[
            "inspect",
            "--format",
            "{{.HostConfig.SecurityOpt}} {{.HostConfig.PidsLimit}} {{.HostConfig.LogConfig.Config}} {{.HostConfig.Privileged}} {{.HostConfig.RestartPolicy.Name}} {{.HostConfig.CapDrop}}",
            &id,
        ],
    );
    assert!(seen.contains("no-new-privileges"), "{seen}");
    assert!(seen.contains(" 4096 map[max-file:3 max-size:10m] false no"), "{seen}");
    assert!(seen.contains("NET_RAW"), "{seen}");
}

#[test]
fn an_image_that_must_not_be_pulled_is_waited_for_and_who_waits_is_told() {
    let cube = Cube::up();
    let image = format!("{}:local", cube.node());
    let file = cube.path("t.yaml");
    super::harness::write(
        &file,
        &format!(
            "apiVersion: cube/v1\nkind: Task\nmetadata: {{ name: t }}\nspec: {{ image: '{image}', imagePullPolicy: Never, init: true, command: [sleep, '1000'] }}\n"
        ),
    );
    let waited = cube.cube(&["apply", "--wait", "--timeout", "60s", "-f", file.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&waited.stderr).into_owned();
    assert_eq!(waited.status.code(), Some(4), "{said}");
    assert!(said.contains("imagePullPolicy is Never"), "{said}");
    docker(None, &["tag", "busybox", &image]);
    cube.await_running("t");
    cube.down();
    docker(None, &["rmi", &image]);
}
