//! The write rules, as tables over a store in memory.
use serde_json::json;

use super::*;
use crate::store::Options;

async fn registry() -> Registry {
    Registry::open(Store::memory(Options::default()), World::real())
        .await
        .unwrap()
}

#[tokio::test]
async fn what_is_created_is_there() {
    let registry = registry().await;
    let options = WriteOptions::new("test");
    let task = json!({ "metadata": { "name": "web" }, "spec": { "image": "nginx" } });
    let made = registry.create(Kind::Task, "default", task, &options).await.unwrap();
    let read = registry.get(Kind::Task, "default", "web").unwrap();
    assert_eq!(made.to_value(), read.to_value());
    let text: serde_json::Value = serde_json::from_slice(&read.json()).unwrap();
    assert_eq!(text, read.to_value());
}
