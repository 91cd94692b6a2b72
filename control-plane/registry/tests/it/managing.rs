//! managedFields, as every write but an apply keeps them.

use crate::fixture::{config_map, deployment, fixture, owners, pod, version};
use keelson_registry::{DeleteOptions, PatchType};
use serde_json::{Value, json};

fn time(object: &Value, at: usize) -> &str {
    object["metadata"]["managedFields"][at]["time"].as_str().expect("a time")
}

#[tokio::test]
async fn a_new_objects_fields_are_its_creators() {
    let f = fixture().await;
    let mut body = config_map("a");
    body["metadata"]["labels"] = json!({"l": "1"});
    let made = f.create_with(&f.by("me", 0), "configmaps", body).await.expect("valid").body.to_value();
    let fields = json!({"f:data": {".": {}, "f:k": {}}, "f:metadata": {"f:labels": {".": {}, "f:l": {}}}});
    assert_eq!(owners(&made), [("me Update v1".to_owned(), fields)]);
    assert_eq!(f.get("configmaps", "a").await, Ok(made.clone()));
    // Defaults are his, the status is not, nor what tells the object from others.
    let made = f.made("deployments", deployment("d")).await;
    let [(who, fields)] = owners(&made).try_into().expect("one entry");
    assert_eq!(who, "unknown Update apps/v1");
    assert_eq!(fields["f:spec"]["f:strategy"]["f:type"], json!({}));
    assert_eq!(fields["f:spec"]["f:template"]["f:spec"]["f:dnsPolicy"], json!({}));
    assert!(fields.get("f:status").is_none() && fields.get("f:apiVersion").is_none(), "{fields}");
    assert!(fields.get("f:metadata").is_none(), "{fields}");
}

#[tokio::test]
async fn what_changes_goes_to_the_writer() {
    let f = fixture().await;
    f.create_with(&f.by("one", 0), "configmaps", config_map("a")).await.expect("valid");
    let merge = |manager: &'static str, seconds, patch: Value| {
        let context = f.by(manager, seconds);
        let f = &f;
        async move { f.patch_by(&context, "configmaps", "a", None, PatchType::Merge, patch).await.expect("valid") }
    };
    let after = merge("two", 1, json!({"data": {"k": "w", "n": "x"}})).await;
    let expected = [
        ("one Update v1".to_owned(), json!({"f:data": {}})),
        ("two Update v1".to_owned(), json!({"f:data": {"f:k": {}, "f:n": {}}})),
    ];
    assert_eq!(owners(&after), expected);
    // The same value again is nothing.
    let again = merge("three", 2, json!({"data": {"k": "w"}})).await;
    assert_eq!(version(&again), version(&after));
    // What goes is nobody's, and an entry without fields is none.
    let after = merge("three", 3, json!({"data": {"k": null, "n": null}})).await;
    assert_eq!(owners(&after), [], "{after}");
    assert!(after["metadata"].get("managedFields").is_none());
    // An object without entries gets none by a change.
    let after = merge("three", 4, json!({"data": {"k": "v"}})).await;
    assert_eq!(owners(&after), []);
}

#[tokio::test]
async fn an_entry_tells_when_its_writer_last_wrote() {
    let f = fixture().await;
    f.create_with(&f.by("one", 0), "configmaps", config_map("a")).await.expect("valid");
    let write = |seconds, value: &'static str| {
        let (f, context) = (&f, f.by("one", seconds));
        async move {
            let patch = json!({"data": {"k": value}});
            f.patch_by(&context, "configmaps", "a", None, PatchType::Merge, patch).await.expect("valid")
        }
    };
    let first = write(0, "v").await;
    let (same, other) = (write(9, "v").await, write(10, "w").await);
    assert_eq!((version(&same), time(&same, 0)), (version(&first), time(&first, 0)));
    assert!(time(&other, 0) > time(&first, 0), "{other}");
    assert_eq!(owners(&other), owners(&first));
}

#[tokio::test]
async fn a_status_and_a_scale_have_entries_of_their_own() {
    let f = fixture().await;
    f.create_with(&f.by("user", 0), "deployments", deployment("d")).await.expect("valid");
    let status =
        json!({"status": {"replicas": 2}, "metadata": {"labels": {"x": "y"}}, "spec": {"paused": true}});
    let controller = f.by("controller", 1);
    let after = f.patch_by(&controller, "deployments", "d", Some("status"), PatchType::Merge, status).await;
    let after = after.expect("valid");
    // The strategy lets no labels through, and the resource no spec.
    assert_eq!(
        owners(&after)[1],
        ("controller Update apps/v1 status".to_owned(), json!({"f:status": {"f:replicas": {}}}))
    );
    let scale = json!({"spec": {"replicas": 7}});
    f.patch_by(&f.by("scaler", 2), "deployments", "d", Some("scale"), PatchType::Merge, scale)
        .await
        .expect("valid");
    let object = f.get("deployments", "d").await.expect("it is there");
    assert_eq!(
        owners(&object)[2],
        ("scaler Update apps/v1 scale".to_owned(), json!({"f:spec": {"f:replicas": {}}}))
    );
    assert!(owners(&object)[0].1["f:spec"].get("f:replicas").is_none());
    // A whole object put back by somebody who changed nothing changes nothing.
    let put = f.update("deployments", None, object.clone()).await.expect("valid").body.to_value();
    assert_eq!(version(&put), version(&object));
}

