//! The dialect's verbs that write: from a body and a query to the registry's one write, and back.
use axum::{body::Body, response::Response};
use cube_api::{GROUP, kinds::Kind, source::Source};
use futures_util::future::join_all;
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    answer::{self, Refusal},
    body::{self, ONE_OBJECT},
    objects::Call,
    params::{self, FieldValidation, Params},
    target::Part,
};
use crate::registry::{
    self, ApiError, DeleteOptions, Deleted, List, Object, PERSON, Patch, Propagation, Registry, StatusReason,
    Subresource, WriteOptions,
};

/// At most so many warnings: they are headers, and clients bound those.
const WARNINGS: usize = 20;
/// Deletions of a collection that are under way at once: enough to share the store's syncs.
const DELETIONS: usize = 256;

/// How a request means its write, as it says by query and headers.
struct Meant {
    actor: String,
    dry_run: bool,
    validation: FieldValidation,
    subresource: Subresource,
}

impl Meant {
    fn of(call: &Call) -> Result<Self, Refusal> {
        Ok(Self {
            actor: actor(&call.params, &call.headers),
            dry_run: call.params.dry_run()?,
            validation: call.params.field_validation()?,
            subresource: match call.target.part {
                Part::Status => Subresource::Status,
                Part::Scale => Subresource::Scale,
                Part::Whole | Part::Binding | Part::Log | Part::Exec | Part::Placement => Subresource::None,
            },
        })
    }

    fn options(&self) -> WriteOptions<'_> {
        WriteOptions {
            dry_run: self.dry_run,
            unknown: self.validation.unknown(),
            subresource: self.subresource,
            ..WriteOptions::new(&self.actor)
        }
    }

    /// The fields of `value` that will be dropped, and those that it has twice, where that is to be told.
    fn warnings(&self, kind: Kind, value: Option<&Value>, doubled: Vec<String>) -> Result<Vec<String>, Refusal> {
        let doubled = doubled.iter().map(|path| format!("duplicate field \"{path}\""));
        let mut told: Vec<String> = doubled.take(WARNINGS).collect();
        match self.validation {
            FieldValidation::Strict if !told.is_empty() => {
                let message = format!("strict decoding error: {}", told.join(", "));
                return Err(ApiError::bad_request(message).into());
            }
            FieldValidation::Strict | FieldValidation::Ignore => return Ok(Vec::new()),
            FieldValidation::Warn => {}
        }
        if let Some(value) = value
            && self.subresource != Subresource::Scale
        {
            let unknown = registry::unknown_fields(kind, value);
            told.extend(unknown.iter().map(|path| format!("unknown field \"{path}\"")));
        }
        told.truncate(WARNINGS);
        Ok(told)
    }
}

/// Who writes: as the request says, else its program's name.
fn actor(params: &Params, headers: &HeaderMap) -> String {
    let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
    let program = agent.and_then(|agent| agent.split('/').next());
    let manager = params.get("fieldManager").filter(|manager| !manager.is_empty());
    manager.or(program).unwrap_or("unknown").to_owned()
}

pub(super) async fn create(call: Call, body: Body) -> Result<Response, Refusal> {
    let meant = Meant::of(&call)?;
    let (value, doubled) = body::read_json(&call.headers, body, ONE_OBJECT).await?;
    let (kind, registry, options) = (call.target.kind, &call.server.registry, meant.options());
    let warnings = meant.warnings(kind, Some(&value), doubled)?;
    let created = registry.create(kind, call.target.namespace(), value, &options).await?;
    call.written(StatusCode::CREATED, &created, &warnings)
}

pub(super) async fn update(call: Call, body: Body) -> Result<Response, Refusal> {
    let meant = Meant::of(&call)?;
    let (value, doubled) = body::read_json(&call.headers, body, ONE_OBJECT).await?;
    let (kind, registry, options) = (call.target.kind, &call.server.registry, meant.options());
    let warnings = meant.warnings(kind, Some(&value), doubled)?;
    let updated = registry.update(kind, call.target.namespace(), call.name(), value, &options);
    call.written(StatusCode::OK, &updated.await?, &warnings)
}

