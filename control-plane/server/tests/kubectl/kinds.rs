//! Every kind that is served, as kubectl knows it: listed, explained, created from its sample, shown in its columns.

use crate::support::{Backend, Server, missing};
use std::path::PathBuf;

/// Samples that the server itself, or a kind's own rules, keep from being made as they are: an address belongs to its
/// Service, tokens to the account, and what is in the namespace goes with it.
const NOT_MADE: &[&str] = &["events", "ipaddresses"];

/// kubectl 1.32 describes these by versions that were beta then.
const NOT_DESCRIBED: &[&str] = &["servicecidrs", "volumeattributesclasses"];

/// Resource, and the headings of its table.
const COLUMNS: &[(&str, &str)] = &[
    ("statefulsets", "NAME READY AGE CONTAINERS IMAGES"),
    (
        "daemonsets",
        "NAME DESIRED CURRENT READY UP-TO-DATE AVAILABLE NODE SELECTOR AGE CONTAINERS IMAGES SELECTOR",
    ),
    ("jobs", "NAME STATUS COMPLETIONS DURATION AGE CONTAINERS IMAGES SELECTOR"),
    ("cronjobs", "NAME SCHEDULE TIMEZONE SUSPEND ACTIVE LAST SCHEDULE AGE CONTAINERS IMAGES SELECTOR"),
    ("ingresses", "NAME CLASS HOSTS ADDRESS PORTS AGE"),
    ("ingressclasses", "NAME CONTROLLER PARAMETERS AGE"),
    ("poddisruptionbudgets", "NAME MIN AVAILABLE MAX UNAVAILABLE ALLOWED DISRUPTIONS AGE"),
    ("horizontalpodautoscalers", "NAME REFERENCE TARGETS MINPODS MAXPODS REPLICAS AGE"),
    ("replicationcontrollers", "NAME DESIRED CURRENT READY AGE CONTAINERS IMAGES SELECTOR"),
    ("podtemplates", "NAME CONTAINERS IMAGES POD LABELS"),
    ("limitranges", "NAME CREATED AT"),
    ("resourcequotas", "NAME REQUEST LIMIT AGE"),
    (
        "persistentvolumes",
        "NAME CAPACITY ACCESS MODES RECLAIM POLICY STATUS CLAIM STORAGECLASS VOLUMEATTRIBUTESCLASS REASON AGE VOLUMEMODE",
    ),
    ("certificatesigningrequests", "NAME AGE SIGNERNAME REQUESTOR REQUESTEDDURATION CONDITION"),
    ("volumeattachments", "NAME ATTACHER PV NODE ATTACHED AGE"),
    (
        "csidrivers",
        "NAME ATTACHREQUIRED PODINFOONMOUNT STORAGECAPACITY TOKENREQUESTS REQUIRESREPUBLISH MODES AGE",
    ),
    ("csinodes", "NAME DRIVERS AGE"),
    ("deviceclasses", "NAME AGE"),
    ("resourceclaims", "NAME STATE AGE"),
    ("resourceclaimtemplates", "NAME AGE"),
    ("resourceslices", "NAME NODE DRIVER POOL AGE"),
    ("flowschemas", "NAME PRIORITYLEVEL MATCHINGPRECEDENCE DISTINGUISHERMETHOD AGE MISSINGPL"),
    (
        "prioritylevelconfigurations",
        "NAME TYPE NOMINALCONCURRENCYSHARES QUEUES HANDSIZE QUEUELENGTHLIMIT AGE",
    ),
    ("csistoragecapacities", "NAME STORAGECLASSNAME CAPACITY"),
    ("volumeattributesclasses", "NAME DRIVERNAME AGE"),
];

#[test]
fn kubectl_knows_every_kind() {
    if let Some(why) = missing(Backend::Embedded) {
        eprintln!("skipped: {why}");
        return;
    }
    let server = Server::start(Backend::Embedded, "apiserver");
    let listed = server.ok(&["api-resources", "--no-headers", "-o", "name"]);
    server.ok(&["create", "serviceaccount", "default"]);
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../registry/fixtures");
    let mut samples: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("there are samples")
        .map(|file| file.expect("it is there").path())
        .collect();
    samples.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    // What has a class comes after the class.
    samples.sort();
    for path in samples {
        let stem = path.file_stem().and_then(|stem| stem.to_str()).expect("a name").trim_end_matches(".v2");
        let (group, plural) = stem.rsplit_once('.').unwrap_or(("", stem));
        let name = if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") };
        assert!(listed.lines().any(|line| line == name), "{name} in {listed}");
        let text = std::fs::read_to_string(&path).expect("it can be read");
        let object = text.split("\n---\n").next().expect("splitting gives at least one part");
        let version = object.lines().next().and_then(|line| line.strip_prefix("apiVersion: "));
        let version = version.expect("a sample begins with its version");
        let explained = server.ok(&["explain", plural, "--api-version", version]);
        assert!(explained.contains("FIELDS"), "{explained}");
        // Of the two versions of one object the second would find the first one's.
        if NOT_MADE.contains(&plural) || version == "autoscaling/v1" {
            continue;
        }
        server.ok_with(&["create", "-f", "-"], object);
        server.ok_with(&["apply", "-f", "-"], object);
        assert!(!server.ok(&["get", &name, "-o", "name"]).is_empty());
        if !NOT_DESCRIBED.contains(&plural) {
            assert!(server.ok_with(&["describe", "-f", "-"], object).contains("Name:"), "{name}");
        }
    }
    for (resource, headings) in COLUMNS {
        let table = server.ok(&["get", resource, "-o", "wide"]);
        let first = table.lines().next().unwrap_or_default();
        let shown: Vec<&str> = first.split_whitespace().collect();
        assert_eq!(shown.join(" "), *headings, "{table}");
    }
}

