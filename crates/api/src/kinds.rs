//! The one table of all kinds: names, scope, subresources, schema.
//!
//! To add a kind: a file with its struct, a row in [`kinds!`] below, its checks in `validate`.
use std::{any::Any, sync::OnceLock};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{
    Deserialize, Serialize,
    de::{DeserializeOwned, value::MapDeserializer},
};
use serde_json::{Value, de::SliceRead, json};

use crate::{
    API_VERSION, deployment::Deployment, event::Event, meta::ObjectMeta, namespace::Namespace, node::Node,
    revision::Revision, settings::Settings, shape::Shape, source::Source, task::Task, typeless::Typeless,
};

/// What is the same for all objects of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindInfo {
    /// The kind. Example: `Task`.
    pub kind: &'static str,
    /// Its plural, as in paths. Example: `tasks`.
    pub plural: &'static str,
    /// Its singular. Example: `task`.
    pub singular: &'static str,
    /// Short names for the command line.
    pub short_names: &'static [&'static str],
    /// Whether its objects are in namespaces.
    pub namespaced: bool,
    /// Whether it has a `status` subresource.
    pub has_status: bool,
    /// Whether it has a `scale` subresource.
    pub has_scale: bool,
    /// Whether people write manifests of it; others are made by Cube alone.
    pub manifest: bool,
}

/// A typed object of a kind of Cube's.
pub trait Resource: Serialize + DeserializeOwned + JsonSchema + Clone + Default + Send + Sync + 'static {
    /// Its kind.
    const KIND: Kind;

    /// Its metadata.
    fn meta(&self) -> &ObjectMeta;

    /// Its metadata, to change.
    fn meta_mut(&mut self) -> &mut ObjectMeta;

    /// The whole object as JSON, with `apiVersion` and `kind`.
    fn to_value(&self) -> Value {
        let mut value = serde_json::to_value(self).unwrap_or_default();
        if let Value::Object(fields) = &mut value {
            fields.insert("apiVersion".to_owned(), API_VERSION.into());
            fields.insert("kind".to_owned(), Self::KIND.info().kind.into());
        }
        value
    }

    /// Reads an object from JSON; `apiVersion` and `kind` are passed over.
    ///
    /// # Errors
    /// Where the JSON has not the kind's shape.
    fn from_value(mut value: Value) -> Result<Self, serde_json::Error> {
        if let Value::Object(fields) = &mut value {
            fields.remove("apiVersion");
            fields.remove("kind");
        }
        serde_json::from_value(value)
    }

    /// The same of JSON that is still needed.
    ///
    /// # Errors
    /// Where the JSON has not the kind's shape.
    fn read(value: &Value) -> Result<Self, serde_json::Error> {
        let Value::Object(fields) = value else {
            return Self::deserialize(value);
        };
        let fields = fields.iter().map(|(name, field)| (name.as_str(), field));
        let fields = fields.filter(|(name, _)| !matches!(*name, "apiVersion" | "kind"));
        Self::deserialize(MapDeserializer::new(fields))
    }
}

/// Reads an object from its text; `apiVersion` and `kind` are passed over.
fn read_text<'a, K: Resource>(
    text: &'a [u8],
    read: impl for<'b> FnOnce(Typeless<&'b mut Text<'a>>) -> Result<K, serde_json::Error>,
) -> Result<Box<dyn AnyResource>, serde_json::Error> {
    let mut reader = Text::from_slice(text);
    let object = read(Typeless(&mut reader))?;
    reader.end()?;
    Ok(Box::new(object))
}

type Text<'a> = serde_json::Deserializer<SliceRead<'a>>;

/// An object of whatever kind, decoded.
pub trait AnyResource: Any + Send + Sync {
    /// Its metadata.
    fn meta(&self) -> &ObjectMeta;

    /// As its type, for a downcast.
    fn as_any(&self) -> &dyn Any;
}

