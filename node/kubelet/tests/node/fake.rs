//! A whole kubelet between a scripted API server and a fake runtime: what users see, in order.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;

use crate::support::{Api, condition, container};
use keelson_kubelet::{Config, Kubelet, NetworkState, NoDrain, Parts};
use keelson_runtime::fake::FakeRuntime;
use keelson_runtime::{Runtime, RuntimeEvent};
use keelson_sys::cgroups::RecordedCgroups;
use keelson_sys::mounts::RecordedMounts;
use serde_json::json;
use tokio::sync::{mpsc, watch};

struct Node {
    api: Api,
    runtime: Arc<FakeRuntime>,
    root: tempfile::TempDir,
    _kubelet: Kubelet,
}

pub(crate) fn config(root: &std::path::Path) -> Config {
    Config {
        node_name: "node-1".into(),
        root: root.to_owned(),
        node_ips: vec!["192.0.2.10".into(), "2001:db8::10".into()],
        pod_cidrs: vec!["10.244.0.0/24".into()],
        cgroup_parent: "/".into(),
        cluster_dns: vec!["10.96.0.10".into()],
        cluster_domain: "cluster.local".into(),
        api_port: 10250,
        pods_max: 110,
    }
}

async fn start(
    api: &Api,
    runtime: &Arc<FakeRuntime>,
    events: mpsc::Receiver<RuntimeEvent>,
    root: &std::path::Path,
) -> Kubelet {
    keelson_kubelet::start(config(root), parts(api, runtime, events)).await.unwrap()
}

fn parts(api: &Api, runtime: &Arc<FakeRuntime>, events: mpsc::Receiver<RuntimeEvent>) -> Parts {
    Parts {
        client: api.client(),
        runtime: Arc::clone(runtime) as Arc<dyn Runtime>,
        events,
        drain: Arc::new(NoDrain),
        network: None,
        mounts: Arc::new(RecordedMounts::default()),
        cgroups: Arc::new(RecordedCgroups::default()),
    }
}

async fn node() -> Node {
    let root = tempfile::tempdir().unwrap();
    let (runtime, events) = FakeRuntime::new(&["busybox", "sha256:busybox"]);
    let (api, runtime) = (Api::new(), Arc::new(runtime));
    let kubelet = start(&api, &runtime, events, root.path()).await;
    Node { api, runtime, root, _kubelet: kubelet }
}

fn spec() -> serde_json::Value {
    json!({ "containers": [{ "name": "app", "image": "busybox" }], "terminationGracePeriodSeconds": 5 })
}

#[tokio::test]
async fn a_node_registers_and_becomes_ready() {
    let node = node().await;
    node.api
        .wait("Ready", |state| {
            let conditions = state.node["status"]["conditions"].as_array().cloned().unwrap_or_default();
            conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True")
        })
        .await;
    let state = node.api.state.lock();
    assert_eq!(state.node["spec"]["podCIDR"], "10.244.0.0/24");
    assert_eq!(state.node["status"]["addresses"][0]["address"], "192.0.2.10");
    assert_eq!(state.node["status"]["addresses"][1]["address"], "2001:db8::10");
    assert!(
        condition_of(&state.node, "NetworkUnavailable").is_none(),
        "others say so, where others give networks"
    );
}

