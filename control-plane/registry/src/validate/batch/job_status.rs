//! The status of a Job: counts, and an end that stays one.
//!
//! Rules: upstream's `ValidateJobStatus` and `ValidateJobUpdateStatus`, for what every controller of Jobs must keep.

use crate::{
    meta,
    validate::{Errors, non_negative},
};
use keelson_schema::{FieldError, Path};
use serde_json::Value;

/// A change of a Job's status.
pub fn job_status(new: &Value, old: &Value) -> Errors {
    let (path, status) = (Path::new("status"), &new["status"]);
    let counts = ["active", "succeeded", "failed", "ready", "terminating"];
    let mut errors: Errors = counts.iter().filter_map(|key| non_negative(&path, status, key)).collect();
    errors.extend(ended(&path, new));
    for condition in ["Complete", "Failed", "FailureTarget", "SuccessCriteriaMet"] {
        if has(old, condition) && !has(new, condition) {
            let conditions = Value::from(meta::items(status, &["conditions"]).to_vec());
            let detail = format!("cannot disable the terminal {condition}=True condition");
            errors.push(FieldError::invalid(&path.child("conditions"), conditions, detail));
        }
    }
    errors
}

fn ended(path: &Path, job: &Value) -> Errors {
    let status = &job["status"];
    let conditions = || Value::from(meta::items(status, &["conditions"]).to_vec());
    let own = path.child("conditions");
    let mut errors = Errors::new();
    let (complete, failed) = (has(job, "Complete"), has(job, "Failed"));
    if complete && failed {
        let detail = "cannot set Complete=True and Failed=true conditions";
        errors.push(FieldError::invalid(&own, conditions(), detail));
    }
    if complete && has(job, "FailureTarget") {
        let detail = "cannot set Complete=True and FailureTarget=true conditions";
        errors.push(FieldError::invalid(&own, conditions(), detail));
    }
    let started = meta::text(status, &["startTime"]);
    let completed = meta::text(status, &["completionTime"]);
    if (complete || failed) && meta::number(status, &["active"]).unwrap_or_default() > 0 {
        let detail = "active>0 is invalid for finished job";
        let active = meta::number(status, &["active"]).unwrap_or_default();
        errors.push(FieldError::invalid(&path.child("active"), active, detail));
    }
    if complete && completed.is_empty() {
        let detail = "completionTime is required for Complete jobs";
        errors.push(FieldError::required(&path.child("completionTime"), detail));
    }
    if !complete && !completed.is_empty() {
        let detail = "cannot set completionTime when there is no Complete=True condition";
        errors.push(FieldError::invalid(&path.child("completionTime"), completed, detail));
    }
    if (complete || failed) && started.is_empty() {
        let detail = "startTime is required for finished job";
        errors.push(FieldError::required(&path.child("startTime"), detail));
    }
    // Times are canonical: their order is that of their texts.
    if !started.is_empty() && !completed.is_empty() && completed < started {
        let detail = "completionTime cannot be set before startTime";
        errors.push(FieldError::invalid(&path.child("completionTime"), completed, detail));
    }
    errors
}

fn has(job: &Value, condition: &str) -> bool {
    meta::items(job, &["status", "conditions"])
        .iter()
        .any(|own| meta::text(own, &["type"]) == condition && meta::text(own, &["status"]) == "True")
}
