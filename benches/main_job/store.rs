//! The store through the API, beside what the disk allows.
//!
//! The objects are Revisions that belong to no Deployment: nothing acts on them, so that only writing is measured.
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::Method;
use http_body_util::BodyExt as _;
use serde_json::json;
use tokio::task::JoinSet;

use crate::stub::Stub;
use crate::{Effort, Result};
use cube_bench::cube::{Cube, Engine};
use cube_bench::report::{Row, Samples};

const REVISIONS: &str = "/apis/cube/v1/namespaces/default/revisions";
/// How long each way of writing is measured in a round.
const SPELL: Duration = Duration::from_secs(2);
const CLIENTS: usize = 64;
const WATCHES: usize = 100;
const EVENTS_A_SECOND: u32 = 1000;

pub async fn measure(effort: Effort) -> Result<Vec<Row>> {
    let stub = Stub::open()?;
    let (cube, _) = Cube::up(&Engine::Pretended(stub.socket())).await?;
    let (mut disk, mut one, mut many) = <(Samples, Samples, Samples)>::default();
    for round in 0..effort.rounds {
        disk.add(append_and_sync(cube.data())?);
        one.add(writes_a_second(&cube, 1, &format!("one-{round}")).await?);
        many.add(writes_a_second(&cube, CLIENTS, &format!("many-{round}")).await?);
    }
    let ratio = one.median() / disk.median();
    let latency = watched(&cube, effort).await?;
    Ok(vec![
        Row::new("append 1 KB and fdatasync", "a second", disk),
        Row::new("1 client creates objects of 1 KB", "a second", one)
            .judged("over the disk's", ratio)
            .at_least(0.4),
        Row::new("64 clients create objects of 1 KB", "a second", many).at_least(10_000.0),
        Row::new("100 watches, 1,000 writes a second: sent to seen", "ms", latency)
            .p99()
            .at_most(10.0),
    ])
}

/// What the disk of the store allows.
fn append_and_sync(directory: &Path) -> Result<f64> {
    let mut file = File::create(directory.join("appended"))?;
    let block = [b'x'; 1024];
    let (began, mut count) = (Instant::now(), 0);
    while began.elapsed() < SPELL {
        file.write_all(&block)?;
        file.sync_data()?;
        count += 1;
    }
    Ok(f64::from(count) / began.elapsed().as_secs_f64())
}

/// An object of about a kilobyte, as it is sent.
fn object(name: &str) -> String {
    json!({
        "apiVersion": "cube/v1", "kind": "Revision",
        "metadata": { "name": name, "annotations": { "filler": "x".repeat(840) } },
        "spec": { "revision": 1, "hash": "0123456789" },
    })
    .to_string()
}

async fn writes_a_second(cube: &Cube, clients: usize, prefix: &str) -> Result<f64> {
    let began = Instant::now();
    let mut workers: JoinSet<Result<u32>> = JoinSet::new();
    for client in 0..clients {
        let mut wire = cube.wire().await?;
        let prefix = format!("{prefix}-{client}");
        workers.spawn(async move {
            let mut count = 0;
            while began.elapsed() < SPELL {
                let (code, answer) = wire
                    .send(Method::POST, REVISIONS, object(&format!("{prefix}-{count}")))
                    .await?;
                if code != 201 {
                    return Err(format!("code {code}: {}", String::from_utf8_lossy(&answer)).into());
                }
                count += 1;
            }
            Ok(count)
        });
    }
    let mut written = 0;
    while let Some(count) = workers.join_next().await {
        written += count??;
    }
    Ok(f64::from(written) / began.elapsed().as_secs_f64())
}

/// Times from the moment at which a write is sent to that at which each watch has it.
async fn watched(cube: &Cube, effort: Effort) -> Result<Samples> {
    let sent: Arc<Mutex<BTreeMap<u64, Instant>>> = Arc::default();
    let latencies = Arc::new(Mutex::new(Samples::default()));
    let total = u64::from(EVENTS_A_SECOND) * effort.rounds as u64 * 2;
    let revision = cube.revision().await?;
    let target = format!("{REVISIONS}?watch=true&resourceVersion={revision}");
    let mut watches: JoinSet<Result<()>> = JoinSet::new();
    for _ in 0..WATCHES {
        let mut wire = cube.wire().await?;
        let (sent, latencies, target) = (sent.clone(), latencies.clone(), target.clone());
        watches.spawn(async move {
            let mut body = wire.begin(Method::GET, &target, "").await?.into_body();
            let (mut seen, mut rest) = (0, Vec::new());
            let mut own = Samples::default();
            while seen < total {
                let Some(frame) = body.frame().await else {
                    return Err("a watch ended".into());
                };
                let now = Instant::now();
                let Ok(data) = frame?.into_data() else { continue };
                rest.extend_from_slice(&data);
                while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                    if let Some(number) = number_of(&rest[..end])
                        && let Some(at) = sent.lock().unwrap_or_else(PoisonError::into_inner).get(&number)
                    {
                        own.time(now - *at);
                        seen += 1;
                    }
                    rest.drain(..=end);
                }
            }
            latencies.lock().unwrap_or_else(PoisonError::into_inner).extend(own);
            Ok(())
        });
    }
    // A watch that is not yet open would see its first writes late.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let next = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let mut writers: JoinSet<Result<()>> = JoinSet::new();
    for _ in 0..16 {
        let mut wire = cube.wire().await?;
        let (sent, next) = (sent.clone(), next.clone());
        writers.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= total {
                    return Ok(());
                }
                let due = began + Duration::from_secs(1) * number as u32 / EVENTS_A_SECOND;
                tokio::time::sleep_until(due.into()).await;
                let body = object(&format!("watched-{number:08}"));
                sent.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(number, Instant::now());
                let (code, _) = wire.send(Method::POST, REVISIONS, body).await?;
                if code != 201 {
                    return Err(format!("code {code}").into());
                }
            }
        });
    }
    while let Some(done) = writers.join_next().await {
        done??;
    }
    let all = async {
        while let Some(done) = watches.join_next().await {
            done??;
        }
        Result::Ok(())
    };
    tokio::time::timeout(Duration::from_secs(60), all).await??;
    let latencies = latencies.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(latencies.clone())
}

/// The number in the name of a written object. It is looked for from the end, which is nearer: there are a hundred
/// thousand lines a second, and what reads them has the same processors as what is measured.
fn number_of(line: &[u8]) -> Option<u64> {
    const NAME: &[u8] = b"\"watched-";
    let at = line.windows(NAME.len()).rposition(|window| window == NAME)? + NAME.len();
    std::str::from_utf8(line.get(at..at + 8)?).ok()?.parse().ok()
}
