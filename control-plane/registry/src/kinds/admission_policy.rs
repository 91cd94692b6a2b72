//! ValidatingAdmissionPolicy, MutatingAdmissionPolicy and their bindings: expressions that decide about writes. Who
//! evaluates them is keelson-admission.

use crate::{
    meta,
    strategy::{Call, Strategy},
    validate::{Errors, admission_policy},
};
use serde_json::{Value, json};

/// Either of the two policies.
pub struct AdmissionPolicy {
    /// Whether it may change objects.
    pub mutating: bool,
}

impl Strategy for AdmissionPolicy {
    fn has_generation(&self) -> bool {
        true
    }

    fn prepare_create(&self, _call: &Call<'_>, object: &mut Value) {
        if !self.mutating {
            meta::map_of(object).insert("status".to_owned(), json!({}));
        }
    }

    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        admission_policy::policy(object, self.mutating)
    }
}

/// Either of the two bindings.
pub struct AdmissionPolicyBinding {
    /// Whether it is a MutatingAdmissionPolicy's.
    pub mutating: bool,
}

impl Strategy for AdmissionPolicyBinding {
    fn has_generation(&self) -> bool {
        true
    }

    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        admission_policy::binding(object, self.mutating)
    }
}
