//! FlowSchema: precedence, level, and the rules that say whose requests for what it covers.

use super::{Errors, fixed};
use crate::{
    meta,
    strategy::NameRule,
    validate::meta::{invalid, name_errors},
};
use keelson_schema::{FieldError, Path};
use keelson_semantics::names;
use serde_json::Value;

/// Sorted, as errors list them.
const VERBS: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];
/// Of the schema named `exempt` alone.
const PRECEDENCE_FIRST: i64 = 1;
const PRECEDENCE_MAX: i64 = 10_000;
const ALL: &str = "*";

/// All that is wrong with one.
pub fn flow_schema(object: &Value) -> Errors {
    let (path, spec) = (Path::new("spec"), &object["spec"]);
    let mut errors = precedence(&path.child("matchingPrecedence"), object);
    if let Some(method) = meta::at(spec, &["distinguisherMethod"]) {
        let (path, known) = (path.child("distinguisherMethod").child("type"), ["ByNamespace", "ByUser"]);
        let kind = meta::text(method, &["type"]);
        if !known.contains(&kind) {
            errors.push(FieldError::not_supported(&path, kind, &known));
        }
    }
    let (level, at) = (
        meta::text(spec, &["priorityLevelConfiguration", "name"]),
        path.child("priorityLevelConfiguration").child("name"),
    );
    match level {
        "" => errors.push(FieldError::required(&at, "must reference a priority level")),
        level => errors.extend(invalid(&at, level, name_errors(NameRule::Subdomain, level))),
    }
    for (index, rule) in meta::items(spec, &["rules"]).iter().enumerate() {
        errors.extend(rules(&path.child("rules").index(index), rule));
    }
    errors.extend(fixed(object));
    errors
}

fn precedence(path: &Path, object: &Value) -> Errors {
    let precedence = meta::number(object, &["spec", "matchingPrecedence"]).unwrap_or_default();
    let wrong = |detail: String| FieldError::invalid(path, precedence, detail);
    let mut errors = Errors::new();
    if precedence < PRECEDENCE_FIRST {
        errors.push(wrong("must be a positive value".to_owned()));
    }
    if precedence > PRECEDENCE_MAX {
        errors.push(wrong(format!("must not be greater than {PRECEDENCE_MAX}")));
    }
    if precedence == PRECEDENCE_FIRST && meta::field(object, "name") != "exempt" {
        errors.push(wrong("only the schema named 'exempt' may have matchingPrecedence 1".to_owned()));
    }
    errors
}

fn rules(path: &Path, rules: &Value) -> Errors {
    let mut errors = Errors::new();
    let items = |key: &str| meta::items(rules, &[key]).iter().enumerate();
    if items("subjects").len() == 0 {
        let detail = "subjects must contain at least one value";
        errors.push(FieldError::required(&path.child("subjects"), detail));
    }
    for (index, one) in items("subjects") {
        errors.extend(subject(&path.child("subjects").index(index), one));
    }
    if items("resourceRules").len() + items("nonResourceRules").len() == 0 {
        let detail = "at least one of resourceRules and nonResourceRules has to be non-empty";
        errors.push(FieldError::required(path, detail));
    }
    for (index, one) in items("resourceRules") {
        errors.extend(resource_rule(&path.child("resourceRules").index(index), one));
    }
    for (index, one) in items("nonResourceRules") {
        errors.extend(path_rule(&path.child("nonResourceRules").index(index), one));
    }
    errors
}

/// Kind, and the field that a subject of it has.
const SUBJECTS: [(&str, &str); 3] =
    [("ServiceAccount", "serviceAccount"), ("User", "user"), ("Group", "group")];

fn subject(path: &Path, subject: &Value) -> Errors {
    let kind = meta::text(subject, &["kind"]);
    let Some((_, own)) = SUBJECTS.iter().find(|(known, _)| *known == kind) else {
        let known = ["Group", "ServiceAccount", "User"];
        return vec![FieldError::not_supported(&path.child("kind"), kind, &known)];
    };
    let mut errors = match meta::at(subject, &[own]) {
        None => {
            let detail = format!("{own} is required when subject kind is '{kind}'");
            vec![FieldError::required(&path.child(own), detail)]
        }
        Some(named) => who(&path.child(own), named, kind == "ServiceAccount"),
    };
    for (other, field) in SUBJECTS.iter().filter(|(known, _)| *known != kind) {
        if meta::at(subject, &[field]).is_some() {
            let detail = format!("{field} is forbidden when subject kind is not '{other}'");
            errors.push(FieldError::forbidden(&path.child(field), detail));
        }
    }
    errors
}

