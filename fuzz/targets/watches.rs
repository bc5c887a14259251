//! Watch parameters: whatever they say, a watch is refused, or tells in order and without gaps what its selectors mean.
//!
//! An input is a line with the query, and then a byte for each write that is made meanwhile.
use std::{collections::BTreeMap, time::Duration};

use axum::body::{Body, BodyDataStream};
use cube::registry::{DeleteOptions, WriteOptions};
use cube_api::kinds::Kind;
use futures_util::StreamExt;
use http::{Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::served::{self, Served};

const TASKS: &str = "/apis/cube/v1/namespaces/default/tasks";
/// Writes of an input; more only take longer.
const WRITES: usize = 24;
/// Events that are read; more than come of so many writes.
const EVENTS: usize = 200;

pub fn run(bytes: &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let Ok(query) = std::str::from_utf8(&bytes[..end]) else {
        return;
    };
    let writes = bytes.get(end + 1..).unwrap_or_default();
    if format!("{TASKS}?watch=true&{query}").parse::<http::Uri>().is_err() {
        return;
    }
    served::with(|served| served.runtime.block_on(watched(served, query, writes)));
}

async fn watched(served: &Served, query: &str, writes: &[u8]) {
    let begun = served.registry.store().revision();
    let (before, after) = writes.split_at(writes.len().min(WRITES) / 2);
    write(served, before).await;
    let response = get(served, &format!("{TASKS}?watch=true&{query}")).await;
    let status = response.status();
    if status != StatusCode::OK {
        assert!(status.is_client_error(), "{query}: {status}");
        return;
    }
    write(served, &after[..after.len().min(WRITES / 2)]).await;
    let told = read(response.into_body().into_data_stream()).await;
    let listed = get(served, &format!("{TASKS}?{query}")).await;
    in_order(query, &told);
    let from_now = [
        "resourceVersion",
        "sendInitialEvents",
        "timeoutSeconds",
        "watch",
        "continue",
    ];
    if listed.status() == StatusCode::OK && !from_now.iter().any(|word| decoded(query).contains(word)) {
        let bytes = axum::body::to_bytes(listed.into_body(), usize::MAX).await;
        let listed: Value = serde_json::from_slice(&bytes.expect("a list is sent whole")).expect("a list is JSON");
        let listed = listed["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        let listed: BTreeMap<&str, &str> = listed.iter().map(identity).collect();
        assert_eq!(kept(&told), listed, "{query}: what was told comes to what is there");
    }
    assert!(served.registry.store().revision() >= begun);
}

/// The query without escapes: a parameter may be written with them.
fn decoded(query: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = query.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match escaped.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn get(served: &Served, uri: &str) -> http::Response<Body> {
    let request = Request::get(uri).body(Body::empty()).expect("the address is one");
    let Ok(response) = served.router.clone().oneshot(request).await;
    response
}

/// A byte is a write: which of four Tasks, and what becomes of it.
async fn write(served: &Served, bytes: &[u8]) {
    for byte in bytes {
        let name = ["a", "b", "c", "web"][usize::from(byte & 3)];
        let options = WriteOptions::new("fuzz");
        let app = ["web", "db"][usize::from(byte >> 2 & 1)];
        let task = json!({ "metadata": { "name": name, "labels": { "app": app } }, "spec": { "image": "busybox" } });
        // What does not go through is not told either.
        let _ = match byte >> 3 & 3 {
            0 => {
                let now = DeleteOptions {
                    grace_seconds: Some(0),
                    ..DeleteOptions::default()
                };
                served
                    .registry
                    .delete(Kind::Task, "default", name, &now)
                    .await
                    .map(drop)
            }
            1 => {
                let status_of = options.status();
                let phase = ["Pending", "Failed"][usize::from(byte >> 2 & 1)];
                let status = json!({ "status": { "phase": phase } });
                let patch = cube::registry::Patch::Merge(status);
                let patched = served.registry.patch(Kind::Task, "default", name, &patch, &status_of);
                patched.await.map(drop)
            }
            2 => served
                .registry
                .create(Kind::Task, "default", task, &options)
                .await
                .map(drop),
            _ => {
                let patch = cube::registry::Patch::Merge(json!({ "metadata": { "labels": { "app": app } } }));
                served
                    .registry
                    .patch(Kind::Task, "default", name, &patch, &options)
                    .await
                    .map(drop)
            }
        };
    }
}

/// The events until nothing more comes for a while.
async fn read(mut body: BodyDataStream) -> Vec<Value> {
    let (mut told, mut rest) = (Vec::new(), Vec::new());
    while told.len() < EVENTS
        && let Ok(Some(piece)) = tokio::time::timeout(Duration::from_secs(5), body.next()).await
    {
        rest.extend_from_slice(&piece.expect("an event is sent whole"));
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            told.push(serde_json::from_slice(&line).expect("each line is JSON"));
        }
    }
    assert!(rest.is_empty(), "lines end");
    told
}

fn in_order(query: &str, told: &[Value]) {
    let mut newest = 0;
    for event in told {
        let revision = event["object"]["metadata"]["resourceVersion"].as_str();
        match event["type"].as_str() {
            // What was there comes first, by name.
            Some("ADDED") => newest = newest.max(revision.map_or(0, number)),
            Some("MODIFIED" | "DELETED" | "BOOKMARK") => {
                let revision = revision.map_or(0, number);
                assert!(revision >= newest, "{query}: {revision} after {newest}: {told:#?}");
                newest = revision;
            }
            Some("ERROR") => assert_eq!(event["object"]["kind"], "Status", "{event}"),
            _ => panic!("{event}"),
        }
    }
}

fn number(text: &str) -> u64 {
    text.parse().expect("a revision is a number")
}

/// What is left of what was told: names and revisions.
fn kept(told: &[Value]) -> BTreeMap<&str, &str> {
    let mut kept = BTreeMap::new();
    for event in told {
        let (name, revision) = identity(&event["object"]);
        match event["type"].as_str() {
            Some("ADDED" | "MODIFIED") => drop(kept.insert(name, revision)),
            Some("DELETED") => drop(kept.remove(name)),
            _ => {}
        }
    }
    kept
}

fn identity(object: &Value) -> (&str, &str) {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    (text("name"), text("resourceVersion"))
}
