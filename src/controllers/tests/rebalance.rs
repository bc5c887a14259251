//! Tasks that move by themselves to where nodes are loaded less, over a whole manager in virtual time.
use std::time::Duration;

use cube_api::kinds::Kind;
use serde_json::{Value, json};

use super::{
    bed::{Bed, deployment, task},
    nodes::{expected, pass, patch, places},
};

/// How many moves there have been, and that all were told.
fn told(bed: &Bed) -> usize {
    let events = bed.list(Kind::Event, "default");
    let told = events.iter().filter(|event| event.to_value()["reason"] == "Rebalanced");
    told.count()
}

fn auto(moves: u32) -> Value {
    json!({ "apiVersion": "cube/v1", "kind": "Settings", "metadata": { "name": "cluster" },
            "spec": { "autoRebalance": { "movesPerMinute": moves } } })
}

#[tokio::test(start_paused = true)]
async fn a_node_that_returns_gets_its_share_no_faster_than_is_allowed_and_nobody_is_lost() {
    let mut bed = Bed::new(&[("a", "8Gi"), ("b", "8Gi")]).await;
    bed.apply([deployment("web", 12, "nginx"), task("alone", "1Gi")]).await;
    bed.rest().await;
    bed.node("c", "8Gi", json!({})).await;
    pass(600).await;
    assert_eq!(told(&bed), 0, "nobody asked for it");
    bed.apply([auto(2)]).await;
    let mut least = 12;
    for half_seconds in 0..600 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        least = least.min(bed.deployment("web").status.available_replicas);
        assert!(told(&bed) <= half_seconds / 2 * 2 / 60 + 1);
    }
    assert_eq!((least, told(&bed)), (12, 4));
    assert_eq!(places(&bed)["c"], 4, "{:?}", places(&bed));
    // A manager that starts anew moves nothing at once, and nothing more.
    bed.halt().await;
    bed.start();
    pass(300).await;
    assert_eq!(told(&bed), 4);
    bed.assert_at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_moves_while_something_is_under_way_or_once_it_is_switched_off() {
    let bed = Bed::new(&[("a", "8Gi")]).await;
    bed.apply([auto(60), deployment("web", 6, "nginx"), deployment("other", 2, "slow")])
        .await;
    bed.rest().await;
    bed.manners.lock().unwrap().never_ready = vec!["never".to_owned()];
    patch(
        &bed,
        Kind::Deployment,
        "other",
        json!({ "spec": { "template": { "spec": { "image": "never" } } } }),
    )
    .await;
    pass(10).await;
    bed.node("b", "8Gi", json!({})).await;
    pass(300).await;
    assert_eq!(told(&bed), 0, "a roll is under way");
    patch(
        &bed,
        Kind::Deployment,
        "other",
        json!({ "spec": { "template": { "spec": { "image": "slow" } } } }),
    )
    .await;
    pass(12).await;
    assert!((1..=10).contains(&told(&bed)), "{}", told(&bed));
    bed.delete(Kind::Settings, "", "cluster", None).await;
    pass(3).await;
    let before = told(&bed);
    pass(300).await;
    assert_eq!(told(&bed), before);
    bed.apply([auto(60)]).await;
    bed.rest().await;
    pass(120).await;
    assert_eq!(places(&bed), expected([("a", 4), ("b", 4)]));
    // Of what fits nowhere nothing is under way.
    let mut huge = task("huge", "64Gi");
    huge["metadata"]["name"] = "huge".into();
    bed.apply([huge]).await;
    bed.node("c", "8Gi", json!({})).await;
    pass(120).await;
    assert!(places(&bed)["c"] >= 2, "{:?}", places(&bed));
    bed.assert_at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn there_is_one_object_of_settings() {
    let bed = Bed::new(&[]).await;
    let mut other = auto(2);
    other["metadata"]["name"] = "other".into();
    let request = crate::registry::ApplyRequest {
        manager: "x".to_owned(),
        objects: vec![
            other,
            json!({ "apiVersion": "cube/v1", "kind": "Settings", "metadata": { "name": "cluster" },
                                     "spec": { "autoRebalance": { "movesPerMinute": 0 } } }),
        ],
        ..Default::default()
    };
    let applied = bed.registry.apply(&request).await;
    let refused: Vec<String> = applied.iter().map(|applied| format!("{:?}", applied.outcome)).collect();
    assert!(refused[0].contains("must be `cluster`"), "{}", refused[0]);
    assert!(refused[1].contains("movesPerMinute"), "{}", refused[1]);
}
