//! spec.podFailurePolicy of a Job: which failures of pods count, and which end the Job.
//!
//! Rules: upstream's `validatePodFailurePolicy`.

use crate::{
    meta,
    validate::{Errors, meta::invalid, one_of, wrong},
};
use keelson_schema::{FieldError, Path};
use keelson_semantics::names;
use serde_json::Value;

const RULES_MAX: usize = 20;
const PATTERNS_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;
const ACTIONS: &[&str] = &["Count", "FailIndex", "FailJob", "Ignore"];
const OPERATORS: &[&str] = &["In", "NotIn"];
const STATUSES: &[&str] = &["False", "True", "Unknown"];

/// The policy of a Job with this spec.
pub(super) fn failure_policy(path: &Path, policy: &Value, spec: &Value) -> Errors {
    let (path, rules) = (path.child("rules"), meta::items(policy, &["rules"]));
    let mut errors = Errors::new();
    if rules.len() > RULES_MAX {
        errors.push(FieldError::too_many(&path, rules.len(), RULES_MAX));
    }
    for (index, rule) in rules.iter().enumerate() {
        errors.extend(self::rule(&path.index(index), rule, spec));
    }
    errors
}

fn rule(path: &Path, rule: &Value, spec: &Value) -> Errors {
    let mut errors = action(path, rule, spec);
    let codes = meta::at(rule, &["onExitCodes"]);
    let patterns = meta::items(rule, &["onPodConditions"]);
    if let Some(codes) = codes {
        errors.extend(exit_codes(&path.child("onExitCodes"), codes, spec));
    }
    let own = path.child("onPodConditions");
    if patterns.len() > PATTERNS_MAX {
        errors.push(FieldError::too_many(&own, patterns.len(), PATTERNS_MAX));
    }
    for (index, pattern) in patterns.iter().enumerate() {
        errors.extend(self::pattern(&own.index(index), pattern));
    }
    match (codes.is_some(), patterns.is_empty()) {
        (true, false) => {
            errors.push(wrong(path, "specifying both OnExitCodes and OnPodConditions is not supported"));
        }
        (false, true) => {
            errors.push(wrong(path, "specifying one of OnExitCodes and OnPodConditions is required"));
        }
        _ => {}
    }
    errors
}

fn action(path: &Path, rule: &Value, spec: &Value) -> Errors {
    let own = path.child("action");
    match meta::text(rule, &["action"]) {
        "" => vec![required_one_of(&own, ACTIONS)],
        "FailIndex" if meta::at(spec, &["backoffLimitPerIndex"]).is_none() => {
            let detail = "requires the backoffLimitPerIndex to be set";
            vec![FieldError::invalid(&own, "FailIndex", detail)]
        }
        _ => one_of(path, rule, "action", ACTIONS).into_iter().collect(),
    }
}

fn required_one_of(path: &Path, known: &[&str]) -> FieldError {
    FieldError::required(path, format!("valid values: [{}]", known.join(" ")))
}

fn exit_codes(path: &Path, codes: &Value, spec: &Value) -> Errors {
    let operator = meta::text(codes, &["operator"]);
    let mut errors = Errors::new();
    match operator {
        "" => errors.push(required_one_of(&path.child("operator"), OPERATORS)),
        _ => errors.extend(one_of(path, codes, "operator", OPERATORS)),
    }
    if let Some(name) = meta::at(codes, &["containerName"]).and_then(Value::as_str) {
        let containers = |list: &str| meta::items(spec, &["template", "spec", list]).to_vec();
        let is_known = ["containers", "initContainers"]
            .into_iter()
            .flat_map(containers)
            .any(|container| meta::text(&container, &["name"]) == name);
        if !is_known {
            let detail = "must be one of the container or initContainer names in the pod template";
            errors.push(FieldError::invalid(&path.child("containerName"), name, detail));
        }
    }
    errors.extend(values(&path.child("values"), meta::items(codes, &["values"]), operator));
    errors
}

fn values(path: &Path, values: &[Value], operator: &str) -> Errors {
    let whole = Value::from(values.to_vec());
    let mut errors = Errors::new();
    if values.is_empty() {
        errors.push(FieldError::invalid(path, whole.clone(), "at least one value is required"));
    } else if values.len() > EXIT_CODES_MAX {
        errors.push(FieldError::too_many(path, values.len(), EXIT_CODES_MAX));
    }
    let numbers: Vec<i64> = values.iter().map(|value| value.as_i64().unwrap_or_default()).collect();
    for (index, number) in numbers.iter().enumerate() {
        if *number == 0 && operator == "In" {
            let detail = "must not be 0 for the In operator";
            errors.push(FieldError::invalid(&path.index(index), 0, detail));
        }
        if numbers[..index].contains(number) {
            errors.push(FieldError::duplicate(&path.index(index), *number));
        }
    }
    if !numbers.is_sorted() {
        errors.push(FieldError::invalid(path, whole, "must be ordered"));
    }
    errors
}

fn pattern(path: &Path, pattern: &Value) -> Errors {
    let kind = meta::text(pattern, &["type"]);
    let mut errors = invalid(&path.child("type"), kind, names::qualified_name(kind));
    match meta::text(pattern, &["status"]) {
        "" => errors.push(required_one_of(&path.child("status"), STATUSES)),
        _ => errors.extend(one_of(path, pattern, "status", STATUSES)),
    }
    errors
}
