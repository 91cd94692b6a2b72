//! Pods and pod templates.
//!
//! Rules: upstream's `ValidatePodSpec` and `ValidatePodCreate`, for the most common mistakes.

use super::{
    Errors, at_least, container,
    container::Scope,
    ephemeral,
    meta::{invalid, labels, name_errors},
    one_of, volume,
};
use crate::{meta, strategy::NameRule};
use keelson_schema::{FieldError, Path};
use keelson_semantics::names;
use serde_json::Value;
use std::collections::BTreeSet;

/// A PodSpec, of a pod or of a template.
pub fn spec(path: &Path, spec: &Value) -> Errors {
    let mut errors = Errors::new();
    let mut volumes = BTreeSet::new();
    errors.extend(volume::volumes(&path.child("volumes"), meta::items(spec, &["volumes"]), &mut volumes));
    let host_network = spec.get("hostNetwork") == Some(&Value::Bool(true));
    let mut scope = Scope {
        volumes,
        restart_policy: meta::text(spec, &["restartPolicy"]),
        host_network,
        names: BTreeSet::new(),
        host_ports: BTreeSet::new(),
    };
    let main = meta::items(spec, &["containers"]);
    if main.is_empty() {
        errors.push(FieldError::required(&path.child("containers"), ""));
    }
    errors.extend(container::containers(&path.child("containers"), main, false, &mut scope));
    // Init containers run one after another: their host ports do not collide with those of the others.
    scope.host_ports.clear();
    let init = meta::items(spec, &["initContainers"]);
    errors.extend(container::containers(&path.child("initContainers"), init, true, &mut scope));
    errors.extend(ephemeral::containers(&path.child("ephemeralContainers"), spec, &mut scope));
    errors.extend(one_of(path, spec, "restartPolicy", &["Always", "OnFailure", "Never"]));
    errors.extend(one_of(
        path,
        spec,
        "dnsPolicy",
        &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"],
    ));
    errors.extend(at_least(path, spec, "activeDeadlineSeconds", 1));
    errors.extend(names_in(path, spec));
    errors.extend(labels(&path.child("nodeSelector"), spec.get("nodeSelector")));
    errors.extend(tolerations(&path.child("tolerations"), meta::items(spec, &["tolerations"])));
    errors.extend(node_affinity(&path.child("affinity.nodeAffinity"), spec));
    errors.extend(dns(path, spec));
    errors
}

fn names_in(path: &Path, spec: &Value) -> Errors {
    let mut errors = Errors::new();
    let rows = [
        ("nodeName", NameRule::Subdomain),
        ("serviceAccountName", NameRule::Subdomain),
        ("hostname", NameRule::Label),
        ("subdomain", NameRule::Label),
        ("priorityClassName", NameRule::Subdomain),
        ("runtimeClassName", NameRule::Subdomain),
    ];
    for (key, rule) in rows {
        let name = meta::text(spec, &[key]);
        if !name.is_empty() {
            errors.extend(invalid(&path.child(key), name, name_errors(rule, name)));
        }
    }
    errors
}

/// spec.tolerations.
pub fn tolerations(path: &Path, list: &[Value]) -> Errors {
    let mut errors = Errors::new();
    for (index, toleration) in list.iter().enumerate() {
        let path = path.index(index);
        let (key, value) = (meta::text(toleration, &["key"]), meta::text(toleration, &["value"]));
        let (operator, effect) = (meta::text(toleration, &["operator"]), meta::text(toleration, &["effect"]));
        if !key.is_empty() {
            errors.extend(invalid(&path.child("key"), key, names::qualified_name(key)));
        } else if operator != "Exists" {
            let detail =
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.push(FieldError::invalid(&path.child("operator"), operator, detail));
        }
        if meta::at(toleration, &["tolerationSeconds"]).is_some() && effect != "NoExecute" {
            let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.push(FieldError::invalid(&path.child("effect"), effect, detail));
        }
        match operator {
            "" | "Equal" => errors.extend(invalid(&path.child("operator"), value, names::label_value(value))),
            "Exists" if !value.is_empty() => {
                let detail = "value must be empty when `operator` is 'Exists'";
                errors.push(FieldError::invalid(&path.child("operator"), toleration.clone(), detail));
            }
            "Exists" => {}
            _ => errors.extend(one_of(&path, toleration, "operator", &["Equal", "Exists"])),
        }
        if !effect.is_empty() {
            let known = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
            errors.extend(one_of(&path, toleration, "effect", &known));
        }
    }
    errors
}

