//! Objects as JSON against their projections.

use serde_json::json;

use super::*;

fn service(spec: serde_json::Value) -> ServiceView {
    let object = json!({ "metadata": { "name": "web" }, "spec": spec });
    serde_json::from_value::<ServiceObject>(object).unwrap().project()
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
        "ports": [{ "port": 80, "nodePort": 30080 }, { "name": "s", "port": 9, "protocol": "SCTP" }],
        "sessionAffinity": "ClientIP", "internalTrafficPolicy": "Local", "externalIPs": ["192.0.2.9"],
    }));
    assert_eq!(view.cluster_ips.len(), 2);
    assert_eq!((view.ports[0].number, view.ports[0].protocol), (80, Some(Protocol::Tcp)));
    assert_eq!(view.ports[1].protocol, None);
    assert_eq!((view.local_only, view.affinity_s), (true, AFFINITY_DEFAULT_S));
    assert_eq!(view.unprogrammed, [Unprogrammed::NodePort(30_080), Unprogrammed::ExternalIps]);
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
