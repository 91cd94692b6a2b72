//! `/metrics` as Prometheus reads it, and the families that dashboards and alerts of Kubernetes ask for.

use crate::{
    APISERVER, CONFIG_MAP,
    support::{Backend, Server, missing, text},
};
use std::{
    io::Write,
    process::{Command, Stdio},
};

/// Families, with the beginning of their HELP and their type.
const FAMILIES: [(&str, &str, &str); 21] = [
    ("apiserver_request_total", "[STABLE] Counter of apiserver requests", "counter"),
    ("apiserver_request_duration_seconds", "[STABLE] Response latency distribution", "histogram"),
    ("apiserver_request_sli_duration_seconds", "[ALPHA] Response latency distribution", "histogram"),
    ("apiserver_storage_size_bytes", "[STABLE] Size of the storage", "gauge"),
    ("aggregator_unavailable_apiservice", "[ALPHA] Gauge of APIServices", "gauge"),
    ("apiserver_response_sizes", "[STABLE] Response size distribution", "histogram"),
    ("apiserver_current_inflight_requests", "[STABLE] Maximal number", "gauge"),
    ("apiserver_longrunning_requests", "[STABLE] Gauge of all active long-running", "gauge"),
    ("apiserver_storage_objects", "[STABLE] [DEPRECATED", "gauge"),
    ("apiserver_admission_controller_admission_duration_seconds", "[STABLE] Admission", "histogram"),
    ("apiserver_admission_step_admission_duration_seconds", "[STABLE] Admission", "histogram"),
    ("apiserver_flowcontrol_current_executing_requests", "[BETA] Number", "gauge"),
    ("apiserver_flowcontrol_dispatched_requests_total", "[BETA] Number", "counter"),
    ("apiserver_flowcontrol_nominal_limit_seats", "[BETA] Nominal", "gauge"),
    ("apiserver_flowcontrol_request_wait_duration_seconds", "[BETA] Length", "histogram"),
    ("apiserver_client_certificate_expiration_seconds", "[ALPHA] Distribution", "histogram"),
    ("authentication_attempts", "[ALPHA] Counter", "counter"),
    ("authorization_attempts_total", "[ALPHA] Counter", "counter"),
    ("kubernetes_build_info", "[ALPHA] A metric with a constant", "gauge"),
    ("kubernetes_healthcheck", "[STABLE] This metric", "gauge"),
    ("process_resident_memory_bytes", "Resident memory size", "gauge"),
];

#[test]
fn prometheus_finds_nothing_wrong_and_dashboards_what_they_ask_for() {
    if let Some(why) = missing(Backend::Embedded) {
        eprintln!("skipped: {why}");
        return;
    }
    let server = Server::start(Backend::Embedded, APISERVER);
    server.ok_with(&["create", "-f", "-"], CONFIG_MAP);
    server.ok(&["get", "configmaps"]);
    server.ok(&["get", "configmaps", "--watch", "--request-timeout", "1s"]);
    let object = r#"apiserver_storage_objects{resource="configmaps"}"#;
    server.until("a second passes", |server| {
        server.ok(&["get", "--raw", "/metrics"]).contains("apiserver_current_inflight_requests{")
    });
    let metrics = server.ok(&["get", "--raw", "/metrics"]);
    assert!(metrics.contains(object), "{metrics}");
    for (name, help, kind) in FAMILIES {
        assert!(metrics.contains(&format!("# HELP {name} {help}")), "{name}: {metrics}");
        assert!(metrics.contains(&format!("# TYPE {name} {kind}\n")), "{name}: {metrics}");
    }
    let created = r#"apiserver_request_total{code="201",component="apiserver",dry_run="",group="",resource="configmaps",scope="resource",subresource="",verb="POST",version="v1"}"#;
    assert!(metrics.contains(created), "{metrics}");
    promtool(&metrics);
}

#[test]
fn one_process_tells_of_all_its_components() {
    if let Some(why) = missing(Backend::Embedded) {
        eprintln!("skipped: {why}");
        return;
    }
    let server = Server::start(Backend::Embedded, "apiserver,controllers,scheduler");
    // Made by a controller through the client of this process.
    server.until("the default account is there", |server| {
        server.kubectl(&["get", "serviceaccount", "default"]).status.success()
    });
    server.until("queues and scheduler are told", |server| {
        let metrics = server.ok(&["get", "--raw", "/metrics"]);
        [
            "workqueue_unfinished_work_seconds{name=\"",
            "workqueue_longest_running_processor_seconds{name=\"",
            "rest_client_requests_total{code=\"201\",host=\"in-process\",method=\"POST\"}",
            "rest_client_request_duration_seconds_count{host=\"in-process\",verb=\"POST\"}",
            "scheduler_pending_pods{queue=\"gated\"} 0\n",
            "scheduler_cache_size{type=\"nodes\"} 0\n",
        ]
        .iter()
        .all(|series| metrics.contains(series))
    });
    promtool(&server.ok(&["get", "--raw", "/metrics"]));
}

/// `promtool check metrics`, where it is installed: no duplicates, no family without HELP or TYPE. What it has to say about names
/// is about upstream's.
pub(crate) fn promtool(metrics: &str) {
    let started = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = started else {
        eprintln!("skipped: promtool is not installed");
        return;
    };
    child.stdin.take().expect("it is piped").write_all(metrics.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let told = text(&output.stderr) + &text(&output.stdout);
    assert!(!told.contains("error while linting"), "{told}");
    let of_names =
        ["counter metrics should have", "non-counter metrics should not have", "metric names should not"];
    let others: Vec<&str> =
        told.lines().filter(|line| !of_names.iter().any(|known| line.contains(known))).collect();
    assert!(others.is_empty(), "{others:#?}");
}
