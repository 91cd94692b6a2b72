//! NetworkPolicy: which connections pods may have.

use crate::{
    strategy::{Call, Strategy},
    validate::{Errors, networking::policy},
};
use serde_json::Value;

/// NetworkPolicy.
pub struct NetworkPolicy;

impl Strategy for NetworkPolicy {
    fn has_generation(&self) -> bool {
        true
    }

    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        policy(object, None)
    }

    fn validate_update(&self, _call: &Call<'_>, new: &Value, old: &Value) -> Errors {
        policy(new, Some(old))
    }
}
