//! An engine of the test's own that is restarted and killed: said on the Node, taken for unknown, adopted when it is back.
use super::dockerd::Dockerd;
use super::harness::Cube;

fn task(name: &str) -> String {
    format!(
        "apiVersion: cube/v1\nkind: Task\nmetadata: {{ name: {name} }}\nspec: {{ image: busybox, init: true, network: none, command: [sleep, '100000'] }}\n"
    )
}

#[test]
fn an_engine_that_is_restarted_or_killed_loses_nothing() {
    let mut dockerd = Dockerd::start();
    let mut cube = Cube::new().on_engine(&dockerd.address());
    for name in ["a", "b"] {
        cube.write(&format!("{name}.yaml"), &task(name));
    }
    cube.start();
    cube.await_running("a");
    cube.await_running("b");

    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::KILL] {
        dockerd.signal(signal);
        let node = cube.node();
        let ready = |cube: &Cube| {
            let conditions = cube.object("node", &node)["status"]["conditions"].clone();
            let ready = conditions
                .as_array()
                .unwrap()
                .iter()
                .find(|one| one["type"] == "EngineReady")
                .cloned();
            ready.unwrap()["status"].as_str().unwrap().to_owned()
        };
        cube.await_true("the node says that its engine is away", || ready(&cube) == "False");
        dockerd.run();
        cube.await_true("the node is ready again", || ready(&cube) == "True");
        for name in ["a", "b"] {
            let label = format!("label=cube.task={name}");
            cube.await_true("one container runs", || {
                cube.containers(&[&label, "status=running"]).len() == 1 && cube.containers(&[&label]).len() == 1
            });
            let container = cube.container(name);
            let status = cube.await_status(name, "that it runs", |status| {
                status["containerID"] == container.as_str()
            });
            // Having been stopped with the engine is nobody's failure.
            assert_eq!(status["failures"].as_u64().unwrap_or(0), 0, "{status}");
            assert_eq!(status["restarts"].as_u64().unwrap_or(0), 0, "{status}");
        }
    }
    // A machine that stops takes Cube first, then the engine; both come back.
    cube.interrupt();
    dockerd.signal(rustix::process::Signal::TERM);
    dockerd.run();
    cube.start();
    for name in ["a", "b"] {
        let status = cube.await_running(name);
        assert_eq!(status["failures"].as_u64().unwrap_or(0), 0, "{status}");
        assert_eq!(status["restarts"].as_u64().unwrap_or(0), 0, "{status}");
    }
    cube.down();
}
