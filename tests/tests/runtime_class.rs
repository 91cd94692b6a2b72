//! RuntimeClasses: pods are run by their class's handler, get what it costs and where it is, and are left alone by the socket hooks
//! where the class says so.

use anyhow::{Context, Result, ensure};
use keelson_tests::{
    Cluster, Namespace, PATIENCE, api, cluster::Inside, eventually, kubectl::kubectl, manifest,
};
use serde_json::{Value, json};

use crate::{
    packets::netns_of,
    services::PROGRAMMED_MAX,
    socket_lb::{SOCKET_LB, client, tcp, web},
};

/// The second handler of the containerd that `up` starts.
const HANDLER: &str = "runc-too";
const CLASSES: &str = "/apis/node.k8s.io/v1/runtimeclasses";

/// A class of the cluster; gone with the value.
struct Class(String);

impl Class {
    /// Of this handler, with what else it says.
    fn create(namespace: &Namespace, name: &str, handler: &str, more: Value) -> Result<Class> {
        let name = format!("{}-{name}", namespace.name);
        let mut class = json!({
            "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "handler": handler, "metadata": { "name": name },
        });
        for (key, value) in more.as_object().context("an object")? {
            class[key] = value.clone();
        }
        class["metadata"]["name"] = name.clone().into();
        api::create(CLASSES, &class)?;
        Ok(Class(name))
    }

    /// A pod of it.
    fn of(&self, mut pod: Value) -> Value {
        pod["spec"]["runtimeClassName"] = self.0.clone().into();
        pod
    }
}

impl Drop for Class {
    fn drop(&mut self) {
        let _ = api::delete(&format!("{CLASSES}/{}", self.0));
    }
}

#[test]
fn a_pod_is_run_by_its_classs_handler_where_the_class_is_and_for_what_it_costs() -> Result<()> {
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("classes")?);
    let node = cluster.nodes().pop().context("a node")?;
    let class = Class::create(
        &namespace,
        "boxed",
        HANDLER,
        json!({
            "overhead": { "podFixed": { "cpu": "10m", "memory": "16Mi" } },
            "scheduling": { "nodeSelector": { "kubernetes.io/hostname": node } },
        }),
    )?;
    let unknown = Class::create(&namespace, "unknown", "unheard-of", json!({}))?;
    let columns = kubectl(&format!("get runtimeclass {}", class.0))?;
    ensure!(columns.contains("HANDLER") && columns.contains(HANDLER), "{columns}");
    namespace.apply_all(&[class.of(manifest::shell("boxed")), unknown.of(manifest::shell("odd"))])?;
    let pod = namespace.ready("boxed")?;
    ensure!(pod["spec"]["nodeName"] == node.as_str(), "{}", pod["spec"]);
    ensure!(pod["spec"]["overhead"] == json!({ "cpu": "10m", "memory": "16Mi" }), "{}", pod["spec"]);
    // The runtime is asked for the handler by name: it refuses one that it has not.
    eventually(PATIENCE, "an event says that nobody knows the handler", || {
        let events = namespace.list("events", "")?;
        let told = |event: &&Value| {
            event["reason"] == "FailedCreatePodSandBox"
                && event["involvedObject"]["name"] == "odd"
                && event["message"].as_str().is_some_and(|text| text.contains("unheard-of"))
        };
        events.iter().find(told).map(drop).with_context(|| format!("{events:?}"))
    })?;
    // Of a class that is not there there are no pods.
    let mut none = manifest::shell("none");
    none["spec"]["runtimeClassName"] = json!("none-of-that-name");
    let said = namespace.refused("create -f -", Some(&none.to_string()))?;
    ensure!(said.contains("RuntimeClass \"none-of-that-name\" not found"), "{said}");
    // And its handler never changes.
    let patch = json!({ "handler": "runc" }).to_string();
    let response =
        api::send("PATCH", &format!("{CLASSES}/{}", class.0), "application/merge-patch+json", &patch)?;
    ensure!(response.code == 422 && response.fields() == ["handler"], "{response:?}");
    Ok(())
}

#[test]
fn sockets_of_a_class_with_a_kernel_of_its_own_are_left_alone_and_served_by_packet() -> Result<()> {
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("classes")?);
    let services = web(&cluster, &namespace)?;
    let said = json!({ "metadata": { "annotations": { SOCKET_LB: "off" } } });
    let (off, silent) = (
        Class::create(&namespace, "off", HANDLER, said)?,
        Class::create(&namespace, "silent", HANDLER, json!({}))?,
    );
    namespace.apply_all(&[
        off.of(client("off", "n1", None)),
        off.of(client("differs", "n1", Some("on"))),
        silent.of(client("silent", "n1", None)),
    ])?;
    for (name, left_alone) in [("off", true), ("differs", false), ("silent", false)] {
        let netns = netns_of(&cluster, &namespace.ready(name)?)?;
        let _inside = Inside::enter(&cluster, "n1")?;
        for &service in &services {
            let remote =
                eventually(PROGRAMMED_MAX, &format!("{name} reaches {service}"), || tcp(&netns, service))?;
            ensure!((remote == service) == left_alone, "{name} is connected to {remote} for {service}");
        }
    }
    Ok(())
}
