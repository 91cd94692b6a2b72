//! Nobody grants more than they have.

use keelson_auth::authz::rbac::escalation::{Escalation, RbacWrite, check};
use keelson_auth::authz::{Authorizer, RbacIndex};
use keelson_auth::{UserInfo, bootstrap};
use serde_json::{Value, json};

fn object(kind: &str, namespace: &str, name: &str, more: Value) -> Value {
    let mut object = json!({ "kind": kind, "metadata": { "name": name } });
    if !namespace.is_empty() {
        object["metadata"]["namespace"] = namespace.into();
    }
    object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    object
}

fn role(rules: Value) -> Value {
    object("Role", "ns", "r", json!({ "rules": rules }))
}

fn binding(role_kind: &str, role: &str) -> Value {
    let role_ref = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": role_kind, "name": role });
    object(
        "RoleBinding",
        "ns",
        "b",
        json!({ "roleRef": role_ref, "subjects": [{ "kind": "User", "name": "joe" }] }),
    )
}

fn authorizer() -> Authorizer {
    let subject = json!([{ "kind": "User", "name": "jane" }]);
    let cluster_role = |name: &str| json!({ "kind": "ClusterRole", "name": name });
    let own = [
        object(
            "ClusterRole",
            "",
            "reader",
            json!({ "rules": [
            { "verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "pods/log"] },
            { "verbs": ["get"], "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["one"] },
            { "verbs": ["bind"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"], "resourceNames": ["edit"] },
        ] }),
        ),
        object(
            "RoleBinding",
            "ns",
            "jane",
            json!({ "roleRef": cluster_role("reader"), "subjects": subject }),
        ),
        object("RoleBinding", "ns", "lost", json!({ "roleRef": cluster_role("lost"), "subjects": subject })),
    ];
    let mut index = RbacIndex::default();
    let defaults = bootstrap::rbac_objects();
    assert!(index.reset(defaults.iter().chain(&own)).is_empty());
    let authorizer = Authorizer::new();
    authorizer.set_rbac(index.snapshot());
    authorizer
}

fn write(
    authorizer: &Authorizer,
    user: &UserInfo,
    new: &Value,
    old: Option<&Value>,
) -> Result<(), Escalation> {
    let resource = format!("{}s", new["kind"].as_str().unwrap().to_lowercase());
    let namespace = new["metadata"]["namespace"].as_str().unwrap_or_default();
    let name = new["metadata"]["name"].as_str().unwrap();
    let write = RbacWrite { resource: &resource, namespace, name, new, old };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(check(authorizer, user, &write))
}

fn jane() -> UserInfo {
    UserInfo::authenticated("jane", ["dev"])
}

#[test]
fn a_role_may_hold_what_its_author_holds() {
    let authorizer = authorizer();
    let rows = [
        (json!([{ "verbs": ["get"], "apiGroups": [""], "resources": ["pods"] }]), true),
        (json!([{ "verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "pods/log"] }]), true),
        (
            json!([{ "verbs": ["get"], "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["one"] }]),
            true,
        ),
        (json!([{ "verbs": ["get"], "apiGroups": [""], "resources": ["secrets"] }]), false),
        (json!([{ "verbs": ["*"], "apiGroups": [""], "resources": ["pods"] }]), false),
        (json!([{ "verbs": ["get"], "apiGroups": [""], "resources": ["*"] }]), false),
        (json!([{ "verbs": ["get"], "apiGroups": ["apps"], "resources": ["pods"] }]), false),
    ];
    for (rules, permitted) in rows {
        assert_eq!(write(&authorizer, &jane(), &role(rules.clone()), None).is_ok(), permitted, "{rules}");
    }
}

#[test]
fn the_refusal_names_what_is_missing() {
    let rules = json!([{ "verbs": ["get", "delete", "create"], "apiGroups": [""], "resources": ["pods"] }]);
    let error = write(&authorizer(), &jane(), &role(rules), None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "user \"jane\" (groups=[\"dev\" \"system:authenticated\"]) is attempting to grant RBAC permissions not currently \
         held:\n{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\" \"create\"]}; resolution errors: \
         [clusterrole.rbac.authorization.k8s.io \"lost\" not found]"
    );
}

#[test]
fn an_update_that_changes_no_rule_is_nobodys_escalation() {
    let rules = json!([{ "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"] }]);
    let mut labelled = role(rules.clone());
    labelled["metadata"]["labels"] = json!({ "a": "b" });
    assert!(write(&authorizer(), &jane(), &labelled, Some(&role(rules.clone()))).is_ok());
    assert!(write(&authorizer(), &jane(), &labelled, Some(&role(json!([])))).is_err());
}

#[test]
fn a_binding_needs_the_roles_rules_or_the_verb_bind() {
    let authorizer = authorizer();
    assert!(write(&authorizer, &jane(), &binding("ClusterRole", "edit"), None).is_ok());
    assert!(matches!(
        write(&authorizer, &jane(), &binding("ClusterRole", "cluster-admin"), None),
        Err(Escalation::Forbidden(_))
    ));
    let error = write(&authorizer, &jane(), &binding("Role", "nobody"), None).unwrap_err();
    assert_eq!(error.to_string(), "roles.rbac.authorization.k8s.io \"nobody\" not found");
    let root = UserInfo::authenticated("root", ["system:masters"]);
    assert!(write(&authorizer, &root, &binding("ClusterRole", "cluster-admin"), None).is_ok());
}

#[test]
fn aggregation_is_for_cluster_admins_and_the_aggregating_controller() {
    let rule = json!({ "aggregationRule": { "clusterRoleSelectors": [{}] }, "rules": [] });
    let role = object("ClusterRole", "", "all", rule);
    let error = write(&authorizer(), &jane(), &role, None).unwrap_err();
    assert_eq!(error.to_string(), "must have cluster-admin privileges to use the aggregationRule");
    let controllers = UserInfo::authenticated("system:kube-controller-manager", ["x"]);
    assert!(write(&authorizer(), &controllers, &role, None).is_ok());
}

#[test]
fn a_rules_review_lists_what_is_held_and_says_what_it_cannot_know() {
    let authorizer = authorizer();
    let status = authorizer.review_rules(&jane(), "ns");
    assert_eq!(status["incomplete"], true);
    assert_eq!(status["evaluationError"], "clusterrole.rbac.authorization.k8s.io \"lost\" not found");
    let rules = status["resourceRules"].as_array().unwrap();
    assert!(rules.contains(
        &json!({ "verbs": ["get"], "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["one"] })
    ));
    assert!(!status["nonResourceRules"].as_array().unwrap().is_empty());
    let elsewhere = authorizer.review_rules(&jane(), "other");
    assert_eq!(elsewhere["incomplete"], false);
    let node = UserInfo::authenticated("system:node:a", ["system:nodes"]);
    assert_eq!(authorizer.review_rules(&node, "ns")["incomplete"], true);
}
