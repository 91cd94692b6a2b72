//! Deployment, ReplicaSet, ReplicationController (of the core group, alike but for its selector), ControllerRevision.

mod daemon_set;
mod stateful_set;

pub use daemon_set::DaemonSet;
pub use stateful_set::StatefulSet;

use crate::{
    meta,
    options::Propagation,
    strategy::{Call, Strategy},
    validate::{
        Errors,
        meta::immutable,
        non_negative,
        workload::{deployment_spec, replica_set_spec, replication_controller_spec, selector_unchanged},
    },
    warn::{self, Notes},
};
use keelson_schema::{FieldError, Path};
use serde_json::{Value, json};

/// A kind that keeps replicas of a pod template, with what such kinds differ in.
pub struct Replicated {
    /// The status of a new object.
    first_status: fn() -> Value,
    /// All that is wrong with a spec.
    spec: fn(&Value) -> Errors,
    /// Whether the selector stays.
    selector_stays: bool,
    /// Counts in the status that are not negative; `replicas` is the whole of `parts`.
    counts: &'static [&'static str],
    /// Counts in the status that are not over the whole.
    parts: &'static [&'static str],
    /// What happens to the pods when the object is deleted and the client does not say.
    propagation: Propagation,
}

/// Deployment.
pub static DEPLOYMENT: Replicated = Replicated {
    first_status: || json!({}),
    spec: deployment_spec,
    selector_stays: true,
    counts: &["observedGeneration", "replicas", "updatedReplicas", "readyReplicas", "availableReplicas"],
    parts: &["updatedReplicas", "readyReplicas", "availableReplicas"],
    propagation: Propagation::Background,
};

/// ReplicaSet.
pub static REPLICA_SET: Replicated = Replicated {
    first_status: || json!({"replicas": 0}),
    spec: replica_set_spec,
    selector_stays: true,
    counts: &["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration"],
    parts: &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"],
    propagation: Propagation::Background,
};

/// ReplicationController.
pub static REPLICATION_CONTROLLER: Replicated = Replicated {
    spec: replication_controller_spec,
    selector_stays: false,
    propagation: Propagation::Orphan,
    ..REPLICA_SET
};

impl Strategy for Replicated {
    fn has_generation(&self) -> bool {
        true
    }

    fn default_propagation(&self) -> Propagation {
        self.propagation
    }

    fn prepare_create(&self, _call: &Call<'_>, object: &mut Value) {
        meta::map_of(object).insert("status".to_owned(), (self.first_status)());
    }

    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        (self.spec)(&object["spec"])
    }

    fn validate_update(&self, call: &Call<'_>, new: &Value, old: &Value) -> Errors {
        let mut errors = self.validate(call, new);
        if self.selector_stays {
            errors.extend(selector_unchanged(new, old));
        }
        errors
    }

    fn prepare_status(&self, _call: &Call<'_>, new: &mut Value, old: &Value) {
        meta::carry(meta::metadata(new), "labels", old.pointer("/metadata/labels"));
    }

    fn validate_status(&self, _call: &Call<'_>, new: &Value, _old: &Value) -> Errors {
        counts(new, self.counts, "replicas", self.parts)
    }

    fn warnings(&self, _call: &Call<'_>, new: &Value, old: Option<&Value>) -> Vec<String> {
        let mut notes = Notes::default();
        if old.is_none() {
            warn::name(new, warn::IN_POD_NAMES, &mut notes);
        }
        template_warnings(new, old, &mut notes);
        notes.into_texts()
    }
}

/// Warnings of the template, unless an update left the spec as it was.
fn template_warnings(new: &Value, old: Option<&Value>, notes: &mut Notes) {
    if warn::is_new(new, old) {
        warn::pod::template(&warn::pod::IN_SPEC, &new["spec"]["template"], notes);
    }
}

/// Counts in the status are not negative, and those of a part are not over the whole.
fn counts(object: &Value, all: &[&str], whole: &str, parts: &[&str]) -> Errors {
    let (path, status) = (Path::new("status"), &object["status"]);
    let mut errors: Errors = all.iter().filter_map(|key| non_negative(&path, status, key)).collect();
    let most = meta::number(status, &[whole]).unwrap_or_default();
    for key in parts {
        let part = meta::number(status, &[key]).unwrap_or_default();
        if part > most {
            let detail = format!("cannot be greater than status.{whole}");
            errors.push(FieldError::invalid(&path.child(key), part, detail));
        }
    }
    errors
}

/// status.collisionCount only grows.
fn collisions(new: &Value, old: &Value) -> Option<FieldError> {
    let path = ["status", "collisionCount"];
    let (after, before) = (meta::number(new, &path).unwrap_or_default(), meta::number(old, &path)?);
    let path = Path::new("status.collisionCount");
    (after < before).then(|| FieldError::invalid(&path, after, "cannot be decremented"))
}

/// ControllerRevision: a state that is kept does not change.
pub struct ControllerRevision;

impl Strategy for ControllerRevision {
    fn validate(&self, _call: &Call<'_>, object: &Value) -> Errors {
        let mut errors: Errors = non_negative(&Path::root(), object, "revision").into_iter().collect();
        if meta::at(object, &["data"]).is_none() {
            errors.push(FieldError::required(&Path::new("data"), "data is mandatory"));
        }
        errors
    }

    fn validate_update(&self, call: &Call<'_>, new: &Value, old: &Value) -> Errors {
        let mut errors = self.validate(call, new);
        errors.extend(immutable(&Path::new("data"), new.get("data"), old.get("data")));
        errors
    }
}
