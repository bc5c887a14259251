//! The write rules: from what an object was, and what a writer wishes, to what it becomes.
//!
//! Functions from values to values: no store, no retries. What the server owns stays the server's, a status is written
//! apart from the rest, what changes nothing writes nothing, and an object whose deletion has begun goes with its last finalizer.
//!
//! Laws of deletion, beyond Kubernetes':
//! - A Task that a node has keeps the finalizer [`CONTAINER_FINALIZER`] until the node's worker reports the container gone.
//! - A Namespace keeps [`NAMESPACE_FINALIZER`] until its controller has seen it empty.
use cube_api::{
    error::{FieldError, FieldPath, Reason},
    kinds::Kind,
    meta::{FOREGROUND_FINALIZER, ORPHAN_FINALIZER, time},
    namespace,
    task::Task,
};
use cube_planted::{Bug, planted};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use super::{
    ApiError, DeleteOptions, Object, Propagation, StatusReason, UnknownFields,
    admit::{admit, identify, shape},
    object::shown,
};
use crate::world::World;

/// Holds a Task that is being deleted until its container is gone.
pub const CONTAINER_FINALIZER: &str = "cube/container";
/// Holds a Namespace that is being deleted until nothing is in it.
pub const NAMESPACE_FINALIZER: &str = "cube/namespace";

/// Fields of metadata that writers cannot set.
const SERVER_OWNED: [&str; 8] = [
    "uid",
    "creationTimestamp",
    "generation",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "generateName",
    "namespace",
];

/// What becomes of an object.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Next {
    /// It stays as it is: nothing is written.
    Same,
    /// It becomes this.
    Put(Value),
    /// Its status alone becomes this, as JSON text.
    Status(String),
    /// It is removed.
    Gone,
}

/// Which part of an object a write is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All but the status.
    Main,
    /// The status alone.
    Status,
}

/// An object that did not exist, as it will be stored.
pub(super) fn create(
    kind: Kind,
    namespace: &str,
    mut value: Value,
    unknown: UnknownFields,
    world: &World,
) -> Result<Value, ApiError> {
    identify(kind, &mut value)?;
    place(kind, namespace, &mut value)?;
    let fields = object(&mut value);
    fields.remove("status");
    let meta = metadata(fields);
    for field in SERVER_OWNED {
        if !matches!(field, "managedFields" | "generateName" | "namespace") {
            meta.remove(field);
        }
    }
    meta.remove("managedFields");
    if !text(meta, "resourceVersion").is_empty() {
        return Err(ApiError::bad_request(
            "resourceVersion should not be set on objects to be created",
        ));
    }
    meta.remove("resourceVersion");
    if text(meta, "name").is_empty() {
        let prefix = text(meta, "generateName").to_owned();
        if prefix.is_empty() {
            return Err(ApiError::invalid(
                kind,
                "",
                vec![FieldError::new(
                    FieldPath::root().field("metadata").field("name"),
                    Reason::Required,
                    "name or generateName is required",
                )],
            ));
        }
        meta.insert("name".to_owned(), generate_name(&prefix, world.random()).into());
    }
    let name = text(meta, "name").to_owned();
    let mut value = admit(kind, &name, value, unknown)?;
    let meta = metadata(object(&mut value));
    meta.insert("uid".to_owned(), world.uuid().to_string().into());
    meta.insert("creationTimestamp".to_owned(), time::format(world.now()).into());
    meta.insert("generation".to_owned(), 1.into());
    if kind == Kind::Namespace {
        value["status"] = serde_json::json!({ "phase": "Active" });
    }
    Ok(value)
}

