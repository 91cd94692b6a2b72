//! Which node may see which object: pod -> node, and what each pod refers to.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

/// What a pod can refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Referent {
    /// The pod itself.
    Pod,
    /// A secret that it mounts, reads its environment from, or pulls images with.
    Secret,
    /// A config map that it mounts or reads its environment from.
    ConfigMap,
    /// The account that it runs as.
    ServiceAccount,
    /// A claim that it mounts.
    PersistentVolumeClaim,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    kind: Referent,
    namespace: Arc<str>,
    name: Arc<str>,
}

struct Pod {
    node: Arc<str>,
    refers_to: Box<[Key]>,
}

/// Fed with every pod event. Pods without a node count for nothing.
#[derive(Default)]
pub struct NodeGraph {
    pods: HashMap<(Arc<str>, Arc<str>), Pod>,
    /// For each object, how many pods of each node refer to it. Few nodes share most objects, so a short list it is.
    nodes: HashMap<Key, Vec<(Arc<str>, u32)>>,
}

impl NodeGraph {
    /// Records a pod that was added or changed.
    pub fn apply(&mut self, pod: &Value) {
        let (namespace, name) = (text(pod, "/metadata/namespace"), text(pod, "/metadata/name"));
        let node = text(pod, "/spec/nodeName");
        self.delete(namespace, name);
        if node.is_empty() {
            return;
        }
        let (namespace, name): (Arc<str>, Arc<str>) = (namespace.into(), name.into());
        let node: Arc<str> = node.into();
        let refers_to = references(pod, &namespace, &name);
        for key in &refers_to {
            let counts = self.nodes.entry(key.clone()).or_default();
            match counts.iter_mut().find(|(known, _)| *known == node) {
                Some((_, count)) => *count += 1,
                None => counts.push((node.clone(), 1)),
            }
        }
        self.pods.insert((namespace, name), Pod { node, refers_to });
    }

    /// Forgets a pod.
    pub fn delete(&mut self, namespace: &str, name: &str) {
        let Some(pod) = self.pods.remove(&(namespace.into(), name.into())) else { return };
        for key in &pod.refers_to {
            let Some(counts) = self.nodes.get_mut(key) else { continue };
            if let Some(index) = counts.iter().position(|(node, _)| *node == pod.node) {
                counts[index].1 -= 1;
                if counts[index].1 == 0 {
                    counts.swap_remove(index);
                }
            }
            if counts.is_empty() {
                self.nodes.remove(key);
            }
        }
    }

    /// Does a pod on the node refer to the object?
    pub fn relates(&self, node: &str, kind: Referent, namespace: &str, name: &str) -> bool {
        let key = Key { kind, namespace: namespace.into(), name: name.into() };
        self.nodes.get(&key).is_some_and(|counts| counts.iter().any(|(known, _)| **known == *node))
    }
}

/// Each object once. A mirror pod stands for a file on its node: it gives no access to anything but itself.
fn references(pod: &Value, namespace: &Arc<str>, name: &Arc<str>) -> Box<[Key]> {
    const MIRROR: &str = "kubernetes.io/config.mirror";
    let mut keys = vec![Key { kind: Referent::Pod, namespace: namespace.clone(), name: name.clone() }];
    if pod.pointer("/metadata/annotations").and_then(|annotations| annotations.get(MIRROR)).is_some() {
        return keys.into();
    }
    let mut add = |kind, name: &str| {
        let key = Key { kind, namespace: namespace.clone(), name: name.into() };
        if !name.is_empty() && !keys.contains(&key) {
            keys.push(key);
        }
    };
    add(Referent::ServiceAccount, text(pod, "/spec/serviceAccountName"));
    for_each_secret(pod, |name| add(Referent::Secret, name));
    for_each_config_map(pod, |name| add(Referent::ConfigMap, name));
    for volume in list(pod, "/spec/volumes") {
        add(Referent::PersistentVolumeClaim, text(volume, "/persistentVolumeClaim/claimName"));
        if volume.get("ephemeral").is_some_and(|ephemeral| !ephemeral.is_null()) {
            add(Referent::PersistentVolumeClaim, &format!("{name}-{}", text(volume, "/name")));
        }
    }
    keys.into()
}

