//! What may change in a Job.
//!
//! Rules: upstream's `ValidateJobSpecUpdate`, `validateCompletions` and `validatePodTemplateUpdate`.

use super::job::{is_indexed, job};
use crate::{
    meta,
    validate::{Errors, meta::immutable},
};
use keelson_schema::{FieldError, Path};
use serde_json::{Value, json};

/// A change of a Job.
pub fn job_update(new: &Value, old: &Value) -> Errors {
    const FIXED: &[&str] = &[
        "selector",
        "completionMode",
        "podFailurePolicy",
        "backoffLimitPerIndex",
        "managedBy",
        "successPolicy",
    ];
    let path = Path::new("spec");
    let (after, before) = (&new["spec"], &old["spec"]);
    let mut errors = job(after);
    errors.extend(completions(&path, after, before));
    errors.extend(
        FIXED
            .iter()
            .filter_map(|key| immutable(&path.child(key), meta::at(after, &[key]), meta::at(before, &[key]))),
    );
    errors.extend(template(&path, new, old));
    errors
}

/// Only an indexed Job grows and shrinks, and then as a whole.
fn completions(path: &Path, after: &Value, before: &Value) -> Option<FieldError> {
    let own = path.child("completions");
    let (now, then) = (meta::number(after, &["completions"]), meta::number(before, &["completions"]));
    if !is_indexed(after) {
        return immutable(&own, now.map(Value::from).as_ref(), then.map(Value::from).as_ref());
    }
    let now = now.filter(|now| Some(*now) != then)?;
    (Some(now) != meta::number(after, &["parallelism"]))
        .then(|| FieldError::invalid(&own, now, "can only be modified in tandem with spec.parallelism"))
}

/// Where its pods may go, and what they ask for, can change while a Job is suspended and has no pods.
fn template(path: &Path, new: &Value, old: &Value) -> Option<FieldError> {
    let was_suspended = old.pointer("/spec/suspend") == Some(&json!(true));
    let active = meta::number(old, &["status", "active"]).unwrap_or_default();
    let mut now = new["spec"]["template"].clone();
    let then = &old["spec"]["template"];
    if was_suspended && active == 0 {
        for key in ["labels", "annotations"] {
            carry_in(&mut now, then, "metadata", key);
        }
        for key in ["nodeSelector", "affinity", "tolerations", "schedulingGates"] {
            carry_in(&mut now, then, "spec", key);
        }
        for list in ["containers", "initContainers"] {
            let before = meta::items(then, &["spec", list]);
            let Some(containers) = now.pointer_mut(&format!("/spec/{list}")).and_then(Value::as_array_mut)
            else {
                continue;
            };
            for (container, old) in containers.iter_mut().zip(before) {
                meta::carry(meta::map_of(container), "resources", old.get("resources"));
            }
        }
    }
    immutable(&path.child("template"), Some(&now), Some(then))
}

fn carry_in(now: &mut Value, then: &Value, parent: &str, key: &str) {
    let before = meta::at(then, &[parent, key]);
    if let Some(parent) = now.get_mut(parent) {
        meta::carry(meta::map_of(parent), key, before);
    } else if let Some(before) = before {
        now[parent] = json!({key: before});
    }
}
