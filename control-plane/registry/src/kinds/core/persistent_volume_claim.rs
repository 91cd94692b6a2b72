//! PersistentVolumeClaim: kept and validated; it stays Pending until something provides volumes.

use crate::{
    meta,
    strategy::{Call, Strategy},
    validate::{Errors, resources},
};
use keelson_schema::{FieldError, Path};
use serde_json::{Value, json};

/// PersistentVolumeClaim.
pub struct PersistentVolumeClaim;

impl Strategy for PersistentVolumeClaim {
    fn prepare_create(&self, _call: &Call<'_>, object: &mut Value) {
        meta::map_of(object).insert("status".to_owned(), json!({"phase": "Pending"}));
    }

    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        const MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
        let path = Path::new("spec");
        let spec = &object["spec"];
        let mut errors = Errors::new();
        let modes = meta::items(spec, &["accessModes"]);
        if modes.is_empty() {
            errors
                .push(FieldError::required(&path.child("accessModes"), "at least 1 access mode is required"));
        }
        for mode in modes.iter().filter_map(Value::as_str).filter(|mode| !MODES.contains(mode)) {
            errors.push(FieldError::not_supported(&path.child("accessModes"), mode, MODES));
        }
        let storage = path.child("resources").key("storage");
        match meta::at(spec, &["resources", "requests", "storage"]) {
            None => errors.push(FieldError::required(&storage, "")),
            Some(amount) => {
                let positive =
                    |amount| resources::quantity(amount).is_some_and(|q| !q.is_negative() && !q.is_zero());
                if !positive(amount) {
                    errors.push(FieldError::invalid(&storage, amount.clone(), "must be greater than zero"));
                }
            }
        }
        errors
    }

    fn validate_update(&self, call: &Call<'_>, new: &Value, old: &Value) -> Errors {
        let mut errors = self.validate(call, new);
        let fixed = |object: &Value| {
            let mut spec = object["spec"].clone();
            for key in ["resources", "volumeAttributesClassName", "volumeName"] {
                meta::map_of(&mut spec).remove(key);
            }
            spec
        };
        let bound = meta::text(old, &["spec", "volumeName"]);
        if fixed(new) != fixed(old)
            || (!bound.is_empty() && bound != meta::text(new, &["spec", "volumeName"]))
        {
            let detail = "spec is immutable after creation except resources.requests and volumeAttributesClassName \
                          for bound claims";
            errors.push(FieldError::forbidden(&Path::new("spec"), detail));
        }
        errors
    }
}
