//! What the kinds that make pods have in common: selector and template, counts and shares; a file a kind for the rest.
//!
//! Rules: upstream's `pkg/apis/apps/validation` and, of ReplicationControllers, `pkg/apis/core/validation`.

mod daemon_set;
mod deployment;
mod replication_controller;
mod stateful_set;

pub use daemon_set::daemon_set_spec;
pub use deployment::{deployment_spec, replica_set_spec};
pub use replication_controller::replication_controller_spec;
pub use stateful_set::{stateful_set_spec, stateful_set_update};

use super::{Errors, meta::immutable, pod, selector};
use crate::meta;
use keelson_schema::{FieldError, Path};
use keelson_semantics::names;
use serde_json::Value;

/// The selector of a workload does not change.
pub fn selector_unchanged(new: &Value, old: &Value) -> Option<FieldError> {
    immutable(&Path::new("spec.selector"), new.pointer("/spec/selector"), old.pointer("/spec/selector"))
}

/// `spec.selector` as a metav1 LabelSelector: it is there, selects by something, and selects the template's labels.
/// `empty` is what is said of one that selects everything.
pub fn selected(path: &Path, spec: &Value, empty: &str) -> Errors {
    let Some(selector) = meta::at(spec, &["selector"]) else {
        return vec![FieldError::required(&path.child("selector"), "")];
    };
    let mut errors = selector::label_selector(&path.child("selector"), selector);
    let is_empty = meta::entries(selector, &["matchLabels"]).next().is_none()
        && meta::items(selector, &["matchExpressions"]).is_empty();
    if is_empty {
        errors.push(FieldError::invalid(&path.child("selector"), selector.clone(), empty));
    } else {
        errors.extend(labels_match(path, spec));
    }
    errors
}

/// The selector selects the template's labels; nothing is said of a selector that cannot be read.
pub fn labels_match(path: &Path, spec: &Value) -> Option<FieldError> {
    let parsed = meta::at(spec, &["selector"]).and_then(selector::parsed)?;
    let labels = spec.pointer("/template/metadata/labels");
    (!selector::selects(&parsed, labels)).then(|| {
        let detail = "`selector` does not match template `labels`";
        FieldError::invalid(
            &path.child("template.metadata.labels"),
            labels.cloned().unwrap_or_default(),
            detail,
        )
    })
}

/// A PodTemplateSpec.
pub fn template(path: &Path, template: &Value) -> Errors {
    let mut errors = template_meta(path, template);
    errors.extend(pod::spec(&path.child("spec"), &template["spec"]));
    if !meta::items(template, &["spec", "ephemeralContainers"]).is_empty() {
        let detail = "ephemeral containers not allowed in pod template";
        errors.push(FieldError::forbidden(&path.child("spec.ephemeralContainers"), detail));
    }
    errors
}

/// What stands on a template beside the pod's spec.
pub fn template_meta(path: &Path, template: &Value) -> Errors {
    let mut errors = super::meta::labels(&path.child("labels"), template.pointer("/metadata/labels"));
    errors.extend(super::meta::annotations(&path.child("annotations"), template));
    errors
}

/// Pods of a template that are replaced when they end, whatever their end.
pub fn never_ending(path: &Path, template: &Value, kind: &str) -> Errors {
    let mut errors = Errors::new();
    let policy = meta::text(template, &["spec", "restartPolicy"]);
    if policy != "Always" {
        errors.push(FieldError::not_supported(&path.child("spec.restartPolicy"), policy, &["Always"]));
    }
    if meta::at(template, &["spec", "activeDeadlineSeconds"]).is_some() {
        let detail = format!("activeDeadlineSeconds in {kind} is not Supported");
        errors.push(FieldError::forbidden(&path.child("spec.activeDeadlineSeconds"), detail));
    }
    errors
}

/// A count or a percentage.
pub fn share(path: &Path, value: &Value) -> Errors {
    match value {
        Value::String(text) => super::meta::invalid(path, text, names::percent(text)),
        Value::Number(number) if number.as_i64().is_some_and(|number| number < 0) => {
            vec![FieldError::invalid(path, value.clone(), "must be greater than or equal to 0")]
        }
        _ => Errors::new(),
    }
}

/// A percentage of what there is is not over all of it; a count may be.
pub fn at_most_all(path: &Path, value: &Value) -> Option<FieldError> {
    let percent: i64 = value.as_str()?.strip_suffix('%')?.parse().ok()?;
    (percent > 100).then(|| FieldError::invalid(path, value.clone(), "must not be greater than 100%"))
}

/// Whether a count or a percentage is zero; so is an absent one.
pub fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim_end_matches('%').parse() == Ok(0),
        other => other.as_i64() == Some(0),
    }
}
