//! The loops and the scheduler together, over a registry in memory. Each test ends at rest.
pub(crate) mod bed;
mod nodes;
mod rebalance;

use std::{collections::BTreeSet, time::Duration};

use cube_api::{
    condition::{AVAILABLE, PROGRESSING, READY, find, is_true},
    kinds::Kind,
    meta::{RESTARTED_ANNOTATION, REVISION_LABEL},
    namespace::Namespace,
    revision::Revision,
    task::{Phase, Task},
};
use serde_json::{Value, json};

use self::bed::{Bed, deployment, report, task};
use crate::registry::{Object, Patch, Propagation, WriteOptions};

fn uids(tasks: &[Task]) -> BTreeSet<String> {
    tasks.iter().map(|task| task.metadata.uid.clone()).collect()
}

fn revisions(bed: &Bed) -> Vec<u64> {
    let revisions = bed.list(Kind::Revision, "default");
    let mut numbers: Vec<u64> = revisions
        .iter()
        .map(|object| object.typed::<Revision>().spec.revision)
        .collect();
    numbers.sort_unstable();
    numbers
}

async fn patch(bed: &Bed, kind: Kind, name: &str, patch: Value) {
    let options = WriteOptions::new("test");
    let patch = Patch::Merge(patch);
    bed.registry
        .patch(kind, "default", name, &patch, &options)
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_deployment_becomes_tasks_on_a_node_and_is_scaled() {
    let bed = Bed::new(&[("here", "8Gi")]).await;
    bed.apply([deployment("web", 3, "nginx:1")]).await;
    bed.rest().await;
    let tasks = bed.tasks();
    assert_eq!(tasks.len(), 3);
    for task in &tasks {
        assert!(task.metadata.name.starts_with("web-1-"), "{}", task.metadata.name);
        assert_eq!(task.status.node.as_deref(), Some("here"));
        assert_eq!(task.status.phase, Phase::Running);
        assert!(is_true(&task.status.conditions, "Scheduled"));
    }
    let status = bed.deployment("web").status;
    assert_eq!((status.replicas, status.updated_replicas), (3, 3));
    assert_eq!((status.ready_replicas, status.available_replicas), (3, 3));
    assert_eq!((status.unavailable_replicas, status.revision), (0, 1));
    assert_eq!(status.selector, "cube/deployment=web");
    for condition in [READY, AVAILABLE, PROGRESSING] {
        let condition = find(&status.conditions, condition).unwrap();
        assert_eq!(condition.observed_generation, bed.deployment("web").metadata.generation);
        assert!(is_true(&status.conditions, &condition.kind), "{condition:?}");
    }

    bed.apply([deployment("web", 5, "nginx:1")]).await;
    bed.rest().await;
    let more = bed.tasks();
    assert_eq!(more.len(), 5);
    assert!(uids(&more).is_superset(&uids(&tasks)));

    bed.apply([deployment("web", 1, "nginx:1")]).await;
    bed.rest().await;
    let fewer = bed.tasks();
    assert_eq!(fewer.len(), 1);
    assert!(uids(&tasks).is_superset(&uids(&fewer)), "the newest go first");
    let told = [
        "Scaled: scaled down from 5 to 1",
        "Scaled: scaled up from 0 to 3",
        "Scaled: scaled up from 3 to 5",
    ];
    assert_eq!(bed.events("web"), told);
    bed.assert_at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn a_roll_keeps_within_its_bounds_and_ends() {
    let bed = Bed::new(&[("here", "8Gi")]).await;
    bed.apply([deployment("web", 4, "nginx:1")]).await;
    bed.rest().await;
    let old = uids(&bed.tasks());
    bed.apply([deployment("web", 4, "nginx:2")]).await;
    // maxSurge 25 % and maxUnavailable 25 % of 4 are one each.
    while !bed.events("web").iter().any(|event| event.starts_with("RolledOut")) {
        let tasks = bed.tasks();
        let live: Vec<&Task> = tasks.iter().filter(|task| !task.metadata.is_deleting()).collect();
        let ready = live.iter().filter(|task| is_true(&task.status.conditions, READY));
        assert!(live.len() <= 5, "{} live", live.len());
        assert!(ready.count() >= 3);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    bed.rest().await;
    assert!(uids(&bed.tasks()).is_disjoint(&old));
    assert!(
        bed.tasks()
            .iter()
            .all(|task| task.metadata.labels[REVISION_LABEL] == "2")
    );
    assert_eq!(revisions(&bed), [1, 2]);

    // Back to the first template: the same Revision, with a new number.
    bed.apply([deployment("web", 4, "nginx:1")]).await;
    bed.rest().await;
    assert_eq!(revisions(&bed), [2, 3]);
    assert_eq!(bed.deployment("web").status.revision, 3);
    let told = [
        "RolledOut: revision 2 is rolled out: 4 ready",
        "RolledOut: revision 3 is rolled out: 4 ready",
        "Rolling: rolling to revision 2: at most 1 more and 1 fewer at a time",
        "Rolling: rolling to revision 3 (there before): at most 1 more and 1 fewer at a time",
        "Scaled: scaled up from 0 to 4",
    ];
    assert_eq!(bed.events("web"), told);
    bed.assert_at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn what_does_not_form_the_container_is_brought_to_the_tasks_in_place() {
    let bed = Bed::new(&[("here", "8Gi")]).await;
    let mut web = deployment("web", 2, "nginx:1");
    web["spec"]["template"]["metadata"] = json!({ "labels": { "app": "web", "old": "1" } });
    bed.apply([web.clone()]).await;
    bed.rest().await;
    let before = bed.tasks();
    patch(
        &bed,
        Kind::Task,
        &before[0].metadata.name,
        json!({ "metadata": { "labels": { "mine": "1" } } }),
    )
    .await;
    web["spec"]["template"]["metadata"] = json!({ "labels": { "app": "site" }, "annotations": { "note": "x" } });
    web["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(3);
    bed.apply([web]).await;
    bed.rest().await;
    let after = bed.tasks();
    assert_eq!(uids(&after), uids(&before));
    for task in &after {
        assert_eq!(task.spec.termination_grace_period_seconds, 3);
        assert_eq!(task.metadata.labels["app"], "site");
        assert!(!task.metadata.labels.contains_key("old"));
        assert_eq!(task.metadata.annotations["note"], "x");
    }
    assert_eq!(after[0].metadata.labels["mine"], "1", "others' labels stay");
    assert_eq!(revisions(&bed), [1]);

    // A hand that changes a Task of the Deployment's is set right.
    patch(
        &bed,
        Kind::Task,
        &after[0].metadata.name,
        json!({ "spec": { "image": "evil" } }),
    )
    .await;
    bed.rest().await;
    assert_eq!(bed.task(&after[0].metadata.name).spec.image, "nginx:1");

    // A restart is another revision of the same template.
    let restart = json!({ "metadata": { "annotations": { RESTARTED_ANNOTATION: "2030-01-01T00:00:00Z" } } });
    patch(&bed, Kind::Deployment, "web", restart).await;
    bed.rest().await;
    assert!(uids(&bed.tasks()).is_disjoint(&uids(&before)));
    assert_eq!(revisions(&bed), [1, 2]);
    bed.assert_at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn a_fixed_port_makes_a_roll_stop_first_and_says_so() {
    let bed = Bed::new(&[("here", "8Gi")]).await;
    let with_port = |image| {
        let mut web = deployment("web", 1, image);
        web["spec"]["template"]["spec"]["ports"] = json!([{ "containerPort": 80, "hostPort": 8080 }]);
        web
    };
    bed.apply([with_port("nginx:1")]).await;
    bed.rest().await;
    bed.apply([with_port("nginx:2")]).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let status = bed.deployment("web").status;
    let progressing = find(&status.conditions, PROGRESSING).unwrap();
    assert!(
        progressing
            .message
            .contains("stop-first, because port 8080 of the node is fixed"),
        "{progressing:?}"
    );
    assert_eq!(bed.tasks().len(), 1, "the old one goes first");
    bed.rest().await;
    let tasks = bed.tasks();
    assert_eq!((tasks.len(), tasks[0].spec.image.as_str()), (1, "nginx:2"));
    assert!(
        bed.list(Kind::Event, "default").len() < 8,
        "nobody was told that the port is taken"
    );
    bed.assert_at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn recreate_waits_until_all_old_ones_are_gone() {
    let bed = Bed::new(&[("here", "8Gi")]).await;
    let recreate = |image| {
        let mut web = deployment("web", 3, image);
        web["spec"]["strategy"] = json!({ "type": "Recreate" });
        web
    };
    bed.apply([recreate("nginx:1")]).await;
    bed.rest().await;
    bed.apply([recreate("nginx:2")]).await;
    while bed.deployment("web").status.revision == 1 || !is_true(&bed.deployment("web").status.conditions, READY) {
        let tasks = bed.tasks();
        let images: BTreeSet<&str> = tasks.iter().map(|task| task.spec.image.as_str()).collect();
        assert!(images.len() <= 1, "{images:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    bed.rest().await;
    assert_eq!(bed.tasks().len(), 3);
    bed.assert_at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_lost_is_replaced() {
    let bed = Bed::new(&[("here", "8Gi")]).await;
    bed.apply([deployment("web", 3, "nginx:1")]).await;
    bed.rest().await;
    let before = bed.tasks();
    bed.delete(Kind::Task, "default", &before[0].metadata.name, None).await;
    report(&bed.registry, "default", &before[1].metadata.name, Phase::Failed, false).await;
    bed.rest().await;
    let after = bed.tasks();
    assert_eq!(after.len(), 3);
    assert_eq!(uids(&after).intersection(&uids(&before)).count(), 1);
    assert!(after.iter().all(|task| task.status.phase == Phase::Running));

    // Its Revision too, without a Task being touched.
    let revision = bed.list(Kind::Revision, "default")[0].name().to_owned();
    bed.delete(Kind::Revision, "default", &revision, None).await;
    bed.rest().await;
    assert_eq!(revisions(&bed), [1]);
    assert_eq!(uids(&bed.tasks()), uids(&after));
    bed.assert_at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn dependents_go_after_before_or_never_as_the_deletion_says() {
    let bed = Bed::new(&[("here", "8Gi")]).await;
    bed.apply(["background", "foreground", "orphan"].map(|name| deployment(name, 2, "nginx:1")))
        .await;
    bed.rest().await;
    let there = |name: &str| bed.registry.get(Kind::Deployment, "default", name).is_ok();
    let of = |name: &str| -> Vec<Object> {
        let mut objects = bed.list(Kind::Task, "default");
        objects.extend(bed.list(Kind::Revision, "default"));
        objects.retain(|object| object.name().starts_with(name));
        objects
    };

    bed.delete(Kind::Deployment, "default", "background", Some(Propagation::Background))
        .await;
    assert!(!there("background"));
    assert_eq!(of("background").len(), 3);
    bed.rest().await;
    assert_eq!(of("background").len(), 0);

    bed.delete(Kind::Deployment, "default", "foreground", Some(Propagation::Foreground))
        .await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(there("foreground"), "it waits for its Tasks");
    assert!(of("foreground").iter().all(Object::is_deleting));
    bed.rest().await;
    assert!(!there("foreground") && of("foreground").is_empty());

    bed.delete(Kind::Deployment, "default", "orphan", Some(Propagation::Orphan))
        .await;
    bed.rest().await;
    assert!(!there("orphan"));
    let orphans = of("orphan");
    assert_eq!(orphans.len(), 3);
    assert!(
        orphans
            .iter()
            .all(|object| object.meta().owner_references.is_empty() && !object.is_deleting())
    );

    // The same Deployment again takes them over as they are.
    bed.apply([deployment("orphan", 2, "nginx:1")]).await;
    bed.rest().await;
    let uids =
        |objects: &[Object]| -> BTreeSet<String> { objects.iter().map(|object| object.uid().to_owned()).collect() };
    assert_eq!(uids(&of("orphan")), uids(&orphans));
    assert!(of("orphan").iter().all(|object| object.meta().controller().is_some()));
    assert_eq!(bed.deployment("orphan").status.ready_replicas, 2);
    bed.assert_at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn owners_in_a_circle_go_too() {
    let bed = Bed::new(&[]).await;
    bed.apply(["a", "b", "c"].map(|name| task(name, "1Mi"))).await;
    for (name, owner) in [("a", "c"), ("b", "a"), ("c", "b")] {
        let uid = bed.task(owner).metadata.uid;
        let owners = json!([{
            "apiVersion": "cube/v1", "kind": "Task", "name": owner, "uid": uid, "blockOwnerDeletion": true,
        }]);
        patch(
            &bed,
            Kind::Task,
            name,
            json!({ "metadata": { "ownerReferences": owners } }),
        )
        .await;
    }
    bed.rest().await;
    bed.delete(Kind::Task, "default", "a", Some(Propagation::Foreground))
        .await;
    bed.rest().await;
    assert_eq!(bed.tasks(), []);
    bed.assert_at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn a_namespace_is_emptied_before_it_goes() {
    let bed = Bed::new(&[("here", "8Gi")]).await;
    let room = json!({ "apiVersion": "cube/v1", "kind": "Namespace", "metadata": { "name": "room" } });
    let mut web = deployment("web", 3, "nginx:1");
    web["metadata"]["namespace"] = "room".into();
    let mut held = task("held", "1Mi");
    held["metadata"]["namespace"] = "room".into();
    held["metadata"]["finalizers"] = json!(["test/hold"]);
    bed.apply([room, web, held]).await;
    bed.rest().await;
    assert_eq!(bed.list(Kind::Task, "room").len(), 4);
    bed.delete(Kind::Namespace, "", "room", None).await;
    bed.rest().await;
    let left: Vec<String> = bed
        .all()
        .iter()
        .filter(|object| object.namespace() == "room")
        .map(|object| object.name().to_owned())
        .collect();
    assert_eq!(left, ["held"], "it waits for the last finalizer");
    let room = bed.registry.get(Kind::Namespace, "", "room").unwrap();
    let held = &room.typed::<Namespace>().status.conditions[0].message;
    assert_eq!(held, "task/held is held by finalizer test/hold");
    let options = WriteOptions::new("test");
    let free = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    bed.registry
        .patch(Kind::Task, "room", "held", &free, &options)
        .await
        .unwrap();
    bed.rest().await;
    assert!(bed.registry.get(Kind::Namespace, "", "room").is_err());
    bed.assert_at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn events_go_an_hour_after_they_last_happened() {
    let bed = Bed::new(&[("here", "8Gi")]).await;
    bed.apply([task("one", "1Mi")]).await;
    bed.rest().await;
    assert_eq!(bed.events("one"), ["Scheduled: given to node here"]);
    tokio::time::sleep(Duration::from_secs(3000)).await;
    assert_eq!(bed.events("one").len(), 1);
    tokio::time::sleep(Duration::from_secs(700)).await;
    assert_eq!(bed.events("one").len(), 0);
    bed.assert_at_rest().await;
}

/// What the objects come to, without what chance and time have given them.
fn shape(bed: &Bed) -> Vec<String> {
    let mut shapes: Vec<String> = bed
        .all()
        .iter()
        .filter(|object| object.kind() != Kind::Event)
        .map(|object| {
            let name = match object.try_typed::<Task>() {
                Some(task) => format!("{:?} of {}", task.status.phase, task.metadata.labels[REVISION_LABEL]),
                None => object.name().to_owned(),
            };
            let generation = object.meta().generation;
            format!("{:?} {name} {generation} {}", object.kind(), object.is_deleting())
        })
        .collect();
    shapes.sort();
    shapes
}

#[tokio::test(start_paused = true)]
async fn cut_off_at_any_moment_it_ends_as_if_it_had_not_been() {
    let mut expected: Option<Vec<String>> = None;
    let moments = (0..100).step_by(7).chain((100..140).step_by(8));
    for turns in [None].into_iter().chain(moments.map(Some)) {
        let mut bed = Bed::new(&[("a", "8Gi"), ("b", "8Gi")]).await;
        bed.apply([deployment("web", 3, "nginx:1"), deployment("gone", 2, "nginx:1")])
            .await;
        bed.rest().await;
        bed.apply([deployment("web", 4, "nginx:2")]).await;
        bed.delete(Kind::Deployment, "default", "gone", Some(Propagation::Foreground))
            .await;
        if let Some(turns) = turns {
            // Steps of the machine at first, then of the work.
            for turn in 0..turns {
                if turn < 100 {
                    tokio::task::yield_now().await;
                } else {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
            bed.kill().await;
            bed.start();
        }
        bed.rest().await;
        let shape = shape(&bed);
        assert_eq!(
            expected.get_or_insert_with(|| shape.clone()),
            &shape,
            "cut off after {turns:?}"
        );
        assert_eq!(bed.tasks().len(), 4);
        if turns.is_none_or(|turns| turns % 14 == 0) {
            bed.assert_at_rest().await;
        } else {
            bed.halt().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_lost_the_place_begins_anew() {
    let options = crate::store::Options {
        history_events: 1,
        ..crate::store::Options::default()
    };
    let bed = Bed::over(&[("a", "8Gi"), ("b", "8Gi")], options).await;
    let names: Vec<String> = (0..10).map(|number| format!("web{number}")).collect();
    bed.apply(names.iter().map(|name| deployment(name, 3, "nginx:1"))).await;
    bed.rest().await;
    bed.apply(names.iter().map(|name| deployment(name, 2, "nginx:2"))).await;
    bed.rest().await;
    assert_eq!(bed.tasks().len(), 20);
    for name in &names {
        let web = bed.deployment(name);
        assert!(is_true(&web.status.conditions, READY), "{:?}", web.status);
    }
    bed.assert_at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn a_decision_that_is_refused_is_told_and_tried_again() {
    let mut bed = Bed::new(&[("here", "8Gi")]).await;
    bed.halt().await;
    // A label that no admission would let in any more, as an older release may have let it.
    bed.apply([deployment("web", 1, "nginx:1")]).await;
    let revision = bed.registry.get(Kind::Deployment, "default", "web").unwrap();
    let value = serde_json::to_vec(&{
        let mut value = revision.to_value();
        value["spec"]["template"]["metadata"] = json!({ "labels": { "app": "not a value!" } });
        value["metadata"].as_object_mut().unwrap().remove("resourceVersion");
        value
    });
    let key = revision.record().key.clone();
    let transaction = crate::store::Transaction {
        changes: vec![crate::store::Change::Put(key, value.unwrap())],
        ..crate::store::Transaction::default()
    };
    bed.registry.store().commit(transaction).await.unwrap();
    bed.start();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(bed.tasks(), []);
    let told = bed.events("web");
    assert!(told.len() == 1 && told[0].starts_with("Refused: "), "{told:?}");
    assert!(told[0].contains("not a value!"), "{told:?}");
    let mended = json!({ "spec": { "template": { "metadata": { "labels": { "app": "web" } } } } });
    patch(&bed, Kind::Deployment, "web", mended).await;
    bed.rest().await;
    assert_eq!(bed.tasks().len(), 1);
    bed.assert_at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_closed_makes_nobody_spin() {
    let mut bed = Bed::new(&[("here", "8Gi")]).await;
    bed.apply([deployment("web", 3, "nginx:1"), task("one", "1Mi"), task("huge", "1Ti")])
        .await;
    tokio::task::yield_now().await;
    bed.registry.store().close();
    tokio::time::sleep(Duration::from_secs(600)).await;
    bed.halt().await;
}
