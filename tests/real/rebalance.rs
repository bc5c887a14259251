//! A node that is new, or that has returned, gets its share; nobody is lost on the way.
use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    fleet::{Worker, task},
    harness::{Cube, shown},
};

/// A Deployment with the strategy that one has who says nothing of it.
fn web(replicas: u32) -> String {
    let template: Value = serde_json::from_str(&task("x", &json!({}))).unwrap();
    json!({
        "apiVersion": "cube/v1", "kind": "Deployment", "metadata": { "name": "web" },
        "spec": { "replicas": replicas, "template": { "spec": template["spec"] } },
    })
    .to_string()
}

fn places(workers: [&Worker; 3]) -> [usize; 3] {
    workers.map(|worker| worker.all().len())
}

/// Does something, and answers with the fewest available Tasks that the Deployment had meanwhile.
fn fewest(cube: &Cube, act: impl FnOnce()) -> u64 {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut fewest = u64::MAX;
            while !over.load(Ordering::Relaxed) {
                let status = cube.object("deployment", "web")["status"].clone();
                fewest = fewest.min(status["availableReplicas"].as_u64().unwrap_or(0));
                thread::sleep(Duration::from_millis(20));
            }
            fewest
        });
        act();
        over.store(true, Ordering::Relaxed);
        watch.join().unwrap()
    })
}

#[test]
fn a_new_node_and_one_that_has_returned_get_their_share_and_nobody_is_lost() {
    let cube = Cube::manager();
    let (a, mut b) = (Worker::start(&cube, "a"), Worker::start(&cube, "b"));
    cube.write("web.json", &web(6));
    cube.await_true("all are ready", || {
        cube.object("deployment", "web")["status"]["availableReplicas"] == 6
    });
    let c = Worker::start(&cube, "c");
    assert_eq!(places([&a, &b, &c]), [3, 3, 0]);
    let plan = cube.ok(&["rebalance", "--dry-run"]);
    assert_eq!(plan.matches("start-first").count(), 2, "{plan}");
    assert_eq!(places([&a, &b, &c]), [3, 3, 0]);

    let least = fewest(&cube, || {
        let said = cube.ok(&["rebalance", "--yes", "--timeout", "60s"]);
        assert!(said.contains("is ready on c (2 of 2)"), "{said}");
    });
    assert_eq!(least, 6, "another one was ready first");
    cube.await_true("the engines say so", || places([&a, &b, &c]) == [2, 2, 2]);
    let again = cube.ok(&["rebalance", "--yes"]);
    assert!(again.starts_with("no move would make the nodes more even"), "{again}");

    // One is lost, and returns with nothing: now they move by themselves.
    b.process.kill();
    cube.await_true("its Tasks run elsewhere", || {
        let available = cube.object("deployment", "web")["status"]["availableReplicas"].clone();
        available == 6 && [&a, &c].map(|worker| worker.all().len()) == [3, 3]
    });
    b.start_again(&cube);
    cube.await_true("it is back, and empty", || {
        b.ready(&cube) == "True" && b.all().is_empty()
    });
    assert_eq!(places([&a, &b, &c]), [3, 0, 3]);
    let told = cube.ok(&["rebalance", "--auto", "--moves-per-minute", "30"]);
    assert!(told.contains("at most 30 a minute"), "{told}");
    let least = fewest(&cube, || {
        cube.await_true("it has its share", || places([&a, &b, &c]) == [2, 2, 2]);
    });
    assert_eq!(least, 6);
    let events = cube.ok(&["events"]);
    assert_eq!(events.matches("Rebalanced").count(), 4, "{events}");
    let off = cube.cube(&["rebalance", "--auto=off"]);
    assert!(off.status.success(), "{}", shown(&off));
}
