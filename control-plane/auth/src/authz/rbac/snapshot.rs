//! What the RBAC objects grant, indexed by subject: a request looks only at what its own user and groups were granted.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::PolicyRule;
use super::index::{Binding, RbacIndex, RoleKey, RoleRef, Subject};
use crate::UserInfo;
use crate::authz::{Attributes, Request, Verdict};
use crate::user::service_account_user;

/// Immutable; replaced as a whole when an RBAC object changes.
#[derive(Default)]
pub struct RbacSnapshot {
    users: HashMap<Arc<str>, Grants>,
    groups: HashMap<Arc<str>, Grants>,
    roles: HashMap<RoleKey, Arc<[PolicyRule]>>,
}

#[derive(Default)]
struct Grants {
    cluster: Vec<Grant>,
    namespaced: HashMap<Arc<str>, Vec<Grant>>,
}

/// One binding seen from one of its subjects.
struct Grant {
    /// Nothing where the role does not exist.
    rules: Option<Arc<[PolicyRule]>>,
    /// Why it allows, or which role is missed.
    reason: Arc<str>,
}

/// The rules that apply to a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserRules {
    /// The rules of every role bound to the user or one of its groups.
    pub rules: Vec<PolicyRule>,
    /// Roles that are bound but do not exist.
    pub missing: Vec<Arc<str>>,
}

impl RbacSnapshot {
    pub(super) fn build(index: &RbacIndex) -> Self {
        let mut snapshot = Self { roles: index.roles.clone(), ..Self::default() };
        let mut names: HashMap<&str, Arc<str>> = HashMap::new();
        // In the order of their names, so that the reason given for an allowed request is always the same.
        let mut bindings: Vec<_> = index.bindings.iter().collect();
        bindings.sort_by_key(|(key, _)| *key);
        for (key, binding) in bindings {
            let namespace =
                names.entry(key.namespace.as_str()).or_insert_with(|| key.namespace.as_str().into()).clone();
            snapshot.add(key, namespace, binding);
        }
        snapshot
    }

    fn add(&mut self, key: &RoleKey, namespace: Arc<str>, binding: &Binding) {
        let rules = self.roles.get(&referenced(&binding.role_ref, &key.namespace)).cloned();
        for subject in binding.subjects.iter().flatten() {
            let grants = match subject.kind.as_str() {
                "User" => self.users.entry(subject.name.as_str().into()).or_default(),
                "Group" => self.groups.entry(subject.name.as_str().into()).or_default(),
                "ServiceAccount" => {
                    let owner =
                        if subject.namespace.is_empty() { &key.namespace } else { &subject.namespace };
                    if owner.is_empty() {
                        continue;
                    }
                    self.users.entry(service_account_user(owner, &subject.name).into()).or_default()
                }
                _ => continue,
            };
            let reason = match &rules {
                Some(_) => describe(key, binding, subject),
                None => not_found(&binding.role_ref),
            };
            let grant = Grant { rules: rules.clone(), reason: reason.into() };
            match key.namespace.as_str() {
                "" => grants.cluster.push(grant),
                _ => grants.namespaced.entry(namespace.clone()).or_default().push(grant),
            }
        }
    }

