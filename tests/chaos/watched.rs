//! What people and editors do to a watched directory, and a kernel that does not tell all of it.
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::dockerd::Dockerd;
use super::fleet::task;
use super::harness::{Cube, LIMIT, write};
use super::oracle::{Place, await_settled, rest};
use serde_json::json;

fn version(number: u64) -> serde_json::Value {
    json!({ "env": [{ "name": "V", "value": number.to_string() }] })
}

fn is(cube: &Cube, name: &str, number: u64) {
    cube.await_true(&format!("{name} is version {number}"), || {
        cube.object("task", name)["spec"]["env"][0]["value"].as_str() == Some(number.to_string().as_str())
    });
}

#[test]
#[ignore = "long: dev/chaos runs it"]
fn files_are_treated_as_editors_and_people_treat_them() {
    let engine = Dockerd::start();
    let mut cube = Cube::new().on_engine(&engine.address());
    cube.start();
    let places = [Place::new(&cube.node(), &engine.address())];
    let directory = cube.manifests();
    let file = |name: &str| directory.join(name);
    for name in ["a", "b", "c"] {
        cube.write(&format!("{name}.json"), &task(name, &version(1)));
    }
    for name in ["a", "b", "c"] {
        cube.await_running(name);
    }

    // An editor's way: a file of another name, moved over this one; with a copy of the old one beside it.
    write(&file(".a.json.swp"), "nonsense");
    fs::copy(file("a.json"), file("a.json~")).unwrap();
    write(&file("4913"), "");
    fs::remove_file(file("4913")).unwrap();
    write(&file("a.json.tmp"), &task("a", &version(2)));
    fs::rename(file("a.json.tmp"), file("a.json")).unwrap();
    is(&cube, "a", 2);

    // A link that is swapped, as a ConfigMap's files are.
    fs::create_dir(cube.path("v1")).unwrap();
    fs::create_dir(cube.path("v2")).unwrap();
    write(&cube.path("v1").join("d.json"), &task("d", &version(1)));
    write(&cube.path("v2").join("d.json"), &task("d", &version(2)));
    std::os::unix::fs::symlink(cube.path("v1").join("d.json"), file("d.json")).unwrap();
    let linked = |cube: &Cube| !cube.object("task", "d").is_null() || cube.lines().join("\n").contains("d.json");
    cube.await_true("the link is followed, or refused with a word", || linked(&cube));
    if !cube.object("task", "d").is_null() {
        std::os::unix::fs::symlink(cube.path("v2").join("d.json"), file("next")).unwrap();
        fs::rename(file("next"), file("d.json")).unwrap();
        is(&cube, "d", 2);
    }
    println!(
        "figure: a link is {}",
        if cube.object("task", "d").is_null() {
            "refused"
        } else {
            "followed"
        }
    );

    // Neither a pipe nor a device may hold anything up.
    let piped = std::process::Command::new("mkfifo")
        .arg(file("pipe.json"))
        .status()
        .unwrap();
    assert!(piped.success());
    std::os::unix::fs::symlink("/dev/zero", file("zero.json")).unwrap();
    std::os::unix::fs::symlink(&directory, file("loop")).unwrap();
    cube.write("b.json", &task("b", &version(2)));
    is(&cube, "b", 2);
    for name in ["pipe.json", "zero.json", "loop"] {
        fs::remove_file(file(name)).unwrap();
    }

    // Another content, of the same length and the same time.
    let times = fs::metadata(file("b.json")).unwrap().modified().unwrap();
    cube.write("b.json", &task("b", &version(3)));
    fs::File::options()
        .write(true)
        .open(file("b.json"))
        .unwrap()
        .set_modified(times)
        .unwrap();
    is(&cube, "b", 3);

    // One object in two files: told, and neither of them wins twice.
    cube.write("twin.json", &task("c", &version(7)));
    cube.await_line("twin.json");
    let running = cube.container("c");
    cube.remove("twin.json");
    is(&cube, "c", 1);
    assert_eq!(cube.container("c"), running, "nobody had to be started anew");

    // A document that is none, between two that are.
    let three = |middle: &str| {
        format!(
            "{}\n---\n{middle}\n---\n{}",
            task("e", &version(1)),
            task("f", &version(1))
        )
    };
    cube.write("three.yaml", &three("kind: Tusk"));
    cube.await_line("in three.yaml");
    cube.write("three.yaml", &three(&task("g", &version(1))));
    for name in ["e", "f", "g"] {
        cube.await_running(name);
    }
    let before = cube.container("e");
    cube.write("three.yaml", &three("kind: [unclosed"));
    cube.await_true("it says so", || {
        cube.lines().iter().filter(|line| line.contains("three.yaml")).count() > 1
    });
    assert_eq!(cube.container("e"), before);
    assert!(
        !cube.object("task", "g").is_null(),
        "a file that cannot be read removes nothing"
    );
    cube.write("three.yaml", &three(&task("g", &version(1))));
    cube.await_line("has no errors any more");

    // Names that differ in case or in form are files of their own.
    cube.write("H.json", &task("h", &version(1)));
    cube.write("h.json", &task("i", &version(1)));
    cube.write("\u{e9}.json", &task("j", &version(1)));
    cube.write("e\u{301}.json", &task("k", &version(1)));
    for name in ["h", "i", "j", "k"] {
        cube.await_running(name);
    }

    // Away, back with another content, and away for good under a mount.
    let aside = cube.path("aside");
    fs::rename(&directory, &aside).unwrap();
    cube.await_line("nothing is removed");
    write(&aside.join("a.json"), &task("a", &version(3)));
    fs::rename(&aside, &directory).unwrap();
    is(&cube, "a", 3);
    let tasks = cube.list("tasks").len();
    await_settled(&cube, &places, || Ok(()));
    assert_eq!(cube.list("tasks").len(), tasks);
    rest(&cube, &places, Duration::from_secs(2));
}