fn condition_of<'a>(node: &'a serde_json::Value, kind: &str) -> Option<&'a serde_json::Value> {
    node["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

#[tokio::test]
async fn a_node_is_ready_when_its_pods_can_have_addresses() {
    let root = tempfile::tempdir().unwrap();
    let (runtime, events) = FakeRuntime::new(&["busybox", "sha256:busybox"]);
    let (api, runtime) = (Api::new(), Arc::new(runtime));
    let message = "spec.podCIDRs of Node node-1 is empty".to_string();
    let (tell, network) = watch::channel(NetworkState::NotReady { reason: "PodCIDRsMissing", message });
    let parts = Parts { network: Some(network), ..parts(&api, &runtime, events) };
    let _kubelet = keelson_kubelet::start(config(root.path()), parts).await.unwrap();
    api.wait("NotReady", |state| {
        let (ready, network) =
            (condition_of(&state.node, "Ready"), condition_of(&state.node, "NetworkUnavailable"));
        let (Some(ready), Some(network)) = (ready, network) else { return false };
        assert_eq!((&ready["status"], &ready["reason"]), (&json!("False"), &json!("KubeletNotReady")));
        assert!(ready["message"].as_str().unwrap().contains("podCIDRs of Node node-1 is empty"), "{ready}");
        assert_eq!((&network["status"], &network["reason"]), (&json!("True"), &json!("PodCIDRsMissing")));
        true
    })
    .await;
    tell.send_replace(NetworkState::Ready);
    api.wait("Ready", |state| {
        let is = |kind, status: &str| condition_of(&state.node, kind).is_some_and(|c| c["status"] == status);
        is("Ready", "True") && is("NetworkUnavailable", "False")
    })
    .await;
}

#[tokio::test]
async fn a_pod_is_run_by_the_handler_of_its_runtime_class() {
    let node = node().await;
    node.runtime.world.lock().handlers.insert("kata".into());
    for (name, handler) in [("boxed", "kata"), ("odd", "unheard-of")] {
        let class = json!({ "metadata": { "name": name }, "handler": handler });
        node.api.state.lock().objects.insert(format!("runtimeclasses/{name}"), class);
    }
    for class in ["boxed", "odd", "none"] {
        let mut spec = spec();
        spec["runtimeClassName"] = class.into();
        node.api.create(class, spec);
    }
    node.api.wait("Ready", |state| condition(state, "boxed", "Ready").as_deref() == Some("True")).await;
    assert!(node.runtime.world.lock().calls.contains(&"RunPodSandbox boxed 0 by kata".to_owned()));
    for why in ["no runtime for \"unheard-of\" is configured", "RuntimeClass \"none\" not found"] {
        let told = |event: &String| event.starts_with("FailedCreatePodSandBox") && event.contains(why);
        node.api.wait(why, |state| state.events.iter().any(told)).await;
    }
}

#[tokio::test]
async fn a_pod_comes_up_restarts_and_goes() {
    let node = node().await;
    node.api.create("web", spec());
    node.api.wait("Ready", |state| condition(state, "web", "Ready").as_deref() == Some("True")).await;
    {
        let state = node.api.state.lock();
        assert_eq!(state.pods["web"]["status"]["phase"], "Running");
        assert_eq!(state.pods["web"]["status"]["podIP"], "10.244.0.9");
    }
    let first = node.runtime.running("app").unwrap();
    node.runtime.exit(&first, 3);
    node.api.wait("the restart", |state| container(state, "web")["restartCount"] == 1).await;
    node.api.wait("running again", |state| container(state, "web")["ready"] == true).await;
    assert_eq!(container(&node.api.state.lock(), "web")["lastState"]["terminated"]["exitCode"], 3);

    node.api.delete("web", 5);
    node.api.wait("the end", |state| state.pods.is_empty()).await;
    {
        let world = node.runtime.world.lock();
        assert!(world.sandboxes.is_empty() && world.containers.is_empty());
        assert!(world.calls.iter().any(|call| call == "StopContainer app 5"), "{:?}", world.calls);
        assert!(!node.root.path().join("pods/uid-web-0").exists());
    }
    node.api
        .wait("the events", |state| {
            let reasons: Vec<_> = state.events.iter().filter_map(|e| e.split(':').next()).collect();
            ["Pulled", "Created", "Started", "Killing"].iter().all(|reason| reasons.contains(reason))
        })
        .await;
}

#[tokio::test]
async fn volumes_and_environment_come_from_the_api() {
    let node = node().await;
    node.api.state.lock().objects.insert(
        "configmaps/settings".into(),
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "settings" }, "data": { "mode": "fast" } }),
    );
    let mut pod = spec();
    pod["serviceAccountName"] = "default".into();
    pod["volumes"] = json!([
        { "name": "c", "configMap": { "name": "settings" } },
        { "name": "t", "projected": { "sources": [{ "serviceAccountToken": { "path": "token" } }] } },
    ]);
    pod["containers"][0]["volumeMounts"] =
        json!([{ "name": "c", "mountPath": "/c" }, { "name": "t", "mountPath": "/t" }]);
    pod["containers"][0]["env"] = json!([
        { "name": "MODE", "valueFrom": { "configMapKeyRef": { "name": "settings", "key": "mode" } } },
        { "name": "BOTH", "value": "$(MODE)-$(POD)" },
        { "name": "POD", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } },
        { "name": "IP", "valueFrom": { "fieldRef": { "fieldPath": "status.podIP" } } },
    ]);
    pod["containers"][0]["command"] = json!(["serve", "--mode=$(MODE)"]);
    node.api.create("web", pod);
    node.api.wait("Ready", |state| condition(state, "web", "Ready").as_deref() == Some("True")).await;
    let id = node.runtime.running("app").unwrap();
    let world = node.runtime.world.lock();
    let config = &world.configs[&id];
    let env = |name: &str| config.envs.iter().find(|e| e.key == name).map(|e| e.value.as_str());
    assert_eq!(env("MODE"), Some("fast"));
    assert_eq!(env("BOTH"), Some("fast-$(POD)"), "only variables before it are known");
    assert_eq!(env("IP"), Some("10.244.0.9"));
    assert_eq!(config.command, ["serve", "--mode=fast"]);
    let host =
        |path: &str| config.mounts.iter().find(|m| m.container_path == path).unwrap().host_path.clone();
    assert_eq!(std::fs::read_to_string(format!("{}/mode", host("/c"))).unwrap(), "fast");
    assert_eq!(std::fs::read_to_string(format!("{}/token", host("/t"))).unwrap(), "secret-token");
    assert!(std::fs::read_to_string(host("/etc/hosts")).unwrap().contains("10.244.0.9\tweb\n"));
}

