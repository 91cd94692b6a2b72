//! Objects of the API as they come over the wire, with only the fields that are read, and their projections.

use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use keelson_ebpf_common::packet::protocol;
use keelson_semantics::{IntOrString, label_selector::LabelSelectorSpec};
use serde::Deserialize;

use super::{
    labels::LabelSet,
    types::{NamedPort, Profile},
};
use crate::{
    objects::resource,
    socket_lb::{ClassWish, SOCKET_LB},
};

/// `v1.Pod`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct PodObject {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: PodSpec,
    #[serde(default)]
    status: PodStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodSpec {
    node_name: Option<Box<str>>,
    host_network: Option<bool>,
    runtime_class_name: Option<Box<str>>,
    containers: Vec<Container>,
    init_containers: Option<Vec<Container>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Container {
    restart_policy: Option<Box<str>>,
    ports: Option<Vec<ContainerPort>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerPort {
    name: Option<Box<str>>,
    container_port: Option<u16>,
    protocol: Option<Box<str>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodStatus {
    phase: Option<Box<str>>,
    #[serde(rename = "podIPs")]
    pod_ips: Option<Vec<PodIp>>,
}

#[derive(Clone, Debug, Deserialize)]
struct PodIp {
    ip: Box<str>,
}

/// What is read of a Pod.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PodView {
    pub(super) uid: Box<str>,
    pub(super) profile: Profile,
    /// None when it has ended: then its addresses are others'.
    pub(super) addresses: Box<[IpAddr]>,
    pub(super) local: bool,
}

impl PodObject {
    /// `None` for a pod in its host's network.
    pub(super) fn project(&self, node: &str) -> Option<PodView> {
        if self.spec.host_network == Some(true) {
            return None;
        }
        let ended = matches!(self.status.phase.as_deref(), Some("Succeeded" | "Failed"));
        let ips = self.status.pod_ips.iter().flatten().filter(|_| !ended);
        Some(PodView {
            uid: self.metadata.uid.as_deref().unwrap_or_default().into(),
            profile: Profile {
                namespace: self.metadata.namespace.as_deref().unwrap_or_default().into(),
                labels: labels(&self.metadata),
                ports: self.named_ports(),
            },
            addresses: ips.filter_map(|ip| ip.ip.parse().ok()).collect(),
            local: self.spec.node_name.as_deref() == Some(node),
        })
    }

    /// What a pod of this node says of its sockets.
    pub(super) fn socket_lb(&self, node: &str) -> Option<&str> {
        said(&self.metadata).filter(|_| self.spec.node_name.as_deref() == Some(node))
    }

    /// The RuntimeClass of a pod of this node.
    pub(super) fn runtime_class(&self, node: &str) -> Option<&str> {
        let class = self.spec.runtime_class_name.as_deref();
        class.filter(|_| self.spec.node_name.as_deref() == Some(node))
    }

    /// Of containers that run as long as the pod does.
    fn named_ports(&self) -> Box<[NamedPort]> {
        let sidecars = self.spec.init_containers.iter().flatten();
        let sidecars = sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
        let ports = self.spec.containers.iter().chain(sidecars).flat_map(|c| c.ports.iter().flatten());
        let mut named: Vec<_> = ports
            .filter_map(|port| {
                let (name, number) = (port.name.clone()?, port.container_port?);
                Some(NamedPort { name, protocol: protocol_number(port.protocol.as_deref())?, number })
            })
            .collect();
        named.sort_unstable();
        named.dedup();
        named.into_boxed_slice()
    }
}

/// What an object says of sockets.
fn said(metadata: &ObjectMeta) -> Option<&str> {
    metadata.annotations.as_ref()?.get(SOCKET_LB).map(String::as_str)
}

fn labels(metadata: &ObjectMeta) -> LabelSet {
    metadata.labels.iter().flatten().map(|(key, value)| (key.as_str(), value.as_str())).collect()
}

/// IANA number; TCP where nothing is said.
pub(super) fn protocol_number(name: Option<&str>) -> Option<u8> {
    match name {
        None | Some("TCP") => Some(protocol::TCP),
        Some("UDP") => Some(protocol::UDP),
        Some("SCTP") => Some(protocol::SCTP),
        Some(_) => None,
    }
}

/// `v1.Namespace`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct NamespaceObject {
    metadata: ObjectMeta,
}

impl NamespaceObject {
    pub(super) fn project(&self) -> LabelSet {
        labels(&self.metadata)
    }

    /// What it says of its pods' sockets.
    pub(super) fn socket_lb(&self) -> Option<&str> {
        said(&self.metadata)
    }
}

/// `node.k8s.io/v1.RuntimeClass`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct RuntimeClassObject {
    metadata: ObjectMeta,
    #[serde(default)]
    handler: Box<str>,
}

impl RuntimeClassObject {
    /// What it says of its pods' sockets, in words or by who runs them.
    pub(super) fn socket_lb(&self) -> ClassWish {
        ClassWish { said: said(&self.metadata).map(Into::into), handler: self.handler.clone() }
    }
}

/// `networking.k8s.io/v1.NetworkPolicy`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct PolicyObject {
    metadata: ObjectMeta,
    #[serde(default)]
    pub(super) spec: PolicySpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PolicySpec {
    pub(super) pod_selector: Option<LabelSelectorSpec>,
    pub(super) policy_types: Option<Vec<Box<str>>>,
    pub(super) ingress: Option<Vec<IngressSpec>>,
    pub(super) egress: Option<Vec<EgressSpec>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct IngressSpec {
    pub(super) from: Option<Vec<PeerSpec>>,
    pub(super) ports: Option<Vec<PortSpec>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct EgressSpec {
    pub(super) to: Option<Vec<PeerSpec>>,
    pub(super) ports: Option<Vec<PortSpec>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PeerSpec {
    pub(super) pod_selector: Option<LabelSelectorSpec>,
    pub(super) namespace_selector: Option<LabelSelectorSpec>,
    pub(super) ip_block: Option<BlockSpec>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct BlockSpec {
    pub(super) cidr: Box<str>,
    pub(super) except: Option<Vec<Box<str>>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PortSpec {
    pub(super) protocol: Option<Box<str>>,
    pub(super) port: Option<IntOrString>,
    pub(super) end_port: Option<i32>,
}

resource!(PodObject, NamespaceResourceScope, "", "v1", "Pod", "pods");
resource!(NamespaceObject, ClusterResourceScope, "", "v1", "Namespace", "namespaces");
resource!(RuntimeClassObject, ClusterResourceScope, "node.k8s.io", "v1", "RuntimeClass", "runtimeclasses");
resource!(
    PolicyObject,
    NamespaceResourceScope,
    "networking.k8s.io",
    "v1",
    "NetworkPolicy",
    "networkpolicies"
);
