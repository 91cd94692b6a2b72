//! What is made once: pure data.

use ipnet::IpNet;
use serde_json::{Value, json};

/// The namespaces that upstream's apiserver makes.
pub(super) fn namespaces() -> Vec<Value> {
    ["default", "kube-system", "kube-public", "kube-node-lease"]
        .iter()
        .map(|name| json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } }))
        .collect()
}

/// The two classes of the system, with upstream's values and texts.
pub(super) fn priority_classes() -> Vec<Value> {
    let rows = [
        (
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
        (
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
    ];
    rows.iter()
        .map(|(name, value, description)| {
            json!({
                "apiVersion": "scheduling.k8s.io/v1",
                "kind": "PriorityClass",
                "metadata": { "name": name },
                "value": value,
                "description": description,
            })
        })
        .collect()
}

/// The default Service range.
pub(super) fn service_cidr(ranges: &[IpNet]) -> Value {
    let cidrs: Vec<String> = ranges.iter().map(ToString::to_string).collect();
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": { "name": "kubernetes" },
        "spec": { "cidrs": cidrs },
    })
}
