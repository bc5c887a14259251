//! What is known to go wrong with others of this kind, where no other scenario brings it about: by the number of its report.
use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::fleet::{Worker, task};
use super::hands::{cube, object, sleeper};
use super::harness::{Cube, shown};
use super::oracle::{Place, Witness, await_settled, rest};

fn running(cube: &Cube, count: usize) -> Result<(), String> {
    let tasks = cube.list("tasks");
    let up = tasks.iter().filter(|task| task["status"]["phase"] == "Running").count();
    if up == count && tasks.len() == count {
        Ok(())
    } else {
        Err(format!("{up} of {} run", tasks.len()))
    }
}

#[test]
#[ignore = "long: dev/chaos runs it"]
fn rival_04_a_port_is_free_for_who_comes_next() {
    let (_engine, mut cube, place) = cube();
    let places = [place.clone()];
    let witness = Witness::begin(&places);
    for round in 0..8 {
        let ported = json!({ "ports": [{ "containerPort": 80, "hostPort": 8080 }], "env": [{ "name": "V", "value": round.to_string() }] });
        cube.write("t.json", &sleeper("t", &ported));
        cube.await_true("the wish is known", || {
            cube.object("task", "t")["spec"]["env"][0]["value"].as_str() == Some(round.to_string().as_str())
        });
        match round % 3 {
            0 => {}
            1 => {
                cube.kill();
                cube.start();
            }
            _ => {
                let before = places[0].docker(&["ps", "--quiet", "--filter", "label=cube.task=t"]);
                before.lines().for_each(|id| place.kill(id));
            }
        }
        await_settled(&cube, &places, || {
            running(&cube, 1)?;
            let status = cube.status("t");
            let current = status["observedGeneration"] == cube.object("task", "t")["metadata"]["generation"];
            if current && status["ports"][0]["hostPort"] == 8080 {
                Ok(())
            } else {
                Err(status.to_string())
            }
        });
    }
    println!("figure: {} looks", witness.end());
}

#[test]
#[ignore = "long: dev/chaos runs it"]
fn rival_11_20_networks_and_ports_come_back_with_the_engine() {
    let (mut engine, mut cube, place) = cube();
    let places = [place.clone()];
    for number in 0..4 {
        let ported = json!({ "ports": [{ "containerPort": 80, "hostPort": 8080 + number }] });
        cube.write(&format!("t{number}.json"), &sleeper(&format!("t{number}"), &ported));
    }
    await_settled(&cube, &places, || running(&cube, 4));
    for round in 0..4 {
        let network = cube.networks().remove(0);
        if round >= 2 {
            cube.kill();
        }
        engine.signal(if round % 2 == 0 { Signal::KILL } else { Signal::TERM });
        engine.run();
        if round >= 2 {
            // And its network is gone, as after an engine that was set up anew.
            let all = place.docker(&["ps", "--all", "--quiet"]);
            all.lines().for_each(|id| _ = place.docker(&["rm", "--force", id]));
            place.docker(&["network", "rm", &network]);
            cube.start();
        }
        await_settled(&cube, &places, || running(&cube, 4));
        let ends: Value =
            serde_json::from_str(&place.ask(&format!("/networks/{}", cube.networks()[0])).unwrap()).unwrap();
        assert_eq!(ends["Containers"].as_object().unwrap().len(), 4, "{ends}");
    }
    rest(&cube, &places, Duration::from_secs(2));
}