#[tokio::test]
async fn entries_can_be_edited_and_reset_but_not_lost() {
    let f = fixture().await;
    let made =
        f.create_with(&f.by("one", 0), "configmaps", config_map("a")).await.expect("valid").body.to_value();
    let merge = |patch: Value| f.patch_by(&f.context, "configmaps", "a", None, PatchType::Merge, patch);
    // Clients that do not know the field lose nothing.
    for managed in [
        json!(null),
        json!([]),
        json!([{"manager": "x"}]),
        json!([{"operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV2"}]),
    ] {
        let after = merge(json!({"metadata": {"managedFields": managed}})).await.expect("valid");
        assert_eq!(version(&after), version(&made), "{managed}");
    }
    let mut without = made.clone();
    without["metadata"].as_object_mut().expect("metadata").remove("managedFields");
    let after = f.update("configmaps", None, without).await.expect("valid").body.to_value();
    assert_eq!(version(&after), version(&made));
    // Entries by hand, as kubectl takes over what it applied on the client's side.
    let entry = json!([{"manager": "kubectl", "operation": "Apply", "apiVersion": "v1", "time": "2026-01-02T03:04:05Z",
        "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {"f:k": {}}}}]);
    let patch = json!([{"op": "replace", "path": "/metadata/managedFields", "value": entry},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": made["metadata"]["resourceVersion"]}]);
    let after =
        f.patch_by(&f.context, "configmaps", "a", None, PatchType::Json, patch.clone()).await.expect("valid");
    assert_eq!(after["metadata"]["managedFields"], entry);
    let stale = f.patch_by(&f.context, "configmaps", "a", None, PatchType::Json, patch).await;
    assert_eq!(stale.map_err(|status| status.code), Err(409));
    let after = merge(json!({"metadata": {"managedFields": [{}]}})).await.expect("valid");
    assert!(after["metadata"].get("managedFields").is_none(), "{after}");
}

#[tokio::test]
async fn old_writers_are_forgotten_together() {
    let f = fixture().await;
    f.create_with(&f.by("m00", 0), "configmaps", config_map("a")).await.expect("valid");
    for at in 1..=13 {
        let patch = json!({"data": {format!("k{at}"): "v"}});
        let context = f.by(&format!("m{at:02}"), at);
        f.patch_by(&context, "configmaps", "a", None, PatchType::Merge, patch).await.expect("valid");
    }
    let object = f.get("configmaps", "a").await.expect("it is there");
    let owners = owners(&object);
    assert_eq!(owners.len(), 10);
    assert_eq!(owners[0].0, "ancient-changes Update v1");
    assert_eq!(
        owners[0].1,
        json!({"f:data": {".": {}, "f:k": {}, "f:k1": {}, "f:k2": {}, "f:k3": {}, "f:k4": {}}})
    );
    assert_eq!(owners[9].0, "m13 Update v1");
}

#[tokio::test]
async fn bindings_deletions_and_dry_runs_keep_the_entries() {
    let f = fixture().await;
    let mut body = pod("a");
    body["metadata"]["finalizers"] = json!(["example.com/hold"]);
    let made = f.create_with(&f.by("one", 0), "pods", body).await.expect("valid").body.to_value();
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "a"}, "target": {"kind": "Node", "name": "n"}});
    f.registry
        .create(&f.context, &f.kind("pods"), Some("ns"), Some("binding"), Some("a"), binding)
        .await
        .expect("free");
    let bound = f.get("pods", "a").await.expect("it is there");
    assert_eq!((&bound["spec"]["nodeName"], owners(&bound)), (&json!("n"), owners(&made)));
    f.delete("pods", "a", DeleteOptions::default()).await.expect("it begins to go");
    assert_eq!(owners(&f.get("pods", "a").await.expect("it is held")), owners(&made));
    let dry = f.create_with(&f.dry(), "configmaps", config_map("b")).await.expect("valid").body.to_value();
    assert_eq!(owners(&dry)[0].1, json!({"f:data": {".": {}, "f:k": {}}}));
}

#[tokio::test]
async fn a_kind_in_two_shapes_has_owners_in_both() {
    let f = fixture().await;
    let kind = f.registry.table().by_resource("events.k8s.io", "v1", "events").expect("served").clone();
    let event = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"}, "eventTime": "2026-01-02T03:04:05.000000Z",
        "reportingController": "c", "reportingInstance": "i", "action": "a", "reason": "r", "type": "Normal", "note": "first",
        "regarding": {"kind": "Pod", "name": "p", "namespace": "ns"}});
    f.registry.create(&f.by("one", 0), &kind, Some("ns"), None, None, event).await.expect("valid");
    let patch = json!({"message": "second"});
    let after =
        f.patch_by(&f.by("two", 1), "events", "e", None, PatchType::Merge, patch).await.expect("valid");
    let owners = owners(&after);
    assert_eq!(owners[0].0, "one Update events.k8s.io/v1");
    assert!(owners[0].1.get("f:note").is_none() && owners[0].1["f:regarding"] == json!({}), "{owners:?}");
    assert_eq!(owners[1], ("two Update v1".to_owned(), json!({"f:message": {}})));
}
