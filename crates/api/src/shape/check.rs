//! The check of a value against its [`Shape`]: everything that is wrong, in one walk.
use std::collections::BTreeSet;

use serde_json::{Map, Number, Value};

use super::{Field, JsonType, Node, NodeId, Others, Shape, nearest};
use crate::error::{FieldError, FieldPath, Reason, Segment};

/// What becomes of fields that the schema does not know. They are left out of the cleaned value either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownFields {
    /// Each is an error (`fieldValidation=Strict`).
    Refuse,
    /// Each is told in [`Checked::unknown`] only (`Warn`, `Ignore`).
    Drop,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// The value without unknown fields and without `null`s in fields. Of use only if there are no errors.
    pub value: Value,
    /// Everything that is wrong, in the order of the value (missing fields after those that are there).
    pub errors: Vec<FieldError>,
    /// The fields that the schema does not know.
    pub unknown: Vec<FieldPath>,
}

impl Shape {
    /// Checks a value that is still needed, and cleans a copy of it. `null` in a field counts as absent.
    pub fn check(&self, value: &Value, unknown_fields: UnknownFields) -> Checked {
        self.clean(value.clone(), unknown_fields)
    }

    /// Checks a value and cleans it where it is. `null` in a field counts as absent.
    pub fn clean(&self, mut value: Value, unknown_fields: UnknownFields) -> Checked {
        let mut check = Check {
            shape: self,
            unknown_fields,
            errors: Vec::new(),
            unknown: Vec::new(),
        };
        check.value(self.root, &mut value, &Step::Root);
        Checked {
            value,
            errors: check.errors,
            unknown: check.unknown,
        }
    }

    /// The node that says what fields an object has: itself, or the variant that the object chose.
    pub(super) fn variant<'a>(&'a self, node: &'a Node, given: &Map<String, Value>) -> Result<&'a Node, NoVariant<'a>> {
        if node.variants.is_empty() {
            return Ok(node);
        }
        let variants = || node.variants.iter().map(|id| &self.nodes[*id]);
        // Told apart by a field with one possible value each (`type: a`) …
        let tag_of = |variant: &'a Node| {
            let tag = |field: &&Field| field.required && self.nodes[field.node].choices.len() == 1;
            let field = variant.fields.iter().find(tag)?;
            Some((field.name.as_str(), self.nodes[field.node].choices[0].as_str()))
        };
        if let Some((name, _)) = variants().find_map(tag_of) {
            let text = given.get(name).and_then(Value::as_str);
            let chosen = variants().find(|variant| tag_of(variant).is_some_and(|(_, tag)| Some(tag) == text));
            return chosen.ok_or_else(|| NoVariant::Tag {
                name,
                choices: variants().filter_map(|variant| Some(tag_of(variant)?.1)).collect(),
            });
        }
        // … or by which field is there (`httpGet: {…}`).
        let key = |variant: &'a Node| variant.fields.iter().find(|field| field.required);
        let keys: Vec<&str> = variants()
            .filter_map(|variant| Some(key(variant)?.name.as_str()))
            .collect();
        let present = |variant: &&'a Node| key(variant).is_some_and(|field| given.contains_key(&field.name));
        let mut chosen = variants().filter(present);
        match (chosen.next(), chosen.next()) {
            (Some(one), None) => Ok(one),
            (Some(_), Some(_)) => Err(NoVariant::Several(keys)),
            (None, _) => Err(NoVariant::None(keys)),
        }
    }
}

