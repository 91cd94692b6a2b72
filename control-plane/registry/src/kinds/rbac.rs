//! Roles and bindings, of a namespace and of the cluster. Escalation is checked by admission.

use crate::{
    strategy::{Call, NameRule, Strategy},
    validate::{Errors, rbac},
};
use serde_json::Value;

/// Role and ClusterRole.
pub struct Role {
    /// Role rather than ClusterRole.
    pub namespaced: bool,
}

impl Strategy for Role {
    fn name_rule(&self) -> NameRule {
        NameRule::PathSegment
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        rbac::rules(object, self.namespaced)
    }
}

/// RoleBinding and ClusterRoleBinding.
pub struct Binding {
    /// RoleBinding rather than ClusterRoleBinding.
    pub namespaced: bool,
}

impl Strategy for Binding {
    fn name_rule(&self) -> NameRule {
        NameRule::PathSegment
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        rbac::binding(object, self.namespaced)
    }

    fn validate_update(&self, call: &Call<'_>, new: &Value, old: &Value) -> Errors {
        let mut errors = self.validate(call, new);
        errors.extend(rbac::role_unchanged(new, old));
        errors
    }
}
