//! ValidatingAdmissionPolicy, MutatingAdmissionPolicy and their bindings. Expressions are compiled here as they will be
//! when they are evaluated: what does not compile is not stored.
//!
//! Rules: upstream's `pkg/apis/admissionregistration/validation`.

use super::{
    Errors, admission_rule::match_resources, meta::invalid, one_of, required, selector::label_selector,
};
use crate::meta;
use keelson_cel::admission::{Has, environment};
use keelson_cel::{Environment, Library, Program, Type};
use keelson_schema::{FieldError, Path};
use keelson_semantics::names;
use serde_json::{Value, json};

/// The most matchConditions of a policy or a webhook.
pub const MATCH_CONDITIONS_MAX: usize = 64;
/// The most auditAnnotations of a policy.
const AUDIT_ANNOTATIONS_MAX: usize = 20;
/// The most bytes of an expression that makes an audit annotation.
const AUDIT_EXPRESSION_BYTES_MAX: usize = 5 * 1024;

/// A policy.
pub fn policy(object: &Value, mutating: bool) -> Errors {
    let (path, none) = (Path::new("spec"), Value::Null);
    let spec = object.get("spec").unwrap_or(&none);
    let mut errors: Errors = one_of(&path, spec, "failurePolicy", &["Fail", "Ignore"]).into_iter().collect();
    if let Some(kind) = meta::at(spec, &["paramKind"]) {
        errors.extend(param_kind(&path.child("paramKind"), kind));
    }
    errors.extend(constraints(&path.child("matchConstraints"), spec));
    let has = Has { params: meta::at(spec, &["paramKind"]).is_some(), authorizer: true };
    errors.extend(match_conditions(&path.child("matchConditions"), spec, &environment(has)));
    let variables = |has, errors: &mut Errors| {
        let mut environment = environment(has);
        for (index, variable) in meta::items(spec, &["variables"]).iter().enumerate() {
            let path = path.child("variables").index(index);
            environment = self::variable(&path, variable, environment, errors);
        }
        environment
    };
    let environment = variables(has, &mut errors);
    if mutating {
        errors.extend(one_of(&path, spec, "reinvocationPolicy", &["IfNeeded", "Never"]));
        errors.extend(required(&path, spec, "reinvocationPolicy"));
        errors.extend(mutations(&path.child("mutations"), spec, &environment.for_mutation()));
        return errors;
    }
    // Messages cannot ask the authorizer; that a variable does is told once, above.
    let messages = variables(Has { authorizer: false, ..has }, &mut Errors::new());
    errors.extend(validations(&path, spec, &environment, &messages));
    errors
}

fn param_kind(path: &Path, kind: &Value) -> Errors {
    let mut errors: Errors =
        ["apiVersion", "kind"].iter().filter_map(|key| required(path, kind, key)).collect();
    let version = meta::text(kind, &["apiVersion"]);
    if version.matches('/').count() > 1 {
        let detail = format!("unexpected GroupVersion string: {version}");
        errors.push(FieldError::invalid(&path.child("apiVersion"), version, detail));
    }
    errors
}

fn constraints(path: &Path, spec: &Value) -> Errors {
    let Some(constraints) = meta::at(spec, &["matchConstraints"]) else {
        return vec![FieldError::required(path, "")];
    };
    let mut errors = match_resources(path, constraints);
    if meta::items(constraints, &["resourceRules"]).is_empty() {
        errors.push(FieldError::required(&path.child("resourceRules"), ""));
    }
    errors
}

/// `matchConditions` of a policy or a webhook.
pub fn match_conditions(path: &Path, parent: &Value, environment: &Environment) -> Errors {
    let conditions = meta::items(parent, &["matchConditions"]);
    let mut errors = Errors::new();
    if conditions.len() > MATCH_CONDITIONS_MAX {
        errors.push(FieldError::too_many(path, conditions.len(), MATCH_CONDITIONS_MAX));
    }
    let mut seen = Vec::new();
    for (index, condition) in conditions.iter().enumerate() {
        let path = path.index(index);
        let (name, name_path) = (meta::text(condition, &["name"]), path.child("name"));
        if name.is_empty() {
            errors.push(FieldError::required(&name_path, ""));
        } else {
            errors.extend(invalid(&name_path, name, names::qualified_name(name)));
            if seen.contains(&name) {
                errors.push(FieldError::duplicate(&name_path, name));
            }
        }
        seen.push(name);
        errors.extend(expression(
            &path.child("expression"),
            condition,
            "expression",
            environment,
            &[Type::Bool],
        ));
    }
    errors
}

