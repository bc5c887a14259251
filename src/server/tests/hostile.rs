//! Requests that mean harm: ways out of a path, and labels that only Cube may give.
use super::*;

#[tokio::test]
async fn no_path_and_no_name_leads_elsewhere() {
    let app = App::new().await;
    app.task("web", "nginx").await;
    let before = app.registry.store().revision();
    for (path, method) in [
        ("tasks/../namespaces/default/tasks/web", Method::GET),
        ("namespaces/default/tasks/web/../web/log", Method::GET),
        ("namespaces/default/tasks/web%2Flog", Method::GET),
        ("namespaces/default/tasks/x%2f..%2fweb", Method::GET),
        ("namespaces/default/tasks/%2e%2e/web", Method::GET),
        ("namespaces/default/tasks/%2e%2e", Method::DELETE),
        ("namespaces/default%2Ftasks%2Fweb", Method::DELETE),
        ("namespaces/default/tasks/web%2F", Method::DELETE),
        ("namespaces/default/tasks/web%00", Method::DELETE),
        ("namespaces/default/tasks/web%ff", Method::DELETE),
        ("namespaces/./tasks/web", Method::DELETE),
        ("link/..%2Fn", Method::GET),
        ("link/%ff", Method::GET),
    ] {
        let answer = app
            .send(method, &format!("/apis/cube/v1/{path}"), &[], Body::empty())
            .await;
        assert_eq!(answer.code, 404, "{path}: {}", answer.text);
        assert_eq!(answer.json()["kind"], "Status", "{path}");
    }
    let volume = |volume: Value, mount: Value| json!({ "image": "x", "volumes": [volume], "volumeMounts": [mount] });
    let at = |path: &str| json!({ "name": "v", "mountPath": path });
    let named = json!({ "name": "v", "volume": "data" });
    for (name, spec, field) in [
        ("..", json!({ "image": "x" }), "metadata.name"),
        ("a/../b", json!({ "image": "x" }), "metadata.name"),
        ("a\0", json!({ "image": "x" }), "metadata.name"),
        ("a", json!({ "image": "x", "workingDir": "/a/../b" }), "spec.workingDir"),
        ("a", json!({ "image": "x", "hostname": "../a" }), "spec.hostname"),
        (
            "a",
            volume(json!({ "name": "v", "volume": ".." }), at("/v")),
            "spec.volumes[0].volume",
        ),
        (
            "a",
            volume(json!({ "name": "v", "volume": "a/../../b" }), at("/v")),
            "spec.volumes[0].volume",
        ),
        (
            "a",
            volume(json!({ "name": "..", "volume": "b" }), at("/v")),
            "spec.volumes[0].name",
        ),
        (
            "a",
            volume(json!({ "name": "v", "hostPath": { "path": "/srv/../etc" } }), at("/v")),
            "spec.volumes[0].hostPath.path",
        ),
        (
            "a",
            volume(json!({ "name": "v", "hostPath": { "path": "srv" } }), at("/v")),
            "spec.volumes[0].hostPath.path",
        ),
        (
            "a",
            volume(named.clone(), at("/v/../etc")),
            "spec.volumeMounts[0].mountPath",
        ),
        (
            "a",
            volume(
                named.clone(),
                json!({ "name": "v", "mountPath": "/v", "subPath": "../x" }),
            ),
            "spec.volumeMounts[0].subPath",
        ),
        (
            "a",
            volume(
                named.clone(),
                json!({ "name": "v", "mountPath": "/v", "subPath": "a/../../x" }),
            ),
            "spec.volumeMounts[0].subPath",
        ),
        (
            "a",
            volume(
                named.clone(),
                json!({ "name": "v", "mountPath": "/v", "subPath": "/x" }),
            ),
            "spec.volumeMounts[0].subPath",
        ),
    ] {
        let refused = app
            .post(TASKS, &json!({ "metadata": { "name": name }, "spec": spec }))
            .await;
        assert_eq!(refused.code, 422, "{field}: {}", refused.text);
        assert!(refused.text.contains(field), "{field}: {}", refused.text);
    }
    assert_eq!(
        app.registry.store().revision(),
        before,
        "what is refused writes nothing"
    );
}

#[tokio::test]
async fn nobody_gives_or_takes_the_labels_by_which_cube_knows_its_own() {
    let app = App::new().await;
    app.task("web", "nginx").await;
    let deployments = "/apis/cube/v1/namespaces/default/deployments";
    let deployment = |labels: Value| json!({ "metadata": { "name": "d" }, "spec": { "template": { "metadata": { "labels": labels }, "spec": { "image": "x" } } } });
    assert_eq!(
        app.post(deployments, &deployment(json!({ "app": "d" }))).await.code,
        201
    );
    let before = app.registry.store().revision();
    let web = format!("{TASKS}/web");
    for label in ["cube.uid", "cube.task", "cube.cluster", "cube.node", "cube.anything"] {
        let labels = json!({ label: "other" });
        let task = |name: &str| json!({ "metadata": { "name": name, "labels": labels }, "spec": { "image": "nginx" } });
        let batch = json!({ "objects": [{ "apiVersion": "cube/v1", "kind": "Task", "metadata": { "name": "x", "labels": labels }, "spec": { "image": "x" } }] });
        let operation = json!([{ "op": "add", "path": format!("/metadata/labels/{label}"), "value": "other" }]);
        let json_patch = app.send(
            Method::PATCH,
            &web,
            &[("content-type", "application/json-patch+json")],
            operation.to_string(),
        );
        for (way, answer) in [
            ("create", app.post(TASKS, &task("x")).await),
            ("update", app.put(&web, &task("web")).await),
            (
                "merge patch",
                app.merge(&web, &json!({ "metadata": { "labels": labels } })).await,
            ),
            ("JSON patch", json_patch.await),
            (
                "template",
                app.put(&format!("{deployments}/d"), &deployment(labels.clone())).await,
            ),
            (
                "node",
                app.post(
                    "/apis/cube/v1/nodes",
                    &json!({ "metadata": { "name": "n", "labels": labels } }),
                )
                .await,
            ),
            (
                "namespace",
                app.post(
                    "/apis/cube/v1/namespaces",
                    &json!({ "metadata": { "name": "n", "labels": labels } }),
                )
                .await,
            ),
        ] {
            assert_eq!(answer.code, 422, "{way} {label}: {}", answer.text);
            assert!(answer.text.contains("are Cube's own"), "{way} {label}: {}", answer.text);
        }
        let applied = app.post("/apis/cube/v1/apply", &batch).await;
        assert_eq!(applied.json()["results"][0]["outcome"], "refused", "{}", applied.text);
    }
    assert_eq!(
        app.registry.store().revision(),
        before,
        "what is refused writes nothing"
    );
}
