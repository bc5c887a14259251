//! kube-rs as a judge: a program of its own (`tests/kube-rs`), since its libraries are nobody else's.
use std::{path::Path, process::Stdio, time::Duration};

use cube::store::{Options, Store};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::Command,
    time::timeout,
};

use crate::serving::Serving;

/// Builds the judge; a moment, when nothing of it has changed.
async fn build() -> std::path::PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kube-rs");
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kube-rs/Cargo.toml");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--locked", "--quiet", "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(&target)
        .status();
    assert!(built.await.unwrap().success(), "the judge cannot be built");
    target.join("debug/kube-rs-judge")
}

#[tokio::test(flavor = "multi_thread")]
async fn kube_rs_works_unchanged_also_over_restarts() {
    let judge = build().await;
    let dir = tempfile::tempdir().unwrap();
    let open = || Store::open(&dir.path().join("store"), Options::default()).unwrap();
    let mut serving = Serving::start(open(), 0).await;
    let mut judging = Command::new(judge)
        .arg(serving.url())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut answers = judging.stdin.take().unwrap();
    let mut lines = BufReader::new(judging.stdout.take().unwrap()).lines();
    let judged = timeout(Duration::from_secs(300), async move {
        let mut restarts = 0;
        while let Some(line) = lines.next_line().await.unwrap() {
            println!("{line}");
            if line == "restart" {
                let port = serving.address.port();
                serving.stop().await;
                answers.write_all(b"begun\n").await.unwrap();
                serving = Serving::start(open(), port).await;
                restarts += 1;
            }
        }
        serving.stop().await;
        (judging.wait().await.unwrap(), restarts)
    });
    let (judged, restarts) = judged.await.expect("the judge hangs");
    assert!(judged.success(), "the judge found a fault; what it said is above");
    assert_eq!(restarts, 3);
}
