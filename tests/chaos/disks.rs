//! Power that is cut, data that is copied while it is written, disks that are full.
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::chance::{Chance, cycles};
use super::dockerd::Dockerd;
use super::fleet::task;
use super::harness::{Cube, shown, write};
use super::oracle::{Place, await_settled, rest};

/// A file system of a test's own, unmounted with it.
struct Mounted(PathBuf);

impl Mounted {
    /// One in memory, of that size.
    fn small(path: PathBuf, size: &str) -> Self {
        fs::create_dir_all(&path).unwrap();
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &format!("size={size},mode=0700"), "cube-chaos"])
            .arg(&path);
        assert!(mount.status().unwrap().success(), "mount needs root");
        Self(path)
    }

    /// One of an image of a disk.
    fn image(image: &Path, path: PathBuf) -> Self {
        fs::create_dir_all(&path).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-o", "loop"]).arg(image).arg(&path);
        assert!(mount.status().unwrap().success(), "mount needs root");
        Self(path)
    }

    /// Fills it to the last block.
    fn fill(&self) -> PathBuf {
        let junk = self.0.join("junk");
        let mut filled = Command::new("dd");
        filled
            .args(["if=/dev/zero", "bs=16k", &format!("of={}", junk.display())])
            .stderr(Stdio::null());
        assert!(!filled.status().unwrap().success(), "the disk is not full");
        junk
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn names(cube: &Cube) -> BTreeSet<String> {
    let tasks = cube.list("tasks");
    tasks
        .iter()
        .map(|task| task["metadata"]["name"].as_str().unwrap().to_owned())
        .collect()
}

/// Applies and applies, and keeps what was acknowledged, until it is told to end.
fn writes(cube: &Cube, writer: u64, over: &AtomicBool, counter: &AtomicU64, acknowledged: &Mutex<BTreeSet<String>>) {
    let file = cube.path(&format!("w{writer}.json"));
    while !over.load(Ordering::Relaxed) {
        let name = format!("n{}", counter.fetch_add(1, Ordering::SeqCst));
        write(&file, &task(&name, &json!({ "nodeSelector": { "nowhere": "yes" } })));
        if cube.cube(&["apply", "-f", file.to_str().unwrap()]).status.success() {
            acknowledged.lock().unwrap().insert(name);
        }
    }
}

#[test]
#[ignore = "long: dev/chaos runs it"]
fn what_was_acknowledged_is_there_after_a_power_cut() {
    // What the disk has, and not what the kernel has of it in memory: the image below the file system.
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("disk.img");
    fs::File::create(&image).unwrap().set_len(96 << 20).unwrap();
    let made = Command::new("mkfs.ext4").arg("-q").arg(&image).status().unwrap();
    assert!(made.success());
    let mut cube = Cube::new().without_worker();
    let disk = Mounted::image(&image, cube.path("data"));
    cube.start();
    let (over, counter, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0), Mutex::new(BTreeSet::new()));
    let mut chance = Chance::new();
    let rounds = cycles(20);
    let cuts: Vec<(PathBuf, BTreeSet<String>)> = std::thread::scope(|scope| {
        for writer in 0..3 {
            let (cube, over, counter, acknowledged) = (&cube, &over, &counter, &acknowledged);
            scope.spawn(move || writes(cube, writer, over, counter, acknowledged));
        }
        let mut cuts = Vec::new();
        for round in 0..rounds {
            std::thread::sleep(chance.moment(600));
            let promised = acknowledged.lock().unwrap().clone();
            // Held still, so that the copy is of one moment; nothing is flushed for it.
            cube.signal(Signal::STOP);
            let copy = directory.path().join(format!("cut-{round}.img"));
            fs::copy(&image, &copy).unwrap();
            cube.signal(Signal::CONT);
            cuts.push((copy, promised));
        }
        over.store(true, Ordering::Relaxed);
        cuts
    });
    cube.kill();
    drop(disk);
    for (copy, promised) in &cuts {
        let mut after = Cube::new().without_worker();
        let disk = Mounted::image(copy, after.path("data"));
        after.start();
        let there = names(&after);
        let lost: Vec<&String> = promised.difference(&there).collect();
        assert!(lost.is_empty(), "lost: {lost:?}");
        // It can be written to as before.
        let file = after.path("new.json");
        write(&file, &task("new", &json!({ "nodeSelector": { "nowhere": "yes" } })));
        after.ok(&["apply", "-f", file.to_str().unwrap()]);
        after.kill();
        drop(disk);
    }
    let most = cuts.last().map_or(0, |(_, promised)| promised.len());
    println!("figure: {rounds} cuts among {most} acknowledged writes, none lost");
}

