//! What nodes and Tasks use: asked of the workers, each time somebody asks here.
mod exposed;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{extract::State, response::Response};
use cube_api::{
    API_VERSION,
    figures::{Measured, NodeFigures, TaskFigures},
    kinds::Kind,
    task::{Phase, Task},
};
use futures_util::{StreamExt as _, stream};
use http::{StatusCode, Uri};
use serde::Serialize;
use serde_json::json;
use tokio::time::timeout;

use super::{
    Server,
    answer::{self, Refusal},
    params::Params,
};
use crate::registry::{Filter, Object};

pub(super) use exposed::Exposed;

/// A worker that has not answered by then is told as unknown: it must not hold up what others say. A first measurement
/// takes half a second.
const PATIENCE: Duration = Duration::from_secs(3);
/// So many workers are asked at once.
const ASKED: usize = 64;

/// `/apis/cube/v1/figures/nodes`.
pub(super) async fn nodes(State(server): State<Arc<Server>>, uri: Uri) -> Result<Response, Refusal> {
    let params = Params::parse(uri.query());
    let filter = params.filter(Kind::Node, None)?;
    let names = selected(&server, Kind::Node, &filter).into_iter();
    let names: Vec<String> = names.map(|object| object.name().to_owned()).collect();
    let asked = names.iter().map(|name| (name.clone(), Vec::new())).collect();
    let mut measured = ask(&server, asked).await;
    let items = names.into_iter().map(|name| node(&mut measured, name));
    Ok(list("NodeFiguresList", items.collect()))
}

/// `/apis/cube/v1/figures/tasks`, of one namespace with `namespace=`.
pub(super) async fn tasks(State(server): State<Arc<Server>>, uri: Uri) -> Result<Response, Refusal> {
    let params = Params::parse(uri.query());
    let namespace = params.get("namespace").filter(|namespace| !namespace.is_empty());
    let filter = params.filter(Kind::Task, namespace)?;
    let tasks = selected(&server, Kind::Task, &filter);
    let measured = ask(&server, containers(&tasks)).await;
    let items = tasks.iter().map(|object| task(&measured, object.typed()));
    Ok(list("TaskFiguresList", items.collect()))
}

/// What is known of everything.
pub(super) async fn all(server: &Server) -> (Vec<NodeFigures>, Vec<TaskFigures>) {
    let everything = Filter::default();
    let tasks = selected(server, Kind::Task, &everything);
    let mut asked = containers(&tasks);
    let nodes = selected(server, Kind::Node, &everything);
    for node in &nodes {
        asked.entry(node.name().to_owned()).or_default();
    }
    let mut measured = ask(server, asked).await;
    let tasks = tasks.iter().map(|object| task(&measured, object.typed())).collect();
    let nodes = nodes.iter().map(|object| node(&mut measured, object.name().to_owned()));
    (nodes.collect(), tasks)
}

fn selected(server: &Server, kind: Kind, filter: &Filter) -> Vec<Object> {
    server.registry.list_filtered(kind, filter).items
}

/// The containers that are asked about, by their nodes.
fn containers(tasks: &[Object]) -> BTreeMap<String, Vec<String>> {
    let mut asked: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for task in tasks {
        let status = &task.typed::<Task>().status;
        if let (Some(node), Some(container), Phase::Running) = (&status.node, &status.container_id, status.phase) {
            asked.entry(node.clone()).or_default().push(container.clone());
        }
    }
    asked
}

type Answers = BTreeMap<String, Result<Measured, String>>;

/// Asks workers about their nodes and these of their containers.
async fn ask(server: &Server, asked: BTreeMap<String, Vec<String>>) -> Answers {
    let answers = stream::iter(asked).map(|(node, containers)| {
        let reach = Arc::clone(&server.containers);
        async move {
            let measured = match timeout(PATIENCE, reach.figures(&node, containers)).await {
                Ok(measured) => measured.map_err(|error| error.to_string()),
                Err(_) => Err(format!("its worker has not answered within {} s", PATIENCE.as_secs())),
            };
            (node, measured)
        }
    });
    answers.buffer_unordered(ASKED).collect().await
}

fn node(measured: &mut Answers, name: String) -> NodeFigures {
    match measured.remove(&name) {
        Some(Ok(measured)) => NodeFigures {
            name,
            timestamp: Some(measured.at),
            usage: measured.node,
            message: String::new(),
        },
        Some(Err(message)) => NodeFigures {
            name,
            message,
            ..NodeFigures::default()
        },
        None => NodeFigures {
            name,
            ..NodeFigures::default()
        },
    }
}

fn task(measured: &Answers, task: &Task) -> TaskFigures {
    let status = &task.status;
    let known = status.node.as_ref().and_then(|node| measured.get(node)?.as_ref().ok());
    let usage = known.and_then(|known| Some((known.at, known.containers.get(status.container_id.as_ref()?)?)));
    TaskFigures {
        namespace: task.metadata.namespace().to_owned(),
        name: task.metadata.name.clone(),
        node: status.node.clone(),
        timestamp: usage.map(|(at, _)| at),
        usage: usage.map(|(_, usage)| usage.clone()).unwrap_or_default(),
    }
}

fn list<T: Serialize>(kind: &str, items: Vec<T>) -> Response {
    let list = json!({ "kind": kind, "apiVersion": API_VERSION, "metadata": {}, "items": items });
    answer::value(StatusCode::OK, &list)
}
