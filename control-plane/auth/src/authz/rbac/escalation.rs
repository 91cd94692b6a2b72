//! Nobody may grant more than they have: the checks on writes to the RBAC kinds.
//! (<https://kubernetes.io/docs/reference/access-authn-authz/rbac/#privilege-escalation-prevention-and-bootstrapping>)

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use super::{PolicyRule, RbacSnapshot};
use crate::UserInfo;
use crate::authz::{Attributes, Authorizer, Resource};

const GROUP: &str = "rbac.authorization.k8s.io";

/// Why a write to a role or binding is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Escalation {
    /// 403 on the object, with this text.
    #[error("{0}")]
    Forbidden(String),
    /// 404 for the role that a binding names.
    #[error("{resource}.{GROUP} {name:?} not found")]
    RoleNotFound {
        /// roles or clusterroles.
        resource: &'static str,
        /// Which.
        name: String,
    },
}

#[derive(Deserialize)]
struct Role {
    #[serde(default)]
    rules: Option<Vec<PolicyRule>>,
}

/// A write to one of the RBAC kinds.
#[derive(Clone, Copy, Debug)]
pub struct RbacWrite<'a> {
    /// The plural: roles, clusterroles, rolebindings, clusterrolebindings.
    pub resource: &'a str,
    /// Empty at the cluster scope.
    pub namespace: &'a str,
    /// The object's name.
    pub name: &'a str,
    /// The object as it shall be.
    pub new: &'a Value,
    /// As it is, on an update.
    pub old: Option<&'a Value>,
}

impl RbacWrite<'_> {
    fn keeps(&self, field: &str) -> bool {
        self.old.is_some_and(|old| present(old, field) == present(self.new, field))
    }
}

/// May the user make this write? Resources that are no RBAC kind pass.
/// So does an object without the shape of its kind: validation names its fault better.
pub async fn check(
    authorizer: &Authorizer,
    user: &UserInfo,
    write: &RbacWrite<'_>,
) -> Result<(), Escalation> {
    match write.resource {
        "roles" | "clusterroles" => check_role(authorizer, user, write).await,
        "rolebindings" | "clusterrolebindings" => check_binding(authorizer, user, write).await,
        _ => Ok(()),
    }
}

async fn check_role(
    authorizer: &Authorizer,
    user: &UserInfo,
    write: &RbacWrite<'_>,
) -> Result<(), Escalation> {
    let RbacWrite { resource, namespace, name, new, .. } = *write;
    let Ok(role) = Role::deserialize(new) else { return Ok(()) };
    if write.keeps("rules") && write.keeps("aggregationRule") {
        return Ok(());
    }
    let escalate = Resource { group: GROUP, version: "*", resource, namespace, name, ..Resource::default() };
    if authorizer.decide(&Attributes::resource(user, "escalate", escalate)).await.is_allowed() {
        return Ok(());
    }
    let rbac = authorizer.rbac();
    if present(new, "aggregationRule").is_some() && !missing(&rbac, user, namespace, &everything()).is_empty()
    {
        return Err(Escalation::Forbidden(
            "must have cluster-admin privileges to use the aggregationRule".to_owned(),
        ));
    }
    confirm(&rbac, user, namespace, &role.rules.unwrap_or_default())
}

#[derive(Deserialize)]
struct Binding {
    #[serde(rename = "roleRef")]
    role_ref: RoleRef,
}

#[derive(Deserialize)]
struct RoleRef {
    kind: String,
    name: String,
}

async fn check_binding(
    authorizer: &Authorizer,
    user: &UserInfo,
    write: &RbacWrite<'_>,
) -> Result<(), Escalation> {
    let RbacWrite { namespace, new, .. } = *write;
    let Ok(Binding { role_ref }) = Binding::deserialize(new) else { return Ok(()) };
    if write.keeps("roleRef") && write.keeps("subjects") {
        return Ok(());
    }
    let (resource, role_namespace) = match role_ref.kind.as_str() {
        "ClusterRole" => ("clusterroles", ""),
        _ => ("roles", namespace),
    };
    // Asked in the binding's namespace: who may bind a ClusterRole there need not be able to bind it everywhere.
    let bind = Resource {
        group: GROUP,
        version: "*",
        resource,
        namespace,
        name: &role_ref.name,
        ..Resource::default()
    };
    if authorizer.decide(&Attributes::resource(user, "bind", bind)).await.is_allowed() {
        return Ok(());
    }
    let rbac = authorizer.rbac();
    let Some(rules) = rbac.role(role_namespace, &role_ref.name) else {
        return Err(Escalation::RoleNotFound { resource, name: role_ref.name });
    };
    confirm(&rbac, user, namespace, &rules)
}

