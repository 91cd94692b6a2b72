//! Each check of each level, what it says, and what the labels make of it.

use serde_json::{Value, json};

use super::level::{Bound, Labels, Level, Mode};
use super::*;
use crate::testing::{Cluster, Request};

/// A pod that the restricted level admits, with changes merged into its spec and its one container.
fn pod(spec: Value, container: Value) -> Value {
    let mut pod = json!({
        "metadata": {"name": "p"},
        "spec": {
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "c", "image": "i", "securityContext": {
                "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}],
        },
    });
    merge(&mut pod["spec"], spec);
    merge(&mut pod["spec"]["containers"][0], container);
    pod
}

fn merge(to: &mut Value, from: Value) {
    match from {
        Value::Object(fields) if to.is_object() => {
            for (key, value) in fields {
                merge(&mut to[key], value);
            }
        }
        value => *to = value,
    }
}

fn said(level: Level, minor: Option<u32>, pod: &Value) -> String {
    in_full(&findings(Bound { level, minor }, &Subject::of_pod(pod)))
}

#[test]
fn every_check_of_the_baseline_level() {
    let context = |value: Value| json!({"securityContext": value});
    let none = || json!({});
    let rows = [
        (pod(none(), none()), ""),
        (
            pod(context(json!({"appArmorProfile": {"type": "Unconfined"}})), none()),
            "forbidden AppArmor profile (pod must not set AppArmor profile type to \"Unconfined\")",
        ),
        (
            pod(none(), context(json!({"capabilities": {"add": ["SYS_ADMIN", "CHOWN"]}}))),
            "non-default capabilities (container \"c\" must not include \"SYS_ADMIN\" in securityContext.capabilities.add)",
        ),
        (
            pod(json!({"hostNetwork": true, "hostIPC": true}), none()),
            "host namespaces (hostNetwork=true, hostIPC=true)",
        ),
        (
            pod(
                json!({"volumes": [{"name": "a", "hostPath": {"path": "/"}}, {"name": "b", "emptyDir": {}}]}),
                none(),
            ),
            "hostPath volumes (volume \"a\")",
        ),
        (
            pod(
                none(),
                json!({"ports": [{"containerPort": 80, "hostPort": 80}, {"containerPort": 81, "hostPort": 443}]}),
            ),
            "hostPort (container \"c\" uses hostPorts 443, 80)",
        ),
        (
            pod(none(), json!({"livenessProbe": {"httpGet": {"host": "h"}}})),
            "probe or lifecycle host (container \"c\" uses probe or lifecycle host \"h\")",
        ),
        (
            pod(none(), context(json!({"privileged": true}))),
            "privileged (container \"c\" must not set securityContext.privileged=true)",
        ),
        (
            pod(none(), context(json!({"procMount": "Unmasked"}))),
            "procMount (container \"c\" must not set securityContext.procMount to \"Unmasked\")",
        ),
        (pod(json!({"hostUsers": false}), context(json!({"procMount": "Unmasked"}))), ""),
        (
            pod(context(json!({"seLinuxOptions": {"type": "spc_t", "user": "u"}})), none()),
            "seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type \"spc_t\"; user may not be set)",
        ),
        (
            pod(context(json!({"seccompProfile": {"type": "Unconfined"}})), none()),
            "seccompProfile (pod must not set securityContext.seccompProfile.type to \"Unconfined\")",
        ),
        (
            pod(
                context(json!({"sysctls": [{"name": "kernel.msgmax"}, {"name": "net.ipv4.tcp_rmem"}]})),
                none(),
            ),
            "forbidden sysctls (kernel.msgmax)",
        ),
        (
            pod(context(json!({"windowsOptions": {"hostProcess": true}})), none()),
            "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)",
        ),
    ];
    for (pod, expected) in rows {
        assert_eq!(said(Level::Baseline, None, &pod), expected, "{pod}");
        assert_eq!(said(Level::Privileged, None, &pod), "");
    }
}

#[test]
fn every_check_of_the_restricted_level() {
    let context = |value: Value| json!({"securityContext": value});
    let none = || json!({});
    let rows = [
        (pod(none(), none()), ""),
        (
            pod(none(), context(json!({"allowPrivilegeEscalation": null}))),
            "allowPrivilegeEscalation != false (container \"c\" must set securityContext.allowPrivilegeEscalation=false)",
        ),
        (
            pod(none(), context(json!({"capabilities": {"drop": [], "add": ["CHOWN", "NET_BIND_SERVICE"]}}))),
            "unrestricted capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"]; container \
             \"c\" must not include \"CHOWN\" in securityContext.capabilities.add)",
        ),
        (
            pod(json!({"hostUsers": false}), context(json!({"procMount": "Unmasked"}))),
            "procMount (container \"c\" must not set securityContext.procMount to \"Unmasked\")",
        ),
        (
            pod(
                json!({"volumes": [{"name": "a", "hostPath": {}}, {"name": "b", "nfs": {}}, {"name": "c", "secret": {}}]}),
                none(),
            ),
            "restricted volume types (volumes \"a\", \"b\" use restricted volume types \"hostPath\", \"nfs\")",
        ),
        (
            pod(context(json!({"runAsNonRoot": null})), none()),
            "runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true)",
        ),
        (
            pod(none(), context(json!({"runAsNonRoot": false}))),
            "runAsNonRoot != true (container \"c\" must not set securityContext.runAsNonRoot=false)",
        ),
        (pod(context(json!({"runAsUser": 0})), none()), "runAsUser=0 (pod must not set runAsUser=0)"),
        (
            pod(
                json!({"hostUsers": false, "securityContext": {"runAsUser": 0, "runAsNonRoot": null}}),
                none(),
            ),
            "",
        ),
        (
            pod(context(json!({"seccompProfile": null})), none()),
            "seccompProfile (pod or container \"c\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")",
        ),
        (
            pod(none(), context(json!({"seccompProfile": {"type": "Unconfined"}}))),
            "seccompProfile (container \"c\" must not set securityContext.seccompProfile.type to \"Unconfined\")",
        ),
        (
            pod(
                json!({"os": {"name": "windows"}, "securityContext": {"seccompProfile": null}}),
                context(json!({"allowPrivilegeEscalation": null})),
            ),
            "",
        ),
    ];
    for (pod, expected) in rows {
        assert_eq!(said(Level::Restricted, None, &pod), expected, "{pod}");
    }
}

