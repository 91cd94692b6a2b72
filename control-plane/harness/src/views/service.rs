//! Service and EndpointSlice.

use super::{View, null_default};
use crate::{IndexKey, Meta, ObjectKey, Resource, api};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// core/v1 Service.
#[derive(Debug, Deserialize)]
pub struct Service {
    /// metadata
    pub metadata: Meta,
    /// spec
    #[serde(default)]
    pub spec: ServiceSpec,
    /// status
    #[serde(default)]
    pub status: ServiceStatus,
}

/// core/v1 ServiceStatus.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceStatus {
    /// Where a load balancer takes connections.
    #[serde(deserialize_with = "null_default")]
    pub load_balancer: LoadBalancerStatus,
    /// conditions
    #[serde(deserialize_with = "null_default")]
    pub conditions: Vec<super::Condition>,
}

/// core/v1 LoadBalancerStatus.
#[derive(Debug, Default, Deserialize)]
pub struct LoadBalancerStatus {
    /// Each address or host name.
    #[serde(default, deserialize_with = "null_default")]
    pub ingress: Vec<LoadBalancerIngress>,
}

/// core/v1 LoadBalancerIngress.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LoadBalancerIngress {
    /// Empty where a host name is given.
    pub ip: String,
    /// VIP or Proxy.
    pub ip_mode: String,
}

/// core/v1 ServiceSpec.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSpec {
    /// Absent or empty: someone else keeps the endpoints.
    #[serde(deserialize_with = "null_default")]
    pub selector: BTreeMap<String, String>,
    /// ports
    #[serde(deserialize_with = "null_default")]
    pub ports: Vec<ServicePort>,
    /// ClusterIP, NodePort, LoadBalancer or ExternalName.
    pub r#type: String,
    /// `None` for headless Services.
    #[serde(rename = "clusterIP")]
    pub cluster_ip: String,
    /// IPv4, IPv6, or both.
    #[serde(deserialize_with = "null_default")]
    pub ip_families: Vec<String>,
    /// SingleStack, PreferDualStack or RequireDualStack.
    pub ip_family_policy: Option<String>,
    /// Endpoints count as ready even if their pods are not.
    pub publish_not_ready_addresses: bool,
    /// PreferClose, PreferSameZone or PreferSameNode.
    pub traffic_distribution: Option<String>,
    /// Who gives a load balancer its addresses; none: the cluster's default.
    pub load_balancer_class: Option<String>,
    /// The address that a load balancer should have.
    #[serde(rename = "loadBalancerIP")]
    pub load_balancer_ip: String,
}

/// core/v1 ServicePort.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServicePort {
    /// Empty if it is the only one.
    pub name: String,
    /// TCP, UDP or SCTP.
    pub protocol: String,
    /// The Service's port.
    pub port: u16,
    /// A number, or the name of a container's port; `null` means `port`.
    pub target_port: Value,
    /// Hint for the application's protocol.
    pub app_protocol: Option<String>,
}

impl View for Service {
    const RESOURCE: Resource = api::SERVICES;

    fn meta(&self) -> &Meta {
        &self.metadata
    }

    fn indexes(&self) -> Vec<IndexKey> {
        vec![IndexKey::Namespace(self.metadata.namespace.clone())]
    }
}

/// discovery/v1 EndpointSlice. Written back whole, so its endpoints keep every field that we write.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointSlice {
    /// metadata
    pub metadata: Meta,
    /// IPv4, IPv6 or FQDN.
    #[serde(default)]
    pub address_type: String,
    /// endpoints
    #[serde(default, deserialize_with = "null_default")]
    pub endpoints: Vec<Endpoint>,
    /// ports
    #[serde(default, deserialize_with = "null_default")]
    pub ports: Vec<EndpointPort>,
}

/// discovery/v1 Endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Endpoint {
    /// One address.
    pub addresses: Vec<String>,
    /// What the pod is able to do.
    pub conditions: Conditions,
    /// For headless Services: the name of the endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<TargetRef>,
    /// Where the pod runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// The node's zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Which clients should rather use it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hints: Option<Hints>,
}

/// discovery/v1 EndpointHints.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Hints {
    /// Zones whose clients should.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub for_zones: Vec<Named>,
    /// Nodes whose clients should.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub for_nodes: Vec<Named>,
}

/// discovery/v1 ForZone and ForNode.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(default)]
pub struct Named {
    /// name
    pub name: String,
}

/// discovery/v1 EndpointConditions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(default)]
pub struct Conditions {
    /// Takes new connections: serving and not terminating.
    pub ready: bool,
    /// The pod's Ready condition.
    pub serving: bool,
    /// The pod is going away.
    pub terminating: bool,
}

/// The ObjectReference of an endpoint's pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(default)]
pub struct TargetRef {
    /// Pod
    pub kind: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The pod's uid.
    pub uid: String,
}

/// discovery/v1 EndpointPort.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointPort {
    /// The Service port's name.
    pub name: String,
    /// TCP, UDP or SCTP.
    pub protocol: String,
    /// The pod's port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// As on the Service port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<String>,
}

/// The label that names a slice's Service.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";

impl View for EndpointSlice {
    const RESOURCE: Resource = api::ENDPOINT_SLICES;

    fn meta(&self) -> &Meta {
        &self.metadata
    }

    fn indexes(&self) -> Vec<IndexKey> {
        let namespace = self.metadata.namespace.clone();
        let service = self.metadata.labels.get(SERVICE_NAME);
        service
            .map(|s| IndexKey::Service(ObjectKey { namespace, name: s.as_str().into() }))
            .into_iter()
            .collect()
    }
}

/// core/v1 Endpoints, the form of endpoints before slices. Written whole.
#[derive(Clone, Debug, Deserialize)]
pub struct Endpoints {
    /// metadata
    pub metadata: Meta,
    /// subsets
    #[serde(default, deserialize_with = "null_default")]
    pub subsets: Vec<EndpointSubset>,
}

/// core/v1 EndpointSubset: addresses that have the same ports.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointSubset {
    /// Those that take connections.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub addresses: Vec<EndpointAddress>,
    /// Those that do not yet.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub not_ready_addresses: Vec<EndpointAddress>,
    /// ports
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub ports: Vec<SubsetPort>,
}

/// core/v1 EndpointAddress.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointAddress {
    /// The address.
    pub ip: String,
    /// For headless Services: the name of the endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Where the pod runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// The pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<TargetRef>,
}

/// core/v1 EndpointPort.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubsetPort {
    /// The Service port's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The pod's port.
    pub port: u16,
    /// TCP, UDP or SCTP.
    pub protocol: String,
    /// As on the Service port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<String>,
}

impl View for Endpoints {
    const RESOURCE: Resource = api::ENDPOINTS;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}
