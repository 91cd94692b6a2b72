//! LimitRange: what each pod, container or claim of a namespace may ask for, and asks for when it does not say. Admission
//! (LimitRanger) holds them to it.

use crate::{
    strategy::{Call, Strategy},
    validate::{Errors, limit_range::limit_range},
};
use serde_json::Value;

/// LimitRange.
pub struct LimitRange;

impl Strategy for LimitRange {
    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        limit_range(object)
    }
}
