//! What Deployments and ReplicaSets have in common: replicas, selector, template.
//!
//! Rules: upstream's `pkg/apis/apps/validation`.

use super::{Errors, at_least, meta::immutable, non_negative, one_of, pod, selector};
use crate::meta;
use keelson_schema::{FieldError, Path};
use keelson_semantics::names;
use serde_json::Value;

/// A ReplicaSet's spec.
pub fn replica_set_spec(spec: &Value) -> Errors {
    let path = Path::new("spec");
    let mut errors = Errors::new();
    errors.extend(non_negative(&path, spec, "replicas"));
    errors.extend(non_negative(&path, spec, "minReadySeconds"));
    errors.extend(selected_template(&path, spec));
    errors
}

/// A Deployment's spec.
pub fn deployment_spec(spec: &Value) -> Errors {
    let path = Path::new("spec");
    let mut errors = Errors::new();
    errors.extend(non_negative(&path, spec, "replicas"));
    errors.extend(selected_template(&path, spec));
    errors.extend(strategy(&path.child("strategy"), &spec["strategy"]));
    errors.extend(non_negative(&path, spec, "minReadySeconds"));
    errors.extend(non_negative(&path, spec, "revisionHistoryLimit"));
    if let Some(deadline) = meta::number(spec, &["progressDeadlineSeconds"]) {
        errors.extend(at_least(&path, spec, "progressDeadlineSeconds", 0));
        if deadline <= meta::number(spec, &["minReadySeconds"]).unwrap_or_default() {
            let detail = "must be greater than minReadySeconds";
            errors.push(FieldError::invalid(&path.child("progressDeadlineSeconds"), deadline, detail));
        }
    }
    errors
}

/// The selector of a workload does not change.
pub fn selector_unchanged(new: &Value, old: &Value) -> Option<FieldError> {
    immutable(&Path::new("spec.selector"), new.pointer("/spec/selector"), old.pointer("/spec/selector"))
}

fn selected_template(path: &Path, spec: &Value) -> Errors {
    let mut errors = Errors::new();
    let given = meta::at(spec, &["selector"]);
    let empty = meta::entries(spec, &["selector", "matchLabels"]).next().is_none()
        && meta::items(spec, &["selector", "matchExpressions"]).is_empty();
    match given {
        None => errors.push(FieldError::required(&path.child("selector"), "")),
        Some(selector) => {
            errors.extend(selector::label_selector(&path.child("selector"), selector));
            if empty {
                let detail = "empty selector is invalid for deployment";
                errors.push(FieldError::invalid(&path.child("selector"), selector.clone(), detail));
            }
        }
    }
    let template = &spec["template"];
    let path = path.child("template");
    let labels = template.pointer("/metadata/labels");
    if let Some(selector) = given.filter(|_| !empty).and_then(selector::parsed)
        && !selector::selects(&selector, labels)
    {
        errors.push(FieldError::invalid(
            &path.child("metadata.labels"),
            labels.cloned().unwrap_or_default(),
            "`selector` does not match template `labels`",
        ));
    }
    errors.extend(super::meta::labels(&path.child("labels"), labels));
    errors.extend(pod::spec(&path.child("spec"), &template["spec"]));
    let policy = meta::text(template, &["spec", "restartPolicy"]);
    if policy != "Always" {
        errors.push(FieldError::not_supported(&path.child("spec.restartPolicy"), policy, &["Always"]));
    }
    if meta::at(template, &["spec", "activeDeadlineSeconds"]).is_some() {
        let detail = "activeDeadlineSeconds in ReplicaSet is not Supported";
        errors.push(FieldError::forbidden(&path.child("spec.activeDeadlineSeconds"), detail));
    }
    errors
}

fn strategy(path: &Path, strategy: &Value) -> Errors {
    let mut errors = Errors::new();
    errors.extend(one_of(path, strategy, "type", &["Recreate", "RollingUpdate"]));
    let rolling = meta::at(strategy, &["rollingUpdate"]);
    match (meta::text(strategy, &["type"]), rolling) {
        ("Recreate", Some(_)) => errors.push(FieldError::forbidden(
            &path.child("rollingUpdate"),
            "may not be specified when strategy `type` is 'Recreate'",
        )),
        ("RollingUpdate", None) => errors.push(FieldError::required(
            &path.child("rollingUpdate"),
            "this should be defaulted and never be nil",
        )),
        ("RollingUpdate", Some(rolling)) => {
            let path = path.child("rollingUpdate");
            for key in ["maxUnavailable", "maxSurge"] {
                errors.extend(share(&path.child(key), &rolling[key]));
            }
            if is_zero(&rolling["maxUnavailable"]) && is_zero(&rolling["maxSurge"]) {
                errors.push(FieldError::invalid(
                    &path.child("maxUnavailable"),
                    rolling["maxUnavailable"].clone(),
                    "may not be 0 when `maxSurge` is 0",
                ));
            }
        }
        _ => {}
    }
    errors
}

/// A count or a percentage.
fn share(path: &Path, value: &Value) -> Errors {
    match value {
        Value::String(text) => super::meta::invalid(path, text, names::percent(text)),
        Value::Number(number) if number.as_i64().is_some_and(|number| number < 0) => {
            vec![FieldError::invalid(path, value.clone(), "must be greater than or equal to 0")]
        }
        _ => Errors::new(),
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::String(text) => text.trim_end_matches('%').parse() == Ok(0),
        other => other.as_i64() == Some(0),
    }
}
