//! Server-side apply.

use crate::fixture::{config_map, deployment, fixture, owners, version};
use keelson_registry::{Context, FieldValidation, PatchType};
use serde_json::{Value, json};
use std::sync::Arc;

fn map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data})
}

/// A Deployment as somebody applies it, without what he does not care about.
fn applied(replicas: Option<u32>) -> Value {
    let mut object = deployment("d");
    let spec = object["spec"].as_object_mut().expect("a spec");
    match replicas {
        Some(replicas) => spec.insert("replicas".to_owned(), json!(replicas)),
        None => spec.remove("replicas"),
    };
    object
}

#[tokio::test]
async fn an_apply_makes_what_is_absent_and_changes_what_is_there() {
    let f = fixture().await;
    let (me, later) = (f.by("me", 0), f.by("me", 5));
    let (code, made) =
        f.apply(&me, "configmaps", None, &map(json!({"a": "1", "b": "2"})), false).await.expect("valid");
    assert_eq!(code, 201);
    assert_eq!(owners(&made), [("me Apply v1".to_owned(), json!({"f:data": {"f:a": {}, "f:b": {}}}))]);
    // Again is nothing, not even another time.
    let (code, same) =
        f.apply(&later, "configmaps", None, &map(json!({"a": "1", "b": "2"})), false).await.expect("valid");
    assert_eq!((code, &same), (200, &made));
    // What is no longer applied goes.
    let (_, after) =
        f.apply(&later, "configmaps", None, &map(json!({"a": "1", "c": "3"})), false).await.expect("valid");
    assert_eq!(after["data"], json!({"a": "1", "c": "3"}));
    assert_eq!(owners(&after)[0].1, json!({"f:data": {"f:a": {}, "f:c": {}}}));
    assert_ne!(after["metadata"]["managedFields"][0]["time"], made["metadata"]["managedFields"][0]["time"]);
    // YAML, too.
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: '9'}\n";
    let kind = f.kind("configmaps");
    let form = PatchType::Apply { force: false };
    let stored =
        f.registry.patch(&later, &kind, Some("ns"), "a", None, form, yaml.into()).await.expect("valid");
    assert_eq!(stored.body.to_value()["data"], json!({"a": "9"}));
}

#[tokio::test]
async fn fields_are_shared_while_values_agree_and_fought_over_when_not() {
    let f = fixture().await;
    let (one, two) = (f.by("one", 0), f.by("two", 1));
    f.apply(&one, "configmaps", None, &map(json!({"a": "1", "b": "1"})), false).await.expect("valid");
    let (_, shared) =
        f.apply(&two, "configmaps", None, &map(json!({"a": "1"})), false).await.expect("equal values");
    assert_eq!(owners(&shared)[1], ("two Apply v1".to_owned(), json!({"f:data": {"f:a": {}}})));
    // What one gives up, the other keeps.
    let (_, after) = f.apply(&one, "configmaps", None, &map(json!({"b": "1"})), false).await.expect("valid");
    assert_eq!(after["data"], json!({"a": "1", "b": "1"}));
    let status = f
        .apply(&two, "configmaps", None, &map(json!({"a": "1", "b": "2"})), false)
        .await
        .expect_err("b is one's");
    assert_eq!(status.code, 409);
    assert_eq!(status.message, "Apply failed with 1 conflict: conflict with \"one\": .data.b");
    let causes = status.details.expect("details").causes;
    let cause = (causes[0].reason.as_str(), causes[0].message.as_str(), causes[0].field.as_str());
    assert_eq!(cause, ("FieldManagerConflict", "conflict with \"one\"", ".data.b"));
    let (_, forced) =
        f.apply(&two, "configmaps", None, &map(json!({"a": "1", "b": "2"})), true).await.expect("forced");
    assert_eq!(forced["data"], json!({"a": "1", "b": "2"}));
    assert_eq!(owners(&forced), [("two Apply v1".to_owned(), json!({"f:data": {"f:a": {}, "f:b": {}}}))]);
}

