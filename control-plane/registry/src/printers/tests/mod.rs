//! Printed rows, a table a kind. `cells` has what a printer makes of objects that are not as usual.

mod cells;

use super::row;
use crate::table::KindTable;
use serde_json::{Value, json};
use time::{Duration, macros::datetime};

const NOW: time::OffsetDateTime = datetime!(2026-01-01 00:00:00 UTC);

#[test]
fn every_kind_fills_its_columns() {
    for kind in KindTable::builtin().iter().filter(|kind| kind.is_stored()) {
        let row = row(kind, &json!({"metadata": {"name": "a"}}), NOW);
        // IPAddress has a cell more than columns, upstream too.
        let extra = usize::from(kind.plural == "ipaddresses");
        assert_eq!(row.cells.len(), kind.columns.len() + extra, "{}", kind.plural);
    }
}

fn pod_cells(status: Value, extra: Value) -> Vec<Value> {
    let table = KindTable::builtin();
    let kind = table.by_resource("", "v1", "pods").expect("pods are served");
    let created = keelson_semantics::timestamp::format_seconds(NOW - Duration::seconds(90));
    let mut pod = json!({
        "metadata": {"name": "p", "creationTimestamp": created},
        "spec": {"containers": [{"name": "a"}, {"name": "b"}]},
        "status": status,
    });
    for (key, value) in extra.as_object().into_iter().flatten() {
        for (inner, value) in value.as_object().into_iter().flatten() {
            pod[key.as_str()][inner.as_str()] = value.clone();
        }
    }
    row(kind, &pod, NOW).cells
}

#[test]
fn a_pods_status_word_follows_its_containers() {
    let running = |ready: bool| json!({"name": "a", "ready": ready, "state": {"running": {}}});
    let waiting = json!({"name": "b", "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"finishedAt": "2025-12-31T23:59:00Z"}}});
    let completed = json!({"name": "b", "state": {"terminated": {"reason": "Completed", "exitCode": 0}}});
    let init = json!({"name": "i", "state": {"waiting": {"reason": "PodInitializing"}}});
    let deleting = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:30Z"}});
    let inits = json!({"spec": {"initContainers": [{"name": "i"}]}});
    let ended = |code: i64, signal: i64| json!({"name": "a", "state": {"terminated": {"exitCode": code, "signal": signal}}});
    let sidecar = json!({"name": "s", "started": true, "ready": true, "restartCount": 2, "state": {"running": {}},
        "lastState": {"terminated": {"finishedAt": "2025-12-31T23:59:30Z"}}});
    let rows = [
        (json!({"phase": "Pending"}), json!({}), ["0/2", "Pending", "0"]),
        (
            json!({"phase": "Running", "containerStatuses": [running(true), running(true)]}),
            json!({}),
            ["2/2", "Running", "0"],
        ),
        (
            json!({"phase": "Running", "containerStatuses": [running(true), waiting.clone()]}),
            json!({}),
            ["1/2", "CrashLoopBackOff", "3 (60s ago)"],
        ),
        (
            json!({"phase": "Running", "containerStatuses": [running(true), completed.clone()]}),
            json!({}),
            ["1/2", "NotReady", "0"],
        ),
        (
            json!({"phase": "Pending", "initContainerStatuses": [init]}),
            inits.clone(),
            ["0/2", "Init:0/1", "0"],
        ),
        (json!({"phase": "Running"}), deleting.clone(), ["0/2", "Terminating", "0"]),
        (json!({"phase": "Failed", "reason": "Evicted"}), json!({}), ["0/2", "Evicted", "0"]),
        (json!({"phase": "Failed"}), deleting.clone(), ["0/2", "Failed", "0"]),
        (json!({"phase": "Running", "reason": "NodeLost"}), deleting.clone(), ["0/2", "Unknown", "0"]),
        (json!({"phase": "Failed", "reason": "NodeLost"}), deleting, ["0/2", "Unknown", "0"]),
        (
            json!({"phase": "Failed", "containerStatuses": [ended(137, 9), ended(3, 0)]}),
            json!({}),
            ["0/2", "Signal:9", "0"],
        ),
        (
            json!({"phase": "Failed", "containerStatuses": [ended(3, 0), running(true)]}),
            json!({}),
            ["1/2", "ExitCode:3", "0"],
        ),
        (
            json!({"phase": "Pending", "initContainerStatuses": [ended(3, 0)]}),
            inits.clone(),
            ["0/2", "Init:ExitCode:3", "0"],
        ),
        (
            json!({"phase": "Pending", "initContainerStatuses": [ended(9, 9)]}),
            inits,
            ["0/2", "Init:Signal:9", "0"],
        ),
        (
            json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]}),
            json!({}),
            ["0/2", "SchedulingGated", "0"],
        ),
        (
            json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": [running(true), completed]}),
            json!({}),
            ["1/2", "Running", "0"],
        ),
        (
            json!({"phase": "Running", "initContainerStatuses": [sidecar], "containerStatuses": [running(true), waiting]}),
            json!({"spec": {"initContainers": [{"name": "s", "restartPolicy": "Always"}]}}),
            ["2/3", "CrashLoopBackOff", "5 (30s ago)"],
        ),
    ];
    for (status, extra, expected) in rows {
        let cells = pod_cells(status.clone(), extra);
        let shown: Vec<&str> = cells[1..4].iter().filter_map(Value::as_str).collect();
        assert_eq!(shown, expected, "{status}");
        assert_eq!(cells[4], "90s");
    }
}

