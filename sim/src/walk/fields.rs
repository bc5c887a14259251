//! Which values a field is tried with: what its schema says is good, at the bounds too, and what it says is not.
use std::collections::BTreeSet;

use serde_json::{Value, json};

/// One step of the walk: a base with one field changed.
#[derive(Clone, Debug)]
pub struct Step {
    /// The field, as a JSON pointer into the object.
    pub field: String,
    /// What the object then is.
    pub object: Value,
    /// What the schema says of the value: whether it may be.
    pub allowed: bool,
}

/// Goes through a base object along its schema.
pub struct Walker<'a> {
    schema: &'a Value,
    base: &'a Value,
    /// The steps that were found.
    pub steps: Vec<Step>,
    /// Fields that the base has, each as `Type.field`.
    pub met: BTreeSet<String>,
}

impl<'a> Walker<'a> {
    /// Finds the steps for the base's spec.
    pub fn of(schema: &'a Value, base: &'a Value) -> Self {
        let mut walker = Self {
            schema,
            base,
            steps: Vec::new(),
            met: BTreeSet::new(),
        };
        let spec = &schema["properties"]["spec"];
        walker.object(&schemas(schema, spec), "/spec");
        walker
    }

    fn object(&mut self, alternatives: &[(String, &'a Value)], at: &str) {
        let there = self.base.pointer(at).and_then(Value::as_object);
        let Some(there) = there.cloned() else { return };
        for (name, schema) in alternatives {
            for (field, own) in schema["properties"].as_object().into_iter().flatten() {
                if !there.contains_key(field) {
                    continue;
                }
                self.met.insert(format!("{name}.{field}"));
                let required = schema["required"]
                    .as_array()
                    .is_some_and(|all| all.iter().any(|one| one == field));
                let at = format!("{at}/{}", field.replace('/', "~1"));
                self.leave_out(&at, !required);
                self.field(own, &at);
            }
            if schema["additionalProperties"] == json!(false) {
                self.add(&format!("{at}/nonsense"), json!(1), false);
            }
            if schema["additionalProperties"].is_object() {
                for key in there.keys() {
                    let at = format!("{at}/{}", key.replace('/', "~1"));
                    self.field(&schema["additionalProperties"], &at);
                }
            }
        }
    }

    fn field(&mut self, schema: &'a Value, at: &str) {
        let alternatives = schemas(self.schema, schema);
        let takes = |kind: &str| alternatives.iter().any(|(_, schema)| is_of(schema, kind));
        let consts: Vec<&Value> = alternatives
            .iter()
            .filter_map(|(_, schema)| schema.get("const"))
            .collect();
        for value in &consts {
            self.change(at, (*value).clone(), true);
        }
        if !consts.is_empty() {
            self.change(at, json!("Nonsense"), false);
        }
        for (_, schema) in alternatives.iter().filter(|(_, schema)| schema.get("const").is_none()) {
            if is_of(schema, "integer") {
                self.numbers(schema, at, takes("number"));
            } else if is_of(schema, "string") {
                let (good, bad) = texts(schema["format"].as_str().unwrap_or_default());
                good.iter().for_each(|text| self.change(at, json!(text), true));
                bad.iter().for_each(|text| self.change(at, json!(text), false));
            } else if is_of(schema, "boolean") {
                self.change(at, json!(true), true);
                self.change(at, json!(false), true);
            } else if is_of(schema, "array") {
                self.items(schema, at);
            }
        }
        if takes("null") {
            self.change(at, Value::Null, true);
        }
        // A map may have any key; an object has its own.
        if !takes("object") {
            self.change(at, json!({ "nonsense": [] }), false);
        }
        if !takes("array") {
            self.change(at, json!([["nonsense"]]), false);
        }
        self.object(&alternatives, at);
    }

    fn numbers(&mut self, schema: &Value, at: &str, fractions: bool) {
        let bound = |name: &str| schema[name].as_i64();
        let (least, most) = (bound("minimum"), bound("maximum"));
        for value in [least, most].into_iter().flatten() {
            self.change(at, json!(value), true);
        }
        if let Some(below) = least.and_then(|least| least.checked_sub(1)) {
            self.change(at, json!(below), false);
        }
        if let Some(above) = most.and_then(|most| most.checked_add(1)) {
            self.change(at, json!(above), false);
        }
        if !fractions {
            self.change(at, json!(1.5), false);
        }
        self.change(at, json!("a number"), false);
    }

    fn items(&mut self, schema: &'a Value, at: &str) {
        let there = self
            .base
            .pointer(at)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        self.change(at, json!([]), schema["minItems"].as_u64().unwrap_or_default() == 0);
        if let Some(first) = there.first() {
            // The same twice: some lists are sets, which their schemas do not say.
            self.change(at, json!([first, first]), true);
        }
        for n in 0..there.len() {
            self.field(&schema["items"], &format!("{at}/{n}"));
        }
    }

    /// A change to what the base has there; the base itself is none.
    fn change(&mut self, at: &str, value: Value, allowed: bool) {
        if self.base.pointer(at) == Some(&value) {
            return;
        }
        let mut object = self.base.clone();
        if let Some(place) = object.pointer_mut(at) {
            *place = value;
            self.push(at, object, allowed);
        }
    }

    fn add(&mut self, at: &str, value: Value, allowed: bool) {
        let Some((parent, field)) = at.rsplit_once('/') else {
            return;
        };
        let mut object = self.base.clone();
        if let Some(fields) = object.pointer_mut(parent).and_then(Value::as_object_mut) {
            fields.insert(field.to_owned(), value);
            self.push(at, object, allowed);
        }
    }

    fn leave_out(&mut self, at: &str, allowed: bool) {
        let Some((parent, field)) = at.rsplit_once('/') else {
            return;
        };
        let mut object = self.base.clone();
        if let Some(fields) = object.pointer_mut(parent).and_then(Value::as_object_mut) {
            fields.remove(&field.replace("~1", "/"));
            self.push(at, object, allowed);
        }
    }

    fn push(&mut self, at: &str, object: Value, allowed: bool) {
        let field = at.to_owned();
        self.steps.push(Step { field, object, allowed });
    }
}

/// All fields below a kind's spec, each as `Type.field`: those of a type that is used in many places count once.
pub fn all(schema: &Value) -> BTreeSet<String> {
    fn look<'a>(whole: &'a Value, schema: &'a Value, fields: &mut BTreeSet<String>) {
        for (name, schema) in schemas(whole, schema) {
            let properties = schema["properties"].as_object().into_iter().flatten();
            for (field, own) in properties {
                if fields.insert(format!("{name}.{field}")) {
                    look(whole, own, fields);
                }
            }
            for inner in ["items", "additionalProperties"] {
                if schema[inner].is_object() {
                    look(whole, &schema[inner], fields);
                }
            }
        }
    }
    let mut fields = BTreeSet::new();
    look(schema, &schema["properties"]["spec"], &mut fields);
    fields
}

/// The schemas that a value may follow, each with the name of its type (or none).
fn schemas<'a>(whole: &'a Value, schema: &'a Value) -> Vec<(String, &'a Value)> {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/")) {
        let found = schemas(whole, &whole["$defs"][name]).into_iter();
        return found
            .map(|(inner, schema)| (if inner.is_empty() { name.to_owned() } else { inner }, schema))
            .collect();
    }
    let branches = ["anyOf", "oneOf"]
        .into_iter()
        .filter_map(|of| schema[of].as_array())
        .flatten();
    let branches: Vec<_> = branches.flat_map(|branch| schemas(whole, branch)).collect();
    if branches.is_empty() {
        vec![(String::new(), schema)]
    } else {
        branches
    }
}

