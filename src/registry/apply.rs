//! The one apply: a batch of whole objects, checked all before any is written, written in one transaction, answered one by one.
//!
//! The spec is replaced; labels and annotations that this manager set before and says no longer are removed, others'
//! stay. The object remembers its manager in `metadata.managedFields`. What the server owns (uid, resourceVersion,
//! status, …) is passed over, so that what `get -o yaml` showed can be applied. Read [`Registry::apply`] first.
use std::collections::{BTreeMap, BTreeSet};

use cube_api::{
    API_VERSION,
    kinds::Kind,
    meta::{ManagedFields, time},
    namespace,
    shape::UnknownFields,
    source::Source,
};
use serde_json::{Map, Value, json};

use super::{
    ApiError, Object, Registry, StatusReason,
    commit::{Failed, Step, open_namespace},
    find,
    object::shown,
    rules::{self, Next, Part, metadata, object, text},
    write::TURNS,
};
use crate::store::{Origin, Snapshot};

/// The manager of what people apply.
pub const PERSON: &str = "cube";

/// The operation that an apply leaves in `managedFields`.
const APPLY: &str = "Apply";

/// What is to be applied, by whom, and how.
#[derive(Clone, Debug, Default)]
pub struct ApplyRequest {
    /// Who applies: a source's name, or [`PERSON`].
    pub manager: String,
    /// Objects of other managers become this one's, instead of being refused.
    pub take_over: bool,
    /// Everything is done but the writing.
    pub dry_run: bool,
    /// The objects, whole. Without a namespace they are in `default`.
    pub objects: Vec<Value>,
    /// One refusal, and nothing is written; else each object stands for itself.
    pub fail_fast: bool,
}

/// What has become of one object of the batch.
#[derive(Clone, Debug)]
pub struct Applied {
    /// Its kind; none when what was given does not say one that there is.
    pub kind: Option<Kind>,
    /// Its namespace; empty for kinds of the whole cluster.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What has become of it.
    pub outcome: Outcome,
    /// The object as it is then (in a dry run: as it would be).
    pub object: Option<Object>,
}

/// What has become of one object of the batch.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It was not there.
    Created,
    /// It was there and has changed.
    Configured,
    /// It was so already: nothing was written.
    Unchanged,
    /// It is good, but was not written because others of the batch were refused.
    Withheld,
    /// It was refused.
    Refused(ApiError),
}

/// One object of a batch, decided.
struct Decision {
    applied: Applied,
    step: Option<Step>,
}

impl Registry {
    /// Applies a batch. The answers are in the order of the objects. Applying the same again writes nothing.
    pub async fn apply(&self, request: &ApplyRequest) -> Vec<Applied> {
        let mut last = None;
        for _ in 0..TURNS {
            let mut decisions = self.decide(request);
            let refused = decisions.iter().any(|decision| decision.step.is_none());
            if refused && request.fail_fast {
                for decision in decisions.iter_mut().filter(|decision| decision.step.is_some()) {
                    decision.applied.outcome = Outcome::Withheld;
                }
                return decisions.into_iter().map(|decision| decision.applied).collect();
            }
            let steps: Vec<Step> = decisions
                .iter_mut()
                .filter_map(|decision| decision.step.take())
                .collect();
            let written = self.commit(&steps, request.dry_run, Origin::Client).await;
            let error = match written {
                Ok(objects) => {
                    let mut objects = objects.into_iter();
                    let answer = decisions.into_iter().map(|Decision { mut applied, .. }| {
                        if !matches!(applied.outcome, Outcome::Refused(_)) {
                            applied.object = objects.next();
                        }
                        applied
                    });
                    return answer.collect();
                }
                Err(Failed::Refused(error)) => error,
                Err(raced) => {
                    last = Some((decisions, raced.into_error()));
                    continue;
                }
            };
            return refuse_rest(decisions, &error);
        }
        last.map(|(decisions, error)| refuse_rest(decisions, &error))
            .unwrap_or_default()
    }

    /// What each object of the batch would come to, as things are now.
    fn decide(&self, request: &ApplyRequest) -> Vec<Decision> {
        let snapshot = self.snapshot();
        let mut batch = Batch {
            registry: self,
            request,
            snapshot: &snapshot,
            seen: BTreeSet::new(),
            rooms: BTreeSet::new(),
        };
        // Namespaces first, wherever they are in the batch: what is in them counts on them.
        let is_room = |value: &Value| value["kind"] == Kind::Namespace.info().kind;
        let mut order: Vec<usize> = (0..request.objects.len()).collect();
        order.sort_by_key(|index| !is_room(&request.objects[*index]));
        let mut decided: BTreeMap<usize, Decision> = BTreeMap::new();
        for index in order {
            decided.insert(index, batch.object(&request.objects[index]));
        }
        decided.into_values().collect()
    }
}

