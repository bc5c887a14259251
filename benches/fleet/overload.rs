//! Clients that ask for more than the API can give, without end: workers stay, and what is wished is still done.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cube_bench::report::Row;
use http::Method;
use serde_json::json;
use tokio::task::JoinSet;

use crate::manager::LIMIT;
use crate::probe::Probe;
use crate::{Fleet, Result, wish};

/// Far more than there are cores: each asks again as soon as it is answered.
const CLIENTS: usize = 256;
const LASTS: Duration = Duration::from_secs(30);
/// By so many a Deployment is scaled meanwhile.
const MORE: usize = 10;

impl Fleet {
    pub async fn overload(&mut self) -> Result<Vec<Row>> {
        self.rest().await?;
        let (clients, lasts) = match self.size.small {
            true => (16, LASTS / 20),
            false => (CLIENTS, LASTS),
        };
        let before = self.crew.told();
        let (answered, refused) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let mut asking: JoinSet<Result<()>> = JoinSet::new();
        for number in 0..clients {
            let mut wire = self.manager.wire().await?;
            let (answered, refused) = (Arc::clone(&answered), Arc::clone(&refused));
            let namespace = self.wish.namespace(number);
            let deployment = wish::deployment(number % self.wish.deployments());
            // A list that is looked for among all of its namespace's, as dashboards ask for them.
            let target =
                format!("/apis/cube/v1/namespaces/{namespace}/tasks?labelSelector=cube/deployment%3D{deployment}");
            asking.spawn(async move {
                loop {
                    let (code, _) = wire.send(Method::GET, &target, "").await?;
                    let counted = if code == 200 { &answered } else { &refused };
                    counted.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let began = Instant::now();
        let writer = Probe::of_deployment(self).await?.go_on();
        tokio::time::sleep(lasts / 3).await;
        let wished = self.wish.replicas(0) + MORE;
        let scaled = Instant::now();
        self.scale(wished).await?;
        let all = (self.size.tasks + MORE) as i64;
        self.crew
            .until("it is scaled", LIMIT, |told| told.running == all)
            .await?;
        let scaled = scaled.elapsed().as_secs_f64();
        tokio::time::sleep(lasts.saturating_sub(began.elapsed())).await;
        let took = began.elapsed().as_secs_f64();
        let (answered, refused) = (answered.load(Ordering::Relaxed), refused.load(Ordering::Relaxed));
        drop(asking);
        let writes = writer.stop().await?;
        let broken = self.crew.told().broken - before.broken;
        self.scale(wished - MORE).await?;
        let left = self.size.tasks as i64;
        self.crew
            .until("it is as before", LIMIT, |told| told.tasks == left)
            .await?;
        Ok(vec![
            Row::new(
                format!("{clients} clients that never wait: answered"),
                "a second",
                answered as f64 / took,
            ),
            Row::new("  told to come again", "a second", refused as f64 / took),
            Row::new("  links broken meanwhile", "links", broken as f64).at_most(0.0),
            Row::new(format!("  {MORE} Tasks more, wished to running"), "s", scaled).at_most(10.0),
            Row::new("  a write", "ms", writes).p99(),
        ])
    }

    async fn scale(&self, replicas: usize) -> Result<()> {
        let target = format!(
            "/apis/cube/v1/namespaces/{}/deployments/{}",
            self.wish.namespace(0),
            wish::deployment(0)
        );
        let patch = json!({ "spec": { "replicas": replicas } }).to_string();
        let mut wire = self.manager.wire().await?;
        let (code, text) = wire.patch(&target, patch).await?;
        match code {
            200 => Ok(()),
            _ => Err(format!("{target}: code {code}: {}", String::from_utf8_lossy(&text)).into()),
        }
    }
}
