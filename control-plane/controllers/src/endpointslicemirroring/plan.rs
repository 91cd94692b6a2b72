//! From Endpoints that a user keeps to the slices that show them. Pure.
//!
//! Rules: "EndpointSlice mirroring" in the Kubernetes documentation.

use keelson_harness::views::{
    Conditions, Endpoint, EndpointAddress, EndpointPort, EndpointSlice, EndpointSubset, Endpoints,
    SERVICE_NAME, Service,
};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

/// Addresses of one subset that are shown.
const ADDRESSES_MAX: usize = 1_000;
/// On Endpoints: not to be mirrored.
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
/// On Endpoints that only served to elect a leader.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
pub(super) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Upstream's name: this is the same controller to everyone who reads it.
pub(super) const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
/// Annotations that mean the Endpoints alone.
const OWN_ANNOTATIONS: [&str; 2] =
    ["endpoints.kubernetes.io/last-change-trigger-time", "endpoints.kubernetes.io/over-capacity"];

/// What a slice holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) name: String,
    pub(super) family: &'static str,
    pub(super) ports: Vec<EndpointPort>,
    pub(super) endpoints: Vec<Endpoint>,
}

/// All writes for one Endpoints.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) create: Vec<Content>,
    pub(super) update: Vec<(Arc<EndpointSlice>, Content)>,
    pub(super) delete: Vec<Arc<EndpointSlice>>,
}

/// Whether slices should show the Endpoints: nobody else keeps them, and their Service has no selector.
pub(super) fn is_mirrored(endpoints: &Endpoints, service: Option<&Service>) -> bool {
    let meta = &endpoints.metadata;
    let has_plain_service =
        service.is_some_and(|service| service.spec.selector.is_empty() && !service.metadata.is_deleting());
    has_plain_service
        && !meta.is_deleting()
        && meta.labels.get(SKIP).is_none_or(|skip| skip != "true")
        && meta.annotation(LEADER).is_none()
}

/// The labels of each slice.
pub(super) fn labels(endpoints: &Endpoints) -> BTreeMap<String, String> {
    let mut labels = (*endpoints.metadata.labels).clone();
    labels.insert(SERVICE_NAME.to_owned(), endpoints.metadata.name.to_string());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    labels
}

/// The annotations of each slice.
pub(super) fn annotations(endpoints: &Endpoints) -> BTreeMap<String, String> {
    let mut annotations = (*endpoints.metadata.annotations).clone();
    annotations.retain(|key, _| !OWN_ANNOTATIONS.contains(&key.as_str()));
    annotations
}

/// `slices`: those of the Service that we keep.
pub(super) fn plan(endpoints: &Endpoints, slices: Vec<Arc<EndpointSlice>>) -> Plan {
    let (labels, annotations) = (labels(endpoints), annotations(endpoints));
    let mut wanted = contents(endpoints);
    let mut plan = Plan::default();
    for slice in slices.into_iter().filter(|slice| !slice.metadata.is_deleting()) {
        let Some(at) = wanted.iter().position(|content| *content.name == *slice.metadata.name) else {
            plan.delete.push(slice);
            continue;
        };
        let content = wanted.swap_remove(at);
        let same = slice.endpoints == content.endpoints
            && *slice.metadata.labels == labels
            && *slice.metadata.annotations == annotations;
        if !same {
            plan.update.push((slice, content));
        }
    }
    plan.create = wanted;
    plan
}

