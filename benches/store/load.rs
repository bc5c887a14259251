//! The clients: each function is the whole of a process, and prints its figures.
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::{sync::mpsc, task::JoinSet};

use crate::{Failure, wire::Wire};

const TASKS: &str = "/apis/cube/v1/namespaces/default/tasks";
/// Connections that events come from: enough for the rate on a disk that syncs slowly.
const WRITERS: u64 = 32;

/// A Task of 1 KB.
fn task(name: &str) -> String {
    let mut task = json!({
        "apiVersion": "cube/v1", "kind": "Task",
        "metadata": { "name": name, "labels": { "app": "web", "tier": "front" }, "annotations": { "note": "" } },
        "spec": {
            "image": "busybox:1.35", "command": ["sh", "-c"], "args": ["exec sleep 1000000"],
            "env": [
                { "name": "LANG", "value": "C.UTF-8" }, { "name": "LOG_LEVEL", "value": "info" },
                { "name": "DATABASE_URL", "value": "postgres://db:5432/web" },
            ],
            "ports": [{ "name": "http", "containerPort": 8080 }],
            "volumes": [{ "name": "scratch", "emptyDir": {} }],
            "volumeMounts": [{ "name": "scratch", "mountPath": "/scratch" }],
            "resources": { "requests": { "cpu": "100m", "memory": "64Mi" }, "limits": { "memory": "128Mi" } },
            "restartPolicy": "Always", "terminationGracePeriodSeconds": 10,
        },
    });
    let rest = 1024 - task.to_string().len();
    task["metadata"]["annotations"]["note"] = "x".repeat(rest).into();
    task.to_string()
}

/// A name that no earlier client gave.
fn unique(begun: u128, client: usize, number: u64) -> String {
    format!("t-{begun:x}-{client}-{number}")
}

