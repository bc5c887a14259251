//! Programs that are run in a container beside its own.
use std::time::Duration;

use cube::engine::exec::exit_code;
use cube::engine::{Ending, EngineError, Exec, ExecOptions, TerminalSize};
use futures_util::StreamExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use crate::bench::{Bench, words};

/// Far above what anything here takes, for a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(30);

fn script(script: &str) -> ExecOptions {
    ExecOptions {
        command: words(&["sh", "-c", script]),
        ..ExecOptions::default()
    }
}

/// A container that runs.
async fn running(bench: &Bench) -> String {
    let id = bench.engine.create(&bench.sleeper("it")).await.expect("created");
    bench.engine.start(&id).await.expect("started");
    id
}

/// What it wrote, on its output and as errors, and its exit code.
async fn to_end(bench: &Bench, exec: Exec) -> (String, String, i64) {
    let Exec { id, mut output, input } = exec;
    drop(input);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let read = async {
        while let Some(chunk) = output.next().await {
            let chunk = chunk.expect("a piece of output");
            let to = if chunk.stderr { &mut err } else { &mut out };
            to.extend_from_slice(&chunk.bytes);
        }
    };
    timeout(PATIENCE, read).await.expect("its end");
    let code = exit_code(&*bench.engine, &id).await.expect("an exit code");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (text(out), text(err), code)
}

pub async fn a_program_runs_beside_its_containers_own(bench: Bench) {
    let id = running(&bench).await;
    let exec = bench.engine.exec(&id, script("echo hello; echo alas >&2; exit 7"));
    let ended = to_end(&bench, exec.await.expect("started")).await;
    assert_eq!(ended, ("hello\n".to_owned(), "alas\n".to_owned(), 7));
    let exec = bench.engine.exec(&id, script("true")).await.expect("started");
    assert_eq!(to_end(&bench, exec).await.2, 0);
    assert!(bench.see(&id).await.state.is_running());
}

pub async fn a_programs_input_is_what_is_written_to_it(bench: Bench) {
    let id = running(&bench).await;
    let options = ExecOptions {
        command: words(&["cat"]),
        stdin: true,
        tty: false,
    };
    let mut exec = bench.engine.exec(&id, options.clone()).await.expect("started");
    let mut input = exec.input.take().expect("an input");
    input.write_all(b"one\n").await.expect("written");
    let first = timeout(PATIENCE, exec.output.next()).await.expect("in time");
    assert_eq!(first.expect("a piece").expect("read").bytes, "one\n");
    assert!(bench.engine.exec_status(&exec.id).await.expect("a status").running);
    input.write_all(b"two\n").await.expect("written");
    input.shutdown().await.expect("closed");
    assert_eq!(to_end(&bench, exec).await, ("two\n".to_owned(), String::new(), 0));
    // Without one it reads an end at once.
    let closed = ExecOptions {
        stdin: false,
        ..options
    };
    let exec = bench.engine.exec(&id, closed).await.expect("started");
    assert!(exec.input.is_none());
    assert_eq!(to_end(&bench, exec).await.2, 0);
}

pub async fn a_terminals_output_is_one(bench: Bench) {
    let id = running(&bench).await;
    let options = ExecOptions {
        tty: true,
        ..script("echo hello; echo alas >&2; sleep 1; exit 3")
    };
    let exec = bench.engine.exec(&id, options).await.expect("started");
    let size = TerminalSize { width: 100, height: 30 };
    bench.engine.resize_exec(&exec.id, size).await.expect("resized");
    let id = exec.id.clone();
    let (out, err, code) = to_end(&bench, exec).await;
    assert_eq!(
        (out.replace('\r', "").as_str(), err.as_str(), code),
        ("hello\nalas\n", "", 3)
    );
    bench.engine.resize_exec(&id, size).await.expect("it has ended");
}

pub async fn what_cannot_be_run_in_a_container_says_why(bench: Bench) {
    let id = running(&bench).await;
    let missing = ExecOptions {
        command: words(&["missing-program"]),
        ..ExecOptions::default()
    };
    let exec = bench.engine.exec(&id, missing).await.expect("begun");
    let (out, err, code) = to_end(&bench, exec).await;
    assert!((126..=127).contains(&code), "{code}");
    assert!((out.clone() + &err).contains("missing-program"), "{out}{err}");

    let stopped = bench.engine.create(&bench.sleeper("stopped")).await.expect("created");
    let error = bench.engine.exec(&stopped, script("true")).await.err();
    assert_eq!(error, Some(EngineError::NotRunning { id: stopped }));
    let error = bench.engine.exec("nobody", script("true")).await.err();
    assert!(matches!(error, Some(EngineError::NotFound { .. })), "{error:?}");
    let error = bench.engine.exec_status("nobody").await.err();
    assert!(matches!(error, Some(EngineError::NotFound { .. })), "{error:?}");
}

