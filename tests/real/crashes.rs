//! Killed processes, full disks, damaged files.
use std::fs;

use super::harness::{Cube, sleeper};

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
