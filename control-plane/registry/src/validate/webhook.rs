//! Webhook configurations, and the clientConfig that they share with others.
//!
//! Rules: upstream's `pkg/apis/admissionregistration/validation` and `k8s.io/apiserver/pkg/util/webhook/validation.go`.

use super::{Errors, admission_policy::match_conditions, meta::invalid, one_of, selector::label_selector};
use crate::meta;
use keelson_cel::admission::webhook_environment;
use keelson_schema::{FieldError, Path};
use keelson_semantics::names;
use serde_json::{Value, json};

/// Versions of AdmissionReview that webhooks are spoken to in.
const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];
const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const TIMEOUT_MAX_S: i64 = 30;
const SERVICE_PORT: i64 = 443;

/// All webhooks of a configuration.
pub fn configuration(object: &Value, mutating: bool) -> Errors {
    let mut errors = Errors::new();
    let mut seen: Vec<&str> = Vec::new();
    for (index, hook) in meta::items(object, &["webhooks"]).iter().enumerate() {
        let path = Path::new("webhooks").index(index);
        errors.extend(webhook(&path, hook, mutating));
        let versions = meta::items(hook, &["admissionReviewVersions"]);
        let missing = format!("must specify one of {}", REVIEW_VERSIONS.join(", "));
        errors.extend(review_versions(
            &path.child("admissionReviewVersions"),
            versions,
            REVIEW_VERSIONS,
            &missing,
        ));
        let name = meta::text(hook, &["name"]);
        if !name.is_empty() && seen.contains(&name) {
            errors.push(FieldError::duplicate(&path.child("name"), name));
        }
        seen.push(name);
    }
    errors
}

fn webhook(path: &Path, hook: &Value, mutating: bool) -> Errors {
    let mut errors = qualified_name(&path.child("name"), meta::text(hook, &["name"]));
    for (index, rule) in meta::items(hook, &["rules"]).iter().enumerate() {
        errors.extend(rule_with_operations(&path.child("rules").index(index), rule));
    }
    errors.extend(one_of(path, hook, "failurePolicy", &["Fail", "Ignore"]));
    errors.extend(one_of(path, hook, "matchPolicy", &["Equivalent", "Exact"]));
    if mutating {
        errors.extend(one_of(path, hook, "reinvocationPolicy", &["IfNeeded", "Never"]));
    }
    let side_effects = ["None", "NoneOnDryRun"];
    if meta::at(hook, &["sideEffects"]).is_none() {
        let detail = format!("must specify one of {}", side_effects.join(", "));
        errors.push(FieldError::required(&path.child("sideEffects"), detail));
    }
    errors.extend(one_of(path, hook, "sideEffects", &side_effects));
    if let Some(seconds) = meta::number(hook, &["timeoutSeconds"])
        && !(1..=TIMEOUT_MAX_S).contains(&seconds)
    {
        let detail = "the timeout value must be between 1 and 30 seconds";
        errors.push(FieldError::invalid(&path.child("timeoutSeconds"), seconds, detail));
    }
    for key in ["namespaceSelector", "objectSelector"] {
        if let Some(selector) = meta::at(hook, &[key]) {
            errors.extend(label_selector(&path.child(key), selector));
        }
    }
    errors.extend(client_config(&path.child("clientConfig"), &hook["clientConfig"]));
    errors.extend(match_conditions(&path.child("matchConditions"), hook, &webhook_environment()));
    errors
}

/// A domain of three segments and more.
fn qualified_name(path: &Path, name: &str) -> Errors {
    if name.is_empty() {
        return vec![FieldError::required(path, "")];
    }
    let details = names::dns1123_subdomain(name);
    if !details.is_empty() {
        return vec![FieldError::invalid(path, name, details.join(","))];
    }
    if name.split('.').count() < 3 {
        let detail = "should be a domain with at least three segments separated by dots";
        return vec![FieldError::invalid(path, name, detail)];
    }
    Errors::new()
}

/// Versions of a review, of which one at least must be `known`; `missing` is said where there is none at all.
pub(super) fn review_versions(path: &Path, versions: &[Value], known: [&str; 2], missing: &str) -> Errors {
    if versions.is_empty() {
        return vec![FieldError::required(path, missing)];
    }
    let mut errors = Errors::new();
    let mut seen = Vec::new();
    for (index, version) in versions.iter().enumerate() {
        let (path, version) = (path.index(index), version.as_str().unwrap_or_default());
        if seen.contains(&version) {
            errors.push(FieldError::invalid(&path, version, "duplicate version"));
            continue;
        }
        seen.push(version);
        errors.extend(invalid(&path, version, names::dns1035_label(version)));
    }
    if !seen.iter().any(|version| known.contains(version)) {
        let detail = format!("must include at least one of {}", known.join(", "));
        errors.push(FieldError::invalid(path, json!(versions), detail));
    }
    errors
}

