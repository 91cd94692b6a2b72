//! ResourceQuotas: names that something is counted under, amounts of them, and scopes that go together.
//!
//! Rules: upstream's `ValidateResourceQuota` and what it calls.

use super::{
    Errors,
    meta::{immutable, invalid},
    resources,
};
use crate::meta;
use keelson_schema::{FieldError, Path};
use keelson_semantics::names;
use serde_json::Value;

/// Names without a domain.
const STANDARD: &[&str] = &[
    "configmaps",
    "cpu",
    "ephemeral-storage",
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "memory",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
    "requests.storage",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
];
/// Names of which there are whole numbers only.
const INTEGER: &[&str] = &[
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
];
const SCOPES: &[&str] = &[
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
];
/// Scopes that are there or not, without values.
const EXISTS_ONLY: &[&str] =
    &["BestEffort", "CrossNamespacePodAffinity", "NotBestEffort", "NotTerminating", "Terminating"];
/// Scopes of which no pod has both.
const OPPOSITES: [[&str; 2]; 2] = [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]];

/// A ResourceQuota.
pub fn quota(object: &Value) -> Errors {
    let mut errors = amounts(&object["spec"], "spec", "hard");
    errors.extend(scopes(&object["spec"]));
    errors.extend(selector(&object["spec"]));
    errors
}

/// A list of amounts in the spec or status.
pub fn amounts(parent: &Value, part: &str, list: &str) -> Errors {
    let path = Path::new(part).child(list);
    let mut errors = Errors::new();
    for (name, amount) in meta::entries(parent, &[list]) {
        let path = path.key(name);
        errors.extend(resource_name(&path, name));
        let Some(quantity) = resources::quantity(amount) else { continue };
        if quantity.is_negative() {
            errors.push(FieldError::invalid(&path, amount.clone(), "must be greater than or equal to 0"));
        }
        if INTEGER.contains(&name.as_str()) && quantity.milli_value() % 1000 != 0 {
            errors.push(FieldError::invalid(&path, amount.clone(), "must be an integer"));
        }
    }
    errors
}

fn resource_name(path: &Path, name: &str) -> Errors {
    let mut errors = invalid(path, name, names::qualified_name(name));
    let is_standard =
        STANDARD.contains(&name) || name.starts_with("hugepages-") || name.starts_with("requests.hugepages-");
    if !name.contains('/') && !is_standard {
        errors.push(FieldError::invalid(path, name, "must be a standard resource for quota"));
    }
    errors
}

/// The scopes are those that the quota was made with.
pub fn scopes_unchanged(new: &Value, old: &Value) -> Option<FieldError> {
    let sorted = |object: &Value| {
        let mut all: Vec<String> = texts(&object["spec"]).into_iter().map(str::to_owned).collect();
        all.sort();
        all.dedup();
        serde_json::json!(all)
    };
    immutable(&Path::new("spec.scopes"), Some(&sorted(new)), Some(&sorted(old)))
}

fn texts(spec: &Value) -> Vec<&str> {
    meta::items(spec, &["scopes"]).iter().filter_map(Value::as_str).collect()
}

fn scopes(spec: &Value) -> Errors {
    let path = Path::new("spec.scopes");
    let all = texts(spec);
    let shown = || serde_json::json!(all);
    let mut errors = Errors::new();
    for scope in &all {
        if !SCOPES.contains(scope) {
            errors.push(FieldError::invalid(&path, shown(), "unsupported scope"));
        }
        if !goes_with_all(scope, spec) {
            errors.push(FieldError::invalid(&path, shown(), "unsupported scope applied to resource"));
        }
    }
    if OPPOSITES.iter().any(|both| both.iter().all(|scope| all.contains(scope))) {
        errors.push(FieldError::invalid(&path, shown(), "conflicting scopes"));
    }
    errors
}

/// Whether every standard resource that the quota bounds is one of the scope's objects.
fn goes_with_all(scope: &str, spec: &Value) -> bool {
    const COMPUTE: &[&str] =
        &["pods", "cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"];
    meta::entries(spec, &["hard"]).map(|(name, _)| name.as_str()).filter(|name| STANDARD.contains(name)).all(
        |name| match scope {
            "BestEffort" => name == "pods",
            "VolumeAttributesClass" => matches!(name, "persistentvolumeclaims" | "requests.storage"),
            _ if SCOPES.contains(&scope) => COMPUTE.contains(&name),
            _ => true,
        },
    )
}

