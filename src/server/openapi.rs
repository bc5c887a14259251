//! OpenAPI: what clients check and explain objects by. Version 3 is made from the kinds' schemas; of version 2 there is
//! only what older clients need to go on.
//!
//! Cube's schemas are JSON Schema 2020-12; OpenAPI 3.0 knows less. Types that may be null, constants and documented enums
//! are said in its words, and references that carry a description are wrapped, as Kubernetes does.
use std::{collections::BTreeMap, sync::OnceLock};

use axum::{
    http::{HeaderValue, Uri, header},
    response::Response,
};
use bytes::Bytes;
use cube_api::{
    API_VERSION, GROUP, VERSION,
    kinds::{Kind, KindInfo},
};
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::{answer, discovery::hash};

/// `swagger: "2.0", info: {title: "cube", version: "0"}` as protobuf.
const V2: &[u8] = b"\x0a\x032.0\x12\x09\x0a\x04cube\x12\x010";

/// `/openapi/v2`: no more than that there is one. kubectl up to 1.28 writes nothing without it.
pub(super) async fn v2() -> Response {
    // Unlike in Accept there is no `@` in it: Go cannot read that.
    let content_type = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
    answer::typed(StatusCode::OK, content_type, V2)
}

/// `/openapi/v3`.
pub(super) async fn index() -> Response {
    let url = format!("/openapi/v3/apis/{API_VERSION}?hash={}", document().1);
    let index = json!({ "paths": { format!("apis/{API_VERSION}"): { "serverRelativeURL": url } } });
    answer::value(StatusCode::OK, &index)
}

/// `/openapi/v3/apis/cube/v1`.
pub(super) async fn v3(uri: Uri) -> Response {
    let (text, hash) = document();
    let mut response = answer::json(StatusCode::OK, text.clone());
    let headers = response.headers_mut();
    // Who asks by hash asks for these very bytes.
    if uri.query().is_some_and(|query| query.contains(hash.as_str())) {
        let for_ever = HeaderValue::from_static("public, immutable");
        headers.insert(header::CACHE_CONTROL, for_ever);
    }
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{hash}\"")) {
        headers.insert(header::ETAG, tag);
    }
    response
}

/// The document and its hash; made by the first who asks.
fn document() -> &'static (Bytes, String) {
    static DOCUMENT: OnceLock<(Bytes, String)> = OnceLock::new();
    DOCUMENT.get_or_init(|| {
        let text = build().to_string();
        let hash = hash(text.as_bytes());
        (text.into(), hash)
    })
}

fn build() -> Value {
    let mut schemas = BTreeMap::new();
    let mut paths = Map::new();
    for kind in Kind::ALL {
        add_schemas(&mut schemas, *kind);
        add_paths(&mut paths, *kind);
    }
    json!({
        "openapi": "3.0.0",
        "info": { "title": "Cube", "version": env!("CARGO_PKG_VERSION") },
        "paths": paths,
        "components": { "schemas": schemas },
    })
}

/// The name of a type of Cube's among the schemas.
fn schema_name(name: &str) -> String {
    format!("{GROUP}.{VERSION}.{name}")
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{}", schema_name(name)) })
}

fn gvk(kind: &str) -> Value {
    json!({ "group": GROUP, "version": VERSION, "kind": kind })
}

fn add_schemas(schemas: &mut BTreeMap<String, Value>, kind: Kind) {
    let name = kind.info().kind;
    let mut schema = kind.schema();
    if let Some(Value::Object(types)) = schema.as_object_mut().and_then(|schema| schema.remove("$defs")) {
        for (name, schema) in types {
            schemas.insert(schema_name(&name), translated(schema));
        }
    }
    let mut schema = translated(schema);
    schema["x-kubernetes-group-version-kind"] = json!([gvk(name)]);
    schemas.insert(schema_name(name), schema);
    let list = format!("{name}List");
    schemas.insert(
        schema_name(&list),
        json!({
            "type": "object",
            "description": format!("A list of objects of the kind {name}."),
            "required": ["items"],
            "properties": {
                "apiVersion": { "type": "string" },
                "kind": { "type": "string" },
                "metadata": { "type": "object", "properties": { "resourceVersion": { "type": "string" } } },
                "items": { "type": "array", "items": reference(name) },
            },
            "x-kubernetes-group-version-kind": [gvk(&list)],
        }),
    );
}

