//! What is wrong with an object, in upstream's field paths and words; one file per concept.
//!
//! Functions take a value and its path and return what they find. They rely on the schema: JSON types are right.

pub mod admission_policy;
pub mod admission_rule;
pub mod apiextensions;
pub mod autoscaling;
pub mod batch;
pub mod certificate;
pub mod claim;
pub mod container;
pub mod csi;
pub mod devices;
pub mod ephemeral;
pub mod flow_control;
pub mod ip;
pub mod limit_range;
pub mod meta;
pub mod networking;
pub mod persistent_volume;
pub mod pod;
pub mod pod_resize;
pub mod pod_update;
pub mod probe;
pub mod rbac;
pub mod resource_quota;
pub mod resources;
pub mod selector;
pub mod service;
pub mod volume;
pub mod webhook;
pub mod workload;

use keelson_schema::{FieldError, Path};
use serde_json::Value;

/// Findings.
pub type Errors = Vec<FieldError>;

/// The number, where it is given, must not be negative.
pub fn non_negative(path: &Path, parent: &Value, key: &str) -> Option<FieldError> {
    at_least(path, parent, key, 0)
}

/// The number, where it is given, must be at least `min`.
pub fn at_least(path: &Path, parent: &Value, key: &str, min: i64) -> Option<FieldError> {
    let number = parent.get(key)?.as_i64()?;
    let detail = format!("must be greater than or equal to {min}");
    (number < min).then(|| FieldError::invalid(&path.child(key), number, detail))
}

/// The text, where it is given, must be one of `known`.
pub fn one_of(path: &Path, parent: &Value, key: &str, known: &[&str]) -> Option<FieldError> {
    let text = parent.get(key)?.as_str()?;
    (!known.contains(&text)).then(|| FieldError::not_supported(&path.child(key), text, known))
}

/// An object that is wrong as a whole: its value is not shown.
pub fn wrong(path: &Path, detail: impl std::fmt::Display) -> FieldError {
    FieldError {
        cause: keelson_schema::Cause::Invalid,
        field: path.to_string(),
        detail: format!("Invalid value: {detail}"),
    }
}

/// The text must be given.
pub fn required(path: &Path, parent: &Value, key: &str) -> Option<FieldError> {
    let text = parent.get(key).and_then(Value::as_str).unwrap_or_default();
    text.is_empty().then(|| FieldError::required(&path.child(key), ""))
}

/// A port number.
pub fn port_number(path: &Path, port: i64) -> Errors {
    let details = keelson_semantics::names::port_number(port);
    details.into_iter().map(|detail| FieldError::invalid(path, port, detail)).collect()
}

/// A port number or a port's name.
pub fn port_reference(path: &Path, port: &Value) -> Errors {
    match port {
        Value::Number(number) => port_number(path, number.as_i64().unwrap_or_default()),
        Value::String(name) => meta::invalid(path, name, keelson_semantics::names::port_name(name)),
        _ => vec![FieldError::required(path, "")],
    }
}

/// `example.com/some/path`.
pub fn domain_prefixed(path: &Path, text: &str) -> Errors {
    let Some((domain, rest)) =
        text.split_once('/').filter(|(domain, rest)| !domain.is_empty() && !rest.is_empty())
    else {
        let detail = "must be a domain-prefixed path (such as \"acme.io/foo\")";
        return vec![FieldError::invalid(path, text, detail)];
    };
    let mut errors = meta::invalid(path, domain, keelson_semantics::names::dns1123_subdomain(domain));
    // RFC 3986, section 3.3.
    let allowed = |c: char| c.is_ascii_alphanumeric() || "/%!$&'()*+,;=:@-._~".contains(c);
    if !rest.chars().all(allowed) {
        errors.push(FieldError::invalid(path, rest, "Invalid path"));
    }
    errors
}
