//! CertificateSigningRequests: a request that can be read, a signer with a name, and who may add which condition.
//!
//! Rules: upstream's `pkg/apis/certificates/validation`.

use super::Errors;
use crate::meta;
use base64::{Engine, prelude::BASE64_STANDARD};
use keelson_auth::pki::CertificateRequest;
use keelson_schema::{FieldError, Path};
use keelson_semantics::names;
use serde_json::Value;
use std::collections::BTreeSet;

/// The API's key usages.
const USAGES: &[&str] = &[
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];
/// No certificate is asked for a shorter time.
const EXPIRATION_SECONDS_MIN: i64 = 600;
/// Conditions that hold or are not there.
const DECISIONS: [&str; 3] = ["Approved", "Denied", "Failed"];
/// Of a signer's name: a namespace, a dot and a resource's name would still fit.
const SIGNER_BYTES_MAX: usize = 253 + 1 + 63 + 1 + 253;

/// A new request.
pub fn request(object: &Value) -> Errors {
    let (path, spec) = (Path::new("spec"), &object["spec"]);
    let mut errors = Errors::new();
    let encoded = meta::text(spec, &["request"]);
    let pem = BASE64_STANDARD.decode(encoded).unwrap_or_default();
    if let Err(error) = CertificateRequest::parse(&pem) {
        errors.push(FieldError::invalid(&path.child("request"), encoded, error.to_string()));
    }
    errors.extend(usages(&path.child("usages"), spec));
    let signer = meta::text(spec, &["signerName"]);
    if signer == "kubernetes.io/legacy-unknown" {
        let detail = "the legacy signerName is not allowed via this API version";
        errors.push(FieldError::invalid(&path.child("signerName"), signer, detail));
    } else {
        errors.extend(signer_name(&path.child("signerName"), signer));
    }
    if let Some(seconds) = meta::number(spec, &["expirationSeconds"])
        && seconds < EXPIRATION_SECONDS_MIN
    {
        let detail = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.push(FieldError::invalid(&path.child("expirationSeconds"), seconds, detail));
    }
    errors
}

fn usages(path: &Path, spec: &Value) -> Errors {
    let all = meta::items(spec, &["usages"]);
    let mut errors = Errors::new();
    if all.is_empty() {
        errors.push(FieldError::required(path, ""));
    }
    let mut seen = BTreeSet::new();
    for (index, usage) in all.iter().filter_map(Value::as_str).enumerate() {
        if !USAGES.contains(&usage) {
            errors.push(FieldError::not_supported(&path.index(index), usage, USAGES));
        }
        if !seen.insert(usage) {
            errors.push(FieldError::duplicate(&path.index(index), usage));
        }
    }
    errors
}

/// `example.com/name`: a domain and a path of labels.
pub fn signer_name(path: &Path, name: &str) -> Errors {
    if name.is_empty() {
        return vec![FieldError::required(path, "")];
    }
    let segments: Vec<&str> = name.split('/').collect();
    let [domain, rest] = segments.as_slice() else {
        let detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        return vec![FieldError::invalid(path, name, detail)];
    };
    let mut errors = Errors::new();
    let mut wrong = |segment: &str, details: Vec<String>| {
        errors.extend(details.iter().map(|detail| {
            FieldError::invalid(path, name, format!("validating label {segment:?}: {detail}"))
        }));
    };
    domain.split('.').for_each(|label| wrong(label, names::dns1123_label(label)));
    rest.split('.').for_each(|label| wrong(label, names::dns1123_subdomain(label)));
    if domain.split('.').count() < 2 {
        errors.push(FieldError::invalid(
            path,
            name,
            "should be a domain with at least two segments separated by dots",
        ));
    }
    if name.len() > SIGNER_BYTES_MAX {
        errors.push(FieldError::too_long(path, SIGNER_BYTES_MAX));
    }
    errors
}

/// A change of the status, by an approver or a signer. A decision stands; only approvers approve or deny; a certificate
/// is set once, by signers.
pub fn status(new: &Value, old: &Value, by_approver: bool) -> Errors {
    let path = Path::new("status");
    let mut errors = conditions(new);
    for decision in DECISIONS {
        let count = |object: &Value| of_type(object, decision).count();
        if count(new) < count(old) {
            let detail = format!("updates may not remove a condition of type {decision:?}");
            errors.push(FieldError::forbidden(&path.child("conditions"), detail));
        }
        if !by_approver && decision != "Failed" && count(new) > count(old) {
            let detail = format!("updates may not add a condition of type {decision:?}");
            errors.push(FieldError::forbidden(&path.child("conditions"), detail));
        }
    }
    let certificate = |object| meta::text(object, &["status", "certificate"]);
    let (before, after) = (certificate(old), certificate(new));
    if before != after && by_approver {
        errors.push(FieldError::forbidden(
            &path.child("certificate"),
            "updates may not set certificate content",
        ));
    } else if before != after && !before.is_empty() {
        let detail = "updates may not modify existing certificate content";
        errors.push(FieldError::forbidden(&path.child("certificate"), detail));
    } else if before != after && !is_certificates(after) {
        let detail = "must contain one or more PEM blocks";
        errors.push(FieldError::invalid(&path.child("certificate"), "<certificate data>", detail));
    }
    errors
}

