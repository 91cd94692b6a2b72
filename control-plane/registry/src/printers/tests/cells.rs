//! Single cells, a row a case: the kind, the object, the place of the cell and what stands in it.

use super::NOW;
use crate::{printers::row, table::KindTable};
use serde_json::{Value, json};

#[track_caller]
fn shows(group: &str, version: &str, plural: &str, rows: &[(Value, usize, Value)]) {
    let table = KindTable::builtin();
    let kind = table.by_resource(group, version, plural).expect("the kind is served");
    for (object, at, expected) in rows {
        assert_eq!(row(kind, object, NOW).cells[*at], *expected, "{object}");
    }
}

#[test]
fn services_show_who_reaches_them_from_outside() {
    let of =
        |spec: Value, ingress: Value| json!({"spec": spec, "status": {"loadBalancer": {"ingress": ingress}}});
    let balanced = json!([{"ip": "192.0.2.2"}, {"hostname": "h"}, {"ip": "192.0.2.1"}, {"ip": "192.0.2.2"}]);
    shows(
        "",
        "v1",
        "services",
        &[
            (of(json!({"type": "LoadBalancer"}), json!([])), 3, json!("<pending>")),
            (
                of(json!({"type": "LoadBalancer", "externalIPs": ["192.0.2.9"]}), json!([])),
                3,
                json!("192.0.2.9"),
            ),
            (
                of(json!({"type": "LoadBalancer", "externalIPs": ["192.0.2.9"]}), balanced),
                3,
                json!("192.0.2.1,192.0.2.2,h,192.0.2.9"),
            ),
            (
                json!({"spec": {"type": "ClusterIP", "externalIPs": ["192.0.2.9", "192.0.2.8"]}}),
                3,
                json!("192.0.2.9,192.0.2.8"),
            ),
            (
                json!({"spec": {"type": "ExternalName", "externalName": "example.com"}}),
                3,
                json!("example.com"),
            ),
            (json!({"spec": {"type": "ExternalName"}}), 2, json!("<none>")),
            (json!({"spec": {"type": "Other"}}), 3, json!("<unknown>")),
            (json!({"spec": {"type": "ClusterIP", "clusterIPs": ["None"]}}), 2, json!("None")),
            (json!({"spec": {"type": "ClusterIP"}}), 4, json!("<none>")),
        ],
    );
}

#[test]
fn endpoints_show_three_ready_addresses() {
    let ready = |count: u8| -> Vec<Value> {
        (1..=count).map(|last| json!({"ip": format!("10.0.0.{last}")})).collect()
    };
    let of = |subsets: Value| json!({"subsets": subsets});
    shows(
        "",
        "v1",
        "endpoints",
        &[
            (of(json!([])), 1, json!("<none>")),
            (of(json!([{"notReadyAddresses": ready(1), "ports": [{"port": 80}]}])), 1, json!("")),
            (of(json!([{"addresses": ready(2)}])), 1, json!("10.0.0.1,10.0.0.2")),
            (
                of(json!([{"addresses": ready(2), "ports": [{"port": 80}, {"port": 443}]}])),
                1,
                json!("10.0.0.1:80,10.0.0.2:80,10.0.0.1:443 + 1 more..."),
            ),
            (
                of(json!([{"addresses": [{"ip": "fd00::1"}], "ports": [{"port": 80}]}])),
                1,
                json!("[fd00::1]:80"),
            ),
        ],
    );
    let slice = |ports: Value, addresses: Value| json!({"addressType": "IPv4", "ports": ports, "endpoints": [{"addresses": addresses}]});
    shows(
        "discovery.k8s.io",
        "v1",
        "endpointslices",
        &[
            (slice(json!([{"name": "", "port": 80}, {"name": "p"}]), json!([])), 2, json!("80,p")),
            (slice(json!([{}]), json!([])), 2, json!("*")),
            (slice(json!([{"name": ""}]), json!([])), 2, json!("<unset>")),
            (slice(json!([]), json!([])), 2, json!("<unset>")),
            (slice(json!([]), json!([])), 3, json!("<unset>")),
            (slice(json!([]), json!(["a", "b", "c", "d", "e"])), 3, json!("a,b,c + 2 more...")),
        ],
    );
}

