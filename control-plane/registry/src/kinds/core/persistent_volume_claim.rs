//! PersistentVolumeClaim: kept and validated; it stays Pending until something provides volumes.

use crate::{
    meta,
    strategy::{Call, Strategy},
    validate::{Errors, claim},
    warn,
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
        claim::spec(&Path::new("spec"), &object["spec"])
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

    fn warnings(&self, _call: &Call<'_>, new: &Value, _old: Option<&Value>) -> Vec<String> {
        warn::claim::claim(new)
    }
}