/// A kernel's bound, for as long as it takes to open a watch.
struct Bound(String);

impl Bound {
    const PATH: &str = "/proc/sys/fs/inotify/max_queued_events";

    fn of(events: u64) -> Option<Self> {
        let before = fs::read_to_string(Self::PATH).ok()?;
        fs::write(Self::PATH, events.to_string()).ok()?;
        Some(Self(before))
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let _ = fs::write(Self::PATH, self.0.trim());
    }
}

fn empties(directory: &Path, count: u64, number: u64) {
    for name in 0..count {
        let text = json!({ "apiVersion": "cube/v1", "kind": "Deployment", "metadata": { "name": format!("d{name}") },
            "spec": { "replicas": 0, "revisionHistoryLimit": number, "template": { "spec": { "image": "busybox" } } } });
        write(&directory.join(format!("d{name}.json")), &text.to_string());
    }
}

fn of_number(cube: &Cube, number: u64) -> usize {
    let all = cube.list("deployments");
    all.iter()
        .filter(|one| one["spec"]["revisionHistoryLimit"] == number)
        .count()
}

#[test]
#[ignore = "long: dev/chaos runs it"]
fn what_the_kernel_did_not_tell_is_found_all_the_same() {
    let mut cube = Cube::new().without_worker();
    // Each watch keeps the bound of the moment in which it was opened.
    let Some(bound) = Bound::of(16) else {
        println!("figure: not run: {} cannot be set here", Bound::PATH);
        return;
    };
    cube.start();
    cube.await_line("watching ");
    drop(bound);
    let directory = cube.manifests();
    for number in [3, 4, 5] {
        let began = Instant::now();
        empties(&directory, 1000, number);
        // Faster than a scan that nobody asked for.
        while of_number(&cube, number) != 1000 {
            assert!(began.elapsed() < LIMIT, "{} of 1000", of_number(&cube, number));
            std::thread::sleep(Duration::from_millis(200));
        }
        println!("figure: 1000 files changed, {:.1} s", began.elapsed().as_secs_f64());
    }
}

#[test]
#[ignore = "long: dev/chaos runs it"]
fn ten_thousand_files_are_taken_in_and_one_that_changes_is_seen_at_once() {
    let mut cube = Cube::new().without_worker();
    empties(&cube.manifests(), 10_000, 3);
    let began = Instant::now();
    cube.start();
    while of_number(&cube, 3) != 10_000 {
        assert!(began.elapsed() < LIMIT * 4, "{} of 10000", of_number(&cube, 3));
        std::thread::sleep(Duration::from_secs(1));
    }
    let all = began.elapsed();
    let began = Instant::now();
    empties(&cube.manifests(), 1, 4);
    cube.await_true("the change is there", || {
        cube.object("deployment", "d0")["spec"]["revisionHistoryLimit"] == 4
    });
    println!(
        "figure: 10,000 files in {:.1} s; a change after {} ms",
        all.as_secs_f64(),
        began.elapsed().as_millis()
    );
}
