//! PriorityClass.
//!
//! Rules: upstream's `pkg/apis/scheduling/validation`.

use crate::{
    meta,
    strategy::{Call, Strategy},
    validate::{Errors, one_of},
};
use keelson_schema::{FieldError, Path};
use serde_json::Value;

const SYSTEM_PREFIX: &str = "system-";
/// The classes that every cluster has, with their values.
const SYSTEM: &[(&str, i64)] =
    &[("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];
const USER_MAX: i64 = 1_000_000_000;

/// PriorityClass.
pub struct PriorityClass;

impl Strategy for PriorityClass {
    fn has_generation(&self) -> bool {
        true
    }

    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        let (name, mut errors) = (meta::field(object, "name"), Errors::new());
        let value = meta::number(object, &["value"]).unwrap_or_default();
        if name.starts_with(SYSTEM_PREFIX) {
            if !SYSTEM.contains(&(name, value)) {
                let why = format!(
                    "priority class names with '{SYSTEM_PREFIX}' prefix are reserved for system use only. \
                                   error: {name} is not a known system priority class"
                );
                errors.push(FieldError::forbidden(&Path::new("metadata.name"), why));
            }
        } else if value > USER_MAX {
            let why = format!("maximum allowed value of a user defined priority is {USER_MAX}");
            errors.push(FieldError::forbidden(&Path::new("value"), why));
        }
        let policies = ["Never", "PreemptLowerPriority"];
        errors.extend(one_of(&Path::root(), object, "preemptionPolicy", &policies));
        errors
    }

    fn validate_update(&self, _call: &Call<'_>, new: &Value, old: &Value) -> Errors {
        let mut errors = Errors::new();
        if meta::number(new, &["value"]) != meta::number(old, &["value"]) {
            errors.push(FieldError::forbidden(&Path::new("value"), "may not be changed in an update."));
        }
        if new.get("preemptionPolicy") != old.get("preemptionPolicy") {
            let value = new.get("preemptionPolicy").cloned().unwrap_or_default();
            errors.push(FieldError::invalid(&Path::new("preemptionPolicy"), value, "field is immutable"));
        }
        errors
    }
}