#[test]
fn an_ingress_counts_every_rule_behind_the_third_host() {
    let of = |hosts: &[&str]| {
        let rules: Vec<Value> = hosts
            .iter()
            .map(|host| if host.is_empty() { json!({}) } else { json!({"host": host}) })
            .collect();
        json!({"spec": {"rules": rules}})
    };
    shows(
        "networking.k8s.io",
        "v1",
        "ingresses",
        &[
            (of(&[]), 2, json!("*")),
            (of(&[""]), 2, json!("*")),
            (of(&["", "a"]), 2, json!("a")),
            (of(&["a", "b", "c"]), 2, json!("a,b,c")),
            (of(&["a", "b", "c", ""]), 2, json!("a,b,c + 1 more...")),
            (of(&["", "a", "b", "c", "d"]), 2, json!("a,b,c + 2 more...")),
            (of(&[]), 1, json!("<none>")),
            (of(&[]), 4, json!("80")),
        ],
    );
}

#[test]
fn volumes_and_claims_show_what_they_have() {
    let claim = |spec: Value, status: Value| json!({"spec": spec, "status": status});
    shows(
        "",
        "v1",
        "persistentvolumeclaims",
        &[
            (
                claim(
                    json!({"volumeName": "v"}),
                    json!({"phase": "Bound", "capacity": {"storage": "4Gi"}, "accessModes": ["ReadOnlyMany", "ReadWriteOnce"]}),
                ),
                3,
                json!("4Gi"),
            ),
            (
                claim(json!({"volumeName": "v"}), json!({"accessModes": ["ReadOnlyMany", "ReadWriteOnce"]})),
                4,
                json!("RWO,ROX"),
            ),
            (claim(json!({"volumeName": "v"}), json!({})), 3, json!("0")),
            (claim(json!({}), json!({"capacity": {"storage": "4Gi"}})), 3, json!("")),
            (claim(json!({}), json!({})), 6, json!("<unset>")),
            (claim(json!({"volumeAttributesClassName": ""}), json!({})), 6, json!("")),
            (
                json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": {"phase": "Bound"}}),
                1,
                json!("Terminating"),
            ),
            (
                json!({"metadata": {"annotations": {"volume.beta.kubernetes.io/storage-class": "old"}}, "spec": {"storageClassName": "new"}}),
                5,
                json!("old"),
            ),
        ],
    );
    shows(
        "",
        "v1",
        "persistentvolumes",
        &[
            (json!({"spec": {}}), 1, json!("0")),
            (json!({"spec": {"claimRef": {"namespace": "a", "name": "b"}}}), 5, json!("a/b")),
            (json!({"spec": {}}), 7, json!("<unset>")),
        ],
    );
    let default = |key: &str| json!({"metadata": {"name": "c", "annotations": {key: "true"}}});
    shows(
        "storage.k8s.io",
        "v1",
        "storageclasses",
        &[
            (default("storageclass.kubernetes.io/is-default-class"), 0, json!("c (default)")),
            (default("storageclass.beta.kubernetes.io/is-default-class"), 0, json!("c (default)")),
            (json!({"metadata": {"name": "c"}}), 2, json!("Delete")),
            (json!({"metadata": {"name": "c"}}), 3, json!("Immediate")),
        ],
    );
    shows(
        "storage.k8s.io",
        "v1",
        "volumeattributesclasses",
        &[
            (default("volumeattributesclass.alpha.kubernetes.io/is-default-class"), 0, json!("c (default)")),
            (default("storageclass.kubernetes.io/is-default-class"), 0, json!("c")),
        ],
    );
}

