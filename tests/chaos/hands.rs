//! What people do by hand at the engine, and what strangers' containers stand in the way.
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::dockerd::Dockerd;
use super::harness::{Cube, LIMIT};
use super::oracle::{Place, Strangers, Witness, await_settled, rest};

/// A cube on an engine of its own that has networks.
pub fn cube() -> (Dockerd, Cube, Place) {
    let engine = Dockerd::with_network();
    let mut cube = Cube::new().on_engine(&engine.address());
    cube.start();
    let place = Place::new(&cube.node(), &engine.address());
    (engine, cube, place)
}

pub fn object(kind: &str, name: &str, spec: &Value) -> String {
    json!({ "apiVersion": "cube/v1", "kind": kind, "metadata": { "name": name }, "spec": spec }).to_string()
}

/// A Task that sleeps in its namespace's network.
pub fn sleeper(name: &str, more: &Value) -> String {
    let mut spec = json!({ "image": "busybox", "init": true, "command": ["sleep", "100000"] });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    object("Task", name, &spec)
}

fn running(cube: &Cube, name: &str) -> Result<(), String> {
    let status = cube.status(name);
    if status["phase"] == "Running" {
        Ok(())
    } else {
        Err(format!("{name} is {status}"))
    }
}

#[test]
#[ignore = "long: dev/chaos runs it"]
fn each_thing_that_is_done_to_a_container_is_set_right() {
    let (_engine, cube, place) = cube();
    let places = [place.clone()];
    let strangers = Strangers::make(&place);
    let verbs: [(&str, &[&str]); 8] = [
        ("rm", &["rm", "--force"]),
        ("stop", &["stop", "--time", "1"]),
        ("kill", &["kill"]),
        ("restart", &["restart", "--time", "1"]),
        ("pause", &["pause"]),
        ("rename", &["rename"]),
        ("update", &["update", "--restart", "always"]),
        ("exit", &["exec"]),
    ];
    for (name, _) in verbs {
        cube.write(&format!("{name}.json"), &sleeper(name, &json!({})));
    }
    for (name, _) in verbs {
        cube.await_running(name);
    }
    let witness = Witness::begin(&places);
    for (name, verb) in verbs {
        let id = cube.container(name);
        let named = format!("mine-{name}");
        let mut arguments = verb.to_vec();
        match name {
            "rename" => arguments.extend([id.as_str(), &named]),
            // The engine itself is to start it again, as it was told a moment ago.
            "exit" => arguments.extend([id.as_str(), "kill", "1"]),
            _ => arguments.push(&id),
        }
        if name == "exit" {
            place.docker(&["update", "--restart", "always", &id]);
        }
        let started = place.docker(&["inspect", "--format", "{{.State.StartedAt}}", &id]);
        let ended = || {
            let running = place.docker(&[
                "ps",
                "--quiet",
                "--no-trunc",
                "--filter",
                &format!("label=cube.task={name}"),
            ]);
            running != id || place.docker(&["inspect", "--format", "{{.State.StartedAt}}", &id]) != started
        };
        let began = Instant::now();
        place.docker(&arguments);
        if name == "exit" {
            cube.await_true("it has ended", ended);
        }
        let healed = |cube: &Cube| {
            running(cube, name)?;
            let inspected = place.ask(&format!(
                "/containers/{}/json",
                cube.status(name)["containerID"].as_str().unwrap()
            ));
            let inspected: Value =
                serde_json::from_str(&inspected.unwrap_or_default()).map_err(|error| error.to_string())?;
            let paused = inspected["State"]["Paused"] == true;
            let renamed = !inspected["Name"]
                .as_str()
                .unwrap_or_default()
                .starts_with("/cube-default-");
            if paused || renamed {
                return Err(format!("paused {paused}, renamed {renamed}"));
            }
            Ok(())
        };
        await_settled(&cube, &places, || healed(&cube));
        println!("figure: {name} {:.1} s", began.elapsed().as_secs_f64());
        assert!(began.elapsed() < Duration::from_secs(10), "{name}");
    }
    rest(&cube, &places, Duration::from_secs(2));
    println!("figure: {} looks", witness.end());
    strangers.end();
}

#[test]
#[ignore = "long: dev/chaos runs it"]
fn a_strangers_container_of_a_name_or_port_is_left_and_told() {
    let (_engine, cube, place) = cube();
    let places = [place.clone()];
    cube.write("t.json", &sleeper("t", &json!({})));
    cube.await_running("t");
    let id = cube.container("t");
    let name = place.docker(&["inspect", "--format", "{{.Name}}", &id]);
    let (stem, number) = name.trim_start_matches('/').rsplit_once('-').unwrap();
    let next = format!("{stem}-{}", number.parse::<u64>().unwrap() + 1);
    place.stranger(&next, &["--network", "none"]);
    place.stranger("web", &["--publish", "8080:80"]);
    let look = |name: &str| place.ask(&format!("/containers/{name}/json")).unwrap();
    let before = (look(&next), look("web"));
    // Its next container would be of that name.
    place.docker(&["kill", &id]);
    let status = cube.await_status("t", "that it runs, or says why not", |status| {
        (status["phase"] == "Running" && status["containerID"] != id.as_str())
            || status["message"].as_str().is_some_and(|told| told.contains(&next))
    });
    println!("figure: of the same name: {} {}", status["phase"], status["message"]);
    let ported = json!({ "ports": [{ "containerPort": 80, "hostPort": 8080 }] });
    cube.write("u.json", &sleeper("u", &ported));
    let status = cube.await_status("u", "that its port is taken", |status| status["reason"] == "PortInUse");
    assert!(status["message"].as_str().unwrap().contains("8080"), "{status}");
    assert_eq!(before, (look(&next), look("web")), "a stranger's was touched");
    // Both go, and nobody has to do anything else.
    place.docker(&["rm", "--force", &next, "web"]);
    await_settled(&cube, &places, || {
        running(&cube, "t").and_then(|()| running(&cube, "u"))
    });
    assert_eq!(cube.status("u")["restarts"].as_u64().unwrap_or(0), 0);
}

#[test]
#[ignore = "long: dev/chaos runs it"]
fn what_fits_nowhere_leaves_when_it_is_deleted_and_runs_when_it_is_mended() {
    let (_engine, cube, place) = cube();
    let greedy = json!({ "resources": { "requests": { "memory": "100Ti" } } });
    let file = cube.path("greedy.json");
    for round in 0..5 {
        std::fs::write(&file, sleeper("greedy", &greedy)).unwrap();
        cube.ok(&["apply", "-f", file.to_str().unwrap()]);
        cube.await_status("greedy", "that it fits nowhere", |status| {
            status["reason"] == "Unschedulable"
        });
        if round % 2 == 0 {
            std::fs::write(&file, sleeper("greedy", &json!({}))).unwrap();
            cube.ok(&["apply", "-f", file.to_str().unwrap(), "--wait", "--timeout", "60s"]);
        }
        let began = Instant::now();
        cube.ok(&["delete", "task", "greedy", "--timeout", "30s"]);
        assert!(began.elapsed() < LIMIT / 2);
    }
    await_settled(&cube, &[place], || Ok(()));
}
