//! PodSecurity as a user of kubectl meets it.

use crate::support::{Backend, Server, missing, text};

#[test]
fn a_namespaces_labels_bound_its_pods() {
    if let Some(why) = missing(Backend::Embedded) {
        eprintln!("skipped: {why}");
        return;
    }
    let server = Server::start(Backend::Embedded, "apiserver");
    server.ok(&["create", "serviceaccount", "default"]);
    server.ok(&["run", "early", "--image=busybox"]);
    let label =
        ["label", "namespace", "default", "--overwrite", "pod-security.kubernetes.io/enforce=restricted"];
    let dry = server.kubectl(&[&label[..], &["--dry-run=server"]].concat());
    let said = text(&dry.stderr);
    assert!(
        said.contains("existing pods in namespace \"default\" violate the new PodSecurity enforce level"),
        "{said}"
    );
    assert!(said.contains("early: allowPrivilegeEscalation != false, unrestricted capabilities, runAsNonRoot != true, seccompProfile"), "{said}");
    server.ok(&["run", "still", "--image=busybox"]);
    server.ok(&label);
    let said = server.refused(&["run", "late", "--image=busybox"]);
    assert!(
        said.contains(
            "pods \"late\" is forbidden: violates PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false \
             (container \"late\" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities \
             (container \"late\" must set securityContext.capabilities.drop=[\"ALL\"]), runAsNonRoot != true (pod or \
             container \"late\" must set securityContext.runAsNonRoot=true), seccompProfile (pod or container \"late\" \
             must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"
        ),
        "{said}"
    );
    server.ok(&["label", "namespace", "default", "pod-security.kubernetes.io/warn=baseline"]);
    let privileged = r#"{"spec":{"template":{"spec":{"hostNetwork":true}}}}"#;
    server.ok(&["create", "deployment", "web", "--image=busybox"]);
    let warned = server.kubectl(&["patch", "deployment", "web", "-p", privileged]);
    let said = text(&warned.stderr);
    assert!(
        said.contains("would violate PodSecurity \"baseline:latest\": host namespaces (hostNetwork=true)"),
        "{said}"
    );
    let wrong = ["label", "namespace", "default", "pod-security.kubernetes.io/audit=strict"];
    let said = server.refused(&wrong);
    assert!(said.contains("must be one of privileged, baseline, restricted"), "{said}");
}
