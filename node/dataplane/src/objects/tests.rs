//! Objects as JSON against their projections.

use std::net::IpAddr;

use serde_json::json;

use super::*;
use crate::plan::{AFFINITY_DEFAULT_S, ServiceView};

fn service(spec: serde_json::Value) -> ServiceView {
    let object = json!({ "metadata": { "name": "web" }, "spec": spec });
    serde_json::from_value::<ServiceObject>(object).unwrap().project().view
}

#[test]
fn services_without_cluster_address_have_none() {
    for spec in [
        json!({ "clusterIP": "None", "clusterIPs": ["None"] }),
        json!({ "type": "ExternalName", "externalName": "example.org" }),
        json!({}),
    ] {
        assert!(service(spec).cluster_ips.is_empty());
    }
}

#[test]
fn a_service_is_projected_with_its_defaults() {
    let view = service(json!({
        "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7", "fd00:96::7"], "type": "LoadBalancer",
        "ports": [{ "port": 80, "nodePort": 30080 }, { "name": "s", "port": 9, "protocol": "SCTP" },
                  { "name": "d", "port": 9, "protocol": "DCCP" }],
        "sessionAffinity": "ClientIP", "internalTrafficPolicy": "Local", "externalIPs": ["192.0.2.9"],
        "externalTrafficPolicy": "Local", "healthCheckNodePort": 31000,
        "loadBalancerSourceRanges": ["198.18.0.0/15", " 2001:db8::/32"],
    }));
    assert_eq!(view.cluster_ips.len(), 2);
    assert_eq!((view.ports[0].number, view.ports[0].protocol), (80, Some(Protocol::Tcp)));
    assert_eq!((view.ports[0].node_port, view.ports[1].node_port), (Some(30_080), None));
    assert_eq!((view.ports[1].protocol, view.ports[2].protocol), (Some(Protocol::Sctp), None));
    assert_eq!((view.internal_local, view.affinity_s), (true, AFFINITY_DEFAULT_S));
    assert_eq!((view.external_local, view.health_check_port), (true, Some(31_000)));
    assert_eq!(view.external_ips, ["192.0.2.9".parse::<IpAddr>().unwrap()]);
    assert_eq!(view.source_ranges.len(), 2);
}

#[test]
fn what_a_type_does_not_have_is_not_read() {
    for (kind, external_ips, external_local, node_port, health) in [
        ("ClusterIP", json!([]), false, None, None),
        ("ClusterIP", json!(["192.0.2.9"]), true, None, None),
        ("NodePort", json!([]), true, Some(30_080), None),
        ("LoadBalancer", json!(null), true, Some(30_080), Some(31_000)),
    ] {
        let view = service(json!({
            "clusterIP": "10.96.0.7", "type": kind, "ports": [{ "port": 80, "nodePort": 30080 }],
            "externalIPs": external_ips, "externalTrafficPolicy": "Local", "healthCheckNodePort": 31000,
        }));
        assert_eq!(view.external_local, external_local, "{kind} {external_ips}");
        assert_eq!((view.ports[0].node_port, view.health_check_port), (node_port, health), "{kind}");
    }
}

#[test]
fn addresses_of_a_load_balancer_are_those_whose_traffic_arrives_as_it_was_sent() {
    let object = json!({
        "metadata": { "name": "web", "uid": "u", "creationTimestamp": "2026-01-02T03:04:05Z" },
        "spec": { "clusterIP": "10.96.0.7", "type": "LoadBalancer", "ports": [{ "port": 80 }] },
        "status": { "loadBalancer": { "ingress": [
            { "ip": "203.0.113.1" }, { "ip": "203.0.113.2", "ipMode": "VIP" },
            { "ip": "203.0.113.3", "ipMode": "Proxy" }, { "hostname": "lb.example.org" },
        ] } },
    });
    let project = |object| serde_json::from_value::<ServiceObject>(object).unwrap().project();
    let service = project(object.clone());
    let found: Vec<_> = service.view.load_balancer_ips.iter().map(ToString::to_string).collect();
    assert_eq!(found, ["203.0.113.1", "203.0.113.2"]);
    assert_eq!((&*service.uid, service.created_s), ("u", 1_767_323_045));
    // Of another type now: what its load balancer left in the status is no address of it.
    let mut other = object;
    other["spec"]["type"] = "ClusterIP".into();
    assert!(project(other).view.load_balancer_ips.is_empty());
}

