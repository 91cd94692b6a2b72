//! Creates, updates and patches: conflicts, no-ops, dry runs, defaults.

use crate::fixture::{config_map, deployment, fixture, pod, version};
use keelson_registry::{Context, FieldValidation, PatchType};
use serde_json::{Value, json};

#[tokio::test]
async fn a_created_object_has_what_the_server_decides() {
    let f = fixture().await;
    let mut body = pod("a");
    body["metadata"]["deletionTimestamp"] = json!("2020-01-01T00:00:00Z");
    body["status"] = json!({"phase": "Running"});
    let made = f.made("pods", body).await;
    assert_eq!(made["metadata"]["namespace"], "ns");
    assert_eq!(made["metadata"]["uid"].as_str().map(str::len), Some(36));
    assert_eq!(made["metadata"]["generation"], 1);
    assert_eq!(made["metadata"].get("deletionTimestamp"), None);
    assert_eq!(made["status"], json!({"phase": "Pending", "qosClass": "BestEffort"}));
    assert_eq!(made["spec"]["restartPolicy"], "Always");
    assert_eq!(f.get("pods", "a").await, Ok(made));
}

#[tokio::test]
async fn what_cannot_be_created_is_refused_in_upstreams_words() {
    let f = fixture().await;
    f.made("configmaps", config_map("a")).await;
    let with = |key: &str, value: Value| {
        let mut body = config_map("b");
        body["metadata"][key] = value;
        body
    };
    let rows = [
        (config_map("a"), 409, "configmaps \"a\" already exists"),
        (
            config_map(""),
            422,
            "ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is required",
        ),
        (
            with("name", json!("A_b")),
            422,
            "ConfigMap \"A_b\" is invalid: metadata.name: Invalid value: \"A_b\": a lowercase RFC 1123 subdomain",
        ),
        (
            with("namespace", json!("other")),
            400,
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        (
            with("resourceVersion", json!("1")),
            400,
            "resourceVersion should not be set on objects to be created",
        ),
        (with("labels", json!({"a": "-"})), 422, "metadata.labels: Invalid value: \"-\""),
    ];
    for (body, code, message) in rows {
        let status = f.create("configmaps", body).await.expect_err("the object is refused");
        assert_eq!(status.code, code, "{status}");
        assert!(status.message.contains(message), "{status}");
    }
}

#[tokio::test]
async fn a_generated_name_is_made_from_its_prefix() {
    let f = fixture().await;
    let mut body = config_map("");
    body["metadata"] = json!({"generateName": "web-"});
    let names = [f.made("configmaps", body.clone()).await, f.made("configmaps", body).await];
    let names = names.map(|made| made["metadata"]["name"].as_str().unwrap_or_default().to_owned());
    assert!(names.iter().all(|name| name.starts_with("web-") && name.len() == 9), "{names:?}");
    assert_ne!(names[0], names[1]);
}

#[tokio::test]
async fn a_stale_update_is_a_conflict_and_one_without_version_is_not() {
    let f = fixture().await;
    let first = f.made("configmaps", config_map("a")).await;
    let mut changed = first.clone();
    changed["data"]["k"] = json!("2");
    f.update("configmaps", None, changed.clone()).await.expect("the version is current");
    changed["data"]["k"] = json!("3");
    let status = f.update("configmaps", None, changed.clone()).await.expect_err("the version is stale");
    assert_eq!(
        (status.code, status.message.as_str()),
        (
            409,
            "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your \
             changes to the latest version and try again"
        )
    );
    changed["metadata"].as_object_mut().expect("metadata").remove("resourceVersion");
    f.update("configmaps", None, changed.clone()).await.expect("configmaps allow it");
    changed["metadata"]["uid"] = json!("another");
    let status = f.update("configmaps", None, changed).await.expect_err("it is another object");
    assert!(status.message.contains("Precondition failed: UID in precondition: another"), "{status}");
}

#[tokio::test]
async fn a_no_op_update_writes_nothing() {
    let f = fixture().await;
    let made = f.made("configmaps", config_map("a")).await;
    let before = f.registry.revision();
    let stored = f.update("configmaps", None, made.clone()).await.expect("nothing is wrong");
    assert_eq!(stored.body.to_value(), made);
    let patched = f.patch("configmaps", "a", None, json!({"data": {"k": "v"}})).await;
    assert_eq!(patched.map(|object| version(&object)), Ok(version(&made)));
    assert_eq!(f.registry.revision(), before);
}

#[tokio::test]
async fn a_dry_run_stores_nothing() {
    let f = fixture().await;
    let stored = f.create_with(&f.dry(), "configmaps", config_map("a")).await.expect("it would be created");
    assert_eq!(stored.body.to_value()["metadata"].get("resourceVersion"), None);
    assert_eq!(f.get("configmaps", "a").await.map_err(|status| status.code), Err(404));
    f.made("configmaps", config_map("a")).await;
    let status = f.create_with(&f.dry(), "configmaps", config_map("a")).await.expect_err("it is there");
    assert_eq!(status.code, 409);
}

#[tokio::test]
async fn status_and_spec_are_written_apart() {
    let f = fixture().await;
    let made = f.made("deployments", deployment("d")).await;
    let mut body = made.clone();
    body["spec"]["replicas"] = json!(9);
    body["status"] = json!({"replicas": 2, "observedGeneration": 1});
    let after = f.update("deployments", Some("status"), body.clone()).await.expect("valid").body.to_value();
    assert_eq!((&after["spec"]["replicas"], &after["status"]["replicas"]), (&json!(2), &json!(2)));
    assert_eq!(after["metadata"]["generation"], 1);
    body["metadata"] = after["metadata"].clone();
    body["status"] = json!({"replicas": 77});
    let after = f.update("deployments", None, body).await.expect("valid").body.to_value();
    assert_eq!((&after["spec"]["replicas"], &after["status"]["replicas"]), (&json!(9), &json!(2)));
    assert_eq!(after["metadata"]["generation"], 2);
}

#[tokio::test]
async fn a_selector_does_not_change() {
    let f = fixture().await;
    f.made("deployments", deployment("d")).await;
    let patch = json!({"spec": {"selector": {"matchLabels": {"app": "x"}}, "template": {"metadata": {"labels": {"app": "x"}}}}});
    let status = f.patch("deployments", "d", None, patch).await.expect_err("selectors are immutable");
    assert_eq!(
        status.message,
        "Deployment.apps \"d\" is invalid: spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"x\"}}: field is \
         immutable"
    );
    let mut body = deployment("e");
    body["spec"]["template"]["metadata"]["labels"] = json!({"app": "other"});
    let status = f.create("deployments", body).await.expect_err("the template is not selected");
    assert!(status.message.contains("`selector` does not match template `labels`"), "{status}");
}

#[tokio::test]
async fn scale_changes_replicas_alone() {
    let f = fixture().await;
    f.made("deployments", deployment("d")).await;
    let scale = f.patch("deployments", "d", Some("scale"), json!({"spec": {"replicas": 5}})).await;
    let scale = scale.expect("valid");
    assert_eq!((&scale["kind"], &scale["spec"]["replicas"]), (&json!("Scale"), &json!(5)));
    assert_eq!(scale["status"]["selector"], "app=d");
    let object = f.get("deployments", "d").await.expect("it is there");
    assert_eq!((&object["spec"]["replicas"], &object["metadata"]["generation"]), (&json!(5), &json!(2)));
    let mut stale = scale;
    stale["metadata"]["resourceVersion"] = json!("1");
    let status = f.update("deployments", Some("scale"), stale).await.expect_err("the version is stale");
    assert_eq!(status.code, 409);
}

#[tokio::test]
async fn a_patch_is_decoded_as_strictly_as_asked() {
    let f = fixture().await;
    f.made("configmaps", config_map("a")).await;
    let kind = f.kind("configmaps");
    let patch = |context: Context| {
        let (registry, kind) = (f.registry.clone(), kind.clone());
        async move {
            let body = br#"{"dta":{"k":"2"}}"#.as_slice().into();
            registry.patch(&context, &kind, Some("ns"), "a", None, PatchType::Merge, body).await
        }
    };
    let strict = Context { field_validation: FieldValidation::Strict, ..f.context.clone() };
    let status = patch(strict).await.expect_err("the field is unknown");
    assert_eq!(status.code, 422);
    assert!(status.message.contains("unknown field \"dta\""), "{status}");
    patch(f.context.clone()).await.expect("it is dropped");
    assert!(f.context.warnings.take().iter().any(|warning| warning.contains("unknown field \"dta\"")));
}

#[tokio::test]
async fn concurrent_patches_lose_nothing() {
    let f = fixture().await;
    f.made("configmaps", config_map("a")).await;
    let patches =
        (0..40).map(|index| f.patch("configmaps", "a", None, json!({"data": {format!("k{index}"): "v"}})));
    for outcome in futures::future::join_all(patches).await {
        outcome.expect("conflicts are tried again");
    }
    let object = f.get("configmaps", "a").await.expect("it is there");
    assert_eq!(object["data"].as_object().map(serde_json::Map::len), Some(41));
}

#[tokio::test]
async fn a_pod_is_bound_once() {
    let f = fixture().await;
    let made = f.made("pods", pod("a")).await;
    let binding = |node: &str| json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "a"}, "target": {"kind": "Node", "name": node}});
    let kind = f.kind("pods");
    let bind = |node: &str| {
        f.registry.create(&f.context, &kind, Some("ns"), Some("binding"), Some("a"), binding(node))
    };
    assert_eq!(bind("n1").await.expect("it is free").code, 201);
    let bound = f.get("pods", "a").await.expect("it is there");
    assert_eq!(bound["spec"]["nodeName"], "n1");
    assert_eq!(bound["status"]["conditions"][0]["type"], "PodScheduled");
    assert!(version(&bound) > version(&made));
    let status = bind("n2").await.expect_err("it has a node");
    assert_eq!(
        (status.code, status.message.as_str()),
        (
            409,
            "Operation cannot be fulfilled on pods/binding \"a\": pod a is already assigned to node \"n1\""
        )
    );
}

#[tokio::test]
async fn names_in_path_and_body_must_agree() {
    let f = fixture().await;
    let made = f.made("configmaps", config_map("a")).await;
    let kind = f.kind("configmaps");
    let outcome = f.registry.update(&f.context, &kind, Some("ns"), "b", None, made).await;
    let status = outcome.map(|_| ()).expect_err("b is not there");
    assert_eq!(status.code, 404, "{status}");
    let outcome = f.patch("configmaps", "a", None, json!({"metadata": {"name": "b"}})).await;
    let status = outcome.expect_err("names do not change");
    assert_eq!(status.message, "the name of the object (b) does not match the name on the URL (a)");
}
