//! kube-rs 5: typed and dynamic objects, discovery, watchers, and a controller with a finalizer over a custom kind.

use super::{Server, server};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::{
    api::{apps::v1::Deployment, core::v1::ConfigMap},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, Config, ResourceExt,
    api::{
        ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams,
        PostParams,
    },
    config::{KubeConfigOptions, Kubeconfig},
    discovery::Discovery,
    runtime::{
        Controller,
        controller::Action,
        finalizer::{self, finalizer},
        wait::{await_condition, conditions},
        watcher,
    },
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// How long any one thing may take.
const PATIENCE: Duration = Duration::from_secs(30);

async fn client(server: &Server) -> Client {
    let kubeconfig = Kubeconfig::read_from(server.path("admin.conf")).expect("init wrote it");
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    Client::try_from(config.expect("it is whole")).expect("it names a server")
}

fn object<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).expect("it is of its kind")
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

fn config_map(name: &str) -> ConfigMap {
    object(json!({ "metadata": { "name": name, "labels": { "of": "kube-rs" } } }))
}

#[tokio::test]
async fn typed_objects_are_written_with_and_without_force() {
    let Some(server) = server(&[]) else { return };
    let api: Api<Deployment> = Api::default_namespaced(client(&server).await);
    let web = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" },
        "spec": {
            "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "web", "image": "nginx:1" }] },
            },
        },
    });
    let made = api.create(&PostParams::default(), &object(web.clone())).await.unwrap();
    assert_eq!(made.spec.as_ref().and_then(|spec| spec.replicas), Some(1));
    let mut stale = made.clone();
    let merge = Patch::Merge(json!({ "spec": { "replicas": 2 } }));
    api.patch("web", &PatchParams::default(), &merge).await.unwrap();
    stale.labels_mut().insert("late".into(), "yes".into());
    let refused = api.replace("web", &PostParams::default(), &stale).await.unwrap_err();
    assert!(matches!(&refused, kube::Error::Api(status) if status.code == 409), "{refused}");

    let mut wanted = web;
    wanted["spec"]["replicas"] = json!(3);
    let conflict = api.patch("web", &PatchParams::apply("one"), &Patch::Apply(&wanted)).await.unwrap_err();
    assert!(conflict.to_string().contains(".spec.replicas"), "{conflict}");
    let applied = api.patch("web", &PatchParams::apply("one").force(), &Patch::Apply(&wanted)).await.unwrap();
    assert_eq!(applied.spec.and_then(|spec| spec.replicas), Some(3));
    assert_eq!(api.get_scale("web").await.unwrap().spec.and_then(|spec| spec.replicas), Some(3));
    let strict = PostParams { field_manager: None, dry_run: true };
    assert!(api.create(&strict, &made).await.is_err(), "it is there already");
    api.delete("web", &DeleteParams::foreground()).await.unwrap();
}

#[tokio::test]
async fn watchers_begin_with_a_list_or_with_the_stream_alone() {
    let Some(server) = server(&[]) else { return };
    let api: Api<ConfigMap> = Api::default_namespaced(client(&server).await);
    api.create(&PostParams::default(), &config_map("before")).await.unwrap();
    let plain = watcher::Config::default().labels("of=kube-rs");
    for (name, config) in [("listed", plain.clone()), ("streamed", plain.streaming_lists())] {
        let mut events = watcher(api.clone(), config).boxed();
        let mut known = Vec::new();
        loop {
            match soon("the first state", events.try_next()).await.unwrap().expect("it never ends") {
                watcher::Event::InitApply(map) => known.push(map.name_any()),
                watcher::Event::InitDone => break,
                watcher::Event::Init => {}
                other => panic!("{other:?} before all is known"),
            }
        }
        assert!(known.contains(&"before".to_owned()), "{known:?}");
        api.create(&PostParams::default(), &config_map(name)).await.unwrap();
        let next = soon("a change", events.try_next()).await.unwrap();
        assert!(matches!(&next, Some(watcher::Event::Apply(map)) if map.name_any() == name), "{next:?}");
        api.delete(name, &DeleteParams::default()).await.unwrap();
        let next = soon("a deletion", events.try_next()).await.unwrap();
        assert!(matches!(&next, Some(watcher::Event::Delete(map)) if map.name_any() == name), "{next:?}");
    }
}