/// An object as it becomes when a writer wishes `value` in its place; `current` is the object as it is stored.
pub(super) fn update(
    before: &Object,
    current: &Value,
    mut value: Value,
    part: Part,
    unknown: UnknownFields,
) -> Result<Next, ApiError> {
    let (kind, name) = (before.kind(), before.name());
    identify(kind, &mut value)?;
    place(kind, before.namespace(), &mut value)?;
    precondition(before, metadata(object(&mut value)))?;
    let value = match part {
        Part::Main => {
            // What is there already was admitted once; a newer rule does not make it another wish. And a thousand files that
            // say so again are soon looked at.
            let same = says_the_same(current, &value);
            if same && !before.is_deleting() {
                return Ok(Next::Same);
            }
            keep_server_owned(metadata(object(&mut value)), &current["metadata"]);
            set_or_remove(object(&mut value), "status", current.get("status"));
            if !same {
                value = admit(kind, name, value, unknown)?;
                immutable(before, current, &value)?;
            }
            value
        }
        Part::Status if !kind.info().has_status => return Err(no_subresource(kind, name, "status")),
        Part::Status => {
            let mut merged = current.clone();
            let status = owned_status(kind, current.get("status"), value.get("status").cloned());
            set_or_remove(object(&mut merged), "status", status.as_ref());
            shape(kind, name, merged, unknown)?.0
        }
    };
    Ok(settle(before, current, value))
}

/// An object as it becomes when a part of Cube has seen `status` of it: its form is right, and nothing else is touched.
pub(super) fn seen(before: &Object, status: Value) -> Result<Next, ApiError> {
    let (kind, name) = (before.kind(), before.name());
    if !kind.info().has_status {
        return Err(no_subresource(kind, name, "status"));
    }
    let current = before.stored_status();
    let current: Option<Value> = current.and_then(|status| serde_json::from_str(status.get()).ok());
    let status = owned_status(kind, current.as_ref(), Some(status));
    Ok(match status {
        Some(status) if current.as_ref() != Some(&status) => Next::Status(status.to_string()),
        _ => Next::Same,
    })
}

/// A status as its writer wishes it, with what is not the writer's to say.
fn owned_status(kind: Kind, current: Option<&Value>, wished: Option<Value>) -> Option<Value> {
    let owned: &[&str] = match kind {
        // The binding alone gives a node, and begins an epoch.
        Kind::Task => &["node", "epoch"],
        // Its deletion alone closes it.
        Kind::Namespace => &["phase"],
        _ => return wished,
    };
    let mut status = wished.unwrap_or_default();
    let fields = object(&mut status);
    for field in owned {
        set_or_remove(fields, field, current.and_then(|current| current.get(field)));
    }
    (!fields.is_empty()).then_some(status)
}

/// The last rules of every change: count generations, write nothing that changes nothing, remove what nothing holds.
pub(super) fn settle(before: &Object, current: &Value, mut value: Value) -> Next {
    let meta = &value["metadata"];
    let held = meta["finalizers"].as_array().is_some_and(|all| !all.is_empty());
    if !meta["deletionTimestamp"].is_null() && !held {
        return Next::Gone;
    }
    if *current == value {
        return Next::Same;
    }
    let begun = current["metadata"]["deletionTimestamp"].is_null() && !meta["deletionTimestamp"].is_null();
    if (begun || !wish(current).eq(wish(&value))) && !planted(Bug::GenerationKept) {
        value["metadata"]["generation"] = (before.meta().generation + 1).into();
    }
    Next::Put(value)
}

