//! The Services that are measured: as frontends, and as the API's objects. Each has two endpoints that no other has.

use std::net::{Ipv4Addr, SocketAddr};

use keelson_dataplane::plan::{Frontend, FrontendKey, Protocol};
use serde_json::{Value, json};

pub(crate) const PORT: u16 = 80;
const TARGET_PORT: u16 = 8080;
/// Endpoints of each.
pub(crate) const ENDPOINTS: usize = 2;

/// Address of a Service by its number; from 10.96.1.0 on.
pub(crate) fn address(number: usize) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 96, 1, 0)) + number as u32)
}

/// An endpoint's address; from 10.128.0.0 on.
fn endpoint(number: usize, endpoint: usize) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 128, 0, 0)) + (number * ENDPOINTS + endpoint) as u32)
}

/// Where its endpoints listen, sorted.
pub(crate) fn backends(number: usize) -> Vec<SocketAddr> {
    (0..ENDPOINTS).map(|e| SocketAddr::new(endpoint(number, e).into(), TARGET_PORT)).collect()
}

/// As a plan has it.
pub(crate) fn frontend(number: usize) -> Frontend {
    Frontend {
        key: FrontendKey { address: address(number).into(), port: PORT, protocol: Protocol::Tcp },
        backends: backends(number),
        affinity_s: 0,
    }
}

/// As an API server lists it, with the fields that one of a Deployment has.
pub(crate) fn service(number: usize) -> Value {
    let address = address(number);
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": meta(number, &format!("service-{number}"), json!({"app": format!("app-{number}")})),
        "spec": {
            "clusterIP": address, "clusterIPs": [address], "type": "ClusterIP",
            "internalTrafficPolicy": "Cluster", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
            "ports": [{"name": "http", "port": PORT, "protocol": "TCP", "targetPort": TARGET_PORT}],
            "selector": {"app": format!("app-{number}")}, "sessionAffinity": "None",
        },
        "status": {"loadBalancer": {}},
    })
}

/// Its EndpointSlice, as the controller writes it.
pub(crate) fn slice(number: usize) -> Value {
    let labels = json!({
        "app": format!("app-{number}"),
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        "kubernetes.io/service-name": format!("service-{number}"),
    });
    let of_pod = |e: usize| {
        let uid = format!("00000000-0000-0000-{e:04x}-{number:012x}");
        json!({
            "addresses": [endpoint(number, e)],
            "conditions": {"ready": true, "serving": true, "terminating": false},
            "nodeName": format!("node-{}", number % 100),
            "targetRef": {"kind": "Pod", "name": format!("app-{number}-{e}"), "namespace": "bench", "uid": uid},
        })
    };
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": meta(number, &format!("service-{number}-abcde"), labels),
        "endpoints": (0..ENDPOINTS).map(of_pod).collect::<Vec<_>>(),
        "ports": [{"name": "http", "port": TARGET_PORT, "protocol": "TCP"}],
    })
}

fn meta(number: usize, name: &str, labels: Value) -> Value {
    json!({
        "name": name, "namespace": "bench", "labels": labels,
        "uid": format!("00000000-0000-0000-0000-{number:012x}"),
        "resourceVersion": (number + 1).to_string(), "generation": 1,
        "creationTimestamp": "2026-01-01T00:00:00Z",
    })
}
