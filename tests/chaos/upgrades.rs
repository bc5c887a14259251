//! Another release of Cube on the same data and the same containers.
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;

use super::dockerd::Dockerd;
use super::hands::{object, sleeper};
use super::harness::Cube;
use super::oracle::{Place, await_settled};

#[test]
#[ignore = "long: dev/chaos runs it"]
fn an_upgrade_and_a_downgrade_touch_no_container() {
    let Some(before) = std::env::var_os("CUBE_BINARY_BEFORE").map(PathBuf::from) else {
        println!("figure: not run: CUBE_BINARY_BEFORE names no binary of the release before");
        return;
    };
    let now = std::env::var_os("CUBE_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_cube").into(), PathBuf::from);
    let engine = Dockerd::with_network();
    let mut cube = Cube::new().on_engine(&engine.address());
    cube.set_binary(&before);
    cube.start();
    let places = [Place::new(&cube.node(), &engine.address())];
    // Nothing that an older release does not know.
    let volume =
        json!({ "volumes": [{ "name": "v", "emptyDir": {} }], "volumeMounts": [{ "name": "v", "mountPath": "/v" }] });
    cube.write("t.json", &sleeper("t", &volume));
    let web = json!({ "replicas": 3, "template": { "spec": { "image": "busybox", "init": true, "command": ["sleep", "100000"] } } });
    cube.write("web.json", &object("Deployment", "web", &web));
    cube.await_running("t");
    cube.await_true("web is ready", || {
        cube.object("deployment", "web")["status"]["readyReplicas"] == 3
    });
    let started = |place: &Place| {
        let listed = place.docker(&["ps", "--all", "--quiet", "--no-trunc"]);
        let mut started: Vec<String> = listed
            .lines()
            .map(|id| {
                format!(
                    "{id} {}",
                    place.docker(&["inspect", "--format", "{{.State.StartedAt}}", id])
                )
            })
            .collect();
        started.sort();
        started
    };
    let there = started(&places[0]);
    assert_eq!(there.len(), 4);
    // Up, down again, up; with a word to it, and without.
    for (round, binary) in [&now, &before, &now, &before, &now].into_iter().enumerate() {
        if round % 2 == 0 {
            cube.kill()
        } else {
            _ = cube.interrupt()
        }
        cube.set_binary(binary);
        cube.spawn();
        let began = Instant::now();
        while cube.is_up() && !cube.cube(&["get", "tasks"]).status.success() {
            assert!(began.elapsed() < super::harness::LIMIT);
            std::thread::sleep(Duration::from_millis(20));
        }
        if !cube.is_up() {
            // An older release may refuse what a newer one has written, if it harms nothing.
            assert_eq!(binary, &before, "{:?}", cube.lines());
            let said = cube.lines().join("\n");
            assert!(said.contains("newer") && !said.contains("panicked"), "{said}");
            println!("figure: the release before refuses the store");
            assert_eq!(started(&places[0]), there);
            continue;
        }
        await_settled(&cube, &places, || Ok(()));
        assert_eq!(started(&places[0]), there, "a container was touched");
        assert!(
            cube.list("tasks")
                .iter()
                .all(|task| task["status"]["restarts"].is_null())
        );
        // And it can be written to.
        let name = format!("n{round}");
        let file = cube.path("n.json");
        std::fs::write(&file, sleeper(&name, &json!({}))).unwrap();
        cube.ok(&["apply", "-f", file.to_str().unwrap(), "--wait", "--timeout", "60s"]);
        cube.ok(&["delete", "task", &name, "--timeout", "60s"]);
    }
    println!("figure: five changes of release, no container touched");
}
