//! From a Service and its pods to the endpoints there should be, grouped by address family and ports. Pure.
//!
//! Rules: "EndpointSlices" in the Kubernetes documentation; the field comments of discovery.k8s.io/v1.

use keelson_harness::views::{
    Conditions, Endpoint, EndpointPort, Hints, Named, Pod, Service, ServicePort, TargetRef,
};
use serde_json::Value;
use std::{collections::BTreeMap, net::IpAddr};

/// Slices of one group differ in nothing but their endpoints.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Group {
    /// IPv4 or IPv6.
    pub(super) family: &'static str,
    pub(super) ports: Vec<EndpointPort>,
}

/// Endpoints by what identifies them: the address and the pod's uid.
pub(super) type Endpoints = BTreeMap<(String, String), Endpoint>;

pub(super) const IPV4: &str = "IPv4";
pub(super) const IPV6: &str = "IPv6";

/// The families of a Service, IPv4 if it names none.
pub(crate) fn families(service: &Service) -> Vec<&'static str> {
    let named = |f: &str| service.spec.ip_families.iter().any(|n| n == f);
    match (named(IPV4), named(IPV6)) {
        (_, false) => vec![IPV4],
        (false, true) => vec![IPV6],
        (true, true) => vec![IPV4, IPV6],
    }
}

/// All endpoints of a Service. A family without any endpoint has no group.
pub(super) fn desired<'a>(
    service: &Service,
    pods: impl Iterator<Item = &'a Pod>,
    zone_of: &dyn Fn(&str) -> Option<String>,
) -> BTreeMap<Group, Endpoints> {
    let families = families(service);
    let mut groups: BTreeMap<Group, Endpoints> = BTreeMap::new();
    for pod in pods.filter(|p| !p.is_finished()) {
        let ports = ports(service, pod);
        // A pod without any of the named ports is no endpoint; a Service without ports (headless) needs none.
        if ports.is_empty() && !service.spec.ports.is_empty() {
            continue;
        }
        for &family in &families {
            let Some(address) = address(pod, family) else { continue };
            let group = Group { family, ports: ports.clone() };
            let key = (address.to_owned(), pod.metadata.uid.to_string());
            groups.entry(group).or_default().insert(key, endpoint(service, pod, address, zone_of));
        }
    }
    groups
}

pub(crate) fn address<'a>(pod: &'a Pod, family: &str) -> Option<&'a str> {
    let of_family = |ip: &str| match ip.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => family == IPV4,
        Ok(IpAddr::V6(_)) => family == IPV6,
        Err(_) => false,
    };
    pod.status.ips.iter().map(|ip| &**ip).find(|ip| of_family(ip))
}

pub(crate) fn ports(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    let resolved = service.spec.ports.iter().filter_map(|port| {
        Some(EndpointPort {
            name: port.name.clone(),
            protocol: protocol(&port.protocol).to_owned(),
            port: Some(target(port, pod)?),
            app_protocol: port.app_protocol.clone(),
        })
    });
    let mut ports: Vec<EndpointPort> = resolved.collect();
    ports.sort();
    ports
}

fn protocol(given: &str) -> &str {
    if given.is_empty() { "TCP" } else { given }
}

/// A number stands for itself; a name for the container port of that name and protocol.
fn target(port: &ServicePort, pod: &Pod) -> Option<u16> {
    match &port.target_port {
        Value::Null => Some(port.port),
        Value::String(name) => {
            let named = pod
                .spec
                .ports
                .iter()
                .find(|p| p.name == *name && protocol(&p.protocol) == protocol(&port.protocol));
            named.map(|p| p.container_port)
        }
        number => match number.as_u64() {
            Some(0) => Some(port.port),
            number => number.and_then(|n| u16::try_from(n).ok()),
        },
    }
}

fn endpoint(
    service: &Service,
    pod: &Pod,
    address: &str,
    zone_of: &dyn Fn(&str) -> Option<String>,
) -> Endpoint {
    let (serving, terminating) = (pod.is_ready(), pod.metadata.is_deleting());
    let ready = service.spec.publish_not_ready_addresses || (serving && !terminating);
    let in_subdomain = pod.subdomain.as_deref() == Some(&*service.metadata.name);
    let node = (!pod.node_name.is_empty()).then(|| pod.node_name.to_string());
    let zone = node.as_deref().and_then(zone_of);
    let hints = if ready { hints(service, zone.as_deref(), node.as_deref()) } else { None };
    Endpoint {
        addresses: vec![address.to_owned()],
        conditions: Conditions { ready, serving, terminating },
        hostname: pod.hostname.as_deref().filter(|h| in_subdomain && !h.is_empty()).map(str::to_owned),
        target_ref: Some(TargetRef {
            kind: "Pod".to_owned(),
            namespace: pod.metadata.namespace.to_string(),
            name: pod.metadata.name.to_string(),
            uid: pod.metadata.uid.to_string(),
        }),
        zone,
        node_name: node,
        hints,
    }
}

/// A ready endpoint is for the clients of its own zone, or also of its own node (KEP-4444, KEP-3015). Whoever finds no
/// endpoint for itself uses all.
fn hints(service: &Service, zone: Option<&str>, node: Option<&str>) -> Option<Hints> {
    let for_node = match service.spec.traffic_distribution.as_deref() {
        Some("PreferClose" | "PreferSameZone") => false,
        Some("PreferSameNode") => true,
        _ => return None,
    };
    let one = |name: Option<&str>| name.map(|name| Named { name: name.to_owned() }).into_iter().collect();
    let hints = Hints { for_zones: one(zone), for_nodes: one(node.filter(|_| for_node)) };
    (hints != Hints::default()).then_some(hints)
}
