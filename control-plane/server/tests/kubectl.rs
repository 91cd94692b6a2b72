//! The API server by itself, on both stores, as kubectl sees it: no scheduler, no controller, no node.

#[path = "kubectl/aggregation.rs"]
mod aggregation;
#[path = "kubectl/anonymous.rs"]
mod anonymous;
#[path = "kubectl/apart.rs"]
mod apart;
#[path = "kubectl/apply.rs"]
mod apply;
#[path = "kubectl/audit.rs"]
mod audit;
#[path = "kubectl/authorization.rs"]
mod authorization;
#[path = "kubectl/bootstrap.rs"]
mod bootstrap;
#[path = "kubectl/certificates.rs"]
mod certificates;
#[path = "kubectl/conversion.rs"]
mod conversion;
#[path = "kubectl/custom.rs"]
mod custom;
#[path = "kubectl/health.rs"]
mod health;
#[path = "kubectl/kinds.rs"]
mod kinds;
#[path = "kubectl/metrics.rs"]
mod metrics;
#[path = "kubectl/pod_security.rs"]
mod pod_security;
#[path = "kubectl/policies.rs"]
mod policies;
#[path = "kubectl/quota.rs"]
mod quota;
#[path = "kubectl/renewal.rs"]
mod renewal;
#[path = "kubectl/services.rs"]
mod services;
#[path = "kubectl/storage.rs"]
mod storage;
#[path = "kubectl/stores.rs"]
mod stores;
mod support;
#[path = "kubectl/webhooks.rs"]
mod webhooks;

use std::io::{BufRead, BufReader};
use support::{Backend, Server, missing, text};

const APISERVER: &str = "apiserver";

const CONFIG_MAP: &str = r"
apiVersion: v1
kind: ConfigMap
metadata:
  name: settings
  labels: {app: web}
data:
  color: blue
  size: '10'
";

const DEPLOYMENT: &str = r"
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: nginx
        image: nginx:1
        ports: [{containerPort: 80}]
";

const POD: &str = r"
apiVersion: v1
kind: Pod
metadata:
  name: nginx
  labels: {app: nginx}
spec:
  containers:
  - name: nginx
    image: nginx:1
    ports: [{containerPort: 80}]
";

const SERVICE_ACCOUNT: &str = r"
apiVersion: v1
kind: ServiceAccount
metadata: {name: default}
";

