//! The two patches of the dialect: JSON merge patch (RFC 7386) and JSON patch (RFC 6902), as Kubernetes takes them.
use json_patch::PatchOperation;
use serde_json::Value;

use super::{ApiError, StatusReason};

/// A change to an object, in one of two forms.
#[derive(Clone, Debug)]
pub enum Patch {
    /// What is given replaces what was; `null` removes.
    Merge(Value),
    /// A list of operations.
    Json(Value),
}

impl Patch {
    /// The patched value.
    pub(super) fn apply_to(&self, mut value: Value) -> Result<Value, ApiError> {
        match self {
            Self::Merge(patch @ Value::Object(_)) => {
                json_patch::merge(&mut value, patch);
                Ok(value)
            }
            Self::Merge(_) => Err(ApiError::bad_request("a merge patch must be a JSON object")),
            Self::Json(operations) => {
                let operations: Vec<PatchOperation> = serde_json::from_value(operations.clone())
                    .map_err(|error| ApiError::bad_request(format!("this is not a JSON patch: {error}")))?;
                for operation in operations {
                    // Kubernetes' clients test for absence so (kube-rs when it adds a finalizer); RFC 6902 has no word for it.
                    if let PatchOperation::Test(test) = &operation
                        && test.value.is_null()
                        && value.pointer(test.path.as_str()).is_none()
                    {
                        continue;
                    }
                    json_patch::patch(&mut value, std::slice::from_ref(&operation)).map_err(|error| {
                        ApiError::new(StatusReason::Invalid, format!("the JSON patch does not apply: {error}"))
                    })?;
                }
                Ok(value)
            }
        }
    }
}