/// The environment with the variable; without it where it is wrong.
fn variable(path: &Path, variable: &Value, environment: Environment, errors: &mut Errors) -> Environment {
    let (name, text) = (meta::text(variable, &["name"]), meta::text(variable, &["expression"]));
    if name.is_empty() {
        errors.push(FieldError::required(&path.child("name"), "name is not specified"));
    } else if !is_identifier(name) {
        errors.push(FieldError::invalid(&path.child("name"), name, "name is not a valid CEL identifier"));
    }
    if text.trim().is_empty() {
        errors.push(FieldError::required(&path.child("expression"), "expression is not specified"));
        return environment;
    }
    match Program::compile(text, &environment) {
        Ok(program) => environment.with_composited(name, program.into()),
        Err(error) => {
            errors.push(FieldError::invalid(&path.child("expression"), text, error.to_string()));
            environment
        }
    }
}

fn is_identifier(name: &str) -> bool {
    let mut letters = name.chars();
    letters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && letters.all(|c| c.is_ascii_alphanumeric() || c == '_')
        && keelson_cel::escape(name).is_some_and(|escaped| escaped == name || name.contains("__"))
}

fn validations(path: &Path, spec: &Value, environment: &Environment, messages: &Environment) -> Errors {
    let (all, audits) = (meta::items(spec, &["validations"]), meta::items(spec, &["auditAnnotations"]));
    let mut errors = Errors::new();
    if all.is_empty() && audits.is_empty() {
        let detail = "validations or auditAnnotations must be non-empty";
        errors.push(FieldError::required(&path.child("validations"), detail));
        errors.push(FieldError::required(&path.child("auditAnnotations"), detail));
    }
    for (index, one) in all.iter().enumerate() {
        let path = path.child("validations").index(index);
        errors.extend(expression(&path.child("expression"), one, "expression", environment, &[Type::Bool]));
        if let Some(message) = one.get("messageExpression").and_then(Value::as_str) {
            let path = path.child("messageExpression");
            if message.trim().is_empty() {
                errors.push(FieldError::invalid(&path, message, "must be non-empty if specified"));
            } else {
                errors.extend(expression(&path, one, "messageExpression", messages, &[Type::STRING]));
            }
        }
        errors.extend(message(&path.child("message"), one));
        let reasons = ["Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized"];
        errors.extend(one_of(&path, one, "reason", &reasons));
    }
    errors.extend(audit_annotations(&path.child("auditAnnotations"), audits, environment));
    errors
}

fn message(path: &Path, validation: &Value) -> Option<FieldError> {
    let message = validation.get("message")?.as_str()?;
    if message.is_empty() {
        return None;
    }
    if message.trim().is_empty() {
        return Some(FieldError::invalid(path, message, "message must be non-empty if specified"));
    }
    message
        .contains(['\n', '\r'])
        .then(|| FieldError::invalid(path, message, "message must not contain line breaks"))
}

fn audit_annotations(path: &Path, audits: &[Value], environment: &Environment) -> Errors {
    let mut errors = Errors::new();
    if audits.len() > AUDIT_ANNOTATIONS_MAX {
        errors.push(FieldError::too_many(path, audits.len(), AUDIT_ANNOTATIONS_MAX));
    }
    let mut seen = Vec::new();
    for (index, audit) in audits.iter().enumerate() {
        let path = path.index(index);
        let (key, key_path) = (meta::text(audit, &["key"]), path.child("key"));
        if key.is_empty() {
            errors.push(FieldError::required(&key_path, ""));
        } else {
            errors.extend(invalid(&key_path, key, names::qualified_name(key)));
        }
        if seen.contains(&key) {
            errors.push(FieldError::duplicate(&key_path, key));
        }
        seen.push(key);
        let value_path = path.child("valueExpression");
        if meta::text(audit, &["valueExpression"]).len() > AUDIT_EXPRESSION_BYTES_MAX {
            errors.push(FieldError::too_long(&value_path, AUDIT_EXPRESSION_BYTES_MAX));
            continue;
        }
        errors.extend(expression(
            &value_path,
            audit,
            "valueExpression",
            environment,
            &[Type::STRING, Type::Null],
        ));
    }
    errors
}