pub async fn a_program_is_killed_with_what_it_has_started(bench: Bench) {
    let id = running(&bench).await;
    let exec = bench.engine.exec(&id, script("echo up; sleep 1000; echo never"));
    let mut exec = exec.await.expect("started");
    let up = timeout(PATIENCE, exec.output.next()).await.expect("in time");
    assert_eq!(up.expect("a piece").expect("read").bytes, "up\n");
    assert_eq!(bench.engine.end_exec(&exec.id, Ending::Kill).await, Ok(true));
    let id_of_exec = exec.id.clone();
    assert_eq!(to_end(&bench, exec).await, (String::new(), String::new(), 137));
    assert_eq!(
        bench.engine.end_exec(&id_of_exec, Ending::Kill).await,
        Ok(false),
        "it has ended"
    );
    assert!(bench.see(&id).await.state.is_running(), "its container goes on");
    let exec = bench.engine.exec(&id, script("sleep 1000")).await.expect("started");
    let hung_up = async || {
        // It is a moment until it can be found.
        while bench.engine.end_exec(&exec.id, Ending::HangUp).await != Ok(true) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, hung_up()).await.expect("in time");
    assert_eq!(to_end(&bench, exec).await.2, 129);
    let exec = bench.engine.exec(&id, script("true")).await.expect("started");
    assert_eq!(to_end(&bench, exec).await.2, 0);
}

pub async fn a_program_whose_output_is_not_read_waits(bench: Bench) {
    let id = running(&bench).await;
    let exec = bench
        .engine
        .exec(&id, script("head -c 50000000 /dev/zero; echo done >&2"));
    let mut exec = exec.await.expect("started");
    let mut read = 0;
    while read < 1_000_000 {
        read += exec.output.next().await.expect("a piece").expect("read").bytes.len();
    }
    // Buffers on the way hold some of it; the rest is not made before it is wanted.
    tokio::task::yield_now().await;
    assert!(bench.engine.exec_status(&exec.id).await.expect("a status").running);
    while let Some(chunk) = timeout(PATIENCE, exec.output.next()).await.expect("in time") {
        let chunk = chunk.expect("a piece of output");
        read += if chunk.stderr { 0 } else { chunk.bytes.len() };
    }
    assert_eq!(read, 50_000_000);
    assert_eq!(exit_code(&*bench.engine, &exec.id).await, Ok(0));
}

pub async fn the_engine_runs_no_healthcheck_of_its_own(bench: Bench) {
    use bollard::query_parameters::{CommitContainerOptions, InspectContainerOptions};
    let docker = bench.docker.as_ref().expect("the real engine");
    let id = bench.engine.create(&bench.sleeper("base")).await.expect("created");
    let options = CommitContainerOptions {
        container: Some(id),
        repo: Some("cube-test-healthcheck".to_owned()),
        changes: Some("HEALTHCHECK --interval=2s --retries=5 CMD test -e /tmp/up".to_owned()),
        ..CommitContainerOptions::default()
    };
    let config = bollard::models::ContainerConfig::default();
    docker.commit_container(options, config).await.expect("an image");
    let image = bench.engine.image("cube-test-healthcheck").await.expect("an answer");
    let image = image.expect("an image");
    let healthcheck = image.healthcheck.expect("a HEALTHCHECK");
    assert_eq!(healthcheck.command, words(&["/bin/sh", "-c", "test -e /tmp/up"]));
    assert_eq!((healthcheck.interval_ms, healthcheck.timeout_ms), (2_000, 30_000));
    assert_eq!((healthcheck.retries, healthcheck.start_period_ms), (5, 0));
    assert_eq!(
        bench.engine.image(&image.id).await.expect("by id").map(|same| same.id),
        Some(image.id)
    );
    let spec = cube::engine::ContainerSpec {
        image: "cube-test-healthcheck".to_owned(),
        ..bench.sleeper("it")
    };
    let id = bench.engine.create(&spec).await.expect("created");
    bench.engine.start(&id).await.expect("started");
    let seen = docker.inspect_container(&id, None::<InspectContainerOptions>).await;
    assert_eq!(seen.expect("seen").state.and_then(|state| state.health), None);
    bench.engine.remove(&id, true).await.expect("removed");
    let gone = docker.remove_image(
        "cube-test-healthcheck",
        None::<bollard::query_parameters::RemoveImageOptions>,
        None,
    );
    gone.await.expect("removed");
}