/// An object as its deletion leaves it.
pub(super) fn delete(before: &Object, options: &DeleteOptions, now: Timestamp) -> Result<Next, ApiError> {
    let (kind, name) = (before.kind(), before.name());
    if let Some(uid) = &options.uid
        && uid != before.uid()
    {
        let why = format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({}).",
            before.uid()
        );
        return Err(ApiError::conflict(kind, name, why));
    }
    if options
        .resource_version
        .is_some_and(|revision| revision != before.revision())
    {
        return Err(ApiError::modified(kind, name));
    }
    if kind == Kind::Namespace && name == namespace::DEFAULT {
        return Err(ApiError::forbidden(kind, name, "this namespace may not be deleted"));
    }
    let current = before.stored();
    let mut finalizers = before.meta().finalizers.clone();
    let force = options.grace_seconds == Some(0);
    let task = before.try_typed::<Task>();
    let bound = task.is_some_and(|task| task.status.node.is_some() && !planted(Bug::FinalizerDropped));
    let deleting = before.is_deleting();
    hold(
        &mut finalizers,
        CONTAINER_FINALIZER,
        match (deleting, force) {
            (_, true) => Some(false),
            (false, false) => Some(bound),
            (true, false) => None,
        },
    );
    if kind == Kind::Namespace && !deleting {
        hold(&mut finalizers, NAMESPACE_FINALIZER, Some(true));
    }
    if let Some(propagation) = options.propagation {
        hold(
            &mut finalizers,
            FOREGROUND_FINALIZER,
            Some(propagation == Propagation::Foreground),
        );
        hold(
            &mut finalizers,
            ORPHAN_FINALIZER,
            Some(propagation == Propagation::Orphan),
        );
    }
    let spec_grace = task.map_or(0, |task| u64::from(task.spec.termination_grace_period_seconds));
    let grace = match (task, bound) {
        (Some(_), true) => options.grace_seconds.unwrap_or(spec_grace),
        _ => 0,
    };
    let mut value = current.clone();
    let meta = metadata(object(&mut value));
    if finalizers.is_empty() {
        meta.remove("finalizers");
    } else {
        meta.insert("finalizers".to_owned(), finalizers.into());
    }
    // Asked again, a deletion may only become shorter.
    let deadline = now
        .checked_add(SignedDuration::from_secs(grace.min(u64::from(u32::MAX)) as i64))
        .unwrap_or(now);
    let sooner = before
        .meta()
        .deletion_timestamp
        .is_some_and(|at| deadline.as_second() < at.as_second());
    if !deleting || (sooner && options.grace_seconds.is_some()) {
        meta.insert("deletionTimestamp".to_owned(), time::format(deadline).into());
        meta.insert("deletionGracePeriodSeconds".to_owned(), grace.into());
    }
    if kind == Kind::Namespace {
        value["status"] = serde_json::json!({ "phase": "Terminating" });
    }
    Ok(settle(before, &current, value))
}

/// That there is no such subresource.
pub(super) fn no_subresource(kind: Kind, name: &str, subresource: &str) -> ApiError {
    let plural = kind.info().plural;
    ApiError::new(
        StatusReason::NotFound,
        format!("{plural} have no subresource `{subresource}`"),
    )
    .about(kind, name)
}

fn hold(finalizers: &mut Vec<String>, name: &str, wanted: Option<bool>) {
    let there = finalizers.iter().any(|finalizer| finalizer == name);
    match wanted {
        Some(true) if !there => finalizers.push(name.to_owned()),
        Some(false) => finalizers.retain(|finalizer| finalizer != name),
        _ => {}
    }
}

/// The object is where the request says.
fn place(kind: Kind, namespace: &str, value: &mut Value) -> Result<(), ApiError> {
    let meta = metadata(object(value));
    let given = text(meta, "namespace");
    if !kind.info().namespaced {
        meta.remove("namespace");
    } else if given.is_empty() || given == namespace {
        meta.insert("namespace".to_owned(), namespace.into());
    } else {
        let message = format!(
            "the namespace of the provided object does not match the namespace sent on the request: \
             {given:?} is not {namespace:?}"
        );
        return Err(ApiError::bad_request(message));
    }
    Ok(())
}

/// The writer means this object at this revision, as far as it says.
fn precondition(before: &Object, meta: &mut Map<String, Value>) -> Result<(), ApiError> {
    let (kind, name) = (before.kind(), before.name());
    match text(meta, "name") {
        "" => {}
        given if given == name => {}
        given => {
            let message = format!("the name of the object ({given}) does not match the name on the URL ({name})");
            return Err(ApiError::bad_request(message));
        }
    }
    meta.insert("name".to_owned(), name.into());
    let version = meta.remove("resourceVersion").unwrap_or_default();
    match version.as_str().unwrap_or_default() {
        "" if version.is_null() || version.is_string() => {}
        "0" => {}
        version if version.parse() == Ok(before.revision()) => {}
        version if version.parse::<u64>().is_ok() => return Err(ApiError::modified(kind, name)),
        _ => {
            let path = FieldPath::root().field("metadata").field("resourceVersion");
            let error = FieldError::invalid(path, "must be a resourceVersion that was read").given(version.to_string());
            return Err(ApiError::invalid(kind, name, vec![error]));
        }
    }
    match text(meta, "uid") {
        "" => Ok(()),
        uid if uid == before.uid() => Ok(()),
        uid => {
            let why = format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                before.uid()
            );
            Err(ApiError::conflict(kind, name, why))
        }
    }
}

