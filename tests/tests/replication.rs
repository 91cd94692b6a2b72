//! A ReplicationController keeps its number of pods, as kubectl and the garbage collector expect of it.

use anyhow::{Context, Result, ensure};
use keelson_tests::{Namespace, PATIENCE, eventually, manifest};
use serde_json::{Value, json};

/// Of nginx, labelled `app: <name>`.
fn controller(name: &str, replicas: u32) -> Value {
    let deployment = manifest::deployment(name, replicas, manifest::answering("$HOSTNAME"));
    let template = deployment["spec"]["template"].clone();
    json!({
        "apiVersion": "v1", "kind": "ReplicationController",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"replicas": replicas, "template": template},
    })
}

fn owner(pod: &Value) -> &Value {
    &pod["metadata"]["ownerReferences"][0]
}

#[test]
fn it_scales_adopts_and_lets_go() -> Result<()> {
    let namespace = Namespace::create("replication")?;
    let mut orphan = manifest::shell("orphan");
    orphan["metadata"]["labels"]["app"] = "web".into();
    namespace.apply_all(&[orphan])?;
    namespace.ready("orphan")?;
    namespace.apply_all(&[controller("web", 2)])?;
    let pods = namespace.ready_pods("app=web", 2)?;
    let adopted = namespace.get("pods/orphan")?;
    ensure!(
        owner(&adopted)["kind"] == "ReplicationController" && owner(&adopted)["name"] == "web",
        "{adopted}"
    );
    ensure!(pods.iter().all(|pod| owner(pod)["controller"] == true), "{pods:?}");

    namespace.kubectl("label pod orphan app=else --overwrite")?;
    namespace.ready_pods("app=web", 2)?;
    eventually(PATIENCE, "the pod is nobody's", || {
        let pod = namespace.get("pods/orphan")?;
        ensure!(pod["metadata"]["ownerReferences"].is_null(), "{pod}");
        Ok(())
    })?;

    namespace.kubectl("scale rc web --replicas=3")?;
    namespace.ready_pods("app=web", 3)?;
    eventually(PATIENCE, "the status counts three", || {
        let status = namespace.get("replicationcontrollers/web")?["status"].take();
        ensure!(status["readyReplicas"] == 3 && status["availableReplicas"] == 3, "{status}");
        ensure!(status["fullyLabeledReplicas"] == 3 && status["terminatingReplicas"].is_null(), "{status}");
        Ok(())
    })?;
    let described = namespace.kubectl("describe rc web")?;
    ensure!(described.contains("3 Running / 0 Waiting"), "{described}");
    ensure!(
        described.contains("SuccessfulCreate") && described.contains("replication-controller"),
        "{described}"
    );
    Ok(())
}

#[test]
fn its_pods_go_with_it_or_stay_as_was_asked() -> Result<()> {
    let namespace = Namespace::create("replication")?;
    namespace.apply_all(&[controller("goes", 2), controller("first", 2), controller("stays", 1)])?;
    for (app, number) in [("goes", 2), ("first", 2), ("stays", 1)] {
        namespace.ready_pods(&format!("app={app}"), number)?;
    }
    namespace.kubectl("delete rc goes --wait=false")?;
    namespace.kubectl("delete rc stays --cascade=orphan")?;
    // Foreground: once the controller is gone, so are its pods.
    namespace.kubectl("delete rc first --cascade=foreground")?;
    let left = namespace.list("pods", "app=first")?;
    ensure!(left.is_empty(), "{left:?}");
    eventually(PATIENCE, "its pods are collected", || {
        let pods = namespace.list("pods", "app=goes")?;
        ensure!(pods.is_empty(), "{} pods are left", pods.len());
        Ok(())
    })?;
    let kept = namespace.ready_pods("app=stays", 1)?;
    ensure!(owner(&kept[0]).is_null(), "{kept:?}");
    Ok(())
}

#[test]
fn what_a_quota_refuses_is_a_condition_until_there_is_room() -> Result<()> {
    let namespace = Namespace::create("replication")?;
    namespace.kubectl("create quota pods --hard=pods=1")?;
    eventually(PATIENCE, "the quota is in force", || {
        let quota = namespace.get("resourcequotas/pods")?;
        quota["status"]["hard"]["pods"].as_str().map(drop).with_context(|| quota.to_string())
    })?;
    namespace.apply_all(&[controller("web", 2)])?;
    let failure = || -> Result<Option<Value>> {
        let controller = namespace.get("replicationcontrollers/web")?;
        let conditions = controller["status"]["conditions"].as_array().cloned().unwrap_or_default();
        Ok(conditions.into_iter().find(|condition| condition["type"] == "ReplicaFailure"))
    };
    let told = eventually(PATIENCE, "the failure is told", || failure()?.context("no condition"))?;
    ensure!(told["reason"] == "FailedCreate", "{told}");
    ensure!(told["message"].as_str().is_some_and(|text| text.contains("exceeded quota: pods")), "{told}");
    namespace.kubectl("scale rc web --replicas=1")?;
    eventually(PATIENCE, "the condition goes", || {
        let condition = failure()?;
        ensure!(condition.is_none(), "{condition:?}");
        Ok(())
    })?;
    Ok(())
}
