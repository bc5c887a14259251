//! What a kind's JSON may look like, compiled from its schema once and then asked on every write.
//!
//! Owns the check of form: unknown and missing fields, types, enums, formats, ranges. It collects every error. It never
//! knows rules between fields (`validate` has those), nor text or places (the manifest reader has those).
//! Read [`Shape`] first.
//!
//! ```text
//! schemars ─► JSON Schema ─► Shape::from_schema ─► check          (a write: cleaned value, all errors)
//!                                              ├─► fill_defaults  (--show-defaults)
//!                                              └─► expected       (manifest: what type is due here?)
//! ```
//!
//! What is understood of JSON Schema 2020-12: `$ref` to `$defs`, `type` (also a list), `properties`, `required`,
//! `additionalProperties`, `propertyNames.format`, `items`, `enum`, `const`, `oneOf` and `anyOf`, `allOf` of one,
//! `minimum` and `maximum` (also those that an integer `format` implies), `minLength`, `maxLength`, `minItems`,
//! `maxItems`, `uniqueItems` of strings, `default`, and the `format`s of [`formats`]. `pattern` is for editors alone:
//! say the same by a `format`.
mod check;
mod compile;
mod defaults;
pub mod formats;
mod nearest;

#[cfg(test)]
mod tests;

pub use check::{Checked, UnknownFields};
pub use nearest::nearest;

use formats::Format;
use serde_json::Value;

/// The form of a kind's JSON. Cheap to share, never changes.
#[derive(Debug)]
pub struct Shape {
    nodes: Vec<Node>,
    root: NodeId,
}

type NodeId = usize;

/// What may stand at one place. Several of its parts hold when a place takes several types.
#[derive(Clone, Debug, Default)]
struct Node {
    /// No type at all: anything may stand here.
    types: Types,
    /// Sorted by name.
    fields: Vec<Field>,
    /// Keys that are none of `fields`.
    others: Others,
    key_format: Option<&'static Format>,
    item: Option<NodeId>,
    /// If not empty, a text must be one of these.
    choices: Vec<String>,
    format: Option<&'static Format>,
    minimum: Option<i128>,
    maximum: Option<i128>,
    min_length: usize,
    max_length: Option<usize>,
    min_items: usize,
    max_items: Option<usize>,
    unique_items: bool,
    /// Alternatives of an object; its `fields` are empty then.
    variants: Vec<NodeId>,
}

#[derive(Clone, Debug)]
struct Field {
    name: String,
    node: NodeId,
    required: bool,
    default: Option<Value>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Others {
    #[default]
    Anything,
    Refused,
    Of(NodeId),
}

/// A JSON type, as schemas tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonType {
    /// `null`.
    Null,
    /// `true` or `false`.
    Boolean,
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// Text.
    String,
    /// A list.
    Array,
    /// A map.
    Object,
}

/// A set of types; empty means any.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Types(u8);

impl Types {
    fn add(&mut self, json_type: JsonType) {
        self.0 |= 1 << json_type as u8;
    }

    fn any(self) -> bool {
        self.0 == 0
    }

    fn has(self, json_type: JsonType) -> bool {
        self.any()
            || self.0 & (1 << json_type as u8) != 0
            || (json_type == JsonType::Integer && self.has_exactly(JsonType::Number))
    }

    fn has_exactly(self, json_type: JsonType) -> bool {
        self.0 & (1 << json_type as u8) != 0
    }
}

impl Node {
    fn field(&self, name: &str) -> Option<&Field> {
        let at = self
            .fields
            .binary_search_by(|field| field.name.as_str().cmp(name))
            .ok()?;
        Some(&self.fields[at])
    }
}

impl Shape {
    /// Compiles a JSON Schema as schemars writes it. What it does not understand allows everything.
    pub fn from_schema(schema: &Value) -> Shape {
        compile::compile(schema)
    }

    /// What is due at the root.
    pub fn expected(&self) -> Expected<'_> {
        Expected {
            shape: self,
            node: Some(&self.nodes[self.root]),
        }
    }
}

/// What is due at one place: the way through a [`Shape`] for a reader that must know types before it has values.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    shape: &'a Shape,
    node: Option<&'a Node>,
}

impl<'a> Expected<'a> {
    /// What is due at this key: a field's type, a free map's value, or anything.
    #[must_use]
    pub fn at_key(self, key: &str) -> Expected<'a> {
        let id = self
            .declared(key)
            .map(|field| field.node)
            .or(match self.node.map(|node| node.others) {
                Some(Others::Of(id)) => Some(id),
                _ => None,
            });
        self.to(id)
    }

    /// What is due for each item.
    #[must_use]
    pub fn item(self) -> Expected<'a> {
        self.to(self.node.and_then(|node| node.item))
    }

    /// Whether the key is a field's name, not one of a free map.
    pub fn is_field(self, key: &str) -> bool {
        self.declared(key).is_some() || self.node.is_some_and(|node| node.others == Others::Refused)
    }

    /// Whether anything may stand here.
    pub fn is_any(self) -> bool {
        self.node.is_none_or(|node| node.types.any())
    }

    /// Whether this type may stand here.
    pub fn takes(self, json_type: JsonType) -> bool {
        self.node.is_none_or(|node| node.types.has(json_type))
    }

    fn to(self, id: Option<NodeId>) -> Expected<'a> {
        Expected {
            shape: self.shape,
            node: id.map(|id| &self.shape.nodes[id]),
        }
    }

    fn declared(self, key: &str) -> Option<&'a Field> {
        let node = self.node?;
        let of_variant = || node.variants.iter().find_map(|id| self.shape.nodes[*id].field(key));
        node.field(key).or_else(of_variant)
    }
}
