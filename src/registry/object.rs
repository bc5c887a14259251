//! One stored object: its bytes as they were written, and once decoded, its type.
//!
//! It shares the store's record, so that reads, watches and loops hold one copy. It never changes: a write makes another.
use std::{fmt, sync::Arc};

use cube_api::{
    API_VERSION,
    event::ObjectReference,
    kinds::{AnyResource, Kind, Resource},
    meta::ObjectMeta,
};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::store::{Key, Record};

/// An object at a revision. Cloning is cheap.
#[derive(Clone)]
pub struct Object(Arc<Record>);

impl Object {
    /// The object of a record of the registry's.
    pub fn new(record: Arc<Record>) -> Self {
        Self(record)
    }

    /// An object that is in no store: the answer to a dry run.
    pub(super) fn unsaved(key: Key, bytes: Vec<u8>, revision: u64) -> Self {
        Self(Arc::new(Record::new(key, revision, bytes)))
    }

    /// The same object, told at another revision.
    pub(super) fn at(&self, revision: u64) -> Self {
        Self(Arc::new(Record::new(
            self.0.key.clone(),
            revision,
            self.0.bytes.clone(),
        )))
    }

    /// The record.
    pub fn record(&self) -> &Arc<Record> {
        &self.0
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        // Keys are made from kinds alone; a foreign one in the store's file has failed its checks before.
        Kind::from_plural(self.0.key.plural()).unwrap_or(Kind::Event)
    }

    /// Its namespace; empty for an object of the whole cluster.
    pub fn namespace(&self) -> &str {
        self.0.key.namespace()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.0.key.name()
    }

    /// Its uid.
    pub fn uid(&self) -> &str {
        &self.meta().uid
    }

    /// The revision of its last write.
    pub fn revision(&self) -> u64 {
        self.0.revision
    }

    /// Its metadata; `resourceVersion` is not in it, see [`Object::revision`].
    pub fn meta(&self) -> &ObjectMeta {
        self.decoded().meta()
    }

    /// Whether its deletion has begun.
    pub fn is_deleting(&self) -> bool {
        self.meta().is_deleting()
    }

    /// The object as its type, defaults filled in; decoded once.
    ///
    /// # Panics
    /// When it is of another kind: a bug of the caller's.
    pub fn typed<K: Resource>(&self) -> &K {
        match self.try_typed() {
            Some(typed) => typed,
            None => panic!("{self:?} was asked for as a {:?}", K::KIND),
        }
    }

    /// The object as its type, unless it is of another kind.
    pub fn try_typed<K: Resource>(&self) -> Option<&K> {
        self.decoded().as_any().downcast_ref()
    }

    /// The object as what all kinds have.
    pub fn resource(&self) -> &dyn AnyResource {
        self.decoded()
    }

    fn decoded(&self) -> &dyn AnyResource {
        let decoded = self.0.decoded(|record| {
            let kind = Kind::from_plural(record.key.plural()).unwrap_or(Kind::Event);
            kind.decode_text(&record.bytes).unwrap_or_else(|error| {
                // Admission lets nothing in that does not decode, and a newer release's data is not opened.
                tracing::error!(key = ?record.key, %error, "bug: a stored object cannot be decoded");
                kind.empty()
            })
        });
        &**decoded
    }

    /// The object as JSON text, `metadata.resourceVersion` included where it is stored.
    pub fn json(&self) -> Vec<u8> {
        let mut text = Vec::new();
        self.write_json(&mut text);
        text
    }

    /// Writes what [`Object::json`] gives.
    pub fn write_json(&self, text: &mut Vec<u8>) {
        let (bytes, head) = (&self.0.bytes, head(self.kind()).len());
        if self.revision() == 0 {
            // Never stored: a dry run's answer has no version that anyone could go by.
            text.extend_from_slice(bytes);
            return;
        }
        let version = format!("\"resourceVersion\":\"{}\"", self.revision());
        // With what follows it as a line of a watch.
        text.reserve(bytes.len() + version.len() + 4);
        text.extend_from_slice(&bytes[..head]);
        text.extend_from_slice(version.as_bytes());
        if bytes.get(head) != Some(&b'}') {
            text.push(b',');
        }
        text.extend_from_slice(&bytes[head..]);
    }

    /// The object as JSON, `metadata.resourceVersion` included where it is stored.
    pub fn to_value(&self) -> Value {
        let mut value = self.stored();
        if self.revision() > 0 {
            value["metadata"]["resourceVersion"] = self.revision().to_string().into();
        }
        value
    }

