//! What a Service of a type needs: the questions that defaults, allocation and validation share.

use crate::meta;
use serde_json::Value;

/// The clusterIP of a headless Service.
pub const HEADLESS: &str = "None";

/// spec.type.
pub fn kind(service: &Value) -> &str {
    meta::text(service, &["spec", "type"])
}

/// spec.clusterIP.
pub fn single_ip(service: &Value) -> &str {
    meta::text(service, &["spec", "clusterIP"])
}

/// spec.clusterIPs.
pub fn ips(service: &Value) -> Vec<&str> {
    texts(service, "clusterIPs")
}

/// spec.ipFamilies.
pub fn families(service: &Value) -> Vec<&str> {
    texts(service, "ipFamilies")
}

fn texts<'a>(service: &'a Value, key: &str) -> Vec<&'a str> {
    meta::items(service, &["spec", key]).iter().map(|text| text.as_str().unwrap_or_default()).collect()
}

/// spec.ipFamilyPolicy.
pub fn family_policy(service: &Value) -> &str {
    meta::text(service, &["spec", "ipFamilyPolicy"])
}

/// Whether its type has addresses, if perhaps none because it is headless.
pub fn is_internal(service: &Value) -> bool {
    matches!(kind(service), "ClusterIP" | "NodePort" | "LoadBalancer")
}

/// Whether it is without an address of its own.
pub fn is_headless(service: &Value) -> bool {
    is_internal(service) && single_ip(service) == HEADLESS
}

/// Whether it has a selector.
pub fn has_selector(service: &Value) -> bool {
    meta::at(service, &["spec", "selector"]).and_then(Value::as_object).is_some_and(|map| !map.is_empty())
}

/// Whether node ports are allocated for it.
pub fn needs_node_ports(service: &Value) -> bool {
    match kind(service) {
        "NodePort" => true,
        "LoadBalancer" => service.pointer("/spec/allocateLoadBalancerNodePorts") != Some(&Value::Bool(false)),
        _ => false,
    }
}

/// Whether it may have node ports: some are allocated, or a user gave them.
pub fn may_have_node_ports(service: &Value) -> bool {
    matches!(kind(service), "NodePort" | "LoadBalancer")
}

/// Whether each node answers for the health of its own endpoints.
pub fn needs_health_port(service: &Value) -> bool {
    kind(service) == "LoadBalancer" && meta::text(service, &["spec", "externalTrafficPolicy"]) == "Local"
}

/// spec.healthCheckNodePort, 0 when it is not set.
pub fn health_port(service: &Value) -> i64 {
    meta::number(service, &["spec", "healthCheckNodePort"]).unwrap_or_default()
}

/// Whether connections from outside the cluster reach it.
pub fn is_external(service: &Value) -> bool {
    may_have_node_ports(service)
        || kind(service) == "ClusterIP" && !meta::items(service, &["spec", "externalIPs"]).is_empty()
}