pub(super) async fn patch(call: Call, body: Body) -> Result<Response, Refusal> {
    let meant = Meant::of(&call)?;
    let (patch, doubled) = body::read_patch(&call.headers, body).await?;
    let (kind, registry, options) = (call.target.kind, &call.server.registry, meant.options());
    let value = match &patch {
        Patch::Merge(value) => Some(value),
        // Its fields are known only when it is applied.
        Patch::Json(_) => None,
    };
    let warnings = meant.warnings(kind, value, doubled)?;
    let patched = registry.patch(kind, call.target.namespace(), call.name(), &patch, &options);
    call.written(StatusCode::OK, &patched.await?, &warnings)
}

pub(super) async fn delete(call: Call, body: Body) -> Result<Response, Refusal> {
    let options = delete_options(&call, body).await?;
    let (kind, registry) = (call.target.kind, &call.server.registry);
    let deleted = registry.delete(kind, call.target.namespace(), call.name(), &options);
    let deleted = deleted.await?;
    let warning = brought_back(registry, deleted.object());
    let mut response = match deleted {
        Deleted::Started(object) => call.shown(StatusCode::OK, &object)?,
        Deleted::Now(object) => answer::value(StatusCode::OK, &gone(&object)),
    };
    answer::warn(&mut response, warning.as_slice());
    Ok(response)
}

/// What who deletes an object is to know: its source will make it again.
fn brought_back(registry: &Registry, object: &Object) -> Option<String> {
    let manager = object.meta().manager().filter(|manager| *manager != PERSON)?;
    let source = registry.get(Kind::Source, "", manager).ok()?;
    let shown = format!("{}/{}", object.kind().info().singular, object.name());
    Some(source.typed::<Source>().brings_back(&shown))
}

pub(super) async fn delete_collection(call: Call, body: Body) -> Result<Response, Refusal> {
    let options = delete_options(&call, body).await?;
    let target = &call.target;
    let filter = call.params.filter(target.kind, target.namespace.as_deref())?;
    let registry = &call.server.registry;
    let found = registry.list_filtered(target.kind, &filter);
    let mut items = Vec::with_capacity(found.items.len());
    for objects in found.items.chunks(DELETIONS) {
        let deletions = objects.iter().map(|object| {
            // The very object that was found, and not a new one of its name.
            let options = DeleteOptions {
                uid: Some(object.uid().to_owned()),
                ..options.clone()
            };
            async move {
                let deleted = registry.delete(target.kind, object.namespace(), object.name(), &options);
                deleted.await
            }
        });
        for deleted in join_all(deletions).await {
            match deleted {
                Ok(deleted) => items.push(deleted.object().clone()),
                // Someone else was faster.
                Err(error) if error.is_not_found() || error.is_conflict() => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    let revision = registry.store().revision();
    Ok(answer::json(
        StatusCode::OK,
        call.renderer.list(&List { revision, items }, None),
    ))
}

/// The body of a binding, as Kubernetes has it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Binding {
    metadata: BindingMeta,
    target: BindingTarget,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct BindingMeta {
    uid: Option<String>,
    resource_version: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct BindingTarget {
    kind: Option<String>,
    name: String,
}

/// Gives a Task to a node. The uid and revision of the body are conditions; without them it is the Task as it is now.
pub(super) async fn bind(call: Call, body: Body) -> Result<Response, Refusal> {
    let (given, _) = body::read_json(&call.headers, body, ONE_OBJECT).await?;
    let binding: Binding = serde_json::from_value(given)
        .map_err(|error| ApiError::bad_request(format!("this is not a binding: {error}")))?;
    let (kind, name) = (binding.target.kind.as_deref(), binding.target.name.as_str());
    if name.is_empty() || kind.is_some_and(|kind| kind != Kind::Node.info().kind) {
        let example = r#"{"target":{"kind":"Node","name":"NODE"}}"#;
        return Err(ApiError::bad_request(format!("a binding must name a Node: {example}")).into());
    }
    let task = call.object()?;
    let uid = binding.metadata.uid.as_deref().unwrap_or(task.uid());
    let revision = match &binding.metadata.resource_version {
        Some(text) => text
            .parse()
            .map_err(|_| ApiError::bad_request(format!("{text:?} is not a resourceVersion")))?,
        None => task.revision(),
    };
    let registry = &call.server.registry;
    if call.params.dry_run()? {
        return Err(ApiError::bad_request("a binding has no dry run").into());
    }
    registry
        .bind(call.target.namespace(), call.name(), uid, name, revision)
        .await?;
    let status = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 });
    Ok(answer::value(StatusCode::CREATED, &status))
}

/// A deletion that has taken effect, in the form of Kubernetes.
fn gone(object: &Object) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": {
            "name": object.name(), "group": GROUP, "kind": object.kind().info().plural, "uid": object.uid(),
        },
    })
}

