//! A thousand watches of the same Tasks, and one more that nobody reads.
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cube_bench::report::{Row, Samples};
use http::Method;
use http_body_util::BodyExt as _;
use tokio::task::JoinSet;

use crate::probe::Probe;
use crate::{Fleet, Result};

const WATCHES: usize = 1000;
const CHANGES: usize = 200;
/// Between two of them: all watches can be told meanwhile.
const PAUSE: Duration = Duration::from_millis(50);
/// More than a socket holds: the one that is not read is really stuck.
const STUCK: usize = 300;
/// A change that is not told by then will not be.
const LATEST: Duration = Duration::from_secs(60);

impl Fleet {
    pub async fn watches(&mut self) -> Result<Vec<Row>> {
        self.rest().await?;
        let (watches, changes) = if self.size.small { (20, 5) } else { (WATCHES, CHANGES) };
        let mut probe = Probe::of_deployment(self).await?;
        let alone = changed(&mut probe, changes).await?;
        self.rest().await?;
        let (resident, _) = self.manager.memory()?;
        let target = format!(
            "/apis/cube/v1/namespaces/{}/tasks?watch=1&resourceVersion={}",
            self.wish.namespace(0),
            self.manager.revision().await?
        );
        let told = Arc::new(AtomicUsize::new(0));
        let mut readers = JoinSet::new();
        for _ in 0..watches {
            let mut wire = self.manager.wire().await?;
            let (answer, told) = (wire.begin(Method::GET, &target, "").await?, Arc::clone(&told));
            readers.spawn(async move {
                // It lives as long as its connection.
                let (_wire, mut body) = (wire, answer.into_body());
                while let Some(Ok(frame)) = body.frame().await {
                    let lines = frame
                        .data_ref()
                        .map_or(0, |data| data.iter().filter(|byte| **byte == b'\n').count());
                    told.fetch_add(lines, Ordering::Relaxed);
                }
            });
        }
        let (with_watches, _) = self.manager.memory()?;

        // One after the other, each waited for until all have heard of it.
        let mut heard = Samples::default();
        for number in 1..=changes {
            let began = Instant::now();
            probe.change().await?;
            while told.load(Ordering::Relaxed) < number * watches {
                if began.elapsed() > LATEST {
                    return Err(format!("{} of {} were told", told.load(Ordering::Relaxed), number * watches).into());
                }
                tokio::time::sleep(Duration::from_micros(200)).await;
            }
            heard.time(began.elapsed());
        }
        let spent = self.manager.spent()?;
        let all_read = changed(&mut probe, changes).await?;
        let spent = self.manager.spent()? - spent;
        let mut slow = self.manager.wire().await?;
        let unread = slow.begin(Method::GET, &target, "").await?;
        for _ in 0..if self.size.small { 0 } else { STUCK } {
            probe.change().await?;
        }
        let one_stuck = changed(&mut probe, changes).await?;
        drop((readers, unread, slow));
        let ratio = one_stuck.median() / all_read.median();
        Ok(vec![
            Row::new("a write without watches", "ms", alone).p99(),
            Row::new(format!("{watches} watches of it, all read: a write"), "ms", all_read).p99(),
            Row::new("  until all were told", "ms", heard).p99(),
            Row::new("  one more that is not read: a write", "ms", one_stuck)
                .judged("ratio", ratio)
                .at_most(1.5),
            Row::new(
                "  processor of the manager, each that is told",
                "µs",
                spent.as_secs_f64() * 1e6 / (changes * watches) as f64,
            ),
            Row::new(
                "  memory, each watch",
                "KiB",
                (with_watches - resident) * 1024.0 / watches as f64,
            ),
        ])
    }
}

async fn changed(probe: &mut Probe, changes: usize) -> Result<Samples> {
    let mut took = Samples::default();
    for _ in 0..changes {
        took.time(probe.change().await?);
        tokio::time::sleep(PAUSE).await;
    }
    Ok(took)
}
