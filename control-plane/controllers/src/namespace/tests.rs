//! The order of emptying, and the words of the conditions.

use super::plan::{Findings, conditions, waves};
use keelson_harness::{
    Timestamp,
    api::{CONFIG_MAPS, NODES, PODS, SERVICES},
    discovery::Served,
};
use serde_json::json;

fn served(resource: &keelson_harness::Resource, verbs: &[&str]) -> Served {
    Served { resource: resource.clone(), verbs: verbs.iter().map(|v| v.to_string()).collect() }
}

#[test]
fn pods_go_first_and_what_has_no_content_not_at_all() {
    let all = [
        served(&CONFIG_MAPS, &["delete", "list"]),
        served(&NODES, &["delete", "list"]),
        served(&SERVICES, &["create"]),
        served(&PODS, &["delete", "list", "deletecollection"]),
    ];
    let [first, then] = waves(&all);
    assert_eq!(first.iter().map(|s| &*s.resource.plural).collect::<Vec<_>>(), ["pods"]);
    assert_eq!(then.iter().map(|s| &*s.resource.plural).collect::<Vec<_>>(), ["configmaps"]);
}

#[test]
fn not_knowing_is_not_emptiness() {
    assert!(Findings::default().is_empty());
    let unknown = Findings { undiscovered: vec![("x/v1".into(), "down".into())], ..Findings::default() };
    let failed = Findings { failures: vec!["no answer".into()], ..Findings::default() };
    assert!(!unknown.is_empty() && !failed.is_empty());
}

#[test]
fn conditions_say_what_is_left_and_keep_their_times() {
    let mut findings = Findings::default();
    findings.remaining.insert(PODS, 2);
    findings.finalizers.insert("example.com/x".into(), 1);
    let first = conditions(&findings, &json!(null), Timestamp::from_unix(10));
    let of = |all: &[serde_json::Value], kind: &str| all.iter().find(|c| c["type"] == kind).unwrap().clone();
    let remaining = of(&first, "NamespaceContentRemaining");
    assert_eq!((&remaining["status"], &remaining["reason"]), (&json!("True"), &json!("SomeResourcesRemain")));
    assert_eq!(remaining["message"], "Some resources are remaining: pods. has 2 resource instances");
    assert_eq!(of(&first, "NamespaceFinalizersRemaining")["status"], "True");
    assert_eq!(of(&first, "NamespaceDeletionContentFailure")["status"], "False");

    let later = conditions(&Findings::default(), &json!(first), Timestamp::from_unix(99));
    assert_eq!(of(&later, "NamespaceContentRemaining")["lastTransitionTime"], "1970-01-01T00:01:39Z");
    assert_eq!(of(&later, "NamespaceDeletionContentFailure")["lastTransitionTime"], "1970-01-01T00:00:10Z");
}
