//! Rules, selectors and matchPolicy, by rows.

use super::*;
use serde_json::json;

const DEPLOYMENTS: Resource<'static> = Resource { group: "apps", version: "v1", plural: "deployments" };

fn subject() -> Subject<'static> {
    Subject {
        operation: Operation::Create,
        resource: DEPLOYMENTS,
        subresource: "",
        namespace: "ns",
        name: "web",
        object: None,
        old: None,
        equivalents: &[],
    }
}

fn rule(operations: &[&str], group: &str, version: &str, resources: &[&str]) -> Value {
    json!({ "operations": operations, "apiGroups": [group], "apiVersions": [version], "resources": resources })
}

#[test]
fn a_rule_selects_by_operation_group_version_resource_scope_and_name() {
    let with = |mut rule: Value, field: &str, value: Value| {
        rule[field] = value;
        rule
    };
    let all = || rule(&["*"], "*", "*", &["*"]);
    let namespaces = Resource { group: "", version: "v1", plural: "namespaces" };
    let scale = Subject { subresource: "scale", ..subject() };
    let namespace = Subject { resource: namespaces, namespace: "ns", name: "ns", ..subject() };
    let cluster = Subject { namespace: "", ..subject() };
    let rows = [
        (rule(&["CREATE"], "apps", "v1", &["deployments"]), subject(), true),
        (rule(&["UPDATE", "DELETE"], "apps", "v1", &["deployments"]), subject(), false),
        (rule(&["CREATE"], "", "v1", &["deployments"]), subject(), false),
        (rule(&["CREATE"], "apps", "v1beta1", &["deployments"]), subject(), false),
        (rule(&["CREATE"], "apps", "v1", &["pods", "deployments"]), subject(), true),
        (all(), subject(), true),
        (all(), scale, false),
        (rule(&["*"], "*", "*", &["deployments"]), scale, false),
        (rule(&["*"], "*", "*", &["deployments/scale"]), scale, true),
        (rule(&["*"], "*", "*", &["deployments/*"]), scale, true),
        (rule(&["*"], "*", "*", &["*/scale"]), scale, true),
        (rule(&["*"], "*", "*", &["*/*"]), scale, true),
        (rule(&["*"], "*", "*", &["*/*"]), subject(), true),
        (with(all(), "scope", json!("Namespaced")), subject(), true),
        (with(all(), "scope", json!("Namespaced")), namespace, false),
        (with(all(), "scope", json!("Cluster")), subject(), false),
        (with(all(), "scope", json!("Cluster")), namespace, true),
        (with(all(), "scope", json!("Cluster")), cluster, true),
        (with(all(), "scope", json!("*")), cluster, true),
        (with(all(), "resourceNames", json!(["other", "web"])), subject(), true),
        (with(all(), "resourceNames", json!(["other"])), subject(), false),
    ];
    for (rule, subject, expected) in rows {
        let policy = Criteria::of_policy(&json!({ "resourceRules": [rule.clone()] })).unwrap();
        assert_eq!(policy.matches(&subject).is_some(), expected, "{rule} {subject:?}");
        let other = Criteria::of_policy(&json!({ "excludeResourceRules": [rule.clone()] })).unwrap();
        assert_eq!(other.matches(&subject).is_some(), !expected, "not {rule} {subject:?}");
        if rule.get("resourceNames").is_none() {
            let webhook = Criteria::of_webhook(&json!({ "rules": [rule.clone()] })).unwrap();
            assert_eq!(webhook.matches(&subject).is_some(), expected, "webhook {rule} {subject:?}");
        }
    }
}

#[test]
fn without_rules_a_policy_is_about_everything_and_a_webhook_about_nothing() {
    assert_eq!(Criteria::of_policy(&json!({})).unwrap().matches(&subject()), Some(DEPLOYMENTS));
    assert_eq!(Criteria::of_webhook(&json!({})).unwrap().matches(&subject()), None);
}

