//! ReplicationControllers: ReplicaSets of before, whose selector is a plain map.

use super::{never_ending, template};
use crate::{
    meta,
    validate::{Errors, meta::labels, non_negative},
};
use keelson_schema::{FieldError, Path};
use serde_json::Value;

/// A ReplicationController's spec.
pub fn replication_controller_spec(spec: &Value) -> Errors {
    let path = Path::new("spec");
    let mut errors: Errors = non_negative(&path, spec, "minReadySeconds").into_iter().collect();
    let selector = meta::at(spec, &["selector"]);
    errors.extend(labels(&path.child("selector"), selector));
    if meta::entries(spec, &["selector"]).next().is_none() {
        errors.push(FieldError::required(&path.child("selector"), ""));
    }
    errors.extend(non_negative(&path, spec, "replicas"));
    let pods = path.child("template");
    let Some(given) = meta::at(spec, &["template"]) else {
        errors.push(FieldError::required(&pods, ""));
        return errors;
    };
    let own = given.pointer("/metadata/labels");
    let covered = meta::entries(spec, &["selector"])
        .all(|(key, value)| own.and_then(|labels| labels.get(key)) == Some(value));
    if !covered {
        let detail = "`selector` does not match template `labels`";
        errors.push(FieldError::invalid(
            &pods.child("metadata.labels"),
            own.cloned().unwrap_or_default(),
            detail,
        ));
    }
    errors.extend(template(&pods, given));
    errors.extend(never_ending(&pods, given, "ReplicationController"));
    errors
}