/// A rule of a webhook or of a policy.
pub(super) fn rule_with_operations(path: &Path, rule: &Value) -> Errors {
    let operations = meta::items(rule, &["operations"]);
    let mut errors = stars(path, rule, "operations", "operations");
    for (index, operation) in operations.iter().enumerate() {
        if !operation.as_str().is_some_and(|operation| OPERATIONS.contains(&operation)) {
            let path = path.child("operations").index(index);
            errors.push(FieldError::not_supported(&path, operation.clone(), &OPERATIONS));
        }
    }
    errors.extend(stars(path, rule, "apiGroups", "API groups"));
    errors.extend(stars(path, rule, "apiVersions", "API versions"));
    for (index, version) in meta::items(rule, &["apiVersions"]).iter().enumerate() {
        if version.as_str() == Some("") {
            errors.push(FieldError::required(&path.child("apiVersions").index(index), ""));
        }
    }
    errors.extend(resources(&path.child("resources"), rule));
    errors.extend(one_of(path, rule, "scope", &["*", "Cluster", "Namespaced"]));
    errors
}

/// A list that must have something, and `*` alone where it has `*`.
fn stars(path: &Path, rule: &Value, key: &str, what: &str) -> Errors {
    let (path, items) = (path.child(key), meta::items(rule, &[key]));
    if items.is_empty() {
        return vec![FieldError::required(&path, "")];
    }
    if items.len() > 1 && items.contains(&json!("*")) {
        let detail = format!("if '*' is present, must not specify other {what}");
        return vec![FieldError::invalid(&path, json!(items), detail)];
    }
    Errors::new()
}

fn resources(path: &Path, rule: &Value) -> Errors {
    let items = meta::items(rule, &["resources"]);
    let mut errors = Errors::new();
    if items.is_empty() {
        errors.push(FieldError::required(path, ""));
    }
    let (mut any_sub_of, mut any_with_sub) = (Vec::new(), Vec::new());
    let mut plain = false;
    for (index, item) in items.iter().enumerate() {
        let (path, text) = (path.index(index), item.as_str().unwrap_or_default());
        let Some((resource, sub)) = text.split_once('/') else {
            plain |= !text.is_empty() && text != "*";
            if text.is_empty() {
                errors.push(FieldError::required(&path, ""));
            }
            continue;
        };
        if any_sub_of.contains(&resource) {
            let detail = format!("if '{resource}/*' is present, must not specify {text}");
            errors.push(FieldError::invalid(&path, text, detail));
        }
        if any_with_sub.contains(&sub) {
            let detail = format!("if '*/{sub}' is present, must not specify {text}");
            errors.push(FieldError::invalid(&path, text, detail));
        }
        if sub == "*" {
            any_sub_of.push(resource);
        }
        if resource == "*" {
            any_with_sub.push(sub);
        }
    }
    if items.len() > 1 && items.contains(&json!("*/*")) {
        let detail = "if '*/*' is present, must not specify other resources";
        errors.push(FieldError::invalid(path, json!(items), detail));
    }
    if plain && items.contains(&json!("*")) {
        let detail = "if '*' is present, must not specify other resources without subresources";
        errors.push(FieldError::invalid(path, json!(items), detail));
    }
    errors
}

/// `{url | service, caBundle}`.
pub fn client_config(path: &Path, config: &Value) -> Errors {
    match (meta::at(config, &["url"]), meta::at(config, &["service"])) {
        (Some(url), None) => webhook_url(&path.child("url"), url.as_str().unwrap_or_default()),
        (None, Some(service)) => webhook_service(&path.child("service"), service),
        _ => vec![FieldError::required(path, "exactly one of url or service is required")],
    }
}

fn webhook_url(path: &Path, text: &str) -> Errors {
    const FORM: &str = "; desired format: https://host[/path]";
    let Some((scheme, rest)) = text.split_once("://") else {
        let detail = format!("'https' is the only allowed URL scheme{FORM}");
        return vec![FieldError::invalid(path, "", detail)];
    };
    let mut errors = Errors::new();
    if scheme != "https" {
        let detail = format!("'https' is the only allowed URL scheme{FORM}");
        errors.push(FieldError::invalid(path, scheme, detail));
    }
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = rest.split('/').next().unwrap_or_default();
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if host.is_empty() {
        errors.push(FieldError::invalid(path, "", format!("host must be specified{FORM}")));
    }
    let parts = [
        (user, "user information is not permitted in the URL"),
        (fragment, "fragments are not permitted in the URL"),
        (query, "query parameters are not permitted in the URL"),
    ];
    for (part, detail) in parts {
        if !part.is_empty() {
            errors.push(FieldError::invalid(path, part, detail));
        }
    }
    errors
}

