//! Ingress and IngressClass: hosts, paths, backends, parameters.
//!
//! Rules: upstream's `ValidateIngressSpec`, `ValidateIngressStatusUpdate` and `ValidateIngressClass`.

use super::super::{
    Errors, domain_prefixed, ip, meta::invalid, one_of, port_number, required, service::status::host,
};
use crate::meta;
use keelson_schema::{FieldError, Path};
use keelson_semantics::names;
use serde_json::{Value, json};
use std::net::IpAddr;

const CONTROLLER_BYTES_MAX: usize = 250;

/// An Ingress's spec.
pub fn ingress(object: &Value) -> Errors {
    let path = Path::new("spec");
    let rules = meta::items(object, &["spec", "rules"]);
    let default = meta::at(object, &["spec", "defaultBackend"]);
    let mut errors = Errors::new();
    if rules.is_empty() && default.is_none() {
        let detail = "either `defaultBackend` or `rules` must be specified";
        errors.push(FieldError::invalid(&path, json!(rules), detail));
    }
    if let Some(default) = default {
        errors.extend(backend(&path.child("defaultBackend"), default));
    }
    for (index, rule) in rules.iter().enumerate() {
        errors.extend(self::rule(&path.child("rules").index(index), rule));
    }
    for (index, tls) in meta::items(object, &["spec", "tls"]).iter().enumerate() {
        let path = path.child("tls").index(index);
        for (index, name) in meta::items(tls, &["hosts"]).iter().enumerate() {
            let name = name.as_str().unwrap_or_default();
            errors.extend(invalid(&path.child("hosts").index(index), name, host_name(name)));
        }
        let secret = meta::text(tls, &["secretName"]);
        if !secret.is_empty() {
            errors.extend(invalid(&path.child("secretName"), secret, names::dns1123_subdomain(secret)));
        }
    }
    if let Some(class) = meta::at(object, &["spec", "ingressClassName"]).and_then(Value::as_str) {
        errors.extend(invalid(&path.child("ingressClassName"), class, names::dns1123_subdomain(class)));
    }
    errors
}

/// The first label may be a wildcard.
fn host_name(name: &str) -> Vec<String> {
    if !name.contains('*') {
        return names::dns1123_subdomain(name);
    }
    let rest = name.strip_prefix("*.").unwrap_or_default();
    if name.len() <= names::SUBDOMAIN_MAX && names::dns1123_subdomain(rest).is_empty() {
        return Vec::new();
    }
    vec![
        "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist \
         of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. \
         '*.example.com')"
            .to_owned(),
    ]
}

fn rule(path: &Path, rule: &Value) -> Errors {
    let mut errors = Errors::new();
    let name = meta::text(rule, &["host"]);
    if !name.is_empty() {
        let path = path.child("host");
        if name.parse::<IpAddr>().is_ok() {
            errors.push(FieldError::invalid(&path, name, "must be a DNS name, not an IP address"));
        }
        errors.extend(invalid(&path, name, host_name(name)));
    }
    if let Some(http) = meta::at(rule, &["http"]) {
        let path = path.child("http").child("paths");
        let paths = meta::items(http, &["paths"]);
        if paths.is_empty() {
            errors.push(FieldError::required(&path, ""));
        }
        for (index, item) in paths.iter().enumerate() {
            errors.extend(http_path(&path.index(index), item));
        }
    }
    errors
}

fn http_path(path: &Path, item: &Value) -> Errors {
    let text = meta::text(item, &["path"]);
    let text_path = path.child("path");
    let mut errors = Errors::new();
    match meta::text(item, &["pathType"]) {
        "" => return vec![FieldError::required(&path.child("pathType"), "pathType must be specified")],
        "Exact" | "Prefix" => {
            if !text.starts_with('/') {
                errors.push(FieldError::invalid(&text_path, text, "must be an absolute path"));
            }
            for part in ["//", "/./", "/../", "%2f", "%2F"].into_iter().filter(|part| text.contains(part)) {
                errors.push(FieldError::invalid(&text_path, text, format!("must not contain '{part}'")));
            }
            for end in ["/..", "/."].into_iter().filter(|end| text.ends_with(end)) {
                errors.push(FieldError::invalid(&text_path, text, format!("cannot end with '{end}'")));
            }
        }
        "ImplementationSpecific" if !text.is_empty() && !text.starts_with('/') => {
            errors.push(FieldError::invalid(&text_path, text, "must be an absolute path"));
        }
        "ImplementationSpecific" => {}
        _ => errors.extend(one_of(path, item, "pathType", &["Exact", "ImplementationSpecific", "Prefix"])),
    }
    let none = Value::Null;
    errors.extend(backend(&path.child("backend"), item.get("backend").unwrap_or(&none)));
    errors
}