/// A schema in OpenAPI 3.0's words.
fn translated(schema: Value) -> Value {
    let Value::Object(mut schema) = schema else {
        // `true` and `false`: OpenAPI has only "anything".
        return json!({});
    };
    for word in ["$schema", "title", "$id", "propertyNames"] {
        schema.remove(word);
    }
    unwrap_optional(&mut schema);
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        for property in properties.values_mut() {
            *property = translated(property.take());
        }
    }
    for inner in ["items", "additionalProperties"] {
        match schema.get_mut(inner) {
            // Said by what is listed; the word itself confuses older readers.
            Some(Value::Bool(_)) => {
                schema.remove(inner);
            }
            Some(schema) => *schema = translated(schema.take()),
            None => {}
        }
    }
    if let Some(constant) = schema.remove("const") {
        schema.insert("enum".to_owned(), json!([constant]));
    }
    if let Some(Value::Array(types)) = schema.get("type") {
        let named = types.iter().find(|name| *name != "null").cloned();
        schema.insert("type".to_owned(), named.unwrap_or_default());
    }
    if let Some(Value::Array(choices)) = schema.remove("oneOf") {
        choose(&mut schema, choices);
    }
    if schema.get("default").is_some_and(Value::is_null) {
        schema.remove("default");
    }
    wrap_reference(&mut schema);
    Value::Object(schema)
}

/// Where only one thing or null may stand, it is that thing: in OpenAPI 3.0 what may be absent may be null.
fn unwrap_optional(schema: &mut Map<String, Value>) {
    let Some(Value::Array(mut choices)) = schema.remove("anyOf") else {
        return;
    };
    choices.retain(|choice| choice["type"] != "null");
    match choices.as_mut_slice() {
        [Value::Object(only)] => {
            for (word, value) in std::mem::take(only) {
                schema.entry(word).or_insert(value);
            }
        }
        _ => {
            schema.insert("oneOf".to_owned(), choices.into());
        }
    }
}

/// Says that one of several may stand here.
fn choose(schema: &mut Map<String, Value>, choices: Vec<Value>) {
    let values = |choice: &Value| match &choice["const"] {
        Value::Null => choice["enum"].as_array().cloned().unwrap_or_default(),
        value => vec![value.clone()],
    };
    let all: Vec<Value> = choices.iter().flat_map(values).collect();
    if all.iter().all(Value::is_string) && choices.iter().all(|choice| !values(choice).is_empty()) {
        let told = choices.iter().filter_map(|choice| {
            let value = choice["const"].as_str()?;
            Some(format!("\n - `{value}`: {}", choice["description"].as_str()?))
        });
        let told: String = told.collect();
        if !told.is_empty() {
            let before = schema.get("description").and_then(Value::as_str).unwrap_or_default();
            schema.insert("description".to_owned(), format!("{before}{told}").into());
        }
        schema.insert("type".to_owned(), "string".into());
        schema.insert("enum".to_owned(), all.into());
        return;
    }
    let number = |choice: &Value| matches!(choice["type"].as_str(), Some("integer" | "number"));
    if choices.iter().any(number) && choices.iter().any(|choice| choice["type"] == "string") {
        schema.insert("x-kubernetes-int-or-string".to_owned(), true.into());
    }
    schema.insert("oneOf".to_owned(), choices.into_iter().map(translated).collect());
}

