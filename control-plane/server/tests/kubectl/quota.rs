//! ResourceQuota as a user sees it: what is over is refused, what goes is given back.

use crate::support::{Backend, Server, missing, text};

const QUOTA: &str = r#"
apiVersion: v1
kind: ResourceQuota
metadata: {name: small}
spec:
  hard: {pods: "1", requests.cpu: "2", secrets: "1", count/deployments.apps: "1", services.nodeports: "1"}
"#;

fn pod(name: &str, cpu: &str) -> String {
    format!(
        r#"{{"apiVersion": "v1", "kind": "Pod", "metadata": {{"name": "{name}"}}, "spec": {{"containers":
        [{{"name": "c", "image": "busybox", "resources": {{"requests": {{"cpu": "{cpu}"}}}}}}]}}}}"#
    )
}

/// Until the quota says so; the controller writes it.
fn await_used(server: &Server, name: &str, amount: &str) {
    let path = format!("jsonpath={{.status.used.{}}}={amount}", name.replace('.', "\\."));
    server.ok(&["wait", "quota/small", &format!("--for={path}"), "--timeout=30s"]);
}

#[test]
fn a_quota_bounds_its_namespace_and_gives_back_what_goes() {
    if let Some(why) = missing(Backend::Embedded) {
        eprintln!("skipped: {why}");
        return;
    }
    let server = Server::start(Backend::Embedded, "apiserver,controllers");
    server.ok(&["wait", "sa/default", "--for=jsonpath={.metadata.name}=default", "--timeout=30s"]);
    server.ok(&["create", "secret", "generic", "before"]);
    server.ok_with(&["create", "-f", "-"], QUOTA);
    await_used(&server, "secrets", "1");
    let said = server.refused(&["create", "secret", "generic", "second"]);
    assert!(
        said.contains("exceeded quota: small, requested: secrets=1, used: secrets=1, limited: secrets=1"),
        "{said}"
    );
    let said = server.refused_with(&["create", "-f", "-"], &pod("p", "3"));
    assert!(
        said.contains("requested: requests.cpu=3, used: requests.cpu=0, limited: requests.cpu=2"),
        "{said}"
    );
    let said = server.refused(&["run", "q", "--image=busybox"]);
    assert!(said.contains("failed quota: small: must specify requests.cpu for: q"), "{said}");
    server.ok_with(&["create", "--dry-run=server", "-f", "-"], &pod("p", "1"));
    server.ok_with(&["create", "-f", "-"], &pod("p", "1500m"));
    let table = server.ok(&["get", "quota", "small"]);
    assert!(table.contains("pods: 1/1, requests.cpu: 1500m/2"), "{table}");
    let said = server.refused_with(&["create", "-f", "-"], &pod("r", "100m"));
    assert!(said.contains("pods \"r\" is forbidden: exceeded quota: small, requested: pods=1"), "{said}");
    server.ok(&["delete", "pod", "p", "--grace-period=0", "--force"]);
    await_used(&server, "pods", "0");
    server.ok_with(&["create", "-f", "-"], &pod("r", "100m"));
    server.ok(&["create", "deployment", "web", "--image=busybox"]);
    let said = server.refused(&["create", "deployment", "more", "--image=busybox"]);
    assert!(said.contains("requested: count/deployments.apps=1"), "{said}");
    server.ok(&["create", "service", "clusterip", "web", "--tcp=80"]);
    server.ok(&["patch", "service", "web", "-p", r#"{"spec":{"type":"NodePort"}}"#]);
    await_used(&server, "services.nodeports", "1");
    let said = server.refused(&["create", "service", "nodeport", "more", "--tcp=80"]);
    assert!(said.contains("requested: services.nodeports=1"), "{said}");
    server.ok(&["delete", "secret", "before"]);
    await_used(&server, "secrets", "0");
    server.ok(&["patch", "quota", "small", "--type=merge", "-p", r#"{"spec":{"hard":{"secrets":"0"}}}"#]);
    server.ok(&["wait", "quota/small", "--for=jsonpath={.status.hard.secrets}=0", "--timeout=30s"]);
    let wrong = QUOTA.replace("pods:", "dogs:").replace("small", "wrong");
    let said = server.refused_with(&["create", "-f", "-"], &wrong);
    assert!(
        said.contains("spec.hard[dogs]: Invalid value: \"dogs\": must be a standard resource for quota"),
        "{said}"
    );
    let events = text(&server.kubectl(&["describe", "quota", "small"]).stdout);
    assert!(events.contains("services.nodeports"), "{events}");
}

#[test]
fn two_requests_at_once_never_both_take_the_last() {
    if let Some(why) = missing(Backend::Embedded) {
        eprintln!("skipped: {why}");
        return;
    }
    let server = Server::start(Backend::Embedded, "apiserver,controllers");
    server.ok_with(&["create", "-f", "-"], &QUOTA.replace("secrets: \"1\"", "secrets: \"3\""));
    server.ok(&["wait", "quota/small", "--for=jsonpath={.status.hard.secrets}=3", "--timeout=30s"]);
    let made = std::thread::scope(|scope| {
        let all: Vec<_> = (0..8)
            .map(|n| {
                let server = &server;
                scope.spawn(move || {
                    server.kubectl(&["create", "secret", "generic", &format!("s{n}")]).status.success()
                })
            })
            .collect();
        all.into_iter().map(|one| one.join().expect("kubectl ran")).filter(|ok| *ok).count()
    });
    assert_eq!(made, 3);
    assert_eq!(server.ok(&["get", "secrets", "-o", "name"]).lines().count(), 3);
}
