//! From a tree to JSON: each scalar becomes what is due at its place.
//!
//! `no`, `08` and `1e3` are texts where a text is due. Where a number or truth value is due, only its one plain form
//! will do: what readers of YAML disagree about (`yes`, `0123`, `0o17`, `1_000`) is refused with the form to write.
use cube_api::{
    error::{FieldError, FieldPath, Reason, Segment},
    shape::{Expected, JsonType, Shape, UnknownFields},
};
use serde_json::{Number, Value};

use super::{Content, Node, Scalar};

pub(super) fn resolve(root: &Node, shape: &Shape) -> Result<Value, Vec<FieldError>> {
    let checked = shape.clean(value(root, shape.expected()), UnknownFields::Refuse);
    if checked.errors.is_empty() {
        return Ok(checked.value);
    }
    Err(checked
        .errors
        .into_iter()
        .map(|error| as_written(error, root, shape))
        .collect())
}

fn value(node: &Node, due: Expected<'_>) -> Value {
    match &node.content {
        Content::Scalar(scalar) => of_scalar(scalar, due),
        Content::Sequence(items) => items.iter().map(|item| value(item, due.item())).collect(),
        Content::Mapping(entries) => {
            let fields = entries
                .iter()
                .map(|entry| (entry.key.clone(), value(&entry.value, due.at_key(&entry.key))));
            Value::Object(fields.collect())
        }
    }
}

fn of_scalar(scalar: &Scalar, due: Expected<'_>) -> Value {
    let text = scalar.text.as_str();
    if !scalar.plain {
        return text.into();
    }
    if matches!(text, "" | "~" | "null" | "Null" | "NULL") {
        return Value::Null;
    }
    let typed = if due.is_any() || !due.takes(JsonType::String) {
        truth(text, due)
            .or_else(|| whole(text, due))
            .or_else(|| fraction(text, due))
    } else {
        // Text is due too: `1.50` stays as it was written.
        truth(text, due).or_else(|| whole(text, due))
    };
    typed.unwrap_or_else(|| text.into())
}

fn truth(text: &str, due: Expected<'_>) -> Option<Value> {
    match text {
        "true" if due.takes(JsonType::Boolean) => Some(true.into()),
        "false" if due.takes(JsonType::Boolean) => Some(false.into()),
        _ => None,
    }
}

fn whole(text: &str, due: Expected<'_>) -> Option<Value> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let canonical = digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    if !canonical || text == "-0" || !due.takes(JsonType::Integer) {
        return None;
    }
    text.parse::<i64>()
        .map(Value::from)
        .or_else(|_| text.parse::<u64>().map(Value::from))
        .ok()
}

fn fraction(text: &str, due: Expected<'_>) -> Option<Value> {
    let plain = text.starts_with(|c: char| c.is_ascii_digit() || c == '-')
        && text.ends_with(|c: char| c.is_ascii_digit())
        && !text.trim_start_matches('-').starts_with("00");
    let number = text
        .parse()
        .ok()
        .filter(|_| plain && due.takes(JsonType::Number) && text.contains(['.', 'e', 'E']));
    number.and_then(Number::from_f64).map(Value::Number)
}

/// The error with the value as it was written, and for a number in a form that is not taken, with the form to write.
fn as_written(mut error: FieldError, root: &Node, shape: &Shape) -> FieldError {
    let found = root.find(&error.path);
    let Content::Scalar(scalar) = &found.node.content else {
        return error;
    };
    if !found.complete || error.given.is_none() {
        return error;
    }
    if scalar.plain && scalar.text.len() <= 60 {
        error.given = Some(format!(
            "`{}`",
            if scalar.text.is_empty() { "null" } else { &scalar.text }
        ));
    }
    if error.reason == Reason::TypeInvalid && due_at(shape, &error.path).takes(JsonType::Integer) && scalar.plain {
        if let Some((number, why)) = other_form(&scalar.text) {
            error.message = format!("must be a whole number {why}");
            error.suggestion = Some(number.to_string());
        } else if scalar.text.len() > 18 && scalar.text.bytes().all(|byte| byte.is_ascii_digit()) {
            error.message = "must be a smaller number".to_owned();
        }
    }
    error
}

fn due_at<'a>(shape: &'a Shape, path: &FieldPath) -> Expected<'a> {
    path.segments()
        .iter()
        .fold(shape.expected(), |due, segment| match segment {
            Segment::Field(name) | Segment::Key(name) => due.at_key(name),
            Segment::Index(_) => due.item(),
        })
}

/// The number that was meant by a form that readers of YAML disagree about, and how to write it.
fn other_form(text: &str) -> Option<(i128, &'static str)> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let radix = |prefix: &str, radix| i128::from_str_radix(digits.strip_prefix(prefix)?, radix).ok();
    let (number, why): (i128, _) = if let Some(number) = radix("0o", 8).or(radix("0x", 16)).or(radix("0b", 2)) {
        (number, "in decimal digits")
    } else if digits.contains('_') {
        (digits.replace('_', "").parse().ok()?, "without `_`")
    } else if let Ok(number) = digits.parse() {
        match (digits.starts_with('0'), text.starts_with('+')) {
            (true, _) => (number, "without leading zeros"),
            (_, true) => (number, "without a sign"),
            _ => return None,
        }
    } else {
        let float: f64 = digits
            .parse()
            .ok()
            .filter(|float: &f64| float.fract() == 0.0 && float.abs() < 1e15)?;
        (float as i128, "without fraction or exponent")
    };
    // A number that is too large for any field is not made right by another form.
    (number <= i128::from(u64::MAX)).then_some((sign * number, why))
}