#[tokio::test]
async fn several_conflicts_are_told_by_manager() {
    let f = fixture().await;
    f.create_with(&f.by("maker", 0), "configmaps", map(json!({"a": "1", "b": "1"}))).await.expect("valid");
    let patch = json!({"data": {"b": "2"}});
    f.patch_by(&f.by("other", 1), "configmaps", "a", None, PatchType::Merge, patch).await.expect("valid");
    let config = map(json!({"a": "9", "b": "9"}));
    let status =
        f.apply(&f.by("me", 2), "configmaps", None, &config, false).await.expect_err("two conflicts");
    assert_eq!(
        status.message,
        "Apply failed with 2 conflicts: conflicts with \"maker\" using v1:\n- .data.a\nconflicts with \"other\" using v1:\n- .data.b"
    );
}

#[tokio::test]
async fn replicas_are_handed_over() {
    let f = fixture().await;
    let (user, scaler) = (f.by("user", 0), f.by("scaler", 1));
    f.apply(&user, "deployments", None, &applied(Some(3)), false).await.expect("valid");
    let scale = |replicas: u32| json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": replicas}});
    let status = f
        .apply(&scaler, "deployments", Some("scale"), &scale(5), false)
        .await
        .expect_err("they are the user's");
    assert_eq!(status.message, "Apply failed with 1 conflict: conflict with \"user\": .spec.replicas");
    let patch = json!({"spec": {"replicas": 5}});
    f.patch_by(&scaler, "deployments", "d", Some("scale"), PatchType::Merge, patch)
        .await
        .expect("an update asks nobody");
    let status = f
        .apply(&user, "deployments", None, &applied(Some(3)), false)
        .await
        .expect_err("they are the scaler's");
    assert_eq!(
        status.message,
        "Apply failed with 1 conflict: conflict with \"scaler\" with subresource \"scale\" using apps/v1: .spec.replicas"
    );
    // Who no longer says how many leaves it to the other.
    let (_, after) = f.apply(&user, "deployments", None, &applied(None), false).await.expect("no conflict");
    assert_eq!(after["spec"]["replicas"], 5);
    let (_, shown) = f.apply(&scaler, "deployments", Some("scale"), &scale(6), true).await.expect("forced");
    assert_eq!((&shown["kind"], &shown["spec"]["replicas"]), (&json!("Scale"), &json!(6)));
    let object = f.get("deployments", "d").await.expect("it is there");
    assert!(
        owners(&object)
            .contains(&("scaler Apply apps/v1 scale".to_owned(), json!({"f:spec": {"f:replicas": {}}}))),
        "{object}"
    );
    // And who alone says how many and stops doing so gets the default.
    let mut alone = applied(Some(4));
    alone["metadata"]["name"] = json!("alone");
    f.apply(&user, "deployments", None, &alone, false).await.expect("valid");
    alone["spec"].as_object_mut().expect("a spec").remove("replicas");
    let (_, after) = f.apply(&user, "deployments", None, &alone, false).await.expect("valid");
    assert_eq!(after["spec"]["replicas"], 1);
}

#[tokio::test]
async fn the_status_is_applied_apart() {
    let f = fixture().await;
    f.apply(&f.by("user", 0), "deployments", None, &applied(None), false).await.expect("valid");
    let status = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"paused": true},
        "status": {"replicas": 1, "conditions": [{"type": "Available", "status": "True"}]}});
    let (_, after) =
        f.apply(&f.by("c", 1), "deployments", Some("status"), &status, false).await.expect("valid");
    assert!(after["status"]["replicas"] == 1 && after["spec"].get("paused").is_none(), "{after}");
    let fields = json!({"f:status": {"f:replicas": {}, "f:conditions": {"k:{\"type\":\"Available\"}": {".": {}, "f:status": {}, "f:type": {}}}}});
    assert_eq!(owners(&after)[1], ("c Apply apps/v1 status".to_owned(), fields));
    // Through the object itself the status is nobody's.
    let (_, whole) = f
        .apply(
            &f.by("c", 2),
            "deployments",
            None,
            &{
                let mut o = applied(None);
                o["status"] = json!({"replicas": 9});
                o
            },
            false,
        )
        .await
        .expect("valid");
    assert!(
        whole["status"]["replicas"] == 1
            && !owners(&whole).iter().any(|(who, f)| who == "c Apply apps/v1" && f.get("f:status").is_some()),
        "{whole}"
    );
    let missing = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "no"}, "status": {"replicas": 1}});
    let refused = f.apply(&f.by("c", 3), "deployments", Some("status"), &missing, false).await;
    assert_eq!(refused.map_err(|status| status.code), Err(404));
}

