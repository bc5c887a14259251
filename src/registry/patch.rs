//! The two patches of the dialect: JSON merge patch (RFC 7386) and JSON patch (RFC 6902), as Kubernetes takes them.
use std::io;

use json_patch::{PatchOperation, jsonptr::Pointer};
use serde_json::Value;

use super::{ApiError, StatusReason};

/// Bytes that the copies of a patch may come to. A copy of what was copied doubles it: thirty of them, which are two KB of
/// patch, would take all memory. No object of the dialect is larger.
const COPIED: usize = 3 << 20;
/// Maps and lists in one another, in an object while it is patched. Steps that put one deep thing into another would
/// make it so deep that letting go of it takes more stack than there is. Twice what a body may be.
const DEPTH: usize = 256;

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
                let mut growth = Growth::of(&value);
                for operation in operations {
                    // Kubernetes' clients test for absence so (kube-rs when it adds a finalizer); RFC 6902 has no word for it.
                    if let PatchOperation::Test(test) = &operation
                        && test.value.is_null()
                        && value.pointer(test.path.as_str()).is_none()
                    {
                        continue;
                    }
                    growth.allows(&value, &operation)?;
                    json_patch::patch(&mut value, std::slice::from_ref(&operation)).map_err(|error| {
                        ApiError::new(StatusReason::Invalid, format!("the JSON patch does not apply: {error}"))
                    })?;
                }
                Ok(value)
            }
        }
    }
}

/// How large a patch makes an object, at most.
struct Growth {
    copied: usize,
    depth: usize,
}

impl Growth {
    fn of(value: &Value) -> Self {
        Self {
            copied: 0,
            depth: depth(value),
        }
    }

    /// Refuses an operation that would make the object too large or too deep.
    fn allows(&mut self, value: &Value, operation: &PatchOperation) -> Result<(), ApiError> {
        let steps = Pointer::count;
        let deepest = match operation {
            PatchOperation::Add(add) => steps(&add.path) + depth(&add.value),
            PatchOperation::Replace(replace) => steps(&replace.path) + depth(&replace.value),
            // As if it were the deepest of all that is there: looking would cost more than most patches do.
            PatchOperation::Move(moved) => steps(&moved.path) + self.depth.saturating_sub(steps(&moved.from)),
            PatchOperation::Copy(copy) => {
                self.copied += value.pointer(copy.from.as_str()).map_or(0, size);
                steps(&copy.path) + self.depth.saturating_sub(steps(&copy.from))
            }
            PatchOperation::Remove(_) | PatchOperation::Test(_) => 0,
        };
        self.depth = self.depth.max(deepest);
        let too = |what: String| {
            Err(ApiError::new(
                StatusReason::Invalid,
                format!("the JSON patch does not apply: {what}"),
            ))
        };
        if self.copied > COPIED {
            return too(format!("its copies come to more than {COPIED} bytes"));
        }
        if self.depth > DEPTH {
            return too(format!("it nests maps and lists more than {DEPTH} levels deep"));
        }
        Ok(())
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// The bytes of a value as JSON.
fn size(value: &Value) -> usize {
    struct Count(usize);
    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // What counts does not fail, and neither does JSON that came from JSON.
    let _ = serde_json::to_writer(&mut count, value);
    count.0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(operations: Vec<Value>) -> String {
        let before = json!({ "metadata": { "labels": { "a": "b" } }, "spec": {} });
        let refused = Patch::Json(operations.into()).apply_to(before).unwrap_err();
        assert_eq!(refused.code, 422);
        refused.message
    }

    #[test]
    fn copies_of_copies_end_before_memory_does() {
        let doubling = |n: i32| json!({ "op": "copy", "from": "", "path": format!("/spec/again{n}") });
        let told = refused((0..40).map(doubling).collect());
        assert!(told.contains("copies come to more than"), "{told}");
    }

    #[test]
    fn deep_things_in_one_another_end_before_the_stack_does() {
        let deep = (0..100).fold(json!({}), |inside, _| json!({ "x": inside }));
        let bottom = "/x".repeat(100);
        let moves = (0..2000).flat_map(|round| {
            let (from, to) = (format!("/spec/{}", round), format!("/spec/{}", round + 1));
            [
                json!({ "op": "add", "path": to, "value": deep }),
                json!({ "op": "move", "from": from, "path": format!("{to}{bottom}/y") }),
            ]
        });
        let first = json!({ "op": "add", "path": "/spec/0", "value": deep });
        let adds = (0..2000)
            .map(|round| json!({ "op": "add", "path": format!("/spec{}", bottom.repeat(round)), "value": deep }));
        for operations in [std::iter::once(first).chain(moves).collect(), adds.take(150).collect()] {
            let told = refused(operations);
            assert!(told.contains("more than 256 levels deep"), "{told}");
        }
    }

    #[test]
    fn honest_patches_are_no_nearer_to_the_bounds_for_being_long() {
        let step = |from: &str, path: &str| json!({ "op": "move", "from": from, "path": path });
        let there_and_back = [step("/spec/a", "/spec/b"), step("/spec/b", "/spec/a")];
        let operations: Vec<Value> = there_and_back.into_iter().cycle().take(10_000).collect();
        let patched = Patch::Json(operations.into()).apply_to(json!({ "spec": { "a": { "b": [1] } } }));
        assert_eq!(patched.unwrap(), json!({ "spec": { "a": { "b": [1] } } }));
    }
}
