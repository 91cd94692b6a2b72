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

/// A kind that keeps replicas of a pod template, with what its two kinds differ in.
pub struct Replicated {
    /// The status of a new object.
    first_status: fn() -> Value,
    /// All that is wrong with a spec.
    spec: fn(&Value) -> Errors,
    /// Counts in the status that are not negative; `replicas` is the whole of `parts`.
    counts: &'static [&'static str],
    /// Counts in the status that are not over the whole.
    parts: &'static [&'static str],
}

/// Deployment.
pub static DEPLOYMENT: Replicated = Replicated {
    first_status: || json!({}),
    spec: deployment_spec,
    counts: &["observedGeneration", "replicas", "updatedReplicas", "readyReplicas", "availableReplicas"],
    parts: &["updatedReplicas", "readyReplicas", "availableReplicas"],
};

/// ReplicaSet.
pub static REPLICA_SET: Replicated = Replicated {
    first_status: || json!({"replicas": 0}),
    spec: replica_set_spec,
    counts: &["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration"],
    parts: &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"],
};

impl Strategy for Replicated {
    fn has_generation(&self) -> bool {
        true
    }

    fn prepare_create(&self, _call: &Call<'_>, object: &mut Value) {
        meta::map_of(object).insert("status".to_owned(), (self.first_status)());
    }

    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        (self.spec)(&object["spec"])
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
        counts(new, self.counts, self.parts)
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