#[tokio::test]
async fn what_cannot_be_applied_is_refused() {
    let f = fixture().await;
    f.made("configmaps", config_map("a")).await;
    let with = |path: &str, value: Value| {
        let mut config = map(json!({"k": "v"}));
        *config.pointer_mut(path).expect("it is there") = value;
        config
    };
    let meta = |key: &str, value: Value| with("/metadata", json!({"name": "a", key: value}));
    let absent = |key: &str, value: Value| with("/metadata", json!({"name": "absent", key: value}));
    let rows = [
        (with("/kind", json!("Secret")), 400, "invalid object type: /v1, Kind=Secret"),
        (with("/apiVersion", json!("apps/v1")), 400, "invalid object type: apps/v1, Kind=ConfigMap"),
        (meta("managedFields", json!([])), 400, "metadata.managedFields must be nil"),
        (
            with("/data", json!({"k": 5})),
            400,
            "failed to create typed patch object (/a; /v1, Kind=ConfigMap): .data.k: expected string, got 5",
        ),
        (meta("nmae", json!("x")), 400, ".metadata.nmae: field not declared in schema"),
        (meta("namespace", json!("other")), 400, "the namespace of the provided object does not match"),
        (meta("resourceVersion", json!("999")), 409, "the object has been modified"),
        (meta("uid", json!("u")), 409, "Precondition failed: UID in precondition: u"),
        (
            absent("uid", json!("u")),
            409,
            "uid mismatch: the provided object specified uid u, and no existing object was found",
        ),
        (absent("resourceVersion", json!("7")), 409, "the object has been modified"),
        (with("/metadata/name", json!("A_")), 422, "metadata.name: Invalid value: \"A_\""),
    ];
    for (config, code, message) in rows {
        let status =
            f.apply(&f.by("me", 0), "configmaps", None, &config, false).await.expect_err("it is refused");
        assert!(
            status.code == code && status.message.contains(message),
            "{config}: {} {status}",
            status.code
        );
    }
    let kind = f.kind("configmaps");
    let send = |context: Context, body: &'static str| {
        let (f, kind) = (&f, &kind);
        async move {
            let form = PatchType::Apply { force: false };
            f.registry
                .patch(&context, kind, Some("ns"), "a", None, form, body.into())
                .await
                .map_err(|status| status.to_string())
        }
    };
    assert!(send(f.context.clone(), "a: [").await.expect_err("no YAML").starts_with("error decoding YAML: "));
    let twice = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {k: v, k: v}}";
    let strict = Context { field_validation: FieldValidation::Strict, ..f.context.clone() };
    let told = send(strict, twice).await.expect_err("k twice");
    assert!(told.starts_with("error strict decoding YAML: "), "{told}");
    assert!(told.ends_with("line 1: key \"k\" already set in map"), "{told}");
    send(f.context.clone(), twice).await.expect("it is warned of");
    assert_eq!(f.context.warnings.take().len(), 1);
    let context = Context { creation: Some(Arc::new(Never)), ..f.by("me", 0) };
    let config = with("/metadata/name", json!("new"));
    let refused = f.apply(&context, "configmaps", None, &config, false).await;
    assert_eq!(refused.map_err(|status| status.message), Err("may not create".to_owned()));
}

/// Nobody may create.
#[derive(Debug)]
struct Never;

#[async_trait::async_trait]
impl keelson_registry::MayCreate for Never {
    async fn may_create(&self) -> Result<(), keelson_registry::Status> {
        Err(keelson_registry::Status::bad_request("may not create"))
    }
}

