//! The RBAC objects as they are now: what the watch feeds and a snapshot is made from.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::PolicyRule;
use super::snapshot::RbacSnapshot;

/// An object that does not have the shape of its kind. The registry validates; meeting one means a foreign writer.
#[derive(Debug, thiserror::Error)]
#[error("{kind} {namespace}/{name} is malformed")]
pub struct MalformedObject {
    /// Its kind.
    pub kind: String,
    /// Its namespace, empty at the cluster scope.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What is wrong.
    pub source: serde_json::Error,
}

/// Names a Role (with namespace) or a ClusterRole (without).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoleKey {
    /// Empty for a ClusterRole.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

#[derive(Deserialize)]
pub(super) struct Binding {
    #[serde(rename = "roleRef")]
    pub(super) role_ref: RoleRef,
    #[serde(default)]
    pub(super) subjects: Option<Vec<Subject>>,
}

#[derive(Deserialize)]
pub(super) struct RoleRef {
    pub(super) kind: String,
    pub(super) name: String,
}

#[derive(Deserialize)]
pub(super) struct Subject {
    pub(super) kind: String,
    pub(super) name: String,
    #[serde(default)]
    pub(super) namespace: String,
}

#[derive(Deserialize)]
struct Rules {
    #[serde(default)]
    rules: Option<Vec<PolicyRule>>,
}

/// Apply, delete, reset; then [`RbacIndex::snapshot`]. Keys with an empty namespace are the cluster-scoped kinds.
#[derive(Default)]
pub struct RbacIndex {
    pub(super) roles: HashMap<RoleKey, Arc<[PolicyRule]>>,
    pub(super) bindings: HashMap<RoleKey, Binding>,
}

impl RbacIndex {
    /// Records an object; answers whether it is of a kind that counts.
    pub fn apply(&mut self, object: &Value) -> Result<bool, MalformedObject> {
        let kind = text(object, "/kind");
        let key = RoleKey {
            namespace: text(object, "/metadata/namespace").to_owned(),
            name: text(object, "/metadata/name").to_owned(),
        };
        let malformed = |source| MalformedObject {
            kind: kind.to_owned(),
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            source,
        };
        match kind {
            "Role" | "ClusterRole" => {
                let rules = Rules::deserialize(object).map_err(malformed)?.rules.unwrap_or_default();
                self.roles.insert(key, rules.into());
            }
            "RoleBinding" | "ClusterRoleBinding" => {
                let binding = Binding::deserialize(object).map_err(malformed)?;
                self.bindings.insert(key, binding);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Forgets an object; answers whether it was known. `namespace` is empty for the cluster-scoped kinds.
    pub fn delete(&mut self, kind: &str, namespace: &str, name: &str) -> bool {
        let key = RoleKey { namespace: namespace.to_owned(), name: name.to_owned() };
        match kind {
            "Role" | "ClusterRole" => self.roles.remove(&key).is_some(),
            "RoleBinding" | "ClusterRoleBinding" => self.bindings.remove(&key).is_some(),
            _ => false,
        }
    }

    /// Starts over with these objects. Those that are malformed are left out and reported: they grant nothing.
    pub fn reset<'a>(&mut self, objects: impl IntoIterator<Item = &'a Value>) -> Vec<MalformedObject> {
        *self = Self::default();
        objects.into_iter().filter_map(|object| self.apply(object).err()).collect()
    }

    /// What the objects grant, by subject.
    pub fn snapshot(&self) -> RbacSnapshot {
        RbacSnapshot::build(self)
    }
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}