    /// What was granted to the user: everywhere first, then in the namespace.
    fn grants<'a>(&'a self, user: &'a UserInfo, namespace: &'a str) -> impl Iterator<Item = &'a Grant> {
        let own = move || {
            let groups = user.groups.iter().filter_map(|group| self.groups.get(group.as_str()));
            self.users.get(user.name.as_str()).into_iter().chain(groups)
        };
        own()
            .flat_map(|grants| &grants.cluster)
            .chain(own().filter_map(move |grants| grants.namespaced.get(namespace)).flatten())
    }

    /// RBAC's opinion.
    pub fn authorize(&self, attributes: &Attributes<'_>) -> Verdict {
        let namespace = match &attributes.request {
            Request::Resource(resource) => resource.namespace,
            Request::NonResource(_) => "",
        };
        let mut missing: Vec<&str> = Vec::new();
        for grant in self.grants(attributes.user, namespace) {
            match &grant.rules {
                None => missing.push(&grant.reason),
                Some(rules) => {
                    if rules.iter().any(|rule| rule.allows(attributes.verb, &attributes.request)) {
                        return Verdict::allow(Some(grant.reason.clone()));
                    }
                }
            }
        }
        match missing.as_slice() {
            [] => Verdict::no_opinion(None),
            [one] => Verdict::no_opinion(Some(format!("RBAC: {one}").into())),
            many => Verdict::no_opinion(Some(format!("RBAC: [{}]", many.join(", ")).into())),
        }
    }

    /// All rules that apply to the user in a namespace (empty: at the cluster scope only).
    pub fn rules_for(&self, user: &UserInfo, namespace: &str) -> UserRules {
        let mut found = UserRules::default();
        for grant in self.grants(user, namespace) {
            match &grant.rules {
                None => found.missing.push(grant.reason.clone()),
                Some(rules) => found.rules.extend_from_slice(rules),
            }
        }
        found
    }

    /// The rules of a role, or nothing where it does not exist. An empty namespace names a ClusterRole.
    pub fn role(&self, namespace: &str, name: &str) -> Option<Arc<[PolicyRule]>> {
        self.roles.get(&RoleKey { namespace: namespace.to_owned(), name: name.to_owned() }).cloned()
    }

    /// The status of a SelfSubjectRulesReview. `unlisted`: why the list is incomplete by nature.
    pub(in crate::authz) fn review_rules(
        &self,
        user: &UserInfo,
        namespace: &str,
        unlisted: &[&str],
    ) -> Value {
        let found = self.rules_for(user, namespace);
        let (mut resources, mut paths) = (Vec::new(), Vec::new());
        for rule in &found.rules {
            if !rule.resources.is_empty() {
                let mut entry = json!({
                    "verbs": rule.verbs, "apiGroups": rule.api_groups, "resources": rule.resources,
                });
                if !rule.resource_names.is_empty() {
                    entry["resourceNames"] = json!(rule.resource_names);
                }
                resources.push(entry);
            }
            if !rule.non_resource_urls.is_empty() {
                paths.push(json!({ "verbs": rule.verbs, "nonResourceURLs": rule.non_resource_urls }));
            }
        }
        let problems: Vec<&str> =
            unlisted.iter().copied().chain(found.missing.iter().map(AsRef::as_ref)).collect();
        let mut status = json!({ "resourceRules": resources, "nonResourceRules": paths, "incomplete": !problems.is_empty() });
        if !problems.is_empty() {
            status["evaluationError"] = problems.join(", ").into();
        }
        status
    }
}

/// A RoleBinding may name a ClusterRole, whose rules then hold in its namespace.
fn referenced(role_ref: &RoleRef, namespace: &str) -> RoleKey {
    let namespace = if role_ref.kind == "ClusterRole" { "" } else { namespace };
    RoleKey { namespace: namespace.to_owned(), name: role_ref.name.clone() }
}

fn not_found(role_ref: &RoleRef) -> String {
    format!("{}.rbac.authorization.k8s.io {:?} not found", role_ref.kind.to_lowercase(), role_ref.name)
}

/// Upstream's words for what allowed a request.
fn describe(key: &RoleKey, binding: &Binding, subject: &Subject) -> String {
    let (kind, name) = match key.namespace.as_str() {
        "" => ("ClusterRoleBinding", key.name.clone()),
        namespace => ("RoleBinding", format!("{}/{namespace}", key.name)),
    };
    let subject_name = match subject.kind.as_str() {
        "ServiceAccount" => {
            let namespace = if subject.namespace.is_empty() { &key.namespace } else { &subject.namespace };
            format!("{}/{namespace}", subject.name)
        }
        _ => subject.name.clone(),
    };
    let role = &binding.role_ref;
    format!(
        "RBAC: allowed by {kind} {name:?} of {} {:?} to {} {subject_name:?}",
        role.kind, role.name, subject.kind
    )
}