#[tokio::test]
async fn what_was_there_before_anybody_applied_has_an_owner() {
    let f = fixture().await;
    f.made("configmaps", map(json!({"a": "1", "b": "1"}))).await;
    let reset = json!({"metadata": {"managedFields": [{}]}});
    f.patch_by(&f.context, "configmaps", "a", None, PatchType::Merge, reset).await.expect("valid");
    let status = f
        .apply(&f.by("me", 1), "configmaps", None, &map(json!({"a": "2"})), false)
        .await
        .expect_err("a conflict");
    assert_eq!(
        status.message,
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using v1: .data.a"
    );
    let (_, after) = f
        .apply(&f.by("me", 1), "configmaps", None, &map(json!({"a": "1"})), false)
        .await
        .expect("it is the same");
    let who: Vec<String> = owners(&after).into_iter().map(|(who, _)| who).collect();
    assert_eq!(who, ["me Apply v1", "before-first-apply Update v1"]);
}

#[tokio::test]
async fn kubectl_goes_over_from_one_apply_to_the_other() {
    let f = fixture().await;
    const LAST: &str = "kubectl.kubernetes.io/last-applied-configuration";
    let mut first = map(json!({"a": "1", "b": "1"}));
    let text = first.to_string();
    first["metadata"]["annotations"] = json!({LAST: text});
    f.create_with(&f.by("kubectl-client-side-apply", 0), "configmaps", first).await.expect("valid");
    // For others what is there is another's.
    let config = map(json!({"a": "2", "b": "1"}));
    assert_eq!(
        f.apply(&f.by("me", 1), "configmaps", None, &config, false).await.map_err(|s| s.code),
        Err(409)
    );
    let (_, after) =
        f.apply(&f.by("kubectl", 1), "configmaps", None, &config, false).await.expect("it was kubectl's");
    assert_eq!(after["data"], json!({"a": "2", "b": "1"}));
    assert_eq!(after["metadata"]["annotations"][LAST], json!(config.to_string() + "\n"));
    // What somebody has changed since is a conflict for kubectl, too.
    let patch = json!({"data": {"b": "theirs"}});
    f.patch_by(&f.by("other", 2), "configmaps", "a", None, PatchType::Merge, patch).await.expect("valid");
    let status =
        f.apply(&f.by("kubectl", 3), "configmaps", None, &config, false).await.expect_err("b is another's");
    assert_eq!(status.message, "Apply failed with 1 conflict: conflict with \"other\" using v1: .data.b");
}

#[tokio::test]
async fn a_dry_run_of_an_apply_tells_and_stores_nothing() {
    let f = fixture().await;
    let dry = Context { dry_run: true, ..f.by("me", 0) };
    let (code, made) =
        f.apply(&dry, "configmaps", None, &map(json!({"a": "1"})), false).await.expect("valid");
    assert_eq!((code, owners(&made).len()), (201, 1));
    assert_eq!(f.get("configmaps", "a").await.map_err(|status| status.code), Err(404));
    let (_, there) =
        f.apply(&f.by("me", 0), "configmaps", None, &map(json!({"a": "1"})), false).await.expect("valid");
    let (_, dried) = f.apply(&dry, "configmaps", None, &map(json!({"b": "1"})), false).await.expect("valid");
    assert_eq!((&dried["data"], &owners(&dried)[0].1), (&json!({"b": "1"}), &json!({"f:data": {"f:b": {}}})));
    assert_eq!(f.get("configmaps", "a").await.map(|object| version(&object)), Ok(version(&there)));
}

#[tokio::test]
async fn concurrent_applies_all_arrive() {
    let f = fixture().await;
    let applies = (0..20).map(|at| {
        let (f, context) = (&f, f.by(&format!("m{at}"), at));
        async move { f.apply(&context, "configmaps", None, &map(json!({format!("k{at}"): "v"})), false).await }
    });
    for outcome in futures::future::join_all(applies).await {
        outcome.expect("no conflicts");
    }
    let object = f.get("configmaps", "a").await.expect("it is there");
    assert_eq!(object["data"].as_object().map(serde_json::Map::len), Some(20));
    // Appliers are never forgotten together.
    assert_eq!(owners(&object).len(), 20);
}