/// A slice for each family and list of ports. Its name follows from them, so that one made twice is refused.
fn contents(endpoints: &Endpoints) -> Vec<Content> {
    let mut groups: BTreeMap<(&'static str, Vec<EndpointPort>), BTreeSet<Endpoint>> = BTreeMap::new();
    for subset in &endpoints.subsets {
        let ports = ports(subset);
        let ready = subset.addresses.iter().map(|address| (address, true));
        let all = ready.chain(subset.not_ready_addresses.iter().map(|address| (address, false)));
        for (address, is_ready) in all.take(ADDRESSES_MAX) {
            let family = match address.ip.parse::<IpAddr>() {
                Ok(IpAddr::V4(_)) => "IPv4",
                Ok(IpAddr::V6(_)) => "IPv6",
                Err(_) => continue,
            };
            groups.entry((family, ports.clone())).or_default().insert(endpoint(address, is_ready));
        }
    }
    let content = |((family, ports), all): ((&'static str, Vec<EndpointPort>), BTreeSet<Endpoint>)| Content {
        name: name(&endpoints.metadata.name, family, &ports),
        family,
        ports,
        endpoints: all.into_iter().take(ADDRESSES_MAX).collect(),
    };
    groups.into_iter().map(content).collect()
}

fn name(endpoints: &str, family: &str, ports: &[EndpointPort]) -> String {
    let digest = Sha256::digest(format!("{family} {ports:?}"));
    let hash: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("{endpoints}-{hash}")
}

fn ports(subset: &EndpointSubset) -> Vec<EndpointPort> {
    let mut ports: Vec<EndpointPort> = subset
        .ports
        .iter()
        .map(|port| EndpointPort {
            name: port.name.clone(),
            protocol: port.protocol.clone(),
            port: Some(port.port),
            app_protocol: port.app_protocol.clone(),
        })
        .collect();
    ports.sort();
    ports
}

fn endpoint(address: &EndpointAddress, is_ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![address.ip.clone()],
        conditions: Conditions { ready: is_ready, serving: is_ready, terminating: false },
        hostname: address.hostname.clone(),
        target_ref: address.target_ref.clone(),
        node_name: address.node_name.clone(),
        zone: None,
        hints: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn endpoints(labels: Value, annotations: Value, subsets: Value) -> Endpoints {
        let object = json!({
            "metadata": {"name": "db", "namespace": "n", "uid": "e", "labels": labels, "annotations": annotations},
            "subsets": subsets,
        });
        serde_json::from_str(&object.to_string()).unwrap()
    }

    fn service(selector: Value) -> Service {
        let object = json!({"metadata": {"name": "db", "namespace": "n"}, "spec": {"selector": selector}});
        serde_json::from_str(&object.to_string()).unwrap()
    }

    fn slice(endpoints: &Endpoints, content: &Content) -> Arc<EndpointSlice> {
        let object = json!({
            "metadata": {"name": content.name, "namespace": "n", "uid": content.name,
                         "labels": labels(endpoints), "annotations": annotations(endpoints)},
            "addressType": content.family, "endpoints": content.endpoints, "ports": content.ports,
        });
        Arc::new(serde_json::from_str(&object.to_string()).unwrap())
    }

    #[test]
    fn only_what_users_keep_is_mirrored() {
        let plain = service(Value::Null);
        let rows = [
            (json!({}), json!({}), Some(&plain), true),
            (json!({}), json!({}), None, false),
            (json!({SKIP: "true"}), json!({}), Some(&plain), false),
            (json!({}), json!({LEADER: "x"}), Some(&plain), false),
        ];
        for (labels, annotations, service, expected) in rows {
            let endpoints = endpoints(labels, annotations, json!([]));
            assert_eq!(is_mirrored(&endpoints, service), expected, "{endpoints:?}");
        }
        let selecting = service(json!({"app": "db"}));
        assert!(!is_mirrored(&endpoints(json!({}), json!({}), json!([])), Some(&selecting)));
    }

    #[test]
    fn a_slice_for_each_family_and_list_of_ports() {
        let subsets = json!([
            {"addresses": [{"ip": "192.0.2.1"}, {"ip": "2001:db8::1"}], "notReadyAddresses": [{"ip": "192.0.2.2"}],
             "ports": [{"port": 5432, "protocol": "TCP"}]},
            {"addresses": [{"ip": "192.0.2.3"}], "ports": [{"port": 5433, "protocol": "TCP"}]},
        ]);
        let before = endpoints(json!({"a": "b"}), json!({}), subsets);
        let first = plan(&before, vec![]);
        let shape: Vec<(&str, usize)> = first.create.iter().map(|c| (c.family, c.endpoints.len())).collect();
        assert_eq!(shape, [("IPv4", 2), ("IPv4", 1), ("IPv6", 1)]);
        let slices: Vec<_> = first.create.iter().map(|content| slice(&before, content)).collect();
        let same = plan(&before, slices.clone());
        assert!(same.create.is_empty() && same.update.is_empty() && same.delete.is_empty());

        let ports = json!([{"port": 5432, "protocol": "TCP"}]);
        let after = endpoints(
            json!({"a": "b"}),
            json!({}),
            json!([{"addresses": [{"ip": "192.0.2.1"}], "ports": ports}]),
        );
        let next = plan(&after, slices);
        assert_eq!((next.create.len(), next.update.len(), next.delete.len()), (0, 1, 2));
    }
}
