//! Roles and bindings.
//!
//! Rules: upstream's `pkg/apis/rbac/validation`. Whether the writer may grant what it writes is admission's.

use super::{Errors, meta::name_errors};
use crate::{meta, strategy::NameRule};
use keelson_schema::{FieldError, Path};
use serde_json::Value;

const GROUP: &str = "rbac.authorization.k8s.io";

/// Rules of a Role or a ClusterRole.
pub fn rules(object: &Value, namespaced: bool) -> Errors {
    let mut errors = Errors::new();
    for (index, rule) in meta::items(object, &["rules"]).iter().enumerate() {
        let path = Path::new("rules").index(index);
        let given = |key: &str| !meta::items(rule, &[key]).is_empty();
        if !given("verbs") {
            errors.push(FieldError::required(&path.child("verbs"), "verbs must contain at least one value"));
        }
        if given("nonResourceURLs") {
            let urls = rule["nonResourceURLs"].clone();
            let path = path.child("nonResourceURLs");
            if namespaced {
                let detail = "namespaced rules cannot apply to non-resource URLs";
                errors.push(FieldError::invalid(&path, urls.clone(), detail));
            }
            if given("apiGroups") || given("resources") || given("resourceNames") {
                let detail = "rules cannot apply to both regular resources and non-resource URLs";
                errors.push(FieldError::invalid(&path, urls, detail));
            }
            continue;
        }
        if !given("apiGroups") {
            let detail = "resource rules must supply at least one api group";
            errors.push(FieldError::required(&path.child("apiGroups"), detail));
        }
        if !given("resources") {
            let detail = "resource rules must supply at least one resource";
            errors.push(FieldError::required(&path.child("resources"), detail));
        }
    }
    errors
}

/// roleRef and subjects of a RoleBinding or a ClusterRoleBinding.
pub fn binding(object: &Value, namespaced: bool) -> Errors {
    let path = Path::new("roleRef");
    let mut errors = Errors::new();
    let role = &object["roleRef"];
    let group = meta::text(role, &["apiGroup"]);
    if group != GROUP {
        errors.push(FieldError::not_supported(&path.child("apiGroup"), group, &[GROUP]));
    }
    let kinds: &[&str] = if namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    let kind = meta::text(role, &["kind"]);
    if !kinds.contains(&kind) {
        errors.push(FieldError::not_supported(&path.child("kind"), kind, kinds));
    }
    let name = meta::text(role, &["name"]);
    if name.is_empty() {
        errors.push(FieldError::required(&path.child("name"), ""));
    } else {
        errors.extend(super::meta::invalid(
            &path.child("name"),
            name,
            name_errors(NameRule::PathSegment, name),
        ));
    }
    for (index, subject) in meta::items(object, &["subjects"]).iter().enumerate() {
        errors.extend(self::subject(&Path::new("subjects").index(index), subject, namespaced));
    }
    errors
}

fn subject(path: &Path, subject: &Value, namespaced: bool) -> Errors {
    let mut errors = Errors::new();
    let (name, group) = (meta::text(subject, &["name"]), meta::text(subject, &["apiGroup"]));
    if name.is_empty() {
        errors.push(FieldError::required(&path.child("name"), ""));
    }
    match meta::text(subject, &["kind"]) {
        "ServiceAccount" => {
            if !name.is_empty() {
                let details = name_errors(NameRule::Subdomain, name);
                errors.extend(super::meta::invalid(&path.child("name"), name, details));
            }
            if !group.is_empty() {
                errors.push(FieldError::not_supported(&path.child("apiGroup"), group, &[""]));
            }
            if !namespaced && meta::text(subject, &["namespace"]).is_empty() {
                errors.push(FieldError::required(&path.child("namespace"), ""));
            }
        }
        "User" | "Group" => {
            if group != GROUP {
                errors.push(FieldError::not_supported(&path.child("apiGroup"), group, &[GROUP]));
            }
        }
        other => {
            let known = ["ServiceAccount", "User", "Group"];
            errors.push(FieldError::not_supported(&path.child("kind"), other, &known));
        }
    }
    errors
}

/// The role of a binding does not change.
pub fn role_unchanged(new: &Value, old: &Value) -> Option<FieldError> {
    let role = new.get("roleRef").cloned().unwrap_or_default();
    (new.get("roleRef") != old.get("roleRef"))
        .then(|| FieldError::invalid(&Path::new("roleRef"), role, "cannot change roleRef"))
}
