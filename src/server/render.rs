//! Objects as bytes in the form that was asked for. What is plain is never parsed or written anew: stored bytes are joined.
use cube_api::{API_VERSION, kinds::Kind};
use serde_json::{Value, json};

use super::{
    accept::{Form, MetaVersion},
    pages::Place,
    params::Params,
    table::{Include, Table},
    target::{Api, Target},
};
use crate::{
    registry::{List, Object, WatchEvent},
    world::World,
};

/// How the objects of one request are shown.
#[derive(Clone)]
pub(super) struct Renderer {
    api: Api,
    kind: Kind,
    form: Form,
    include: Include,
    world: World,
}

impl Renderer {
    pub fn new(target: &Target, form: Form, params: &Params, world: &World) -> Self {
        Self {
            api: target.api,
            kind: target.kind,
            form,
            include: Include::parse(params.get("includeObject")),
            world: world.clone(),
        }
    }

    /// One object.
    pub fn object(&self, object: &Object) -> Vec<u8> {
        let mut text = Vec::new();
        self.write(&mut text, object, true);
        text
    }

    /// A list, and where it goes on.
    pub fn list(&self, list: &List, rest: Option<Place>) -> Vec<u8> {
        let mut text = Vec::new();
        let mut head = json!({ "resourceVersion": list.revision.to_string() });
        if let Some(rest) = rest {
            head["continue"] = rest.token().into();
        }
        if let Form::Table(version) = self.form {
            let now = self.world.now();
            self.table(version).write(&mut text, &list.items, &head, now, true);
            return text;
        }
        let (version, kind) = match self.form {
            Form::Metadata(version) => (version.as_str(), "PartialObjectMetadata"),
            Form::Plain | Form::Table(_) => (self.api_version(), self.kind.info().kind),
        };
        text.extend_from_slice(
            format!(r#"{{"kind":"{kind}List","apiVersion":"{version}","metadata":{head},"items":["#).as_bytes(),
        );
        for (index, object) in list.items.iter().enumerate() {
            if index > 0 {
                text.push(b',');
            }
            self.write(&mut text, object, false);
        }
        text.extend_from_slice(b"]}");
        text
    }

    /// One line of a watch. The columns of a Table are said with its first.
    pub fn event(&self, text: &mut Vec<u8>, event: &WatchEvent, first: bool) {
        let word = match event {
            WatchEvent::Added(_) => "ADDED",
            WatchEvent::Modified(_) => "MODIFIED",
            WatchEvent::Deleted(_) => "DELETED",
        };
        text.extend_from_slice(format!(r#"{{"type":"{word}","object":"#).as_bytes());
        self.write(text, event.object(), first);
        text.extend_from_slice(b"}\n");
    }

    /// A bookmark: everything up to here was told.
    pub fn bookmark(&self, revision: u64, ends_initial: bool) -> Vec<u8> {
        let (version, kind) = match self.form {
            Form::Plain => (self.api_version(), self.kind.info().kind),
            Form::Table(version) => (version.as_str(), "Table"),
            Form::Metadata(version) => (version.as_str(), "PartialObjectMetadata"),
        };
        let mut object = json!({
            "kind": kind, "apiVersion": version,
            "metadata": { "resourceVersion": revision.to_string(), "creationTimestamp": null },
        });
        match self.form {
            // A list's metadata has no annotations, but the end of the initial events is looked for there in any form.
            Form::Table(_) => {
                object["columnDefinitions"] = json!([]);
                object["rows"] = json!([]);
            }
            Form::Plain | Form::Metadata(_) => {}
        }
        if ends_initial {
            object["metadata"]["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        }
        line(&json!({ "type": "BOOKMARK", "object": object }))
    }

    fn write(&self, text: &mut Vec<u8>, object: &Object, with_columns: bool) {
        match self.form {
            Form::Plain => self.plain(text, object),
            Form::Table(version) => {
                let now = self.world.now();
                let head = json!({ "resourceVersion": object.revision().to_string() });
                self.table(version).write(text, [object], &head, now, with_columns);
            }
            Form::Metadata(version) => metadata_of(text, object, version),
        }
    }

    /// Writes the object's text, said to be of the group that it was asked for under.
    fn plain(&self, text: &mut Vec<u8>, object: &Object) {
        let own = format!(r#"{{"apiVersion":"{API_VERSION}""#);
        let begin = text.len();
        object.write_json(text);
        if self.api == Api::Core && text[begin..].starts_with(own.as_bytes()) {
            let core = format!(r#"{{"apiVersion":"{}""#, self.api_version());
            text.splice(begin..begin + own.len(), core.into_bytes());
        }
    }

    fn table(&self, version: MetaVersion) -> Table {
        Table {
            kind: self.kind,
            version,
            include: self.include,
        }
    }

    fn api_version(&self) -> &'static str {
        match self.api {
            Api::Cube => API_VERSION,
            Api::Core => "v1",
        }
    }
}

/// What ends a watch that cannot go on.
pub(super) fn error(status: &Value) -> Vec<u8> {
    line(&json!({ "type": "ERROR", "object": status }))
}

fn line(value: &Value) -> Vec<u8> {
    let mut text = value.to_string().into_bytes();
    text.push(b'\n');
    text
}

/// Writes an object's metadata alone.
pub(super) fn metadata_of(text: &mut Vec<u8>, object: &Object, version: MetaVersion) {
    let mut meta = serde_json::to_value(object.meta()).unwrap_or_default();
    meta["resourceVersion"] = object.revision().to_string().into();
    let version = version.as_str();
    text.extend_from_slice(
        format!(r#"{{"kind":"PartialObjectMetadata","apiVersion":"{version}","metadata":{meta}}}"#).as_bytes(),
    );
}
