//! One metric of an autoscaler: exactly the source that its type names, with a target that can be reached.

use super::reference;
use crate::{
    meta,
    validate::{Errors, meta::invalid, resources},
};
use keelson_schema::{FieldError, Path};
use keelson_semantics::names;
use serde_json::Value;

const TYPES: &[&str] = &["ContainerResource", "External", "Object", "Pods", "Resource"];
/// What is wrong with a source.
type Check = fn(&Path, &Value) -> Errors;

/// Key and check of each source, in upstream's order: only the first that is given is looked at.
const SOURCES: &[(&str, Check)] = &[
    ("object", object),
    ("external", external),
    ("pods", pods),
    ("resource", resource),
    ("containerResource", container_resource),
];

/// One of spec.metrics.
pub(super) fn metric(path: &Path, metric: &Value) -> Errors {
    let mut errors = Errors::new();
    let kind = meta::text(metric, &["type"]);
    if kind.is_empty() {
        errors.push(FieldError::required(&path.child("type"), "must specify a metric source type"));
    }
    if !TYPES.contains(&kind) {
        errors.push(FieldError::not_supported(&path.child("type"), kind, TYPES));
    }
    let given: Vec<_> = SOURCES.iter().filter(|(key, _)| meta::at(metric, &[key]).is_some()).collect();
    if let Some((key, check)) = given.first() {
        errors.extend(check(&path.child(key), &metric[*key]));
    }
    let mut expected = kind.to_owned();
    if let Some(first) = expected.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    if !given.iter().any(|(key, _)| *key == expected) {
        let detail = "must populate information for the given metric source";
        errors.push(FieldError::required(&path.child(&expected), detail));
    }
    if given.len() != 1 {
        for (key, _) in given.iter().filter(|(key, _)| *key != expected) {
            let detail = "must populate the given metric source only";
            errors.push(FieldError::forbidden(&path.child(key), detail));
        }
    }
    errors
}

fn object(path: &Path, source: &Value) -> Errors {
    let mut errors = reference(&path.child("describedObject"), &source["describedObject"]);
    errors.extend(identifier(&path.child("metric"), &source["metric"]));
    errors.extend(target(&path.child("target"), &source["target"]));
    if !has(source, "value") && !has(source, "averageValue") {
        let detail = "must set either a target value or averageValue";
        errors.push(FieldError::required(&path.child("target.averageValue"), detail));
    }
    errors
}

fn external(path: &Path, source: &Value) -> Errors {
    let mut errors = identifier(&path.child("metric"), &source["metric"]);
    errors.extend(target(&path.child("target"), &source["target"]));
    match (has(source, "value"), has(source, "averageValue")) {
        (false, false) => {
            let detail = "must set either a target value for metric or a per-pod target";
            errors.push(FieldError::required(&path.child("target.averageValue"), detail));
        }
        (true, true) => {
            let detail = "may not set both a target value for metric and a per-pod target";
            errors.push(FieldError::forbidden(&path.child("target.value"), detail));
        }
        _ => {}
    }
    errors
}

fn pods(path: &Path, source: &Value) -> Errors {
    let mut errors = identifier(&path.child("metric"), &source["metric"]);
    errors.extend(target(&path.child("target"), &source["target"]));
    if !is_positive(&source["target"]["averageValue"]) {
        let detail = "must specify a positive target averageValue";
        errors.push(FieldError::required(&path.child("target.averageValue"), detail));
    }
    errors
}

fn container_resource(path: &Path, source: &Value) -> Errors {
    let mut errors = Errors::new();
    if meta::text(source, &["container"]).is_empty() {
        errors.push(FieldError::required(&path.child("container"), "must specify a container"));
    }
    errors.extend(resource(path, source));
    errors
}

fn resource(path: &Path, source: &Value) -> Errors {
    let mut errors = Errors::new();
    if meta::text(source, &["name"]).is_empty() {
        errors.push(FieldError::required(&path.child("name"), "must specify a resource name"));
    }
    errors.extend(target(&path.child("target"), &source["target"]));
    match (has(source, "averageUtilization"), has(source, "averageValue")) {
        (false, false) => {
            let detail = "must set either a target raw value or a target utilization";
            errors.push(FieldError::required(&path.child("target.averageUtilization"), detail));
        }
        (true, true) => {
            let detail = "may not set both a target raw value and a target utilization";
            errors.push(FieldError::forbidden(&path.child("target.averageValue"), detail));
        }
        _ => {}
    }
    errors
}

fn has(source: &Value, key: &str) -> bool {
    meta::at(source, &["target", key]).is_some()
}

fn is_positive(amount: &Value) -> bool {
    resources::quantity(amount).is_some_and(|amount| !amount.is_negative() && !amount.is_zero())
}

fn target(path: &Path, target: &Value) -> Errors {
    let mut errors = Errors::new();
    let kind = meta::text(target, &["type"]);
    if kind.is_empty() {
        errors.push(FieldError::required(&path.child("type"), "must specify a metric target type"));
    }
    if !["Utilization", "Value", "AverageValue"].contains(&kind) {
        let detail = "must be either Utilization, Value, or AverageValue";
        errors.push(FieldError::invalid(&path.child("type"), kind, detail));
    }
    for key in ["value", "averageValue"] {
        if let Some(amount) = meta::at(target, &[key]).filter(|amount| !is_positive(amount)) {
            errors.push(FieldError::invalid(&path.child(key), amount.clone(), "must be positive"));
        }
    }
    if let Some(percent) = meta::number(target, &["averageUtilization"]).filter(|percent| *percent < 1) {
        let path = path.child("averageUtilization");
        errors.push(FieldError::invalid(&path, percent, "must be greater than 0"));
    }
    errors
}

fn identifier(path: &Path, metric: &Value) -> Errors {
    let name = meta::text(metric, &["name"]);
    match name {
        "" => vec![FieldError::required(&path.child("name"), "must specify a metric name")],
        name => invalid(&path.child("name"), name, names::path_segment(name)),
    }
}