/// `DeleteOptions` as a body, which may be empty and need not say what it is.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct DeleteBody {
    grace_period_seconds: Option<i64>,
    propagation_policy: Option<String>,
    orphan_dependents: Option<bool>,
    preconditions: Option<Preconditions>,
    dry_run: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Preconditions {
    uid: Option<String>,
    resource_version: Option<String>,
}

/// Kubernetes takes a grace that is less than nothing for the shortest that is not a kill.
fn grace_seconds(grace: i64) -> u64 {
    u64::try_from(grace).unwrap_or(1)
}

async fn delete_options(call: &Call, body: Body) -> Result<DeleteOptions, Refusal> {
    let bytes = body::read(&call.headers, body, ONE_OBJECT).await?;
    let body: DeleteBody = match bytes.is_empty() {
        true => DeleteBody::default(),
        false => serde_json::from_slice(&bytes)
            .map_err(|error| ApiError::bad_request(format!("the body is not DeleteOptions: {error}")))?,
    };
    let params = &call.params;
    let preconditions = body.preconditions.unwrap_or_default();
    let revision = preconditions.resource_version.map(|text| {
        let wrong = |_| ApiError::bad_request(format!("{text:?} is not a resourceVersion"));
        text.parse().map_err(wrong)
    });
    let policy = body.propagation_policy.as_deref().or(params.get("propagationPolicy"));
    let orphan = body
        .orphan_dependents
        .or(params.get("orphanDependents").map(|text| text == "true"));
    let mut dry_run = params.dry_run()?;
    for given in body.dry_run.iter().flatten() {
        dry_run |= params::dry_run(Some(given))?;
    }
    Ok(DeleteOptions {
        grace_seconds: body.grace_period_seconds.map(grace_seconds).or(params.grace_seconds()?),
        propagation: propagation(policy, orphan)?,
        uid: preconditions.uid,
        resource_version: revision.transpose()?,
        actor: actor(params, &call.headers),
        dry_run,
    })
}

fn propagation(policy: Option<&str>, orphan: Option<bool>) -> Result<Option<Propagation>, Refusal> {
    match (policy.filter(|policy| !policy.is_empty()), orphan) {
        (None, None) => Ok(None),
        (None, Some(true)) => Ok(Some(Propagation::Orphan)),
        (None, Some(false)) | (Some("Background"), None) => Ok(Some(Propagation::Background)),
        (Some("Foreground"), None) => Ok(Some(Propagation::Foreground)),
        (Some("Orphan"), None) => Ok(Some(Propagation::Orphan)),
        (Some(_), Some(_)) => {
            let message = "only one of propagationPolicy and orphanDependents can be given";
            Err(ApiError::new(StatusReason::Invalid, message).into())
        }
        (Some(other), None) => {
            let message = format!("propagationPolicy must be Background, Foreground or Orphan, not {other:?}");
            Err(ApiError::new(StatusReason::Invalid, message).into())
        }
    }
}