/// Whether a writer wishes for what is there already, as far as it is a writer's to say.
fn says_the_same(current: &Value, value: &Value) -> bool {
    let same = |current: &Value, value: &Value, passed_over: &[&str]| {
        let fields = |value: &Value| value.as_object().map_or(0, Map::len);
        let (mut there, mut said) = (fields(current), fields(value));
        for field in passed_over {
            there -= usize::from(current.get(field).is_some());
            said -= usize::from(value.get(field).is_some());
        }
        let fields = current.as_object().into_iter().flatten();
        there == said
            && fields
                .filter(|(name, _)| !passed_over.contains(&name.as_str()))
                .all(|(name, there)| value.get(name) == Some(there))
    };
    same(current, value, &["metadata", "status"]) && same(&current["metadata"], &value["metadata"], &SERVER_OWNED)
}

fn keep_server_owned(meta: &mut Map<String, Value>, current: &Value) {
    for field in SERVER_OWNED {
        set_or_remove(meta, field, current.get(field));
    }
}

/// What may not change.
fn immutable(before: &Object, current: &Value, value: &Value) -> Result<(), ApiError> {
    let (kind, name) = (before.kind(), before.name());
    let mut errors = Vec::new();
    if kind == Kind::Revision && current["spec"]["hash"] != value["spec"]["hash"] {
        let message = "cannot change: a Revision is a Deployment's template as it was";
        errors.push(FieldError::new(
            FieldPath::root().field("spec").field("hash"),
            Reason::Forbidden,
            message,
        ));
    }
    if before.is_deleting() {
        let old = &before.meta().finalizers;
        let new = value["metadata"]["finalizers"].as_array().into_iter().flatten();
        let added: Vec<&str> = new
            .filter_map(Value::as_str)
            .filter(|finalizer| !old.iter().any(|old| old == finalizer))
            .collect();
        if !added.is_empty() {
            let message = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers {added:?}"
            );
            let path = FieldPath::root().field("metadata").field("finalizers");
            errors.push(FieldError::new(path, Reason::Forbidden, message));
        }
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(ApiError::invalid(kind, name, errors))
    }
}

/// The parts whose change is a new generation: all but metadata and status.
fn wish(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let fields = value.as_object().into_iter().flatten();
    fields.filter(|(name, _)| !matches!(name.as_str(), "metadata" | "status"))
}

/// A name from a prefix: five letters and digits that spell no word.
fn generate_name(prefix: &str, mut random: u64) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut end = prefix.len().min(248);
    while !prefix.is_char_boundary(end) {
        end -= 1;
    }
    let mut name = prefix[..end].to_owned();
    for _ in 0..5 {
        name.push(char::from(LETTERS[(random % LETTERS.len() as u64) as usize]));
        random /= LETTERS.len() as u64;
    }
    name
}

/// That an object which is being deleted cannot be taken up again.
pub(super) fn being_deleted(object: &Object) -> ApiError {
    let (kind, name) = (object.kind(), object.name());
    let shown = shown(kind, object.namespace(), name);
    let message = format!("{shown} is being deleted; apply it again when it is gone");
    ApiError::new(StatusReason::Conflict, message).about(kind, name)
}

/// The fields of an object; made one if it is none.
pub(super) fn object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(fields) => fields,
        _ => unreachable!("it was made an object"),
    }
}

/// The metadata of an object's fields; made if there is none.
pub(super) fn metadata(fields: &mut Map<String, Value>) -> &mut Map<String, Value> {
    object(fields.entry("metadata").or_insert(Value::Null))
}

/// The text of a field; empty when there is none.
pub(super) fn text<'a>(fields: &'a Map<String, Value>, field: &str) -> &'a str {
    fields.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn set_or_remove(fields: &mut Map<String, Value>, field: &str, value: Option<&Value>) {
    match value {
        Some(value) => {
            fields.insert(field.to_owned(), value.clone());
        }
        None => {
            fields.remove(field);
        }
    }
}
