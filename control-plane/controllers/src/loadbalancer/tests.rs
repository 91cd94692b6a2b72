//! Tables of what Services get from the pools.

use super::{
    plan::{ASKED, plan, wants},
    pool::Pool,
};
use keelson_harness::views::Service;
use serde_json::{Value, json};
use std::{collections::BTreeSet, net::IpAddr};

fn service(annotation: Option<&str>, spec: Value, shown: &[&str]) -> Service {
    let ingress: Vec<Value> = shown.iter().map(|ip| json!({"ip": ip})).collect();
    let mut object = json!({
        "metadata": {"name": "s", "namespace": "n", "uid": "u"},
        "spec": {"type": "LoadBalancer", "ipFamilies": ["IPv4"]},
        "status": {"loadBalancer": {"ingress": ingress}},
    });
    if let Some(asked) = annotation {
        object["metadata"]["annotations"] = json!({ASKED: asked});
    }
    object["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    serde_json::from_str(&object.to_string()).unwrap()
}

/// A Service, what others have, what it gets, why that is not all.
type Row = (Service, &'static [&'static str], &'static [&'static str], Option<&'static str>);

#[test]
fn each_service_gets_what_it_asks_for_or_is_told_why_not() {
    let pools: Vec<Pool> =
        ["192.0.2.1-192.0.2.2", "2001:db8::1-2001:db8::1"].map(|text| text.parse().unwrap()).to_vec();
    let both = json!({"ipFamilies": ["IPv6", "IPv4"], "ipFamilyPolicy": "PreferDualStack"});
    let require = json!({"ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "RequireDualStack"});
    #[rustfmt::skip]
    let rows: Vec<Row> = vec![
        (service(None, json!({}), &[]), &[], &["192.0.2.1"], None),
        (service(None, json!({}), &["192.0.2.2"]), &[], &["192.0.2.2"], None),
        (service(None, json!({}), &["192.0.2.2"]), &["192.0.2.2"], &["192.0.2.1"], None),
        (service(None, json!({}), &["198.51.100.1"]), &[], &["192.0.2.1"], None),
        (service(None, json!({}), &[]), &["192.0.2.1", "192.0.2.2"], &[], Some("PoolExhausted")),
        (service(None, both.clone(), &[]), &[], &["2001:db8::1", "192.0.2.1"], None),
        (service(None, both, &[]), &["2001:db8::1"], &["192.0.2.1"], None),
        (service(None, require, &[]), &["2001:db8::1"], &["192.0.2.1"], Some("PoolExhausted")),
        (service(None, json!({"loadBalancerIP": "192.0.2.2"}), &["192.0.2.1"]), &[], &["192.0.2.2"], None),
        (service(Some("192.0.2.2,192.0.2.1"), json!({"loadBalancerIP": "192.0.2.9"}), &[]), &[], &["192.0.2.2", "192.0.2.1"], None),
        (service(Some("192.0.2.9"), json!({}), &["192.0.2.1"]), &[], &[], Some("AddressNotInPool")),
        (service(Some("192.0.2.1"), json!({}), &[]), &["192.0.2.1"], &[], Some("AddressInUse")),
        (service(Some("x"), json!({}), &[]), &[], &[], Some("InvalidAddress")),
        (service(Some("2001:db8::1"), json!({}), &[]), &[], &[], Some("InvalidAddress")),
    ];
    for (index, (service, taken, expected, missing)) in rows.into_iter().enumerate() {
        let taken: BTreeSet<IpAddr> = taken.iter().map(|text| text.parse().unwrap()).collect();
        let plan = plan(&service, &pools, &taken);
        let expected: Vec<IpAddr> = expected.iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(plan.addresses, expected, "row {index}");
        assert_eq!(plan.missing.map(|missing| missing.reason), missing, "row {index}");
    }
    let v4_only = &pools[..1];
    let v6 = service(None, json!({"ipFamilies": ["IPv6"]}), &[]);
    assert_eq!(plan(&v6, v4_only, &BTreeSet::new()).missing.unwrap().reason, "NoPool");
}

#[test]
fn only_services_of_the_class_or_of_none_are_given_addresses() {
    let rows = [
        (json!({}), true),
        (json!({"loadBalancerClass": "keelson.dev/lb"}), true),
        (json!({"loadBalancerClass": "example.com/other"}), false),
        (json!({"type": "NodePort"}), false),
    ];
    for (spec, expected) in rows {
        assert_eq!(wants(&service(None, spec.clone(), &[])), expected, "{spec}");
    }
}