#[test]
fn autoscalers_show_what_is_over_what_shall_be() {
    let of = |metrics: Value, current: Value| json!({"spec": {"metrics": metrics}, "status": {"currentMetrics": current}});
    let cpu = |target: Value| json!({"type": "Resource", "resource": {"name": "cpu", "target": target}});
    let used =
        |current: Value| json!([{"type": "Resource", "resource": {"name": "cpu", "current": current}}]);
    let external = |target: Value| json!([{"type": "External", "external": {"target": target}}]);
    shows(
        "autoscaling",
        "v2",
        "horizontalpodautoscalers",
        &[
            (of(json!([]), json!([])), 2, json!("<none>")),
            (
                of(json!([cpu(json!({"averageUtilization": 80}))]), used(json!({"averageUtilization": 50}))),
                2,
                json!("cpu: 50%/80%"),
            ),
            (of(json!([cpu(json!({"averageUtilization": 80}))]), json!([])), 2, json!("cpu: <unknown>/80%")),
            (
                of(json!([cpu(json!({}))]), used(json!({"averageUtilization": 50}))),
                2,
                json!("cpu: 50%/<auto>"),
            ),
            (
                of(json!([cpu(json!({"averageValue": "100m"}))]), used(json!({"averageValue": "50m"}))),
                2,
                json!("cpu: 50m/100m"),
            ),
            (of(external(json!({"averageValue": "100m"})), json!([])), 2, json!("<unknown>/100m (avg)")),
            (
                of(external(json!({"value": "100m"})), json!([{"external": {"current": {"value": "50m"}}}])),
                2,
                json!("50m/100m"),
            ),
            (
                of(
                    json!([{"type": "Pods", "pods": {"target": {"averageValue": "5"}}}, cpu(json!({"averageUtilization": 1})), cpu(json!({}))]),
                    json!([]),
                ),
                2,
                json!("<unknown>/5, cpu: <unknown>/1% + 1 more..."),
            ),
            (json!({"spec": {}}), 3, json!("<unset>")),
        ],
    );
    shows(
        "policy",
        "v1",
        "poddisruptionbudgets",
        &[
            (json!({"spec": {"minAvailable": "50%"}}), 1, json!("50%")),
            (json!({"spec": {"minAvailable": "50%"}}), 2, json!("N/A")),
            (json!({"spec": {"maxUnavailable": 3}}), 2, json!("3")),
        ],
    );
}

#[test]
fn jobs_show_how_far_they_are() {
    let condition = |kind: &str| json!({"status": {"conditions": [{"type": kind, "status": "True"}]}});
    shows(
        "batch",
        "v1",
        "jobs",
        &[
            (json!({"spec": {"completions": 3}, "status": {"succeeded": 1}}), 2, json!("1/3")),
            (json!({"spec": {"parallelism": 2}, "status": {"succeeded": 1}}), 2, json!("1/1 of 2")),
            (json!({"spec": {"parallelism": 1}}), 2, json!("0/1")),
            (json!({"status": {}}), 3, json!("")),
            (json!({"status": {"startTime": "2025-12-31T23:58:00Z"}}), 3, json!("2m")),
            (
                json!({"status": {"startTime": "2025-12-31T23:00:00Z", "completionTime": "2025-12-31T23:00:30Z"}}),
                3,
                json!("30s"),
            ),
            (condition("Complete"), 1, json!("Complete")),
            (condition("Suspended"), 1, json!("Suspended")),
            (json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}), 1, json!("Terminating")),
            (json!({}), 1, json!("Running")),
            (json!({}), 7, json!("<none>")),
            (
                json!({"spec": {"selector": {"matchExpressions": [{"key": "a", "operator": "Bad"}]}}}),
                7,
                json!("<error>"),
            ),
        ],
    );
    shows(
        "batch",
        "v1",
        "cronjobs",
        &[
            (json!({"spec": {"suspend": false}}), 3, json!("False")),
            (json!({"spec": {}}), 3, json!("<unset>")),
            (json!({"spec": {}}), 2, json!("<none>")),
            (json!({"status": {"active": [{}, {}]}}), 4, json!(2)),
            (json!({"status": {"lastScheduleTime": "2025-12-31T23:59:00Z"}}), 5, json!("60s")),
            (json!({}), 5, json!("<none>")),
        ],
    );
}