fn mutations(path: &Path, spec: &Value, environment: &Environment) -> Errors {
    let all = meta::items(spec, &["mutations"]);
    if all.is_empty() {
        return vec![FieldError::required(path, "mutations must contain at least one item")];
    }
    let mut errors = Errors::new();
    for (index, mutation) in all.iter().enumerate() {
        let path = path.index(index);
        let (own, other, wanted) = match meta::text(mutation, &["patchType"]) {
            "ApplyConfiguration" => {
                ("applyConfiguration", "jsonPatch", Type::Library(Library::MutationObject))
            }
            "JSONPatch" => ("jsonPatch", "applyConfiguration", Type::list(Type::Library(Library::JsonPatch))),
            "" => {
                errors.push(FieldError::required(&path.child("patchType"), ""));
                continue;
            }
            _ => {
                errors.extend(one_of(&path, mutation, "patchType", &["ApplyConfiguration", "JSONPatch"]));
                continue;
            }
        };
        if meta::at(mutation, &[other]).is_some() {
            let detail =
                format!("must not be specified when patchType is {}", meta::text(mutation, &["patchType"]));
            errors.push(FieldError::forbidden(&path.child(other), detail));
        }
        match meta::at(mutation, &[own]) {
            None => {
                let detail =
                    format!("must be specified when patchType is {}", meta::text(mutation, &["patchType"]));
                errors.push(FieldError::required(&path.child(own), detail));
            }
            Some(given) => {
                let path = path.child(own).child("expression");
                errors.extend(expression(&path, given, "expression", environment, &[wanted]));
            }
        }
    }
    errors
}

fn expression(
    path: &Path,
    parent: &Value,
    key: &str,
    environment: &Environment,
    wanted: &[Type],
) -> Option<FieldError> {
    let text = meta::text(parent, &[key]);
    if text.trim().is_empty() {
        return Some(FieldError::required(path, "expression is not specified"));
    }
    let error = Program::compile_as(text, environment, wanted).err()?;
    Some(FieldError::invalid(path, text, error.to_string()))
}

/// A binding.
pub fn binding(object: &Value, mutating: bool) -> Errors {
    let (path, none) = (Path::new("spec"), Value::Null);
    let spec = object.get("spec").unwrap_or(&none);
    let name = meta::text(spec, &["policyName"]);
    let mut errors: Errors = required(&path, spec, "policyName").into_iter().collect();
    if !name.is_empty() {
        errors.extend(invalid(&path.child("policyName"), name, names::dns1123_subdomain(name)));
    }
    if let Some(reference) = meta::at(spec, &["paramRef"]) {
        errors.extend(param_ref(&path.child("paramRef"), reference));
    }
    if let Some(resources) = meta::at(spec, &["matchResources"]) {
        errors.extend(match_resources(&path.child("matchResources"), resources));
    }
    if !mutating {
        errors.extend(validation_actions(&path.child("validationActions"), spec));
    }
    errors
}

fn param_ref(path: &Path, reference: &Value) -> Errors {
    let (name, selector) = (meta::text(reference, &["name"]), meta::at(reference, &["selector"]));
    let mut errors = match (name, selector) {
        ("", None) => {
            vec![FieldError::required(path, "one of name or selector must be specified")]
        }
        ("", Some(selector)) => label_selector(&path.child("selector"), selector),
        (name, None) => invalid(&path.child("name"), name, names::path_segment(name)),
        (_, Some(_)) => {
            vec![FieldError::forbidden(&path.child("name"), "name and selector are mutually exclusive")]
        }
    };
    errors.extend(required(path, reference, "parameterNotFoundAction"));
    errors.extend(one_of(path, reference, "parameterNotFoundAction", &["Allow", "Deny"]));
    errors
}