impl<K: Resource> AnyResource for K {
    fn meta(&self) -> &ObjectMeta {
        Resource::meta(self)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident {
        plural: $plural:literal, singular: $singular:literal, short: $short:expr,
        namespaced: $namespaced:literal, status: $status:literal, scale: $scale:literal, manifest: $manifest:literal,
    })*) => {
        /// A kind of object.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind { $($(#[$doc])* $name,)* }

        impl Kind {
            /// All kinds, in the order in which objects that depend on others come after them.
            pub const ALL: &[Kind] = &[$(Kind::$name,)*];

            /// What is the same for all its objects.
            pub const fn info(self) -> &'static KindInfo {
                match self { $(Kind::$name => &KindInfo {
                    kind: stringify!($name), plural: $plural, singular: $singular, short_names: &$short,
                    namespaced: $namespaced, has_status: $status, has_scale: $scale, manifest: $manifest,
                },)* }
            }

            /// The object in JSON is read as its type and written again: fields that say nothing are gone.
            ///
            /// # Errors
            /// Where the JSON has not the kind's shape.
            pub fn normalize(self, value: Value) -> Result<Value, serde_json::Error> {
                match self { $(Kind::$name => <$name as Resource>::from_value(value).map(|object| object.to_value()),)* }
            }

            /// The object in JSON as its type, defaults filled in.
            ///
            /// # Errors
            /// Where the JSON has not the kind's shape.
            pub fn decode(self, value: &Value) -> Result<Box<dyn AnyResource>, serde_json::Error> {
                match self { $(Kind::$name => <$name as Resource>::read(value)
                    .map(|object| Box::new(object) as Box<dyn AnyResource>),)* }
            }

            /// The same of the object's text.
            ///
            /// # Errors
            /// Where the text is no JSON, or has not the kind's shape.
            pub fn decode_text(self, text: &[u8]) -> Result<Box<dyn AnyResource>, serde_json::Error> {
                match self {
                    // There may be more of them than of all others together.
                    Kind::Task => read_text(text, |text| Task::read_shared(text)),
                    $(#[allow(unreachable_patterns, reason = "one kind is named above")]
                    Kind::$name => read_text::<$name>(text, |text| $name::deserialize(text)),)*
                }
            }

            /// An object of the kind that says nothing.
            pub fn empty(self) -> Box<dyn AnyResource> {
                match self { $(Kind::$name => Box::new($name::default()),)* }
            }

            fn type_schema(self, generator: &mut SchemaGenerator) -> Schema {
                match self { $(Kind::$name => generator.root_schema_for::<$name>(),)* }
            }
        }

        $(impl Resource for $name {
            const KIND: Kind = Kind::$name;
            fn meta(&self) -> &ObjectMeta { &self.metadata }
            fn meta_mut(&mut self) -> &mut ObjectMeta { &mut self.metadata }
        })*
    };
}

kinds! {
    /// A room of names, and of one network.
    Namespace { plural: "namespaces", singular: "namespace", short: ["ns"],
        namespaced: false, status: true, scale: false, manifest: true, }
    /// A machine with an engine.
    Node { plural: "nodes", singular: "node", short: ["no"],
        namespaced: false, status: true, scale: false, manifest: false, }
    /// What holds for the whole cluster.
    Settings { plural: "settings", singular: "settings", short: [],
        namespaced: false, status: false, scale: false, manifest: true, }
    /// Where manifests come from.
    Source { plural: "sources", singular: "source", short: [],
        namespaced: false, status: true, scale: false, manifest: false, }
    /// So many Tasks of one template, kept running.
    Deployment { plural: "deployments", singular: "deployment", short: ["deploy"],
        namespaced: true, status: true, scale: true, manifest: true, }
    /// A Deployment's template as it was.
    Revision { plural: "revisions", singular: "revision", short: ["rev"],
        namespaced: true, status: false, scale: false, manifest: false, }
    /// One container, run once or kept running, on one node.
    Task { plural: "tasks", singular: "task", short: ["t"],
        namespaced: true, status: true, scale: false, manifest: true, }
    /// Something that happened to an object.
    Event { plural: "events", singular: "event", short: ["ev"],
        namespaced: true, status: false, scale: false, manifest: false, }
}

impl Kind {
    /// The kind that is written so in manifests. Example: `Task`.
    pub fn from_kind(kind: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|candidate| candidate.info().kind == kind)
    }

    /// The kind with that plural, as in paths and keys.
    pub fn from_plural(plural: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|candidate| candidate.info().plural == plural)
    }

    /// The kind that a person means: plural, singular, kind or short name, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        Self::ALL.iter().copied().find(|candidate| {
            let info = candidate.info();
            info.plural == name || info.singular == name || info.short_names.contains(&name.as_str())
        })
    }

    /// What its JSON may look like; compiled by the first who asks.
    pub fn shape(self) -> &'static Shape {
        static SHAPES: [OnceLock<Shape>; Kind::ALL.len()] = [const { OnceLock::new() }; Kind::ALL.len()];
        SHAPES[self as usize].get_or_init(|| Shape::from_schema(&self.schema()))
    }

    /// Its JSON Schema (2020-12), for editors and for OpenAPI: the whole object with `apiVersion` and `kind`.
    pub fn schema(self) -> Value {
        let settings = schemars::generate::SchemaSettings::draft2020_12();
        let mut schema = self.type_schema(&mut settings.into_generator()).to_value();
        if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
            properties.insert(
                "apiVersion".to_owned(),
                json!({ "const": API_VERSION, "type": "string", "description": "Group and version: `cube/v1`." }),
            );
            properties.insert(
                "kind".to_owned(),
                json!({ "const": self.info().kind, "type": "string", "description": "What it is." }),
            );
        }
        if let Some(fields) = schema.as_object_mut() {
            let required = fields.entry("required").or_insert_with(|| json!([]));
            if let Some(required) = required.as_array_mut() {
                required.splice(0..0, ["apiVersion".into(), "kind".into(), "metadata".into()]);
                required.dedup();
            }
        }
        schema
    }
}
