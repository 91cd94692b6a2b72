//! The rows that the tables of roles are written in. Lists are words separated by spaces; `core` stands for the core API
//! group, whose name is empty.

use serde_json::{Value, json};

pub(super) const READ: &str = "get list watch";
pub(super) const WRITE: &str = "create delete deletecollection patch update";
pub(super) const READ_WRITE: &str = "create delete deletecollection get list patch update watch";
/// What it takes to record events.
pub(super) const EVENTS: Rule = Rule::On("create patch update", "core events.k8s.io", "events");

/// A rule of a role.
pub(super) enum Rule {
    /// Verbs, groups, resources.
    On(&'static str, &'static str, &'static str),
    /// Verbs, groups, resources, names.
    Named(&'static str, &'static str, &'static str, &'static str),
    /// Verbs, paths.
    Paths(&'static str, &'static str),
}

/// Where a ClusterRole's rules come from besides its own.
pub(super) enum Aggregation {
    None,
    /// Other roles' rules are collected into this one: the `aggregate-to-` it looks for.
    From(&'static str),
    /// This role's rules are collected into another.
    Into(&'static str),
    /// Both.
    FromInto(&'static str, &'static str),
}

/// A default ClusterRole, or with a namespace a Role.
pub(super) struct Role {
    pub(super) name: &'static str,
    pub(super) namespace: &'static str,
    pub(super) aggregation: Aggregation,
    pub(super) rules: &'static [Rule],
}

impl Role {
    pub(super) const fn cluster(name: &'static str, rules: &'static [Rule]) -> Self {
        Self { name, namespace: "", aggregation: Aggregation::None, rules }
    }

    pub(super) const fn aggregated(
        name: &'static str,
        aggregation: Aggregation,
        rules: &'static [Rule],
    ) -> Self {
        Self { name, namespace: "", aggregation, rules }
    }

    pub(super) const fn namespaced(
        namespace: &'static str,
        name: &'static str,
        rules: &'static [Rule],
    ) -> Self {
        Self { name, namespace, aggregation: Aggregation::None, rules }
    }

    pub(super) fn object(&self) -> Value {
        let kind = if self.namespace.is_empty() { "ClusterRole" } else { "Role" };
        let mut object = header(kind, self.namespace, self.name);
        let (from, into) = match self.aggregation {
            Aggregation::None => (None, None),
            Aggregation::From(from) => (Some(from), None),
            Aggregation::Into(into) => (None, Some(into)),
            Aggregation::FromInto(from, into) => (Some(from), Some(into)),
        };
        if let Some(from) = from {
            object["aggregationRule"] =
                json!({ "clusterRoleSelectors": [{ "matchLabels": { aggregation_label(from): "true" } }] });
        }
        if let Some(into) = into {
            object["metadata"]["labels"][aggregation_label(into)] = "true".into();
        }
        object["rules"] = self.rules.iter().map(Rule::value).collect();
        object
    }
}

impl Rule {
    pub(super) fn value(&self) -> Value {
        match self {
            Self::On(verbs, groups, resources) => {
                json!({ "verbs": words(verbs), "apiGroups": words(groups), "resources": words(resources) })
            }
            Self::Named(verbs, groups, resources, names) => json!({
                "verbs": words(verbs), "apiGroups": words(groups), "resources": words(resources),
                "resourceNames": words(names),
            }),
            Self::Paths(verbs, paths) => json!({ "verbs": words(verbs), "nonResourceURLs": words(paths) }),
        }
    }
}

/// What all default objects have in common: the label by which they are found, and the annotation that lets them be mended.
pub(super) fn header(kind: &str, namespace: &str, name: &str) -> Value {
    let mut object = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": kind,
        "metadata": {
            "name": name,
            "annotations": { super::reconcile::AUTOUPDATE: "true" },
            "labels": { "kubernetes.io/bootstrapping": "rbac-defaults" },
        },
    });
    if !namespace.is_empty() {
        object["metadata"]["namespace"] = namespace.into();
    }
    object
}

fn aggregation_label(role: &str) -> String {
    format!("rbac.authorization.k8s.io/aggregate-to-{role}")
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().map(|word| if word == "core" { "" } else { word }).collect()
}
