//! Server-side apply beside the controllers, the kubelet and a scaler: who owns which fields of what runs.
//!
//! What kubectl and the API server alone show of it (conflicts, force, dry runs, differences, the way from client-side
//! apply) is tested with the server, in `control-plane/server`.

use anyhow::{Context, Result, ensure};
use keelson_tests::{Namespace, api, eventually, kubectl, manifest, wait::PATIENCE};
use serde_json::{Value, json};

/// `manager operation subresource` of each entry, sorted.
fn managers(object: &Value) -> Vec<String> {
    let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    let words = entries.map(|entry| {
        let word = |key: &str| entry[key].as_str().unwrap_or_default();
        [word("manager"), word("operation"), word("subresource")].join(" ").trim().to_string()
    });
    let mut found: Vec<String> = words.collect();
    found.sort();
    found
}

/// The fields that an entry names.
fn fields<'a>(object: &'a Value, manager: &str, subresource: &str) -> Result<&'a Value> {
    let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    let mut named = entries.filter(|entry| {
        entry["manager"] == manager && entry["subresource"].as_str().unwrap_or_default() == subresource
    });
    Ok(&named.next().with_context(|| format!("{manager} owns nothing of {object}"))?["fieldsV1"])
}

fn apply(namespace: &Namespace, object: &Value, more: &str) -> Result<kubectl::Answer> {
    namespace.answer(&format!("apply --server-side -f - {more}"), Some(&object.to_string()))
}

fn applied(namespace: &Namespace, object: &Value, more: &str) -> Result<()> {
    let answer = apply(namespace, object, more)?;
    ensure!(answer.code == Some(0) && answer.stdout.contains("serverside-applied"), "{answer:?}");
    Ok(())
}

#[test]
fn everybody_owns_what_he_wrote() -> Result<()> {
    let namespace = Namespace::create("apply")?;
    let web = manifest::deployment("web", 1, manifest::answering("x"));
    applied(&namespace, &web, "")?;
    let pods = namespace.ready_pods("app=web", 1)?;
    let deployment = eventually(PATIENCE, "the controller has told of the pod", || {
        let deployment = namespace.get("apps/v1/deployments/web")?;
        ensure!(deployment["status"]["readyReplicas"] == 1, "its status is {}", deployment["status"]);
        Ok(deployment)
    })?;
    let ours = fields(&deployment, "kubectl", "")?;
    ensure!(ours["f:spec"]["f:replicas"] == json!({}), "{ours}");
    ensure!(ours["f:spec"].get("f:progressDeadlineSeconds").is_none(), "a default is nobody's: {ours}");
    let theirs = fields(&deployment, "kube-controller-manager", "status")?;
    ensure!(theirs["f:status"]["f:readyReplicas"] == json!({}), "{theirs}");
    let pod = fields(&pods[0], "kube-controller-manager", "")?;
    ensure!(pod["f:spec"]["f:containers"].is_object() && pod["f:spec"].get("f:nodeName").is_none(), "{pod}");
    let kubelets = fields(&pods[0], "kubelet", "status")?;
    ensure!(kubelets["f:status"]["f:podIP"] == json!({}), "{kubelets}");
    let node = pods[0]["spec"]["nodeName"].as_str().context("a pod on a node")?;
    let lease = api::get(&format!("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{node}"))?;
    ensure!(managers(&lease) == ["kubelet Update"], "{lease}");
    // What is seen of all that by who does not ask: nothing.
    ensure!(!namespace.kubectl("get deployment web -o yaml")?.contains("managedFields"));
    ensure!(
        namespace.kubectl("get deployment web -o yaml --show-managed-fields")?.contains("f:readyReplicas")
    );
    Ok(())
}

#[test]
fn a_scaler_takes_over_the_replicas_and_the_pods_follow() -> Result<()> {
    let namespace = Namespace::create("apply")?;
    let mut web = manifest::deployment("web", 1, manifest::answering("x"));
    applied(&namespace, &web, "")?;
    namespace.ready_pods("app=web", 1)?;
    let path = namespace.path("apps/v1/deployments/web/scale?fieldManager=scaler");
    let scaled = api::send("PATCH", &path, "application/merge-patch+json", r#"{"spec":{"replicas":2}}"#)?;
    ensure!(scaled.code == 200, "{scaled:?}");
    let refused = apply(&namespace, &web, "")?;
    ensure!(refused.code == Some(1), "{refused:?}");
    let expected = "conflict with \"scaler\" with subresource \"scale\" using apps/v1: .spec.replicas";
    ensure!(refused.stderr.contains(expected), "{refused:?}");
    web["spec"].as_object_mut().context("a spec")?.remove("replicas");
    applied(&namespace, &web, "")?;
    namespace.ready_pods("app=web", 2)?;
    // Who removes a container by applying without it, removes it from the pods.
    web["spec"]["template"]["metadata"]["labels"]["new"] = json!("yes");
    applied(&namespace, &web, "")?;
    namespace.ready_pods("app=web,new=yes", 2)?;
    web["spec"]["template"]["metadata"]["labels"].as_object_mut().context("labels")?.remove("new");
    applied(&namespace, &web, "")?;
    eventually(PATIENCE, "no pod has the label that is applied no longer", || {
        let labelled = namespace.list("pods", "app=web,new=yes")?;
        ensure!(labelled.is_empty(), "{} have it", labelled.len());
        Ok(())
    })?;
    Ok(())
}

#[test]
fn what_a_client_put_there_goes_over_to_server_side_apply() -> Result<()> {
    let namespace = Namespace::create("apply")?;
    let map = |data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": data});
    namespace.apply(&map(json!({"a": "1", "b": "2"})).to_string())?;
    ensure!(managers(&namespace.get("configmaps/one")?) == ["kubectl-client-side-apply Update"]);
    applied(&namespace, &map(json!({"a": "2"})), "")?;
    let one = namespace.get("configmaps/one")?;
    ensure!(one["data"] == json!({"a": "2"}), "{one}");
    let who = managers(&one);
    ensure!(who.contains(&"kubectl Apply".to_string()), "{who:?}");
    ensure!(!who.contains(&"kubectl-client-side-apply Update".to_string()), "{who:?}");
    let other = apply(&namespace, &map(json!({"a": "3"})), "--field-manager=other")?;
    ensure!(
        other.code == Some(1) && other.stderr.contains("conflict with \"kubectl\": .data.a"),
        "{other:?}"
    );
    applied(&namespace, &map(json!({"a": "3"})), "--field-manager=other --force-conflicts")?;
    let dry = apply(&namespace, &map(json!({"a": "9"})), "--field-manager=other --dry-run=server")?;
    ensure!(dry.code == Some(0) && namespace.get("configmaps/one")?["data"]["a"] == "3", "{dry:?}");
    Ok(())
}
