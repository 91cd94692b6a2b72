//! Subresources that write a part of a pod: what of a request counts, whose it is, what it does to the generation.

use crate::fixture::{changed, fixture, owners, refused, sample};
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

fn amounts(cpu: &str, memory: &str) -> Value {
    json!({"requests": {"cpu": cpu, "memory": memory}})
}

#[tokio::test]
async fn amounts_change_by_their_subresource_alone() {
    let f = fixture().await;
    let mut pod = sample("pods");
    pod["spec"]["containers"][0]["resources"] = amounts("1", "1Gi");
    let made = f.made("pods", pod).await;
    let (name, place) = (made["metadata"]["name"].as_str().expect("a name"), Some("resize"));
    let with = |resources: Value| {
        let mut body = made.clone();
        body["spec"]["containers"][0]["resources"] = resources;
        body
    };
    let status = f.update("pods", None, with(amounts("2", "1Gi"))).await.expect_err("not this way");
    assert!(status.message.contains("pod updates may not change fields other than"), "{status}");
    // All else that is said counts for nothing.
    let mut body = with(amounts("2", "1Gi"));
    body["metadata"]["labels"] = json!({"other": "1"});
    body["spec"]["containers"][0]["image"] = json!("other");
    let resized = f.update("pods", place, body).await.expect("valid").body.to_value();
    let container = &resized["spec"]["containers"][0];
    assert_eq!(
        (&container["resources"], &container["image"]),
        (&amounts("2", "1Gi"), &made["spec"]["containers"][0]["image"])
    );
    assert_eq!(resized["metadata"]["labels"], made["metadata"]["labels"]);
    assert_eq!(resized["metadata"]["generation"], json!(2));
    // As kubectl patch --subresource resize sends it. What is added is a limit.
    let limits = json!({"limits": {"cpu": "4"}});
    let patch = json!({"spec": {"containers": [{"name": container["name"], "resources": limits}]}});
    let (me, form) = (f.by("kubectl-patch", 1), PatchType::Strategic);
    let resized = f.patch_by(&me, "pods", name, place, form, patch).await.expect("valid");
    let expected = json!({"requests": {"cpu": "2", "memory": "1Gi"}, "limits": {"cpu": "4"}});
    assert_eq!(resized["spec"]["containers"][0]["resources"], expected);
    let mine =
        owners(&resized).into_iter().find(|(who, _)| who.starts_with("kubectl-patch")).expect("an entry");
    assert_eq!(mine.0, "kubectl-patch Update v1 resize");
    for (change, expected) in [
        (json!({"requests": {"memory": "1Gi"}}), "resource requests cannot be removed"),
        (
            json!({"requests": {"cpu": "2", "memory": "1Gi", "example.com/x": "1"}, "limits": {"cpu": "4", "example.com/x": "1"}}),
            "only cpu and memory resources are mutable",
        ),
        (
            json!({"requests": {"cpu": "4", "memory": "1Gi"}, "limits": {"cpu": "4", "memory": "1Gi"}}),
            "Pod QOS Class may not change as a result of resizing",
        ),
    ] {
        let status =
            f.update("pods", place, with_version(with(change.clone()), &resized)).await.expect_err("refused");
        assert!(status.code == 422 && status.message.contains(expected), "{change}: {status}");
    }
}

fn with_version(mut body: Value, of: &Value) -> Value {
    body["metadata"]["resourceVersion"] = of["metadata"]["resourceVersion"].clone();
    body
}

#[tokio::test]
async fn amounts_are_applied_and_belong_to_who_applies_them() {
    let f = fixture().await;
    let mut pod = sample("pods");
    pod["spec"]["containers"][0]["resources"] = amounts("1", "1Gi");
    let made = f.made("pods", pod).await;
    let container = json!({"name": made["spec"]["containers"][0]["name"], "image": "other", "resources": amounts("2", "2Gi")});
    let config = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": made["metadata"]["name"], "labels": {"mine": "1"}},
        "spec": {"containers": [container]},
    });
    let (me, place) = (f.by("me", 1), Some("resize"));
    let (_, applied) = f.apply(&me, "pods", place, &config, true).await.expect("valid");
    let container = &applied["spec"]["containers"][0];
    assert_eq!(
        (&container["resources"], &container["image"]),
        (&amounts("2", "2Gi"), &made["spec"]["containers"][0]["image"])
    );
    let mine = owners(&applied).into_iter().find(|(who, _)| who.starts_with("me ")).expect("an entry");
    assert_eq!(mine.0, "me Apply v1 resize");
    assert!(
        mine.1.to_string().contains("f:requests") && !mine.1.to_string().contains("f:image"),
        "{}",
        mine.1
    );
}

#[tokio::test]
async fn what_a_resize_does_to_a_container_is_checked() {
    let policy = |name: &str, restart: &str| json!({"resourceName": name, "restartPolicy": restart});
    let pod = |policies: Value| json!({"spec": {"containers": [{"name": "main", "image": "i", "resizePolicy": policies}]}});
    let never = |policies: Value| changed(&pod(policies), &json!({"spec": {"restartPolicy": "Never"}}));
    let init = json!({"spec": {"initContainers": [{"name": "first", "image": "i", "resizePolicy": [policy("cpu", "NotRequired")]}]}});
    refused(
        "pods",
        [
            (
                pod(json!([policy("cpu", "NotRequired"), policy("cpu", "NotRequired")])),
                "resizePolicy[1]: Duplicate value: \"cpu\"",
            ),
            (
                pod(json!([policy("storage", "NotRequired")])),
                "Unsupported value: \"storage\": supported values: \"cpu\", \"memory\"",
            ),
            (
                pod(json!([policy("cpu", "Sometimes")])),
                "supported values: \"NotRequired\", \"RestartContainer\"",
            ),
            (
                never(json!([policy("cpu", "RestartContainer")])),
                "must be 'NotRequired' when `restartPolicy` is 'Never'",
            ),
            (init, "must not be set for init containers"),
        ],
    )
    .await;
}
