//! From a JSON Schema to a [`Shape`]: references resolved, alternatives merged.
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Field, JsonType, Node, NodeId, Others, Shape, formats};

pub(super) fn compile(schema: &Value) -> Shape {
    let mut compiler = Compiler {
        document: schema,
        nodes: Vec::new(),
        seen: BTreeMap::new(),
    };
    let root = compiler.node("#").unwrap_or_else(|| compiler.push(Node::default()));
    Shape {
        nodes: compiler.nodes,
        root,
    }
}

struct Compiler<'a> {
    document: &'a Value,
    nodes: Vec<Node>,
    /// Node of each reference; entered before its content is read, so that a type may hold itself.
    seen: BTreeMap<&'a str, NodeId>,
}

impl<'a> Compiler<'a> {
    fn push(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// The node of a reference; none when it leads nowhere.
    fn node(&mut self, reference: &'a str) -> Option<NodeId> {
        if let Some(id) = self.seen.get(reference) {
            return Some(*id);
        }
        let schema = self.document.pointer(reference.strip_prefix('#')?)?;
        let id = self.push(Node::default());
        self.seen.insert(reference, id);
        self.nodes[id] = self.read(schema);
        Some(id)
    }

    fn place(&mut self, schema: &'a Value) -> NodeId {
        if let Some(id) = self.forwarded(schema) {
            return id;
        }
        let node = self.read(schema);
        self.push(node)
    }

    /// The node of a schema that says no more than a reference does: `$ref`, or `anyOf` of a `$ref` and `null`.
    /// (`null` in a field counts as absent whether or not the schema allows it.)
    fn forwarded(&mut self, schema: &'a Value) -> Option<NodeId> {
        if let Some(reference) = schema.get("$ref") {
            return self.node(reference.as_str()?);
        }
        let mut real = alternatives(schema).filter(|one| !is_null(one));
        match (real.next(), real.next()) {
            (Some(only), None) => self.forwarded(only),
            _ => None,
        }
    }

    fn read(&mut self, schema: &'a Value) -> Node {
        if let Some(id) = self.forwarded(schema) {
            return self.nodes[id].clone();
        }
        let Some(schema) = schema.as_object() else {
            return Node::default();
        };
        let mut node = Node::default();
        let types = match schema.get("type") {
            Some(Value::Array(several)) => several.as_slice(),
            Some(one) => std::slice::from_ref(one),
            None => &[],
        };
        for json_type in types.iter().filter_map(|name| json_type(name.as_str()?)) {
            node.types.add(json_type);
        }
        self.read_object(schema, &mut node);
        self.read_array(schema, &mut node);
        read_scalar(schema, &mut node);
        self.read_alternatives(schema, &mut node);
        node
    }

    fn read_object(&mut self, schema: &'a Map<String, Value>, node: &mut Node) {
        let required: Vec<&str> = schema
            .get("required")
            .and_then(Value::as_array)
            .map(|names| names.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        if let Some(Value::Object(properties)) = schema.get("properties") {
            for (name, property) in properties {
                node.fields.push(Field {
                    name: name.clone(),
                    node: self.place(property),
                    required: required.contains(&name.as_str()),
                    default: property.get("default").cloned(),
                });
            }
            node.fields.sort_by(|a, b| a.name.cmp(&b.name));
        }
        node.others = match schema
            .get("additionalProperties")
            .or_else(|| schema.get("unevaluatedProperties"))
        {
            Some(Value::Bool(false)) => Others::Refused,
            Some(of @ Value::Object(_)) => Others::Of(self.place(of)),
            _ => Others::Anything,
        };
        node.key_format = schema
            .get("propertyNames")
            .and_then(|names| formats::find(names.get("format")?.as_str()?));
    }

    fn read_array(&mut self, schema: &'a Map<String, Value>, node: &mut Node) {
        node.item = schema.get("items").map(|item| self.place(item));
        node.min_items = count(schema, "minItems").unwrap_or(0);
        node.max_items = count(schema, "maxItems");
        node.unique_items = schema.get("uniqueItems") == Some(&Value::Bool(true));
    }

    fn read_alternatives(&mut self, schema: &'a Map<String, Value>, node: &mut Node) {
        let mut objects = Vec::new();
        // One alternative of free text frees all text.
        let mut free_text = false;
        for keyword in ["anyOf", "oneOf", "allOf"] {
            for alternative in schema.get(keyword).and_then(Value::as_array).into_iter().flatten() {
                let alternative = self.read(alternative);
                if alternative.types.any() && alternative.choices.is_empty() {
                    return *node = Node::default();
                }
                free_text |= alternative.types.has_exactly(JsonType::String) && alternative.choices.is_empty();
                if alternative.types.has_exactly(JsonType::Object) {
                    objects.push(self.push(alternative.clone()));
                }
                merge(node, alternative);
            }
        }
        if objects.len() > 1 {
            node.fields.clear();
            node.others = Others::Anything;
            node.variants = objects;
        }
        if free_text {
            node.choices.clear();
        }
    }
}

/// What `anyOf`, `oneOf` and `allOf` of a schema hold.
fn alternatives(schema: &Value) -> impl Iterator<Item = &Value> {
    ["anyOf", "oneOf", "allOf"]
        .into_iter()
        .filter_map(|keyword| schema.get(keyword)?.as_array())
        .flatten()
}

fn is_null(schema: &Value) -> bool {
    schema.get("type").and_then(Value::as_str) == Some("null")
}

/// Takes over what an alternative allows. Bounds of both are kept where they are of different types (`anyOf` of an
/// integer and a text); of two of the same type the later one's hold.
fn merge(node: &mut Node, from: Node) {
    node.types.0 |= from.types.0;
    node.choices.extend(from.choices);
    node.format = from.format.or(node.format);
    node.minimum = from.minimum.or(node.minimum);
    node.maximum = from.maximum.or(node.maximum);
    node.min_length = node.min_length.max(from.min_length);
    node.max_length = from.max_length.or(node.max_length);
    node.item = from.item.or(node.item);
    node.min_items = node.min_items.max(from.min_items);
    node.max_items = from.max_items.or(node.max_items);
    node.unique_items |= from.unique_items;
    if from.types.has_exactly(JsonType::Object) {
        node.fields = from.fields;
        node.others = from.others;
        node.key_format = from.key_format;
        node.variants = from.variants;
    }
}

fn read_scalar(schema: &Map<String, Value>, node: &mut Node) {
    let listed = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
    for choice in listed.chain(schema.get("const")).filter_map(Value::as_str) {
        node.types.add(JsonType::String);
        node.choices.push(choice.to_owned());
    }
    let format = schema.get("format").and_then(Value::as_str).unwrap_or_default();
    node.format = formats::find(format);
    let implied = integer_range(format);
    let bound = |keyword: &str| schema.get(keyword).and_then(whole);
    node.minimum = bound("minimum").or(implied.map(|(least, _)| least));
    node.maximum = bound("maximum").or(implied.map(|(_, most)| most));
    node.min_length = count(schema, "minLength").unwrap_or(0);
    node.max_length = count(schema, "maxLength");
}

fn count(schema: &Map<String, Value>, keyword: &str) -> Option<usize> {
    usize::try_from(schema.get(keyword)?.as_u64()?).ok()
}

fn whole(number: &Value) -> Option<i128> {
    number
        .as_i64()
        .map(i128::from)
        .or_else(|| number.as_u64().map(i128::from))
        .or_else(|| number.as_f64().map(|float| float as i128))
}

fn integer_range(format: &str) -> Option<(i128, i128)> {
    Some(match format {
        "int8" => (i8::MIN.into(), i8::MAX.into()),
        "int16" => (i16::MIN.into(), i16::MAX.into()),
        "int32" => (i32::MIN.into(), i32::MAX.into()),
        "int64" => (i64::MIN.into(), i64::MAX.into()),
        "uint8" => (0, u8::MAX.into()),
        "uint16" => (0, u16::MAX.into()),
        "uint32" => (0, u32::MAX.into()),
        "uint64" | "uint" => (0, u64::MAX.into()),
        _ => return None,
    })
}

fn json_type(name: &str) -> Option<JsonType> {
    Some(match name {
        "null" => JsonType::Null,
        "boolean" => JsonType::Boolean,
        "integer" => JsonType::Integer,
        "number" => JsonType::Number,
        "string" => JsonType::String,
        "array" => JsonType::Array,
        "object" => JsonType::Object,
        _ => return None,
    })
}