fn refuse_rest(decisions: Vec<Decision>, error: &ApiError) -> Vec<Applied> {
    let answers = decisions.into_iter().map(|Decision { mut applied, .. }| {
        if !matches!(applied.outcome, Outcome::Refused(_)) {
            applied.outcome = Outcome::Refused(error.clone());
        }
        applied
    });
    answers.collect()
}

struct Batch<'a> {
    registry: &'a Registry,
    request: &'a ApplyRequest,
    snapshot: &'a Snapshot,
    /// What came before in the batch.
    seen: BTreeSet<(Kind, String, String)>,
    /// Namespaces that the batch creates.
    rooms: BTreeSet<String>,
}

impl Batch<'_> {
    fn object(&mut self, value: &Value) -> Decision {
        let mut value = value.clone();
        let mut applied = Applied {
            kind: None,
            namespace: String::new(),
            name: text(metadata(object(&mut value)), "name").to_owned(),
            outcome: Outcome::Unchanged,
            object: None,
        };
        match self.decide(value, &mut applied) {
            Ok(step) => {
                applied.outcome = match (&step.before, &step.next) {
                    (None, _) => Outcome::Created,
                    (Some(_), Next::Same) => Outcome::Unchanged,
                    (Some(_), Next::Put(_) | Next::Status(_) | Next::Gone) => Outcome::Configured,
                };
                Decision {
                    applied,
                    step: Some(step),
                }
            }
            Err(error) => {
                applied.outcome = Outcome::Refused(error);
                Decision { applied, step: None }
            }
        }
    }

    fn decide(&mut self, mut value: Value, applied: &mut Applied) -> Result<Step, ApiError> {
        let kind = kind_of(&value)?;
        applied.kind = Some(kind);
        let fields = object(&mut value);
        fields.remove("status");
        let meta = metadata(fields);
        for field in [
            "uid",
            "resourceVersion",
            "creationTimestamp",
            "generation",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "managedFields",
            "generateName",
        ] {
            meta.remove(field);
        }
        let mut room = String::new();
        if kind.info().namespaced {
            room = match text(meta, "namespace") {
                "" => namespace::DEFAULT.to_owned(),
                given => given.to_owned(),
            };
            meta.insert("namespace".to_owned(), room.as_str().into());
        }
        applied.namespace.clone_from(&room);
        let before = find(self.snapshot, kind, &room, &applied.name);
        if !self.seen.insert((kind, room.clone(), applied.name.clone())) {
            let message = format!("{} is in this batch twice", shown(kind, &room, &applied.name));
            return Err(ApiError::bad_request(message).about(kind, &applied.name));
        }
        match before {
            Some(before) => self.change(before, value),
            None => self.creation(kind, &room, value),
        }
    }

    fn creation(&mut self, kind: Kind, room: &str, value: Value) -> Result<Step, ApiError> {
        let fields = managed(&value);
        let mut value = rules::create(kind, room, value, UnknownFields::Refuse, &self.registry.world)?;
        if kind.info().namespaced && !self.rooms.contains(room) {
            open_namespace(
                self.snapshot,
                room,
                kind,
                value["metadata"]["name"].as_str().unwrap_or_default(),
            )?;
        }
        value["metadata"]["managedFields"] = json!([self.entry(fields)]);
        let step = Step::create(kind, value);
        if kind == Kind::Namespace {
            self.rooms.insert(step.name.clone());
        }
        Ok(step)
    }

    fn change(&self, before: Object, value: Value) -> Result<Step, ApiError> {
        self.allowed(&before)?;
        let current = before.stored();
        let entries = &before.meta().managed_fields;
        let manager = &self.request.manager;
        let mine = entries
            .iter()
            .find(|entry| entry.operation == APPLY && entry.manager == *manager);
        let said = managed(&value);
        let merged = merged(&current, value, mine);
        let mut next = rules::update(&before, &current, merged, Part::Main, UnknownFields::Refuse)?;
        let remembered = mine.is_some_and(|mine| mine.fields_v1.as_ref() == Some(&said));
        let others = entries
            .iter()
            .any(|entry| entry.operation == APPLY && entry.manager != *manager);
        if (!remembered || others || matches!(next, Next::Put(_))) && next != Next::Gone {
            let mut value = match next {
                Next::Put(value) => value,
                Next::Same | Next::Status(_) | Next::Gone => current,
            };
            let kept = entries.iter().filter(|entry| entry.operation != APPLY);
            let mut all: Vec<Value> = kept
                .map(|entry| serde_json::to_value(entry).unwrap_or_default())
                .collect();
            all.push(self.entry(said));
            value["metadata"]["managedFields"] = all.into();
            next = Next::Put(value);
        }
        Ok(Step::change(before, next))
    }

    /// Whether this manager may change the object.
    fn allowed(&self, before: &Object) -> Result<(), ApiError> {
        let (kind, name) = (before.kind(), before.name());
        let what = shown(kind, before.namespace(), name);
        let refused = |message: String| Err(ApiError::new(StatusReason::Conflict, message).about(kind, name));
        if before.is_deleting() {
            return Err(rules::being_deleted(before));
        }
        if let Some(owner) = before.meta().controller() {
            let owner = format!("{} {}", owner.kind.to_lowercase(), owner.name);
            return refused(format!("{what} is made by {owner}; change that"));
        }
        match before.meta().manager() {
            Some(manager) if manager != self.request.manager && !self.request.take_over => {
                let who = self.manager(manager);
                refused(format!(
                    "{what} is managed by {who}; edit it there, or take over with --take-over"
                ))
            }
            _ => Ok(()),
        }
    }

    /// A manager, for people: a source with its directory.
    fn manager(&self, manager: &str) -> String {
        if manager == PERSON {
            return "`cube apply`".to_owned();
        }
        let source = find(self.snapshot, Kind::Source, "", manager);
        match source.and_then(|source| source.typed::<Source>().spec.directory.clone()) {
            Some(directory) => format!("source {manager} ({directory})"),
            None => format!("source {manager}"),
        }
    }

    fn entry(&self, fields: Value) -> Value {
        json!({
            "manager": self.request.manager, "operation": APPLY, "apiVersion": API_VERSION,
            "time": time::format(self.registry.world.now()), "fieldsType": "FieldsV1", "fieldsV1": fields,
        })
    }
}