/// Why an object is none of the variants that it may be.
pub(super) enum NoVariant<'a> {
    Tag { name: &'a str, choices: Vec<&'a str> },
    None(Vec<&'a str>),
    Several(Vec<&'a str>),
}

/// The way to where the walk is; a [`FieldPath`] is made of it only for an error.
enum Step<'a> {
    Root,
    Field(&'a Step<'a>, &'a str),
    Key(&'a Step<'a>, &'a str),
    Index(&'a Step<'a>, usize),
}

impl Step<'_> {
    fn path(&self) -> FieldPath {
        let mut segments = Vec::new();
        let mut step = self;
        loop {
            let (before, segment) = match step {
                Step::Root => break,
                Step::Field(before, name) => (before, Segment::Field((*name).to_owned())),
                Step::Key(before, key) => (before, Segment::Key((*key).to_owned())),
                Step::Index(before, index) => (before, Segment::Index(*index)),
            };
            segments.push(segment);
            step = before;
        }
        segments.reverse();
        FieldPath::from(segments)
    }
}

struct Check<'a> {
    shape: &'a Shape,
    unknown_fields: UnknownFields,
    errors: Vec<FieldError>,
    unknown: Vec<FieldPath>,
}

impl<'a> Check<'a> {
    fn value(&mut self, id: NodeId, value: &mut Value, at: &Step<'_>) {
        let shape = self.shape;
        let node = &shape.nodes[id];
        if node.types.any() {
            return;
        }
        let given = match value {
            Value::Null => JsonType::Null,
            Value::Bool(_) => JsonType::Boolean,
            Value::Number(number) if number.is_f64() => JsonType::Number,
            Value::Number(_) => JsonType::Integer,
            Value::String(_) => JsonType::String,
            Value::Array(_) => JsonType::Array,
            Value::Object(_) => JsonType::Object,
        };
        if !node.types.has(given) {
            return self.wrong_type(node, value, at);
        }
        match value {
            Value::String(text) => self.text(node, text, at),
            Value::Number(number) => self.number(node, number, at),
            Value::Array(items) => self.array(node, items, at),
            Value::Object(fields) => match shape.variant(node, fields) {
                Ok(node) => self.object(node, fields, at),
                Err(why) => self.no_variant(why, fields, at),
            },
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn error(&mut self, error: FieldError) {
        self.errors.push(error);
    }

    fn wrong_type(&mut self, node: &Node, value: &Value, at: &Step<'_>) {
        let error = FieldError::new(at.path(), Reason::TypeInvalid, format!("must be {}", due(node)));
        let mut error = error.given(shown(value));
        if let Value::String(text) = value {
            error.suggestion = meant(node, text);
        }
        self.error(error);
    }

    fn text(&mut self, node: &Node, text: &str, at: &Step<'_>) {
        let invalid = |reason, message: String| FieldError::new(at.path(), reason, message).given(shown_text(text));
        if !node.choices.is_empty() {
            if !node.choices.iter().any(|choice| choice == text) {
                let mut error = invalid(Reason::NotSupported, format!("must be {}", due(node)));
                error.suggestion = nearest(text, node.choices.iter().map(String::as_str)).map(str::to_owned);
                self.error(error);
            }
            return;
        }
        // Bytes bound characters, so that a long text is counted only if it might be too long.
        if let Some(most) = node.max_length
            && text.len() > most
            && text.chars().count() > most
        {
            let message = format!("must be at most {most} characters long");
            return self.error(invalid(Reason::TooLong, message));
        }
        if node.min_length > 0 && text.chars().take(node.min_length).count() < node.min_length {
            let message = match node.min_length {
                1 => "must not be empty".to_owned(),
                least => format!("must be at least {least} characters long"),
            };
            return self.error(invalid(Reason::Invalid, message));
        }
        if let Some(format) = node.format
            && !(format.matches)(text)
        {
            self.error(invalid(Reason::Invalid, format!("must be {}", format.what)));
        }
    }

    fn number(&mut self, node: &Node, number: &Number, at: &Step<'_>) {
        let below = |bound: i128| match (number.as_i64(), number.as_u64()) {
            (Some(whole), _) => i128::from(whole) < bound,
            (_, Some(whole)) => i128::from(whole) < bound,
            _ => number.as_f64().is_some_and(|float| float < bound as f64),
        };
        let above = |bound: i128| match (number.as_i64(), number.as_u64()) {
            (Some(whole), _) => i128::from(whole) > bound,
            (_, Some(whole)) => i128::from(whole) > bound,
            _ => number.as_f64().is_some_and(|float| float > bound as f64),
        };
        if !node.minimum.is_some_and(below) && !node.maximum.is_some_and(above) {
            return;
        }
        let message = match (node.minimum, node.maximum) {
            (Some(least), Some(most)) => format!("must be between {least} and {most}"),
            (Some(least), None) => format!("must be at least {least}"),
            (None, most) => format!("must be at most {}", most.unwrap_or_default()),
        };
        self.error(FieldError::invalid(at.path(), message).given(number.to_string()));
    }

    fn array(&mut self, node: &Node, items: &mut [Value], at: &Step<'_>) {
        if let Some(most) = node.max_items
            && items.len() > most
        {
            let error = FieldError::new(at.path(), Reason::TooLong, format!("must have at most {most} items"));
            self.error(error.given(items.len().to_string()));
        }
        if items.len() < node.min_items {
            let message = match node.min_items {
                1 => "must not be empty".to_owned(),
                least => format!("must have at least {least} items"),
            };
            self.error(FieldError::invalid(at.path(), message));
        }
        if node.unique_items {
            let mut seen = BTreeSet::new();
            for (index, text) in items
                .iter()
                .enumerate()
                .filter_map(|(index, item)| Some((index, item.as_str()?)))
            {
                if !seen.insert(text) {
                    let path = Step::Index(at, index).path();
                    self.error(
                        FieldError::new(path, Reason::Duplicate, "is in the list twice").given(shown_text(text)),
                    );
                }
            }
        }
        if let Some(id) = node.item {
            for (index, item) in items.iter_mut().enumerate() {
                self.value(id, item, &Step::Index(at, index));
            }
        }
    }

    fn object(&mut self, node: &Node, given: &mut Map<String, Value>, at: &Step<'_>) {
        let mut says_nothing = false;
        let mut unknown = Vec::new();
        for (key, value) in given.iter_mut() {
            match (node.field(key), node.others) {
                (Some(_), _) if value.is_null() => says_nothing = true,
                (Some(field), _) => self.value(field.node, value, &Step::Field(at, key)),
                (None, Others::Anything) => {}
                (None, Others::Of(id)) => self.free(node, id, key, value, at),
                (None, Others::Refused) => unknown.push((key.clone(), self.errors.len(), self.unknown.len())),
            }
        }
        // Told where it stands in the value, though what is beside it was looked at meanwhile.
        for (before, (key, error_at, unknown_at)) in unknown.iter().enumerate() {
            let path = Step::Field(at, key).path();
            self.unknown.insert(unknown_at + before, path.clone());
            if self.unknown_fields == UnknownFields::Refuse {
                let error = self.unknown_field(node, given, key, path);
                self.errors.insert(error_at + before, error);
            }
        }
        for field in node.fields.iter().filter(|field| field.required) {
            if given.get(&field.name).is_none_or(Value::is_null) {
                self.error(FieldError::missing(Step::Field(at, &field.name).path()));
            }
        }
        for (key, ..) in unknown {
            given.remove(&key);
        }
        if says_nothing {
            given.retain(|key, value| !value.is_null() || node.field(key).is_none());
        }
    }

    /// The value at a key of a free map.
    fn free(&mut self, node: &Node, id: NodeId, key: &str, value: &mut Value, at: &Step<'_>) {
        let step = Step::Key(at, key);
        if let Some(format) = node.key_format
            && !(format.matches)(key)
        {
            let error = FieldError::invalid(step.path(), format!("the key must be {}", format.what));
            self.error(error.given(shown_text(key)));
        }
        self.value(id, value, &step);
    }

    fn unknown_field(&self, node: &Node, given: &Map<String, Value>, key: &str, path: FieldPath) -> FieldError {
        // A field that is there already was hardly meant again.
        let free = node
            .fields
            .iter()
            .map(|field| field.name.as_str())
            .filter(|name| !given.contains_key(*name));
        let near = nearest(key, free)
            .map(str::to_owned)
            .or_else(|| self.further_in(node, key, 3));
        FieldError::unknown(path, near.as_deref())
    }

    /// The way to a field of this very name a few levels further in: `image` is meant as `spec.image`.
    fn further_in(&self, node: &Node, key: &str, depth: usize) -> Option<String> {
        let inner = || node.fields.iter().map(|field| (field, &self.shape.nodes[field.node]));
        if depth == 0 {
            return None;
        }
        // What the system writes is not where people put fields.
        let (mut spec_first, rest): (Vec<_>, Vec<_>) = inner()
            .filter(|(field, _)| field.name != "status")
            .partition(|(field, _)| field.name == "spec");
        spec_first.extend(rest);
        let direct = spec_first.iter().find(|(_, node)| node.field(key).is_some());
        direct.map(|(field, _)| format!("{}.{key}", field.name)).or_else(|| {
            let deeper = |(field, node): &(&Field, &Node)| {
                Some(format!("{}.{}", field.name, self.further_in(node, key, depth - 1)?))
            };
            spec_first.iter().find_map(deeper)
        })
    }

    fn no_variant(&mut self, why: NoVariant<'_>, given: &Map<String, Value>, at: &Step<'_>) {
        let error = match why {
            NoVariant::Tag { name, choices } => {
                let path = Step::Field(at, name).path();
                match given.get(name).filter(|value| !value.is_null()) {
                    None => FieldError::missing(path),
                    Some(value) => {
                        let message = format!("must be {}", one_of(&choices));
                        let mut error = FieldError::new(path, Reason::NotSupported, message).given(shown(value));
                        let text = value.as_str().unwrap_or_default();
                        error.suggestion = nearest(text, choices.iter().copied()).map(str::to_owned);
                        error
                    }
                }
            }
            NoVariant::None(keys) => FieldError::new(
                at.path(),
                Reason::Required,
                format!("must have one of {}", keys.join(", ")),
            ),
            NoVariant::Several(keys) => FieldError::new(
                at.path(),
                Reason::Forbidden,
                format!("must have only one of {}", keys.join(", ")),
            ),
        };
        self.error(error);
    }
}

/// What may stand at a node, for people: continues `must be`.
fn due(node: &Node) -> String {
    if let Some(format) = node.format {
        return format.what.to_owned();
    }
    if !node.choices.is_empty() {
        return one_of(&node.choices.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let words = [
        (JsonType::String, "a string"),
        (JsonType::Integer, "a whole number"),
        (JsonType::Number, "a number"),
        (JsonType::Boolean, "true or false"),
        (JsonType::Array, "a list"),
        (JsonType::Object, "a map"),
    ];
    let due: Vec<&str> = words
        .iter()
        .filter(|(one, _)| node.types.has_exactly(*one))
        .map(|(_, word)| *word)
        .collect();
    due.join(" or ")
}

fn one_of(choices: &[&str]) -> String {
    match choices {
        [only] => (*only).to_owned(),
        several => format!("one of {}", several.join(", ")),
    }
}

/// A value as an error tells it.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => shown_text(text),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a map".to_owned(),
        other => other.to_string(),
    }
}

fn shown_text(text: &str) -> String {
    // Longer ones hide the message.
    const MOST: usize = 60;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// What a text was meant to be where none may stand: a number or truth value in quotes or in other words.
fn meant(node: &Node, text: &str) -> Option<String> {
    if node.types.has_exactly(JsonType::Boolean) {
        return match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "y" => Some("true".to_owned()),
            "false" | "no" | "off" | "n" => Some("false".to_owned()),
            _ => None,
        };
    }
    let whole: Option<i64> = text.parse().ok();
    let takes_whole = node.types.has(JsonType::Integer);
    whole.filter(|_| takes_whole).map(|number| number.to_string())
}
