//! Kinds whose rules hold on a cluster, each by what a pod meets: limits of a namespace, evictions and their budgets.

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

#[test]
fn an_eviction_asks_the_budget() -> Result<()> {
    let namespace = Namespace::create("kinds")?;
    for name in ["guarded", "free"] {
        namespace.kubectl(&format!("run {name} --image=busybox --labels=app={name} -- sleep 1000"))?;
    }
    namespace.kubectl("wait pod --all --for=condition=Ready --timeout=60s")?;
    namespace.kubectl("create poddisruptionbudget guarded --selector=app=guarded --min-available=1")?;
    let evict = |name: &str| {
        let body = json!({
            "apiVersion": "policy/v1", "kind": "Eviction",
            "metadata": {"name": name}, "deleteOptions": {"gracePeriodSeconds": 1},
        });
        let path = namespace.path(&format!("pods/{name}/eviction"));
        namespace.answer(&format!("create --raw {path} -f -"), Some(&body.to_string()))
    };
    let kept = evict("guarded")?;
    ensure!(kept.code != Some(0) && kept.stderr.contains("disruption budget"), "{kept:?}");
    let gone = evict("free")?;
    ensure!(gone.code == Some(0), "{gone:?}");
    namespace.kubectl("wait pod free --for=delete --timeout=60s")?;
    ensure!(namespace.get("pods/guarded")?["metadata"]["deletionTimestamp"].is_null());
    Ok(())
}