/// Calls with the name of every secret that the pod uses, repetitions included.
pub fn for_each_secret(pod: &Value, mut call: impl FnMut(&str)) {
    /// Volume sources that name a secret of the pod's namespace.
    const IN_VOLUMES: [&str; 10] = [
        "/secret/secretName",
        "/csi/nodePublishSecretRef/name",
        "/azureFile/secretName",
        "/cephfs/secretRef/name",
        "/cinder/secretRef/name",
        "/flexVolume/secretRef/name",
        "/iscsi/secretRef/name",
        "/rbd/secretRef/name",
        "/scaleIO/secretRef/name",
        "/storageos/secretRef/name",
    ];
    let mut some = |name: &str| {
        if !name.is_empty() {
            call(name);
        }
    };
    for pull_secret in list(pod, "/spec/imagePullSecrets") {
        some(text(pull_secret, "/name"));
    }
    for_each_environment(pod, "/valueFrom/secretKeyRef/name", "/secretRef/name", &mut some);
    for volume in list(pod, "/spec/volumes") {
        IN_VOLUMES.iter().for_each(|pointer| some(text(volume, pointer)));
        list(volume, "/projected/sources").for_each(|source| some(text(source, "/secret/name")));
    }
}

/// Calls with the name of every config map that the pod uses, repetitions included.
pub fn for_each_config_map(pod: &Value, mut call: impl FnMut(&str)) {
    let mut some = |name: &str| {
        if !name.is_empty() {
            call(name);
        }
    };
    for_each_environment(pod, "/valueFrom/configMapKeyRef/name", "/configMapRef/name", &mut some);
    for volume in list(pod, "/spec/volumes") {
        some(text(volume, "/configMap/name"));
        list(volume, "/projected/sources").for_each(|source| some(text(source, "/configMap/name")));
    }
}

fn for_each_environment(pod: &Value, in_env: &str, in_env_from: &str, call: &mut impl FnMut(&str)) {
    for containers in ["/spec/initContainers", "/spec/containers", "/spec/ephemeralContainers"] {
        for container in list(pod, containers) {
            list(container, "/env").for_each(|variable| call(text(variable, in_env)));
            list(container, "/envFrom").for_each(|source| call(text(source, in_env_from)));
        }
    }
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(object: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    object.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, node: &str) -> Value {
        json!({
            "metadata": { "namespace": "ns", "name": name },
            "spec": {
                "nodeName": node,
                "serviceAccountName": "default",
                "imagePullSecrets": [{ "name": "pull" }],
                "containers": [{ "env": [
                    { "name": "A", "valueFrom": { "secretKeyRef": { "name": "env", "key": "k" } } },
                    { "name": "B", "valueFrom": { "configMapKeyRef": { "name": "env-map", "key": "k" } } },
                ] }],
                "initContainers": [{ "envFrom": [{ "secretRef": { "name": "from" } }, { "configMapRef": { "name": "from-map" } }] }],
                "volumes": [
                    { "name": "a", "secret": { "secretName": "mounted" } },
                    { "name": "b", "projected": { "sources": [
                        { "secret": { "name": "projected" } }, { "configMap": { "name": "kube-root-ca.crt" } },
                    ] } },
                    { "name": "c", "persistentVolumeClaim": { "claimName": "claim" } },
                    { "name": "d", "ephemeral": {} },
                ],
            },
        })
    }

    #[test]
    fn a_node_sees_what_its_pods_refer_to_and_no_longer_than_they_do() {
        let mut graph = NodeGraph::default();
        graph.apply(&pod("p1", "a"));
        graph.apply(&pod("p2", "a"));
        let rows = [
            (Referent::Pod, "p1"),
            (Referent::ServiceAccount, "default"),
            (Referent::Secret, "pull"),
            (Referent::Secret, "env"),
            (Referent::Secret, "from"),
            (Referent::Secret, "mounted"),
            (Referent::Secret, "projected"),
            (Referent::ConfigMap, "env-map"),
            (Referent::ConfigMap, "from-map"),
            (Referent::ConfigMap, "kube-root-ca.crt"),
            (Referent::PersistentVolumeClaim, "claim"),
            (Referent::PersistentVolumeClaim, "p1-d"),
        ];
        for (kind, name) in rows {
            assert!(graph.relates("a", kind, "ns", name), "{kind:?} {name}");
            assert!(!graph.relates("b", kind, "ns", name), "{kind:?} {name}");
            assert!(!graph.relates("a", kind, "other", name), "{kind:?} {name}");
        }
        graph.apply(&pod("p1", "a"));
        graph.delete("ns", "p1");
        assert!(graph.relates("a", Referent::Secret, "ns", "env"));
        graph.delete("ns", "p2");
        assert!(!graph.relates("a", Referent::Secret, "ns", "env"));
        assert!(graph.nodes.is_empty() && graph.pods.is_empty());
    }

    #[test]
    fn a_pod_without_node_and_a_mirror_pod_give_nothing_away() {
        let mut graph = NodeGraph::default();
        graph.apply(&pod("p", ""));
        let mut mirror = pod("m", "a");
        mirror["metadata"]["annotations"] = json!({ "kubernetes.io/config.mirror": "x" });
        graph.apply(&mirror);
        assert!(graph.relates("a", Referent::Pod, "ns", "m"));
        assert!(!graph.relates("a", Referent::Secret, "ns", "env"));
    }
}