fn backend(path: &Path, backend: &Value) -> Errors {
    match (meta::at(backend, &["resource"]), meta::at(backend, &["service"])) {
        (Some(_), Some(_)) => {
            vec![FieldError::invalid(path, "", "cannot set both resource and service backends")]
        }
        (Some(resource), None) => reference(&path.child("resource"), resource),
        (None, Some(service)) => service_backend(path, service),
        (None, None) => vec![FieldError::invalid(path, "", "resource or service backend is required")],
    }
}

fn service_backend(path: &Path, service: &Value) -> Errors {
    let own = path.child("service");
    let name = meta::text(service, &["name"]);
    let mut errors = match name {
        "" => vec![FieldError::required(&own.child("name"), "")],
        name => invalid(&own.child("name"), name, names::dns1035_label(name)),
    };
    let (port, number) = (
        meta::text(service, &["port", "name"]),
        meta::number(service, &["port", "number"]).unwrap_or_default(),
    );
    match (port, number) {
        ("", 0) => errors.push(FieldError::required(path, "port name or number is required")),
        ("", number) => errors.extend(port_number(&own.child("port.number"), number)),
        (port, 0) => errors.extend(invalid(&own.child("port.name"), port, names::port_name(port))),
        _ => errors.push(FieldError::invalid(path, "", "cannot set both port name & port number")),
    }
    errors
}

/// A reference by group, kind and name.
fn reference(path: &Path, reference: &Value) -> Errors {
    let mut errors = Errors::new();
    if let Some(group) = meta::at(reference, &["apiGroup"]).and_then(Value::as_str) {
        errors.extend(invalid(&path.child("apiGroup"), group, names::dns1123_subdomain(group)));
    }
    for key in ["kind", "name"] {
        let text = meta::text(reference, &[key]);
        errors.extend(required(path, reference, key));
        errors.extend(invalid(&path.child(key), text, names::path_segment(text)));
    }
    errors
}

/// status.loadBalancer of an Ingress.
pub fn ingress_status(new: &Value, old: &Value) -> Errors {
    let path = Path::new("status.loadBalancer.ingress");
    let list = |object| meta::items(object, &["status", "loadBalancer", "ingress"]);
    let before: Vec<&str> = list(old).iter().map(|entry| meta::text(entry, &["ip"])).collect();
    let mut errors = Errors::new();
    for (index, entry) in list(new).iter().enumerate() {
        let path = path.index(index);
        let address = meta::text(entry, &["ip"]);
        if !address.is_empty() {
            errors.extend(ip::address(&path.child("ip"), address, &before));
        }
        errors.extend(host(&path.child("hostname"), meta::text(entry, &["hostname"])));
    }
    errors
}

/// An IngressClass's spec.
pub fn ingress_class(object: &Value) -> Errors {
    let path = Path::new("spec");
    let controller = meta::text(object, &["spec", "controller"]);
    let mut errors = Errors::new();
    let own = path.child("controller");
    if controller.is_empty() {
        errors.push(FieldError::required(&own, ""));
    } else {
        if controller.len() > CONTROLLER_BYTES_MAX {
            errors.push(FieldError::too_long(&own, CONTROLLER_BYTES_MAX));
        }
        errors.extend(domain_prefixed(&own, controller));
    }
    if let Some(parameters) = meta::at(object, &["spec", "parameters"]) {
        errors.extend(self::parameters(&path.child("parameters"), parameters));
    }
    errors
}

fn parameters(path: &Path, parameters: &Value) -> Errors {
    let mut errors = reference(path, parameters);
    let namespace = meta::at(parameters, &["namespace"]).and_then(Value::as_str);
    let own = path.child("namespace");
    match (meta::text(parameters, &["scope"]), namespace) {
        ("", _) => errors.push(FieldError::required(&path.child("scope"), "")),
        ("Namespace", None) => {
            errors.push(FieldError::required(&own, "`parameters.scope` is set to 'Namespace'"));
        }
        ("Namespace", Some(namespace)) => {
            errors.extend(invalid(&own, namespace, names::dns1123_label(namespace)));
        }
        ("Cluster", Some(_)) => {
            errors.push(FieldError::forbidden(&own, "`parameters.scope` is set to 'Cluster'"));
        }
        ("Cluster", None) => {}
        _ => errors.extend(one_of(path, parameters, "scope", &["Cluster", "Namespace"])),
    }
    errors
}