#[test]
fn a_pinned_version_is_judged_by_the_rules_of_its_time() {
    let probe = pod(json!({}), json!({"readinessProbe": {"tcpSocket": {"host": "h"}}}));
    let context = |value: Value| json!({"securityContext": value});
    let root = pod(context(json!({"runAsUser": 0})), json!({}));
    let escalating = pod(json!({}), context(json!({"allowPrivilegeEscalation": null})));
    let keepalive = pod(context(json!({"sysctls": [{"name": "net.ipv4.tcp_keepalive_time"}]})), json!({}));
    let unmasked = pod(json!({"hostUsers": false}), context(json!({"procMount": "Unmasked"})));
    let rows = [
        (Level::Baseline, 33, &probe, true),
        (Level::Baseline, 34, &probe, false),
        (Level::Restricted, 22, &root, true),
        (Level::Restricted, 23, &root, false),
        (Level::Restricted, 7, &escalating, true),
        (Level::Restricted, 8, &escalating, false),
        (Level::Baseline, 28, &keepalive, false),
        (Level::Baseline, 29, &keepalive, true),
        (Level::Baseline, 34, &unmasked, false),
        (Level::Baseline, 35, &unmasked, true),
    ];
    for (level, minor, pod, admitted) in rows {
        assert_eq!(said(level, Some(minor), pod).is_empty(), admitted, "{level:?} 1.{minor} {pod}");
    }
}

fn namespace(labels: &[(&str, &str)]) -> Value {
    let labels: serde_json::Map<String, Value> = labels
        .iter()
        .map(|(key, value)| (format!("pod-security.kubernetes.io/{key}"), json!(value)))
        .collect();
    json!({"metadata": {"name": "ns", "labels": labels}})
}

#[test]
fn labels_name_levels_and_versions_and_nonsense_is_found() {
    let rows = [
        (namespace(&[]), "\"privileged:latest\"", 0),
        (namespace(&[("enforce", "baseline")]), "\"baseline:latest\"", 0),
        (namespace(&[("enforce", "restricted"), ("enforce-version", "v1.25")]), "\"restricted:v1.25\"", 0),
        (namespace(&[("enforce", "strict"), ("enforce-version", "1.25")]), "\"restricted:latest\"", 2),
        (namespace(&[("warn", "x"), ("audit-version", "v1.01")]), "\"privileged:latest\"", 2),
    ];
    for (namespace, enforced, wrong) in rows {
        assert_eq!(Labels::of(&namespace).bound(Mode::Enforce).to_string(), enforced, "{namespace}");
        assert_eq!(Labels::wrong(&namespace).len(), wrong, "{namespace}");
    }
}

