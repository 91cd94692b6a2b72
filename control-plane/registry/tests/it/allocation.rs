//! Addresses and node ports: taken, refused, given back.

use crate::fixture::{Fixture, fixture};
use keelson_registry::{DeleteOptions, ListOptions};
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn service(name: &str, spec: Value) -> Value {
    let mut body = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"ports": [{"port": 80}], "selector": {"app": "a"}},
    });
    for (key, value) in spec.as_object().into_iter().flatten() {
        body["spec"][key.as_str()] = value.clone();
    }
    body
}

fn ip(service: &Value) -> &str {
    service["spec"]["clusterIP"].as_str().unwrap_or_default()
}

async fn addresses(f: &Fixture) -> Vec<String> {
    f.names("ipaddresses", ListOptions::default()).await
}

#[tokio::test]
async fn a_service_gets_an_address_and_gives_it_back() {
    let f = fixture().await;
    let made = f.made("services", service("a", json!({}))).await;
    assert!(ip(&made).starts_with("10.96.0."), "{made}");
    assert_eq!(made["spec"]["clusterIPs"], json!([ip(&made)]));
    assert_eq!(
        (&made["spec"]["ipFamilies"], &made["spec"]["ipFamilyPolicy"]),
        (&json!(["IPv4"]), &json!("SingleStack"))
    );
    assert_eq!(addresses(&f).await, [ip(&made)]);
    let record = f.get("ipaddresses", ip(&made)).await.expect("the record is there");
    assert_eq!(record["spec"]["parentRef"], json!({"resource": "services", "namespace": "ns", "name": "a"}));
    f.delete("services", "a", DeleteOptions::default()).await.expect("it is there");
    assert!(addresses(&f).await.is_empty());
}

#[tokio::test]
async fn an_address_can_be_asked_for_once() {
    let f = fixture().await;
    let made = f.made("services", service("dns", json!({"clusterIP": "10.96.0.10"}))).await;
    assert_eq!(ip(&made), "10.96.0.10");
    let rows = [
        (
            "10.96.0.10",
            "spec.clusterIPs: Invalid value: [\"10.96.0.10\"]: failed to allocate IP 10.96.0.10: provided IP is already allocated",
        ),
        (
            "10.97.0.1",
            "the provided IP (10.97.0.1) is not in the valid range. The range of valid IPs is 10.96.0.0/24",
        ),
        ("10.96.0.255", "is not in the valid range"),
        ("nonsense", "spec.clusterIPs[0]: Invalid value: \"nonsense\": must be a valid IP address"),
    ];
    for (asked, message) in rows {
        let status = f.create("services", service("b", json!({"clusterIP": asked}))).await.map(|_| ());
        let status = status.expect_err("it cannot be had");
        assert!(status.message.contains(message), "{status}");
    }
}

#[tokio::test]
async fn concurrent_services_never_share_an_address() {
    let f = fixture().await;
    let bodies: Vec<Value> = (0..100).map(|index| service(&format!("s{index}"), json!({}))).collect();
    let made = futures::future::join_all(bodies.into_iter().map(|body| f.made("services", body))).await;
    let unique: BTreeSet<&str> = made.iter().map(ip).collect();
    assert_eq!(unique.len(), 100);
    assert_eq!(addresses(&f).await.len(), 100);
}

#[tokio::test]
async fn the_address_stays_and_an_update_may_leave_it_out() {
    let f = fixture().await;
    let made = f.made("services", service("a", json!({}))).await;
    let updated = f.update("services", None, service("a", json!({"sessionAffinity": "ClientIP"}))).await;
    let updated = updated.expect("valid").body.to_value();
    assert_eq!(ip(&updated), ip(&made));
    let other = json!({"spec": {"clusterIP": "10.96.0.99", "clusterIPs": ["10.96.0.99"]}});
    let status = f.patch("services", "a", None, other).await.expect_err("it does not change");
    assert!(status.message.contains("may not change once set"), "{status}");
}

#[tokio::test]
async fn headless_and_external_services_have_none() {
    let f = fixture().await;
    let headless = f.made("services", service("h", json!({"clusterIP": "None"}))).await;
    assert_eq!(headless["spec"]["clusterIPs"], json!(["None"]));
    let external = json!({"type": "ExternalName", "externalName": "example.com"});
    let external = f.made("services", service("e", external)).await;
    assert_eq!(external["spec"].get("clusterIP"), None);
    assert!(addresses(&f).await.is_empty());
    let back = json!({"spec": {"type": "ClusterIP", "externalName": null}});
    let back = f.patch("services", "e", None, back).await.expect("valid");
    assert_eq!(addresses(&f).await, [ip(&back)]);
    let away = json!({"spec": {"type": "ExternalName", "externalName": "example.com"}});
    f.patch("services", "e", None, away).await.expect("valid");
    assert!(addresses(&f).await.is_empty());
}

#[tokio::test]
async fn node_ports_are_allocated_and_kept() {
    let f = fixture().await;
    let made = f.made("services", service("a", json!({"type": "NodePort"}))).await;
    let port = made["spec"]["ports"][0]["nodePort"].as_i64().unwrap_or_default();
    assert!((30_000..=32_767).contains(&port), "{made}");
    assert_eq!(f.context.warnings.take(), Vec::<String>::new());
    let taken = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]});
    let status = f.create("services", service("b", taken)).await.map(|_| ()).expect_err("it is taken");
    assert!(status.message.contains("provided port is already allocated"), "{status}");
    let same = f.update("services", None, service("a", json!({"type": "NodePort"}))).await.expect("valid");
    assert_eq!(same.body.to_value()["spec"]["ports"][0]["nodePort"], port);
    let plain = f.update("services", None, service("a", json!({"type": "ClusterIP"}))).await.expect("valid");
    assert_eq!(plain.body.to_value()["spec"]["ports"][0].get("nodePort"), None);
}

#[tokio::test]
async fn concurrent_services_never_share_a_node_port() {
    let f = fixture().await;
    let bodies: Vec<Value> =
        (0..30).map(|index| service(&format!("s{index}"), json!({"type": "NodePort"}))).collect();
    let made = futures::future::join_all(bodies.into_iter().map(|body| f.made("services", body))).await;
    let ports: BTreeSet<i64> =
        made.iter().filter_map(|service| service["spec"]["ports"][0]["nodePort"].as_i64()).collect();
    assert_eq!(ports.len(), 30);
}

#[tokio::test]
async fn what_the_cluster_cannot_give_is_refused_by_name() {
    let f = fixture().await;
    let rows = [
        (
            json!({"ipFamilies": ["IPv6"]}),
            "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster",
        ),
        (
            json!({"ipFamilyPolicy": "RequireDualStack"}),
            "this cluster is not configured for dual-stack services",
        ),
        (json!({"ports": []}), "spec.ports: Required value"),
        (
            json!({"ports": [{"port": 0}]}),
            "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
        ),
    ];
    for (spec, message) in rows {
        let status = f.create("services", service("a", spec)).await.map(|_| ()).expect_err("it is refused");
        assert!(status.message.contains(message), "{status}");
    }
}
