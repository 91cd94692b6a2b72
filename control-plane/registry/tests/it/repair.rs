//! Repair: records and Services are brought together again.

use crate::fixture::fixture;
use keelson_registry::{DeleteOptions, ListOptions};
use keelson_store::{Txn, Write};
use serde_json::json;
use time::Duration;

#[tokio::test]
async fn what_a_crash_left_is_mended() {
    let f = fixture().await;
    let body = |name: &str, ip: &str| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
               "spec": {"clusterIP": ip, "ports": [{"port": 80}]}})
    };
    f.made("services", body("kept", "10.96.0.20")).await;
    let made = f.made("services", body("unrecorded", "10.96.0.21")).await;
    f.delete("ipaddresses", "10.96.0.21", DeleteOptions::default()).await.expect("it is there");
    f.made("services", body("lost", "10.96.0.22")).await;
    // As if the process had died between the two transactions of a deletion.
    let txn = Txn {
        compares: vec![],
        writes: vec![Write::Delete { key: "/registry/core/services/ns/lost".into() }],
    };
    f.store.commit(txn).await.expect("the store is there");

    let now = f.context.now;
    let notices = f.registry.repair(now + Duration::seconds(30)).await.expect("the store is there");
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert_eq!((notices[0].reason, notices[0].name.as_str()), ("ClusterIPNotAllocated", "unrecorded"));
    assert_eq!(notices[0].uid, made["metadata"]["uid"]);
    let names = f.names("ipaddresses", ListOptions::default()).await;
    assert_eq!(
        names,
        ["10.96.0.20", "10.96.0.21", "10.96.0.22"],
        "a young record may be a write's under way"
    );

    let notices = f.registry.repair(now + Duration::seconds(90)).await.expect("the store is there");
    assert!(notices.is_empty(), "{notices:?}");
    assert_eq!(f.names("ipaddresses", ListOptions::default()).await, ["10.96.0.20", "10.96.0.21"]);
}

#[tokio::test]
async fn ranges_of_services_are_objects_too() {
    let f = fixture().await;
    let range = |name: &str, cidrs: serde_json::Value| {
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": name},
               "spec": {"cidrs": cidrs}})
    };
    for (cidrs, message) in [
        (json!([]), "spec.cidrs: Required value: at least one CIDR required"),
        (json!(["10.0.0.0/24", "10.0.1.0/24"]), "may specify no more than one IP for each IP family"),
        (json!(["10.0.0.1/24"]), "spec.cidrs[0]: Invalid value: \"10.0.0.1/24\""),
    ] {
        let status =
            f.create("servicecidrs", range("bad", cidrs)).await.map(|_| ()).expect_err("it is wrong");
        assert!(status.message.contains(message), "{status}");
    }
    f.made("servicecidrs", range("more", json!(["10.97.0.0/24"]))).await;
    let both = f.update("servicecidrs", None, range("more", json!(["10.97.0.0/24", "fd00:97::/112"]))).await;
    both.expect("a family may be added");
    let other = f.update("servicecidrs", None, range("more", json!(["10.98.0.0/24"]))).await.map(|_| ());
    assert!(other.expect_err("fixed").message.contains("field is immutable"));
    let made = f
        .made(
            "services",
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"},
              "spec": {"ipFamilyPolicy": "RequireDualStack", "ports": [{"port": 80}]}}),
        )
        .await;
    assert!(made["spec"]["clusterIPs"][1].as_str().is_some_and(|ip| ip.starts_with("fd00:97::")), "{made}");
}
