//! The dialect through the router, over a store in memory.
mod connecting;
mod discovering;
mod hostile;
mod programs;
mod reading;
mod watching;
mod writing;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use axum::{
    Router,
    body::{Body, BodyDataStream},
};
use bytes::Bytes;
use cube_api::{figures::Measured, kinds::Kind, task::Task};
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use http::{HeaderMap, Method, Request};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::{Containers, Server, ServerState, routes};
use crate::{
    engine::{ExecOptions, LogOptions, Program, Said, Told},
    registry::{ApiError, Registry},
    store::{Options, Store},
    world::World,
};

/// A worker that says what it was asked.
struct Echo;

#[async_trait]
impl Containers for Echo {
    async fn logs(
        &self,
        task: &Task,
        options: LogOptions,
    ) -> Result<BoxStream<'static, Result<Bytes, String>>, ApiError> {
        if task.metadata.name == "gone" {
            return Err(ApiError::not_found(Kind::Task, "gone"));
        }
        let text = format!("{} {:?} {}\n", task.metadata.name, options.tail, options.timestamps);
        Ok(stream::iter([Ok(Bytes::new()), Ok(text.into())]).boxed())
    }

    async fn figures(&self, node: &str, _: Vec<String>) -> Result<Measured, ApiError> {
        Err(ApiError::unavailable(format!("there is no worker of node {node}")))
    }

    /// A program that says what it is told, and ends with 7 when its input does.
    async fn exec(&self, task: &Task, options: ExecOptions) -> Result<Program, ApiError> {
        if task.metadata.name == "gone" {
            return Err(ApiError::not_found(Kind::Task, "gone"));
        }
        let (input, told) = tokio::sync::mpsc::channel(1);
        let words = Said::Output {
            stderr: true,
            bytes: options.command.join(" ").into(),
        };
        let answers = stream::unfold((told, false), |(mut told, ended)| async move {
            if ended {
                return None;
            }
            let (said, ended) = match told.recv().await? {
                Told::Input(bytes) => (Said::Output { stderr: false, bytes }, false),
                Told::Size(size) => {
                    let bytes = format!("{}x{}", size.width, size.height).into();
                    (Said::Output { stderr: false, bytes }, false)
                }
                Told::InputEnds => (Said::Ended(7), true),
            };
            Some((said, (told, ended)))
        });
        Ok(Program {
            input,
            output: stream::iter([words]).chain(answers).boxed(),
        })
    }
}

struct App {
    router: Router,
    server: Arc<Server>,
    registry: Registry,
    ending: CancellationToken,
}

struct Answer {
    code: u16,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// A server of those objects, that says this of itself.
fn state(registry: &Registry, info: Value) -> ServerState {
    ServerState {
        registry: registry.clone(),
        containers: Arc::new(Echo),
        door: None,
        scheduling_policy: Default::default(),
        recorder: None,
        info,
    }
}

impl App {
    async fn new() -> Self {
        Self::with(Options::default()).await
    }

    async fn with(options: Options) -> Self {
        let registry = Registry::open(Store::memory(options), World::real()).await.unwrap();
        let ending = CancellationToken::new();
        let server = Arc::new(Server::new(state(&registry, json!({ "pid": 7 })), ending.clone()));
        Self {
            router: routes(Arc::clone(&server)),
            server,
            registry,
            ending,
        }
    }

    async fn send(&self, method: Method, uri: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.into()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Answer {
            code: parts.status.as_u16(),
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    async fn get(&self, uri: &str) -> Answer {
        self.send(Method::GET, uri, &[], Body::empty()).await
    }

    async fn get_as(&self, uri: &str, accept: &str) -> Answer {
        self.send(Method::GET, uri, &[("accept", accept)], Body::empty()).await
    }

    async fn post(&self, uri: &str, value: &Value) -> Answer {
        let headers = [("content-type", "application/json")];
        self.send(Method::POST, uri, &headers, value.to_string()).await
    }

    async fn put(&self, uri: &str, value: &Value) -> Answer {
        self.send(Method::PUT, uri, &[], value.to_string()).await
    }

    async fn merge(&self, uri: &str, value: &Value) -> Answer {
        let headers = [("content-type", "application/merge-patch+json")];
        self.send(Method::PATCH, uri, &headers, value.to_string()).await
    }

    async fn delete(&self, uri: &str, body: &str) -> Answer {
        self.send(Method::DELETE, uri, &[], body.to_owned()).await
    }

    async fn task(&self, name: &str, image: &str) -> Value {
        let task = json!({ "metadata": { "name": name, "labels": { "app": name } }, "spec": { "image": image } });
        let made = self.post(TASKS, &task).await;
        assert_eq!(made.code, 201, "{}", made.text);
        made.json()
    }

    /// Gives a Task a status, as a worker would.
    async fn status(&self, name: &str, status: Value) {
        let uri = format!("{TASKS}/{name}/status");
        let told = self.merge(&uri, &json!({ "status": status })).await;
        assert_eq!(told.code, 200, "{}", told.text);
    }

    async fn watch(&self, uri: &str, accept: &str) -> Lines {
        let request = Request::builder().uri(uri).header("accept", accept);
        let request = request.body(Body::empty()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200);
        Lines {
            body: response.into_body().into_data_stream(),
            rest: Vec::new(),
        }
    }
}

const TASKS: &str = "/apis/cube/v1/namespaces/default/tasks";
const JSON: &str = "application/json";

/// The lines of a watch.
struct Lines {
    body: BodyDataStream,
    rest: Vec<u8>,
}

impl Lines {
    /// The next event; none at the end.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let piece = tokio::time::timeout(Duration::from_secs(3600), self.body.next())
                .await
                .expect("a watch goes on or ends")?
                .unwrap();
            assert!(!piece.is_empty());
            self.rest.extend_from_slice(&piece);
        }
    }

    /// `ADDED web`, `BOOKMARK`, …
    async fn word(&mut self) -> String {
        let Some(event) = self.next().await else {
            return "END".to_owned();
        };
        let name = event["object"]["metadata"]["name"].as_str().unwrap_or_default();
        let word = event["type"].as_str().unwrap();
        format!("{word} {name}").trim_end().to_owned()
    }
}