#[test]
fn equivalent_versions_match_where_the_policy_says_so() {
    let old = Resource { version: "v1beta1", ..DEPLOYMENTS };
    let equivalents = [old];
    let subject = Subject { equivalents: &equivalents, ..subject() };
    let given = |policy: &str, version: &str| json!({ "matchPolicy": policy, "rules": [rule(&["*"], "apps", version, &["deployments"])] });
    let rows = [
        (given("Exact", "v1beta1"), None),
        (given("Equivalent", "v1beta1"), Some(old)),
        (given("Equivalent", "v1"), Some(DEPLOYMENTS)),
        (given("Equivalent", "*"), Some(DEPLOYMENTS)),
        (given("Equivalent", "v2"), None),
    ];
    for (webhook, expected) in rows {
        assert_eq!(Criteria::of_webhook(&webhook).unwrap().matches(&subject), expected, "{webhook}");
    }
}

#[test]
fn an_object_is_selected_by_its_labels_or_by_those_it_had() {
    let criteria =
        Criteria::of_policy(&json!({ "objectSelector": { "matchLabels": { "a": "b" } } })).unwrap();
    let (with, without) = (json!({ "metadata": { "labels": { "a": "b" } } }), json!({ "metadata": {} }));
    let rows = [
        (None, None, false),
        (Some(&with), None, true),
        (Some(&without), None, false),
        (Some(&without), Some(&with), true),
        (None, Some(&with), true),
        (None, Some(&without), false),
    ];
    for (object, old, expected) in rows {
        let subject = Subject { object, old, ..subject() };
        assert_eq!(criteria.matches(&subject).is_some(), expected, "{object:?} {old:?}");
    }
}

#[test]
fn a_namespace_is_selected_by_what_it_becomes_and_all_else_by_the_one_it_lives_in() {
    let selector = json!({ "namespaceSelector": { "matchExpressions": [{ "key": "env", "operator": "In", "values": ["prod"] }] } });
    let criteria = Criteria::of_policy(&selector).unwrap();
    let prod = json!({ "metadata": { "labels": { "env": "prod" } } });
    let stored = labels(&prod);
    let namespaces = Resource { group: "", version: "v1", plural: "namespaces" };
    let namespace = Subject { resource: namespaces, namespace: "", name: "ns", ..subject() };
    let rows = [
        (subject(), stored, true),
        (subject(), None, false),
        (Subject { namespace: "", ..subject() }, None, true),
        (Subject { object: Some(&prod), ..namespace }, None, true),
        (Subject { operation: Operation::Delete, ..namespace }, stored, true),
        (Subject { operation: Operation::Delete, ..namespace }, None, false),
        (
            Subject {
                object: Some(&prod),
                subresource: "finalize",
                operation: Operation::Update,
                ..namespace
            },
            None,
            false,
        ),
    ];
    for (subject, stored, expected) in rows {
        assert_eq!(criteria.matches_namespace(&subject, stored), expected, "{subject:?} {stored:?}");
    }
    assert!(!Criteria::of_policy(&json!({})).unwrap().needs_namespace(&subject()));
}

#[test]
fn other_forms_of_the_same_objects_are_found_in_the_table() {
    let table = KindTable::builtin();
    let of = |group: &str, version: &str, plural: &str, sub: &str| {
        let kind = table.by_resource(group, version, plural).unwrap();
        let all = equivalents(&table, kind, sub);
        all.iter().map(|one| format!("{}/{}/{}", one.group, one.version, one.plural)).collect::<Vec<_>>()
    };
    assert_eq!(of("", "v1", "events", ""), ["events.k8s.io/v1/events"]);
    assert_eq!(
        of("autoscaling", "v2", "horizontalpodautoscalers", "status"),
        ["autoscaling/v1/horizontalpodautoscalers"]
    );
    assert_eq!(of("", "v1", "pods", ""), [""; 0]);
}
