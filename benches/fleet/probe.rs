//! Who changes one Task again and again, to see how long that takes while something else goes on.
use std::time::{Duration, Instant};

use cube_bench::report::Samples;
use cube_bench::wire::Wire;
use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{Fleet, Result};

/// Between two changes of one who goes on by itself.
const PAUSE: Duration = Duration::from_millis(10);

/// Changes one Task.
pub struct Probe {
    wire: Wire,
    target: String,
    number: usize,
}

impl Probe {
    /// Of the first Task of the first Deployment.
    pub async fn of_deployment(fleet: &Fleet) -> Result<Self> {
        let namespace = fleet.wish.namespace(0);
        let selector = format!("cube/deployment%3D{}", crate::wish::deployment(0));
        let list = format!("/apis/cube/v1/namespaces/{namespace}/tasks?labelSelector={selector}");
        let list = fleet.manager.ask(Method::GET, &list, &Value::Null).await?;
        let name = list["items"][0]["metadata"]["name"].as_str().ok_or("no Task")?;
        Ok(Self {
            wire: fleet.manager.wire().await?,
            target: format!("/apis/cube/v1/namespaces/{namespace}/tasks/{name}"),
            number: 0,
        })
    }

    /// Changes it; gives the time until that is answered, which is when it is durable.
    pub async fn change(&mut self) -> Result<Duration> {
        self.number += 1;
        let began = Instant::now();
        let patch = json!({ "metadata": { "annotations": { "fleet/number": self.number.to_string() } } });
        let (code, text) = (self.wire).patch(&self.target, patch.to_string()).await?;
        match code {
            200 => Ok(began.elapsed()),
            // Others write it too; a client tries again.
            409 | 429 => Ok(began.elapsed()),
            _ => Err(format!("{}: code {code}: {}", self.target, String::from_utf8_lossy(&text)).into()),
        }
    }

    /// Goes on by itself until it is stopped.
    pub fn go_on(mut self) -> Going {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut took = Samples::default();
            while !stopped.is_cancelled() {
                took.time(self.change().await?);
                tokio::time::sleep(PAUSE).await;
            }
            Ok(took)
        });
        Going { stop, task }
    }
}

/// One that goes on by itself.
pub struct Going {
    stop: CancellationToken,
    task: JoinHandle<Result<Samples>>,
}

impl Going {
    /// Stops it; gives the times that its changes took, in milliseconds.
    pub async fn stop(self) -> Result<Samples> {
        self.stop.cancel();
        self.task.await?
    }
}