#[test]
#[ignore = "long: dev/chaos runs it"]
fn a_copy_that_was_made_while_it_was_written_is_whole_or_refused() {
    let mut cube = Cube::new().without_worker();
    cube.start();
    let (over, counter, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0), Mutex::new(BTreeSet::new()));
    let mut chance = Chance::new();
    let copies = tempfile::tempdir().unwrap();
    let rounds = cycles(20);
    std::thread::scope(|scope| {
        for writer in 0..3 {
            let (cube, over, counter, acknowledged) = (&cube, &over, &counter, &acknowledged);
            scope.spawn(move || writes(cube, writer, over, counter, acknowledged));
        }
        for round in 0..rounds {
            std::thread::sleep(chance.moment(400));
            let mut copy = Command::new("cp");
            copy.arg("-a")
                .arg(cube.path("data"))
                .arg(copies.path().join(format!("{round}")));
            assert!(copy.status().unwrap().success());
        }
        over.store(true, Ordering::Relaxed);
    });
    let all: BTreeSet<String> = (0..counter.load(Ordering::SeqCst))
        .map(|number| format!("n{number}"))
        .collect();
    let (mut whole, mut refused) = (0, 0);
    for round in 0..rounds {
        let mut after = Cube::new().without_worker();
        fs::rename(copies.path().join(format!("{round}")), after.path("data")).unwrap();
        after.spawn();
        let began = Instant::now();
        let answers = |after: &Cube| after.cube(&["get", "tasks"]).status.success();
        while after.is_up() && !answers(&after) {
            assert!(began.elapsed() < super::harness::LIMIT, "{:?}", after.lines());
            std::thread::sleep(Duration::from_millis(20));
        }
        if after.is_up() {
            // One write after the other: what is there is a beginning of what was written.
            let there = names(&after);
            assert!(there.is_subset(&all), "{there:?}");
            whole += 1;
            after.kill();
        } else {
            let said = after.lines().join("\n");
            assert!(said.contains("cube restore") || said.contains("damaged"), "{said}");
            assert!(!said.contains("panicked"), "{said}");
            refused += 1;
        }
    }
    println!("figure: {rounds} copies amid writes: {whole} whole, {refused} refused");
}

#[test]
#[ignore = "long: dev/chaos runs it"]
fn a_full_disk_below_store_and_engine_harms_nothing_that_runs_and_room_heals_all() {
    let directory = tempfile::tempdir_in("/tmp").unwrap();
    // Room for the image and a few containers.
    let disk = Mounted::small(directory.path().to_owned(), "96m");
    let engine = Dockerd::start_in(directory, false);
    let mut cube = Cube::new().on_engine(&engine.address());
    // The same disk below both.
    std::os::unix::fs::symlink(disk.0.join("cube"), cube.path("data")).unwrap();
    fs::create_dir(disk.0.join("cube")).unwrap();
    cube.start();
    let places = [Place::new(&cube.node(), &engine.address())];
    for number in 0..3 {
        cube.write(&format!("t{number}.json"), &task(&format!("t{number}"), &json!({})));
    }
    for number in 0..3 {
        cube.await_running(&format!("t{number}"));
    }
    let there = |cube: &Cube| {
        (0..3)
            .map(|number| cube.container(&format!("t{number}")))
            .collect::<Vec<_>>()
    };
    let before = there(&cube);
    for round in 0..3 {
        let junk = disk.fill();
        // Large enough that no free page of the store's file holds it.
        let more = json!({ "env": [{ "name": "X", "value": "x".repeat(100_000) }] });
        let name = format!("new-{round}");
        cube.write(&format!("{name}.json"), &task(&name, &more));
        cube.await_true("somebody is told", || {
            let lines = cube.lines().join("\n");
            let waits = cube.status(&name)["message"]
                .as_str()
                .is_some_and(|told| told.contains("space"));
            lines.contains("No space left") || lines.contains("no space left") || waits
        });
        // Reads go on, and what runs runs on.
        assert_eq!(
            cube.list("tasks")
                .iter()
                .filter(|task| task["status"]["phase"] == "Running")
                .count(),
            3 + round
        );
        assert_eq!(there(&cube), before);
        let refused = cube.cube(&[
            "apply",
            "-f",
            cube.manifests().join(format!("{name}.json")).to_str().unwrap(),
        ]);
        assert_ne!(refused.status.code(), Some(101), "{}", shown(&refused));
        let began = Instant::now();
        fs::remove_file(junk).unwrap();
        cube.await_running(&name);
        println!(
            "figure: running {:.1} s after there was room",
            began.elapsed().as_secs_f64()
        );
        await_settled(&cube, &places, || Ok(()));
        assert_eq!(there(&cube), before);
    }
    assert!(cube.is_up(), "without a restart");
    cube.kill();
    cube.start();
    await_settled(&cube, &places, || {
        let running = cube
            .list("tasks")
            .iter()
            .filter(|task| task["status"]["phase"] == "Running")
            .count();
        if running == 6 {
            Ok(())
        } else {
            Err(format!("{running} run"))
        }
    });
    assert_eq!(there(&cube), before);
    rest(&cube, &places, Duration::from_secs(1));
    let _: Vec<Value> = cube.list("tasks");
}