#[test]
fn nodes_quotas_bindings_and_requests_have_words_of_their_own() {
    let labels = json!({"node-role.kubernetes.io/worker": "", "node-role.kubernetes.io/": "", "kubernetes.io/role": "edge"});
    let ready = |status: &str| json!({"spec": {"unschedulable": true}, "status": {"conditions": [{"type": "Ready", "status": status}]}});
    shows(
        "",
        "v1",
        "nodes",
        &[
            (json!({"metadata": {"labels": labels}}), 2, json!("edge,worker")),
            (json!({}), 2, json!("<none>")),
            (ready("True"), 1, json!("Ready,SchedulingDisabled")),
            (ready("Unknown"), 1, json!("NotReady,SchedulingDisabled")),
            (json!({}), 1, json!("Unknown")),
            (json!({}), 5, json!("<none>")),
            (json!({}), 7, json!("<unknown>")),
        ],
    );
    let hard =
        json!({"status": {"hard": {"limits.cpu": "2", "pods": "9", "cpu": "1"}, "used": {"cpu": "500m"}}});
    shows(
        "",
        "v1",
        "resourcequotas",
        &[(hard.clone(), 1, json!("cpu: 500m/1, pods: 0/9")), (hard, 2, json!("limits.cpu: 0/2"))],
    );
    let subjects = json!({"subjects": [
        {"kind": "User", "name": "u"}, {"kind": "User", "name": "v"}, {"kind": "Group", "name": "g"},
        {"kind": "ServiceAccount", "namespace": "ns", "name": "s"}, {"kind": "ServiceAccount", "name": "t"},
    ]});
    shows(
        "rbac.authorization.k8s.io",
        "v1",
        "rolebindings",
        &[
            (subjects.clone(), 3, json!("u, v")),
            (subjects.clone(), 4, json!("g")),
            (subjects, 5, json!("ns/s, t")),
        ],
    );
    let conditions = |kinds: &[&str]| {
        let all: Vec<Value> = kinds.iter().map(|kind| json!({"type": kind, "status": "True"})).collect();
        json!({"spec": {"expirationSeconds": 3600}, "status": {"conditions": all, "certificate": "c"}})
    };
    shows(
        "certificates.k8s.io",
        "v1",
        "certificatesigningrequests",
        &[
            (conditions(&["Approved"]), 5, json!("Approved,Issued")),
            (conditions(&["Approved", "Denied", "Failed"]), 5, json!("Denied,Failed,Issued")),
            (conditions(&[]), 4, json!("60m")),
            (json!({}), 4, json!("<none>")),
        ],
    );
    let healthy =
        |status: &str| json!({"conditions": [{"type": "Healthy", "status": status, "message": "ok"}]});
    shows(
        "",
        "v1",
        "componentstatuses",
        &[
            (healthy("True"), 1, json!("Healthy")),
            (healthy("Unknown"), 1, json!("Unhealthy")),
            (json!({}), 1, json!("Unknown")),
        ],
    );
}

#[test]
fn events_say_when_they_were_last_seen() {
    let of = |more: Value| {
        let mut event = json!({"firstTimestamp": "2025-12-31T23:58:20Z", "lastTimestamp": "2025-12-31T23:59:00Z", "count": 3,
            "involvedObject": {"kind": "Pod", "name": "p"}, "message": " m\n", "reportingComponent": "c", "reportingInstance": "i"});
        event.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        event
    };
    shows(
        "",
        "v1",
        "events",
        &[
            (of(json!({})), 0, json!("60s")),
            (of(json!({})), 7, json!("100s")),
            (of(json!({"lastTimestamp": null})), 0, json!("100s")),
            (
                of(json!({"series": {"count": 7, "lastObservedTime": "2025-12-31T23:59:50.000000Z"}})),
                0,
                json!("10s"),
            ),
            (of(json!({"series": {"count": 7}})), 0, json!("<unknown>")),
            (of(json!({"series": {"count": 7}})), 8, json!(7)),
            (of(json!({"count": null})), 8, json!(1)),
            (of(json!({})), 3, json!("pod/p")),
            (of(json!({})), 5, json!("c, i")),
            (of(json!({"source": {"component": "s"}, "reportingInstance": null})), 5, json!("s")),
            (of(json!({})), 6, json!("m")),
        ],
    );
}
