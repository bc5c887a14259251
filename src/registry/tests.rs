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

#[tokio::test]
async fn a_status_that_is_written_gives_no_node() {
    let registry = registry().await;
    let options = WriteOptions::new("test");
    let task = json!({ "metadata": { "name": "web" }, "spec": { "image": "nginx" } });
    registry.create(Kind::Task, "default", task, &options).await.unwrap();
    let node = json!({ "metadata": { "name": "here" } });
    registry.create(Kind::Node, "", node, &options).await.unwrap();
    let status =
        |node: serde_json::Value| Patch::Merge(json!({ "status": { "node": node, "epoch": 7, "reason": "x" } }));
    let patched = registry
        .patch(
            Kind::Task,
            "default",
            "web",
            &status("here".into()),
            &options.clone().status(),
        )
        .await
        .unwrap();
    let written = &patched.typed::<cube_api::task::Task>().status;
    assert_eq!(
        (written.node.as_deref(), written.epoch, written.reason.as_str()),
        (None, 0, "x")
    );
    let bound = registry
        .bind("default", "web", patched.uid(), "here", patched.revision())
        .await
        .unwrap();
    let epoch = bound.typed::<cube_api::task::Task>().status.epoch;
    let patched = registry
        .patch(
            Kind::Task,
            "default",
            "web",
            &status(serde_json::Value::Null),
            &options.status(),
        )
        .await
        .unwrap();
    let written = &patched.typed::<cube_api::task::Task>().status;
    assert_eq!((written.node.as_deref(), written.epoch), (Some("here"), epoch));
}

#[tokio::test]
async fn what_says_the_same_writes_nothing_and_any_difference_is_written() {
    let registry = registry().await;
    let options = WriteOptions::new("test");
    let first = json!({
        "metadata": { "name": "web", "labels": { "app": "web" } },
        "spec": { "image": "nginx", "env": [{ "name": "A", "value": "1" }] },
    });
    let made = registry
        .create(Kind::Task, "default", first.clone(), &options)
        .await
        .unwrap();
    let update = |value: serde_json::Value| registry.update(Kind::Task, "default", "web", value, &options);
    // With and without what the server owns.
    for same in [first.clone(), made.to_value()] {
        assert_eq!(update(same).await.unwrap().revision(), made.revision());
    }
    let mut last = made.revision();
    let changed = |change: fn(&mut serde_json::Value)| {
        let mut value = first.clone();
        change(&mut value);
        value
    };
    for other in [
        changed(|value| value["metadata"]["labels"]["tier"] = "x".into()),
        changed(|value| drop(value["metadata"]["labels"].as_object_mut().unwrap().remove("app"))),
        changed(|value| drop(value["metadata"].as_object_mut().unwrap().remove("labels"))),
        changed(|value| value["spec"]["env"][0]["value"] = "2".into()),
        changed(|value| drop(value["spec"].as_object_mut().unwrap().remove("env"))),
        changed(|value| value["spec"]["init"] = true.into()),
    ] {
        let revision = update(other.clone()).await.unwrap().revision();
        assert!(revision > last, "{other}");
        last = revision;
    }
    let bad = update(changed(|value| value["spec"]["imgae"] = "x".into()))
        .await
        .unwrap_err();
    assert_eq!(bad.code, 400);
}

#[tokio::test]
async fn the_book_lets_an_older_state_overwrite_a_newer() {
    use cube_api::task::{Phase, Task, TaskStatus};
    let registry = registry().await;
    let options = WriteOptions::new("test");
    for node in ["a", "b"] {
        let node = json!({ "metadata": { "name": node } });
        registry.create(Kind::Node, "", node, &options).await.unwrap();
    }
    let task = json!({ "metadata": { "name": "web" }, "spec": { "image": "nginx" } });
    let made = registry.create(Kind::Task, "default", task, &options).await.unwrap();
    let bind = |object: &Object, node: &str| {
        let (uid, revision, node) = (object.uid().to_owned(), object.revision(), node.to_owned());
        let registry = registry.clone();
        async move { registry.bind("default", "web", &uid, &node, revision).await }
    };
    let first = bind(&made, "a").await.unwrap();
    // The node is given up, and another one has the Task.
    let write = Write::Release {
        task: first.clone(),
        reason: "NodeLost".to_owned(),
        message: String::new(),
    };
    let released = registry.transact(vec![write.clone()]).await.unwrap().remove(0);
    let second = bind(&released, "b").await.unwrap();
    let report = |of: &Object, phase: Phase| TaskReport {
        namespace: "default".to_owned(),
        name: "web".to_owned(),
        uid: of.uid().to_owned(),
        epoch: of.typed::<Task>().status.epoch,
        status: TaskStatus {
            phase,
            ..TaskStatus::default()
        },
        gone: false,
    };
    let told = |node: &'static str, report: TaskReport| {
        let registry = registry.clone();
        async move {
            registry
                .report(node, &[report])
                .await
                .remove(0)
                .map_err(|error| error.code)
        }
    };
    assert_eq!(told("b", report(&second, Phase::Running)).await, Ok(()));
    let now = registry.get(Kind::Task, "default", "web").unwrap().revision();
    for (node, of) in [("a", &first), ("b", &first), ("a", &second)] {
        assert_eq!(told(node, report(of, Phase::Failed)).await, Err(409), "{node}");
    }
    // Decisions that were made on what it was before come too late as well.
    assert_eq!(registry.transact(vec![write]).await.unwrap_err().code, 409);
    let status = Write::status(&first, &json!({ "phase": "Failed" }));
    assert_eq!(registry.transact(vec![status]).await.unwrap_err().code, 409);
    assert_eq!(bind(&made, "a").await.unwrap_err().code, 409);
    let is = registry.get(Kind::Task, "default", "web").unwrap();
    assert_eq!((is.revision(), is.typed::<Task>().status.phase), (now, Phase::Running));
}

#[test]
fn what_has_its_form_and_yet_means_nothing_is_refused_with_a_word() {
    // A number is an amount by its form; this one is larger than any.
    let amount = json!({ "limits": { "memory": 1e300 } });
    let spec = json!({ "image": "x", "resources": amount });
    let task = json!({ "apiVersion": "cube/v1", "kind": "Task", "metadata": { "name": "web" }, "spec": spec });
    let wrong = check(Kind::Task, &task);
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    assert!(wrong[0].message.contains("quantity"), "{wrong:?}");
}