#[tokio::test]
async fn pods_are_refused_and_what_makes_them_is_warned_of() {
    let bare = || json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}], "hostPID": true}});
    let cluster = |labels: &[(&str, &str)]| Cluster::default().with(Wanted::Namespace, namespace(labels));
    let enforced = cluster(&[("enforce", "baseline")]);
    let refused =
        Request::create("", "pods", "ns", bare()).validate(&PodSecurity, &enforced).await.unwrap_err();
    assert_eq!(
        (refused.code, refused.message.as_str()),
        (
            403,
            "pods \"p\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces (hostPID=true)"
        )
    );
    let update = |image: &str| {
        let mut changed = bare();
        changed["spec"]["containers"][0]["image"] = json!(image);
        Request::create("", "pods", "ns", changed).update(bare())
    };
    assert!(update("i").validate(&PodSecurity, &enforced).await.is_ok(), "nothing of interest changes");
    for subresource in ["", "ephemeralcontainers", "resize"] {
        let request = update("other").at(subresource, "p");
        assert!(request.validate(&PodSecurity, &enforced).await.is_err(), "{subresource}");
    }
    assert!(update("other").at("status", "p").validate(&PodSecurity, &enforced).await.is_ok());
    assert!(Request::create("", "pods", "ns", bare()).validate(&PodSecurity, &cluster(&[])).await.is_ok());
    let template = json!({"metadata": {"name": "d"}, "spec": {"template": bare()}});
    for (labels, object, plural, group) in [
        (("enforce", "baseline"), template.clone(), "deployments", "apps"),
        (("warn", "baseline"), template, "deployments", "apps"),
        (("warn", "baseline"), bare(), "pods", ""),
    ] {
        let request = Request::create(group, plural, "ns", object);
        assert!(request.validate(&PodSecurity, &cluster(&[labels])).await.is_ok());
        let expected: &[&str] = match labels.0 {
            "warn" => &["would violate PodSecurity \"baseline:latest\": host namespaces (hostPID=true)"],
            _ => &[],
        };
        assert_eq!(request.warned(), expected);
    }
}

#[tokio::test]
async fn the_audit_log_learns_what_was_enforced_and_what_would_be_refused() {
    let bare = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}], "hostPID": true}});
    let (enforced, violations) = (ENFORCED.to_owned(), VIOLATIONS.to_owned());
    let violated = "would violate PodSecurity \"baseline:v1.30\": host namespaces (hostPID=true)".to_owned();
    let labels = [("enforce", "baseline"), ("audit", "baseline"), ("audit-version", "v1.30")];
    let template = json!({"metadata": {"name": "d"}, "spec": {"template": bare}});
    // labels, what is made, whether it is admitted, what is noted
    let rows = [
        (&labels[..0], "pods", &bare, true, vec![(&enforced, "privileged:latest".to_owned())]),
        (
            &labels[..],
            "pods",
            &bare,
            false,
            vec![(&violations, violated.clone()), (&enforced, "baseline:latest".to_owned())],
        ),
        (&labels[..], "deployments", &template, true, vec![(&violations, violated)]),
    ];
    for (labels, plural, object, admitted, noted) in rows {
        let cluster = Cluster::default().with(Wanted::Namespace, namespace(labels));
        let group = if plural == "pods" { "" } else { "apps" };
        let request = Request::create(group, plural, "ns", object.clone());
        assert_eq!(request.validate(&PodSecurity, &cluster).await.is_ok(), admitted, "{labels:?} {plural}");
        let wanted = noted.into_iter().map(|(key, value)| (key.clone(), value)).collect();
        assert_eq!(request.noted(), wanted, "{labels:?} {plural}");
    }
}

#[tokio::test]
async fn a_stricter_namespace_is_told_of_the_pods_it_has() {
    let running =
        |name: &str, spec: Value| json!({"metadata": {"namespace": "ns", "name": name}, "spec": spec});
    let cluster = Cluster::default()
        .with(Wanted::Pod, running("a", json!({"hostPID": true})))
        .with(Wanted::Pod, running("b", json!({"hostPID": true})))
        .with(Wanted::Pod, running("c", json!({})));
    let change = |from: &[(&str, &str)], to: &[(&str, &str)]| {
        Request::create("", "namespaces", "", namespace(to)).update(namespace(from))
    };
    let stricter = change(&[], &[("enforce", "baseline")]);
    assert!(stricter.validate(&PodSecurity, &cluster).await.is_ok());
    assert_eq!(
        stricter.warned(),
        [
            "existing pods in namespace \"ns\" violate the new PodSecurity enforce level \"baseline:latest\"",
            "a (and 1 other pod): host namespaces"
        ]
    );
    let laxer = change(&[("enforce", "restricted")], &[("enforce", "baseline")]);
    assert!(laxer.validate(&PodSecurity, &cluster).await.is_ok());
    assert!(laxer.warned().is_empty());
    let nonsense = change(&[], &[("enforce", "strict")]).validate(&PodSecurity, &cluster).await.unwrap_err();
    assert!(
        nonsense.message.contains("must be one of privileged, baseline, restricted"),
        "{}",
        nonsense.message
    );
    assert!(change(&[("warn", "x")], &[("warn", "y")]).validate(&PodSecurity, &cluster).await.is_ok());
}