    /// The object as it is stored: without `metadata.resourceVersion`.
    pub(super) fn stored(&self) -> Value {
        serde_json::from_slice(&self.0.bytes).unwrap_or_default()
    }

    /// Its status as it is stored; none where it has none.
    pub(super) fn stored_status(&self) -> Option<&RawValue> {
        let parts: Parts = serde_json::from_slice(&self.0.bytes).unwrap_or_default();
        parts.status
    }

    /// Its bytes with that status, as JSON text, in the place of its own: the rest is neither read nor written anew.
    pub(super) fn with_status(&self, status: &str) -> Vec<u8> {
        let bytes = &self.0.bytes;
        let mut text = Vec::with_capacity(bytes.len() + status.len() + r#","status":"#.len());
        match self.stored_status() {
            Some(old) => {
                // It is a part of these bytes.
                let begin = old.get().as_ptr() as usize - bytes.as_ptr() as usize;
                text.extend_from_slice(&bytes[..begin]);
                text.extend_from_slice(status.as_bytes());
                text.extend_from_slice(&bytes[begin + old.get().len()..]);
            }
            None => {
                text.extend_from_slice(bytes.strip_suffix(b"}").unwrap_or(bytes));
                text.extend_from_slice(br#","status":"#);
                text.extend_from_slice(status.as_bytes());
                text.push(b'}');
            }
        }
        text
    }

    /// A reference to it, as in Events.
    pub fn reference(&self) -> ObjectReference {
        ObjectReference {
            api_version: API_VERSION.to_owned(),
            kind: self.kind().info().kind.to_owned(),
            namespace: self.namespace().to_owned(),
            name: self.name().to_owned(),
            uid: self.uid().to_owned(),
            resource_version: self.revision().to_string(),
            field_path: String::new(),
        }
    }
}

/// What is looked for in an object's text without reading it.
#[derive(Default, Deserialize)]
struct Parts<'a> {
    #[serde(borrow)]
    status: Option<&'a RawValue>,
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}@{}",
            shown(self.kind(), self.namespace(), self.name()),
            self.revision()
        )
    }
}

/// How people are shown which object: `task default/web`, `node a`.
pub fn shown(kind: Kind, namespace: &str, name: &str) -> String {
    let singular = kind.info().singular;
    match namespace {
        "" => format!("{singular} {name}"),
        namespace => format!("{singular} {namespace}/{name}"),
    }
}

/// The store's key of an object.
pub(crate) fn key(kind: Kind, namespace: &str, name: &str) -> Key {
    Key::new(kind.info().plural, namespace, name)
}

fn head(kind: Kind) -> String {
    let kind = kind.info().kind;
    format!(r#"{{"apiVersion":"{API_VERSION}","kind":"{kind}","metadata":{{"#)
}

/// The bytes of an object: first what it is, then its metadata, so that `resourceVersion` can be put in without parsing.
pub(super) fn encode(kind: Kind, value: &Value) -> Vec<u8> {
    let mut text = head(kind).into_bytes();
    let meta = serde_json::to_vec(&value["metadata"]).unwrap_or_default();
    text.extend_from_slice(meta.get(1..).unwrap_or(b"}"));
    for (name, part) in value.as_object().into_iter().flatten() {
        if matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
            continue;
        }
        text.push(b',');
        // Neither can fail: names are strings, and the parts came from JSON.
        let _ = serde_json::to_writer(&mut text, name);
        text.push(b':');
        let _ = serde_json::to_writer(&mut text, part);
    }
    text.push(b'}');
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_status_is_put_in_the_place_of_the_old_one() {
        let object = |status: Option<Value>| {
            let mut value = json!({
                "metadata": { "name": "t", "labels": { "status": "x" } },
                "spec": { "image": "x", "env": [{ "name": "A", "value": "{\"status\":1}" }] },
            });
            value
                .as_object_mut()
                .unwrap()
                .extend(status.map(|status| ("status".to_owned(), status)));
            let key = key(Kind::Task, "n", "t");
            Object::unsaved(key, encode(Kind::Task, &value), 1)
        };
        let new = json!({ "phase": "Running", "message": "}\",\\ \u{e9}" });
        for old in [
            None,
            Some(json!({})),
            Some(json!({ "phase": "Pending", "message": "\"}," })),
        ] {
            let changed = object(old).with_status(&new.to_string());
            assert_eq!(changed, &*object(Some(new.clone())).0.bytes);
        }
    }
}
