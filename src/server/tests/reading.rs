//! Get, list, forms, logs, backup.
use std::pin::pin;

use futures_util::{FutureExt as _, poll};

use super::*;
use crate::server::pages;

#[tokio::test]
async fn what_was_written_is_read() {
    let app = App::new().await;
    let made = app.task("web", "nginx").await;
    let read = app.get(&format!("{TASKS}/web")).await;
    assert_eq!((read.code, read.json()), (200, made.clone()));
    assert_eq!(read.header("content-type"), "application/json");
    app.task("db", "redis").await;
    for (uri, expected) in [
        (TASKS.to_owned(), vec!["db", "web"]),
        ("/apis/cube/v1/tasks".to_owned(), vec!["db", "web"]),
        (format!("{TASKS}?labelSelector=app%3Dweb"), vec!["web"]),
        (format!("{TASKS}?labelSelector=app+in+(db)&limit=1"), vec!["db"]),
        (
            format!("{TASKS}?fieldSelector=metadata.name%3Dweb&limit=500&resourceVersion=0"),
            vec!["web"],
        ),
        (format!("{TASKS}?fieldSelector=metadata.name!%3Dweb"), vec!["db"]),
        ("/apis/cube/v1/namespaces/other/tasks".to_owned(), vec![]),
    ] {
        let list = app.get(&uri).await.json();
        assert_eq!(list["kind"], "TaskList");
        assert_eq!(list["apiVersion"], "cube/v1");
        assert_eq!(
            list["metadata"]["resourceVersion"],
            app.registry.store().revision().to_string()
        );
        let items = list["items"].as_array().unwrap();
        let names: Vec<_> = items
            .iter()
            .map(|item| item["metadata"]["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, expected, "{uri}");
        assert!(
            items
                .iter()
                .all(|item| item["kind"] == "Task" && item["apiVersion"] == "cube/v1")
        );
    }
}

#[tokio::test]
async fn refusals_are_statuses() {
    let app = App::new().await;
    app.task("web", "nginx").await;
    let newest = app.registry.store().revision();
    for (uri, code, reason) in [
        (format!("{TASKS}/none"), 404, "NotFound"),
        ("/apis/cube/v1/pods".to_owned(), 404, "NotFound"),
        ("/apis/apps/v1/deployments".to_owned(), 404, "NotFound"),
        (format!("{TASKS}?labelSelector=a+b"), 400, "BadRequest"),
        (format!("{TASKS}?fieldSelector=spec.image%3Dx"), 400, "BadRequest"),
        (format!("{TASKS}?resourceVersion={}", newest + 1), 504, "Timeout"),
        (format!("{TASKS}/web?resourceVersion={}", newest + 1), 504, "Timeout"),
        (format!("{TASKS}?resourceVersionMatch=Exact"), 422, "Invalid"),
        (
            format!("{TASKS}?resourceVersion=1&resourceVersionMatch=Exact"),
            410,
            "Expired",
        ),
        (format!("{TASKS}?continue=abc"), 410, "Expired"),
    ] {
        let answer = app.get(&uri).await;
        let status = answer.json();
        assert_eq!((answer.code, status["reason"].as_str()), (code, Some(reason)), "{uri}");
        assert_eq!((&status["kind"], &status["code"]), (&json!("Status"), &json!(code)));
    }
    let exact = app
        .get(&format!("{TASKS}?resourceVersion={newest}&resourceVersionMatch=Exact"))
        .await;
    assert_eq!(exact.code, 200);
    let future = app.get(&format!("{TASKS}?resourceVersion={}", newest + 1)).await;
    assert_eq!(
        future.json()["details"]["causes"][0]["reason"],
        "ResourceVersionTooLarge"
    );
    assert_eq!(future.header("retry-after"), "1");
    assert_eq!(app.get_as(TASKS, "application/vnd.kubernetes.protobuf").await.code, 406);
    assert_eq!(app.post("/apis/cube/v1/tasks", &json!({})).await.code, 405);
    assert_eq!(app.post("/version", &json!({})).await.code, 405);
}

#[tokio::test]
async fn forms_are_as_asked_for() {
    let app = App::new().await;
    app.task("web", "nginx").await;
    let metadata = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";
    let list = app.get_as(TASKS, metadata).await.json();
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert_eq!(list["items"][0]["kind"], "PartialObjectMetadata");
    assert_eq!(list["items"][0]["metadata"]["name"], "web");
    assert!(list["items"][0]["metadata"]["resourceVersion"].is_string());
    assert!(list["items"][0]["spec"].is_null());
    let one = app.get_as(&format!("{TASKS}/web"), metadata).await.json();
    assert_eq!(
        (&one["kind"], &one["apiVersion"]),
        (&json!("PartialObjectMetadata"), &json!("meta.k8s.io/v1"))
    );

    let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io";
    let rows = app.get_as(TASKS, table).await.json();
    assert_eq!(
        (&rows["kind"], &rows["apiVersion"]),
        (&json!("Table"), &json!("meta.k8s.io/v1"))
    );
    assert_eq!(rows["columnDefinitions"][0]["format"], "name");
    assert_eq!(rows["rows"][0]["cells"][0], "web");
    assert_eq!(rows["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let whole = app
        .get_as(&format!("{TASKS}/web?includeObject=Object"), table)
        .await
        .json();
    assert_eq!(whole["rows"][0]["object"]["spec"]["image"], "nginx");
    let none = app.get_as(&format!("{TASKS}?includeObject=None"), table).await.json();
    assert!(none["rows"][0]["object"].is_null());
    let older = "application/json;as=Table;v=v1beta1;g=meta.k8s.io";
    assert_eq!(
        app.get_as(TASKS, older).await.json()["apiVersion"],
        "meta.k8s.io/v1beta1"
    );
}

#[tokio::test]
async fn output_comes_from_the_container_or_from_what_was_kept() {
    let app = App::new().await;
    app.task("web", "nginx").await;
    let log = format!("{TASKS}/web/log");
    let early = app.get(&log).await;
    assert_eq!(early.code, 400);
    assert!(early.text.contains("no node has it yet"), "{}", early.text);
    assert_eq!(app.get(&format!("{TASKS}/none/log")).await.code, 404);
    let last = json!({ "exitCode": 1, "log": ["one", "two", "three"] });
    app.status(
        "web",
        json!({ "phase": "Running", "containerID": "abc", "lastTermination": last }),
    )
    .await;
    let uri = format!("{log}?tailLines=3&timestamps=true");
    let now = app.send(Method::GET, &uri, &[("accept", "text/plain")], "").await;
    assert_eq!((now.code, now.text.as_str()), (200, "web Some(3) true\n"));
    let previous = app.get(&format!("{log}?previous=true&tailLines=2")).await;
    assert_eq!((previous.code, previous.text.as_str()), (200, "two\nthree\n"));
    assert_eq!(app.get(&format!("{log}?sinceTime=yesterday")).await.code, 400);

    app.task("gone", "nginx").await;
    app.status(
        "gone",
        json!({ "phase": "Failed", "containerID": "abc", "lastTermination": last }),
    )
    .await;
    assert_eq!(app.get(&format!("{TASKS}/gone/log")).await.text, "one\ntwo\nthree\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_whole() {
    let app = App::new().await;
    app.task("web", "nginx").await;
    let request = Request::builder()
        .uri("/apis/cube/v1/backup")
        .body(Body::empty())
        .unwrap();
    let response = app.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/octet-stream");
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let mut expected = Vec::new();
    app.registry.store().backup(&mut expected).unwrap();
    assert_eq!(bytes, expected);
}

#[tokio::test]
async fn events_are_found_in_the_core_group_too() {
    let app = App::new().await;
    for (name, of) in [("web.1", "web"), ("db.1", "db")] {
        let event = json!({
            "metadata": { "name": name }, "reason": "Started", "message": "runs", "type": "Normal",
            "involvedObject": { "kind": "Task", "namespace": "default", "name": of },
        });
        let made = app.post("/apis/cube/v1/namespaces/default/events", &event).await;
        assert_eq!(made.code, 201, "{}", made.text);
    }
    let uri = "/api/v1/namespaces/default/events?fieldSelector=involvedObject.name%3Dweb%2CinvolvedObject.kind%3DTask";
    let list = app
        .get_as(uri, "application/vnd.kubernetes.protobuf,application/json")
        .await
        .json();
    assert_eq!(
        (&list["kind"], &list["apiVersion"]),
        (&json!("EventList"), &json!("v1"))
    );
    let items = list["items"].as_array().unwrap();
    assert_eq!(items.len(), 1);
    assert_eq!(
        (&items[0]["apiVersion"], &items[0]["kind"]),
        (&json!("v1"), &json!("Event"))
    );
    assert_eq!(items[0]["metadata"]["name"], "web.1");
    assert_eq!(app.get("/api/v1/namespaces/default").await.json()["apiVersion"], "v1");
    assert_eq!(app.get("/api/v1/namespaces/none").await.code, 404);
    assert_eq!(app.get("/api/v1/pods").await.code, 404);
    assert_eq!(app.delete("/api/v1/namespaces/default", "").await.code, 405);
    let mut watch = app.watch("/api/v1/events?watch=1", JSON).await;
    assert_eq!(watch.next().await.unwrap()["object"]["apiVersion"], "v1");
}

#[tokio::test]
async fn a_list_in_pieces_is_of_one_revision_whatever_is_written_meanwhile() {
    let app = App::with(Options {
        history_events: 8,
        ..Options::default()
    })
    .await;
    for name in ["a", "b", "c", "d", "e"] {
        app.task(name, "nginx").await;
    }
    let whole = app.get(TASKS).await.json();
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    for (accept, items) in [("application/json", "items"), (table, "rows")] {
        let (mut told, mut token) = (Vec::new(), String::new());
        for turn in 0..3 {
            let piece = app
                .get_as(&format!("{TASKS}?limit=2&continue={token}"), accept)
                .await
                .json();
            told.extend(piece[items].as_array().unwrap().clone());
            token = piece["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
            assert_eq!(token.is_empty(), turn == 2);
            if accept != table {
                assert_eq!(
                    piece["metadata"]["resourceVersion"],
                    whole["metadata"]["resourceVersion"]
                );
                app.merge(
                    &format!("{TASKS}/e"),
                    &json!({ "metadata": { "annotations": { "turn": turn.to_string() } } }),
                )
                .await;
            }
        }
        assert_eq!(told.len(), 5);
        if accept != table {
            assert_eq!(json!(told), whole["items"]);
        }
    }
    let selected = format!("{TASKS}?limit=1&labelSelector=app+in+(b,c)");
    let first = app.get(&selected).await.json();
    let token = first["metadata"]["continue"].as_str().unwrap();
    let second = app.get(&format!("{selected}&continue={token}")).await.json();
    assert_eq!(second["items"][0]["metadata"]["name"], "c");
    assert_eq!(second["metadata"]["continue"], Value::Null);
    let both = app.get(&format!("{selected}&continue={token}&resourceVersion=1")).await;
    assert_eq!(both.code, 400);
    for turn in 0..20 {
        app.merge(
            &format!("{TASKS}/a"),
            &json!({ "metadata": { "annotations": { "again": turn.to_string() } } }),
        )
        .await;
    }
    let late = app.get(&format!("{selected}&continue={token}")).await;
    assert_eq!((late.code, &late.json()["reason"]), (410, &json!("Expired")));
}

#[tokio::test]
async fn a_long_list_waits_for_its_turn_and_nothing_else_does() {
    let app = App::new().await;
    for number in 0..=pages::SHORT {
        app.task(&format!("task-{number}"), "nginx").await;
    }
    let turns = app.server.long_lists.available_permits();
    let others = app.server.long_lists.acquire_many(turns as u32).await.unwrap();
    for uri in [
        format!("{TASKS}?limit=500"),
        format!("{TASKS}/task-7"),
        format!("{TASKS}?fieldSelector=metadata.name%3Dtask-7"),
        "/apis/cube/v1/namespaces/other/tasks".to_owned(),
    ] {
        let answer = app.get(&uri).now_or_never();
        assert_eq!(answer.map(|answer| answer.code), Some(200), "{uri}");
    }
    let mut long = pin!(app.get(TASKS));
    let mut chosen = pin!(app.get("/apis/cube/v1/tasks?labelSelector=app%3Dtask-7&limit=500"));
    assert!(poll!(&mut long).is_pending());
    assert!(poll!(&mut chosen).is_pending());
    drop(others);
    assert_eq!(long.await.json()["items"].as_array().unwrap().len(), pages::SHORT + 1);
    assert_eq!(chosen.await.json()["items"].as_array().unwrap().len(), 1);
}
