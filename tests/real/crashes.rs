//! Killed processes, full disks, damaged files.
use std::fs;

use super::harness::{Cube, shown, sleeper, write};

#[test]
fn killed_at_any_moment_it_ends_where_it_would_have() {
    let mut cube = Cube::new();
    cube.start();
    // A moment later each time: from before the first container to after the last.
    for n in 0..6 {
        cube.write("a.yaml", &sleeper("a").replace("100000", &format!("{}", 1000 + n)));
        cube.write(&format!("b{n}.yaml"), &sleeper(&format!("b{n}")));
        std::thread::sleep(std::time::Duration::from_millis(40 * n));
        cube.kill();
        cube.start();
    }
    let tasks: Vec<String> = (0..6).map(|n| format!("b{n}")).chain(["a".to_owned()]).collect();
    for task in &tasks {
        cube.await_running(task);
    }
    cube.await_true("one container each", || cube.containers(&[]).len() == tasks.len());
    for task in &tasks {
        let status = cube.status(task);
        assert_eq!(status["containerID"], cube.container(task).as_str());
    }
    assert_eq!(cube.object("task", "a")["spec"]["command"][1], "1005");
}

#[test]
fn a_second_process_is_refused_with_the_first_ones_pid() {
    let cube = Cube::up();
    let data = cube.path("data");
    let second = cube.cube(&[
        "up",
        "--data-dir",
        data.to_str().unwrap(),
        "--socket",
        cube.path("s").to_str().unwrap(),
    ]);
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains(&format!("pid {}", cube.pid())), "{said}");
}

#[test]
fn a_flipped_bit_is_told_and_never_served() {
    let mut cube = Cube::up();
    cube.write("t.yaml", &sleeper("t"));
    cube.await_running("t");
    let container = cube.container("t");
    cube.interrupt();
    let file = cube.path("data/cube.redb");
    let mut bytes = fs::read(&file).unwrap();
    let at = find(&bytes, b"\"busybox\"").unwrap();
    let whole = bytes.clone();
    while let Some(at) = find(&bytes, b"\"busybox\"") {
        bytes[at + 2] ^= 1;
    }
    fs::write(&file, &bytes).unwrap();
    cube.spawn();
    assert_eq!(cube.await_end(), Some(1));
    cube.await_true("it says so", || cube.lines().join("\n").contains("damaged"));
    assert!(cube.lines().join("\n").contains("cube restore"), "{:?}", cube.lines());
    assert_eq!(cube.container("t"), container);
    assert!(at > 0);
    fs::write(&file, &whole).unwrap();
    cube.start();
    cube.await_running("t");
    assert_eq!(cube.container("t"), container);
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// A small file system of a test's own.
struct Tmpfs(std::path::PathBuf);

impl Tmpfs {
    fn mount(path: std::path::PathBuf, size: &str) -> Self {
        fs::create_dir(&path).unwrap();
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size},mode=0700"), "cube-test"]);
        assert!(mount.arg(&path).status().unwrap().success(), "mount needs root");
        Self(path)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_stops_writes_alone_and_room_brings_them_back() {
    let mut cube = Cube::new();
    let disk = Tmpfs::mount(cube.path("data"), "12m");
    cube.write("t.yaml", &sleeper("t"));
    cube.start();
    cube.await_running("t");
    let container = cube.container("t");

    let junk = disk.0.join("junk");
    let filled = std::process::Command::new("dd")
        .args(["if=/dev/zero", "bs=64k", &format!("of={}", junk.display())])
        .output()
        .unwrap();
    assert!(!filled.status.success(), "the disk is not full");
    // Large enough that no free page of the store's file holds it.
    let large = |name: &str| {
        sleeper(name).replace(
            "name: ",
            &format!("annotations: {{ note: {} }}, name: ", "x".repeat(200_000)),
        )
    };
    for n in 0..8 {
        cube.write(&format!("l{n}.yaml"), &large(&format!("l{n}")));
    }
    cube.await_line("No space left");
    cube.await_line("free some room");
    // What runs runs on, what is known is served, what cannot be kept is refused with a word.
    assert_eq!(cube.container("t"), container);
    assert_eq!(cube.status("t")["phase"], "Running");
    let file = cube.path("refused.yaml");
    super::harness::write(&file, &sleeper("refused"));
    let refused = cube.cube(&["apply", "-f", file.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(1), "{}", super::harness::shown(&refused));

    fs::remove_file(&junk).unwrap();
    for n in 0..8 {
        cube.await_running(&format!("l{n}"));
    }
    assert_eq!(cube.container("t"), container);
    // What was acknowledged is there after a kill.
    cube.kill();
    cube.start();
    cube.await_running("l7");
    cube.kill();
}

#[test]
fn two_writers_of_one_object_are_told_of_each_other() {
    let cube = Cube::up();
    let file = cube.path("mine.yaml");
    super::harness::write(&file, &sleeper("t"));
    let file = file.to_str().unwrap().to_owned();
    cube.ok(&["apply", "-f", &file, "--wait", "--timeout", "60s"]);
    // The directory says it too, and is told whose it is.
    cube.write("t.yaml", &sleeper("t").replace("100000", "99999"));
    cube.await_line("refused (t.yaml)");
    assert_eq!(cube.object("task", "t")["spec"]["command"][1], "100000");
    // Many at once: each is answered, and the last of them is what is there.
    let writers: Vec<_> = (0..8)
        .map(|n| {
            let path = cube.path(&format!("w{n}.yaml"));
            super::harness::write(&path, &sleeper("t").replace("100000", &format!("{}", 200_000 + n)));
            cube.begin(&["apply", "-f", path.to_str().unwrap()])
        })
        .collect();
    for writer in writers {
        assert!(writer.wait_with_output().unwrap().status.success());
    }
    let seconds: u64 = cube.object("task", "t")["spec"]["command"][1]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((200_000..200_008).contains(&seconds));
    cube.await_true("one container of the last wish runs", || {
        let all = cube.containers(&[]);
        all.len() == 1
            && cube.docker(&["inspect", "--format", "{{index .Config.Entrypoint 1}}", &all[0]]) == seconds.to_string()
    });
}

#[test]
fn a_crash_loop_is_no_success() {
    let cube = Cube::up();
    let path = cube.path("loop.yaml");
    write(
        &path,
        "apiVersion: cube/v1\nkind: Task\nmetadata: { name: loop }\nspec: { image: busybox, command: [sh, -c, 'echo no config; exit 7'] }\n",
    );
    for _ in ["created", "unchanged"] {
        let output = cube.cube(&["apply", "-f", path.to_str().unwrap(), "--wait"]);
        assert_eq!(output.status.code(), Some(4), "{}", shown(&output));
        assert!(
            String::from_utf8_lossy(&output.stderr).contains("no config"),
            "{}",
            shown(&output)
        );
    }
}

#[test]
fn down_without_a_directory_means_the_cube_that_answers() {
    let mut cube = Cube::up();
    cube.write("t.yaml", &sleeper("t"));
    cube.await_running("t");
    let down = cube.cube(&["down", "--yes"]);
    assert!(down.status.success(), "{}", shown(&down));
    assert!(
        String::from_utf8_lossy(&down.stdout).contains("ended cube"),
        "{}",
        shown(&down)
    );
    cube.await_end();
    assert!(cube.containers(&[]).is_empty());
}