#[test]
fn services_show_addresses_and_ports() {
    let table = KindTable::builtin();
    let kind = table.by_resource("", "v1", "services").expect("services are served");
    let service = json!({
        "metadata": {"name": "s"},
        "spec": {
            "type": "NodePort", "clusterIPs": ["10.96.0.7"], "selector": {"b": "2", "a": "1"},
            "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}],
        },
    });
    let cells = row(kind, &service, NOW).cells;
    let expected =
        json!(["s", "NodePort", "10.96.0.7", "<none>", "80:30080/TCP,53/UDP", "<unknown>", "a=1,b=2"]);
    assert_eq!(Value::Array(cells), expected);
}

#[test]
fn an_ingress_shows_three_hosts_and_its_addresses() {
    let table = KindTable::builtin();
    let cells = |plural: &str, object: &Value| {
        let kind = table.by_resource("networking.k8s.io", "v1", plural).expect("the kind is served");
        row(kind, object, NOW).cells
    };
    let rules: Vec<Value> = ["a", "b", "c", "d"].map(|host| json!({"host": host})).to_vec();
    let object = json!({
        "metadata": {"name": "i"},
        "spec": {"rules": rules, "tls": [{}], "ingressClassName": "x"},
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.2"}, {"hostname": "h"}, {"ip": "192.0.2.1"}]}},
    });
    let shown = cells("ingresses", &object);
    assert_eq!(
        shown[1..5],
        [json!("x"), json!("a,b,c + 1 more..."), json!("192.0.2.1,192.0.2.2,h"), json!("80, 443")]
    );
    let class = json!({
        "metadata": {"name": "c", "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}},
        "spec": {"controller": "e.com/c", "parameters": {"apiGroup": "g.io", "kind": "K", "name": "n"}},
    });
    assert_eq!(
        cells("ingressclasses", &class)[..3],
        [json!("c (default)"), json!("e.com/c"), json!("K.g.io/n")]
    );
}

#[test]
fn an_object_that_has_nothing_yet_is_printed_too() {
    let table = KindTable::builtin();
    let cells = |group: &str, plural: &str| {
        row(table.by_resource(group, "v1", plural).expect("the kind is served"), &json!({}), NOW).cells
    };
    assert_eq!(cells("", "configmaps"), [json!(""), json!(0), json!("<unknown>")]);
    assert_eq!(cells("rbac.authorization.k8s.io", "roles"), [json!(""), json!("0001-01-01T00:00:00Z")]);
}
