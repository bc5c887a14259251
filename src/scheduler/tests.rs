//! The scheduler over a registry in memory. Each test ends at rest.
use std::time::Duration;

use cube_api::{
    condition::{SCHEDULED, find},
    kinds::Kind,
    task::{Phase, Task},
};
use serde_json::json;

use crate::{
    controllers::tests::bed::{Bed, task},
    registry::{Patch, WriteOptions},
};

#[tokio::test(start_paused = true)]
async fn a_burst_is_bound_in_one_commit() {
    let bed = Bed::new(&[("a", "8Gi"), ("b", "8Gi")]).await;
    bed.rest().await;
    let before = bed.registry.snapshot().revision();
    bed.apply((0..50).map(|number| task(&format!("t{number}"), "1Mi")))
        .await;
    let applied = bed.registry.snapshot().revision();
    assert_eq!(applied - before, 50);
    while bed.tasks().iter().any(|task| task.status.node.is_none()) {
        assert!(bed.registry.snapshot().revision() == applied, "all or none are bound");
        tokio::task::yield_now().await;
    }
    let on_a = bed
        .tasks()
        .iter()
        .filter(|task| task.status.node.as_deref() == Some("a"))
        .count();
    assert_eq!(on_a, 25, "they are spread");
    bed.rest().await;
    bed.assert_at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn what_fits_nowhere_says_why_holds_up_nobody_and_is_placed_when_there_is_room() {
    let bed = Bed::new(&[("a", "2Gi"), ("b", "1Gi")]).await;
    bed.apply([task("first", "1.5Gi")]).await;
    bed.rest().await;
    let mut urgent = task("urgent", "2Gi");
    urgent["spec"]["priority"] = json!(100);
    bed.apply([urgent, task("small", "1Gi")]).await;
    bed.rest().await;
    assert_eq!(bed.task("small").status.phase, Phase::Running);
    let status = bed.task("urgent").status;
    assert_eq!(
        (status.phase, status.reason.as_str()),
        (Phase::Pending, "Unschedulable")
    );
    let why = "0/2 nodes can run this: 2 lack memory (needs 2Gi, most free is 512Mi on a); \
               asking for 512Mi of memory would fit now on a";
    assert_eq!(status.message, why);
    let scheduled = find(&status.conditions, SCHEDULED).unwrap();
    assert_eq!(
        (scheduled.reason.as_str(), scheduled.message.as_str()),
        ("Unschedulable", why)
    );
    assert_eq!(bed.events("urgent").len(), 1, "{:?}", bed.events("urgent"));

    // While the first one ends, it waits for its room; then it gets it.
    bed.manners.lock().unwrap().stop = Duration::from_secs(3);
    bed.delete(Kind::Task, "default", "first", None).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(bed.task("urgent").status.node, None);
    bed.rest().await;
    assert_eq!(bed.task("urgent").status.node.as_deref(), Some("a"));
    let status = bed.task("urgent").status;
    assert_eq!(find(&status.conditions, SCHEDULED).unwrap().reason, "Bound");
    bed.assert_at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn tasks_wait_for_a_node_and_figures_are_told_anew() {
    let bed = Bed::new(&[]).await;
    bed.apply([task("one", "1Gi")]).await;
    bed.rest().await;
    assert_eq!(bed.task("one").status.message, "there is no node yet");
    bed.node("disk", "512Mi", json!({ "disk": "ssd" })).await;
    bed.rest().await;
    let message = bed.task("one").status.message;
    assert!(
        message.starts_with("0/1 node can run this: 1 lacks memory (needs 1Gi, most free is 512Mi on disk)"),
        "{message}"
    );
    bed.node_status("disk", "512Mi", false).await;
    bed.rest().await;
    let message = bed.task("one").status.message;
    assert_eq!(message, "0/1 node can run this: 1 is not ready (disk: Test)");
    bed.node_status("disk", "1Gi", true).await;
    bed.rest().await;
    assert_eq!(bed.task("one").status.phase, Phase::Running);
    bed.assert_at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_has_changed_holds_up_no_other_of_its_batch() {
    let bed = Bed::new(&[("a", "8Gi")]).await;
    bed.rest().await;
    bed.apply((0..20).map(|number| task(&format!("t{number:02}"), "1Mi")))
        .await;
    // Others write while the bindings are under way.
    let options = WriteOptions::new("test");
    for turn in 0..10 {
        let touch = Patch::Merge(json!({ "metadata": { "annotations": { "turn": format!("{turn}") } } }));
        bed.registry
            .patch(Kind::Task, "default", "t07", &touch, &options)
            .await
            .unwrap();
    }
    bed.delete(Kind::Task, "default", "t08", None).await;
    bed.rest().await;
    let tasks = bed.tasks();
    assert_eq!(tasks.len(), 19);
    assert!(tasks.iter().all(|task: &Task| task.status.phase == Phase::Running));
    bed.assert_at_rest().await;
}
