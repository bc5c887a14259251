//! What people read, as a story: facts, Events and changes in, lines out.
use std::time::Duration;

use cube_api::event::ObjectReference;
use cube_api::kinds::Resource;
use cube_api::task::TaskStatus;
use serde_json::json;

use super::*;
use crate::registry::{Registry, TaskReport, WatchOptions, WriteOptions};
use crate::store::{Options, Store};
use crate::world::World;

fn id(kind: Kind, name: &str) -> ObjectId {
    ObjectId {
        kind,
        namespace: "default".to_owned(),
        name: name.to_owned(),
    }
}

fn told(kind: EventType, reason: &str, message: &str) -> Told {
    Told {
        about: ObjectReference {
            kind: "Task".to_owned(),
            namespace: "default".to_owned(),
            name: "hello".to_owned(),
            ..ObjectReference::default()
        },
        kind,
        reason: reason.to_owned(),
        message: message.to_owned(),
        at: Timestamp::UNIX_EPOCH,
        component: "worker",
        host: "here".into(),
    }
}

fn texts(lines: Vec<Line>) -> Vec<String> {
    lines.iter().map(|line| line.text(false)).collect()
}

/// A registry with a node and the Task `hello` on it, and its watch.
async fn registry() -> (Registry, crate::registry::ObjectWatch) {
    let registry = Registry::open(Store::memory(Options::default()), World::real())
        .await
        .unwrap();
    let options = WriteOptions::new("test");
    let mut node = cube_api::node::Node::default();
    node.metadata.name = "here".to_owned();
    registry
        .create(Kind::Node, "", node.to_value(), &options)
        .await
        .unwrap();
    let task = json!({ "metadata": { "name": "hello" }, "spec": { "image": "busybox" } });
    let task = registry.create(Kind::Task, "default", task, &options).await.unwrap();
    registry
        .bind("default", "hello", task.uid(), "here", task.revision())
        .await
        .unwrap();
    let watch = registry.watch(Kind::Task, WatchOptions::default()).unwrap();
    (registry, watch)
}

async fn report(registry: &Registry, reason: &str, phase: Phase, gone: bool) {
    let task = registry.get(Kind::Task, "default", "hello").unwrap();
    let status = TaskStatus {
        phase,
        reason: reason.to_owned(),
        observed_generation: task.meta().generation,
        ..task.typed::<Task>().status.clone()
    };
    let report = TaskReport {
        namespace: "default".to_owned(),
        name: "hello".to_owned(),
        uid: task.uid().to_owned(),
        epoch: status.epoch,
        status,
        gone,
    };
    registry.report("here", &[report]).await.remove(0).unwrap();
}

async fn see(scene: &mut Scene, watch: &mut crate::registry::ObjectWatch, now: Instant) -> Vec<String> {
    let events = watch.next().await.unwrap();
    texts(events.iter().flat_map(|event| scene.seen(event, now)).collect())
}

#[tokio::test(start_paused = true)]
async fn a_task_comes_and_goes() {
    let (registry, mut watch) = registry().await;
    let mut scene = Scene::new("manifests/");
    let start = Instant::now();
    assert_eq!(see(&mut scene, &mut watch, start).await, Vec::<String>::new());
    // Nothing is said to be as desired before the directory was read, and before all of it was applied.
    assert_eq!(texts(scene.pause()), Vec::<String>::new());
    let found = Fact::Found { files: 1, objects: 2 };
    assert_eq!(texts(scene.fact(found)), ["watching manifests/: 1 file, 2 objects"]);
    let created = Fact::Applied {
        object: id(Kind::Task, "hello"),
        became: Became::Created,
    };
    assert_eq!(texts(scene.fact(created)), ["  + task/hello"]);
    let unchanged = Fact::Applied {
        object: id(Kind::Namespace, "x"),
        became: Became::Unchanged,
    };
    assert_eq!(texts(scene.fact(unchanged)), Vec::<String>::new());
    let pulled = told(EventType::Normal, "Pulled", "pulled busybox in 2.1 s");
    assert_eq!(
        texts(scene.told(&pulled, false)),
        ["  = 1 unchanged", "task/hello          pulled busybox in 2.1 s"]
    );
    let started = told(EventType::Normal, "Started", "started in 0.3 s");
    assert_eq!(
        texts(scene.told(&started, false)),
        ["task/hello          started in 0.3 s"]
    );
    assert_eq!(texts(scene.told(&started, true)), Vec::<String>::new());

    report(&registry, "Running", Phase::Running, false).await;
    assert_eq!(see(&mut scene, &mut watch, start).await, Vec::<String>::new());
    let all = "all as desired · 2 objects, 1 container · Ctrl-C leaves them running";
    assert_eq!(texts(scene.pause()), [all]);
    // Once is enough.
    assert_eq!(texts(scene.pause()), Vec::<String>::new());
    assert_eq!(scene.running(), 1);

    let removed = Fact::Removed {
        object: id(Kind::Task, "hello"),
    };
    assert_eq!(texts(scene.fact(removed)), Vec::<String>::new());
    let options = crate::registry::DeleteOptions::default();
    registry.delete(Kind::Task, "default", "hello", &options).await.unwrap();
    assert_eq!(see(&mut scene, &mut watch, start).await, Vec::<String>::new());
    report(&registry, "Stopping", Phase::Running, true).await;
    let later = start + Duration::from_millis(1500);
    assert_eq!(
        see(&mut scene, &mut watch, later).await,
        ["task/hello          gone from manifests/; stopped in 1.5 s, removed"]
    );
    assert_eq!(scene.running(), 0);
}

#[test]
fn worries_and_what_waits_for_a_yes() {
    let mut scene = Scene::new("manifests/");
    let worry = told(
        EventType::Warning,
        "BackOff",
        "exited with code 1; starting again in 2 s",
    );
    let lines = scene.told(&worry, true);
    assert_eq!(
        texts(lines.clone()),
        ["task/hello          exited with code 1; starting again in 2 s"]
    );
    assert!(lines[0].text(true).starts_with("\u{1b}[33m"));
    assert_eq!(
        lines[0].json(Timestamp::UNIX_EPOCH),
        r#"{"level":"warn","message":"exited with code 1; starting again in 2 s","object":"task/hello","reason":"BackOff","time":"1970-01-01T00:00:00Z"}"#
    );
    let waits = Fact::WaitsForYes {
        source: "manifests".to_owned(),
        n: 6,
        of: 7,
        why: Wait::TooMany { gone: 6, of: 7 },
    };
    assert_eq!(
        texts(scene.fact(waits)),
        [
            "manifests/          6 of 7 objects are gone from the directory: nothing removed",
            "                    if that is meant:  cube approve manifests      what would go:  cube approve manifests --show",
        ]
    );
}