fn selector(spec: &Value) -> Errors {
    let path = Path::new("spec.scopeSelector.matchExpressions");
    let all = meta::items(spec, &["scopeSelector", "matchExpressions"]);
    let mut errors = Errors::new();
    for (index, one) in all.iter().enumerate() {
        errors.extend(requirement(&path.index(index), one, spec));
    }
    let chosen: Vec<&str> = all.iter().map(|one| meta::text(one, &["scopeName"])).collect();
    if OPPOSITES.iter().any(|both| both.iter().all(|scope| chosen.contains(scope))) {
        errors.push(FieldError::invalid(&path, all.to_vec(), "conflicting scopes"));
    }
    errors
}

fn requirement(path: &Path, one: &Value, spec: &Value) -> Errors {
    let (scope, operator) = (meta::text(one, &["scopeName"]), meta::text(one, &["operator"]));
    let values = meta::items(one, &["values"]);
    let mut errors = Errors::new();
    if !SCOPES.contains(&scope) {
        errors.push(FieldError::invalid(&path.child("scopeName"), scope, "unsupported scope"));
    }
    if !goes_with_all(scope, spec) {
        errors.push(FieldError::invalid(path, one.clone(), "unsupported scope applied to resource"));
    }
    if EXISTS_ONLY.contains(&scope) && operator != "Exists" {
        let detail = "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, \
                      ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort \
                      or ResourceQuotaScopeCrossNamespacePodAffinity";
        errors.push(FieldError::invalid(&path.child("operator"), operator, detail));
    }
    match operator {
        "In" | "NotIn" if values.is_empty() => {
            let detail = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
            errors.push(FieldError::required(&path.child("values"), detail));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let detail = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
            errors.push(FieldError::invalid(&path.child("values"), values.to_vec(), detail));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        _ => {
            let detail = "not a valid selector operator";
            errors.push(FieldError::invalid(&path.child("operator"), operator, detail));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_amounts_and_scopes_are_checked() {
        let select = |scope: &str, operator: &str, values: &[&str]| json!({"scopeSelector": {"matchExpressions": [{"scopeName": scope, "operator": operator, "values": values}]}});
        let rows: [(Value, &[&str]); 14] = [
            (json!({"hard": {"cpu": "1", "count/jobs.batch": "3", "requests.example.com/x": "1"}}), &[]),
            (json!({"hard": {"x.storageclass.storage.k8s.io/requests.storage": "1Gi"}}), &[]),
            (json!({"hard": {"dogs": "1"}}), &["spec.hard[dogs]"]),
            (json!({"hard": {"cpu": "-1"}}), &["spec.hard[cpu]"]),
            (json!({"hard": {"pods": "1500m"}}), &["spec.hard[pods]"]),
            (json!({"hard": {"pods": "1"}, "scopes": ["BestEffort", "Terminating"]}), &[]),
            (json!({"hard": {"cpu": "1"}, "scopes": ["BestEffort"]}), &["spec.scopes"]),
            (json!({"scopes": ["BestEffort", "NotBestEffort"]}), &["spec.scopes"]),
            (json!({"scopes": ["Sometimes"]}), &["spec.scopes"]),
            (select("PriorityClass", "In", &["high"]), &[]),
            (select("PriorityClass", "In", &[]), &["spec.scopeSelector.matchExpressions[0].values"]),
            (select("PriorityClass", "Exists", &["x"]), &["spec.scopeSelector.matchExpressions[0].values"]),
            (select("Terminating", "In", &["x"]), &["spec.scopeSelector.matchExpressions[0].operator"]),
            (select("PriorityClass", "Is", &[]), &["spec.scopeSelector.matchExpressions[0].operator"]),
        ];
        for (spec, expected) in rows {
            let found = quota(&json!({"spec": spec}));
            let fields: Vec<&str> = found.iter().map(|error| error.field.as_str()).collect();
            assert_eq!(fields, expected, "{spec}");
        }
        let with = |scopes: Value| json!({"spec": {"scopes": scopes}});
        assert!(scopes_unchanged(&with(json!(["A", "B"])), &with(json!(["B", "A"]))).is_none());
        assert!(scopes_unchanged(&with(json!(["A"])), &with(json!([]))).is_some());
    }
}
