//! Annotations that were fields' names before there were fields.

use super::{LISTS, Notes, Place};
use crate::meta;
use serde_json::Value;

const CONTAINER_SECCOMP: &str = "container.seccomp.security.alpha.kubernetes.io/";
const CONTAINER_APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
const SECCOMP: &str = r#"non-functional in v1.27+; use the "seccompProfile" field instead"#;
const SYSCTLS: &str = r#"non-functional in v1.11+; use the "sysctls" field instead"#;

/// The annotations of a pod or a template.
pub(super) fn check(place: &Place<'_>, template: &Value, notes: &mut Notes) {
    let place = place.field("metadata.annotations");
    for (key, _) in meta::entries(template, &["metadata", "annotations"]) {
        if let Some(text) = deprecated(key, &template["spec"]) {
            notes.add(&place.key(key), text);
        }
    }
}

fn deprecated(key: &str, spec: &Value) -> Option<&'static str> {
    match key {
        "scheduler.alpha.kubernetes.io/critical-pod" => {
            return Some(r#"non-functional in v1.16+; use the "priorityClassName" field instead"#);
        }
        "security.alpha.kubernetes.io/sysctls" | "security.alpha.kubernetes.io/unsafe-sysctls" => {
            return Some(SYSCTLS);
        }
        "seccomp.security.alpha.kubernetes.io/pod" => {
            return (!has(spec, "seccompProfile")).then_some(SECCOMP);
        }
        _ => {}
    }
    if let Some(name) = key.strip_prefix(CONTAINER_SECCOMP) {
        return is_any_without(spec, name, "seccompProfile").then_some(SECCOMP);
    }
    // The field of a pod without one is not filled from the annotation, other than upstream's, so the rule is that of templates.
    let name = key.strip_prefix(CONTAINER_APP_ARMOR)?;
    let is_unsaid = !has(spec, "appArmorProfile") && is_any_without(spec, name, "appArmorProfile");
    is_unsaid.then_some(r#"deprecated since v1.30; use the "appArmorProfile" field instead"#)
}

/// Whether the security context of a pod or a container has the field.
fn has(parent: &Value, field: &str) -> bool {
    meta::at(parent, &["securityContext", field]).is_some()
}

/// Whether there is a container of that name without the field of its own.
fn is_any_without(spec: &Value, name: &str, field: &str) -> bool {
    let mut all = LISTS.iter().flat_map(|list| meta::items(spec, &[list]));
    all.any(|container| meta::text(container, &["name"]) == name && !has(container, field))
}