#[tokio::test]
async fn a_missing_config_map_is_named_and_its_arrival_heals_the_pod() {
    let node = node().await;
    let mut pod = spec();
    pod["volumes"] = json!([{ "name": "c", "configMap": { "name": "late" } }]);
    node.api.create("web", pod);
    let text = "FailedMount: MountVolume.SetUp failed for volume \"c\" : configmap \"late\" not found";
    node.api.wait("the event", |state| state.events.iter().any(|event| event == text)).await;
    node.api.state.lock().objects.insert(
        "configmaps/late".into(),
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "late" } }),
    );
    node.api.wait("Ready", |state| condition(state, "web", "Ready").as_deref() == Some("True")).await;
}

#[tokio::test]
async fn an_image_that_is_nowhere_is_reported_as_upstream_does() {
    let node = node().await;
    let mut pod = spec();
    pod["containers"][0]["image"] = "nowhere".into();
    node.api.create("web", pod);
    let reason =
        |state: &crate::support::State| container(state, "web")["state"]["waiting"]["reason"].clone();
    node.api.wait("ErrImagePull", |state| reason(state) == "ErrImagePull").await;
    node.api.wait("ImagePullBackOff", |state| reason(state) == "ImagePullBackOff").await;
}

fn pull_secret(name: &str, entries: serde_json::Value) -> serde_json::Value {
    let config = json!({ "auths": entries }).to_string();
    let data = base64::engine::general_purpose::STANDARD.encode(config);
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
        "metadata": { "name": name, "uid": format!("uid-{name}") }, "data": { ".dockerconfigjson": data },
    })
}

#[tokio::test]
async fn fitting_credentials_are_tried_in_turn_and_open_the_image_to_their_holders_alone() {
    let node = node().await;
    let image = "r.example:5000/team/app";
    {
        let mut world = node.runtime.world.lock();
        world.registry.insert(image.to_owned());
        world.private.insert(image.to_owned(), ("u".into(), "right".into()));
    }
    let right = json!({
        "r.example:5000": { "username": "u", "password": "right" },
        "r.example:5000/team": { "username": "team", "password": "wrong" },
        "r.example": { "username": "elsewhere", "password": "wrong" },
    });
    node.api.state.lock().objects.insert("secrets/right".into(), pull_secret("right", right));
    let mut pod = json!({ "containers": [{ "name": "app", "image": image }] });
    pod["imagePullSecrets"] = json!([{ "name": "" }, {}, { "name": "missing" }, { "name": "right" }]);
    node.api.create("holder", pod.clone());
    node.api.wait("Ready", |state| condition(state, "holder", "Ready").as_deref() == Some("True")).await;
    let pulls = |node: &Node| {
        let calls = node.runtime.world.lock().calls.clone();
        calls.into_iter().filter(|call| call.starts_with("PullImage")).collect::<Vec<_>>()
    };
    assert_eq!(pulls(&node), [format!("PullImage {image} team"), format!("PullImage {image} u")]);
    let text = "FailedToRetrieveImagePullSecret: Unable to retrieve some image pull secrets (missing); attempting to \
                pull the image may not succeed.";
    node.api.wait("the event", |state| state.events.iter().any(|event| event == text)).await;

    node.api.create("other-holder", pod.clone());
    node.api
        .wait("Ready", |state| condition(state, "other-holder", "Ready").as_deref() == Some("True"))
        .await;
    assert_eq!(pulls(&node).len(), 2, "it is there, and the pod could have pulled it");

    pod.as_object_mut().unwrap().remove("imagePullSecrets");
    node.api.create("stranger", pod);
    let waiting = |state: &crate::support::State| container(state, "stranger")["state"]["waiting"].clone();
    node.api.wait("a refusal", |state| waiting(state)["reason"] == "ErrImagePull").await;
    assert_eq!(pulls(&node).last(), Some(&format!("PullImage {image}")), "it is tried without credentials");
    let message = waiting(&node.api.state.lock())["message"].to_string();
    assert!(message.contains("401 Unauthorized"), "{message}");
}

