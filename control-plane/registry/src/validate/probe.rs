//! Probes and lifecycle handlers.
//!
//! Rules: upstream's `validateProbe`, `validateHandler` and `validateLifecycle`.

use super::{Errors, non_negative, one_of, port_number, port_reference, required};
use crate::meta;
use keelson_schema::{FieldError, Path};
use keelson_semantics::names;
use serde_json::Value;

/// Which handlers a place may have.
const PROBE_HANDLERS: &[&str] = &["exec", "httpGet", "tcpSocket", "grpc"];
const LIFECYCLE_HANDLERS: &[&str] = &["exec", "httpGet", "tcpSocket", "sleep"];

/// The three probes of a container.
pub fn probes(path: &Path, container: &Value) -> Errors {
    let mut errors = Errors::new();
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = meta::at(container, &[name]) else { continue };
        let path = path.child(name);
        errors.extend(handler(&path, probe, PROBE_HANDLERS));
        for key in
            ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"]
        {
            errors.extend(non_negative(&path, probe, key));
        }
        let once = meta::number(probe, &["successThreshold"]).unwrap_or(1);
        if name != "readinessProbe" && once != 1 {
            errors.push(FieldError::invalid(&path.child("successThreshold"), once, "must be 1"));
        }
        if let Some(grace) = meta::number(probe, &["terminationGracePeriodSeconds"]) {
            let path = path.child("terminationGracePeriodSeconds");
            if name == "readinessProbe" {
                errors.push(FieldError::invalid(&path, grace, "must not be set for readinessProbes"));
            } else if grace <= 0 {
                errors.push(FieldError::invalid(&path, grace, "must be greater than 0"));
            }
        }
    }
    errors
}

/// postStart and preStop.
pub fn lifecycle(path: &Path, container: &Value) -> Errors {
    let mut errors = Errors::new();
    for name in ["postStart", "preStop"] {
        if let Some(hook) = meta::at(container, &["lifecycle", name]) {
            errors.extend(handler(&path.child("lifecycle").child(name), hook, LIFECYCLE_HANDLERS));
        }
    }
    errors
}

fn handler(path: &Path, probe: &Value, known: &[&str]) -> Errors {
    let mut errors = Errors::new();
    let given: Vec<&str> = known.iter().copied().filter(|name| meta::at(probe, &[name]).is_some()).collect();
    for extra in given.iter().skip(1) {
        errors.push(FieldError::forbidden(&path.child(extra), "may not specify more than 1 handler type"));
    }
    let Some(name) = given.first() else {
        return vec![FieldError::required(path, "must specify a handler type")];
    };
    let (path, action) = (path.child(name), &probe[*name]);
    match *name {
        "exec" if meta::items(action, &["command"]).is_empty() => {
            errors.push(FieldError::required(&path.child("command"), ""));
        }
        "httpGet" => errors.extend(http_get(&path, action)),
        "tcpSocket" => errors.extend(port_reference(&path.child("port"), &action["port"])),
        "grpc" => {
            errors.extend(port_number(
                &path.child("port"),
                meta::number(action, &["port"]).unwrap_or_default(),
            ));
        }
        _ => {}
    }
    errors
}

fn http_get(path: &Path, action: &Value) -> Errors {
    let mut errors = Errors::new();
    errors.extend(required(path, action, "path"));
    errors.extend(port_reference(&path.child("port"), &action["port"]));
    errors.extend(one_of(path, action, "scheme", &["HTTP", "HTTPS"]));
    for (index, header) in meta::items(action, &["httpHeaders"]).iter().enumerate() {
        let name = meta::text(header, &["name"]);
        let path = path.child("httpHeaders").index(index).child("name");
        errors.extend(super::meta::invalid(&path, name, names::http_header_name(name)));
    }
    errors
}
