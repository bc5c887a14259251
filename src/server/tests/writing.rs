//! Create, update, patch, delete, apply, and their bounds.
use super::*;

#[tokio::test]
async fn an_object_lives_and_goes() {
    let app = App::new().await;
    let web = format!("{TASKS}/web");
    let mut task = app.task("web", "nginx").await;
    assert_eq!(
        app.post(
            TASKS,
            &json!({ "metadata": { "name": "web" }, "spec": { "image": "x" } })
        )
        .await
        .code,
        409
    );
    task["spec"]["image"] = "nginx:2".into();
    let put = app.put(&web, &task).await;
    assert_eq!((put.code, &put.json()["metadata"]["generation"]), (200, &json!(2)));
    assert_eq!(app.put(&web, &task).await.code, 409, "the revision is old");
    let patched = app
        .merge(&web, &json!({ "metadata": { "labels": { "a": "b", "app": null } } }))
        .await;
    assert_eq!(patched.json()["metadata"]["labels"], json!({ "a": "b" }));
    let stale = json!({ "metadata": { "resourceVersion": "1", "labels": { "a": "c" } } });
    assert_eq!(app.merge(&web, &stale).await.code, 409);
    let headers = [("content-type", "application/json-patch+json")];
    let finalizer = json!([
        { "op": "test", "path": "/metadata/finalizers", "value": null },
        { "op": "add", "path": "/metadata/finalizers", "value": ["a/b"] },
    ]);
    let held = app.send(Method::PATCH, &web, &headers, finalizer.to_string()).await;
    assert_eq!(held.json()["metadata"]["finalizers"], json!(["a/b"]), "{}", held.text);
    let deleted = app.delete(&web, r#"{"propagationPolicy":"Background"}"#).await;
    assert_eq!((deleted.code, &deleted.json()["kind"]), (200, &json!("Task")));
    assert!(deleted.json()["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(
        app.merge(&web, &json!({ "metadata": { "finalizers": null } }))
            .await
            .code,
        200
    );
    assert_eq!(app.get(&web).await.code, 404);
    app.task("web", "nginx").await;
    let gone = app.delete(&web, "{}").await.json();
    assert_eq!((&gone["kind"], &gone["status"]), (&json!("Status"), &json!("Success")));
    assert_eq!(gone["details"]["name"], "web");
}

#[tokio::test]
async fn a_dry_run_writes_nothing() {
    let app = App::new().await;
    app.task("web", "nginx").await;
    let before = app.registry.store().revision();
    let web = format!("{TASKS}/web?dryRun=All");
    let task = json!({ "metadata": { "name": "new" }, "spec": { "image": "nginx" } });
    let tried = app.post(&format!("{TASKS}?dryRun=All"), &task).await;
    assert_eq!(tried.code, 201);
    assert!(tried.json()["metadata"]["resourceVersion"].is_null());
    assert_eq!(app.post(&format!("{TASKS}?dryRun="), &task).await.code, 400);
    let merged = app.merge(&web, &json!({ "spec": { "image": "x" } })).await.json();
    assert_eq!(merged["spec"]["image"], "x");
    assert_eq!(app.delete(&web, "").await.code, 200);
    assert_eq!(
        app.delete(&format!("{TASKS}/web"), r#"{"dryRun":["All"]}"#).await.code,
        200
    );
    assert_eq!(app.registry.store().revision(), before);
    assert_eq!(app.delete(&format!("{TASKS}/web?dryRun=Some"), "").await.code, 400);
}

#[tokio::test]
async fn unknown_fields_are_refused_told_or_dropped() {
    let app = App::new().await;
    let task = |name: &str| json!({ "metadata": { "name": name }, "spec": { "image": "x", "imgae": "y" } });
    for uri in [TASKS.to_owned(), format!("{TASKS}?fieldValidation=Strict")] {
        let strict = app.post(&uri, &task("a")).await;
        assert_eq!(strict.code, 400);
        assert!(
            strict.json()["message"]
                .as_str()
                .unwrap()
                .contains("unknown field \"spec.imgae\"")
        );
    }
    let warned = app.post(&format!("{TASKS}?fieldValidation=Warn"), &task("a")).await;
    assert_eq!(warned.code, 201);
    assert_eq!(warned.header("warning"), r#"299 - "unknown field \"spec.imgae\"""#);
    let ignored = app.post(&format!("{TASKS}?fieldValidation=Ignore"), &task("b")).await;
    assert_eq!((ignored.code, ignored.header("warning")), (201, ""));
    assert!(ignored.json()["spec"]["imgae"].is_null());
    assert_eq!(
        app.post(&format!("{TASKS}?fieldValidation=Perhaps"), &task("c"))
            .await
            .code,
        400
    );
}

#[tokio::test]
async fn a_namespace_is_closed_by_its_deletion_alone() {
    let app = App::new().await;
    let status = "/apis/cube/v1/namespaces/default/status";
    let told = app
        .merge(status, &json!({ "status": { "phase": "Terminating" } }))
        .await;
    assert_eq!((told.code, &told.json()["status"]["phase"]), (200, &json!("Active")));
    app.task("web", "nginx").await;
}

#[tokio::test]
async fn what_a_source_says_is_told_when_it_is_deleted() {
    let app = App::new().await;
    let source = json!({ "metadata": { "name": "dir" }, "spec": { "directory": "/etc/cube/manifests" } });
    assert_eq!(app.post("/apis/cube/v1/sources", &source).await.code, 201);
    let task =
        json!({ "apiVersion": "cube/v1", "kind": "Task", "metadata": { "name": "web" }, "spec": { "image": "x" } });
    let batch = json!({ "manager": "dir", "objects": [task] });
    assert_eq!(app.post("/apis/cube/v1/apply", &batch).await.code, 200);
    let deleted = app.delete(&format!("{TASKS}/web"), "").await;
    let warning = r#"299 - "task/web is said in /etc/cube/manifests: it will be brought back; remove it from its file there instead""#;
    assert_eq!((deleted.code, deleted.header("warning")), (200, warning));
    app.task("own", "x").await;
    assert_eq!(app.delete(&format!("{TASKS}/own"), "").await.header("warning"), "");
}

#[tokio::test]
async fn doubled_fields_are_refused_told_or_passed_over() {
    let app = App::new().await;
    let task = |name: &str| format!(r#"{{"metadata":{{"name":"{name}"}},"spec":{{"image":"x","image":"y"}}}}"#);
    let app = &app;
    let send = async |method, uri: String, kind: &str, body: String| {
        app.send(method, &uri, &[("content-type", kind)], body).await
    };
    let json = "application/json";
    let strict = send(Method::POST, TASKS.to_owned(), json, task("a")).await;
    assert_eq!(strict.code, 400);
    let message = strict.json()["message"].as_str().unwrap().to_owned();
    assert_eq!(message, "strict decoding error: duplicate field \"spec.image\"");
    let warned = send(Method::POST, format!("{TASKS}?fieldValidation=Warn"), json, task("a")).await;
    assert_eq!(warned.code, 201);
    assert_eq!(warned.header("warning"), r#"299 - "duplicate field \"spec.image\"""#);
    let ignored = send(Method::POST, format!("{TASKS}?fieldValidation=Ignore"), json, task("b")).await;
    assert_eq!((ignored.code, ignored.header("warning")), (201, ""));
    assert_eq!(ignored.json()["spec"]["image"], "y");
    let merge = r#"{"spec":{"image":"p","image":"q"}}"#.to_owned();
    let merged = send(
        Method::PATCH,
        format!("{TASKS}/a"),
        "application/merge-patch+json",
        merge,
    )
    .await;
    assert_eq!(merged.code, 400);
}

#[tokio::test]
async fn bad_bodies_are_refused() {
    let app = App::new().await;
    app.task("web", "nginx").await;
    let before = app.registry.store().revision();
    let web = format!("{TASKS}/web");
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let huge = format!("{{\"spec\":\"{}\"}}", "x".repeat(super::super::body::ONE_OBJECT));
    let many = json!(vec![
        json!({ "op": "test", "path": "/metadata/name", "value": "web" });
        10_001
    ])
    .to_string();
    // Refused by its length before it is read whole: what comes after is no JSON.
    let many_and_no_json = format!("[{}, and so on", ["{}"; 10_001].join(","));
    let number = format!("{{\"spec\":{{\"priority\":{}}}}}", "9".repeat(1_000_000));
    let fraction = format!("{{\"spec\":{{\"priority\":0.{}}}}}", "9".repeat(1_000_000));
    for (method, uri, content_type, body, code) in [
        (Method::POST, TASKS, "application/json", number.as_str(), 400),
        (Method::POST, TASKS, "application/json", fraction.as_str(), 422),
        (
            Method::PATCH,
            web.as_str(),
            "application/json-patch+json",
            many_and_no_json.as_str(),
            413,
        ),
        (Method::POST, TASKS, "application/json", "", 400),
        (Method::POST, TASKS, "application/json", "{", 400),
        (Method::POST, TASKS, "application/json", "[]", 400),
        (Method::POST, TASKS, "application/json", "\u{0}\u{1}", 400),
        (Method::POST, TASKS, "application/json", deep.as_str(), 400),
        (Method::POST, TASKS, "application/json", huge.as_str(), 413),
        (Method::POST, TASKS, "application/vnd.kubernetes.protobuf", "k8s", 415),
        (Method::POST, TASKS, "application/json", r#"{"kind":"Node"}"#, 400),
        (
            Method::POST,
            TASKS,
            "application/json",
            r#"{"metadata":{"name":"A B"},"spec":{"image":"x"}}"#,
            422,
        ),
        (
            Method::PUT,
            web.as_str(),
            "application/json",
            r#"{"metadata":{"name":"b"},"spec":{"image":"x"}}"#,
            400,
        ),
        (
            Method::PATCH,
            web.as_str(),
            "application/strategic-merge-patch+json",
            "{}",
            415,
        ),
        (Method::PATCH, web.as_str(), "application/apply-patch+yaml", "{}", 415),
        (Method::PATCH, web.as_str(), "application/merge-patch+json", "[]", 400),
        (Method::PATCH, web.as_str(), "application/json-patch+json", "{}", 400),
        (
            Method::PATCH,
            web.as_str(),
            "application/json-patch+json",
            many.as_str(),
            413,
        ),
        (Method::DELETE, web.as_str(), "application/json", "[1", 400),
        (
            Method::DELETE,
            web.as_str(),
            "application/json",
            r#"{"propagationPolicy":"Slowly"}"#,
            422,
        ),
        (
            Method::DELETE,
            web.as_str(),
            "application/json",
            r#"{"preconditions":{"uid":"other"}}"#,
            409,
        ),
    ] {
        let answer = app
            .send(method.clone(), uri, &[("content-type", content_type)], body.to_owned())
            .await;
        let shown = &body[..body.len().min(80)];
        assert_eq!(answer.code, code, "{method} {content_type} {shown}: {}", answer.text);
        assert_eq!(answer.json()["kind"], "Status");
    }
    let latin = app
        .send(Method::POST, TASKS, &[("content-type", JSON)], vec![b'"', 0xe9, b'"'])
        .await;
    assert_eq!((latin.code, &latin.json()["kind"]), (400, &json!("Status")));
    assert_eq!(
        app.registry.store().revision(),
        before,
        "what is refused writes nothing"
    );
    let unsupported = app.send(Method::PATCH, &web, &[("content-type", "x/y")], "{}").await;
    assert!(unsupported.text.contains("application/merge-patch+json"));
}

#[tokio::test]
async fn parts_of_objects_have_paths() {
    let app = App::new().await;
    let uri = "/apis/cube/v1/namespaces/default/deployments";
    let deployment =
        json!({ "metadata": { "name": "web" }, "spec": { "replicas": 2, "template": { "spec": { "image": "x" } } } });
    assert_eq!(app.post(uri, &deployment).await.code, 201);
    let scale = format!("{uri}/web/scale");
    let read = app.get(&scale).await.json();
    assert_eq!((&read["kind"], &read["spec"]["replicas"]), (&json!("Scale"), &json!(2)));
    let scaled = app.merge(&scale, &json!({ "spec": { "replicas": 5 } })).await;
    assert_eq!((scaled.code, &scaled.json()["spec"]["replicas"]), (200, &json!(5)));
    assert_eq!(app.get(&format!("{uri}/web")).await.json()["spec"]["replicas"], 5);
    let status = json!({ "status": { "replicas": 3 }, "spec": { "replicas": 9 } });
    let told = app.merge(&format!("{uri}/web/status"), &status).await.json();
    assert_eq!(
        (&told["status"]["replicas"], &told["spec"]["replicas"]),
        (&json!(3), &json!(5))
    );

    app.task("t", "x").await;
    assert_eq!(
        app.post("/apis/cube/v1/nodes", &json!({ "metadata": { "name": "n" } }))
            .await
            .code,
        201
    );
    let binding = json!({ "target": { "kind": "Node", "name": "n" } });
    let bound = app.post(&format!("{TASKS}/t/binding"), &binding).await;
    assert_eq!(bound.code, 201, "{}", bound.text);
    assert_eq!(app.get(&format!("{TASKS}/t")).await.json()["status"]["node"], "n");
    assert_eq!(app.post(&format!("{TASKS}/t/binding"), &binding).await.code, 409);
    assert_eq!(app.post(&format!("{TASKS}/t/binding"), &json!({})).await.code, 400);
}

#[tokio::test]
async fn a_collection_goes_by_selector() {
    let app = App::new().await;
    for name in ["a", "b", "c"] {
        app.task(name, "x").await;
    }
    let gone = app.delete(&format!("{TASKS}?labelSelector=app!%3Db"), "").await.json();
    assert_eq!(gone["items"].as_array().unwrap().len(), 2);
    assert_eq!(app.get(TASKS).await.json()["items"].as_array().unwrap().len(), 1);
    assert_eq!(app.delete("/apis/cube/v1/tasks", "").await.code, 405);
}

#[tokio::test]
async fn a_batch_is_answered_object_by_object() {
    let app = App::new().await;
    let task = |name: &str, image: &str| json!({ "apiVersion": "cube/v1", "kind": "Task", "metadata": { "name": name }, "spec": { "image": image } });
    let uri = "/apis/cube/v1/apply";
    let outcomes = |answer: &Answer| {
        let results = answer.json()["results"].as_array().unwrap().clone();
        let words = results
            .iter()
            .map(|result| result["outcome"].as_str().unwrap().to_owned());
        words.collect::<Vec<_>>()
    };
    let first = app
        .post(uri, &json!({ "objects": [task("a", "x"), task("b", "x")] }))
        .await;
    assert_eq!(
        (first.code, outcomes(&first)),
        (200, vec!["created".into(), "created".into()])
    );
    assert_eq!(first.json()["results"][0]["object"]["metadata"]["name"], "a");
    let again = app
        .post(uri, &json!({ "objects": [task("a", "x"), task("b", "y")] }))
        .await;
    assert_eq!(outcomes(&again), ["unchanged", "configured"]);
    let mixed = app
        .post(uri, &json!({ "objects": [task("c", "x"), task("D D", "x")] }))
        .await;
    assert_eq!(outcomes(&mixed), ["withheld", "refused"]);
    assert_eq!(mixed.json()["results"][1]["error"]["code"], 422);
    let each = app
        .post(
            uri,
            &json!({ "failFast": false, "objects": [task("c", "x"), task("D D", "x")] }),
        )
        .await;
    assert_eq!(outcomes(&each), ["created", "refused"]);
    let others = app
        .post(uri, &json!({ "manager": "dir", "objects": [task("a", "z")] }))
        .await;
    assert_eq!(outcomes(&others), ["refused"]);
    let taken = app
        .post(
            uri,
            &json!({ "manager": "dir", "takeOver": true, "dryRun": true, "objects": [task("a", "z")] }),
        )
        .await;
    assert_eq!(outcomes(&taken), ["configured"]);
    assert_eq!(app.get(&format!("{TASKS}/a")).await.json()["spec"]["image"], "x");
    assert_eq!(app.post(uri, &json!({ "object": [] })).await.code, 400);
}
