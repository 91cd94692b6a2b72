//! Who holds the default roles.

use serde_json::{Value, json};

use super::controllers;
use super::table::header;
use crate::user::names::{
    AUTHENTICATED_GROUP, CONTROLLER_MANAGER_USER, MASTERS_GROUP, NODES_GROUP, SCHEDULER_USER,
    SERVICE_ACCOUNTS_GROUP, UNAUTHENTICATED_GROUP,
};

const GROUP: &str = "rbac.authorization.k8s.io";
const KUBE_SYSTEM: &str = "kube-system";

enum Subject {
    User(&'static str),
    Group(&'static str),
    /// In kube-system.
    Account(&'static str),
}
use Subject::{Account, Group, User};

/// ClusterRole and who holds it; the binding has the role's name.
const CLUSTER: &[(&str, &[Subject])] = &[
    ("cluster-admin", &[Group(MASTERS_GROUP)]),
    ("system:discovery", &[Group(AUTHENTICATED_GROUP)]),
    ("system:basic-user", &[Group(AUTHENTICATED_GROUP)]),
    ("system:public-info-viewer", &[Group(AUTHENTICATED_GROUP), Group(UNAUTHENTICATED_GROUP)]),
    ("system:service-account-issuer-discovery", &[Group(SERVICE_ACCOUNTS_GROUP)]),
    ("system:monitoring", &[Group("system:monitoring")]),
    // The node authorizer stands in for this binding.
    ("system:node", &[]),
    ("keelson:node-data-plane", &[Group(NODES_GROUP)]),
    // Nodes renew their client certificates without a person, as clusters of kubeadm have it
    // (its kubeadm:node-autoapprove-certificate-rotation).
    ("system:certificates.k8s.io:certificatesigningrequests:selfnodeclient", &[Group(NODES_GROUP)]),
    ("system:node-proxier", &[User("system:kube-proxy")]),
    ("system:kube-scheduler", &[User(SCHEDULER_USER)]),
    ("system:volume-scheduler", &[User(SCHEDULER_USER)]),
    ("system:kube-controller-manager", &[User(CONTROLLER_MANAGER_USER)]),
    ("system:kube-dns", &[Account("kube-dns")]),
];

pub(super) fn objects() -> Vec<Value> {
    let mut objects: Vec<Value> = CLUSTER
        .iter()
        .map(|(role, subjects)| cluster(role, subjects.iter().map(Subject::value).collect()))
        .collect();
    // The account is upstream's holder; the user is who our controllers are.
    objects.extend(controllers::ROLES.iter().map(|role| {
        let account = role.name.strip_prefix("system:controller:").unwrap_or(role.name);
        cluster(role.name, vec![service_account(account), User(CONTROLLER_MANAGER_USER).value()])
    }));
    objects.extend(controllers::NAMESPACED.iter().map(|role| {
        let account = role.name.strip_prefix("system:controller:").unwrap_or(role.name);
        let subjects = vec![service_account(account), User(CONTROLLER_MANAGER_USER).value()];
        namespaced(role.namespace, role.name, role.name, subjects)
    }));
    let readers = vec![User(CONTROLLER_MANAGER_USER).value(), User(SCHEDULER_USER).value()];
    let name = "extension-apiserver-authentication-reader";
    objects.push(namespaced(KUBE_SYSTEM, &format!("system::{name}"), name, readers));
    objects
}

fn cluster(role: &str, subjects: Vec<Value>) -> Value {
    let mut object = header("ClusterRoleBinding", "", role);
    object["roleRef"] = json!({ "apiGroup": GROUP, "kind": "ClusterRole", "name": role });
    if !subjects.is_empty() {
        object["subjects"] = subjects.into();
    }
    object
}

fn namespaced(namespace: &str, name: &str, role: &str, subjects: Vec<Value>) -> Value {
    let mut object = header("RoleBinding", namespace, name);
    object["roleRef"] = json!({ "apiGroup": GROUP, "kind": "Role", "name": role });
    object["subjects"] = subjects.into();
    object
}

impl Subject {
    fn value(&self) -> Value {
        match self {
            User(name) => json!({ "apiGroup": GROUP, "kind": "User", "name": name }),
            Group(name) => json!({ "apiGroup": GROUP, "kind": "Group", "name": name }),
            Account(name) => service_account(name),
        }
    }
}

fn service_account(name: &str) -> Value {
    json!({ "kind": "ServiceAccount", "name": name, "namespace": KUBE_SYSTEM })
}
