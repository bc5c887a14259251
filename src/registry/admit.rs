//! Admission: what must hold of an object before it can be stored, whoever writes it.
//!
//! It takes the JSON as written and gives it back as it will be stored (without nulls), or every field that is wrong. It
//! never looks at other objects. Read [`admit`] first.
use cube_api::{
    API_VERSION,
    deployment::Deployment,
    error::{FieldError, FieldPath, Reason},
    kinds::{AnyResource, Kind},
    meta::ObjectMeta,
    settings,
    shape::{UnknownFields, formats},
    task::Task,
    validate,
};
use serde_json::Value;

use super::ApiError;

/// Checks an object whole; the answer is what is to be stored.
pub(super) fn admit(kind: Kind, name: &str, value: Value, unknown: UnknownFields) -> Result<Value, ApiError> {
    let (value, decoded) = shape(kind, name, value, unknown)?;
    let mut errors = names(kind, decoded.meta());
    errors.extend(rules(&*decoded));
    if errors.is_empty() {
        Ok(value)
    } else {
        Err(ApiError::invalid(kind, name, errors))
    }
}

/// What admission would refuse a whole object for, field by field: for those who read many before they write any.
pub fn check(kind: Kind, value: &Value) -> Vec<FieldError> {
    let name = value["metadata"]["name"].as_str().unwrap_or_default();
    match admit(kind, name, value.clone(), UnknownFields::Refuse) {
        Ok(_) if name.is_empty() => vec![FieldError::missing(FieldPath::root().field("metadata").field("name"))],
        Ok(_) => Vec::new(),
        // Its form was right, and yet it means nothing: no field is named, but it is wrong all the same.
        Err(error) if error.causes.is_empty() => vec![FieldError::invalid(FieldPath::root(), error.message)],
        Err(error) => error.causes,
    }
}

/// Checks the form alone: enough for a status, since an older object may break rules that are newer than it.
pub(super) fn shape(
    kind: Kind,
    name: &str,
    value: Value,
    unknown: UnknownFields,
) -> Result<(Value, Box<dyn AnyResource>), ApiError> {
    let checked = kind.shape().clean(value, unknown);
    if !checked.errors.is_empty() {
        return Err(malformed(kind, name, checked.errors));
    }
    match kind.decode(&checked.value) {
        Ok(decoded) => Ok((checked.value, decoded)),
        Err(error) => Err(ApiError::bad_request(format!("strict decoding error: {error}")).about(kind, name)),
    }
}

/// The fields of an object that its kind does not have, for a warning.
pub fn unknown_fields(kind: Kind, value: &Value) -> Vec<FieldPath> {
    kind.shape().check(value, UnknownFields::Drop).unknown
}

/// Unknown fields alone are told in Kubernetes' words, which its clients look for.
fn malformed(kind: Kind, name: &str, errors: Vec<FieldError>) -> ApiError {
    if errors.iter().any(|error| error.reason != Reason::Unknown) {
        return ApiError::invalid(kind, name, errors);
    }
    let told: Vec<String> = errors
        .iter()
        .map(|error| match &error.suggestion {
            Some(suggestion) => format!("unknown field \"{}\", did you mean `{suggestion}`?", error.path),
            None => format!("unknown field \"{}\"", error.path),
        })
        .collect();
    ApiError {
        causes: errors,
        ..ApiError::bad_request(format!("strict decoding error: {}", told.join(", "))).about(kind, name)
    }
}

/// Checks that the object says what it is, and of the right kind; what it leaves out is filled in.
pub(super) fn identify(kind: Kind, value: &mut Value) -> Result<(), ApiError> {
    let Value::Object(fields) = value else {
        return Err(ApiError::bad_request("the body must be a JSON object"));
    };
    for (field, expected) in [("apiVersion", API_VERSION), ("kind", kind.info().kind)] {
        match fields.get(field).unwrap_or(&Value::Null) {
            Value::Null => {
                fields.insert(field.to_owned(), expected.into());
            }
            given if given == expected => {}
            given => {
                let message = format!("the object's {field} is {given}; here it must be \"{expected}\"");
                return Err(ApiError::bad_request(message));
            }
        }
    }
    match fields.entry("metadata").or_insert(Value::Null) {
        meta @ Value::Null => *meta = Value::Object(serde_json::Map::new()),
        Value::Object(_) => {}
        _ => return Err(ApiError::bad_request("the object's metadata must be a JSON object")),
    }
    Ok(())
}

fn rules(decoded: &dyn AnyResource) -> Vec<FieldError> {
    let any = decoded.as_any();
    if let Some(task) = any.downcast_ref::<Task>() {
        validate::task(task)
    } else if let Some(deployment) = any.downcast_ref::<Deployment>() {
        validate::deployment(deployment)
    } else {
        validate::metadata(decoded.meta())
    }
}

fn names(kind: Kind, meta: &ObjectMeta) -> Vec<FieldError> {
    let path = FieldPath::root().field("metadata");
    let mut errors = Vec::new();
    // The schema cannot say it: it is one for the metadata of all kinds. Containers' networks bear the name.
    if kind == Kind::Namespace
        && let Some(label) = formats::find("dns-label")
        && !(label.matches)(&meta.name)
    {
        let wrong = format!("must be {}", label.what);
        errors.push(FieldError::invalid(path.field("name"), wrong).given(format!("{:?}", meta.name)));
    }
    if kind == Kind::Settings && meta.name != settings::CLUSTER {
        let wrong = format!("must be `{}`: there is one for the whole cluster", settings::CLUSTER);
        errors.push(FieldError::invalid(path.field("name"), wrong).given(format!("{:?}", meta.name)));
    }
    for (index, finalizer) in meta.finalizers.iter().enumerate() {
        if finalizer.is_empty() || finalizer.chars().any(|c| c.is_whitespace() || c.is_control()) {
            let wrong = "must be a word, best DOMAIN/NAME";
            errors.push(FieldError::invalid(path.field("finalizers").index(index), wrong));
        }
    }
    errors
}
