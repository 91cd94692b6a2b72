//! What a node may say of itself: anything but labels and taints that would draw others' pods to it.

use std::collections::BTreeSet;

use keelson_registry::{Attributes, Operation};
use serde_json::{Map, Value};

use super::Refusal;
use crate::plugin::{list, object_name};

/// Labels under kubernetes.io and k8s.io that a node may set
/// (<https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction>).
const OWN_LABELS: [&str; 11] = [
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "node.kubernetes.io/instance-type",
    "beta.kubernetes.io/instance-type",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
];
/// Label prefixes that are a node's, with everything below them.
const OWN_PREFIXES: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];
/// The label prefix that is an administrator's alone.
const RESTRICTED_PREFIX: &str = "node-restriction.kubernetes.io";

pub(super) fn check(node: &str, attributes: &Attributes<'_>, object: Option<&Value>) -> Result<(), Refusal> {
    let name = match attributes.name {
        "" => object_name(attributes, object),
        name => name,
    };
    if name != node {
        return Err(format!("node {node:?} is not allowed to modify node {name:?}").into());
    }
    match (attributes.operation, object) {
        (Operation::Create, Some(new)) => {
            if config_source(new).is_some() {
                return Err(format!(
                    "node {node:?} is not allowed to create pods with a non-nil configSource"
                )
                .into());
            }
            let forbidden = forbidden_labels(labels(new), None);
            match forbidden.is_empty() {
                true => Ok(()),
                false => Err(format!(
                    "node {node:?} is not allowed to set the following labels: {}",
                    join(&forbidden)
                )
                .into()),
            }
        }
        (Operation::Update, Some(new)) => update(node, attributes.old, new),
        _ => Ok(()),
    }
}

fn update(node: &str, old: Option<&Value>, new: &Value) -> Result<(), Refusal> {
    let taints =
        |node: &Value| node.pointer("/spec/taints").and_then(Value::as_array).cloned().unwrap_or_default();
    if config_source(new).is_some() && config_source(new) != old.and_then(config_source) {
        let why = "is not allowed to update configSource to a new non-nil configSource";
        return Err(format!("node {node:?} {why}").into());
    }
    if old.is_some_and(|old| taints(old) != taints(new)) {
        return Err(format!("node {node:?} is not allowed to modify taints").into());
    }
    // Whose deletion would be the node's too.
    if old.is_some_and(|old| owners(old) != owners(new)) {
        return Err(format!("node {node:?} is not allowed to modify ownerReferences").into());
    }
    let forbidden = forbidden_labels(labels(new), old.and_then(labels));
    match forbidden.is_empty() {
        true => Ok(()),
        false => Err(format!("is not allowed to modify labels: {}", join(&forbidden)).into()),
    }
}

fn config_source(node: &Value) -> Option<&Value> {
    node.pointer("/spec/configSource").filter(|source| !source.is_null())
}

fn owners(node: &Value) -> Vec<&Value> {
    list(node, "/metadata/ownerReferences").collect()
}

fn labels(node: &Value) -> Option<&Map<String, Value>> {
    node.pointer("/metadata/labels").and_then(Value::as_object)
}

/// Labels added, removed or changed that are not the node's to set.
fn forbidden_labels<'a>(
    new: Option<&'a Map<String, Value>>,
    old: Option<&'a Map<String, Value>>,
) -> BTreeSet<&'a str> {
    let get = |labels: Option<&'a Map<String, Value>>, key: &str| labels.and_then(|labels| labels.get(key));
    new.into_iter()
        .chain(old)
        .flat_map(Map::keys)
        .map(String::as_str)
        .filter(|key| get(new, key) != get(old, key) && !is_own(key))
        .collect()
}

fn is_own(label: &str) -> bool {
    let Some((prefix, _)) = label.split_once('/') else { return true };
    let below = |domain: &str| {
        prefix == domain || prefix.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
    };
    if below(RESTRICTED_PREFIX) {
        return false;
    }
    if !below("kubernetes.io") && !below("k8s.io") {
        return true;
    }
    OWN_LABELS.contains(&label) || OWN_PREFIXES.into_iter().any(below)
}

fn join(labels: &BTreeSet<&str>) -> String {
    labels.iter().copied().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::node_restriction::NodeRestriction;
    use crate::testing::{Cluster, Request};

    #[tokio::test]
    async fn a_node_says_of_itself_what_draws_no_pods() {
        let plugin = NodeRestriction { authorizer: std::sync::Arc::new(keelson_auth::Authorizer::new()) };
        let node = |name: &str, labels| json!({ "metadata": { "name": name, "labels": labels }, "spec": { "taints": [] } });
        let create = |name: &str, labels| {
            Request::create("", "nodes", "", node(name, labels)).by("system:node:a", "system:nodes")
        };
        let old = node("a", json!({ "role.example.com/x": "y" }));
        let mut tainted = old.clone();
        tainted["spec"]["taints"] = json!([{ "key": "k", "effect": "NoSchedule" }]);
        let mut owned = old.clone();
        owned["metadata"]["ownerReferences"] = json!([{ "kind": "Node", "name": "b", "uid": "u" }]);
        let rows = [
            (
                create(
                    "a",
                    json!({ "kubernetes.io/hostname": "a", "mine": "x", "node.kubernetes.io/any": "x" }),
                ),
                None,
            ),
            (create("b", json!({})), Some("node \"a\" is not allowed to modify node \"b\"")),
            (
                create(
                    "a",
                    json!({ "node-role.kubernetes.io/control-plane": "", "x.node-restriction.kubernetes.io/y": "" }),
                ),
                Some(
                    "node \"a\" is not allowed to set the following labels: node-role.kubernetes.io/control-plane, x.node-restriction.kubernetes.io/y",
                ),
            ),
            (create("a", json!({ "example.com/x": "y" })).update(old.clone()), None),
            (
                create("a", json!({ "x.k8s.io/y": "z" })).update(old.clone()),
                Some("is not allowed to modify labels: x.k8s.io/y"),
            ),
            (create("a", json!({})).update(tainted), Some("node \"a\" is not allowed to modify taints")),
            (
                create("a", json!({ "role.example.com/x": "y" })).update(owned),
                Some("node \"a\" is not allowed to modify ownerReferences"),
            ),
        ];
        for (request, refusal) in rows {
            let result = request.mutate(&plugin, &Cluster::default()).await;
            match (result, refusal) {
                (Ok(_), None) => {}
                (Err(status), Some(why)) => {
                    assert!(status.message.ends_with(why), "{} / {why}", status.message)
                }
                (result, refusal) => panic!("{result:?} / {refusal:?}"),
            }
        }
    }
}