#[tokio::test]
async fn lists_go_by_pages_and_discovery_finds_every_group() {
    let Some(server) = server(&[]) else { return };
    let client = client(&server).await;
    let api: Api<ConfigMap> = Api::default_namespaced(client.clone());
    for number in 0..10 {
        api.create(&PostParams::default(), &config_map(&format!("c{number}"))).await.unwrap();
    }
    let mut params = ListParams::default().labels("of=kube-rs").limit(4);
    let mut names = Vec::new();
    loop {
        let page = api.list(&params).await.unwrap();
        names.extend(page.iter().map(ResourceExt::name_any));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => break,
        }
    }
    assert_eq!(names, (0..10).map(|number| format!("c{number}")).collect::<Vec<_>>());
    let plain = Discovery::new(client.clone()).run().await.unwrap();
    let aggregated = Discovery::new(client).run_aggregated().await.unwrap();
    for discovery in [plain, aggregated] {
        assert!(discovery.has_group("apps") && discovery.has_group("rbac.authorization.k8s.io"));
        let deployment = discovery.resolve_gvk(&GroupVersionKind::gvk("apps", "v1", "Deployment"));
        assert_eq!(deployment.map(|(resource, _)| resource.plural).as_deref(), Some("deployments"));
    }
}

/// The custom kind of the controller.
fn widgets() -> (CustomResourceDefinition, ApiResource) {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("kube-rs.example.org", "v1", "Widget"));
    let schema = json!({
        "type": "object",
        "properties": {
            "spec": { "type": "object", "properties": { "size": { "type": "integer" } } },
            "status": { "type": "object", "properties": { "seen": { "type": "integer" } } },
        },
    });
    let definition = object(json!({
        "metadata": { "name": "widgets.kube-rs.example.org" },
        "spec": {
            "group": "kube-rs.example.org", "scope": "Namespaced",
            "names": { "plural": "widgets", "kind": "Widget" },
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": { "status": {} },
                "schema": { "openAPIV3Schema": schema },
            }],
        },
    }));
    (definition, resource)
}

/// What the controller does: says in the status what it saw; leaves a ConfigMap behind when the widget goes.
async fn reconcile(
    widget: Arc<DynamicObject>,
    context: Arc<(Api<DynamicObject>, Api<ConfigMap>)>,
) -> Result<Action, finalizer::Error<kube::Error>> {
    let (api, maps) = &*context;
    finalizer(api, "kube-rs.example.org/cleanup", widget, async |event| {
        match event {
            finalizer::Event::Apply(widget) => {
                let seen = json!({ "status": { "seen": widget.data["spec"]["size"] } });
                let params = PatchParams::default();
                api.patch_status(&widget.name_any(), &params, &Patch::Merge(seen)).await?;
            }
            finalizer::Event::Cleanup(widget) => {
                maps.create(&PostParams::default(), &config_map(&format!("{}-is-gone", widget.name_any())))
                    .await?;
            }
        }
        Ok(Action::await_change())
    })
    .await
}

#[tokio::test]
async fn a_controller_looks_after_a_custom_kind() {
    let Some(server) = server(&[]) else { return };
    let client = client(&server).await;
    let (definition, resource) = widgets();
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    definitions.create(&PostParams::default(), &definition).await.unwrap();
    let established =
        await_condition(definitions, "widgets.kube-rs.example.org", conditions::is_crd_established());
    soon("the definition is established", established).await.unwrap();

    let api: Api<DynamicObject> = Api::default_namespaced_with(client.clone(), &resource);
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let controller = Controller::new_with(api.clone(), watcher::Config::default(), resource.clone())
        .run(
            reconcile,
            |_, error, _| panic!("it is never refused anything: {error}"),
            Arc::new((api.clone(), maps.clone())),
        )
        .for_each(|_| std::future::ready(()));
    let controller = tokio::spawn(controller);

    let widget = DynamicObject::new("w", &resource).data(json!({ "spec": { "size": 7 } }));
    api.create(&PostParams::default(), &widget).await.unwrap();
    let seen = |size: u64| {
        move |widget: Option<&DynamicObject>| {
            widget.is_some_and(|widget| widget.data["status"]["seen"] == size)
        }
    };
    soon("it was seen", await_condition(api.clone(), "w", seen(7))).await.unwrap();
    let larger = Patch::Merge(json!({ "spec": { "size": 8 } }));
    api.patch("w", &PatchParams::default(), &larger).await.unwrap();
    soon("the change was seen", await_condition(api.clone(), "w", seen(8))).await.unwrap();
    api.delete("w", &DeleteParams::default()).await.unwrap();
    let gone = |widget: Option<&DynamicObject>| widget.is_none();
    soon("it has gone", await_condition(api, "w", gone)).await.unwrap();
    maps.get("w-is-gone").await.expect("the finalizer ran before");
    controller.abort();
}