#[test]
fn hints_are_read_as_they_are_seen_from_the_node() {
    let object = json!({
        "metadata": { "name": "web-1", "labels": { "kubernetes.io/service-name": "web" } },
        "addressType": "IPv4", "ports": [{ "port": 8080 }],
        "endpoints": [
            { "addresses": ["10.244.0.1"], "hints": { "forZones": [{ "name": "a" }, { "name": "b" }] } },
            { "addresses": ["10.244.0.2"], "hints": { "forNodes": [{ "name": "n1" }], "forZones": null } },
            { "addresses": ["10.244.0.3"], "hints": { "forNodes": [{ "name": "n2" }, { "name": "n1" }] } },
            { "addresses": ["10.244.0.4"], "hints": null },
        ],
    });
    let slice = serde_json::from_value::<SliceObject>(object).unwrap().project("n2").unwrap();
    let hints: Vec<_> = slice.view.endpoints.iter().map(|e| (e.zone_hints.len(), e.node_hint)).collect();
    use crate::plan::NodeHint::{Absent, Elsewhere, Here};
    assert_eq!(hints, [(2, Absent), (0, Elsewhere), (0, Here), (0, Absent)]);
}

#[test]
fn a_node_says_where_it_is_and_whether_it_stays() {
    for (labels, taints, zone, eligible) in [
        (json!({}), json!(null), None, true),
        (json!({ "topology.kubernetes.io/zone": "a" }), json!([{ "key": "other" }]), Some("a"), true),
        (json!(null), json!([{ "key": "ToBeDeletedByClusterAutoscaler" }]), None, false),
    ] {
        let object = json!({ "metadata": { "name": "n1", "labels": labels }, "spec": { "taints": taints } });
        let view = serde_json::from_value::<NodeObject>(object).unwrap().project();
        assert_eq!((view.zone.as_deref(), view.eligible), (zone, eligible));
    }
    let going = json!({ "metadata": { "name": "n1", "deletionTimestamp": "2026-01-02T03:04:05Z" } });
    assert!(!serde_json::from_value::<NodeObject>(going).unwrap().project().eligible);
}

#[test]
fn absent_conditions_are_resolved_as_the_api_says() {
    let object = json!({
        "metadata": { "name": "web-1", "labels": { "kubernetes.io/service-name": "web" } },
        "addressType": "IPv4", "ports": [{ "name": "", "port": 8080 }, { "name": "all" }],
        "endpoints": [
            { "addresses": ["10.244.0.1"], "nodeName": "a", "targetRef": { "kind": "Pod", "uid": "u1" } },
            { "addresses": ["10.244.0.2"], "conditions": { "ready": false, "serving": true, "terminating": true },
              "nodeName": "a", "targetRef": { "kind": "Pod", "uid": "u2" } },
            { "addresses": ["not an address"] },
        ],
    });
    let slice = serde_json::from_value::<SliceObject>(object).unwrap().project("a").unwrap();
    let flags: Vec<_> =
        slice.view.endpoints.iter().map(|e| (e.ready, e.serving, e.terminating, e.local)).collect();
    assert_eq!(flags, [(true, true, false, true), (false, true, true, true)]);
    assert_eq!((slice.view.ports.len(), &slice.ready_here[..]), (1, &["u1".into()][..]));
}

#[test]
fn null_lists_are_empty_and_host_names_are_left_out() {
    let object = |address_type: &str| {
        json!({ "metadata": { "name": "x", "labels": { "kubernetes.io/service-name": "web" } },
                "addressType": address_type, "endpoints": null, "ports": null })
    };
    let project = |o| serde_json::from_value::<SliceObject>(o).unwrap().project("a");
    assert!(project(object("IPv6")).unwrap().view.endpoints.is_empty());
    assert!(project(object("FQDN")).is_none());
}
