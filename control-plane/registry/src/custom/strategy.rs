//! The rules that all custom kinds share; what one decides for itself is in its schema.
//!
//! Rules: upstream's `customResourceStrategy` and `statusStrategy`.

use crate::{
    meta,
    strategy::{Call, Strategy},
    validate::{self, Errors},
};
use serde_json::Value;

/// Any custom resource.
pub struct CustomResource;

impl Strategy for CustomResource {
    fn has_generation(&self) -> bool {
        true
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn validate(&self, call: &Call<'_>, object: &Value) -> Errors {
        errors(call, object, None)
    }

    fn validate_update(&self, call: &Call<'_>, new: &Value, old: &Value) -> Errors {
        errors(call, new, Some(old))
    }

    fn warnings(&self, _call: &Call<'_>, new: &Value, old: Option<&Value>) -> Vec<String> {
        validate::meta::finalizer_warnings(new, old)
    }

    /// A write of the status changes nothing else, its metadata neither.
    fn prepare_status(&self, _call: &Call<'_>, new: &mut Value, old: &Value) {
        let metadata = meta::metadata(new);
        for key in ["labels", "annotations", "finalizers", "ownerReferences"] {
            meta::carry(metadata, key, meta::at(old, &["metadata", key]));
        }
    }

    fn validate_status(&self, call: &Call<'_>, new: &Value, old: &Value) -> Errors {
        errors(call, new, Some(old))
    }
}

fn errors(call: &Call<'_>, object: &Value, old: Option<&Value>) -> Errors {
    call.kind.custom.as_ref().map_or_else(Errors::new, |custom| custom.schema().validate(object, old))
}
