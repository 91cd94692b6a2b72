//! `/readyz` and its kin as an operator sees them, and what becomes of them when the server goes.

use crate::{
    APISERVER,
    support::{Backend, Server, missing},
};

#[test]
fn an_operator_sees_each_check() {
    if let Some(why) = missing(Backend::Embedded) {
        eprintln!("skipped: {why}");
        return;
    }
    let server = Server::start(Backend::Embedded, APISERVER);
    let all = server.ok(&["get", "--raw", "/readyz?verbose"]);
    for check in [
        "ping",
        "log",
        "etcd",
        "etcd-readiness",
        "informer-sync",
        "poststarthook/rbac/bootstrap-roles",
        "poststarthook/scheduling/bootstrap-system-priority-classes",
        "poststarthook/bootstrap-controller",
        "poststarthook/kube-apiserver-autoregistration",
        "autoregister-completion",
        "poststarthook/generic-apiserver-start-informers",
        "poststarthook/storage-object-count-tracker-hook",
        "poststarthook/start-apiextensions-informers",
        "poststarthook/start-apiextensions-controllers",
        "poststarthook/crd-informer-synced",
        "poststarthook/start-kubernetes-service-cidr-controller",
        "poststarthook/start-service-ip-repair-controllers",
        "poststarthook/aggregator-reload-proxy-client-cert",
        "poststarthook/start-kube-aggregator-informers",
        "poststarthook/apiservice-status-local-available-controller",
        "poststarthook/apiservice-status-remote-available-controller",
        "poststarthook/apiservice-registration-controller",
        "poststarthook/apiservice-discovery-controller",
        "poststarthook/apiservice-openapi-controller",
        "poststarthook/apiservice-openapiv3-controller",
        "shutdown",
    ] {
        assert!(all.contains(&format!("[+]{check} ok\n")), "{check}: {all}");
    }
    assert!(all.ends_with("readyz check passed\n"), "{all}");
    let live = server.ok(&["get", "--raw", "/livez?verbose&exclude=etcd&exclude=nothing"]);
    assert!(live.contains("[+]etcd excluded: ok\n") && !live.contains("shutdown"), "{live}");
    let unknown = "warn: some health checks cannot be excluded: no matches for \"nothing\"\n";
    assert!(live.ends_with(&format!("{unknown}livez check passed\n")), "{live}");
    assert_eq!(server.ok(&["get", "--raw", "/livez/etcd"]), "ok");
    assert!(server.refused(&["get", "--raw", "/livez/nothing"]).contains("could not find the requested"));
    let slis = server.ok(&["get", "--raw", "/metrics/slis"]);
    assert!(slis.contains(r#"kubernetes_healthcheck{name="etcd",type="readyz"} 1"#), "{slis}");
}

#[test]
fn a_server_that_is_about_to_go_says_so_and_answers_on() {
    if let Some(why) = missing(Backend::Embedded) {
        eprintln!("skipped: {why}");
        return;
    }
    let delay = ["--shutdown-delay-duration", "3600s"];
    let mut server = Server::start_with(Backend::Embedded, APISERVER, &delay);
    server.signal();
    server.until("/readyz fails", |server| !server.kubectl(&["get", "--raw", "/readyz"]).status.success());
    let told = server.kubectl(&["get", "--raw", "/readyz"]);
    let told = crate::support::text(&told.stderr) + &crate::support::text(&told.stdout);
    assert!(told.contains("[-]shutdown failed: reason withheld"), "{told}");
    assert_eq!(server.ok(&["get", "--raw", "/livez"]), "ok");
    server.ok(&["create", "configmap", "late"]);
    // The second signal ends the wait.
    server.stop();
}
