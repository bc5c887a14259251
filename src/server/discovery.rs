//! What there is: Kubernetes' discovery, in its old form (a document a group) and its new one (all in one, with an ETag).
//!
//! Both are made from the one table of kinds. The core group is there and empty: clients fail without it, and what is
//! served under it (Events) is only looked for by those who know.
use axum::response::{IntoResponse, Response};
use cube_api::{
    API_VERSION, GROUP, VERSION,
    kinds::{Kind, KindInfo},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    accept::{self, Media},
    answer,
};

const VERBS: [&str; 8] = [
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];
const PART_VERBS: [&str; 3] = ["get", "patch", "update"];
/// `kubectl get all` shows these.
const ALL: [Kind; 2] = [Kind::Deployment, Kind::Task];

/// `/api`.
pub(super) async fn core_versions(headers: HeaderMap) -> Response {
    let old = json!({ "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [] });
    let new = json!({
        "metadata": { "name": "", "creationTimestamp": null },
        "versions": [{ "version": "v1", "resources": [], "freshness": "Current" }],
    });
    discover(&headers, old, new)
}

/// `/api/v1`.
pub(super) async fn core_resources() -> Response {
    let list = json!({ "kind": "APIResourceList", "groupVersion": "v1", "resources": [] });
    answer::value(StatusCode::OK, &list)
}

/// `/apis`.
pub(super) async fn groups(headers: HeaderMap) -> Response {
    let mut group = api_group();
    if let Some(fields) = group.as_object_mut() {
        fields.retain(|field, _| field != "kind" && field != "apiVersion");
    }
    let old = json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": [group] });
    let resources: Vec<Value> = Kind::ALL.iter().map(|kind| aggregated(*kind)).collect();
    let new = json!({
        "metadata": { "name": GROUP, "creationTimestamp": null },
        "versions": [{ "version": VERSION, "resources": resources, "freshness": "Current" }],
    });
    discover(&headers, old, new)
}

/// `/apis/cube`.
pub(super) async fn group() -> Response {
    answer::value(StatusCode::OK, &api_group())
}

/// `/apis/cube/v1`.
pub(super) async fn resources() -> Response {
    let resources: Vec<Value> = Kind::ALL.iter().flat_map(|kind| legacy(*kind)).collect();
    let list = json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": API_VERSION, "resources": resources,
    });
    answer::value(StatusCode::OK, &list)
}

fn api_group() -> Value {
    let version = json!({ "groupVersion": API_VERSION, "version": VERSION });
    json!({
        "kind": "APIGroup", "apiVersion": "v1", "name": GROUP,
        "versions": [version], "preferredVersion": version,
    })
}

fn categories(kind: Kind) -> &'static [&'static str] {
    if ALL.contains(&kind) { &["all"] } else { &[] }
}

/// A part of an object: its name, and the group, version and kind of what it shows.
fn parts(kind: Kind) -> Vec<(&'static str, Value, &'static [&'static str])> {
    let info = kind.info();
    let own = json!({ "group": GROUP, "version": VERSION, "kind": info.kind });
    let mut parts: Vec<(_, _, &[&str])> = Vec::new();
    if info.has_status {
        parts.push(("status", own, &PART_VERBS));
    }
    if info.has_scale {
        let scale = json!({ "group": "autoscaling", "version": "v1", "kind": "Scale" });
        parts.push(("scale", scale, &PART_VERBS));
    }
    if kind == Kind::Task {
        let binding = json!({ "group": "", "version": "v1", "kind": "Binding" });
        parts.push(("binding", binding, &["create"]));
        let log = json!({ "group": GROUP, "version": VERSION, "kind": info.kind });
        parts.push(("log", log.clone(), &["get"]));
        parts.push(("exec", log, &["get"]));
        let survey = json!({ "group": GROUP, "version": VERSION, "kind": "PlacementSurvey" });
        parts.push(("placement", survey, &["get"]));
    }
    parts
}

fn legacy(kind: Kind) -> Vec<Value> {
    let KindInfo {
        plural,
        singular,
        namespaced,
        ..
    } = kind.info();
    let mut whole = json!({
        "name": plural, "singularName": singular, "namespaced": namespaced, "kind": kind.info().kind,
        "verbs": VERBS, "shortNames": kind.info().short_names, "categories": categories(kind),
    });
    if let Some(fields) = whole.as_object_mut() {
        fields.retain(|_, value| !value.as_array().is_some_and(Vec::is_empty));
    }
    let parts = parts(kind).into_iter().map(|(part, shows, verbs)| {
        json!({
            "name": format!("{plural}/{part}"), "singularName": "", "namespaced": namespaced,
            "group": shows["group"], "version": shows["version"], "kind": shows["kind"], "verbs": verbs,
        })
    });
    [whole].into_iter().chain(parts).collect()
}

fn aggregated(kind: Kind) -> Value {
    let info = kind.info();
    let parts: Vec<Value> = parts(kind)
        .into_iter()
        .map(|(part, shows, verbs)| json!({ "subresource": part, "responseKind": shows, "verbs": verbs }))
        .collect();
    let mut resource = json!({
        "resource": info.plural,
        "responseKind": { "group": GROUP, "version": VERSION, "kind": info.kind },
        "scope": if info.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": info.singular,
        "verbs": VERBS,
        "shortNames": info.short_names,
        "categories": categories(kind),
        "subresources": parts,
    });
    if let Some(fields) = resource.as_object_mut() {
        fields.retain(|_, value| !value.as_array().is_some_and(Vec::is_empty));
    }
    resource
}

/// The old document or the new one, as the client asks.
fn discover(headers: &HeaderMap, old: Value, new: Value) -> Response {
    let asked = accept::accepted(headers);
    let aggregated = |media: &Media<'_>| {
        media.is_json()
            && media.parameter("g") == "apidiscovery.k8s.io"
            && media.parameter("as") == "APIGroupDiscoveryList"
            && matches!(media.parameter("v"), "v2" | "v2beta1")
    };
    let first = asked
        .iter()
        .find(|media| aggregated(media) || (media.is_json() && media.parameter("as").is_empty()));
    let mut response = match first
        .filter(|media| aggregated(media))
        .map(|media| media.parameter("v"))
    {
        None => answer::value(StatusCode::OK, &old),
        Some(version) => {
            let document = json!({
                "kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{version}"),
                "metadata": {}, "items": [new],
            });
            let content_type = match version {
                "v2" => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
                _ => "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
            };
            tagged(headers, content_type, document.to_string())
        }
    };
    response
        .headers_mut()
        .insert(header::VARY, HeaderValue::from_static("Accept"));
    response
}

/// An answer with its hash as ETag; only that nothing has changed, to who has it already.
fn tagged(headers: &HeaderMap, content_type: &'static str, text: String) -> Response {
    let tag = format!("\"{}\"", hash(text.as_bytes()));
    let known = headers.get(header::IF_NONE_MATCH).and_then(|known| known.to_str().ok());
    let mut response = if known.is_some_and(|known| known.split(',').any(|known| known.trim() == tag)) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        answer::typed(StatusCode::OK, content_type, text)
    };
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// A hash for ETags and the like, as clients know them: hexadecimal, upper case.
pub(super) fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02X}")).collect()
}
