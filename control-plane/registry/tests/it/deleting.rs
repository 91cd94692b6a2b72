//! Deletion: grace, finalizers, preconditions, propagation.

use crate::fixture::{config_map, deployment, fixture, pod};
use keelson_registry::{DeleteOptions, ListOptions, Preconditions, Propagation};
use serde_json::{Value, json};

fn grace(seconds: i64) -> DeleteOptions {
    DeleteOptions { grace_period_s: Some(seconds), ..DeleteOptions::default() }
}

#[tokio::test]
async fn a_plain_object_goes_at_once_and_a_status_tells() {
    let f = fixture().await;
    let made = f.made("configmaps", config_map("a")).await;
    let deleted = f.delete("configmaps", "a", DeleteOptions::default()).await.expect("it is there");
    assert!(deleted.gone);
    let body = deleted.body.to_value();
    assert_eq!((&body["status"], &body["details"]["uid"]), (&json!("Success"), &made["metadata"]["uid"]));
    let status =
        f.delete("configmaps", "a", DeleteOptions::default()).await.map(|_| ()).expect_err("it is gone");
    assert_eq!(status.message, "configmaps \"a\" not found");
}

#[tokio::test]
async fn finalizers_hold_an_object_until_the_last_is_gone() {
    let f = fixture().await;
    let mut body = config_map("a");
    body["metadata"]["finalizers"] = json!(["example.com/x", "example.com/y"]);
    f.made("configmaps", body).await;
    let deleted = f.delete("configmaps", "a", DeleteOptions::default()).await.expect("it is there");
    assert!(!deleted.gone);
    let marked = f.get("configmaps", "a").await.expect("it is held");
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 0);
    let add = json!({"metadata": {"finalizers": ["example.com/x", "example.com/y", "example.com/z"]}});
    let status = f.patch("configmaps", "a", None, add).await.expect_err("none can be added");
    assert!(
        status.message.contains("no new finalizers can be added if the object is being deleted"),
        "{status}"
    );
    let one = json!({"metadata": {"finalizers": ["example.com/y"]}});
    f.patch("configmaps", "a", None, one).await.expect("valid");
    f.patch("configmaps", "a", None, json!({"metadata": {"finalizers": null}})).await.expect("valid");
    assert_eq!(f.get("configmaps", "a").await.map_err(|status| status.code), Err(404));
}

#[tokio::test]
async fn preconditions_are_kept() {
    let f = fixture().await;
    let made = f.made("configmaps", config_map("a")).await;
    let with = |uid: Option<&str>, version: Option<&str>| DeleteOptions {
        preconditions: Preconditions {
            uid: uid.map(str::to_owned),
            resource_version: version.map(str::to_owned),
        },
        ..DeleteOptions::default()
    };
    for options in [with(Some("other"), None), with(None, Some("1234"))] {
        let status = f.delete("configmaps", "a", options).await.map(|_| ()).expect_err("it does not hold");
        assert_eq!(status.code, 409);
        assert!(status.message.contains("Precondition failed"), "{status}");
    }
    let (uid, version) = (made["metadata"]["uid"].as_str(), made["metadata"]["resourceVersion"].as_str());
    f.delete("configmaps", "a", with(uid, version)).await.expect("both hold");
}

#[tokio::test]
async fn the_policy_chooses_the_collectors_finalizer() {
    let f = fixture().await;
    for (policy, finalizer) in
        [(Propagation::Foreground, "foregroundDeletion"), (Propagation::Orphan, "orphan")]
    {
        f.made("deployments", deployment(finalizer.to_lowercase().as_str())).await;
        let options = DeleteOptions { propagation: Some(policy), ..DeleteOptions::default() };
        let name = finalizer.to_lowercase();
        let deleted = f.delete("deployments", &name, options).await.expect("it is there");
        let object = deleted.body.to_value();
        assert_eq!(object["metadata"]["finalizers"], json!([finalizer]));
        assert_eq!(object["metadata"]["generation"], 2);
    }
    f.made("deployments", deployment("plain")).await;
    assert!(f.delete("deployments", "plain", DeleteOptions::default()).await.expect("it is there").gone);
}

