//! The `scale` subresource: how many, in the words of `autoscaling/v1`.
use cube_api::{
    deployment::Deployment,
    error::{FieldError, FieldPath},
};
use serde_json::{Value, json};

use super::{ApiError, Object, rules};

/// The Scale of an object.
///
/// # Errors
/// 404 for kinds that are not scaled.
pub fn scale(object: &Object) -> Result<Value, ApiError> {
    let Some(deployment) = object.try_typed::<Deployment>() else {
        return Err(rules::no_subresource(object.kind(), object.name(), "scale"));
    };
    let meta = object.to_value();
    let meta = &meta["metadata"];
    Ok(json!({
        "apiVersion": "autoscaling/v1",
        "kind": "Scale",
        "metadata": {
            "name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"],
            "resourceVersion": meta["resourceVersion"], "creationTimestamp": meta["creationTimestamp"],
        },
        "spec": { "replicas": deployment.spec.replicas },
        "status": { "replicas": deployment.status.replicas, "selector": deployment.status.selector },
    }))
}

/// The object as a Scale wishes it.
pub(super) fn scaled(before: &Object, scale: &Value) -> Result<Value, ApiError> {
    if !before.kind().info().has_scale {
        return Err(rules::no_subresource(before.kind(), before.name(), "scale"));
    }
    let replicas = match &scale["spec"]["replicas"] {
        // autoscaling/v1 leaves a zero out.
        Value::Null => 0,
        given => given.as_u64().ok_or_else(|| {
            let path = FieldPath::root().field("spec").field("replicas");
            let error = FieldError::invalid(path, "must be a number, at least 0").given(given.to_string());
            ApiError::invalid(before.kind(), before.name(), vec![error])
        })?,
    };
    let mut value = before.stored();
    value["spec"]["replicas"] = replicas.into();
    for field in ["resourceVersion", "uid", "name", "namespace"] {
        if let Some(given) = scale["metadata"].get(field) {
            value["metadata"][field] = given.clone();
        }
    }
    Ok(value)
}
