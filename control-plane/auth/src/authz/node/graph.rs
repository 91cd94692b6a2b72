//! Which node may see which object: pod -> node, what each pod refers to, and what else names a node.
//!
//! ```text
//! node <── pod <── secret, config map, account, claim, resource claim
//!                  claim <── volume <── secret of the volume
//! node <── attachment, resource slice
//! ```

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
    /// A claim on devices, named or made for it.
    ResourceClaim,
}

/// What nodes are related by, beside the objects that pods name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Related {
    /// A pod.
    Pod,
    /// A volume, which its claim leads to a pod.
    PersistentVolume,
    /// A volume's attachment to a node.
    VolumeAttachment,
    /// The devices of a node.
    ResourceSlice,
}

impl Related {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::Pod, Self::PersistentVolume, Self::VolumeAttachment, Self::ResourceSlice];

    /// API group and plural.
    pub fn resource(self) -> (&'static str, &'static str) {
        match self {
            Self::Pod => ("", "pods"),
            Self::PersistentVolume => ("", "persistentvolumes"),
            Self::VolumeAttachment => ("storage.k8s.io", "volumeattachments"),
            Self::ResourceSlice => ("resource.k8s.io", "resourceslices"),
        }
    }
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    kind: Referent,
    namespace: Arc<str>,
    name: Arc<str>,
}

/// Namespace and name.
type Named = (Arc<str>, Arc<str>);

struct Pod {
    node: Arc<str>,
    refers_to: Box<[Key]>,
}

struct Volume {
    claim: Named,
    secrets: Box<[Named]>,
}

/// Fed with every event of [`Related`]. What names no node counts for nothing.
#[derive(Default)]
pub struct NodeGraph {
    pods: HashMap<Named, Pod>,
    /// For each object, how many pods of each node refer to it. Few nodes share most objects, so a short list it is.
    nodes: HashMap<Key, Vec<(Arc<str>, u32)>>,
    volumes: HashMap<Arc<str>, Volume>,
    /// The volumes that have a secret.
    secrets: HashMap<Named, Vec<Arc<str>>>,
    /// By name, the node.
    attachments: HashMap<Arc<str>, Arc<str>>,
    slices: HashMap<Arc<str>, Arc<str>>,
}

impl NodeGraph {
    /// Records an object that was added or changed.
    pub fn apply(&mut self, kind: Related, object: &Value) {
        let name = text(object, "/metadata/name");
        match kind {
            Related::Pod => self.apply_pod(object),
            Related::PersistentVolume => self.apply_volume(name, object),
            Related::VolumeAttachment => set_node(&mut self.attachments, name, object),
            Related::ResourceSlice => set_node(&mut self.slices, name, object),
        }
    }

    /// Forgets an object.
    pub fn delete(&mut self, kind: Related, namespace: &str, name: &str) {
        match kind {
            Related::Pod => self.delete_pod(namespace, name),
            Related::PersistentVolume => self.delete_volume(name),
            Related::VolumeAttachment => drop(self.attachments.remove(name)),
            Related::ResourceSlice => drop(self.slices.remove(name)),
        }
    }

    /// Forgets all objects of a kind.
    pub fn clear(&mut self, kind: Related) {
        match kind {
            Related::Pod => {
                self.pods.clear();
                self.nodes.clear();
            }
            Related::PersistentVolume => {
                self.volumes.clear();
                self.secrets.clear();
            }
            Related::VolumeAttachment => self.attachments.clear(),
            Related::ResourceSlice => self.slices.clear(),
        }
    }

    fn apply_volume(&mut self, name: &str, volume: &Value) {
        self.delete_volume(name);
        let claim = (text(volume, "/spec/claimRef/namespace"), text(volume, "/spec/claimRef/name"));
        if claim.1.is_empty() {
            return;
        }
        let name: Arc<str> = name.into();
        let secrets = volume_secrets(volume, claim.0);
        for secret in &secrets {
            self.secrets.entry(secret.clone()).or_default().push(name.clone());
        }
        self.volumes.insert(name, Volume { claim: (claim.0.into(), claim.1.into()), secrets });
    }

    fn delete_volume(&mut self, name: &str) {
        let Some(volume) = self.volumes.remove(name) else { return };
        for secret in &volume.secrets {
            let Some(volumes) = self.secrets.get_mut(secret) else { continue };
            volumes.retain(|known| **known != *name);
            if volumes.is_empty() {
                self.secrets.remove(secret);
            }
        }
    }

