//! A policy's status: each validation compiled against each kind that the policy names. Pure.
//!
//! Rules: "Type checking" in <https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/>. As
//! upstream, of the first error of an expression: what it says of matchConditions, audit annotations and variables is
//! nothing; a variable that does not fit is dyn to who names it.

use keelson_cel::{CompileError, Environment, Program, admission};
use keelson_registry::{kind::Kind, meta, table::KindTable};
use keelson_schema::expression;
use serde_json::{Value, json};
use std::sync::Arc;

/// The most kinds that a policy is checked against.
const KINDS_MAX: usize = 10;

/// What the policy's status is to say. `typeChecking` is there also when nothing is wrong: it has been looked at.
pub(super) fn status(policy: &Value, table: &KindTable) -> Value {
    let mut status = json!({"observedGeneration": meta::generation(policy), "typeChecking": {}});
    let warnings = warnings(policy, table);
    if !warnings.is_empty() {
        status["typeChecking"]["expressionWarnings"] = warnings.into();
    }
    status
}

fn warnings(policy: &Value, table: &KindTable) -> Vec<Value> {
    let kinds: Vec<(String, Environment)> = kinds(policy, table)
        .into_iter()
        .filter_map(|kind| {
            let environment = environment(policy, kind, table)?;
            Some((format!("{}/{}, Kind={}", kind.group, kind.version, kind.kind), environment))
        })
        .collect();
    let mut warnings = Vec::new();
    for (index, validation) in meta::items(policy, &["spec", "validations"]).iter().enumerate() {
        for key in ["expression", "messageExpression"] {
            let text = meta::text(validation, &[key]);
            let wrong: Vec<String> = kinds
                .iter()
                .filter(|_| !text.is_empty())
                .filter_map(|(kind, environment)| Some(format!("{kind}: {}\n", wrong(text, environment)?)))
                .collect();
            if !wrong.is_empty() {
                let field = format!("spec.validations[{index}].{key}");
                warnings.push(json!({"fieldRef": field, "warning": wrong.join("\n")}));
            }
        }
    }
    warnings
}

fn wrong(text: &str, environment: &Environment) -> Option<String> {
    match Program::compile(text, environment).err()? {
        CompileError::Invalid(errors) => Some(errors),
        other => Some(other.to_string()),
    }
}

/// The served kinds that the rules name in full, sorted by group, version and kind.
fn kinds<'t>(policy: &Value, table: &'t KindTable) -> Vec<&'t Arc<Kind>> {
    let mut kinds: Vec<&Arc<Kind>> = Vec::new();
    for rule in meta::items(policy, &["spec", "matchConstraints", "resourceRules"]) {
        let (groups, versions) = (words(rule, "apiGroups"), words(rule, "apiVersions"));
        if groups.iter().chain(&versions).any(|word| word.contains('*')) {
            continue;
        }
        let resources = words(rule, "resources").into_iter().filter(|word| !word.contains(['*', '/']));
        let resources: Vec<&str> = resources.collect();
        let named = groups.iter().flat_map(|group| versions.iter().map(move |version| (*group, *version)));
        let named = named.flat_map(|(group, version)| {
            resources.iter().filter_map(move |resource| table.by_resource(group, version, resource))
        });
        for kind in named {
            if kinds.len() < KINDS_MAX && kinds.iter().all(|known| !Arc::ptr_eq(known, kind)) {
                kinds.push(kind);
            }
        }
    }
    kinds.sort_by_key(|kind| kind.gvk());
    kinds
}

/// The texts of a list, sorted.
fn words<'a>(rule: &'a Value, key: &str) -> Vec<&'a str> {
    let mut words: Vec<&str> = meta::items(rule, &[key]).iter().filter_map(Value::as_str).collect();
    words.sort_unstable();
    words
}

