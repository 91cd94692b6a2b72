//! A Deployment keeps its number of pods, whatever happens to them.

use anyhow::{Context, Result, ensure};
use keelson_tests::{Namespace, PATIENCE, api, eventually, manifest};

#[test]
fn three_then_five_are_exactly_three_then_five() -> Result<()> {
    let namespace = Namespace::create("deployments")?;
    let recording = api::record(&namespace.path("pods"))?;
    namespace.apply_all(&[manifest::deployment("web", 3, manifest::answering("$HOSTNAME"))])?;
    namespace.ready_pods("app=web", 3)?;
    namespace.kubectl("scale deployment web --replicas=5")?;
    namespace.ready_pods("app=web", 5)?;
    eventually(PATIENCE, "the Deployment counts five", || {
        let status = namespace.get("apps/v1/deployments/web")?["status"].take();
        ensure!(status["replicas"] == 5 && status["availableReplicas"] == 5, "{status}");
        Ok(())
    })?;
    let (made, gone) = (recording.names("ADDED")?, recording.names("DELETED")?);
    ensure!(made.len() == 5 && gone.is_empty(), "made {made:?}, deleted {gone:?}");
    ensure!(made.iter().all(|name| name.starts_with("web-")), "{made:?}");
    namespace.kubectl("scale deployment web --replicas=1")?;
    namespace.ready_pods("app=web", 1)?;
    let made = recording.names("ADDED")?;
    ensure!(made.len() == 5, "scaling down made pods: {made:?}");
    Ok(())
}

#[test]
fn a_deleted_pod_is_replaced() -> Result<()> {
    let namespace = Namespace::create("deployments")?;
    namespace.apply_all(&[manifest::deployment("web", 3, manifest::answering("$HOSTNAME"))])?;
    let pods = namespace.ready_pods("app=web", 3)?;
    let victim = pods[0]["metadata"]["name"].as_str().context("every pod has a name")?.to_string();
    namespace.kubectl(&format!("delete pod {victim}"))?;
    let after = namespace.ready_pods("app=web", 3)?;
    let kept =
        after.iter().filter(|pod| pods.iter().any(|old| old["metadata"]["uid"] == pod["metadata"]["uid"]));
    ensure!(kept.count() == 2, "one pod was deleted, the other two are to stay");
    Ok(())
}

#[test]
fn pods_go_with_their_deployment() -> Result<()> {
    let namespace = Namespace::create("deployments")?;
    namespace.apply_all(&[manifest::deployment("web", 2, manifest::answering("$HOSTNAME"))])?;
    namespace.ready_pods("app=web", 2)?;
    namespace.kubectl("delete deployment web --wait=false")?;
    eventually(PATIENCE, "ReplicaSets and pods are collected", || {
        let pods = namespace.list("pods", "app=web")?.len();
        let sets = namespace.list("apps/v1/replicasets", "app=web")?.len();
        ensure!(pods == 0 && sets == 0, "{pods} pods and {sets} ReplicaSets are left");
        Ok(())
    })
}

#[test]
fn orphaned_pods_stay() -> Result<()> {
    let namespace = Namespace::create("deployments")?;
    namespace.apply_all(&[manifest::deployment("web", 2, manifest::answering("$HOSTNAME"))])?;
    let before = namespace.ready_pods("app=web", 2)?;
    namespace.kubectl("delete deployment web --cascade=orphan")?;
    let set = eventually(PATIENCE, "the ReplicaSet has no owner", || {
        let sets = namespace.list("apps/v1/replicasets", "app=web")?;
        ensure!(sets.len() == 1 && sets[0]["metadata"]["ownerReferences"].is_null(), "{sets:?}");
        Ok(sets[0]["metadata"]["name"].as_str().unwrap_or_default().to_string())
    })?;
    namespace.kubectl(&format!("delete replicaset {set} --cascade=orphan"))?;
    let after = namespace.ready_pods("app=web", 2)?;
    let uid = |pod: &serde_json::Value| pod["metadata"]["uid"].clone();
    ensure!(after.iter().all(|pod| before.iter().any(|old| uid(old) == uid(pod))), "pods were replaced");
    ensure!(after.iter().all(|pod| pod["metadata"]["ownerReferences"].is_null()), "pods still have an owner");
    Ok(())
}

#[test]
fn a_namespace_goes_with_everything_in_it() -> Result<()> {
    let namespace = Namespace::create("deployments")?;
    namespace.apply_all(&[
        manifest::deployment("web", 2, manifest::answering("$HOSTNAME")),
        manifest::service("web", "web"),
    ])?;
    namespace.ready_pods("app=web", 2)?;
    let pods = namespace.path("pods");
    namespace.delete_and_wait(PATIENCE)?;
    ensure!(api::list(&pods)?.is_empty(), "pods outlive their namespace");
    Ok(())
}
