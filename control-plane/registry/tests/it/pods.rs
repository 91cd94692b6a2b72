//! Subresources that write a part of a pod: what of a request counts, whose it is, what it does to the generation.

use crate::fixture::{changed, fixture, owners, sample};
use keelson_registry::PatchType;
use serde_json::{Value, json};

fn debugger(name: &str) -> Value {
    json!({"name": name, "image": "busybox"})
}

#[tokio::test]
async fn ephemeral_containers_are_added_by_their_subresource_alone() {
    let f = fixture().await;
    let made = f.made("pods", sample("pods")).await;
    let (name, place) = (made["metadata"]["name"].as_str().expect("a name"), Some("ephemeralcontainers"));
    let with = |list: Value| changed(&made, &json!({"spec": {"ephemeralContainers": list}}));
    let status = f.update("pods", None, with(json!([debugger("a")]))).await.expect_err("not this way");
    assert!(status.message.contains("pod updates may not change fields other than"), "{status}");
    // All else that is said counts for nothing.
    let mut body = with(json!([debugger("a")]));
    body["metadata"]["labels"] = json!({"other": "1"});
    body["spec"]["containers"][0]["image"] = json!("other");
    let added = f.update("pods", place, body).await.expect("valid").body.to_value();
    let list = &added["spec"]["ephemeralContainers"];
    assert_eq!((&list[0]["name"], &list[0]["terminationMessagePolicy"]), (&json!("a"), &json!("File")));
    assert_eq!(added["metadata"]["labels"], made["metadata"]["labels"]);
    assert_eq!(added["spec"]["containers"], made["spec"]["containers"]);
    assert_eq!(added["metadata"]["generation"], json!(2));
    // A strategic patch, as kubectl debug sends it.
    let patch = json!({"spec": {"ephemeralContainers": [{"name": "b", "image": "i", "targetContainerName": "gone"}]}});
    let (me, form) = (f.by("kubectl-debug", 1), PatchType::Strategic);
    let status = f.patch_by(&me, "pods", name, place, form, patch).await.expect_err("no such target");
    assert!(status.message.contains("targetContainerName: Not found: \"gone\""), "{status}");
    let patch = json!({"metadata": {"labels": {"x": "y"}}, "spec": {"ephemeralContainers": [debugger("b")]}});
    let added = f.patch_by(&me, "pods", name, place, form, patch).await.expect("valid");
    assert_eq!(added["spec"]["ephemeralContainers"].as_array().map(Vec::len), Some(2));
    assert_eq!(added["metadata"]["generation"], json!(3));
    let mine =
        owners(&added).into_iter().find(|(who, _)| who.starts_with("kubectl-debug")).expect("an entry");
    assert_eq!(mine.0, "kubectl-debug Update v1 ephemeralcontainers");
    assert!(mine.1.get("f:metadata").is_none(), "what does not count is not his: {}", mine.1);
    let status = f.update("pods", place, made.clone()).await.expect_err("an old version");
    assert_eq!(status.code, 409, "{status}");
    let mut body = added.clone();
    body["spec"]["ephemeralContainers"] = json!([]);
    let status = f.update("pods", place, body).await.expect_err("none may go");
    assert!(status.message.contains("existing ephemeral containers \"a\" may not be removed"), "{status}");
}

#[tokio::test]
async fn ephemeral_containers_are_applied() {
    let f = fixture().await;
    let made = f.made("pods", sample("pods")).await;
    let config = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": made["metadata"]["name"], "labels": {"mine": "1"}},
        "spec": {"nodeName": "elsewhere", "ephemeralContainers": [debugger("a")]},
    });
    let (me, place) = (f.by("me", 1), Some("ephemeralcontainers"));
    let (_, applied) = f.apply(&me, "pods", place, &config, false).await.expect("valid");
    assert_eq!(applied["spec"]["ephemeralContainers"][0]["name"], "a");
    assert!(applied["metadata"]["labels"]["mine"].is_null() && applied["spec"]["nodeName"].is_null());
    let mine = owners(&applied).into_iter().find(|(who, _)| who.starts_with("me ")).expect("an entry");
    let fields = json!({".": {}, "f:name": {}, "f:image": {}});
    let expected = json!({"f:spec": {"f:ephemeralContainers": {"k:{\"name\":\"a\"}": fields}}});
    assert_eq!(mine, ("me Apply v1 ephemeralcontainers".to_owned(), expected));
}
