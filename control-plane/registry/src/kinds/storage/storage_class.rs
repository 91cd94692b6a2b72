//! StorageClass: only its description can change.

use crate::{
    strategy::{Call, Strategy},
    validate::{Errors, one_of, required},
    warn,
};
use keelson_schema::{FieldError, Path};
use serde_json::Value;

/// StorageClass.
pub struct StorageClass;

impl Strategy for StorageClass {
    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        let root = Path::root();
        let mut errors: Errors = required(&root, object, "provisioner").into_iter().collect();
        errors.extend(one_of(&root, object, "reclaimPolicy", &["Delete", "Retain"]));
        errors.extend(one_of(&root, object, "volumeBindingMode", &["Immediate", "WaitForFirstConsumer"]));
        errors
    }

    fn validate_update(&self, call: &Call<'_>, new: &Value, old: &Value) -> Errors {
        let mut errors = self.validate(call, new);
        for key in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
            if new.get(key) != old.get(key) {
                let detail = format!("updates to {key} are forbidden.");
                errors.push(FieldError::forbidden(&Path::new(key), detail));
            }
        }
        errors
    }

    fn warnings(&self, _call: &Call<'_>, new: &Value, _old: Option<&Value>) -> Vec<String> {
        warn::storage::class(new)
    }
}