fn node_affinity(path: &Path, spec: &Value) -> Errors {
    let required = ["affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution"];
    let Some(required) = meta::at(spec, &required) else { return Errors::new() };
    node_selector(&path.child("requiredDuringSchedulingIgnoredDuringExecution"), required)
}

/// A NodeSelector: at least one term.
pub fn node_selector(path: &Path, selector: &Value) -> Errors {
    let mut errors = Errors::new();
    let path = path.child("nodeSelectorTerms");
    let terms = meta::items(selector, &["nodeSelectorTerms"]);
    if terms.is_empty() {
        errors.push(FieldError::required(&path, "must have at least one node selector term"));
    }
    for (index, term) in terms.iter().enumerate() {
        let path = path.index(index).child("matchExpressions");
        for (index, expression) in meta::items(term, &["matchExpressions"]).iter().enumerate() {
            errors.extend(node_expression(&path.index(index), expression));
        }
    }
    errors
}

fn node_expression(path: &Path, expression: &Value) -> Errors {
    let mut errors = Errors::new();
    let values = meta::items(expression, &["values"]).len();
    let key = meta::text(expression, &["key"]);
    errors.extend(invalid(&path.child("key"), key, names::qualified_name(key)));
    match meta::text(expression, &["operator"]) {
        "In" | "NotIn" if values == 0 => {
            let detail = "must be specified when `operator` is 'In' or 'NotIn'";
            errors.push(FieldError::required(&path.child("values"), detail));
        }
        "Exists" | "DoesNotExist" if values > 0 => {
            let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.push(FieldError::forbidden(&path.child("values"), detail));
        }
        "Gt" | "Lt" if values != 1 => {
            let detail = "must be specified single value when `operator` is 'Lt' or 'Gt'";
            errors.push(FieldError::required(&path.child("values"), detail));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => {
            errors.push(FieldError::invalid(&path.child("operator"), other, "not a valid selector operator"));
        }
    }
    errors
}

fn dns(path: &Path, spec: &Value) -> Errors {
    let mut errors = Errors::new();
    let servers = meta::items(spec, &["dnsConfig", "nameservers"]);
    let path = path.child("dnsConfig");
    if meta::text(spec, &["dnsPolicy"]) == "None" && servers.is_empty() {
        let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
        errors.push(FieldError::required(&path.child("nameservers"), detail));
    }
    if servers.len() > 3 {
        let detail = "must not have more than 3 nameservers";
        errors.push(FieldError::invalid(&path.child("nameservers"), Value::from(servers.to_vec()), detail));
    }
    for (index, server) in servers.iter().enumerate() {
        let server = server.as_str().unwrap_or_default();
        let path = path.child("nameservers").index(index);
        errors.extend(invalid(
            &path,
            server,
            match server.parse::<std::net::IpAddr>() {
                Ok(_) => Vec::new(),
                Err(_) => name_errors(NameRule::Ip, server),
            },
        ));
    }
    errors
}

/// What a new pod must not have.
pub fn create(object: &Value) -> Errors {
    let mut errors = spec(&Path::new("spec"), &object["spec"]);
    if !meta::items(object, &["spec", "ephemeralContainers"]).is_empty() {
        let detail = "cannot be set on create";
        errors.push(FieldError::forbidden(&Path::new("spec.ephemeralContainers"), detail));
    }
    errors
}