fn is_of(schema: &Value, kind: &str) -> bool {
    match &schema["type"] {
        Value::String(own) => own == kind,
        Value::Array(all) => all.iter().any(|own| own == kind),
        _ => false,
    }
}

/// Good texts of a format, and bad ones.
fn texts(format: &str) -> (&'static [&'static str], &'static [&'static str]) {
    match format {
        "dns-label" => (&["a", "a-1"], &["", "-a", "A", "a.b", "a_b", "a/b"]),
        "dns-subdomain" => (&["a", "a-1.b"], &["", "-a", "A", "a_b", "../a", "a..b"]),
        "label-key" => (&["a", "example.com/a"], &["", "-a", "a/b/c", "a b"]),
        "env-name" => (&["A", "a_1"], &["", "A=B", "a\u{0}b"]),
        "image" => (&["app:1", "missing:1"], &["", "a b", "http://a", "UPPER"]),
        "quantity" => (&["1", "100m", "1Gi"], &["", "-1", "1Zi", "one"]),
        "absolute-path" => (&["/a", "/a/b"], &["", "a", "../a", "/a/../b"]),
        "int-or-percent" => (&["0%", "100%"], &["", "-1%", "one", "1.5%"]),
        "" => (&["", "x", "ü", "a b"], &[]),
        other => unreachable!("{other} is a format without values to try: give it some"),
    }
}
