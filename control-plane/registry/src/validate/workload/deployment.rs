//! Deployments and ReplicaSets.

use super::{at_most_all, is_zero, never_ending, selected, share, template};
use crate::{
    meta,
    validate::{Errors, at_least, non_negative, one_of},
};
use keelson_schema::{FieldError, Path};
use serde_json::Value;

/// Said of both kinds, as upstream.
const EMPTY: &str = "empty selector is invalid for deployment";

/// A ReplicaSet's spec.
pub fn replica_set_spec(spec: &Value) -> Errors {
    let path = Path::new("spec");
    let mut errors = Errors::new();
    errors.extend(non_negative(&path, spec, "replicas"));
    errors.extend(non_negative(&path, spec, "minReadySeconds"));
    errors.extend(pods(&path, spec));
    errors
}

/// A Deployment's spec.
pub fn deployment_spec(spec: &Value) -> Errors {
    let path = Path::new("spec");
    let mut errors = Errors::new();
    errors.extend(non_negative(&path, spec, "replicas"));
    errors.extend(pods(&path, spec));
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

fn pods(path: &Path, spec: &Value) -> Errors {
    let mut errors = selected(path, spec, EMPTY);
    let path = path.child("template");
    errors.extend(template(&path, &spec["template"]));
    errors.extend(never_ending(&path, &spec["template"], "ReplicaSet"));
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
            errors.extend(at_most_all(&path.child("maxUnavailable"), &rolling["maxUnavailable"]));
        }
        _ => {}
    }
    errors
}
