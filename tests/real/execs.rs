//! Programs that people run in Tasks' containers.
use std::io::Write as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::harness::{Cube, shown, sleeper};

#[test]
fn a_program_is_run_in_a_container_and_its_exit_code_told() {
    let cube = Cube::up();
    cube.write("t.yaml", &sleeper("t"));
    cube.await_running("t");
    let ran = cube.cube(&["exec", "t", "--", "sh", "-c", "echo hello; echo alas >&2; exit 7"]);
    assert_eq!(ran.status.code(), Some(7), "{}", shown(&ran));
    assert_eq!((&ran.stdout[..], &ran.stderr[..]), (&b"hello\n"[..], &b"alas\n"[..]));
    assert_eq!(cube.ok(&["exec", "task/t", "hostname"]), "t\n");
    let missing = cube.cube(&["exec", "t", "no-such-program"]);
    assert!(matches!(missing.status.code(), Some(126 | 127)), "{}", shown(&missing));
    assert!(shown(&missing).contains("no-such-program"));
    // What reads its input sees its end, whether there is one or not.
    assert_eq!(cube.ok(&["exec", "t", "cat"]), "");

    // Much both ways at once, in a program that is heard before it reads on.
    let mut child = cube
        .command(&["exec", "-i", "t", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writing = std::thread::spawn(move || {
        let block = vec![b'x'; 1 << 20];
        for _ in 0..20 {
            stdin.write_all(&block).unwrap();
        }
    });
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 20 << 20));

    let none = cube.cube(&["exec", "nobody", "true"]);
    assert_eq!(none.status.code(), Some(1), "{}", shown(&none));
    cube.write(
        "p.yaml",
        &sleeper("p").replace("image: busybox", "image: '127.0.0.1:9/no/such:image'"),
    );
    cube.await_status("p", "that it has no image", |status| {
        status["reason"] == "ImagePullBackOff"
    });
    let pending = cube.cube(&["exec", "p", "true"]);
    assert_eq!(pending.status.code(), Some(1), "{}", shown(&pending));
    assert!(shown(&pending).contains("ImagePullBackOff"), "{}", shown(&pending));
}

#[test]
fn a_program_that_is_left_is_hung_up_on() {
    let cube = Cube::up();
    cube.write("t.yaml", &sleeper("t"));
    cube.await_running("t");
    let container = cube.container("t");
    let runs = || cube.docker(&["top", &container, "-eo", "pid,args"]).contains("7531");
    let mut child = cube.begin(&["exec", "t", "sleep", "7531"]);
    cube.await_true("it runs", runs);
    child.kill().unwrap();
    child.wait().unwrap();
    cube.await_true("it is gone", || !runs());
    assert_eq!(cube.container("t"), container);
}

#[test]
fn a_terminal_is_passed_on() {
    let cube = Cube::up();
    cube.write(
        "web.yaml",
        "apiVersion: cube/v1\nkind: Deployment\nmetadata: { name: web }\nspec: { replicas: 2, template: { spec: { image: busybox, init: true, command: [sleep, '100000'] } } }\n",
    );
    cube.await_true("2 of 2", || {
        cube.object("deployment", "web")["status"]["readyReplicas"] == 2
    });
    let binary = env!("CARGO_BIN_EXE_cube");
    let inner = format!("stty rows 33 cols 121; {binary} exec -it deployment/web");
    let mut script = std::process::Command::new("script")
        .args(["--quiet", "--return", "--command", &inner, "/dev/null"])
        .env("CUBE_SERVER", format!("unix://{}", cube.path("cube.sock").display()))
        .env("TERM", "dumb")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut keys = script.stdin.take().unwrap();
    keys.write_all(b"tty; stty size; exit 5\n").unwrap();
    let began = Instant::now();
    while script.try_wait().unwrap().is_none() {
        assert!(began.elapsed() < Duration::from_secs(60), "it does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = script.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(5), "{text}");
    assert!(text.contains("/dev/pts/") && text.contains("33 121"), "{text}");
}