fn now() -> Result<u128, Failure> {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Ok(u128::try_from(now.tv_sec)? * 1_000_000_000 + u128::try_from(now.tv_nsec)?)
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

async fn created(wire: &mut Wire, body: &str) -> Result<(), Failure> {
    match wire.post(TASKS, body).await? {
        (201, _) => Ok(()),
        (code, why) => Err(format!("a create was answered {code}: {}", String::from_utf8_lossy(why)).into()),
    }
}

/// Creates as fast as so many clients can, each one object at a time. Prints creates a second, and all of them.
pub fn create(socket: &str, clients: usize, millis: u64) -> Result<(), Failure> {
    let (socket, begun) = (socket.to_owned(), now()?);
    runtime()?.block_on(async {
        let mut running = JoinSet::new();
        let duration = Duration::from_millis(millis);
        let start = Instant::now();
        for client in 0..clients {
            let mut wire = Wire::connect(&socket).await?;
            running.spawn(async move {
                let mut number = 0;
                while start.elapsed() < duration {
                    created(&mut wire, &task(&unique(begun, client, number))).await?;
                    number += 1;
                }
                Ok::<_, Failure>(number)
            });
        }
        let mut all = 0;
        while let Some(number) = running.join_next().await {
            all += number??;
        }
        println!("{} {all}", all as f64 / start.elapsed().as_secs_f64());
        Ok(())
    })
}

/// Moments of one event, in nanoseconds since the start; 0: not yet.
#[derive(Default)]
struct Moments {
    sent: AtomicU64,
    answered: AtomicU64,
}

/// Creates at a rate while so many watches are open. Prints the 99th percentile of the milliseconds until a watch has
/// heard of a create: from its request, from its answer.
pub fn watch(socket: &str, watches: usize, rate: u64, millis: u64) -> Result<(), Failure> {
    let (socket, begun) = (socket.to_owned(), now()?);
    let events = rate * millis / 1000;
    let moments: Arc<Vec<Moments>> = Arc::new((0..events).map(|_| Moments::default()).collect());
    let start = Instant::now();
    let since = move || u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
    runtime()?.block_on(async {
        let mut watching = JoinSet::new();
        for _ in 0..watches {
            let mut wire = Wire::connect(&socket).await?;
            let code = wire
                .stream(&format!(
                    "{TASKS}?watch=1&sendInitialEvents=false&resourceVersionMatch=NotOlderThan"
                ))
                .await?;
            if code != 200 {
                return Err(format!("a watch was answered {code}").into());
            }
            let moments = moments.clone();
            watching.spawn(async move {
                let mut heard = Vec::with_capacity(moments.len());
                while heard.len() < moments.len() {
                    let piece = wire.piece().await?;
                    let at = since();
                    let whole = piece.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
                    for number in numbers(&piece[..whole]) {
                        heard.push((number, at));
                    }
                    piece.drain(..whole);
                }
                Ok::<_, Failure>(heard)
            });
        }
        let writing = write(socket, begun, moments.clone(), rate, since);
        let (written, heard) = tokio::join!(writing, watching.join_all());
        written?;
        let (mut from_request, mut from_answer) = (Vec::new(), Vec::new());
        for heard in heard {
            for (number, at) in heard? {
                let moment = &moments[number];
                let late = |of: &AtomicU64| at.saturating_sub(of.load(Ordering::Relaxed)) as f64 / 1e6;
                from_request.push(late(&moment.sent));
                from_answer.push(late(&moment.answered));
            }
        }
        println!("{} {}", p99(from_request), p99(from_answer));
        Ok(())
    })
}

/// The numbers of the events in some lines: what follows the last `-` of a name.
fn numbers(lines: &[u8]) -> Vec<usize> {
    let name = br#""name":"t-"#;
    let lines = lines.split(|byte| *byte == b'\n');
    let number = |line: &[u8]| {
        let at = line.windows(name.len()).position(|found| found == name)? + name.len();
        let end = at + line[at..].iter().position(|byte| *byte == b'"')?;
        str::from_utf8(&line[at..end]).ok()?.rsplit('-').next()?.parse().ok()
    };
    lines.filter_map(number).collect()
}

async fn write(
    socket: String,
    begun: u128,
    moments: Arc<Vec<Moments>>,
    rate: u64,
    since: impl Fn() -> u64 + Copy + Send + 'static,
) -> Result<(), Failure> {
    let mut writers = Vec::new();
    let mut writing = JoinSet::new();
    for _ in 0..WRITERS {
        let mut wire = Wire::connect(&socket).await?;
        let (sender, mut numbers) = mpsc::unbounded_channel::<u64>();
        writers.push(sender);
        let moments = moments.clone();
        writing.spawn(async move {
            while let Some(number) = numbers.recv().await {
                let moment = &moments[usize::try_from(number)?];
                moment.sent.store(since(), Ordering::Relaxed);
                created(&mut wire, &task(&unique(begun, 0, number))).await?;
                moment.answered.store(since(), Ordering::Relaxed);
            }
            Ok::<_, Failure>(())
        });
    }
    let first = tokio::time::Instant::now();
    for number in 0..moments.len() as u64 {
        tokio::time::sleep_until(first + Duration::from_nanos(number * 1_000_000_000 / rate)).await;
        writers[usize::try_from(number % WRITERS)?].send(number)?;
    }
    drop(writers);
    writing.join_all().await.into_iter().collect()
}

fn p99(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() * 99 / 100).copied().unwrap_or_default()
}

/// Applies so many objects, then the same again, five times. Prints the median of the milliseconds that took.
pub fn apply(socket: &str, objects: usize) -> Result<(), Failure> {
    let mut given = Vec::new();
    for number in 0..objects {
        given.push(serde_json::from_str::<Value>(&task(&format!("applied-{number}")))?);
    }
    let body = json!({ "objects": given }).to_string();
    runtime()?.block_on(async {
        let mut wire = Wire::connect(socket).await?;
        let mut took = Vec::new();
        for turn in 0..6 {
            let begun = Instant::now();
            let (code, answer) = wire.post("/apis/cube/v1/apply", &body).await?;
            let expected: &[u8] = if turn == 0 { b"\"created\"" } else { b"\"unchanged\"" };
            let found = answer
                .windows(expected.len())
                .filter(|found| found == &expected)
                .count();
            if code != 200 || found != objects {
                return Err(format!("an apply was answered {code}, and {found} are as expected").into());
            }
            if turn > 0 {
                took.push(begun.elapsed().as_secs_f64() * 1e3);
            }
        }
        println!("{}", crate::median(took));
        Ok(())
    })
}
