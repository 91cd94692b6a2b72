//! The three patch formats on values: JSON patch (RFC 6902), merge patch (RFC 7386), strategic merge patch.
//!
//! Owns what a patch does to a value and how a bad patch is refused. Does not own what the result has to satisfy: the
//! caller coerces, defaults and validates it as if it had been sent whole.

mod error;
mod order;
mod strategic;

use std::collections::{BTreeMap, BTreeSet};

use json_patch::PatchOperation;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::types::{Shape, TypeRef};

pub use error::{PatchError, StrategicError};

/// Most operations in a JSON patch.
pub const JSON_PATCH_OPERATIONS_MAX: usize = 10_000;
/// Most bytes that the copy operations of one JSON patch may copy in all.
pub const JSON_PATCH_COPY_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Applies a JSON patch: all operations in order, or none.
pub fn json(original: &Value, patch: &[u8]) -> Result<Value, PatchError> {
    let operations: Vec<PatchOperation> = parse(patch)?;
    if operations.len() > JSON_PATCH_OPERATIONS_MAX {
        return Err(PatchError::TooManyOperations(operations.len()));
    }
    let mut result = original.clone();
    let mut copied_bytes = 0;
    for operation in &operations {
        if let PatchOperation::Copy(copy) = operation {
            copied_bytes += result.pointer(copy.from.as_str()).map_or(0, |value| value.to_string().len());
            if copied_bytes > JSON_PATCH_COPY_BYTES_MAX {
                return Err(PatchError::CopiesTooMuch);
            }
        }
        if tests_absence(operation, &result) {
            continue;
        }
        // One at a time; a failure leaves a half-patched copy that nobody sees.
        json_patch::patch_unsafe(&mut result, std::slice::from_ref(operation)).map_err(|error| {
            PatchError::Unprocessable(format!("{} {}: {}", name(operation), error.path, error.kind))
        })?;
    }
    Ok(result)
}

/// A test for null of a field that is not there holds, as in upstream's library, other than RFC 6902 has it: clients add the first
/// finalizer so.
fn tests_absence(operation: &PatchOperation, value: &Value) -> bool {
    matches!(operation, PatchOperation::Test(test)
        if test.value.is_null() && value.pointer(test.path.as_str()).is_none())
}

fn name(operation: &PatchOperation) -> &'static str {
    match operation {
        PatchOperation::Add(_) => "add",
        PatchOperation::Remove(_) => "remove",
        PatchOperation::Replace(_) => "replace",
        PatchOperation::Move(_) => "move",
        PatchOperation::Copy(_) => "copy",
        PatchOperation::Test(_) => "test",
    }
}

/// Applies a merge patch: objects are merged, null removes, everything else replaces.
pub fn merge(mut original: Value, patch: &[u8]) -> Result<Value, PatchError> {
    let patch: Value = parse(patch)?;
    if !patch.is_object() {
        return Err(PatchError::Malformed("a merge patch of an object must be an object".into()));
    }
    json_patch::merge(&mut original, &patch);
    Ok(original)
}

/// Applies a strategic merge patch by the merge rules of `ty`.
pub fn strategic(ty: TypeRef<'_>, original: Value, patch: &[u8]) -> Result<Value, PatchError> {
    if !matches!(ty.shape(), Shape::Object(_)) {
        return Err(PatchError::StrategicUnsupported("kinds without a schema of their own".into()));
    }
    let Value::Object(patch) = parse(patch)? else {
        return Err(StrategicError::InvalidDocument.into());
    };
    let Value::Object(mut result) = original else { return Err(StrategicError::InvalidDocument.into()) };
    strategic::merge_object(&mut result, patch, Some(ty))?;
    Ok(Value::Object(result))
}

/// The fields of the first level that a merge patch or a strategic merge patch can change; none where that is not plain to see:
/// a directive among them, or a text that is no object.
#[must_use]
pub fn touched(patch: &[u8]) -> Option<BTreeSet<String>> {
    let fields: BTreeMap<String, IgnoredAny> = serde_json::from_slice(patch).ok()?;
    let plain = fields.keys().all(|name| !name.starts_with('$'));
    plain.then(|| fields.into_keys().collect())
}

fn parse<T: serde::de::DeserializeOwned>(patch: &[u8]) -> Result<T, PatchError> {
    serde_json::from_slice(patch).map_err(|error| PatchError::Malformed(error.to_string()))
}

#[cfg(test)]
mod tests;