    fn apply_pod(&mut self, pod: &Value) {
        let (namespace, name) = (text(pod, "/metadata/namespace"), text(pod, "/metadata/name"));
        let node = text(pod, "/spec/nodeName");
        self.delete_pod(namespace, name);
        if node.is_empty() {
            return;
        }
        let (namespace, name): Named = (namespace.into(), name.into());
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

    fn delete_pod(&mut self, namespace: &str, name: &str) {
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

    /// Does a pod on the node refer to the object? A secret also by the volume of a claim.
    pub fn relates(&self, node: &str, kind: Referent, namespace: &str, name: &str) -> bool {
        let key = Key { kind, namespace: namespace.into(), name: name.into() };
        let by_pod =
            self.nodes.get(&key).is_some_and(|counts| counts.iter().any(|(known, _)| **known == *node));
        by_pod || (kind == Referent::Secret && self.relates_secret(node, key))
    }

    fn relates_secret(&self, node: &str, key: Key) -> bool {
        let volumes = self.secrets.get(&(key.namespace, key.name));
        volumes.is_some_and(|volumes| volumes.iter().any(|name| self.relates_volume(node, name)))
    }

    /// Does a pod on the node mount the volume's claim?
    pub fn relates_volume(&self, node: &str, name: &str) -> bool {
        self.volumes.get(name).is_some_and(|Volume { claim: (namespace, claim), .. }| {
            self.relates(node, Referent::PersistentVolumeClaim, namespace, claim)
        })
    }

    /// Is it an attachment to the node?
    pub fn has_attachment(&self, node: &str, name: &str) -> bool {
        self.attachments.get(name).is_some_and(|known| **known == *node)
    }

    /// Is it a slice of the node?
    pub fn has_slice(&self, node: &str, name: &str) -> bool {
        self.slices.get(name).is_some_and(|known| **known == *node)
    }
}

fn set_node(nodes: &mut HashMap<Arc<str>, Arc<str>>, name: &str, object: &Value) {
    match text(object, "/spec/nodeName") {
        "" => drop(nodes.remove(name)),
        node => drop(nodes.insert(name.into(), node.into())),
    }
}

/// Namespace and name of the secrets that a volume names; without a namespace of their own they are the claim's.
fn volume_secrets(volume: &Value, claim_namespace: &str) -> Box<[Named]> {
    /// Where they stand, and what they are called there.
    const IN_SOURCES: [(&str, &str, &str); 10] = [
        ("/spec/azureFile", "secretNamespace", "secretName"),
        ("/spec/cephfs/secretRef", "namespace", "name"),
        ("/spec/cinder/secretRef", "namespace", "name"),
        ("/spec/flexVolume/secretRef", "namespace", "name"),
        ("/spec/iscsi/secretRef", "namespace", "name"),
        ("/spec/rbd/secretRef", "namespace", "name"),
        ("/spec/scaleIO/secretRef", "namespace", "name"),
        ("/spec/storageos/secretRef", "namespace", "name"),
        ("/spec/csi/nodePublishSecretRef", "namespace", "name"),
        ("/spec/csi/nodeExpandSecretRef", "namespace", "name"),
    ];
    let staged = ("/spec/csi/nodeStageSecretRef", "namespace", "name");
    let mut secrets: Vec<Named> = Vec::new();
    for (pointer, namespace, name) in IN_SOURCES.into_iter().chain([staged]) {
        let Some(reference) = volume.pointer(pointer) else { continue };
        let field = |key: &str| reference[key].as_str().unwrap_or_default();
        let namespace = Some(field(namespace)).filter(|namespace| !namespace.is_empty());
        let secret = (namespace.unwrap_or(claim_namespace).into(), field(name).into());
        if !field(name).is_empty() && !secrets.contains(&secret) {
            secrets.push(secret);
        }
    }
    secrets.into()
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
    // By its own name, or by the one that was made of a template and is in the status.
    for claim in list(pod, "/spec/resourceClaims").chain(list(pod, "/status/resourceClaimStatuses")) {
        add(Referent::ResourceClaim, text(claim, "/resourceClaimName"));
    }
    add(Referent::ResourceClaim, text(pod, "/status/extendedResourceClaimStatus/resourceClaimName"));
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
                "resourceClaims": [
                    { "name": "x", "resourceClaimName": "device" }, { "name": "y", "resourceClaimTemplateName": "t" },
                ],
            },
            "status": { "resourceClaimStatuses": [{ "name": "y", "resourceClaimName": "made" }] },
        })
    }

    #[test]
    fn a_node_sees_what_its_pods_refer_to_and_no_longer_than_they_do() {
        let mut graph = NodeGraph::default();
        graph.apply(Related::Pod, &pod("p1", "a"));
        graph.apply(Related::Pod, &pod("p2", "a"));
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
            (Referent::ResourceClaim, "device"),
            (Referent::ResourceClaim, "made"),
        ];
        for (kind, name) in rows {
            assert!(graph.relates("a", kind, "ns", name), "{kind:?} {name}");
            assert!(!graph.relates("b", kind, "ns", name), "{kind:?} {name}");
            assert!(!graph.relates("a", kind, "other", name), "{kind:?} {name}");
        }
        graph.apply(Related::Pod, &pod("p1", "a"));
        graph.delete(Related::Pod, "ns", "p1");
        assert!(graph.relates("a", Referent::Secret, "ns", "env"));
        graph.delete(Related::Pod, "ns", "p2");
        assert!(!graph.relates("a", Referent::Secret, "ns", "env"));
        assert!(graph.nodes.is_empty() && graph.pods.is_empty());
    }

    #[test]
    fn a_volume_and_its_secrets_are_its_claims() {
        let volume = |claim: &str| {
            json!({
                "metadata": { "name": "v" },
                "spec": {
                    "claimRef": { "namespace": "ns", "name": claim },
                    "csi": { "nodeStageSecretRef": { "namespace": "storage", "name": "stage" } },
                    "azureFile": { "secretName": "share" },
                },
            })
        };
        let mut graph = NodeGraph::default();
        graph.apply(Related::PersistentVolume, &volume("claim"));
        assert!(!graph.relates_volume("a", "v"), "no pod mounts it");
        graph.apply(Related::Pod, &pod("p", "a"));
        let sees = |graph: &NodeGraph, node: &str| {
            [
                graph.relates_volume(node, "v"),
                graph.relates(node, Referent::Secret, "storage", "stage"),
                graph.relates(node, Referent::Secret, "ns", "share"),
            ]
        };
        assert_eq!((sees(&graph, "a"), sees(&graph, "b")), ([true; 3], [false; 3]));
        assert!(!graph.relates("a", Referent::Secret, "storage", "share"));
        graph.apply(Related::PersistentVolume, &volume("another"));
        assert_eq!(sees(&graph, "a"), [false; 3]);
        graph.apply(Related::PersistentVolume, &volume("claim"));
        graph.delete(Related::PersistentVolume, "", "v");
        assert_eq!(sees(&graph, "a"), [false; 3]);
        assert!(graph.secrets.is_empty() && graph.volumes.is_empty());
    }

    #[test]
    fn attachments_and_slices_are_the_nodes_that_they_name() {
        let object = |node: &str| json!({ "metadata": { "name": "x" }, "spec": { "nodeName": node } });
        let mut graph = NodeGraph::default();
        for kind in [Related::VolumeAttachment, Related::ResourceSlice] {
            graph.apply(kind, &object("a"));
        }
        assert!(graph.has_attachment("a", "x") && graph.has_slice("a", "x"));
        assert!(!graph.has_attachment("b", "x") && !graph.has_slice("b", "x"));
        graph.apply(Related::ResourceSlice, &object(""));
        graph.delete(Related::VolumeAttachment, "", "x");
        assert!(!graph.has_attachment("a", "x") && !graph.has_slice("a", "x"));
    }

    #[test]
    fn a_pod_without_node_and_a_mirror_pod_give_nothing_away() {
        let mut graph = NodeGraph::default();
        graph.apply(Related::Pod, &pod("p", ""));
        let mut mirror = pod("m", "a");
        mirror["metadata"]["annotations"] = json!({ "kubernetes.io/config.mirror": "x" });
        graph.apply(Related::Pod, &mirror);
        assert!(graph.relates("a", Referent::Pod, "ns", "m"));
        assert!(!graph.relates("a", Referent::Secret, "ns", "env"));
    }
}