#[tokio::test]
async fn a_new_daemon_adopts_what_runs_and_removes_what_belongs_to_nobody() {
    let root = tempfile::tempdir().unwrap();
    let (runtime, events) = FakeRuntime::new(&["busybox", "sha256:busybox"]);
    let (api, runtime) = (Api::new(), Arc::new(runtime));
    // The first daemon lives in a tokio runtime of its own, so that it can die like a killed process.
    let (first_api, first_runtime, path) = (api.clone(), Arc::clone(&runtime), root.path().to_owned());
    let first = std::thread::spawn(move || {
        let tokio =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        tokio.block_on(async {
            let _kubelet = start(&first_api, &first_runtime, events, &path).await;
            first_api.create("web", spec());
            first_api.create("orphan", spec());
            for pod in ["web", "orphan"] {
                first_api.wait(pod, |state| condition(state, pod, "Ready").as_deref() == Some("True")).await;
            }
        });
        tokio.shutdown_background();
    });
    first.join().unwrap();
    api.state.lock().pods.remove("orphan");
    // What was told of its start stays, whatever the runtime's clock said; what is wrong is told anew.
    const TOLD: &str = "2026-01-02T03:04:05Z";
    {
        let mut state = api.state.lock();
        let status = &mut state.pods.get_mut("web").unwrap()["status"];
        status["containerStatuses"][0]["state"]["running"]["startedAt"] = TOLD.into();
        let conditions = status["conditions"].as_array_mut().unwrap();
        conditions.iter_mut().for_each(|condition| condition["status"] = "False".into());
    }
    let calls = std::mem::take(&mut runtime.world.lock().calls);
    assert_eq!(calls.iter().filter(|call| call.starts_with("StartContainer")).count(), 2);

    let kubelet = start(&api, &runtime, runtime.subscribe(), root.path()).await;
    let gone = async {
        while runtime.world.lock().sandboxes.len() != 1 || kubelet.pods.count() != 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(crate::support::PATIENCE, gone).await.expect("the orphan is removed");
    api.wait("web", |state| condition(state, "web", "Ready").as_deref() == Some("True")).await;
    let started = container(&api.state.lock(), "web")["state"]["running"]["startedAt"].clone();
    assert_eq!(started, TOLD);
    let world = runtime.world.lock();
    assert!(
        !world.calls.iter().any(|c| c.starts_with("StartContainer") || c.starts_with("StopContainer")),
        "{:?}",
        world.calls
    );
    assert_eq!(condition(&api.state.lock(), "web", "Ready").as_deref(), Some("True"));
}

#[tokio::test]
async fn an_ephemeral_container_sees_the_processes_of_its_target_and_runs_once() {
    use keelson_runtime::v1::NamespaceMode;
    let node = node().await;
    node.api.create("web", spec());
    node.api.wait("running", |state| condition(state, "web", "Ready").as_deref() == Some("True")).await;
    let look = json!({ "name": "look", "image": "busybox", "targetContainerName": "app" });
    node.api.change("web", |spec| spec["ephemeralContainers"] = json!([look]));
    let shown =
        |state: &crate::support::State| state.pods["web"]["status"]["ephemeralContainerStatuses"][0].clone();
    node.api.wait("it runs", |state| shown(state)["state"]["running"].is_object()).await;
    let target = node.runtime.running("app").unwrap();
    let id = node.runtime.running("look").unwrap();
    {
        let world = node.runtime.world.lock();
        let linux = world.configs[&id].linux.clone().unwrap();
        let option = linux.security_context.unwrap().namespace_options.unwrap();
        assert_eq!((option.pid(), option.target_id), (NamespaceMode::Target, target.clone()));
    }
    node.runtime.exit(&id, 3);
    node.api.wait("it has ended", |state| shown(state)["state"]["terminated"]["exitCode"] == 3).await;
    let state = node.api.state.lock();
    assert_eq!(condition(&state, "web", "Ready").as_deref(), Some("True"));
    assert_eq!((&shown(&state)["restartCount"], &shown(&state)["ready"]), (&json!(0), &json!(false)));
    assert_eq!(node.runtime.running("app"), Some(target), "the pod's own container is as it was");
    assert!(state.events.iter().any(|event| event.starts_with("Started")), "{:?}", state.events);
}

#[tokio::test]
async fn an_ephemeral_container_that_cannot_be_had_is_named_and_the_pod_runs_on() {
    let node = node().await;
    node.api.create("web", spec());
    node.api.wait("running", |state| condition(state, "web", "Ready").as_deref() == Some("True")).await;
    let rows = [
        (
            json!({ "name": "a", "image": "busybox", "volumeDevices": [{ "name": "v", "devicePath": "/d" }] }),
            "volumeDevices",
        ),
        (
            json!({ "name": "b", "image": "busybox", "targetContainerName": "gone" }),
            "unable to find target container gone",
        ),
    ];
    let all: Vec<_> = rows.iter().map(|(container, _)| container.clone()).collect();
    node.api.change("web", |spec| spec["ephemeralContainers"] = json!(all));
    for (index, (_, expected)) in rows.iter().enumerate() {
        node.api
            .wait(expected, |state| {
                let status = &state.pods["web"]["status"]["ephemeralContainerStatuses"][index];
                let waiting = &status["state"]["waiting"];
                waiting["reason"] == "CreateContainerConfigError"
                    && waiting["message"].as_str().is_some_and(|text| text.contains(expected))
            })
            .await;
    }
    assert_eq!(condition(&node.api.state.lock(), "web", "Ready").as_deref(), Some("True"));
}

fn pod_of_size(cpu: &str, policy: serde_json::Value) -> serde_json::Value {
    let amounts = json!({ "cpu": cpu, "memory": "64Mi" });
    let mut pod = spec();
    pod["containers"][0]["resources"] = json!({ "limits": amounts, "requests": amounts });
    pod["containers"][0]["resizePolicy"] = policy;
    pod
}

#[tokio::test]
async fn a_resize_reaches_the_running_container_or_says_why_not() {
    let node = node().await;
    let restart = json!([{ "resourceName": "memory", "restartPolicy": "RestartContainer" }]);
    node.api.create("web", pod_of_size("100m", restart));
    node.api.wait("Ready", |state| condition(state, "web", "Ready").as_deref() == Some("True")).await;
    let cpu = |state: &crate::support::State| container(state, "web")["resources"]["limits"]["cpu"].clone();
    assert_eq!(cpu(&node.api.state.lock()), "100m");
    let id = node.runtime.running("app").unwrap();
    let set = |name: &str, amount: &str| {
        node.api.change("web", |spec| {
            for part in ["limits", "requests"] {
                spec["containers"][0]["resources"][part][name] = amount.into();
            }
        });
    };
    set("cpu", "200m");
    node.api.wait("the resize", |state| cpu(state) == "200m").await;
    let call = format!("UpdateContainerResources app 204 20000 {}", 64 << 20);
    assert!(node.runtime.world.lock().calls.contains(&call), "{:?}", node.runtime.world.lock().calls);
    assert_eq!(node.runtime.running("app").as_deref(), Some(id.as_str()));
    assert_eq!(container(&node.api.state.lock(), "web")["allocatedResources"]["cpu"], "200m");
    node.api.wait("its end", |state| condition(state, "web", "PodResizeInProgress").is_none()).await;

    set("memory", "32Mi");
    node.api.wait("the restart", |state| container(state, "web")["restartCount"] == 1).await;
    node.api
        .wait("the new amount", |state| container(state, "web")["resources"]["limits"]["memory"] == "32Mi")
        .await;
    assert_ne!(node.runtime.running("app").as_deref(), Some(id.as_str()));

    set("cpu", "100000");
    let pending = |state: &crate::support::State| condition(state, "web", "PodResizePending");
    node.api.wait("a refusal", |state| pending(state).as_deref() == Some("True")).await;
    let told =
        |event: &String| event.starts_with("ResizeInfeasible: ") && event.contains("requested: 100000000");
    node.api.wait("the event", |state| state.events.iter().any(told)).await;
    assert_eq!(cpu(&node.api.state.lock()), "200m");
    set("cpu", "200m");
    node.api.wait("all is well", |state| pending(state).is_none()).await;
}
