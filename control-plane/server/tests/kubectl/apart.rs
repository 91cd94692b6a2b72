//! Scheduler and controllers without an API server in their process: what each shows at a port of its own, and to whom.

use crate::{
    APISERVER,
    metrics::promtool,
    support::{Backend, Server, component::Component, missing, text},
};
use std::process::Command;

const POD: &str =
    "apiVersion: v1\nkind: Pod\nmetadata: {name: waits}\nspec: {containers: [{name: c, image: i}]}\n";

fn metrics_of(server: &Server, component: &Component) -> String {
    server.ok(&["--server", &component.url(), "get", "--raw", "/metrics"])
}

#[test]
fn a_scheduler_apart_tells_of_itself_to_whom_the_api_server_lets() {
    if let Some(why) = missing(Backend::Embedded) {
        eprintln!("skipped: {why}");
        return;
    }
    let server = Server::start(Backend::Embedded, APISERVER);
    let own = server.user("system:kube-scheduler");
    let (cert, key) = (server.path("pki/apiserver.crt"), server.path("pki/apiserver.key"));
    let (cert, key) = (cert.display().to_string(), key.display().to_string());
    let tls = ["--leader-elect", "true", "--tls-cert-file", &cert, "--tls-private-key-file", &key];
    let scheduler = server.component("scheduler", &own, &tls);
    let at = scheduler.url();
    server.until("the scheduler is ready", |server| {
        let told = server.kubectl(&["--server", &at, "get", "--raw", "/readyz?verbose"]);
        let told = text(&told.stdout);
        ["ping", "leaderElection", "sched-handler-sync", "shutdown"]
            .iter()
            .all(|check| told.contains(&format!("[+]{check} ok\n")))
    });
    server.until("it leads", |server| {
        metrics_of(server, &scheduler).contains("leader_election_master_status{name=\"kube-scheduler\"} 1\n")
    });
    server.ok(&["create", "serviceaccount", "default"]);
    server.ok_with(&["create", "-f", "-"], POD);
    server.until("the pod waits for a node", |server| {
        let metrics = metrics_of(server, &scheduler);
        metrics.contains("scheduler_pending_pods{queue=\"unschedulable\"} 1\n")
            && metrics.contains("scheduler_schedule_attempts_total{profile=\"default-scheduler\",result=\"unschedulable\"} 1\n")
    });
    let metrics = metrics_of(&server, &scheduler);
    let host = server.url().replace("https://", "");
    for family in [
        "# TYPE scheduler_scheduling_attempt_duration_seconds histogram\n",
        "# TYPE scheduler_queue_incoming_pods_total counter\n",
        "# TYPE kubernetes_healthcheck gauge\n",
        "# TYPE process_resident_memory_bytes gauge\n",
        &format!("rest_client_requests_total{{code=\"200\",host=\"{host}\",method=\"GET\"}}"),
    ] {
        assert!(metrics.contains(family), "{family}: {metrics}");
    }
    promtool(&metrics);
    let configuration = server.ok(&["--server", &at, "get", "--raw", "/configz"]);
    assert!(configuration.contains(r#""ResourceName":"kube-scheduler""#), "{configuration}");

    // Whoever the API server knows may do what the API server says.
    let jane = server.user("jane");
    let refused = server.refused(&["--kubeconfig", &jane, "--server", &at, "get", "--raw", "/metrics"]);
    assert!(refused.contains("Forbidden"), "{refused}");
    server.ok(&["create", "serviceaccount", "scraper"]);
    let binding = ["create", "clusterrolebinding", "scraper", "--clusterrole", "system:monitoring"];
    server.ok(&[&binding[..], &["--serviceaccount", "default:scraper"]].concat());
    let token = server.ok(&["create", "token", "scraper"]);
    let scraper = server.bearer("scraper", token.trim());
    server.ok(&["--kubeconfig", &scraper, "--server", &at, "get", "--raw", "/metrics"]);
    let refused = server.refused(&["--kubeconfig", &scraper, "--server", &at, "get", "--raw", "/configz"]);
    assert!(refused.contains("Forbidden"), "{refused}");
    let forged = server.bearer("forged", "forged");
    let unknown = server.refused(&["--kubeconfig", &forged, "--server", &at, "get", "--raw", "/metrics"]);
    assert!(unknown.contains("Unauthorized") || unknown.contains("logged in"), "{unknown}");
}

#[test]
fn controllers_apart_show_their_health_to_everybody_with_a_certificate_of_their_own() {
    if let Some(why) = missing(Backend::Embedded) {
        eprintln!("skipped: {why}");
        return;
    }
    let server = Server::start(Backend::Embedded, APISERVER);
    let controllers = server.component("controllers", &server.user("system:kube-controller-manager"), &[]);
    // The code, then the body.
    let get = |path: &str| {
        let answer = Command::new("curl")
            .args(["-s", "--insecure", "--max-time", "10", "-w", "\n%{http_code}"])
            .arg(format!("{}{path}", controllers.url()))
            .output();
        text(&answer.expect("curl runs").stdout)
    };
    for path in ["/healthz", "/livez", "/readyz"] {
        server.until(path, |_| get(path) == "ok\n200");
    }
    let refused = get("/metrics");
    assert!(
        refused.contains("User \\\"system:anonymous\\\" cannot get path") && refused.ends_with("403"),
        "{refused}"
    );
}
