//! Services and network policies.

use serde_json::{Map, Value, json};

use super::{Hook, ensure_object, object_in, objects_in, set_default, text};

pub(super) fn hook(definition: &str) -> Option<Hook> {
    match definition {
        "api.core.v1.Service" => Some(service),
        "api.core.v1.ServiceSpec" => Some(service_spec),
        "api.networking.v1.NetworkPolicySpec" => Some(network_policy_spec),
        _ => None,
    }
}

fn service(service: &mut Map<String, Value>) {
    let is_load_balancer =
        object_in(service, "spec").is_some_and(|spec| text(spec, "type") == "LoadBalancer");
    if is_load_balancer
        && let Some(status) = object_in(service, "status")
        && let Some(balancer) = object_in(status, "loadBalancer")
    {
        for ingress in objects_in(balancer, "ingress") {
            if !text(ingress, "ip").is_empty() {
                set_default(ingress, "ipMode", "VIP");
            }
        }
    }
}

fn service_spec(spec: &mut Map<String, Value>) {
    match text(spec, "sessionAffinity") {
        "None" => {
            spec.remove("sessionAffinityConfig");
        }
        "ClientIP" => {
            if let Some(config) = ensure_object(spec, "sessionAffinityConfig")
                && let Some(client) = ensure_object(config, "clientIP")
            {
                set_default(client, "timeoutSeconds", 10_800);
            }
        }
        _ => {}
    }
    objects_in(spec, "ports").for_each(target_port);
    traffic_policies(spec);
}

fn target_port(port: &mut Map<String, Value>) {
    let unset =
        port.get("targetPort").is_none_or(|target| target.as_str() == Some("") || target.as_i64() == Some(0));
    if let Some(number) = port.get("port").filter(|_| unset).cloned() {
        port.insert("targetPort".into(), number);
    }
}

fn traffic_policies(spec: &mut Map<String, Value>) {
    let kind = text(spec, "type").to_owned();
    let has_external_ips =
        spec.get("externalIPs").and_then(Value::as_array).is_some_and(|ips| !ips.is_empty());
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") || kind == "ClusterIP" && has_external_ips {
        set_default(spec, "externalTrafficPolicy", "Cluster");
    }
    if matches!(kind.as_str(), "ClusterIP" | "NodePort" | "LoadBalancer") {
        set_default(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        set_default(spec, "allocateLoadBalancerNodePorts", true);
    }
}

fn network_policy_spec(spec: &mut Map<String, Value>) {
    let has_egress = spec.get("egress").and_then(Value::as_array).is_some_and(|rules| !rules.is_empty());
    set_default(
        spec,
        "policyTypes",
        if has_egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) },
    );
}
