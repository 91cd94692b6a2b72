//! What is asked for: a DeviceClass's selectors and configuration; a claim's requests, constraints and configuration.

use super::{
    CONFIG_MAX, REQUESTS_MAX, configuration, duplicates, each, each_named, fully_qualified, label, selectors,
    toleration,
};
use crate::{
    meta,
    strategy::NameRule,
    validate::{
        Errors,
        meta::{invalid, name_errors},
    },
};
use keelson_schema::{FieldError, Path};
use keelson_semantics::names;
use serde_json::Value;

const CONSTRAINTS_MAX: usize = 32;
/// Alternatives of a request.
const ALTERNATIVES_MAX: usize = 8;
const TOLERATIONS_MAX: usize = 16;

/// The spec of a DeviceClass.
pub fn class(spec: &Value) -> Errors {
    let path = Path::new("spec");
    let mut errors = selectors(&path, spec);
    errors.extend(each(&path, spec, "config", CONFIG_MAX, configuration));
    if let Some(name) = spec.get("extendedResourceName").and_then(Value::as_str)
        && !is_extended_resource(name)
    {
        let path = path.child("extendedResourceName");
        errors.push(FieldError::invalid(&path, name, "must be a valid extended resource name"));
    }
    errors
}

/// Of a domain that is not Kubernetes's own, and such that a quota can name it.
fn is_extended_resource(name: &str) -> bool {
    let domain = name.split_once('/').map(|(domain, _)| domain);
    domain.is_some_and(|domain| !domain.ends_with("kubernetes.io"))
        && !name.starts_with("requests.")
        && names::qualified_name(&format!("requests.{name}")).is_empty()
}

/// The spec of a claim, also in a template.
pub fn claim_spec(path: &Path, spec: &Value) -> Errors {
    let (path, devices) = (path.child("devices"), &spec["devices"]);
    let mut errors = each_named(&path, devices, ("requests", "name"), REQUESTS_MAX, request);
    errors.extend(each(&path, devices, "constraints", CONSTRAINTS_MAX, |path, of| {
        let mut errors = references(path, of, devices);
        errors.extend(constraint(path, of));
        errors
    }));
    errors.extend(each(&path, devices, "config", CONFIG_MAX, |path, of| {
        let mut errors = references(path, of, devices);
        errors.extend(configuration(path, of));
        errors
    }));
    errors
}

fn request(path: &Path, request: &Value) -> Errors {
    let mut errors = label(&path.child("name"), meta::text(request, &["name"]));
    let (exactly, alternatives) =
        (meta::at(request, &["exactly"]), meta::items(request, &["firstAvailable"]));
    let detail = "exactly one of `exactly` or `firstAvailable` is required";
    match (exactly, alternatives.is_empty()) {
        (None, true) => errors.push(FieldError::required(path, detail)),
        (Some(_), false) => {
            let detail = format!("{detail}, but multiple fields are set");
            errors.push(FieldError::invalid(path, Value::Null, detail));
        }
        (Some(exactly), true) => errors.extend(wanted(&path.child("exactly"), exactly)),
        (None, false) => {
            let key = ("firstAvailable", "name");
            errors.extend(each_named(path, request, key, ALTERNATIVES_MAX, |path, one| {
                let mut errors = label(&path.child("name"), meta::text(one, &["name"]));
                errors.extend(wanted(path, one));
                errors
            }));
        }
    }
    errors
}

fn wanted(path: &Path, wanted: &Value) -> Errors {
    let class = meta::text(wanted, &["deviceClassName"]);
    let at = path.child("deviceClassName");
    let mut errors = match class {
        "" => vec![FieldError::required(&at, "")],
        class => invalid(&at, class, name_errors(NameRule::Subdomain, class)),
    };
    errors.extend(selectors(path, wanted));
    let count = meta::number(wanted, &["count"]).unwrap_or_default();
    match meta::text(wanted, &["allocationMode"]) {
        "All" if count != 0 => {
            let detail = "must not be specified when allocationMode is 'All'";
            errors.push(FieldError::invalid(&path.child("count"), count, detail));
        }
        "ExactCount" if count <= 0 => {
            errors.push(FieldError::invalid(&path.child("count"), count, "must be greater than zero"));
        }
        "All" | "ExactCount" => {}
        other => {
            let known = ["All", "ExactCount"];
            errors.push(FieldError::not_supported(&path.child("allocationMode"), other, &known));
        }
    }
    if wanted.get("adminAccess") == Some(&Value::Bool(true)) {
        let detail = "admin access to devices is not supported by this cluster yet";
        errors.push(FieldError::forbidden(&path.child("adminAccess"), detail));
    }
    errors.extend(each(path, wanted, "tolerations", TOLERATIONS_MAX, toleration));
    errors
}

fn constraint(path: &Path, constraint: &Value) -> Errors {
    let given = ["matchAttribute", "distinctAttribute"].into_iter().find_map(|key| {
        constraint.get(key).and_then(Value::as_str).map(|name| fully_qualified(&path.child(key), name))
    });
    given.unwrap_or_else(|| {
        let detail = r#"exactly one of "matchAttribute" or "distinctAttribute" is required"#;
        vec![FieldError::required(path, detail)]
    })
}

/// `requests`: the names of requests of the claim, or of their alternatives.
pub(super) fn references(path: &Path, of: &Value, devices: &Value) -> Errors {
    let mut errors = each(path, of, "requests", REQUESTS_MAX, |path, name| {
        reference(path, name.as_str().unwrap_or_default(), devices)
    });
    let names = meta::items(of, &["requests"]);
    if names.len() <= REQUESTS_MAX {
        errors.extend(duplicates(&path.child("requests"), names, Value::clone));
    }
    errors
}

/// One such name.
pub(super) fn reference(path: &Path, name: &str, devices: &Value) -> Errors {
    let unknown = || {
        let detail = "must be the name of a request in the claim or the name of a request and a subrequest \
                      separated by '/'";
        FieldError::invalid(path, name, detail)
    };
    let parts: Vec<&str> = name.split('/').collect();
    if parts.len() > 2 {
        return vec![unknown()];
    }
    let mut errors: Errors = parts.iter().flat_map(|part| label(path, part)).collect();
    let named = |items: &'_ [Value], name: &str| {
        items.iter().find(|item| meta::text(item, &["name"]) == name).cloned()
    };
    let found = named(meta::items(devices, &["requests"]), parts[0]).is_some_and(|request| {
        let alternatives = meta::items(&request, &["firstAvailable"]);
        parts.get(1).is_none_or(|part| named(alternatives, part).is_some())
    });
    if !found {
        errors.push(unknown());
    }
    errors
}