fn of_type<'a>(object: &'a Value, wanted: &'a str) -> impl Iterator<Item = &'a Value> {
    let all = meta::items(object, &["status", "conditions"]).iter();
    all.filter(move |condition| meta::text(condition, &["type"]) == wanted)
}

fn conditions(object: &Value) -> Errors {
    let path = Path::new("status.conditions");
    let mut errors = Errors::new();
    let mut seen = BTreeSet::new();
    for (index, condition) in meta::items(object, &["status", "conditions"]).iter().enumerate() {
        let path = path.index(index);
        let (kind, status) = (meta::text(condition, &["type"]), meta::text(condition, &["status"]));
        if kind.is_empty() {
            errors.push(FieldError::required(&path.child("type"), ""));
        }
        let opposite = match kind {
            "Approved" => "Denied",
            "Denied" => "Approved",
            _ => "",
        };
        if seen.contains(opposite) && !opposite.is_empty() {
            let detail = "Approved and Denied conditions are mutually exclusive";
            errors.push(FieldError::invalid(&path.child("type"), kind, detail));
        }
        if !seen.insert(kind) {
            errors.push(FieldError::duplicate(&path.child("type"), kind));
        }
        let known: &[&str] =
            if DECISIONS.contains(&kind) { &["True"] } else { &["False", "True", "Unknown"] };
        if status.is_empty() {
            errors.push(FieldError::required(&path.child("status"), ""));
        } else if !known.contains(&status) {
            errors.push(FieldError::not_supported(&path.child("status"), status, known));
        }
    }
    errors
}

fn is_certificates(encoded: &str) -> bool {
    BASE64_STANDARD.decode(encoded).is_ok_and(|pem| {
        let text = String::from_utf8_lossy(&pem);
        text.contains("-----BEGIN CERTIFICATE-----") && text.contains("-----END CERTIFICATE-----")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_request_says_what_for_and_of_whom() {
        let rows: [(Value, &[&str]); 6] = [
            (json!({"signerName": "example.com/x", "usages": ["client auth"]}), &["spec.request"]),
            (json!({"signerName": "example.com/x"}), &["spec.request", "spec.usages"]),
            (
                json!({"signerName": "", "usages": ["any", "any"]}),
                &["spec.request", "spec.usages[1]", "spec.signerName"],
            ),
            (
                json!({"signerName": "nowhere", "usages": ["tea"]}),
                &["spec.request", "spec.usages[0]", "spec.signerName"],
            ),
            (
                json!({"signerName": "kubernetes.io/legacy-unknown", "usages": ["any"], "expirationSeconds": 60}),
                &["spec.request", "spec.signerName", "spec.expirationSeconds"],
            ),
            (json!({"signerName": "Example.com/x", "usages": ["any"]}), &["spec.request", "spec.signerName"]),
        ];
        for (spec, expected) in rows {
            let found = request(&json!({"spec": spec}));
            let fields: Vec<&str> = found.iter().map(|error| error.field.as_str()).collect();
            assert_eq!(fields, expected, "{spec}");
        }
    }

    #[test]
    fn decisions_stand_and_each_writer_makes_its_own() {
        let cert = |text: &str| {
            BASE64_STANDARD
                .encode(format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n"))
        };
        let has = |kinds: &[&str]| {
            let all: Vec<Value> = kinds.iter().map(|kind| json!({"type": kind, "status": "True"})).collect();
            json!({"conditions": all})
        };
        let rows = [
            (has(&[]), has(&["Approved"]), true, true),
            (has(&[]), has(&["Approved"]), false, false),
            (has(&[]), has(&["Failed"]), false, true),
            (has(&["Denied"]), has(&[]), true, false),
            (has(&["Approved"]), has(&["Approved", "Denied"]), true, false),
            (has(&[]), has(&["Other"]), false, true),
            (json!({}), json!({"certificate": cert("a")}), false, true),
            (json!({}), json!({"certificate": cert("a")}), true, false),
            (json!({}), json!({"certificate": "eA=="}), false, false),
            (json!({"certificate": cert("a")}), json!({"certificate": cert("b")}), false, false),
            (json!({}), json!({"conditions": [{"type": "Approved", "status": "False"}]}), true, false),
        ];
        for (old, new, by_approver, is_right) in rows {
            let (old, new) = (json!({"status": old}), json!({"status": new}));
            assert_eq!(status(&new, &old, by_approver).is_empty(), is_right, "{old} to {new}");
        }
    }
}