fn confirm(
    rbac: &RbacSnapshot,
    user: &UserInfo,
    namespace: &str,
    wanted: &[PolicyRule],
) -> Result<(), Escalation> {
    let missing = missing(rbac, user, namespace, wanted);
    if missing.is_empty() {
        return Ok(());
    }
    let lines: BTreeSet<String> = merge_verbs(missing).iter().map(PolicyRule::compact).collect();
    let lines = lines.into_iter().collect::<Vec<_>>().join("\n");
    let groups: Vec<_> = user.groups.iter().map(|group| format!("{group:?}")).collect();
    let mut text = format!(
        "user {:?} (groups=[{}]) is attempting to grant RBAC permissions not currently held:\n{lines}",
        user.name,
        groups.join(" ")
    );
    let unresolved = rbac.rules_for(user, namespace).missing;
    if !unresolved.is_empty() {
        let unresolved: Vec<&str> = unresolved.iter().map(AsRef::as_ref).collect();
        text.push_str(&format!("; resolution errors: [{}]", unresolved.join(", ")));
    }
    Err(Escalation::Forbidden(text))
}

/// What of `wanted` the user does not have in the namespace, in single verbs, groups, resources and names.
pub fn missing(
    rbac: &RbacSnapshot,
    user: &UserInfo,
    namespace: &str,
    wanted: &[PolicyRule],
) -> Vec<PolicyRule> {
    uncovered(&rbac.rules_for(user, namespace).rules, wanted)
}

/// What of `wanted` the rules `held` do not give.
pub(crate) fn uncovered(held: &[PolicyRule], wanted: &[PolicyRule]) -> Vec<PolicyRule> {
    wanted.iter().flat_map(split).filter(|atom| !held.iter().any(|rule| rule.covers(atom))).collect()
}

fn everything() -> [PolicyRule; 2] {
    let all = || vec!["*".to_owned()];
    [
        PolicyRule { verbs: all(), api_groups: all(), resources: all(), ..PolicyRule::default() },
        PolicyRule { verbs: all(), non_resource_urls: all(), ..PolicyRule::default() },
    ]
}

fn split(rule: &PolicyRule) -> Vec<PolicyRule> {
    let mut atoms = Vec::new();
    for verb in &rule.verbs {
        let base = PolicyRule { verbs: vec![verb.clone()], ..PolicyRule::default() };
        for group in &rule.api_groups {
            for resource in &rule.resources {
                let atom = PolicyRule {
                    api_groups: vec![group.clone()],
                    resources: vec![resource.clone()],
                    ..base.clone()
                };
                if rule.resource_names.is_empty() {
                    atoms.push(atom);
                    continue;
                }
                atoms.extend(
                    rule.resource_names
                        .iter()
                        .map(|name| PolicyRule { resource_names: vec![name.clone()], ..atom.clone() }),
                );
            }
        }
        atoms.extend(
            rule.non_resource_urls
                .iter()
                .map(|url| PolicyRule { non_resource_urls: vec![url.clone()], ..base.clone() }),
        );
    }
    atoms
}

/// Joins rules that differ in their verb alone, for a shorter error.
fn merge_verbs(atoms: Vec<PolicyRule>) -> Vec<PolicyRule> {
    let mut merged: BTreeMap<PolicyRule, Vec<String>> = BTreeMap::new();
    for mut atom in atoms {
        let verbs = std::mem::take(&mut atom.verbs);
        let known = merged.entry(atom).or_default();
        for verb in verbs {
            if !known.contains(&verb) {
                known.push(verb);
            }
        }
    }
    merged.into_iter().map(|(rule, verbs)| PolicyRule { verbs, ..rule }).collect()
}

/// A field's value, with null and the empty list counting as absent.
fn present<'a>(object: &'a Value, field: &str) -> Option<&'a Value> {
    object.get(field).filter(|value| !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty()))
}
