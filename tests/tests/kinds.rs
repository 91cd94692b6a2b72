//! Kinds whose rules hold on a cluster, by what a pod meets: limits of a namespace.

use anyhow::{Result, ensure};
use keelson_tests::Namespace;
use serde_json::json;

#[test]
fn a_namespaces_limits_are_given_and_held() -> Result<()> {
    let namespace = Namespace::create("kinds")?;
    let range = json!({
        "apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "bounds"},
        "spec": {"limits": [{"type": "Container", "default": {"memory": "64Mi"}, "max": {"memory": "128Mi"}}]},
    });
    namespace.apply(&range.to_string())?;
    namespace.kubectl("run small --image=busybox --restart=Never -- sleep 1000")?;
    let asked = namespace.get("pods/small")?["spec"]["containers"][0]["resources"].take();
    ensure!(asked == json!({"limits": {"memory": "64Mi"}, "requests": {"memory": "64Mi"}}), "{asked}");
    let large = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "large"},
        "spec": {"containers": [{"name": "c", "image": "busybox", "resources": {"limits": {"memory": "1Gi"}}}]},
    });
    let said = namespace.refused("create -f -", Some(&large.to_string()))?;
    ensure!(said.contains("maximum memory usage per Container is 128Mi, but limit is 1Gi"), "{said}");
    Ok(())
}
