//! CSIStorageCapacity: how much of a class there is at a place.

use crate::{
    meta,
    strategy::{Call, Strategy},
    validate::{
        Errors,
        meta::{immutable, invalid},
        resources,
        selector::label_selector,
    },
    warn,
};
use keelson_schema::{FieldError, Path};
use keelson_semantics::names;
use serde_json::Value;

/// CSIStorageCapacity.
pub struct CsiStorageCapacity;

impl Strategy for CsiStorageCapacity {
    fn unconditional_update(&self) -> bool {
        false
    }

    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        let class = meta::text(object, &["storageClassName"]);
        let mut errors = invalid(&Path::new("storageClassName"), class, names::dns1123_subdomain(class));
        if let Some(topology) = meta::at(object, &["nodeTopology"]) {
            errors.extend(label_selector(&Path::new("nodeTopology"), topology));
        }
        for key in ["capacity", "maximumVolumeSize"] {
            let Some(amount) = meta::at(object, &[key]) else { continue };
            if resources::quantity(amount).is_some_and(|amount| amount.is_negative()) {
                let detail = "must be greater than or equal to 0";
                errors.push(FieldError::invalid(&Path::new(key), amount.clone(), detail));
            }
        }
        errors
    }

    fn validate_update(&self, call: &Call<'_>, new: &Value, old: &Value) -> Errors {
        let mut errors = self.validate(call, new);
        for key in ["nodeTopology", "storageClassName"] {
            errors.extend(immutable(&Path::new(key), new.get(key), old.get(key)));
        }
        errors
    }

    fn warnings(&self, _call: &Call<'_>, new: &Value, _old: Option<&Value>) -> Vec<String> {
        warn::storage::capacity(new)
    }
}
