//! From a Service and its pods to the subsets there should be. Pure.
//!
//! Rules: upstream's endpoints controller and `RepackSubsets`.

use crate::endpointslice::endpoints::{address, families, ports};
use keelson_harness::views::{EndpointAddress, EndpointSubset, Pod, Service, SubsetPort, TargetRef};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Addresses in one object; what is beyond them only slices show.
pub(super) const ADDRESSES_MAX: usize = 1_000;

/// Subsets in one object, and whether addresses were left out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) subsets: Vec<EndpointSubset>,
    pub(super) truncated: bool,
}

/// Ready addresses, and those that are not.
#[derive(Default)]
struct Members {
    ready: BTreeSet<EndpointAddress>,
    not_ready: BTreeSet<EndpointAddress>,
}

/// Of the Service's first family: the form knows no other.
pub(super) fn plan(service: &Service, pods: &[Arc<Pod>]) -> Plan {
    let first = service.spec.ip_families.first().map(String::as_str);
    let family = families(service).into_iter().find(|family| first.is_none_or(|first| first == *family));
    let mut by_ports: BTreeMap<Vec<SubsetPort>, Members> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| counts(service, pod)) {
        let Some(ip) = family.and_then(|family| address(pod, family)) else { continue };
        let ports: Vec<SubsetPort> = ports(service, pod).into_iter().filter_map(port).collect();
        if ports.is_empty() && !service.spec.ports.is_empty() {
            continue;
        }
        let members = by_ports.entry(ports).or_default();
        let is_ready = service.spec.publish_not_ready_addresses || pod.is_ready();
        let list = if is_ready { &mut members.ready } else { &mut members.not_ready };
        list.insert(endpoint(service, pod, ip));
    }
    truncate(by_ports)
}

/// A pod that ends is no endpoint, unless all pods are to be shown.
fn counts(service: &Service, pod: &Pod) -> bool {
    !pod.is_finished() && (service.spec.publish_not_ready_addresses || !pod.metadata.is_deleting())
}

fn port(port: keelson_harness::views::EndpointPort) -> Option<SubsetPort> {
    let keelson_harness::views::EndpointPort { name, protocol, port, app_protocol } = port;
    Some(SubsetPort { name, port: port?, protocol, app_protocol })
}

fn endpoint(service: &Service, pod: &Pod, ip: &str) -> EndpointAddress {
    let in_subdomain = pod.subdomain.as_deref() == Some(&*service.metadata.name);
    EndpointAddress {
        ip: ip.to_owned(),
        hostname: pod.hostname.as_deref().filter(|h| in_subdomain && !h.is_empty()).map(str::to_owned),
        node_name: (!pod.node_name.is_empty()).then(|| pod.node_name.to_string()),
        target_ref: Some(TargetRef {
            kind: "Pod".to_owned(),
            namespace: pod.metadata.namespace.to_string(),
            name: pod.metadata.name.to_string(),
            uid: pod.metadata.uid.to_string(),
        }),
    }
}

/// Ready addresses before others.
fn truncate(by_ports: BTreeMap<Vec<SubsetPort>, Members>) -> Plan {
    let ready: usize = by_ports.values().map(|members| members.ready.len()).sum();
    let (mut room, mut room_after) = (ADDRESSES_MAX, ADDRESSES_MAX.saturating_sub(ready));
    let mut plan = Plan::default();
    for (ports, members) in by_ports {
        let all = members.ready.len() + members.not_ready.len();
        let addresses: Vec<EndpointAddress> = members.ready.into_iter().take(room).collect();
        room -= addresses.len();
        let not_ready_addresses: Vec<EndpointAddress> =
            members.not_ready.into_iter().take(room_after).collect();
        room_after -= not_ready_addresses.len();
        plan.truncated |= addresses.len() + not_ready_addresses.len() < all;
        if !addresses.is_empty() || !not_ready_addresses.is_empty() {
            plan.subsets.push(EndpointSubset { addresses, not_ready_addresses, ports });
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn service(spec: Value) -> Service {
        let mut object = json!({
            "metadata": {"name": "web", "namespace": "n", "uid": "s"},
            "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": "web"}]},
        });
        object["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        serde_json::from_str(&object.to_string()).unwrap()
    }

    fn pod(number: usize, port: u16, ready: bool, deleted: bool) -> Arc<Pod> {
        let object = json!({
            "metadata": {"name": format!("p{number}"), "namespace": "n", "uid": format!("u{number}"),
                         "deletionTimestamp": deleted.then_some("2026-01-01T00:00:00Z")},
            "spec": {"nodeName": "w", "containers": [{"ports": [{"name": "web", "containerPort": port}]}]},
            "status": {"phase": "Running", "podIPs": [{"ip": format!("10.{}.{}.1", number / 250, number % 250)}],
                       "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]},
        });
        Arc::new(serde_json::from_str(&object.to_string()).unwrap())
    }

    fn counts_of(plan: &Plan) -> Vec<(u16, usize, usize)> {
        let of = |s: &EndpointSubset| (s.ports[0].port, s.addresses.len(), s.not_ready_addresses.len());
        plan.subsets.iter().map(of).collect()
    }

    #[test]
    fn pods_with_the_same_ports_are_one_subset() {
        let pods = [
            pod(1, 80, true, false),
            pod(2, 80, false, false),
            pod(3, 81, true, false),
            pod(4, 80, true, true),
        ];
        let plan = plan(&service(json!({})), &pods);
        assert_eq!(counts_of(&plan), [(80, 1, 1), (81, 1, 0)]);
        let all = super::plan(&service(json!({"publishNotReadyAddresses": true})), &pods);
        assert_eq!(counts_of(&all), [(80, 3, 0), (81, 1, 0)]);
        let other = super::plan(&service(json!({"ipFamilies": ["IPv6"]})), &pods);
        assert!(other.subsets.is_empty());
    }

    #[test]
    fn what_is_too_much_is_left_out_not_ready_ones_first() {
        let pods: Vec<Arc<Pod>> = (0..1_100).map(|number| pod(number, 80, number >= 150, false)).collect();
        let plan = plan(&service(json!({})), &pods);
        assert_eq!((counts_of(&plan), plan.truncated), (vec![(80, 950, 50)], true));
        let few = super::plan(&service(json!({})), &pods[..1_000]);
        assert!(!few.truncated);
    }
}