async fn bound(f: &crate::fixture::Fixture, name: &str) {
    let mut body = pod(name);
    body["spec"]["nodeName"] = json!("n");
    f.made("pods", body).await;
}

#[tokio::test]
async fn a_running_pod_goes_after_its_grace_or_when_the_node_says_so() {
    let f = fixture().await;
    bound(&f, "a").await;
    let object = |deleted: keelson_registry::Deleted| deleted.body.to_value();
    let first = object(f.delete("pods", "a", DeleteOptions::default()).await.expect("it is there"));
    assert_eq!(first["metadata"]["deletionGracePeriodSeconds"], 30);
    let same = object(f.delete("pods", "a", grace(60)).await.expect("it is there"));
    assert_eq!(same["metadata"], first["metadata"], "a grace cannot be lengthened");
    let shorter = object(f.delete("pods", "a", grace(5)).await.expect("it is there"));
    assert_eq!(shorter["metadata"]["deletionGracePeriodSeconds"], 5);
    assert!(f.delete("pods", "a", grace(0)).await.expect("it is there").gone);
    assert_eq!(f.get("pods", "a").await.map_err(|status| status.code), Err(404));
}

#[tokio::test]
async fn a_pod_without_a_node_or_with_nothing_running_goes_at_once() {
    let f = fixture().await;
    f.made("pods", pod("a")).await;
    assert!(f.delete("pods", "a", DeleteOptions::default()).await.expect("it is there").gone);
    bound(&f, "b").await;
    f.patch("pods", "b", Some("status"), json!({"status": {"phase": "Succeeded"}})).await.expect("valid");
    assert!(f.delete("pods", "b", DeleteOptions::default()).await.expect("it is there").gone);
}

#[tokio::test]
async fn a_namespace_goes_when_it_is_finalized() {
    let f = fixture().await;
    let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}});
    let made = f.made("namespaces", body).await;
    assert_eq!(made["spec"]["finalizers"], json!(["kubernetes"]));
    assert_eq!(made["metadata"]["labels"]["kubernetes.io/metadata.name"], "n");
    let deleted = f.delete("namespaces", "n", DeleteOptions::default()).await.expect("it is there");
    let mut object = deleted.body.to_value();
    assert_eq!((deleted.gone, &object["status"]["phase"]), (false, &json!("Terminating")));
    assert!(object["metadata"].get("deletionGracePeriodSeconds").is_none(), "a namespace has no grace");
    object["spec"]["finalizers"] = json!([]);
    let kept = f.update("namespaces", None, object.clone()).await.expect("valid").body.to_value();
    assert_eq!(kept["spec"]["finalizers"], json!(["kubernetes"]), "only finalize writes them");
    f.update("namespaces", Some("finalize"), object).await.expect("valid");
    assert_eq!(f.get("namespaces", "n").await.map_err(|status| status.code), Err(404));
}

#[tokio::test]
async fn a_collection_is_what_a_list_selects() {
    let f = fixture().await;
    for (name, value) in [("a", "1"), ("b", "2"), ("c", "1")] {
        f.made("configmaps", crate::fixture::labelled(name, value)).await;
    }
    let list = ListOptions { label_selector: "l=1".to_owned(), ..ListOptions::default() };
    let kind = f.kind("configmaps");
    let options = DeleteOptions::default();
    let outcome = f.registry.delete_collection(&f.context, &kind, Some("ns"), &list, &options).await;
    assert_eq!(outcome.expect("valid").items.len(), 2);
    assert_eq!(f.names("configmaps", ListOptions::default()).await, ["b"]);
}

#[tokio::test]
async fn a_dry_run_deletes_nothing() {
    let f = fixture().await;
    f.made("configmaps", config_map("a")).await;
    let kind = f.kind("configmaps");
    let options = DeleteOptions::default();
    let deleted = f.registry.delete(&f.dry(), &kind, Some("ns"), "a", &options).await.expect("it would go");
    assert!(deleted.gone);
    assert_ne!(f.get("configmaps", "a").await, Ok(Value::Null));
}