#[test]
#[ignore = "long: dev/chaos runs it"]
fn rival_12_what_fails_to_start_leaves_no_end_of_a_network() {
    let (engine, cube, place) = cube();
    let places = [place.clone()];
    cube.write("ok.json", &sleeper("ok", &json!({})));
    cube.await_running("ok");
    place.stranger("web", &["--publish", "8080:80"]);
    let namespaces = || {
        let mounts = fs::read_to_string(format!("/proc/{}/mounts", engine.pid())).unwrap();
        mounts.lines().filter(|mount| mount.contains("/netns/")).count()
    };
    let before = namespaces();
    for number in 0..4 {
        cube.write(
            &format!("cmd{number}.json"),
            &sleeper(
                &format!("cmd{number}"),
                &json!({ "init": false, "command": ["no-such-program"] }),
            ),
        );
        let ported = json!({ "ports": [{ "containerPort": 80, "hostPort": 8080 }] });
        cube.write(
            &format!("port{number}.json"),
            &sleeper(&format!("port{number}"), &ported),
        );
    }
    cube.await_true("each has failed some times", || {
        let tasks = cube.list("tasks");
        let failing = tasks
            .iter()
            .filter(|task| task["metadata"]["name"].as_str().unwrap().starts_with("cmd"));
        failing
            .filter(|task| task["status"]["restarts"].as_u64() >= Some(3))
            .count()
            == 4
    });
    // A start that is tried again and again has one for a moment.
    let network = cube.networks().remove(0);
    cube.await_true("only what runs has an end of the network", || {
        let ends = place.ask(&format!("/networks/{network}")).unwrap();
        let ends: Value = serde_json::from_str(&ends).unwrap();
        ends["Containers"].as_object().unwrap().len() == 1
    });
    for number in 0..4 {
        cube.remove(&format!("cmd{number}.json"));
        cube.remove(&format!("port{number}.json"));
    }
    cube.await_line("nothing removed");
    cube.ok(&["approve"]);
    await_settled(&cube, &places, || running(&cube, 1));
    cube.await_true("their namespaces are gone", || namespaces() == before);
}

#[test]
#[ignore = "long: dev/chaos runs it"]
fn rival_13_15_nothing_is_said_to_run_whose_process_is_gone() {
    let (_engine, cube, place) = cube();
    let places = [place.clone()];
    for name in ["program", "keeper"] {
        cube.write(&format!("{name}.json"), &sleeper(name, &json!({})));
    }
    for name in ["program", "keeper"] {
        cube.await_running(name);
    }
    let witness = Witness::begin(&places);
    for name in ["program", "keeper"] {
        let id = cube.container(name);
        let pid = place
            .docker(&["inspect", "--format", "{{.State.Pid}}", &id])
            .parse()
            .unwrap();
        let parent = || -> i32 {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            status
                .lines()
                .find_map(|line| line.strip_prefix("PPid:"))
                .unwrap()
                .trim()
                .parse()
                .unwrap()
        };
        // Past the engine: the program itself, or who keeps it for the engine.
        let killed = if name == "program" { pid } else { parent() };
        let began = Instant::now();
        kill_process(Pid::from_raw(killed).unwrap(), Signal::KILL).unwrap();
        cube.await_status(name, "that another container runs", |status| {
            status["phase"] == "Running" && status["containerID"] != id.as_str()
        });
        println!("figure: {name} {:.1} s", began.elapsed().as_secs_f64());
        await_settled(&cube, &places, || running(&cube, 2));
    }
    witness.end();
}

#[test]
#[ignore = "long: dev/chaos runs it"]
fn rival_18_in_whatever_order_things_are_made_all_run() {
    let (_engine, cube, place) = cube();
    let places = [place.clone()];
    let namespace = json!({ "apiVersion": "cube/v1", "kind": "Namespace", "metadata": { "name": "shop" } }).to_string();
    let inside = |text: String| {
        let mut object: Value = serde_json::from_str(&text).unwrap();
        object["metadata"]["namespace"] = json!("shop");
        object.to_string()
    };
    let spec = json!({ "image": "busybox", "init": true, "network": "none", "command": ["sleep", "100000"] });
    let web = |name: &str| inside(object("Deployment", name, &json!({ "template": { "spec": spec } })));
    let documents = [web("a"), inside(sleeper("b", &json!({}))), web("c"), namespace];
    let up = || {
        let all: Value = serde_json::from_str(&cube.ok(&["get", "tasks", "-A", "-o", "json"])).unwrap();
        let all = all["items"].as_array().unwrap().clone();
        let up = all.iter().filter(|task| task["status"]["phase"] == "Running").count();
        if up == 3 && all.len() == 3 {
            Ok(())
        } else {
            Err(format!("{up} of {}", all.len()))
        }
    };
    for turn in 0..4 {
        let mut order = documents.to_vec();
        order.rotate_left(turn);
        for (number, document) in order.iter().enumerate() {
            cube.write(&format!("{turn}-{number}.json"), document);
        }
        await_settled(&cube, &places, up);
        for number in 0..4 {
            cube.remove(&format!("{turn}-{number}.json"));
        }
        // Of four, or of what goes with them, most are gone: somebody has to say yes.
        cube.await_some("all are gone", || {
            let _ = cube.cube(&["approve"]);
            let all: Value = serde_json::from_str(&cube.ok(&["get", "tasks,deployments", "-A", "-o", "json"])).unwrap();
            all["items"].as_array().unwrap().is_empty().then_some(())
        });
    }
}

