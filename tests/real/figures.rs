//! What nodes and Tasks use, as the real kernel and engine count it.
use serde_json::Value;

use super::harness::{Cube, sleeper};

fn told(cube: &Cube, arguments: &[&str]) -> Vec<Value> {
    let text = cube.ok(&[arguments, &["-o", "json"]].concat());
    let told: Value = serde_json::from_str(&text).unwrap();
    told["items"].as_array().unwrap().clone()
}

fn task(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: cube/v1\nkind: Task\nmetadata: {{ name: {name} }}\nspec: {{ image: busybox, init: true, {spec} }}\n"
    )
}

#[test]
fn what_tasks_and_their_node_use_is_measured_when_it_is_asked_for() {
    let cube = Cube::up();
    // Half a processor, 64 MiB, a file of 5 MB, and something over the network.
    let busy = "resources: { limits: { cpu: 500m, memory: 200Mi } }, command: [sh, -c, 'dd if=/dev/zero of=/file bs=1M count=5 2>/dev/null; while true; do :; done']";
    cube.write("busy.yaml", &task("busy", busy));
    cube.write("idle.yaml", &sleeper("idle"));
    let host = "network: host, command: [sleep, '100000']";
    cube.write("host.yaml", &task("host", host));
    for name in ["busy", "idle", "host"] {
        cube.await_running(name);
    }
    let figures = cube.await_some("figures of the disk too", || {
        let figures = told(&cube, &["top", "tasks"]);
        let known = figures.iter().all(|task| task["usage"]["disk"]["usedBytes"].is_u64());
        known.then_some(figures)
    });
    let of = |name: &str| &figures.iter().find(|task| task["name"] == name).unwrap()["usage"];
    let cores = |name: &str| of(name)["cpu"]["usageNanoCores"].as_u64().unwrap() as f64 / 1e9;
    assert!((0.1..0.8).contains(&cores("busy")), "half a processor: {}", of("busy"));
    assert!(cores("idle") < 0.05, "{}", of("idle"));
    let number = |name: &str, pointer: &str| of(name).pointer(pointer).and_then(Value::as_u64).unwrap();
    assert!(number("idle", "/memory/workingSetBytes") > 10_000);
    assert!(
        (5_000_000..20_000_000).contains(&number("busy", "/disk/usedBytes")),
        "{}",
        of("busy")
    );
    assert!(number("idle", "/disk/usedBytes") < 1_000_000);
    assert!(of("idle")["network"]["inBytes"].is_u64());
    assert!(
        of("host")["network"].is_null(),
        "the machine's traffic is not the Task's"
    );

    let nodes = told(&cube, &["top", "nodes"]);
    let usage = &nodes[0]["usage"];
    assert_eq!(nodes[0]["name"], cube.node());
    for known in [
        "/cpu/usageNanoCores",
        "/memory/workingSetBytes",
        "/network/inBytes",
        "/blockIo/outBytes",
        "/disk/capacityBytes",
    ] {
        assert!(usage.pointer(known).is_some_and(Value::is_u64), "{known}: {usage}");
    }
    let shown = cube.ok(&["top", "tasks", "--sort-by", "cpu"]);
    let rows: Vec<&str> = shown.lines().collect();
    assert!(rows[0].contains("CPU%") && rows[1].starts_with("busy"), "{shown}");
    assert!(rows[1].contains('%'), "of its limit: {shown}");
    assert!(cube.ok(&["top", "nodes"]).contains('%'));

    // What has no container, or has just got one, has nothing to show.
    cube.write(
        "new.yaml",
        &sleeper("new").replace("image: busybox", "image: '127.0.0.1:9/no/such:image'"),
    );
    cube.await_status("new", "that it has no image", |status| {
        status["reason"] == "ImagePullBackOff"
    });
    let shown = cube.ok(&["top", "tasks"]);
    let row = shown.lines().find(|line| line.starts_with("new")).unwrap();
    assert_eq!(row.split_whitespace().skip(2).collect::<String>(), "-------", "{shown}");
}