/// What the policy's expressions may name where they are about this kind. Parameters of a kind that is not served are not
/// there, as upstream.
fn environment(policy: &Value, kind: &Kind, table: &KindTable) -> Option<Environment> {
    let api_version = meta::text(policy, &["spec", "paramKind", "apiVersion"]);
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let params = table.by_kind(group, version, meta::text(policy, &["spec", "paramKind", "kind"]));
    let params = params.and_then(|kind| kind.body_type("")).map(expression::declared);
    let mut environment = admission::typed_environment(expression::declared(kind.body_type("")?), params);
    for variable in meta::items(policy, &["spec", "variables"]) {
        let program = Program::compile(meta::text(variable, &["expression"]), &environment)
            .or_else(|_| Program::compile("dyn(null)", &environment));
        if let Ok(program) = program {
            environment = environment.with_composited(meta::text(variable, &["name"]), program.into());
        }
    }
    Some(environment)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(spec: Value) -> Value {
        json!({"metadata": {"name": "p", "generation": 3}, "spec": spec})
    }

    fn rule(group: &str, resources: &[&str]) -> Value {
        json!({"apiGroups": [group], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": resources})
    }

    /// Of a policy on Deployments.
    fn of_deployments(mut spec: Value) -> Value {
        spec["matchConstraints"] = json!({"resourceRules": [rule("apps", &["deployments"])]});
        status(&policy(spec), &KindTable::builtin())
    }

    fn texts(status: &Value) -> Vec<(&str, &str)> {
        let all = meta::items(status, &["typeChecking", "expressionWarnings"]).iter();
        all.map(|one| (meta::text(one, &["fieldRef"]), meta::text(one, &["warning"]))).collect()
    }

    #[test]
    fn a_policy_that_fits_is_observed_and_has_no_warnings() {
        let found = of_deployments(json!({"validations": [{"expression": "object.spec.replicas > 1"}]}));
        assert_eq!(found, json!({"observedGeneration": 3, "typeChecking": {}}));
    }

    #[test]
    fn a_warning_says_field_kind_and_place() {
        let found = of_deployments(json!({"validations": [
            {"expression": "true", "messageExpression": "'wants more, got ' + object.spec.replicas"},
            {"expression": "object.replicas > 1"},
        ]}));
        assert_eq!(
            texts(&found),
            [
                (
                    "spec.validations[0].messageExpression",
                    "apps/v1, Kind=Deployment: ERROR: <input>:1:20: found no matching overload for '_+_' applied to '(string, int)'\n | 'wants more, got ' + object.spec.replicas\n | ...................^\n"
                ),
                (
                    "spec.validations[1].expression",
                    "apps/v1, Kind=Deployment: ERROR: <input>:1:7: undefined field 'replicas'\n | object.replicas > 1\n | ......^\n"
                ),
            ]
        );
    }

    #[test]
    fn each_kind_that_does_not_fit_is_named_in_order() {
        let found = status(
            &policy(json!({
                "matchConstraints": {"resourceRules": [rule("apps", &["replicasets", "deployments"]), rule("", &["pods"])]},
                "validations": [{"expression": "object.spec.replicas > 1 && object.spec.nodeName == ''"}],
            })),
            &KindTable::builtin(),
        );
        let [(_, warning)] = texts(&found)[..] else { panic!("{found}") };
        let kinds: Vec<&str> =
            warning.lines().filter_map(|line| line.split_once(": ERROR")).map(|(kind, _)| kind).collect();
        assert_eq!(kinds, ["/v1, Kind=Pod", "apps/v1, Kind=Deployment", "apps/v1, Kind=ReplicaSet"]);
    }

    #[test]
    fn wildcards_subresources_and_what_is_not_served_are_passed_over_and_ten_kinds_are_enough() {
        let names = |rules: Value| {
            let policy = policy(json!({"matchConstraints": {"resourceRules": rules}}));
            let table = KindTable::builtin();
            kinds(&policy, &table).iter().map(|kind| kind.kind.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(
            names(json!([rule("apps", &["*"]), rule("*", &["pods"]), rule("", &["pods/status"])])),
            [""; 0]
        );
        assert_eq!(names(json!([rule("nobody.example.com", &["pods"]), rule("", &["pods", "*"])])), ["Pod"]);
        assert_eq!(names(json!([rule("", &["pods"]), rule("", &["pods"])])), ["Pod"]);
        let many = [
            "configmaps",
            "endpoints",
            "events",
            "limitranges",
            "namespaces",
            "nodes",
            "persistentvolumes",
            "persistentvolumeclaims",
            "pods",
            "podtemplates",
            "secrets",
            "services",
        ];
        assert_eq!(names(json!([rule("", &many)])).len(), KINDS_MAX);
    }

    #[test]
    fn parameters_and_variables_have_types_too() {
        let of = |param_kind: Value, variable: &str, expression: &str| {
            let found = of_deployments(json!({
                "paramKind": param_kind, "variables": [{"name": "v", "expression": variable}],
                "validations": [{"expression": expression}],
            }));
            texts(&found).first().map(|(_, warning)| (*warning).to_owned())
        };
        let maps = || json!({"apiVersion": "v1", "kind": "ConfigMap"});
        assert_eq!(of(maps(), "object.spec.replicas", "variables.v > int(params.data['max'])"), None);
        assert_eq!(of(maps(), "object.nothing", "variables.v > 1 && variables.v == ''"), None);
        assert_eq!(
            of(Value::Null, "1", "authorizer.requestResource.check('get').allowed() && oldObject == null"),
            None
        );
        let rows = [
            (maps(), "1", "params.dat == null", "undefined field 'dat'"),
            (
                maps(),
                "'text'",
                "variables.v == object.spec.replicas",
                "found no matching overload for '_==_' applied to '(string, int)'",
            ),
            (maps(), "1", "variables.w", "undefined field 'w'"),
            (
                json!({"apiVersion": "example.com/v1", "kind": "Limit"}),
                "1",
                "params.max == 1",
                "undeclared reference to 'params'",
            ),
            (
                maps(),
                "1",
                "authorizer.allowed()",
                "found no matching overload for 'allowed' applied to 'kubernetes.authorization.Authorizer.()'",
            ),
        ];
        for (param_kind, variable, expression, wanted) in rows {
            let found = of(param_kind, variable, expression);
            assert!(found.as_ref().is_some_and(|found| found.contains(wanted)), "{expression}: {found:?}");
        }
    }
}