fn kind_of(value: &Value) -> Result<Kind, ApiError> {
    let (version, kind) = (value["apiVersion"].as_str(), value["kind"].as_str());
    if version != Some(API_VERSION) {
        let given = version.unwrap_or("nothing");
        return Err(ApiError::bad_request(format!(
            "apiVersion must be `{API_VERSION}`, given {given}"
        )));
    }
    let kind = kind.unwrap_or_default();
    match Kind::from_kind(kind) {
        Some(known) if known.info().manifest => Ok(known),
        Some(made) => {
            Err(ApiError::bad_request(format!("a {kind} is made by Cube itself and cannot be applied")).about(made, ""))
        }
        None => {
            let known: Vec<&str> = Kind::ALL
                .iter()
                .map(|kind| kind.info())
                .filter(|info| info.manifest)
                .map(|info| info.kind)
                .collect();
            let message = format!("there is no kind `{kind}`; there are: {}", known.join(", "));
            Err(ApiError::bad_request(message))
        }
    }
}

/// The object as it is to be: what is said, over what others have set.
fn merged(current: &Value, said: Value, mine: Option<&ManagedFields>) -> Value {
    let mut merged = said;
    let old = &current["metadata"];
    let meta = metadata(object(&mut merged));
    for field in ["labels", "annotations"] {
        let before = mine
            .and_then(|mine| mine.fields_v1.as_ref())
            .map(|fields| &fields["f:metadata"][format!("f:{field}")]);
        let was_mine = |key: &str| before.is_some_and(|before| !before[format!("f:{key}")].is_null());
        let others = old[field].as_object().into_iter().flatten();
        let mut all: Map<String, Value> = others
            .filter(|(key, _)| !was_mine(key))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        match meta.remove(field) {
            Some(Value::Object(said)) => all.extend(said),
            None | Some(Value::Null) => {}
            // Not a map: admission says so.
            Some(wrong) => {
                meta.insert(field.to_owned(), wrong);
                continue;
            }
        }
        if !all.is_empty() || old[field].is_object() {
            meta.insert(field.to_owned(), Value::Object(all));
        }
    }
    // Said, they are this; not said, they stay.
    for field in ["finalizers", "ownerReferences"] {
        if !meta.contains_key(field) && !old[field].is_null() {
            meta.insert(field.to_owned(), old[field].clone());
        }
    }
    merged
}

/// What a manifest sets, as Kubernetes writes such sets; a spec is one whole.
fn managed(value: &Value) -> Value {
    let mut fields = Map::new();
    let mut meta = Map::new();
    for field in ["labels", "annotations"] {
        let keys = value["metadata"][field].as_object().into_iter().flatten();
        let keys: Map<String, Value> = keys
            .filter(|(_, value)| !value.is_null())
            .map(|(key, _)| (format!("f:{key}"), json!({})))
            .collect();
        if !keys.is_empty() {
            meta.insert(format!("f:{field}"), Value::Object(keys));
        }
    }
    if !meta.is_empty() {
        fields.insert("f:metadata".to_owned(), Value::Object(meta));
    }
    let rest = value.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
    for name in rest.filter(|name| !matches!(*name, "apiVersion" | "kind" | "metadata" | "status")) {
        fields.insert(format!("f:{name}"), json!({}));
    }
    Value::Object(fields)
}
