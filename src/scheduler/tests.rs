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
    urgent["spec"]["preemptionPolicy"] = json!("Never");
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

fn important(name: &str, memory: &str, priority: i32) -> serde_json::Value {
    let mut task = task(name, memory);
    task["spec"]["priority"] = json!(priority);
    task
}

#[tokio::test(start_paused = true)]
async fn a_more_important_task_takes_the_place_of_the_least_important() {
    let bed = Bed::new(&[("a", "4Gi"), ("b", "4Gi")]).await;
    bed.apply([important("low", "3Gi", 1), important("mid", "4Gi", 5)])
        .await;
    bed.rest().await;
    let low = bed.task("low").status.node.unwrap();
    bed.manners.lock().unwrap().stop = Duration::from_secs(10);
    bed.apply([important("urgent", "4Gi", 100)]).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    // Until the other has ended, room is kept, and it is told so.
    let status = bed.task("urgent").status;
    assert_eq!(status.nominated_node.as_ref(), Some(&low));
    assert_eq!(status.reason, "WaitingForRoom");
    assert_eq!(
        status.message,
        format!("waits for room on node {low}: less important tasks leave it")
    );
    let eviction = bed.task("low").status.eviction.unwrap();
    assert_eq!(eviction.reason, "Preempted");
    assert_eq!(eviction.message, "preempted by default/urgent (priority 100)");
    // What comes in between does not get it, also not when it fits beside the one that leaves.
    bed.apply([important("thief", "1Gi", 100)]).await;
    bed.rest().await;
    let urgent = bed.task("urgent").status;
    assert_eq!((urgent.node.as_ref(), urgent.nominated_node), (Some(&low), None));
    assert_eq!(urgent.phase, Phase::Running);
    let told = "Preempted: preempted by default/urgent (priority 100)".to_owned();
    assert!(bed.events("low").contains(&told), "{:?}", bed.events("low"));
    // The thief took the place of the next in turn, beside which there is room for the first; nobody is lost.
    for (name, phase) in [
        ("thief", Phase::Running),
        ("low", Phase::Running),
        ("mid", Phase::Pending),
    ] {
        assert_eq!(bed.task(name).status.phase, phase, "{name}");
    }
    bed.manners.lock().unwrap().stop = Duration::from_millis(100);
    bed.delete(Kind::Task, "default", "urgent", None).await;
    bed.rest().await;
    assert_eq!(bed.task("mid").status.phase, Phase::Running);
    bed.assert_at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn once_there_is_room_it_is_taken_and_nobody_else_gives_way() {
    let bed = Bed::new(&[("a", "4Gi"), ("b", "4Gi"), ("c", "4Gi")]).await;
    bed.apply(["x", "y", "z"].map(|name| important(name, "4Gi", 1))).await;
    bed.rest().await;
    for (stop, name) in [(100, "first"), (3000, "second")] {
        bed.manners.lock().unwrap().stop = Duration::from_millis(stop);
        bed.apply([important(name, "3Gi", 100)]).await;
        tokio::time::sleep(Duration::from_millis(stop + 200)).await;
        assert!(
            bed.task(name).status.node.is_some(),
            "at once, not when it is next told"
        );
        bed.rest().await;
    }
    let preempted = ["x", "y", "z"].map(|name| bed.events(name));
    let preempted = preempted
        .iter()
        .flatten()
        .filter(|event| event.starts_with("Preempted"));
    assert_eq!(preempted.count(), 2, "one for each");
    bed.assert_at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn nobody_gives_way_to_who_does_not_ask_for_it_or_would_not_fit_anyway() {
    let bed = Bed::new(&[("a", "4Gi")]).await;
    bed.apply([important("low", "3Gi", 1)]).await;
    bed.rest().await;
    let mut polite = important("polite", "4Gi", 100);
    polite["spec"]["preemptionPolicy"] = json!("Never");
    bed.apply([polite, important("huge", "5Gi", 100), important("equal", "3Gi", 1)])
        .await;
    bed.rest().await;
    assert_eq!(bed.task("low").status.phase, Phase::Running);
    for name in ["polite", "huge", "equal"] {
        let status = bed.task(name).status;
        assert_eq!((status.node, status.nominated_node), (None, None), "{name}");
    }
    bed.assert_at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn a_manager_killed_amid_a_preemption_ends_it() {
    for millis in [0, 1, 50, 150, 2000] {
        let mut bed = Bed::new(&[("a", "4Gi")]).await;
        bed.apply([important("low", "4Gi", 1)]).await;
        bed.rest().await;
        bed.manners.lock().unwrap().stop = Duration::from_secs(1);
        bed.apply([important("urgent", "4Gi", 100)]).await;
        tokio::time::sleep(Duration::from_millis(millis)).await;
        bed.kill().await;
        bed.start();
        bed.rest().await;
        assert_eq!(bed.task("urgent").status.phase, Phase::Running, "after {millis} ms");
        assert_eq!(bed.task("low").status.phase, Phase::Pending, "after {millis} ms");
        bed.assert_at_rest().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_hundred_that_fit_nowhere_hold_up_none_of_a_hundred_that_do() {
    let bed = Bed::new(&[("a", "64Gi"), ("b", "64Gi")]).await;
    bed.rest().await;
    let both = (0..100).flat_map(|number| {
        let mut huge = important(&format!("huge-{number:02}"), &format!("{}Gi", 65 + number), 10);
        huge["metadata"]["labels"] = json!({ "number": number.to_string() });
        [huge, task(&format!("small-{number:02}"), "1Mi")]
    });
    bed.apply(both).await;
    let is_small = |task: &Task| task.metadata.name.starts_with("small");
    let bound = |tasks: Vec<Task>| {
        tasks
            .iter()
            .filter(|task| is_small(task) && task.status.node.is_some())
            .count()
    };
    let began = tokio::time::Instant::now();
    while bound(bed.tasks()) < 100 {
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(began.elapsed() < Duration::from_secs(1), "they are held up");
    }
    bed.rest().await;
    for task in bed.tasks() {
        let expected = if is_small(&task) {
            Phase::Running
        } else {
            Phase::Pending
        };
        assert_eq!(task.status.phase, expected, "{}", task.metadata.name);
        if !is_small(&task) {
            assert!(task.status.message.contains("2 lack memory"), "{}", task.status.message);
        }
    }
    // None of them is lost: they are placed when there is room for them.
    bed.node("vast", "100000Gi", json!({})).await;
    bed.rest().await;
    assert!(bed.tasks().iter().all(|task| task.status.phase == Phase::Running));
    bed.assert_at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn tasks_that_wait_follow_labels_taints_and_cordons_as_they_change() {
    let bed = Bed::new(&[("a", "4Gi"), ("b", "4Gi")]).await;
    let with = |name: &str, spec: serde_json::Value| {
        let mut task = task(name, "1Mi");
        for (field, value) in spec.as_object().unwrap() {
            task["spec"][field] = value.clone();
        }
        task
    };
    let edit = async |node: &str, patch: serde_json::Value| {
        let options = WriteOptions::new("test");
        let patch = Patch::Merge(patch);
        bed.registry
            .patch(Kind::Node, "", node, &patch, &options)
            .await
            .unwrap();
    };
    edit(
        "a",
        json!({ "spec": { "taints": [{ "key": "k", "effect": "NoSchedule" }] } }),
    )
    .await;
    edit("b", json!({ "spec": { "unschedulable": true } })).await;
    let zoned = json!([{ "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": { "matchLabels": { "app": "x" } } }]);
    bed.apply([
        with("ssd", json!({ "nodeSelector": { "disk": "ssd" } })),
        with("any", json!({})),
        with("zoned", json!({ "topologySpreadConstraints": zoned })),
    ])
    .await;
    bed.rest().await;
    let waits = |name: &str| bed.task(name).status.node.is_none();
    assert!(waits("ssd") && waits("any") && waits("zoned"));
    edit("a", json!({ "spec": { "taints": [] } })).await;
    bed.rest().await;
    assert!(waits("ssd") && !waits("any") && waits("zoned"));
    edit("a", json!({ "metadata": { "labels": { "zone": "east" } } })).await;
    bed.rest().await;
    assert!(waits("ssd") && !waits("zoned"));
    edit("b", json!({ "metadata": { "labels": { "disk": "ssd" } } })).await;
    bed.rest().await;
    assert!(waits("ssd"), "cordoned");
    edit("b", json!({ "spec": { "unschedulable": false } })).await;
    bed.rest().await;
    assert_eq!(bed.task("ssd").status.node.as_deref(), Some("b"));
    // What runs stays where it is, whatever becomes of the label.
    edit("b", json!({ "metadata": { "labels": { "disk": null } } })).await;
    bed.rest().await;
    assert_eq!(bed.task("ssd").status.node.as_deref(), Some("b"));
    bed.assert_at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn a_wish_that_has_changed_is_answered_also_where_another_comes_to_ask_for_the_same() {
    let bed = Bed::new(&[("a", "1Gi")]).await;
    bed.apply([task("one", "3Gi"), task("other", "2Gi")]).await;
    bed.rest().await;
    // In one batch: the one changes in what matters to no node, the other comes to ask for what the one does.
    let mut one = task("one", "3Gi");
    one["spec"]["command"] = json!(["sleep", "9"]);
    bed.apply([one, task("other", "3Gi")]).await;
    bed.rest().await;
    for name in ["one", "other"] {
        let task = bed.task(name);
        assert_eq!(task.metadata.generation, 2, "{name}");
        assert_eq!(task.status.observed_generation, 2, "{name}");
    }
    bed.assert_at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn who_gets_other_labels_makes_no_room_for_one_that_outgrows_the_same_node() {
    let bed = Bed::new(&[]).await;
    for (name, memory) in [("a", "2Gi"), ("b", "4Gi")] {
        bed.node(name, memory, json!({ "cube/node": name })).await;
    }
    let on_a = |name: &str| {
        let mut task = task(name, "1Gi");
        task["spec"]["nodeSelector"] = json!({ "cube/node": "a" });
        task
    };
    bed.apply([on_a("grows"), on_a("stays")]).await;
    bed.rest().await;
    let before = bed.task("stays").status.epoch;
    let mut labelled = on_a("stays");
    labelled["metadata"]["labels"] = json!({ "tier": "web" });
    bed.apply([task("grows", "3Gi"), labelled]).await;
    bed.rest().await;
    assert_eq!(bed.task("grows").status.node.as_deref(), Some("b"));
    let stays = bed.task("stays").status;
    assert_eq!((stays.node.as_deref(), stays.epoch), (Some("a"), before));
    bed.assert_at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_not_told_anew_at_each_change_of_each_node() {
    let bed = Bed::new(&[]).await;
    let waits = |n: usize| {
        let mut task = task(&format!("t{n}"), "2Gi");
        task["spec"]["nodeSelector"] = json!({ "zone": "none" });
        task
    };
    bed.apply((0..40).map(waits)).await;
    bed.rest().await;
    let before = bed.registry.store().revision();
    for n in 0..20 {
        bed.node(&format!("n{n}"), "2Gi", json!({ "zone": "none" })).await;
    }
    bed.rest().await;
    // Each node takes one, and the others are told once or twice of what is left, not twenty times.
    let writes = bed.registry.store().revision() - before;
    assert!(writes < 400, "{writes}");
    let tasks: Vec<Task> = (0..40).map(|n| bed.task(&format!("t{n}"))).collect();
    let (waiting, placed): (Vec<_>, Vec<_>) = tasks.iter().partition(|task| task.status.node.is_none());
    assert_eq!((waiting.len(), placed.len()), (20, 20));
    for task in waiting {
        let message = &task.status.message;
        assert!(message.starts_with("0/20 nodes"), "{message}");
    }
    bed.assert_at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_edited_beyond_what_its_node_has_is_placed_anew() {
    let bed = Bed::new(&[]).await;
    for (name, memory) in [("a", "2Gi"), ("b", "4Gi")] {
        bed.node(name, memory, json!({ "cube/node": name })).await;
    }
    let edited = |memory: &str, node: Option<&str>| {
        let mut edited = task("edited", memory);
        if let Some(node) = node {
            edited["spec"]["nodeSelector"] = json!({ "cube/node": node });
        }
        edited
    };
    bed.apply([edited("1Gi", Some("a"))]).await;
    bed.rest().await;
    assert_eq!(bed.task("edited").status.node.as_deref(), Some("a"));
    // As long as there is room, it stays where it is.
    bed.apply([edited("2Gi", None)]).await;
    bed.rest().await;
    assert_eq!(bed.task("edited").status.node.as_deref(), Some("a"));
    bed.apply([edited("3Gi", None)]).await;
    bed.rest().await;
    let status = bed.task("edited").status;
    assert_eq!((status.node.as_deref(), status.phase), (Some("b"), Phase::Running));
    let events = bed.events("edited");
    let told = "Outgrown: what it asks for now, node a cannot give: lacks memory: needs 3Gi, 2Gi is free";
    assert!(events.iter().any(|event| event == told), "{events:#?}");
    // What fits nowhere waits, and says so; a node is never given more than it has.
    bed.apply([edited("5Gi", None)]).await;
    bed.rest().await;
    let status = bed.task("edited").status;
    assert_eq!((status.node, status.reason.as_str()), (None, "Unschedulable"));
    bed.apply([edited("1Gi", Some("a"))]).await;
    bed.rest().await;
    assert_eq!(bed.task("edited").status.node.as_deref(), Some("a"));
    bed.assert_at_rest().await;
}
