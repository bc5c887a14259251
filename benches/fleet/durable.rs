//! Many Tasks that wait for a node, and then there are nodes for all: so many are placed a second, each on disk and told to
//! its worker.
use std::time::Instant;

use cube_bench::report::Row;
use http::Method;
use serde_json::{Value, json};

use crate::manager::LIMIT;
use crate::wish::post;
use crate::worker::DISK;
use crate::{Fleet, Result, crew};

const NAMESPACE: &str = "durable";
const TASKS: usize = 20_000;
/// Connections by which they are made.
const MANY: usize = 64;
/// One node in so many can take them.
const SHARE: usize = 10;

impl Fleet {
    pub async fn durable(&mut self) -> Result<Vec<Row>> {
        let tasks = TASKS.min(self.size.tasks);
        let body = json!({ "metadata": { "name": NAMESPACE } });
        self.manager
            .ask(Method::POST, "/apis/cube/v1/namespaces", &body)
            .await?;
        let nodes: Vec<usize> = (0..self.size.nodes).step_by(SHARE).collect();
        // No more than its share fits on a node, or the first one got all.
        let disk = DISK / tasks.div_ceil(nodes.len()) as u64;
        post(&self.manager, MANY, tasks, move |number| {
            let body = json!({
                "metadata": { "name": format!("task-{number:06}") },
                "spec": {
                    "image": "nginx:1.27",
                    "nodeSelector": { "durable": "yes" },
                    "resources": { "requests": { "ephemeral-storage": disk } },
                },
            });
            (format!("/apis/cube/v1/namespaces/{NAMESPACE}/tasks"), body.to_string())
        })
        .await?;
        self.rest().await?;
        let all = (self.size.tasks + tasks) as i64;
        let mut wire = self.manager.wire().await?;
        let began = Instant::now();
        for number in nodes {
            let target = format!("/apis/cube/v1/nodes/{}", crew::name(number));
            let patch = json!({ "metadata": { "labels": { "durable": "yes" } } }).to_string();
            let (code, _) = wire.patch(&target, patch).await?;
            if code != 200 {
                return Err(format!("{target}: code {code}").into());
            }
        }
        self.crew
            .until("all are told to their workers", LIMIT, |told| told.tasks == all)
            .await?;
        let placed = began.elapsed().as_secs_f64();
        self.crew.until("all run", LIMIT, |told| told.running == all).await?;
        let running = began.elapsed().as_secs_f64();
        let target = format!("/apis/cube/v1/namespaces/{NAMESPACE}");
        self.manager.ask(Method::DELETE, &target, &Value::Null).await?;
        let left = self.size.tasks as i64;
        let gone = self
            .crew
            .until("they are gone", LIMIT, |told| told.tasks == left)
            .await?;
        self.rest().await?;
        Ok(vec![
            Row::new(
                format!("{tasks} Tasks placed, durable and told"),
                "a second",
                tasks as f64 / placed,
            )
            .at_least(10_000.0),
            Row::new("  and running", "a second", tasks as f64 / running),
            Row::new("  deleted with their namespace", "s", gone.as_secs_f64()),
        ])
    }
}
