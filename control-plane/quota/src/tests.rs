//! What counts for what, as tables.

use super::*;
use serde_json::json;

fn of(group: &str, plural: &str, object: &Value) -> String {
    shown(&usage(group, plural, object, OffsetDateTime::UNIX_EPOCH))
}

fn pod(spec: Value) -> Value {
    json!({"spec": spec, "status": {"phase": "Pending"}})
}

#[test]
fn each_object_counts_under_every_name_it_has() {
    let asked = json!({"requests": {"cpu": "1", "memory": "1Gi", "example.com/gpu": "2", "hugepages-2Mi": "4Mi"},
                       "limits": {"cpu": "2", "example.com/gpu": "2"}});
    let port = |node: i64| json!({"port": 80, "nodePort": node});
    let claim = json!({"spec": {"storageClassName": "fast", "resources": {"requests": {"storage": "1Gi"}}}});
    let rows = [
        (
            "",
            "pods",
            pod(json!({"containers": [{"name": "a", "resources": asked}], "overhead": {"cpu": "500m"}})),
            "count/pods=1,cpu=1500m,hugepages-2Mi=4Mi,limits.cpu=2500m,memory=1Gi,pods=1,requests.cpu=1500m,\
             requests.example.com/gpu=2,requests.hugepages-2Mi=4Mi,requests.memory=1Gi",
        ),
        ("", "pods", json!({"spec": {}, "status": {"phase": "Succeeded"}}), "count/pods=1"),
        // Its node has not taken back yet what the spec gives up.
        (
            "",
            "pods",
            json!({
                "spec": {"containers": [{"name": "a", "resources": {"requests": {"cpu": "1"}}}]},
                "status": {"containerStatuses": [{"name": "a", "resources": {"requests": {"cpu": "3"}}}]},
            }),
            "count/pods=1,cpu=3,pods=1,requests.cpu=3",
        ),
        (
            "",
            "pods",
            json!({"metadata": {"deletionTimestamp": "1969-12-31T23:59:00Z", "deletionGracePeriodSeconds": 30}, "spec": {}}),
            "count/pods=1",
        ),
        (
            "",
            "services",
            json!({"spec": {"type": "ClusterIP"}}),
            "count/services=1,services=1,services.loadbalancers=0,services.nodeports=0",
        ),
        (
            "",
            "services",
            json!({"spec": {"type": "LoadBalancer", "ports": [port(0), port(0)]}}),
            "count/services=1,services=1,services.loadbalancers=1,services.nodeports=2",
        ),
        (
            "",
            "services",
            json!({"spec": {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": [port(0), port(30000)]}}),
            "count/services=1,services=1,services.loadbalancers=1,services.nodeports=1",
        ),
        (
            "",
            "persistentvolumeclaims",
            claim,
            "count/persistentvolumeclaims=1,fast.storageclass.storage.k8s.io/persistentvolumeclaims=1,\
             fast.storageclass.storage.k8s.io/requests.storage=1Gi,persistentvolumeclaims=1,requests.storage=1Gi",
        ),
        (
            "resource.k8s.io",
            "resourceclaims",
            json!({"spec": {"devices": {"requests": [
                {"exactly": {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 2}},
                {"exactly": {"deviceClassName": "nic", "allocationMode": "All"}},
                {"exactly": {"deviceClassName": "fpga", "allocationMode": "Later"}},
                {"firstAvailable": [
                    {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1},
                    {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 3},
                    {"deviceClassName": "old", "allocationMode": "ExactCount", "count": 8},
                ]},
            ]}}}),
            "count/resourceclaims.resource.k8s.io=1,gpu.deviceclass.resource.k8s.io/devices=5,\
             nic.deviceclass.resource.k8s.io/devices=32,old.deviceclass.resource.k8s.io/devices=8",
        ),
        ("", "secrets", json!({}), "count/secrets=1,secrets=1"),
        ("", "endpoints", json!({}), "count/endpoints=1"),
        ("apps", "deployments", json!({}), "count/deployments.apps=1"),
        ("example.com", "pods", json!({}), "count/pods.example.com=1"),
    ];
    for (group, plural, object, expected) in rows {
        assert_eq!(of(group, plural, &object), expected, "{plural} {object}");
        for name in usage(group, plural, &object, OffsetDateTime::UNIX_EPOCH).keys() {
            assert_eq!(source_of(name), Some(Source { group, plural }), "{name}");
        }
    }
    for nothing in ["example.com/gpu", "limits.storage", "nodes"] {
        assert_eq!(source_of(nothing), None, "{nothing}");
    }
}

#[test]
fn what_a_quota_has_every_container_must_state() {
    let two = json!([{"name": "a", "resources": {"limits": {"cpu": "1"}}}, {"name": "b"}]);
    let rows = [
        (json!({"containers": two}), vec!["pods", "example.com/x"], None),
        (json!({"containers": two}), vec!["limits.cpu"], Some("must specify limits.cpu for: b")),
        (
            json!({"containers": two}),
            vec!["limits.cpu", "memory"],
            Some("must specify limits.cpu for: b; memory for: a,b"),
        ),
        (
            json!({"containers": [], "initContainers": [{"name": "i"}]}),
            vec!["requests.cpu"],
            Some("must specify requests.cpu for: i"),
        ),
        (json!({"containers": two, "resources": {"limits": {"cpu": "2"}}}), vec!["limits.cpu"], None),
    ];
    for (spec, names, expected) in rows {
        assert_eq!(unstated("", "pods", &pod(spec), &names).as_deref(), expected, "{names:?}");
    }
}

#[test]
fn scopes_choose_the_pods_that_a_quota_is_about() {
    let bounded = json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": "1"}}}]});
    let class = |name: &str| json!({"containers": [], "priorityClassName": name});
    let near = json!({"containers": [], "affinity": {"podAffinity": {
        "preferredDuringSchedulingIgnoredDuringExecution": [{"podAffinityTerm": {"namespaces": ["other"]}}]}}});
    let selector = |scope: &str, operator: &str, values: &[&str]| json!({"scopeSelector": {"matchExpressions": [{"scopeName": scope, "operator": operator, "values": values}]}});
    let rows = [
        (json!({}), json!({"containers": []}), true),
        (json!({"scopes": ["BestEffort"]}), json!({"containers": []}), true),
        (json!({"scopes": ["BestEffort"]}), bounded.clone(), false),
        (json!({"scopes": ["NotBestEffort", "NotTerminating"]}), bounded.clone(), true),
        (json!({"scopes": ["NotBestEffort", "Terminating"]}), bounded, false),
        (json!({"scopes": ["Terminating"]}), json!({"containers": [], "activeDeadlineSeconds": 5}), true),
        (json!({"scopes": ["CrossNamespacePodAffinity"]}), near, true),
        (json!({"scopes": ["CrossNamespacePodAffinity"]}), json!({"containers": []}), false),
        (json!({"scopes": ["PriorityClass"]}), class("high"), true),
        (selector("PriorityClass", "In", &["high"]), class("high"), true),
        (selector("PriorityClass", "NotIn", &["high"]), class("high"), false),
        (selector("PriorityClass", "DoesNotExist", &[]), json!({"containers": []}), true),
        (selector("PriorityClass", "Exists", &[]), json!({"containers": []}), false),
    ];
    for (spec, pod_spec, expected) in rows {
        let quota = json!({"spec": spec});
        assert_eq!(matches(&quota, "", "pods", &pod(pod_spec)), expected, "{spec}");
        assert_eq!(matches(&quota, "", "services", &json!({})), spec == json!({}));
    }
    let gold = json!({"spec": {"volumeAttributesClassName": "gold"}});
    let quota = json!({"spec": selector("VolumeAttributesClass", "In", &["gold"])});
    assert!(matches(&quota, "", "persistentvolumeclaims", &gold));
    assert!(!matches(&quota, "", "persistentvolumeclaims", &json!({})));
}
