//! Claims that are in use stay until they are not.

use crate::support::{Backend, Server, missing};

const POD: &str = r#"{"apiVersion": "v1", "kind": "List", "items": [
    {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}},
    {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "user"}, "spec": {"nodeName": "n1",
        "tolerations": [{"operator": "Exists"}], "containers": [{"name": "c", "image": "busybox"}],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]}}]}"#;

fn claim(name: &str) -> String {
    format!(
        r#"{{"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {{"name": "{name}"}}, "spec":
        {{"accessModes": ["ReadWriteOnce"], "resources": {{"requests": {{"storage": "1Gi"}}}}}}}}"#
    )
}

#[test]
fn a_claim_stays_as_long_as_a_pod_uses_it() {
    if let Some(why) = missing(Backend::Embedded) {
        eprintln!("skipped: {why}");
        return;
    }
    let server = Server::start(Backend::Embedded, "apiserver,controllers");
    server.until("the ServiceAccount", |server| server.kubectl(&["get", "sa", "default"]).status.success());
    for object in [&claim("data"), &claim("idle"), POD] {
        server.ok_with(&["create", "-f", "-"], object);
    }
    let finalizers = ["get", "pvc", "data", "-o", "jsonpath={.metadata.finalizers[*]}"];
    assert_eq!(server.ok(&finalizers), "kubernetes.io/pvc-protection");
    server.ok(&["delete", "pvc", "data", "--wait=false"]);
    // Nobody uses it, and it is looked at after the other.
    server.ok(&["delete", "pvc", "idle", "--timeout=30s"]);
    let deleting = ["get", "pvc", "data", "-o", "jsonpath={.metadata.deletionTimestamp}"];
    assert_ne!(server.ok(&deleting), "");
    assert_eq!(server.ok(&finalizers), "kubernetes.io/pvc-protection");
    server.ok(&["delete", "pod", "user", "--force", "--grace-period=0"]);
    server.ok(&["wait", "--for=delete", "pvc/data", "--timeout=30s"]);
}