/// Makes a test on each store.
macro_rules! on_both_stores {
    ($($name:ident),* $(,)?) => {
        mod embedded {
            $(#[test] fn $name() { super::run(super::Backend::Embedded, super::$name) })*
        }
        mod etcd {
            $(#[test] fn $name() { super::run(super::Backend::Etcd, super::$name) })*
        }
    };
}

on_both_stores!(
    objects_are_created_read_changed_and_deleted,
    three_kinds_of_patch_work,
    apply_diff_and_replace_work,
    what_is_wrong_is_refused_with_its_field,
    discovery_and_explain_name_every_kind,
    a_watch_sees_each_change,
    rbac_decides_for_users,
    service_accounts_get_tokens_that_work,
    nothing_is_lost_when_the_server_is_killed,
    lists_are_selected_and_paged,
    services_get_addresses,
);

fn run(backend: Backend, test: fn(&mut Server)) {
    if let Some(why) = missing(backend) {
        eprintln!("skipped: {why}");
        return;
    }
    test(&mut Server::start(backend, APISERVER));
}

fn objects_are_created_read_changed_and_deleted(server: &mut Server) {
    assert!(server.ok_with(&["create", "-f", "-"], CONFIG_MAP).contains("configmap/settings created"));
    assert!(server.ok(&["get", "configmap", "settings"]).contains("DATA"));
    assert!(server.ok(&["get", "cm", "settings", "-o", "wide"]).contains("settings"));
    assert!(server.ok(&["get", "cm", "settings", "-o", "yaml"]).contains("size: \"10\""));
    assert_eq!(server.ok(&["get", "cm", "settings", "-o", "jsonpath={.data.color}"]), "blue");
    assert!(server.ok(&["describe", "cm", "settings"]).contains("blue"));
    server.ok(&["label", "cm", "settings", "tier=front"]);
    server.ok(&["annotate", "cm", "settings", "note=x"]);
    assert_eq!(server.ok(&["get", "cm", "-l", "tier=front", "-o", "name"]).trim(), "configmap/settings");
    server.ok(&["delete", "cm", "settings"]);
    assert!(server.refused(&["get", "cm", "settings"]).contains("configmaps \"settings\" not found"));
    server.ok(&["create", "namespace", "other"]);
    assert!(server.ok(&["get", "ns"]).contains("kube-system"));
    server.ok_with(&["apply", "-f", "-"], DEPLOYMENT);
    let table = server.ok(&["get", "deployments", "-A"]);
    assert!(table.contains("UP-TO-DATE") && table.contains("0/3"), "{table}");
    server.ok(&["scale", "deployment", "web", "--replicas", "5"]);
    assert_eq!(server.ok(&["get", "deploy", "web", "-o", "jsonpath={.spec.replicas}"]), "5");
    server.ok(&["set", "image", "deployment/web", "nginx=nginx:2"]);
    assert!(server.ok(&["describe", "deployment", "web"]).contains("nginx:2"));
}

fn three_kinds_of_patch_work(server: &mut Server) {
    server.ok_with(&["create", "-f", "-"], DEPLOYMENT);
    let image = ["get", "deploy", "web", "-o", "jsonpath={.spec.template.spec.containers[*].image}"];
    server.ok(&[
        "patch",
        "deploy",
        "web",
        "-p",
        r#"{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"side:1"}]}}}}"#,
    ]);
    let images = server.ok(&image);
    assert!(images.contains("side:1") && images.contains("nginx:1"), "{images}");
    server.ok(&[
        "patch",
        "deploy",
        "web",
        "--type",
        "json",
        "-p",
        r#"[{"op":"replace","path":"/spec/replicas","value":2}]"#,
    ]);
    server.ok(&[
        "patch",
        "deploy",
        "web",
        "--type",
        "merge",
        "-p",
        r#"{"spec":{"template":{"spec":{"containers":[{"name":"only","image":"only:1"}]}}}}"#,
    ]);
    assert_eq!(server.ok(&image), "only:1");
    assert_eq!(server.ok(&["get", "deploy", "web", "-o", "jsonpath={.spec.replicas}"]), "2");
}

fn apply_diff_and_replace_work(server: &mut Server) {
    assert!(server.ok_with(&["apply", "-f", "-"], CONFIG_MAP).contains("created"));
    assert!(server.ok_with(&["apply", "-f", "-"], CONFIG_MAP).contains("unchanged"));
    let red = CONFIG_MAP.replace("blue", "red");
    assert!(server.ok_with(&["apply", "-f", "-"], &red).contains("configured"));
    assert_eq!(server.ok(&["get", "cm", "settings", "-o", "jsonpath={.data.color}"]), "red");
    let gone = red.replace("  size: '10'\n", "");
    server.ok_with(&["apply", "-f", "-"], &gone);
    assert_eq!(server.ok(&["get", "cm", "settings", "-o", "jsonpath={.data.size}"]), "");
    let diff = server.run_with(&["diff", "-f", "-"], CONFIG_MAP);
    assert_eq!(diff.status.code(), Some(1), "{}", text(&diff.stderr));
    assert!(text(&diff.stdout).contains("blue"), "{}", text(&diff.stdout));
    let dry = server.ok_with(&["apply", "--dry-run=server", "-f", "-"], CONFIG_MAP);
    assert!(dry.contains("server dry run"), "{dry}");
    assert_eq!(server.ok(&["get", "cm", "settings", "-o", "jsonpath={.data.color}"]), "red");
    server.ok_with(&["replace", "-f", "-"], CONFIG_MAP);
    assert_eq!(server.ok(&["get", "cm", "settings", "-o", "jsonpath={.data.color}"]), "blue");
}

fn what_is_wrong_is_refused_with_its_field(server: &mut Server) {
    let unknown = POD.replace("image: nginx:1", "image: nginx:1\n    imagine: 1");
    let said = server.refused_with(&["create", "-f", "-"], &unknown);
    assert!(said.contains(r#"unknown field "spec.containers[0].imagine""#), "{said}");
    let wrong = POD.replace("containerPort: 80", "containerPort: eighty");
    let said = server.refused_with(&["create", "-f", "-"], &wrong);
    assert!(said.contains("containerPort") || said.contains("cannot unmarshal"), "{said}");
    let name = CONFIG_MAP.replace("name: settings", "name: Settings_");
    let said = server.refused_with(&["create", "-f", "-"], &name);
    assert!(said.contains("metadata.name: Invalid value: \"Settings_\""), "{said}");
    let version = CONFIG_MAP.replace("apiVersion: v1", "apiVersion: v7");
    let said = server.refused_with(&["create", "-f", "-"], &version);
    assert!(said.contains("no matches for kind \"ConfigMap\" in version \"v7\""), "{said}");
    let said = server.refused_with(&["create", "-n", "nowhere", "-f", "-"], CONFIG_MAP);
    assert!(said.contains("namespaces \"nowhere\" not found"), "{said}");
    server.ok_with(&["create", "-f", "-"], CONFIG_MAP);
    let said = server.refused_with(&["create", "-f", "-"], CONFIG_MAP);
    assert!(said.contains("configmaps \"settings\" already exists"), "{said}");
    server.ok_with(&["create", "-f", "-"], DEPLOYMENT);
    let said = server.refused_with(&["replace", "-f", "-"], &DEPLOYMENT.replace("app: web", "app: other"));
    assert!(said.contains("field is immutable"), "{said}");
    let stale = CONFIG_MAP.replace("name: settings", "name: settings\n  resourceVersion: '1'");
    let said = server.refused_with(&["replace", "-f", "-"], &stale);
    assert!(said.contains("the object has been modified"), "{said}");
}

fn discovery_and_explain_name_every_kind(server: &mut Server) {
    let resources = server.ok(&["api-resources"]);
    for word in ["configmaps", "deployments", "endpointslices", "rolebindings", "leases", "priorityclasses"] {
        assert!(resources.contains(word), "{word} in {resources}");
    }
    assert!(server.ok(&["api-versions"]).contains("apps/v1"));
    let explained = server.ok(&["explain", "pod.spec.containers.image"]);
    assert!(explained.contains("Container image name"), "{explained}");
    assert!(server.ok(&["explain", "deployment.spec.strategy"]).contains("rollingUpdate"));
    // As older ones do, from OpenAPI v2 in protobuf.
    let older = server.ok(&["explain", "pod.spec.containers.image", "--output=plaintext-openapiv2"]);
    assert!(older.contains("Container image name"), "{older}");
    let jobs = server.ok(&["explain", "cronjobs", "--output=plaintext-openapiv2"]);
    assert!(jobs.contains("a single cron job"), "{jobs}");
    assert!(server.ok(&["version"]).contains("Server Version: v1.36"));
    assert!(server.ok(&["cluster-info"]).contains("is running"));
    assert!(server.ok(&["get", "--raw", "/livez?verbose"]).contains("livez check passed"));
    assert!(server.ok(&["get", "--raw", "/metrics"]).contains("apiserver_request_total"));
}

fn a_watch_sees_each_change(server: &mut Server) {
    let mut watch = server.spawn(&[
        "get",
        "cm",
        "-w",
        "--output-watch-events",
        "-o",
        "jsonpath={.type} {.object.metadata.name} {.object.data.color}{\"\\n\"}",
    ]);
    let mut lines = BufReader::new(watch.stdout.take().expect("it is piped")).lines();
    let mut next = || lines.next().expect("the watch goes on").expect("it is text");
    server.ok_with(&["create", "-f", "-"], CONFIG_MAP);
    // What a controller would put into the namespace is not there: the configmap is the first event.
    assert_eq!(next(), "ADDED settings blue");
    server.ok(&["patch", "cm", "settings", "-p", r#"{"data":{"color":"red"}}"#]);
    assert_eq!(next(), "MODIFIED settings red");
    server.ok(&["delete", "cm", "settings"]);
    assert_eq!(next(), "DELETED settings red");
    watch.kill().expect("it was running");
    watch.wait().expect("it was running");
    server.ok_with(&["create", "-f", "-"], CONFIG_MAP);
    server.ok(&["wait", "cm/settings", "--for=jsonpath={.data.color}=blue", "--timeout=10s"]);
    server.ok(&["delete", "cm", "settings", "--wait=true"]);
}

fn rbac_decides_for_users(server: &mut Server) {
    let jane = server.user("jane");
    let as_jane = |args: &[&str]| {
        let mut all = vec!["--kubeconfig", jane.as_str()];
        all.extend(args);
        server.kubectl(&all)
    };
    let said = text(&as_jane(&["get", "cm"]).stderr);
    assert!(
        said.contains(r#"configmaps is forbidden: User "jane" cannot list resource "configmaps" in API group "" in the namespace "default""#),
        "{said}"
    );
    server.ok(&["create", "rolebinding", "jane", "--clusterrole=view", "--user=jane"]);
    server.ok(&["create", "clusterrole", "reader", "--verb=get,list", "--resource=configmaps"]);
    server.ok(&["create", "rolebinding", "jane-reads", "--clusterrole=reader", "--user=jane"]);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !as_jane(&["get", "cm"]).status.success() {
        assert!(std::time::Instant::now() < deadline, "the binding has no effect");
    }
    assert_eq!(text(&as_jane(&["auth", "can-i", "list", "configmaps"]).stdout).trim(), "yes");
    assert_eq!(text(&as_jane(&["auth", "can-i", "delete", "configmaps"]).stdout).trim(), "no");
    assert!(text(&as_jane(&["auth", "whoami"]).stdout).contains("jane"));
    assert_eq!(
        text(&server.kubectl(&["auth", "can-i", "create", "pods", "--as", "jane"]).stdout).trim(),
        "no"
    );
    assert!(text(&as_jane(&["auth", "can-i", "--list"]).stdout).contains("configmaps"));
}

fn service_accounts_get_tokens_that_work(server: &mut Server) {
    server.ok(&["create", "serviceaccount", "robot"]);
    let token = server.ok(&["create", "token", "robot"]).trim().to_owned();
    assert_eq!(token.split('.').count(), 3, "{token}");
    let empty = server.path("empty.conf").display().to_string();
    std::fs::write(&empty, "").expect("it is our folder");
    let config: serde_json::Value =
        serde_json::from_str(&server.ok(&["config", "view", "--raw", "-o", "json"])).expect("it is JSON");
    let url = config["clusters"][0]["cluster"]["server"].as_str().expect("it has a server").to_owned();
    let whoami = |token: &str| {
        let ca = server.path("pki/ca.crt").display().to_string();
        server.kubectl(&[
            "--kubeconfig",
            &empty,
            "--server",
            &url,
            "--certificate-authority",
            &ca,
            "--token",
            token,
            "auth",
            "whoami",
        ])
    };
    assert!(text(&whoami(&token).stdout).contains("system:serviceaccount:default:robot"));
    let forged = format!("{token}x");
    assert!(
        text(&whoami(&forged).stderr).contains("must be logged in")
            || text(&whoami(&forged).stderr).contains("Unauthorized")
    );
}

fn nothing_is_lost_when_the_server_is_killed(server: &mut Server) {
    for index in 0..20 {
        server.ok(&["create", "configmap", &format!("c{index}"), &format!("--from-literal=n={index}")]);
    }
    let version = server.ok(&["get", "cm", "c19", "-o", "jsonpath={.metadata.resourceVersion}"]);
    server.kill_and_restart();
    assert_eq!(server.ok(&["get", "cm", "-o", "name"]).lines().count(), 20);
    assert_eq!(server.ok(&["get", "cm", "c19", "-o", "jsonpath={.metadata.resourceVersion}"]), version);
    server.ok(&["create", "configmap", "after"]);
}

fn lists_are_selected_and_paged(server: &mut Server) {
    for index in 0..7 {
        server.ok(&["create", "configmap", &format!("c{index}")]);
    }
    let paged = server.ok(&["get", "cm", "--chunk-size=2", "-o", "name"]);
    assert_eq!(paged.lines().count(), 7, "{paged}");
    let first = server.ok(&["get", "--raw", "/api/v1/namespaces/default/configmaps?limit=3"]);
    assert!(first.contains(r#""remainingItemCount":4"#) && first.contains(r#""continue":"#), "{first}");
    assert_eq!(
        server.ok(&["get", "cm", "--field-selector", "metadata.name=c3", "-o", "name"]).trim(),
        "configmap/c3"
    );
    let said = server.refused(&["get", "cm", "--field-selector", "spec.x=1"]);
    assert!(said.contains("not a known field selector"), "{said}");
    let said = server.refused(&["get", "--raw", "/api/v1/configmaps?shardSelector=x"]);
    assert!(said.contains("shardSelector"), "{said}");
}

fn services_get_addresses(server: &mut Server) {
    let address = ["get", "svc", "kubernetes", "-o", "jsonpath={.spec.clusterIP}"];
    assert_eq!(server.ok(&address), "10.96.0.1");
    assert!(server.ok(&["get", "endpointslices", "kubernetes"]).contains("127.0.0.1"));
    server.ok_with(&["apply", "-f", "-"], SERVICE_ACCOUNT);
    server.ok_with(&["create", "-f", "-"], POD);
    server.ok(&["expose", "pod", "nginx", "--port", "80"]);
    let address = server.ok(&["get", "svc", "nginx", "-o", "jsonpath={.spec.clusterIP}"]);
    assert!(address.starts_with("10.96."), "{address}");
    assert!(server.ok(&["get", "svc", "nginx"]).contains("ClusterIP"));
}