/// A reference that says more beside it says it outside: readers pass over what stands beside one.
fn wrap_reference(schema: &mut Map<String, Value>) {
    let Some(Value::String(path)) = schema.remove("$ref") else {
        return;
    };
    let reference = reference(path.rsplit('/').next().unwrap_or_default());
    if schema.is_empty() {
        schema.insert("$ref".to_owned(), reference["$ref"].clone());
    } else {
        schema.insert("allOf".to_owned(), json!([reference]));
    }
}

/// The operations on a kind. Clients look for the parameters on each before they rely on them.
fn add_paths(paths: &mut Map<String, Value>, kind: Kind) {
    let info = kind.info();
    let KindInfo { plural, namespaced, .. } = info;
    let base = match namespaced {
        true => format!("/apis/{API_VERSION}/namespaces/{{namespace}}/{plural}"),
        false => format!("/apis/{API_VERSION}/{plural}"),
    };
    let one = format!("{base}/{{name}}");
    let list = json!({
        "get": operation(kind, "list", &READ_MANY),
        "post": operation(kind, "post", &WRITE),
        "delete": operation(kind, "deletecollection", &READ_MANY),
        "parameters": path_parameters(kind, false),
    });
    paths.insert(base, list);
    let whole = json!({
        "get": operation(kind, "get", &[]),
        "put": operation(kind, "put", &WRITE),
        "patch": operation(kind, "patch", &WRITE),
        "delete": operation(kind, "delete", &DELETE),
        "parameters": path_parameters(kind, true),
    });
    paths.insert(one.clone(), whole);
    if info.has_status {
        let status = json!({
            "get": operation(kind, "get", &[]),
            "put": operation(kind, "put", &WRITE),
            "patch": operation(kind, "patch", &WRITE),
            "parameters": path_parameters(kind, true),
        });
        paths.insert(format!("{one}/status"), status);
    }
}

const WRITE: [&str; 3] = ["dryRun", "fieldManager", "fieldValidation"];
const DELETE: [&str; 3] = ["dryRun", "gracePeriodSeconds", "propagationPolicy"];
const READ_MANY: [&str; 10] = [
    "labelSelector",
    "fieldSelector",
    "resourceVersion",
    "resourceVersionMatch",
    "watch",
    "allowWatchBookmarks",
    "sendInitialEvents",
    "timeoutSeconds",
    "limit",
    "continue",
];

fn operation(kind: Kind, action: &str, parameters: &[&str]) -> Value {
    let name = kind.info().kind;
    let shown = match action {
        "list" => reference(&format!("{name}List")),
        _ => reference(name),
    };
    let parameters: Vec<Value> = parameters.iter().map(|name| query_parameter(name)).collect();
    let mut operation = json!({
        "operationId": format!("{action}{GROUP}{VERSION}{name}"),
        "parameters": parameters,
        "responses": {
            "200": { "description": "OK", "content": { "application/json": { "schema": shown } } },
        },
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": gvk(name),
    });
    let whole = json!({ "schema": reference(name) });
    let anything = json!({ "schema": { "type": "object" } });
    let content = match action {
        "post" | "put" => json!({ "application/json": whole }),
        "patch" => json!({
            "application/merge-patch+json": anything,
            "application/json-patch+json": { "schema": { "type": "array", "items": { "type": "object" } } },
        }),
        _ => return operation,
    };
    operation["requestBody"] = json!({ "required": true, "content": content });
    operation
}

fn query_parameter(name: &str) -> Value {
    let json_type = match name {
        "watch" | "allowWatchBookmarks" | "sendInitialEvents" => "boolean",
        "timeoutSeconds" | "gracePeriodSeconds" | "limit" => "integer",
        _ => "string",
    };
    json!({ "name": name, "in": "query", "schema": { "type": json_type, "uniqueItems": true } })
}

fn path_parameters(kind: Kind, named: bool) -> Value {
    let names = [("namespace", kind.info().namespaced), ("name", named)];
    let there = names.iter().filter(|(_, there)| *there);
    let parameters =
        there.map(|(name, _)| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
    Value::Array(parameters.collect())
}