fn validation_actions(path: &Path, spec: &Value) -> Errors {
    let actions = meta::items(spec, &["validationActions"]);
    if actions.is_empty() {
        return vec![FieldError::required(path, "at least one validation action is required")];
    }
    let known = ["Audit", "Deny", "Warn"];
    let mut errors = Errors::new();
    for (index, action) in actions.iter().enumerate() {
        let (path, text) = (path.index(index), action.as_str().unwrap_or_default());
        if !known.contains(&text) {
            errors.push(FieldError::not_supported(&path, text, &known));
        }
        if actions[..index].contains(action) {
            errors.push(FieldError::duplicate(&path, text));
        }
    }
    if actions.contains(&json!("Deny")) && actions.contains(&json!("Warn")) {
        let detail = "must not contain both Deny and Warn (repeating the same validation failure information in the API \
                      response and headers serves no purpose)";
        errors.push(FieldError::invalid(path, json!(actions), detail));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> Value {
        json!({ "apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"], "scope": "*" })
    }

    fn validating() -> Value {
        json!({
            "failurePolicy": "Fail", "paramKind": { "apiVersion": "v1", "kind": "ConfigMap" },
            "matchConstraints": { "resourceRules": [rule()], "matchPolicy": "Equivalent" },
            "matchConditions": [{ "name": "not-mine", "expression": "request.userInfo.username != 'me'" }],
            "variables": [{ "name": "max", "expression": "int(params.data.max)" }],
            "validations": [{ "expression": "object.spec.replicas <= variables.max", "messageExpression": "'too many: ' + string(variables.max)" }],
            "auditAnnotations": [{ "key": "replicas", "valueExpression": "string(object.spec.replicas)" }],
        })
    }

    fn mutating() -> Value {
        json!({
            "failurePolicy": "Fail", "matchConstraints": { "resourceRules": [rule()] }, "reinvocationPolicy": "Never",
            "mutations": [
                { "patchType": "ApplyConfiguration", "applyConfiguration": { "expression": "Object{spec: Object.spec{replicas: 1}}" } },
                { "patchType": "JSONPatch", "jsonPatch": { "expression": "[JSONPatch{op: 'remove', path: '/spec/paused'}]" } },
            ],
        })
    }

    #[track_caller]
    fn refused(mut spec: Value, of_mutating: bool, pointer: &str, value: Value, expected: &str) {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = spec.pointer_mut(parent).unwrap();
        match (parent, key.parse::<usize>()) {
            (Value::Array(items), Ok(index)) => items[index] = value,
            (parent, _) => parent[key] = value,
        }
        let found: Vec<String> =
            policy(&json!({ "spec": spec }), of_mutating).iter().map(ToString::to_string).collect();
        assert!(found.iter().any(|error| error.contains(expected)), "{pointer}: {found:#?}");
    }

    #[test]
    fn a_policy_is_refused_by_the_field_that_is_wrong() {
        assert_eq!(policy(&json!({ "spec": validating() }), false), Errors::new());
        let rows = [
            ("/matchConstraints", Value::Null, "spec.matchConstraints: Required value"),
            (
                "/matchConstraints/resourceRules",
                json!([]),
                "spec.matchConstraints.resourceRules: Required value",
            ),
            ("/failurePolicy", json!("Maybe"), "spec.failurePolicy: Unsupported value: \"Maybe\""),
            (
                "/validations/0/expression",
                json!(" "),
                "spec.validations[0].expression: Required value: expression is not specified",
            ),
            (
                "/validations/0/expression",
                json!("object.x + none"),
                "spec.validations[0].expression: Invalid value: \"object.x + none\": compilation failed: ERROR: <input>:1:12: undeclared reference to 'none' (in container '')",
            ),
            (
                "/validations/0/expression",
                json!("1"),
                "spec.validations[0].expression: Invalid value: \"1\": must evaluate to bool",
            ),
            (
                "/validations/0/messageExpression",
                json!("1"),
                "spec.validations[0].messageExpression: Invalid value: \"1\": must evaluate to string",
            ),
            (
                "/validations/0/messageExpression",
                json!("authorizer.path('/').check('get').reason()"),
                "undeclared reference to 'authorizer'",
            ),
            ("/validations/0/reason", json!("Because"), "spec.validations[0].reason: Unsupported value"),
            (
                "/validations/0/message",
                json!("a\nb"),
                "spec.validations[0].message: Invalid value: \"a\\nb\": message must not contain line breaks",
            ),
            ("/variables/0/expression", json!("variables.max"), "undefined field 'max'"),
            (
                "/variables/0/name",
                json!("a-b"),
                "spec.variables[0].name: Invalid value: \"a-b\": name is not a valid CEL identifier",
            ),
            (
                "/paramKind",
                Value::Null,
                "spec.variables[0].expression: Invalid value: \"int(params.data.max)\": compilation failed",
            ),
            ("/matchConditions/0/name", json!(""), "spec.matchConditions[0].name: Required value"),
            (
                "/matchConditions/0/expression",
                json!("variables.max > 1"),
                "spec.matchConditions[0].expression: Invalid value",
            ),
            ("/auditAnnotations/0/valueExpression", json!("1"), "must evaluate to one of [string null]"),
            (
                "/matchConstraints/resourceRules/0",
                json!({ "apiGroups": ["*", "apps"], "apiVersions": ["v1"], "operations": ["READ"], "resources": ["pods"] }),
                "spec.matchConstraints.resourceRules[0].operations[0]: Unsupported value: \"READ\"",
            ),
        ];
        for (pointer, value, expected) in rows {
            refused(validating(), false, pointer, value, expected);
        }
        let nothing =
            policy(&json!({ "spec": { "matchConstraints": { "resourceRules": [rule()] } } }), false);
        assert_eq!(nothing.len(), 2, "{nothing:?}");
    }

    #[test]
    fn a_mutation_is_of_its_patch_type() {
        assert_eq!(policy(&json!({ "spec": mutating() }), true), Errors::new());
        let rows = [
            ("/mutations", json!([]), "spec.mutations: Required value"),
            ("/mutations/0/patchType", json!("JSONPatch"), "spec.mutations[0].jsonPatch: Required value"),
            ("/mutations/0/patchType", json!("Merge"), "spec.mutations[0].patchType: Unsupported value"),
            ("/mutations/0/applyConfiguration/expression", json!("1"), "must evaluate to Object"),
            ("/mutations/1/jsonPatch/expression", json!("Object{}"), "must evaluate to list(JSONPatch)"),
            ("/reinvocationPolicy", json!("Often"), "spec.reinvocationPolicy: Unsupported value"),
        ];
        for (pointer, value, expected) in rows {
            refused(mutating(), true, pointer, value, expected);
        }
    }

    #[test]
    fn a_binding_is_refused_by_the_field_that_is_wrong() {
        let good = || json!({ "policyName": "p", "validationActions": ["Deny"], "paramRef": { "name": "x", "parameterNotFoundAction": "Deny" } });
        assert_eq!(binding(&json!({ "spec": good() }), false), Errors::new());
        let rows = [
            ("policyName", json!(""), "spec.policyName: Required value"),
            (
                "validationActions",
                json!([]),
                "spec.validationActions: Required value: at least one validation action is required",
            ),
            ("validationActions", json!(["Deny", "Warn"]), "must not contain both Deny and Warn"),
            (
                "validationActions",
                json!(["Shout"]),
                "spec.validationActions[0]: Unsupported value: \"Shout\"",
            ),
            (
                "paramRef",
                json!({ "parameterNotFoundAction": "Deny" }),
                "spec.paramRef: Required value: one of name or selector must be specified",
            ),
            (
                "paramRef",
                json!({ "name": "x", "selector": {}, "parameterNotFoundAction": "Deny" }),
                "name and selector are mutually exclusive",
            ),
            ("paramRef", json!({ "name": "x" }), "spec.paramRef.parameterNotFoundAction: Required value"),
        ];
        for (key, value, expected) in rows {
            let mut spec = good();
            spec[key] = value;
            let found: Vec<String> =
                binding(&json!({ "spec": spec }), false).iter().map(ToString::to_string).collect();
            assert!(found.len() == 1 && found[0].contains(expected), "{key}: {found:?}");
        }
        assert_eq!(binding(&json!({ "spec": { "policyName": "p" } }), true), Errors::new());
    }
}