fn who(path: &Path, who: &Value, is_account: bool) -> Errors {
    let (name, namespace) = (meta::text(who, &["name"]), meta::text(who, &["namespace"]));
    let mut errors = Errors::new();
    if name.is_empty() {
        errors.push(FieldError::required(&path.child("name"), ""));
    } else if is_account && name != ALL {
        errors.extend(invalid(&path.child("name"), name, name_errors(NameRule::Subdomain, name)));
    }
    if is_account && namespace.is_empty() {
        let detail = "must specify namespace for service account";
        errors.push(FieldError::required(&path.child("namespace"), detail));
    } else if is_account {
        errors.extend(invalid(&path.child("namespace"), namespace, names::dns1123_label(namespace)));
    }
    errors
}

fn verbs(path: &Path, rule: &Value) -> Errors {
    let (path, verbs) = (path.child("verbs"), meta::items(rule, &["verbs"]));
    if verbs.is_empty() {
        return vec![FieldError::required(&path, "verbs must contain at least one value")];
    }
    if verbs.iter().any(|verb| verb == ALL) {
        return alone(&path, verbs, "verbs").into_iter().collect();
    }
    let known = |verb: &Value| verb.as_str().is_some_and(|verb| VERBS.contains(&verb));
    let unknown = (!verbs.iter().all(known)).then(|| FieldError::not_supported(&path, verbs.to_vec(), VERBS));
    unknown.into_iter().collect()
}

/// Where all are meant, none are named.
fn alone(path: &Path, values: &[Value], what: &str) -> Option<FieldError> {
    let detail = format!("if '*' is present, must not specify other {what}");
    (values.len() > 1 && values.iter().any(|value| value == ALL))
        .then(|| FieldError::invalid(path, values.to_vec(), detail))
}

fn resource_rule(path: &Path, rule: &Value) -> Errors {
    let mut errors = verbs(path, rule);
    for (key, one, many) in [("apiGroups", "api group", "api groups"), ("resources", "resource", "resources")]
    {
        let (path, values) = (path.child(key), meta::items(rule, &[key]));
        if values.is_empty() {
            let detail = format!("resource rules must supply at least one {one}");
            errors.push(FieldError::required(&path, detail));
        }
        errors.extend(alone(&path, values, many));
    }
    let (path, namespaces) = (path.child("namespaces"), meta::items(rule, &["namespaces"]));
    if namespaces.is_empty() && rule.get("clusterScope") != Some(&Value::Bool(true)) {
        let detail = "resource rules that are not cluster scoped must supply at least one namespace";
        errors.push(FieldError::required(&path, detail));
    }
    if namespaces.iter().any(|namespace| namespace == ALL) {
        errors.extend(alone(&path, namespaces, "namespaces"));
        return errors;
    }
    for (index, namespace) in namespaces.iter().enumerate() {
        let namespace = namespace.as_str().unwrap_or_default();
        let prefixed = |detail| format!("each member of this list must be '*' or a DNS-1123 label; {detail}");
        let details = names::dns1123_label(namespace).into_iter().map(prefixed).collect();
        errors.extend(invalid(&path.index(index), namespace, details));
    }
    errors
}

fn path_rule(path: &Path, rule: &Value) -> Errors {
    let mut errors = verbs(path, rule);
    let (path, paths) = (path.child("nonResourceURLs"), meta::items(rule, &["nonResourceURLs"]));
    if paths.is_empty() {
        errors.push(FieldError::required(&path, "nonResourceURLs must contain at least one value"));
    }
    if paths.iter().any(|one| one == ALL) {
        errors.extend(alone(&path, paths, "non-resource URLs"));
        return errors;
    }
    for (index, one) in paths.iter().enumerate() {
        let one = one.as_str().unwrap_or_default();
        errors.extend(wrong_path(one).map(|detail| FieldError::invalid(&path.index(index), one, detail)));
    }
    errors
}

