//! What clients ask before they ask for objects.
use super::*;

#[tokio::test]
async fn old_and_new_discovery_say_the_same() {
    let app = App::new().await;
    assert_eq!(app.get("/api").await.json()["versions"], json!(["v1"]));
    assert_eq!(app.get("/api/v1").await.json()["resources"], json!([]));
    assert_eq!(app.get("/apis").await.json()["groups"][0]["name"], "cube");
    assert_eq!(
        app.get("/apis/cube").await.json()["preferredVersion"]["groupVersion"],
        "cube/v1"
    );
    let old = app.get("/apis/cube/v1").await.json();
    let names = |list: &Value| {
        let names = list.as_array().unwrap().iter();
        names
            .map(|entry| entry["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    let new = app.get_as("/apis", accept).await;
    assert_eq!(
        new.header("content-type"),
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    );
    let mut resources = Vec::new();
    for resource in new.json()["items"][0]["versions"][0]["resources"].as_array().unwrap() {
        let name = resource["resource"].as_str().unwrap();
        resources.push(name.to_owned());
        for part in resource["subresources"].as_array().into_iter().flatten() {
            resources.push(format!("{name}/{}", part["subresource"].as_str().unwrap()));
        }
    }
    assert_eq!(names(&old["resources"]), resources);
    assert!(resources.contains(&"deployments/scale".to_owned()));
    let scale = old["resources"]
        .as_array()
        .unwrap()
        .iter()
        .find(|entry| entry["name"] == "deployments/scale");
    let scale = scale.unwrap();
    assert_eq!(
        (&scale["group"], &scale["kind"]),
        (&json!("autoscaling"), &json!("Scale"))
    );

    let tag = new.header("etag").to_owned();
    let headers = [("accept", accept), ("if-none-match", tag.as_str())];
    let same = app.send(Method::GET, "/apis", &headers, "").await;
    assert_eq!((same.code, same.text.as_str()), (304, ""));
    let core = app.get_as("/api", accept).await.json();
    assert_eq!(core["items"][0]["versions"][0]["version"], "v1");
}

#[tokio::test]
async fn openapi_is_whole() {
    let app = App::new().await;
    let index = app.get("/openapi/v3").await.json();
    let url = index["paths"]["apis/cube/v1"]["serverRelativeURL"]
        .as_str()
        .unwrap()
        .to_owned();
    let answer = app.get(&url).await;
    assert!(answer.header("cache-control").contains("immutable"));
    let document = answer.json();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for kind in Kind::ALL {
        let schema = &schemas[&format!("cube.v1.{}", kind.info().kind)];
        assert_eq!(schema["x-kubernetes-group-version-kind"][0]["kind"], kind.info().kind);
    }
    // Every reference leads somewhere, and nothing is left that OpenAPI 3.0 does not know.
    let mut open = vec![&document];
    while let Some(value) = open.pop() {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(path)) = fields.get("$ref") {
                    let name = path.strip_prefix("#/components/schemas/").unwrap();
                    assert!(schemas.contains_key(name), "{name}");
                    assert_eq!(fields.len(), 1, "{path}");
                }
                if fields.contains_key("description") {
                    assert!(
                        !fields.contains_key("const") && !fields.contains_key("anyOf"),
                        "{fields:?}"
                    );
                    assert!(
                        fields
                            .get("type")
                            .is_none_or(|name| name.is_string() || name.is_object()),
                        "{fields:?}"
                    );
                }
                open.extend(fields.values());
            }
            Value::Array(items) => open.extend(items),
            _ => {}
        }
    }
    let patch = &document["paths"]["/apis/cube/v1/namespaces/{namespace}/tasks/{name}"]["patch"];
    let parameters = patch["parameters"].as_array().unwrap();
    for name in ["dryRun", "fieldValidation"] {
        assert!(
            parameters
                .iter()
                .any(|given| given["name"] == name && given["in"] == "query"),
            "{name}"
        );
    }
    assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "Task");
    let old = app.get("/openapi/v2").await;
    assert_eq!(
        old.header("content-type"),
        "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
    );
    assert_eq!(old.text.len(), 16);
}

#[tokio::test]
async fn says_how_it_is() {
    let app = App::new().await;
    let version = app.get("/version").await.json();
    assert_eq!((&version["major"], &version["minor"]), (&json!("1"), &json!("33")));
    for path in ["/livez", "/readyz", "/healthz"] {
        assert_eq!(app.get(path).await.text, "ok");
    }
    assert_eq!(app.get("/apis/cube/v1/info").await.json()["pid"], 7);
    let review = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let headers = [("content-type", "application/vnd.kubernetes.protobuf")];
    let allowed = app.send(Method::POST, review, &headers, "k8s\u{0}").await;
    assert_eq!(
        (allowed.code, &allowed.json()["status"]["allowed"]),
        (201, &json!(true))
    );
    app.task("web", "nginx").await;
    app.get(&format!("{TASKS}/none")).await;
    let metrics = app.get("/metrics").await.text;
    for line in [
        r#"cube_requests_total{verb="create",kind="tasks",code="201"} 1"#,
        r#"cube_requests_total{verb="get",kind="tasks",code="404"} 1"#,
        "cube_watches 0",
        "cube_store_objects 2",
        "process_resident_memory_bytes ",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
}