#[test]
#[ignore = "long: dev/chaos runs it"]
fn rival_26_a_worker_whose_files_are_empty_or_nonsense_starts_and_adopts() {
    let mut cube = Cube::manager();
    let mut a = Worker::start(&cube, "a");
    let places = [Place::new("a", &a.engine.address())];
    for name in ["t", "u"] {
        cube.write(&format!("{name}.json"), &task(name, &json!({})));
    }
    await_settled(&cube, &places, || running(&cube, 2));
    let before = [a.running("t"), a.running("u")];
    let witness = Witness::begin(&places);
    let files = ["assignments", "contact", "made"];
    for (round, file) in files.iter().cycle().take(9).enumerate() {
        a.process.kill();
        // With the manager away too, the worker has nothing but its files.
        if round >= 6 {
            cube.kill();
        }
        let path = cube.path("a/worker").join(file);
        match round / 3 {
            0 => fs::write(&path, "").unwrap(),
            1 => fs::write(&path, [0xff, 0, b'{', b'"', 0x80]).unwrap(),
            _ => {
                let whole = fs::read(&path).unwrap();
                fs::write(&path, &whole[..whole.len() / 2]).unwrap();
            }
        }
        a.start_again(&cube);
        if round >= 6 {
            cube.start();
        }
        cube.await_true("the worker is there", || a.ready(&cube) == "True");
        await_settled(&cube, &places, || running(&cube, 2));
        assert_eq!([a.running("t"), a.running("u")], before, "{file}, round {round}");
    }
    witness.end();
    // What is deleted then goes, though the worker may have forgotten that it made it.
    cube.remove("t.json");
    await_settled(&cube, &places, || running(&cube, 1));
}

#[test]
#[ignore = "long: dev/chaos runs it"]
fn rival_30_what_is_applied_again_changes_nothing_and_what_is_half_broken_nothing_either() {
    let (_engine, mut cube, place) = cube();
    let places = [place.clone()];
    let file = cube.path("all.yaml");
    let both = format!("{}\n---\n{}", sleeper("a", &json!({})), sleeper("b", &json!({})));
    fs::write(&file, &both).unwrap();
    let path = file.to_str().unwrap().to_owned();
    cube.ok(&["apply", "-f", &path, "--wait", "--timeout", "60s"]);
    await_settled(&cube, &places, || running(&cube, 2));
    let before = [cube.container("a"), cube.container("b")];
    for reboot in [false, true] {
        if reboot {
            cube.kill();
            cube.start();
            await_settled(&cube, &places, || running(&cube, 2));
        }
        let said = cube.ok(&["apply", "-f", &path]);
        assert_eq!(said.matches("unchanged").count(), 2, "{said}");
        rest(&cube, &places, Duration::from_secs(1));
        let broken = format!("kind: Tusk\n---\n{}", both.replace("100000", "7"));
        fs::write(cube.path("broken.yaml"), broken).unwrap();
        let refused = cube.cube(&["apply", "-f", cube.path("broken.yaml").to_str().unwrap()]);
        assert_ne!(refused.status.code(), Some(0), "{}", shown(&refused));
        assert_eq!([cube.container("a"), cube.container("b")], before);
        assert_eq!(cube.object("task", "a")["spec"]["command"][1], "100000");
    }
}

#[test]
#[ignore = "long: dev/chaos runs it"]
fn rival_31_a_hundred_at_once_and_none_of_them_again() {
    let (_engine, cube, place) = cube();
    let places = [place.clone()];
    let spec = json!({ "image": "busybox", "init": true, "network": "host", "command": ["sleep", "100000"] });
    let file = cube.path("many.json");
    let scale = |replicas: u64| {
        fs::write(
            &file,
            object(
                "Deployment",
                "many",
                &json!({ "replicas": replicas, "template": { "spec": spec } }),
            ),
        )
        .unwrap();
        cube.ok(&["apply", "-f", file.to_str().unwrap()]);
    };
    let witness = Witness::begin(&places);
    for replicas in [100, 3, 60, 0] {
        let began = Instant::now();
        scale(replicas);
        let count = usize::try_from(replicas).unwrap();
        await_settled(&cube, &places, || running(&cube, count));
        println!("figure: {replicas} after {:.1} s", began.elapsed().as_secs_f64());
        assert!(
            cube.list("tasks")
                .iter()
                .all(|task| task["status"]["restarts"].is_null())
        );
    }
    witness.end();
}
