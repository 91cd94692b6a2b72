//! Deployment, ReplicaSet, ControllerRevision.

use crate::{
    meta,
    strategy::{Call, Strategy},
    validate::{
        Errors,
        meta::immutable,
        non_negative,
        workload::{deployment_spec, replica_set_spec, selector_unchanged},
    },
};
use keelson_schema::{FieldError, Path};
use serde_json::{Value, json};

/// Deployment.
pub struct Deployment;

impl Strategy for Deployment {
    fn has_generation(&self) -> bool {
        true
    }

    fn prepare_create(&self, _call: &Call<'_>, object: &mut Value) {
        meta::map_of(object).insert("status".to_owned(), json!({}));
    }

    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        deployment_spec(&object["spec"])
    }

    fn validate_update(&self, call: &Call<'_>, new: &Value, old: &Value) -> Errors {
        let mut errors = self.validate(call, new);
        errors.extend(selector_unchanged(new, old));
        errors
    }

    fn prepare_status(&self, _call: &Call<'_>, new: &mut Value, old: &Value) {
        meta::carry(meta::metadata(new), "labels", old.pointer("/metadata/labels"));
    }

    fn validate_status(&self, _call: &Call<'_>, new: &Value, _old: &Value) -> Errors {
        counts(
            new,
            &["observedGeneration", "replicas", "updatedReplicas", "readyReplicas", "availableReplicas"],
            &["updatedReplicas", "readyReplicas", "availableReplicas"],
        )
    }
}

/// ReplicaSet.
pub struct ReplicaSet;

impl Strategy for ReplicaSet {
    fn has_generation(&self) -> bool {
        true
    }

    fn prepare_create(&self, _call: &Call<'_>, object: &mut Value) {
        meta::map_of(object).insert("status".to_owned(), json!({"replicas": 0}));
    }

    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        replica_set_spec(&object["spec"])
    }

    fn validate_update(&self, call: &Call<'_>, new: &Value, old: &Value) -> Errors {
        let mut errors = self.validate(call, new);
        errors.extend(selector_unchanged(new, old));
        errors
    }

    fn prepare_status(&self, _call: &Call<'_>, new: &mut Value, old: &Value) {
        meta::carry(meta::metadata(new), "labels", old.pointer("/metadata/labels"));
    }

    fn validate_status(&self, _call: &Call<'_>, new: &Value, _old: &Value) -> Errors {
        counts(
            new,
            &["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration"],
            &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"],
        )
    }
}

/// Counts are not negative, and those of a part are not over the whole.
fn counts(object: &Value, all: &[&str], parts: &[&str]) -> Errors {
    let (path, status) = (Path::new("status"), &object["status"]);
    let mut errors: Errors = all.iter().filter_map(|key| non_negative(&path, status, key)).collect();
    let whole = meta::number(status, &["replicas"]).unwrap_or_default();
    for key in parts {
        let part = meta::number(status, &[key]).unwrap_or_default();
        if part > whole {
            let detail = "cannot be greater than status.replicas";
            errors.push(FieldError::invalid(&path.child(key), part, detail));
        }
    }
    errors
}

/// ControllerRevision: a state that is kept does not change.
pub struct ControllerRevision;

impl Strategy for ControllerRevision {
    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        non_negative(&Path::root(), object, "revision").into_iter().collect()
    }

    fn validate_update(&self, call: &Call<'_>, new: &Value, old: &Value) -> Errors {
        let mut errors = self.validate(call, new);
        errors.extend(immutable(&Path::new("data"), new.get("data"), old.get("data")));
        errors
    }
}
