//! ResourceQuota: what all objects of a namespace may come to. Admission charges it, a controller recounts it.

use crate::{
    strategy::{Call, Strategy},
    validate::{Errors, resource_quota as rules},
};
use serde_json::Value;

/// ResourceQuota.
pub struct ResourceQuota;

impl Strategy for ResourceQuota {
    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        rules::quota(object)
    }

    fn validate_update(&self, call: &Call<'_>, new: &Value, old: &Value) -> Errors {
        let mut errors = self.validate(call, new);
        errors.extend(rules::scopes_unchanged(new, old));
        errors
    }

    fn validate_status(&self, _call: &Call<'_>, new: &Value, _old: &Value) -> Errors {
        ["hard", "used"].iter().flat_map(|list| rules::amounts(&new["status"], "status", list)).collect()
    }
}