fn webhook_service(path: &Path, service: &Value) -> Errors {
    let mut errors = Errors::new();
    for key in ["name", "namespace"] {
        if meta::text(service, &[key]).is_empty() {
            errors.push(FieldError::required(&path.child(key), format!("service {key} is required")));
        }
    }
    errors.extend(service_port(path, service));
    errors.extend(service_path(&path.child("path"), meta::text(service, &["path"])));
    errors
}

/// `service.port`, 443 where it is not given.
pub fn service_port(path: &Path, service: &Value) -> Option<FieldError> {
    let port = meta::number(service, &["port"]).unwrap_or(SERVICE_PORT);
    let details = names::port_number(port);
    let detail = format!("port is not valid: {}", details.join(","));
    (!details.is_empty()).then(|| FieldError::invalid(&path.child("port"), port, detail))
}

fn service_path(path: &Path, text: &str) -> Errors {
    if matches!(text, "" | "/") {
        return Errors::new();
    }
    if text == "//" {
        return vec![FieldError::invalid(path, text, "segment[0] may not be empty")];
    }
    let mut errors = Errors::new();
    if !text.starts_with('/') {
        errors.push(FieldError::invalid(path, text, "must start with a '/'"));
    }
    let inner = text.strip_prefix('/').unwrap_or(text);
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    for (index, step) in inner.split('/').enumerate() {
        if step.is_empty() {
            errors.push(FieldError::invalid(path, text, format!("segment[{index}] may not be empty")));
            continue;
        }
        for detail in names::dns1123_subdomain(step) {
            errors.push(FieldError::invalid(path, text, format!("segment[{index}]: {detail}")));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook() -> Value {
        json!({
            "name": "a.hooks.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "clientConfig": {"service": {"namespace": "n", "name": "s", "path": "/v/1"}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}],
        })
    }

    fn wrong(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let mut hook = hook();
        change(&mut hook);
        let found = configuration(&json!({"webhooks": [hook]}), true);
        found.iter().map(|error| error.to_string()).collect()
    }

    #[test]
    fn a_webhook_that_cannot_be_called_is_refused_by_field() {
        assert_eq!(wrong(|_| ()), [""; 0]);
        type Row = (fn(&mut Value), &'static str);
        let rows: [Row; 16] = [
            (
                |h| h["name"] = json!("short"),
                "webhooks[0].name: Invalid value: \"short\": should be a domain",
            ),
            (
                |h| h["sideEffects"] = Value::Null,
                "webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun",
            ),
            (|h| h["sideEffects"] = json!("Some"), "webhooks[0].sideEffects: Unsupported value"),
            (
                |h| h["timeoutSeconds"] = json!(31),
                "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds",
            ),
            (|h| h["admissionReviewVersions"] = json!(["v2"]), "must include at least one of v1, v1beta1"),
            (
                |h| h["clientConfig"] = json!({}),
                "webhooks[0].clientConfig: Required value: exactly one of url or service is required",
            ),
            (|h| h["clientConfig"] = json!({"url": "http://a"}), "'https' is the only allowed URL scheme"),
            (|h| h["clientConfig"] = json!({"url": "https://a?b=c"}), "query parameters are not permitted"),
            (|h| h["clientConfig"]["service"]["path"] = json!("x"), "must start with a '/'"),
            (|h| h["clientConfig"]["service"]["port"] = json!(0), "port is not valid"),
            (
                |h| h["rules"][0]["operations"] = json!(["*", "CREATE"]),
                "if '*' is present, must not specify other operations",
            ),
            (
                |h| h["rules"][0]["operations"] = json!(["READ"]),
                "webhooks[0].rules[0].operations[0]: Unsupported value",
            ),
            (
                |h| h["rules"][0]["resources"] = json!(["*", "pods"]),
                "must not specify other resources without subresources",
            ),
            (
                |h| h["rules"][0]["resources"] = json!(["pods/*", "pods/exec"]),
                "if 'pods/*' is present, must not specify pods/exec",
            ),
            (
                |h| h["matchConditions"] = json!([{"name": "a", "expression": "params == null"}]),
                "webhooks[0].matchConditions[0].expression: Invalid value",
            ),
            (
                |h| h["reinvocationPolicy"] = json!("Often"),
                "webhooks[0].reinvocationPolicy: Unsupported value",
            ),
        ];
        for (change, wanted) in rows {
            let found = wrong(change);
            assert!(found.len() == 1 && found[0].contains(wanted), "{wanted}: {found:?}");
        }
    }

    #[test]
    fn names_are_unique_in_a_configuration() {
        let found = configuration(&json!({"webhooks": [hook(), hook()]}), false);
        assert_eq!(found[0].to_string(), "webhooks[1].name: Duplicate value: \"a.hooks.example.com\"");
    }
}