#[test]
fn a_pod_is_resized_by_its_subresource_alone() {
    if let Some(why) = missing(Backend::Embedded) {
        eprintln!("skipped: {why}");
        return;
    }
    let server = Server::start(Backend::Embedded, "apiserver");
    server.ok_with(&["create", "-f", "-"], crate::SERVICE_ACCOUNT);
    let pod = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {"containers": [
        {"name": "web", "image": "busybox", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}]}}"#;
    server.ok_with(&["create", "-f", "-"], pod);
    let patch = |cpu: &str| {
        format!(
            r#"{{"spec":{{"containers":[{{"name":"web","resources":{{"requests":{{"cpu":"{cpu}"}}}}}}]}}}}"#
        )
    };
    let refused = server.kubectl(&["patch", "pod", "web", "-p", &patch("2")]);
    let said = crate::support::text(&refused.stderr);
    assert!(
        !refused.status.success() && said.contains("pod updates may not change fields other than"),
        "{said}"
    );
    server.ok(&["patch", "pod", "web", "--subresource", "resize", "-p", &patch("2")]);
    let path = "jsonpath={.spec.containers[0].resources.requests.cpu} {.metadata.generation}";
    assert_eq!(server.ok(&["get", "pod", "web", "--subresource", "resize", "-o", path]), "2 2");
    let range = r#"{"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "most"}, "spec": {"limits": [
        {"type": "Pod", "max": {"cpu": "3"}}]}}"#;
    server.ok_with(&["create", "-f", "-"], range);
    let refused = server.kubectl(&["patch", "pod", "web", "--subresource", "resize", "-p", &patch("4")]);
    let said = crate::support::text(&refused.stderr);
    assert!(said.contains("maximum cpu usage per Pod is 3"), "{said}");
}

#[test]
fn kubectl_makes_what_its_own_commands_make() {
    if let Some(why) = missing(Backend::Embedded) {
        eprintln!("skipped: {why}");
        return;
    }
    let server = Server::start(Backend::Embedded, "apiserver");
    server.ok(&["create", "job", "once", "--image=busybox", "--", "true"]);
    server.ok(&["create", "cronjob", "often", "--image=busybox", "--schedule=*/5 * * * *", "--", "true"]);
    server.ok(&["create", "job", "now", "--from=cronjob/often"]);
    server.ok(&["create", "deployment", "web", "--image=busybox"]);
    server.ok(&["autoscale", "deployment", "web", "--max=3"]);
    assert!(server.ok(&["get", "hpa", "web"]).contains("Deployment/web"));
    server.ok(&["create", "poddisruptionbudget", "web", "--selector=app=web", "--min-available=1"]);
    server.ok(&["create", "ingress", "web", "--rule=web.example.com/*=web:80"]);
    assert!(server.ok(&["get", "ing", "web"]).contains("web.example.com"));
    let all = server.ok(&["get", "all"]);
    for name in
        ["job.batch/once", "job.batch/now", "cronjob.batch/often", "horizontalpodautoscaler.autoscaling/web"]
    {
        assert!(all.contains(name), "{name} in {all}");
    }
    let warned = server.kubectl(&["create", "job", "warned", "--image=busybox"]);
    let said = crate::support::text(&warned.stderr);
    assert!(said.contains("jobs have no controller in this cluster yet"), "{said}");
}

#[test]
fn the_components_tell_how_they_are() {
    if let Some(why) = missing(Backend::Embedded) {
        eprintln!("skipped: {why}");
        return;
    }
    let alone = Server::start(Backend::Embedded, "apiserver");
    let asked = alone.kubectl(&["get", "componentstatuses"]);
    let (said, warned) = (crate::support::text(&asked.stdout), crate::support::text(&asked.stderr));
    assert!(warned.contains("v1 ComponentStatus is deprecated in v1.19+"), "{warned}");
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let rows: Vec<Vec<String>> = said.lines().map(words).collect();
    assert_eq!(rows[0], ["NAME", "STATUS", "MESSAGE", "ERROR"]);
    assert_eq!(rows[2], ["etcd-0", "Healthy", "ok"]);
    for (row, name) in [(1, "controller-manager"), (3, "scheduler")] {
        assert_eq!(rows[row][..2], [name, "Unhealthy"], "{said}");
    }
    // As long as somebody renews its Lease it lives, wherever it is.
    let lease = |at: &str| {
        format!(
            r#"{{"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {{"name": "kube-scheduler", "namespace": "kube-system"}},
                "spec": {{"holderIdentity": "a", "leaseDurationSeconds": 15, "renewTime": "{at}"}}}}"#
        )
    };
    let state = |name: &str| alone.ok(&["get", "cs", name, "-o", "jsonpath={.conditions[0].status}"]);
    alone.ok_with(&["apply", "-f", "-"], &lease("2999-01-01T00:00:00.000000Z"));
    assert_eq!(state("scheduler"), "True");
    alone.ok_with(&["apply", "-f", "-"], &lease("2020-01-01T00:00:00.000000Z"));
    assert_eq!(state("scheduler"), "False");
    let whole = Server::start(Backend::Embedded, "apiserver,controllers,scheduler");
    let said = whole.ok(&["get", "componentstatuses", "--no-headers"]);
    assert_eq!(said.lines().filter(|line| words(line)[1] == "Healthy").count(), 3, "{said}");
}
