//! The chain in its place: over a registry, from create to what is stored.

use std::{net::SocketAddr, sync::Arc};

use keelson_admission::{Chain, Config};
use keelson_auth::UserInfo;
use keelson_auth::authz::Authorizer;
use keelson_registry::{Context, DeleteOptions, KindTable, Registry, RegistryConfig, Status};
use keelson_store::model::Model;
use keelson_webhook::{Client, Resolve, ResolveError, Transport};
use serde_json::{Value, json};

/// Nothing here configures a webhook.
fn nobody() -> Client {
    struct Nowhere;
    impl Resolve for Nowhere {
        fn resolve(&self, _: &str, name: &str, _: u16) -> Result<SocketAddr, ResolveError> {
            Err(ResolveError::NotFound(name.to_owned()))
        }
    }
    Client::new(Arc::new(Transport::new(Arc::new(Nowhere), None)))
}

async fn registry() -> Arc<Registry> {
    let registry =
        Registry::open(Arc::new(Model::default()), KindTable::builtin(), RegistryConfig::default()).await;
    let registry = registry.unwrap();
    registry.set_admission(Chain::over(&registry, Arc::new(Authorizer::new()), Config::default(), nobody()));
    registry
}

async fn create(registry: &Registry, plural: &str, namespace: &str, object: Value) -> Result<Value, Status> {
    let context = Context::new(Arc::new(UserInfo::authenticated("root", ["system:masters"])));
    let kind = registry.table().iter().find(|kind| kind.plural == plural).unwrap().clone();
    let mut object = object;
    object["apiVersion"] = kind.api_version().into();
    object["kind"] = kind.kind.to_string().into();
    let namespace = (!namespace.is_empty()).then_some(namespace);
    registry.create(&context, &kind, namespace, None, None, object).await.map(|stored| stored.body.to_value())
}

fn named(name: &str) -> Value {
    json!({ "metadata": { "name": name } })
}

fn pod(name: &str) -> Value {
    json!({ "metadata": { "name": name }, "spec": { "containers": [{ "name": "c", "image": "busybox" }] } })
}

async fn delete_namespace(registry: &Registry, name: &str) -> Result<(), Status> {
    let context = Context::new(Arc::new(UserInfo::authenticated("root", ["system:masters"])));
    let kind = registry.table().by_resource("", "v1", "namespaces").unwrap().clone();
    registry.delete(&context, &kind, None, name, &DeleteOptions::default()).await.map(drop)
}

#[tokio::test]
async fn a_pod_is_stored_with_all_that_admission_adds() {
    let registry = registry().await;
    create(&registry, "namespaces", "", named("ns")).await.unwrap();
    create(&registry, "serviceaccounts", "ns", named("default")).await.unwrap();
    let mut class = named("usual");
    class["value"] = 7.into();
    class["globalDefault"] = true.into();
    create(&registry, "priorityclasses", "", class).await.unwrap();
    let stored = create(&registry, "pods", "ns", pod("p")).await.unwrap();
    let spec = &stored["spec"];
    assert_eq!(spec["serviceAccountName"], "default");
    assert_eq!(spec["volumes"][0]["name"], spec["containers"][0]["volumeMounts"][0]["name"]);
    assert_eq!((&spec["priority"], &spec["priorityClassName"]), (&7.into(), &"usual".into()));
    assert_eq!(spec["tolerations"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_pod_of_a_class_is_stored_with_its_overhead() {
    let registry = registry().await;
    create(&registry, "namespaces", "", named("ns")).await.unwrap();
    create(&registry, "serviceaccounts", "ns", named("default")).await.unwrap();
    let mut class = named("boxed");
    class["handler"] = "kata".into();
    class["overhead"] = json!({ "podFixed": { "cpu": "250m", "memory": "1Mi" } });
    create(&registry, "runtimeclasses", "", class).await.unwrap();
    let of_class = |name: &str, overhead: Option<Value>| {
        let mut pod = pod(name);
        pod["spec"]["runtimeClassName"] = "boxed".into();
        if let Some(overhead) = overhead {
            pod["spec"]["overhead"] = overhead;
        }
        pod
    };
    let same = json!({ "cpu": "250m", "memory": "1Mi" });
    for (name, given) in [("silent", None), ("equal", Some(same.clone()))] {
        let stored = create(&registry, "pods", "ns", of_class(name, given)).await.unwrap();
        assert_eq!(stored["spec"]["overhead"], same);
    }
    let error =
        create(&registry, "pods", "ns", of_class("odd", Some(json!({ "cpu": "1" })))).await.unwrap_err();
    assert_eq!(error.code, 403, "{error}");
}

#[tokio::test]
async fn a_pod_waits_for_the_default_account_of_a_namespace_just_made() {
    let registry = registry().await;
    create(&registry, "namespaces", "", named("ns")).await.unwrap();
    let (pod, account) = tokio::join!(
        create(&registry, "pods", "ns", pod("p")),
        // A controller that sees the namespace a little later.
        async {
            tokio::task::yield_now().await;
            create(&registry, "serviceaccounts", "ns", named("default")).await
        }
    );
    account.unwrap();
    assert_eq!(pod.unwrap()["spec"]["serviceAccountName"], "default");
}

#[tokio::test]
async fn nothing_enters_a_namespace_that_is_missing_or_going() {
    let registry = registry().await;
    let error = create(&registry, "configmaps", "none", named("c")).await.unwrap_err();
    assert_eq!((error.code, error.message.as_str()), (404, "namespaces \"none\" not found"));
    create(&registry, "namespaces", "", named("ns")).await.unwrap();
    delete_namespace(&registry, "ns").await.unwrap();
    let error = create(&registry, "configmaps", "ns", named("c")).await.unwrap_err();
    assert!(error.message.ends_with("in namespace ns because it is being terminated"), "{error}");
}

#[tokio::test]
async fn the_default_namespace_stays() {
    let registry = registry().await;
    create(&registry, "namespaces", "", named("default")).await.unwrap();
    let error = delete_namespace(&registry, "default").await.unwrap_err();
    assert_eq!(error.message, "namespaces \"default\" is forbidden: this namespace may not be deleted");
}

#[tokio::test]
async fn a_node_registers_tainted() {
    let registry = registry().await;
    let node = create(&registry, "nodes", "", named("n")).await.unwrap();
    assert_eq!(node["spec"]["taints"][0]["key"], "node.kubernetes.io/not-ready");
}
