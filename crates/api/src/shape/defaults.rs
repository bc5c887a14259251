//! Filling in what was left out, for `--show-defaults`. What is stored stays as it was written.
use serde_json::{Map, Value};

use super::{Node, Others, Shape};

impl Shape {
    /// The value with every default that the schema states, at every depth that is there. A field whose type has no
    /// stated default stays absent.
    pub fn fill_defaults(&self, value: &Value) -> Value {
        self.fill(&self.nodes[self.root], value)
    }

    fn fill(&self, node: &Node, value: &Value) -> Value {
        match value {
            Value::Object(fields) => Value::Object(self.fill_object(node, fields)),
            Value::Array(items) => {
                let fill_item = |item: &Value| match node.item {
                    Some(id) => self.fill(&self.nodes[id], item),
                    None => item.clone(),
                };
                Value::Array(items.iter().map(fill_item).collect())
            }
            other => other.clone(),
        }
    }

    fn fill_object(&self, node: &Node, given: &Map<String, Value>) -> Map<String, Value> {
        let node = match self.variant(node, given) {
            Ok(node) => node,
            Err(_) => return given.clone(),
        };
        let mut filled = Map::new();
        for (key, value) in given {
            let value = match (node.field(key), node.others) {
                (Some(field), _) => self.fill(&self.nodes[field.node], value),
                (None, Others::Of(id)) => self.fill(&self.nodes[id], value),
                (None, _) => value.clone(),
            };
            filled.insert(key.clone(), value);
        }
        for field in &node.fields {
            if let Some(default) = &field.default
                && filled.get(&field.name).is_none_or(Value::is_null)
                && !default.is_null()
            {
                filled.insert(field.name.clone(), self.fill(&self.nodes[field.node], default));
            }
        }
        filled
    }
}