fn wrong_path(path: &str) -> Option<&'static str> {
    let stars = path.matches('*').count();
    match path {
        "" => Some("must not be empty"),
        "/" => None,
        path if !path.starts_with('/') => Some("must start with slash"),
        path if path.contains(' ') => Some("must not contain white-space"),
        path if path.contains("//") => Some("must not contain double slash"),
        path if stars > 1 || (stars == 1 && !path.ends_with("/*")) => {
            Some("wildcard can only do suffix matching")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema(spec: Value) -> Value {
        let mut object = json!({"kind": "FlowSchema", "metadata": {"name": "s"}, "spec": {
            "priorityLevelConfiguration": {"name": "global-default"}, "matchingPrecedence": 500,
            "rules": [{
                "subjects": [{"kind": "User", "user": {"name": "jane"}}],
                "resourceRules": [{"verbs": ["get"], "apiGroups": ["*"], "resources": ["pods"], "namespaces": ["a"]}],
            }],
        }});
        for (key, value) in spec.as_object().unwrap() {
            object["spec"][key] = value.clone();
        }
        object
    }

    #[test]
    fn what_is_wrong_is_told_by_path() {
        let with = |subjects: Value, resources: Value, paths: Value| json!({"rules": [{"subjects": subjects, "resourceRules": resources, "nonResourceRules": paths}]});
        let jane = json!([{"kind": "User", "user": {"name": "jane"}}]);
        let pods = json!([{"verbs": ["*"], "apiGroups": [""], "resources": ["pods"], "clusterScope": true}]);
        let rows = [
            (json!({}), vec![]),
            (
                json!({"matchingPrecedence": -1}),
                vec!["spec.matchingPrecedence: Invalid value: -1: must be a positive value"],
            ),
            (
                json!({"matchingPrecedence": 10001}),
                vec!["spec.matchingPrecedence: Invalid value: 10001: must not be greater than 10000"],
            ),
            (
                json!({"matchingPrecedence": 1}),
                vec![
                    "spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1",
                ],
            ),
            (
                json!({"distinguisherMethod": {"type": "ByMood"}}),
                vec![
                    "spec.distinguisherMethod.type: Unsupported value: \"ByMood\": supported values: \"ByNamespace\", \"ByUser\"",
                ],
            ),
            (
                json!({"priorityLevelConfiguration": {"name": ""}}),
                vec!["spec.priorityLevelConfiguration.name: Required value: must reference a priority level"],
            ),
            (
                with(json!([]), json!([]), json!([])),
                vec![
                    "spec.rules[0].subjects: Required value: subjects must contain at least one value",
                    "spec.rules[0]: Required value: at least one of resourceRules and nonResourceRules has to be non-empty",
                ],
            ),
            (
                with(
                    json!([{"kind": "Team"}, {"kind": "Group", "user": {"name": "u"}}]),
                    pods.clone(),
                    json!([]),
                ),
                vec![
                    "spec.rules[0].subjects[0].kind: Unsupported value: \"Team\": supported values: \"Group\", \"ServiceAccount\", \"User\"",
                    "spec.rules[0].subjects[1].group: Required value: group is required when subject kind is 'Group'",
                    "spec.rules[0].subjects[1].user: Forbidden: user is forbidden when subject kind is not 'User'",
                ],
            ),
            (
                with(json!([{"kind": "ServiceAccount", "serviceAccount": {"name": "*"}}]), pods, json!([])),
                vec![
                    "spec.rules[0].subjects[0].serviceAccount.namespace: Required value: must specify namespace for service account",
                ],
            ),
            (
                with(
                    jane.clone(),
                    json!([{"verbs": ["get", "*"], "apiGroups": ["*", "apps"], "resources": []}]),
                    json!([]),
                ),
                vec![
                    "spec.rules[0].resourceRules[0].verbs: Invalid value: [\"get\",\"*\"]: if '*' is present, must not specify other verbs",
                    "spec.rules[0].resourceRules[0].apiGroups: Invalid value: [\"*\",\"apps\"]: if '*' is present, must not specify other api groups",
                    "spec.rules[0].resourceRules[0].resources: Required value: resource rules must supply at least one resource",
                    "spec.rules[0].resourceRules[0].namespaces: Required value: resource rules that are not cluster scoped must supply at least one namespace",
                ],
            ),
            (
                with(
                    jane,
                    json!([]),
                    json!([{"verbs": ["post"], "nonResourceURLs": ["a", "/a b", "/a//b", "/a*", "/a/*", "/"]}]),
                ),
                vec![
                    "spec.rules[0].nonResourceRules[0].verbs: Unsupported value: [\"post\"]: supported values: \"create\", \"delete\", \"deletecollection\", \"get\", \"list\", \"patch\", \"proxy\", \"update\", \"watch\"",
                    "spec.rules[0].nonResourceRules[0].nonResourceURLs[0]: Invalid value: \"a\": must start with slash",
                    "spec.rules[0].nonResourceRules[0].nonResourceURLs[1]: Invalid value: \"/a b\": must not contain white-space",
                    "spec.rules[0].nonResourceRules[0].nonResourceURLs[2]: Invalid value: \"/a//b\": must not contain double slash",
                    "spec.rules[0].nonResourceRules[0].nonResourceURLs[3]: Invalid value: \"/a*\": wildcard can only do suffix matching",
                ],
            ),
        ];
        for (spec, wanted) in rows {
            let found: Vec<String> =
                flow_schema(&schema(spec.clone())).iter().map(ToString::to_string).collect();
            assert_eq!(found, wanted, "{spec}");
        }
    }
}
