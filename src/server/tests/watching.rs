//! Watches, from every beginning to every end.
use super::*;

#[tokio::test]
async fn tells_what_is_there_and_what_comes() {
    let app = App::new().await;
    app.task("a", "x").await;
    let from = app.registry.store().revision();
    let mut all = app.watch(&format!("{TASKS}?watch=true"), JSON).await;
    let mut after = app
        .watch(&format!("{TASKS}?watch=1&resourceVersion={from}"), JSON)
        .await;
    let mut zero = app
        .watch(
            &format!("{TASKS}?watch=1&resourceVersion=0&fieldSelector=metadata.name%3Db"),
            JSON,
        )
        .await;
    assert_eq!(all.word().await, "ADDED a");
    app.task("b", "x").await;
    app.merge(&format!("{TASKS}/b"), &json!({ "spec": { "image": "y" } }))
        .await;
    app.delete(&format!("{TASKS}/b"), "").await;
    let end = app.registry.store().revision().to_string();
    for watch in [&mut all, &mut after, &mut zero] {
        assert_eq!(watch.word().await, "ADDED b");
        assert_eq!(watch.word().await, "MODIFIED b");
        let gone = watch.next().await.unwrap();
        assert_eq!(gone["type"], "DELETED");
        assert_eq!(gone["object"]["metadata"]["resourceVersion"], end);
    }
}

#[tokio::test]
async fn labels_that_cease_to_match_are_told_as_deletions() {
    let app = App::new().await;
    app.task("a", "x").await;
    let mut watch = app.watch(&format!("{TASKS}?watch=1&labelSelector=app%3Da"), JSON).await;
    assert_eq!(watch.word().await, "ADDED a");
    for (label, expected) in [("b", "DELETED a"), ("a", "ADDED a")] {
        let patch = json!({ "metadata": { "labels": { "app": label } } });
        app.merge(&format!("{TASKS}/a"), &patch).await;
        assert_eq!(watch.word().await, expected);
    }
}

#[tokio::test]
async fn lists_by_watching() {
    let app = App::new().await;
    app.task("a", "x").await;
    let query = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watch = app.watch(&format!("{TASKS}?{query}"), JSON).await;
    assert_eq!(watch.word().await, "ADDED a");
    let end = watch.next().await.unwrap();
    assert_eq!(end["type"], "BOOKMARK");
    let meta = &end["object"]["metadata"];
    assert_eq!(meta["annotations"]["k8s.io/initial-events-end"], "true");
    assert_eq!(meta["resourceVersion"], app.registry.store().revision().to_string());
    assert_eq!(end["object"]["kind"], "Task");
    app.task("b", "x").await;
    assert_eq!(watch.word().await, "ADDED b");

    let mut none = app.watch(&format!("/apis/cube/v1/nodes?{query}"), JSON).await;
    assert_eq!(none.word().await, "BOOKMARK");
    let query = query.replace("Events=true", "Events=false");
    let mut silent = app.watch(&format!("{TASKS}?{query}&resourceVersion=0"), JSON).await;
    app.task("c", "x").await;
    assert_eq!(silent.word().await, "ADDED c");
    for query in ["sendInitialEvents=true", "resourceVersionMatch=NotOlderThan"] {
        assert_eq!(app.get(&format!("{TASKS}?watch=1&{query}")).await.code, 422, "{query}");
    }
}

#[tokio::test]
async fn a_lost_place_is_told_in_the_stream() {
    let options = Options {
        history_events: 4,
        ..Options::default()
    };
    let app = App::with(options).await;
    let mut slow = app.watch(&format!("{TASKS}?watch=1"), JSON).await;
    for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        app.task(name, "x").await;
    }
    // Nobody has read yet: it does begin with what was there then, and is lost afterwards.
    let mut old = app.watch(&format!("{TASKS}?watch=1&resourceVersion=1"), JSON).await;
    let future = app.registry.store().revision() + 100;
    let mut future = app
        .watch(&format!("{TASKS}?watch=1&resourceVersion={future}"), JSON)
        .await;
    for watch in [&mut slow, &mut old, &mut future] {
        let error = watch.next().await.unwrap();
        assert_eq!(error["type"], "ERROR");
        let status = &error["object"];
        assert_eq!((&status["code"], &status["reason"]), (&json!(410), &json!("Expired")));
        assert_eq!(status["kind"], "Status");
        assert_eq!(watch.word().await, "END");
    }
}

#[tokio::test(start_paused = true)]
async fn bookmarks_come_about_once_a_minute_and_at_the_end() {
    let app = App::new().await;
    let begun = tokio::time::Instant::now();
    let uri = format!("{TASKS}?watch=1&allowWatchBookmarks=true&timeoutSeconds=100");
    let mut watch = app.watch(&uri, JSON).await;
    let first = watch.next().await.unwrap();
    assert_eq!(first["type"], "BOOKMARK");
    assert!((60..70).contains(&begun.elapsed().as_secs()));
    app.registry.store().snapshot();
    let last = watch.next().await.unwrap();
    assert_eq!(last["type"], "BOOKMARK");
    assert_eq!(begun.elapsed().as_secs(), 100);
    assert_eq!(watch.word().await, "END");

    let begun = tokio::time::Instant::now();
    let mut plain = app.watch(&format!("{TASKS}?watch=1&timeoutSeconds=100"), JSON).await;
    assert_eq!(plain.word().await, "END");
    assert_eq!(begun.elapsed().as_secs(), 100);
}

#[tokio::test]
async fn watches_end_with_the_server() {
    let app = App::new().await;
    let mut watch = app
        .watch(
            &format!("{TASKS}?watch=1&allowWatchBookmarks=1&resourceVersion=1"),
            JSON,
        )
        .await;
    app.ending.cancel();
    assert_eq!(watch.word().await, "BOOKMARK");
    assert_eq!(watch.word().await, "END");
    assert_eq!(app.get("/readyz").await.code, 503);
}

#[tokio::test]
async fn rows_are_watched_too() {
    let app = App::new().await;
    app.task("a", "x").await;
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let mut watch = app.watch(&format!("{TASKS}?watch=1"), table).await;
    let first = watch.next().await.unwrap();
    assert_eq!(
        (&first["type"], &first["object"]["kind"]),
        (&json!("ADDED"), &json!("Table"))
    );
    assert!(!first["object"]["columnDefinitions"].as_array().unwrap().is_empty());
    assert_eq!(first["object"]["rows"][0]["cells"][0], "a");
    app.task("b", "x").await;
    let second = watch.next().await.unwrap();
    assert_eq!(second["object"]["columnDefinitions"], json!([]));
    assert_eq!(second["object"]["rows"][0]["object"]["metadata"]["name"], "b");
}
