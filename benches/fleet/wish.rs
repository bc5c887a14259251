//! What is wished for: Deployments, or Tasks by themselves, made through the API by several clients at once.
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::manager::Manager;
use crate::{Result, Size};

/// Tasks of one namespace.
const ROOM: usize = 10_000;
/// Connections by which Deployments are made, and Tasks.
const FEW: usize = 8;
const MANY: usize = 64;

/// What is wished for.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    pub tasks: usize,
    /// Of each Deployment.
    pub replicas: usize,
}

impl From<Size> for Wish {
    fn from(size: Size) -> Self {
        Self {
            tasks: size.tasks,
            replicas: size.replicas,
        }
    }
}

impl Wish {
    fn namespaces(self) -> usize {
        self.tasks.div_ceil(ROOM)
    }

    pub fn deployments(self) -> usize {
        self.tasks.div_ceil(self.replicas)
    }

    /// The namespace of a Deployment or Task of that number.
    pub fn namespace(self, number: usize) -> String {
        format!("fleet-{}", number % self.namespaces())
    }

    /// Of a Deployment, by its number; the last one has what is left.
    pub fn replicas(self, number: usize) -> usize {
        self.replicas.min(self.tasks - number * self.replicas)
    }

    async fn make_namespaces(self, manager: &Manager) -> Result<()> {
        for number in 0..self.namespaces() {
            let body = json!({ "metadata": { "name": self.namespace(number) } });
            manager.ask(Method::POST, "/apis/cube/v1/namespaces", &body).await?;
        }
        Ok(())
    }

    /// Makes the Deployments.
    pub async fn deploy(self, manager: &Manager) -> Result<()> {
        self.make_namespaces(manager).await?;
        post(manager, FEW, self.deployments(), move |number| {
            let target = format!("/apis/cube/v1/namespaces/{}/deployments", self.namespace(number));
            (target, self.deployment(number).to_string())
        })
        .await
    }

    /// Makes as many Tasks that belong to nobody.
    pub async fn make_tasks(self, manager: &Manager) -> Result<()> {
        self.make_namespaces(manager).await?;
        post(manager, MANY, self.tasks, move |number| {
            let target = format!("/apis/cube/v1/namespaces/{}/tasks", self.namespace(number));
            let body = json!({ "metadata": { "name": format!("task-{number:06}") }, "spec": spec() });
            (target, body.to_string())
        })
        .await
    }

    fn deployment(self, number: usize) -> Value {
        let name = deployment(number);
        json!({
            "metadata": { "name": name },
            "spec": {
                "replicas": self.replicas(number),
                "template": { "metadata": { "labels": { "app": name } }, "spec": spec() },
            },
        })
    }
}

/// The name of a Deployment.
pub fn deployment(number: usize) -> String {
    format!("app-{number:05}")
}

/// What a Task of no particular kind says.
fn spec() -> Value {
    json!({
        "image": "nginx:1.27",
        "env": [{ "name": "MODE", "value": "production" }, { "name": "LISTEN", "value": "0.0.0.0:8080" }],
        "ports": [{ "name": "http", "containerPort": 8080 }],
        "resources": { "requests": { "cpu": "100m", "memory": "128Mi" }, "limits": { "memory": "256Mi" } },
    })
}

/// Posts so many bodies over so many connections, each as soon as the one before it is answered.
pub async fn post(
    manager: &Manager,
    connections: usize,
    bodies: usize,
    body: impl Fn(usize) -> (String, String) + Clone + Send + 'static,
) -> Result<()> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut clients: JoinSet<Result<()>> = JoinSet::new();
    for _ in 0..connections {
        let (mut wire, next, body) = (manager.wire().await?, Arc::clone(&next), body.clone());
        clients.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= bodies {
                    return Ok(());
                }
                let (target, body) = body(number);
                let (code, answer) = wire.send(Method::POST, &target, body).await?;
                if code != 201 {
                    return Err(format!("{target}: code {code}: {}", String::from_utf8_lossy(&answer)).into());
                }
            }
        });
    }
    while let Some(done) = clients.join_next().await {
        done??;
    }
    Ok(())
}
