//! Tables of endpoints and of the writes that bring slices there.

use super::{
    endpoints::{desired, families},
    plan::{Content, ENDPOINTS_MAX, Plan, labels, plan},
    trigger::look,
};
use keelson_harness::{
    Timestamp,
    views::{EndpointSlice, Pod, Service},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

fn service(spec: Value) -> Service {
    let mut object = json!({
        "metadata": {"name": "web", "namespace": "n", "uid": "s", "labels": {"team": "x"}},
        "spec": {"clusterIP": "10.96.0.9", "selector": {"app": "web"},
                 "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]},
    });
    object["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    serde_json::from_str(&object.to_string()).unwrap()
}

fn pod(number: usize, change: Value) -> Pod {
    let field = |path: &str, default: Value| change.pointer(path).cloned().unwrap_or(default);
    let object = json!({
        "metadata": {"name": format!("p{number}"), "namespace": "n", "uid": format!("u{number}"),
                     "deletionTimestamp": field("/deleted", Value::Null)},
        "spec": {"nodeName": "w1", "hostname": "h", "subdomain": field("/subdomain", Value::Null),
                 "containers": [{"ports": [{"name": "web", "containerPort": 9000, "protocol": "TCP"}]}]},
        "status": {"phase": field("/phase", json!("Running")),
                   "podIPs": field("/ips", json!([{"ip": format!("10.244.{}.{}", number / 250, number % 250 + 1)}])),
                   "conditions": [{"type": "Ready", "status": field("/ready", json!("True"))}]},
    });
    serde_json::from_str(&object.to_string()).unwrap()
}

fn zone(node: &str) -> Option<String> {
    (node == "w1").then(|| "z1".to_owned())
}

fn plan_for(service: &Service, pods: &[Pod], slices: &[Arc<EndpointSlice>]) -> Plan {
    plan(service, desired(service, pods.iter(), &zone), slices.to_vec())
}

/// The slice that a content would become.
fn slice(service: &Service, name: &str, content: &Content) -> Arc<EndpointSlice> {
    let object = json!({
        "metadata": {"name": name, "namespace": "n", "uid": name, "resourceVersion": "1", "labels": labels(service)},
        "addressType": content.group.family, "endpoints": content.endpoints, "ports": content.group.ports,
    });
    Arc::new(serde_json::from_str(&object.to_string()).unwrap())
}

fn made(service: &Service, pods: &[Pod]) -> Vec<Arc<EndpointSlice>> {
    let plan = plan_for(service, pods, &[]);
    plan.create.iter().enumerate().map(|(i, c)| slice(service, &format!("web-{i}"), c)).collect()
}

#[test]
fn conditions_follow_readiness_and_termination() {
    let gone = json!("2026-01-01T00:00:00Z");
    let rows = [
        (json!({}), json!({}), Some((true, true, false))),
        (json!({}), json!({"ready": "False"}), Some((false, false, false))),
        (json!({}), json!({"deleted": gone}), Some((false, true, true))),
        (json!({}), json!({"deleted": gone, "ready": "False"}), Some((false, false, true))),
        (json!({"publishNotReadyAddresses": true}), json!({"ready": "False"}), Some((true, false, false))),
        (json!({"publishNotReadyAddresses": true}), json!({"deleted": gone}), Some((true, true, true))),
        (json!({}), json!({"phase": "Succeeded"}), None),
        (json!({}), json!({"ips": []}), None),
    ];
    for (spec, change, expected) in rows {
        let groups = desired(&service(spec.clone()), [pod(1, change.clone())].iter(), &zone);
        let found = groups.into_values().next().and_then(|e| e.into_values().next());
        let got = found.map(|e| (e.conditions.ready, e.conditions.serving, e.conditions.terminating));
        assert_eq!(got, expected, "{spec} {change}");
    }
}

#[test]
fn ports_are_resolved_on_each_pod() {
    let rows = [
        (json!(8080), Some(8080)),
        (json!("web"), Some(9000)),
        (json!("none"), None),
        (Value::Null, Some(80)),
    ];
    for (target, expected) in rows {
        let service = service(json!({"ports": [{"name": "http", "port": 80, "targetPort": target}]}));
        let groups = desired(&service, [pod(1, json!({}))].iter(), &zone);
        assert_eq!(groups.keys().next().and_then(|g| g.ports[0].port), expected, "{target}");
    }
}

#[test]
fn an_endpoint_names_its_pod_node_zone_and_host() {
    let service = service(json!({"clusterIP": "None"}));
    let groups = desired(&service, [pod(1, json!({"subdomain": "web"})), pod(2, json!({}))].iter(), &zone);
    let endpoints: Vec<_> = groups.into_values().next().unwrap().into_values().collect();
    assert_eq!(endpoints[0].hostname.as_deref(), Some("h"));
    assert_eq!(endpoints[1].hostname, None, "only in the Service's subdomain");
    assert_eq!((endpoints[0].node_name.as_deref(), endpoints[0].zone.as_deref()), (Some("w1"), Some("z1")));
    assert_eq!(endpoints[0].target_ref.as_ref().map(|t| &*t.name), Some("p1"));
    assert!(labels(&service).contains_key("service.kubernetes.io/headless"));
}

#[test]
fn families_make_slices_of_their_own() {
    let service = service(json!({"ipFamilies": ["IPv4", "IPv6"]}));
    assert_eq!(families(&service), ["IPv4", "IPv6"]);
    let both = pod(1, json!({"ips": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}));
    let plan = plan_for(&service, &[both], &[]);
    let made: Vec<_> = plan.create.iter().map(|c| (c.group.family, &*c.endpoints[0].addresses[0])).collect();
    assert_eq!(made, [("IPv4", "10.0.0.1"), ("IPv6", "fd00::1")]);
}

#[test]
fn a_service_without_pods_has_one_empty_slice() {
    let service = service(json!({}));
    let plan = plan_for(&service, &[], &[]);
    assert_eq!((plan.create.len(), plan.create[0].endpoints.len()), (1, 0));
    let empty = slice(&service, "web-0", &plan.create[0]);
    let plan = plan_for(&service, &[], std::slice::from_ref(&empty));
    assert!(plan.create.is_empty() && plan.update.is_empty() && plan.delete.is_empty(), "{plan:?}");
    // The first pod takes it over: ports and endpoints change, the name stays.
    let plan = plan_for(&service, &[pod(1, json!({}))], &[empty]);
    assert_eq!((plan.create.len(), plan.update.len(), plan.delete.len()), (0, 1, 0));
}

#[test]
fn one_pods_change_is_one_slices_write() {
    let service = service(json!({}));
    let mut pods: Vec<Pod> = (0..250).map(|i| pod(i, json!({}))).collect();
    let slices = made(&service, &pods);
    assert_eq!(slices.iter().map(|s| s.endpoints.len()).collect::<Vec<_>>(), [100, 100, 50]);
    let same = plan_for(&service, &pods, &slices);
    assert!(same.create.is_empty() && same.update.is_empty() && same.delete.is_empty());

    pods[7] = pod(7, json!({"ready": "False"}));
    let plan = plan_for(&service, &pods, &slices);
    assert_eq!((plan.create.len(), plan.update.len(), plan.delete.len()), (0, 1, 0));

    // One replaced by another: the same slice loses one and takes the other.
    pods[7] = pod(999, json!({}));
    let plan = plan_for(&service, &pods, &slices);
    assert_eq!((plan.create.len(), plan.update.len(), plan.delete.len()), (0, 1, 0));
    assert_eq!(plan.update[0].1.endpoints.len(), plan.update[0].0.endpoints.len());

    // One more: into the slice with room.
    pods[7] = pod(7, json!({}));
    pods.push(pod(1000, json!({})));
    let plan = plan_for(&service, &pods, &slices);
    assert_eq!((plan.create.len(), plan.update.len(), plan.update[0].1.endpoints.len()), (0, 1, 51));
}

#[test]
fn every_pod_is_in_exactly_one_slice_after_any_change() {
    let service = service(json!({}));
    let mut slices = made(&service, &(0..230).map(|i| pod(i, json!({}))).collect::<Vec<_>>());
    for (from, to) in [(40, 400), (390, 391), (0, 0), (0, 101)] {
        let pods: Vec<Pod> = (from..to).map(|i| pod(i, json!({}))).collect();
        let plan = plan_for(&service, &pods, &slices);
        slices.retain(|s| !plan.delete.iter().any(|d| d.metadata.name == s.metadata.name));
        for (old, content) in &plan.update {
            slices.retain(|s| s.metadata.name != old.metadata.name);
            slices.push(slice(&service, &old.metadata.name, content));
        }
        let fresh = plan.create.iter().enumerate();
        slices.extend(fresh.map(|(i, c)| slice(&service, &format!("{from}-{to}-{i}"), c)));
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        for endpoint in slices.iter().flat_map(|s| &s.endpoints) {
            *seen.entry(endpoint.target_ref.as_ref().unwrap().uid.clone()).or_default() += 1;
        }
        assert_eq!(seen.len(), pods.len());
        assert!(seen.values().all(|n| *n == 1));
        assert!(slices.iter().all(|s| s.endpoints.len() <= ENDPOINTS_MAX));
    }
}

#[test]
fn labels_of_the_service_are_on_its_slices_and_follow() {
    let mut service = service(json!({}));
    let pods = [pod(1, json!({}))];
    let slices = made(&service, &pods);
    let mut changed = (*service.metadata.labels).clone();
    changed.insert("team".into(), "y".into());
    service.metadata.labels = changed.into();
    assert_eq!(plan_for(&service, &pods, &slices).update.len(), 1);
}

#[test]
fn hints_follow_the_traffic_distribution_of_ready_endpoints() {
    let rows = [
        (None, true, json!(null)),
        (Some("PreferClose"), true, json!({"forZones": [{"name": "z1"}]})),
        (Some("PreferSameZone"), true, json!({"forZones": [{"name": "z1"}]})),
        (Some("PreferSameNode"), true, json!({"forZones": [{"name": "z1"}], "forNodes": [{"name": "w1"}]})),
        (Some("PreferSameNode"), false, json!(null)),
    ];
    for (distribution, ready, expected) in rows {
        let service = service(json!({"trafficDistribution": distribution}));
        let pod = pod(1, json!({"ready": if ready { "True" } else { "False" }}));
        let groups = desired(&service, [pod].iter(), &zone);
        let found = groups.into_values().next().and_then(|e| e.into_values().next()).unwrap();
        let written = serde_json::to_value(&found).unwrap();
        assert_eq!(written.get("hints").unwrap_or(&Value::Null), &expected, "{distribution:?} {ready}");
    }
}

#[test]
fn slices_are_of_each_family_that_the_service_and_the_pod_have() {
    let both = json!({"ips": [{"ip": "10.244.0.1"}, {"ip": "fd00:244::1"}]});
    let rows = [
        (json!(["IPv4"]), vec![("IPv4", "10.244.0.1")]),
        (json!(["IPv6"]), vec![("IPv6", "fd00:244::1")]),
        (json!(["IPv6", "IPv4"]), vec![("IPv4", "10.244.0.1"), ("IPv6", "fd00:244::1")]),
    ];
    for (families, expected) in rows {
        let groups = desired(&service(json!({"ipFamilies": families})), [pod(1, both.clone())].iter(), &zone);
        let found: Vec<(&str, String)> = groups
            .into_iter()
            .map(|(group, endpoints)| (group.family, endpoints.into_keys().next().unwrap().0))
            .collect();
        let found: Vec<(&str, &str)> =
            found.iter().map(|(family, address)| (*family, address.as_str())).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn the_trigger_is_the_first_change_since_the_last_write() {
    let at = |seconds: i64| {
        let mut pod = pod(1, json!({}));
        pod.status.ready.as_mut().unwrap().since = Some(Timestamp::from_unix(seconds));
        Arc::new(pod)
    };
    let mut service = service(json!({}));
    service.metadata.creation_timestamp = Some(Timestamp::from_unix(50));
    let (seen, first) = look(None, &service, &[at(100)]);
    assert_eq!(first, Some(Timestamp::from_unix(50)), "a new Service");
    let (seen, none) = look(Some(&seen), &service, &[at(100)]);
    assert_eq!(none, None, "nothing of the pod changed");
    let (seen, changed) = look(Some(&seen), &service, &[at(130)]);
    assert_eq!(changed, Some(Timestamp::from_unix(130)));
    let (_, gone) = look(Some(&seen), &service, &[]);
    assert_eq!(gone, None, "nobody knows when a pod went");
}
