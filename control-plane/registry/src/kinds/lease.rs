//! Lease: heartbeats of nodes and leader election.

use crate::{
    strategy::{Call, Strategy},
    validate::{Errors, non_negative},
};
use keelson_schema::{FieldError, Path};
use serde_json::Value;

/// Lease.
pub struct Lease;

impl Strategy for Lease {
    fn create_on_update(&self) -> bool {
        true
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        let (path, spec) = (Path::new("spec"), &object["spec"]);
        let mut errors: Errors = non_negative(&path, spec, "leaseTransitions").into_iter().collect();
        let seconds = spec.get("leaseDurationSeconds").and_then(Value::as_i64).unwrap_or(1);
        if seconds <= 0 {
            let path = path.child("leaseDurationSeconds");
            errors.push(FieldError::invalid(&path, seconds, "must be greater than 0"));
        }
        errors
    }
}
