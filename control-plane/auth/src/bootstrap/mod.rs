//! The roles and bindings that a cluster starts with, under upstream's names
//! (<https://kubernetes.io/docs/reference/access-authn-authz/rbac/#default-roles-and-role-bindings>).
//!
//! Three tables (for users, for components, for controllers) and one list of bindings, turned into API objects; and the
//! rule by which an apiserver that starts mends what is there without undoing what an administrator added.
//! Left out: the rules that upstream keeps for API group `extensions`, which no server serves any longer, and the roles
//! of controllers that do not exist here yet.

mod bindings;
mod components;
mod controllers;
mod reconcile;
mod table;
mod users;

pub use reconcile::{Reconcile, reconcile};

use serde::Deserialize;
use serde_json::Value;

use crate::authz::PolicyRule;

/// Every default ClusterRole, Role, ClusterRoleBinding and RoleBinding, roles first.
pub fn rbac_objects() -> Vec<Value> {
    let roles = [users::ROLES, components::ROLES, controllers::ROLES, controllers::NAMESPACED];
    let mut objects: Vec<Value> =
        roles.iter().flat_map(|roles| roles.iter()).map(table::Role::object).collect();
    objects.extend(bindings::objects());
    objects
}

/// What every node may do alike: the rules of ClusterRole system:node, which the node authorizer applies. The role itself
/// is bound to nobody, as upstream.
pub fn node_rules() -> Vec<PolicyRule> {
    let role = components::ROLES.iter().find(|role| role.name == "system:node");
    role.into_iter()
        .flat_map(|role| role.rules)
        .map(|rule| PolicyRule::deserialize(rule.value()).expect("a rule of ours has the shape of a rule"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UserInfo;
    use crate::authz::{Attributes, Authorizer, RbacIndex, Resource};
    use keelson_semantics::FieldSelector;

    fn authorizer(more: &[Value]) -> Authorizer {
        let mut index = RbacIndex::default();
        let objects = rbac_objects();
        assert!(index.reset(objects.iter().chain(more)).is_empty());
        let authorizer = Authorizer::new();
        authorizer.set_rbac(index.snapshot());
        authorizer
    }

    fn may(
        authorizer: &Authorizer,
        user: &UserInfo,
        verb: &str,
        path: &str,
        namespace: &str,
        name: &str,
    ) -> bool {
        let (group, resource) = path.split_once(':').unwrap();
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let resource = Resource { group, resource, subresource, namespace, name, ..Resource::default() };
        authorizer.settled(&Attributes::resource(user, verb, resource)).unwrap().is_allowed()
    }

    #[test]
    fn every_object_is_named_once_and_every_binding_names_a_role() {
        let objects = rbac_objects();
        let mut seen = std::collections::HashSet::new();
        for object in &objects {
            let key = (
                object["kind"].clone().to_string(),
                object["metadata"]["namespace"].to_string(),
                object["metadata"]["name"].to_string(),
            );
            assert!(seen.insert(key.clone()), "{key:?} twice");
            assert_eq!(object["apiVersion"], "rbac.authorization.k8s.io/v1");
        }
        for binding in objects.iter().filter(|object| object["roleRef"].is_object()) {
            let role = &binding["roleRef"];
            assert!(
                objects.iter().any(
                    |object| object["kind"] == role["kind"] && object["metadata"]["name"] == role["name"]
                ),
                "{role}"
            );
        }
    }

    #[test]
    fn the_components_may_do_their_work_and_no_more() {
        let authorizer = authorizer(&[]);
        let scheduler = UserInfo::authenticated("system:kube-scheduler", [] as [&str; 0]);
        let controllers = UserInfo::authenticated("system:kube-controller-manager", [] as [&str; 0]);
        let types = "system:serviceaccount:kube-system:validatingadmissionpolicy-status-controller";
        let types = UserInfo::authenticated(types, [] as [&str; 0]);
        let rows = [
            (&scheduler, "create", ":pods/binding", "ns", "p", true),
            (&scheduler, "watch", ":nodes", "", "", true),
            (&scheduler, "patch", ":pods/status", "ns", "p", true),
            (&scheduler, "update", "coordination.k8s.io:leases", "kube-system", "kube-scheduler", true),
            (&scheduler, "update", "coordination.k8s.io:leases", "kube-system", "other", false),
            (&scheduler, "get", ":secrets", "ns", "s", false),
            (&scheduler, "delete", ":nodes", "", "n", false),
            (&controllers, "create", "apps:replicasets", "ns", "", true),
            (&controllers, "patch", "apps:deployments/status", "ns", "d", true),
            (&controllers, "patch", ":replicationcontrollers/status", "ns", "r", true),
            (&controllers, "create", ":pods", "ns", "", true),
            (&controllers, "create", "discovery.k8s.io:endpointslices", "ns", "", true),
            (&controllers, "update", ":namespaces/finalize", "", "ns", true),
            (&controllers, "deletecollection", "batch:jobs", "ns", "", true),
            (&controllers, "create", ":configmaps", "ns", "", true),
            (&controllers, "create", ":serviceaccounts", "ns", "", true),
            (&controllers, "patch", ":nodes", "", "n", true),
            (&controllers, "escalate", "rbac.authorization.k8s.io:clusterroles", "", "admin", true),
            (&controllers, "create", "rbac.authorization.k8s.io:clusterroles", "", "", false),
            (&controllers, "create", ":pods/exec", "ns", "p", false),
            (
                &types,
                "patch",
                "admissionregistration.k8s.io:validatingadmissionpolicies/status",
                "",
                "p",
                true,
            ),
            (&types, "patch", "admissionregistration.k8s.io:validatingadmissionpolicies", "", "p", false),
            (&types, "list", ":pods", "ns", "", false),
        ];
        for (user, verb, path, namespace, name, allowed) in rows {
            assert_eq!(
                may(&authorizer, user, verb, path, namespace, name),
                allowed,
                "{} {verb} {path}",
                user.name
            );
        }
    }

    #[test]
    fn a_node_may_do_its_work_and_sees_only_its_own() {
        let authorizer = authorizer(&[]);
        authorizer.relate(crate::authz::Related::Pod, &serde_json::json!({
            "metadata": { "namespace": "ns", "name": "p" },
            "spec": { "nodeName": "a", "serviceAccountName": "sa", "volumes": [{ "secret": { "secretName": "s" } }] },
        }));
        let node = UserInfo::authenticated("system:node:a", ["system:nodes"]);
        let other = UserInfo::authenticated("system:node:b", ["system:nodes"]);
        let rows = [
            ("create", ":nodes", "", "", true, true),
            ("patch", ":nodes/status", "", "a", true, true),
            ("watch", ":nodes", "", "", true, true),
            ("watch", ":services", "", "", true, true),
            ("watch", "discovery.k8s.io:endpointslices", "", "", true, true),
            ("create", ":events", "ns", "", true, true),
            ("create", "events.k8s.io:events", "ns", "", true, true),
            ("update", "coordination.k8s.io:leases", "kube-node-lease", "a", true, false),
            ("get", ":secrets", "ns", "s", true, false),
            ("get", ":secrets", "ns", "t", false, false),
            ("list", ":secrets", "ns", "", false, false),
            ("create", ":serviceaccounts/token", "ns", "sa", true, false),
            ("get", ":pods", "ns", "p", true, false),
            ("list", ":pods", "", "", true, true),
            ("watch", ":pods", "ns", "", true, true),
            ("watch", ":namespaces", "", "", true, true),
            ("watch", "networking.k8s.io:networkpolicies", "", "", true, true),
            ("update", "networking.k8s.io:networkpolicies", "ns", "p", false, false),
            ("update", ":pods", "ns", "p", false, false),
            ("patch", ":pods/status", "ns", "p", true, true),
            ("delete", ":nodes", "", "a", false, false),
            ("create", "certificates.k8s.io:certificatesigningrequests", "", "", true, true),
            ("create", "certificates.k8s.io:certificatesigningrequests/selfnodeclient", "", "", true, true),
            ("create", "certificates.k8s.io:certificatesigningrequests/nodeclient", "", "", false, false),
            ("list", "apps:deployments", "", "", false, false),
        ];
        for (verb, path, namespace, name, own, others) in rows {
            assert_eq!(may(&authorizer, &node, verb, path, namespace, name), own, "own {verb} {path} {name}");
            assert_eq!(
                may(&authorizer, &other, verb, path, namespace, name),
                others,
                "other {verb} {path} {name}"
            );
        }
        // A daemon that is no data plane sees its own pods alone.
        let mut index = RbacIndex::default();
        let others = rbac_objects();
        let others = others.iter().filter(|object| object["metadata"]["name"] != "keelson:node-data-plane");
        assert!(index.reset(others).is_empty());
        authorizer.set_rbac(index.snapshot());
        let own = FieldSelector::parse("spec.nodeName=a").unwrap();
        let pods = Resource { resource: "pods", fields: Some(&own), ..Resource::default() };
        assert!(authorizer.settled(&Attributes::resource(&node, "watch", pods)).unwrap().is_allowed());
        let refused = authorizer.settled(&Attributes::resource(&other, "watch", pods)).unwrap();
        assert_eq!(
            refused.reason.as_deref(),
            Some("can only list/watch pods with spec.nodeName field selector")
        );
    }

    #[test]
    fn anybody_may_ask_for_health_and_version_and_only_users_for_the_apis() {
        let authorizer = authorizer(&[]);
        let user = UserInfo::authenticated("u", [] as [&str; 0]);
        let rows = [
            ("/healthz", true, true),
            ("/version", true, true),
            ("/api", false, true),
            ("/apis/apps/v1", false, true),
            ("/openapi/v3/apis/apps/v1", false, true),
            ("/metrics", false, false),
        ];
        for (path, anonymous, proven) in rows {
            let ask = |user| authorizer.settled(&Attributes::path(user, "get", path)).unwrap().is_allowed();
            assert_eq!((ask(&UserInfo::anonymous()), ask(&user)), (anonymous, proven), "{path}");
        }
    }

    #[test]
    fn an_allowed_request_names_the_binding() {
        let authorizer = authorizer(&[serde_json::json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": { "namespace": "ns", "name": "jane-views" },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:aggregate-to-view" },
            "subjects": [{ "kind": "User", "name": "jane" }, { "kind": "ServiceAccount", "name": "bot" }],
        })]);
        for user in ["jane", "system:serviceaccount:ns:bot"] {
            let user = UserInfo::authenticated(user, [] as [&str; 0]);
            assert!(may(&authorizer, &user, "list", ":pods", "ns", ""));
            assert!(!may(&authorizer, &user, "list", ":pods", "other", ""));
            assert!(!may(&authorizer, &user, "list", ":pods", "", ""));
            assert!(!may(&authorizer, &user, "list", ":secrets", "ns", ""));
        }
        let jane = UserInfo::authenticated("jane", [] as [&str; 0]);
        let pods = Resource { resource: "pods", namespace: "ns", ..Resource::default() };
        let verdict = authorizer.settled(&Attributes::resource(&jane, "list", pods)).unwrap();
        assert_eq!(
            verdict.reason.as_deref(),
            Some(
                r#"RBAC: allowed by RoleBinding "jane-views/ns" of ClusterRole "system:aggregate-to-view" to User "jane""#
            )
        );
    }

    #[test]
    fn people_have_the_kinds_of_their_namespaces_and_none_of_the_cluster() {
        let bound = |user: &str, role: &str| {
            serde_json::json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
                "metadata": { "namespace": "ns", "name": user },
                "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
                "subjects": [{ "kind": "User", "name": user }],
            })
        };
        let authorizer = authorizer(&[
            bound("editor", "system:aggregate-to-edit"),
            bound("viewer", "system:aggregate-to-view"),
        ]);
        let users = ["editor", "viewer"].map(|name| UserInfo::authenticated(name, [] as [&str; 0]));
        let ask = |verb, path| users.each_ref().map(|user| may(&authorizer, user, verb, path, "ns", "x"));
        let own = [
            "apps:daemonsets",
            "apps:statefulsets",
            "autoscaling:horizontalpodautoscalers",
            "batch:cronjobs",
            "batch:jobs",
            "networking.k8s.io:ingresses",
            "policy:poddisruptionbudgets",
            ":replicationcontrollers",
            "resource.k8s.io:resourceclaims",
            "resource.k8s.io:resourceclaimtemplates",
        ];
        for path in own {
            assert_eq!((ask("create", path), ask("list", path)), ([true, false], [false, true]), "{path}");
        }
        for path in ["apps:statefulsets/scale", ":replicationcontrollers/scale"] {
            assert_eq!((ask("update", path), ask("get", path)), ([true, false], [false, true]), "{path}");
        }
        assert_eq!(ask("create", ":pods/eviction"), [true, false]);
        // As upstream, where who may write pods may still not resize them.
        assert_eq!(ask("patch", ":pods/resize"), [false, false]);
        assert_eq!(
            (ask("create", ":limitranges"), ask("list", ":limitranges")),
            ([false, false], [false, true])
        );
        assert_eq!(ask("list", "apps:controllerrevisions"), [false, true]);
        for path in [":persistentvolumes", "storage.k8s.io:csidrivers", "networking.k8s.io:ingressclasses"] {
            assert_eq!((ask("create", path), ask("list", path)), ([false; 2], [false; 2]), "{path}");
        }
    }
}
