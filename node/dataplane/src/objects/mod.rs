//! Services and EndpointSlices as they come over the wire, with only the fields that are read, and their projections.

use std::{borrow::Cow, net::IpAddr};

use k8s_openapi::{NamespaceResourceScope, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use serde::Deserialize;

use crate::plan::{
    AFFINITY_DEFAULT_S, Endpoint, Family, Protocol, ServicePort, ServiceView, SlicePort, SliceView,
    Unprogrammed,
};

/// `v1.Service`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ServiceObject {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: ServiceSpec,
    #[serde(default)]
    status: ServiceStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ServiceSpec {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(rename = "clusterIP")]
    cluster_ip: Option<String>,
    #[serde(rename = "clusterIPs")]
    cluster_ips: Option<Vec<String>>,
    #[serde(rename = "externalIPs")]
    external_ips: Option<Vec<String>>,
    ports: Option<Vec<PortSpec>>,
    session_affinity: Option<String>,
    session_affinity_config: Option<AffinityConfig>,
    internal_traffic_policy: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PortSpec {
    name: Option<Box<str>>,
    protocol: Option<String>,
    port: Option<i32>,
    node_port: Option<i32>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct AffinityConfig {
    #[serde(rename = "clientIP")]
    client_ip: Option<ClientIp>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ClientIp {
    timeout_seconds: Option<i32>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ServiceStatus {
    load_balancer: Option<LoadBalancer>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct LoadBalancer {
    ingress: Option<Vec<serde::de::IgnoredAny>>,
}

/// `discovery.k8s.io/v1.EndpointSlice`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SliceObject {
    metadata: ObjectMeta,
    address_type: String,
    #[serde(default)]
    endpoints: Option<Vec<EndpointSpec>>,
    #[serde(default)]
    ports: Option<Vec<PortSpec>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct EndpointSpec {
    addresses: Option<Vec<String>>,
    conditions: Option<Conditions>,
    node_name: Option<String>,
    target_ref: Option<TargetRef>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct Conditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct TargetRef {
    kind: Option<String>,
    uid: Option<Box<str>>,
}

/// A slice, projected.
#[derive(Clone, Debug)]
pub(crate) struct Slice {
    /// Name of its Service.
    pub(crate) service: Box<str>,
    /// What a plan reads.
    pub(crate) view: SliceView,
    /// Pods of this node that it gives as ready, by uid.
    pub(crate) ready_here: Vec<Box<str>>,
}

/// Label that names a slice's Service (`discovery.LabelServiceName`).
const SERVICE_NAME: &str = "kubernetes.io/service-name";

impl ServiceObject {
    pub(crate) fn project(&self) -> ServiceView {
        let spec = &self.spec;
        let external = spec.kind.as_deref() == Some("ExternalName");
        let listed = spec.cluster_ips.as_deref().unwrap_or_default();
        let texts = if listed.is_empty() { spec.cluster_ip.as_slice() } else { listed };
        // "None" (headless) and "" (not allocated) are no addresses.
        let cluster_ips = texts.iter().filter(|_| !external).filter_map(|text| text.parse().ok()).collect();
        ServiceView {
            cluster_ips,
            ports: self.ports().map(service_port).collect(),
            local_only: spec.internal_traffic_policy.as_deref() == Some("Local"),
            affinity_s: self.affinity_s(),
            node_answers: self.is_cluster_dns(),
            unprogrammed: self.unprogrammed(),
        }
    }

    /// The name under which a cluster's DNS is known to everybody; each node has one of its own on that Service's address.
    fn is_cluster_dns(&self) -> bool {
        let name = (self.metadata.namespace.as_deref(), self.metadata.name.as_deref());
        name == (Some("kube-system"), Some("kube-dns"))
    }

    fn ports(&self) -> impl Iterator<Item = &PortSpec> {
        self.spec.ports.iter().flatten()
    }

    fn affinity_s(&self) -> u32 {
        if self.spec.session_affinity.as_deref() != Some("ClientIP") {
            return 0;
        }
        let config = self.spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
        let seconds = config.and_then(|client| client.timeout_seconds).and_then(|s| u32::try_from(s).ok());
        seconds.filter(|&s| s > 0).unwrap_or(AFFINITY_DEFAULT_S)
    }

    fn unprogrammed(&self) -> Vec<Unprogrammed> {
        let node_ports = self.ports().filter_map(|port| number(port.node_port)).map(Unprogrammed::NodePort);
        let external = self.spec.external_ips.as_ref().is_some_and(|ips| !ips.is_empty());
        let ingress = self.status.load_balancer.as_ref().and_then(|lb| lb.ingress.as_ref());
        let balanced = ingress.is_some_and(|addresses| !addresses.is_empty());
        node_ports
            .chain(external.then_some(Unprogrammed::ExternalIps))
            .chain(balanced.then_some(Unprogrammed::LoadBalancer))
            .collect()
    }
}

impl SliceObject {
    /// `None` for a slice of host names, or of no Service.
    pub(crate) fn project(&self, node: &str) -> Option<Slice> {
        let family = match self.address_type.as_str() {
            "IPv4" => Family::V4,
            "IPv6" => Family::V6,
            _ => return None,
        };
        let service = self.metadata.labels.as_ref()?.get(SERVICE_NAME)?.as_str().into();
        let endpoints = self.endpoints.iter().flatten();
        let ready_here = endpoints.clone().filter_map(|endpoint| endpoint.ready_pod(node)).collect();
        let endpoints = endpoints.filter_map(|endpoint| endpoint.project(family, node)).collect();
        let ports = self.ports.iter().flatten().filter_map(slice_port).collect();
        Some(Slice { service, view: SliceView { family, ports, endpoints }, ready_here })
    }
}

impl EndpointSpec {
    fn project(&self, family: Family, node: &str) -> Option<Endpoint> {
        let address: IpAddr = self.addresses.as_ref()?.first()?.parse().ok()?;
        let conditions = self.conditions.unwrap_or_default();
        let ready = conditions.ready.unwrap_or(true);
        (address.is_ipv4() == (family == Family::V4)).then_some(Endpoint {
            address,
            ready,
            serving: conditions.serving.unwrap_or(ready),
            terminating: conditions.terminating.unwrap_or(false),
            local: self.node_name.as_deref() == Some(node),
        })
    }

    fn ready_pod(&self, node: &str) -> Option<Box<str>> {
        let target = self.target_ref.as_ref().filter(|target| target.kind.as_deref() == Some("Pod"))?;
        let conditions = self.conditions.unwrap_or_default();
        let ready = conditions.ready.unwrap_or(true) && !conditions.terminating.unwrap_or(false);
        let here = self.node_name.as_deref() == Some(node);
        if ready && here { target.uid.clone() } else { None }
    }
}

fn service_port(port: &PortSpec) -> ServicePort {
    ServicePort {
        name: port.name.clone().unwrap_or_default(),
        number: number(port.port).unwrap_or_default(),
        protocol: protocol(port),
    }
}

/// A port without a number stands for all ports, which no Service has.
fn slice_port(port: &PortSpec) -> Option<SlicePort> {
    let number = number(port.port)?;
    Some(SlicePort { name: port.name.clone().unwrap_or_default(), number, protocol: protocol(port) })
}

fn number(port: Option<i32>) -> Option<u16> {
    port.and_then(|port| u16::try_from(port).ok()).filter(|&port| port > 0)
}

fn protocol(port: &PortSpec) -> Option<Protocol> {
    match port.protocol.as_deref() {
        None | Some("TCP") => Some(Protocol::Tcp),
        Some("UDP") => Some(Protocol::Udp),
        Some(_) => None,
    }
}

macro_rules! resource {
    ($type:ty, $group:literal, $version:literal, $kind:literal, $plural:literal) => {
        impl kube::Resource for $type {
            type DynamicType = ();
            type Scope = NamespaceResourceScope;

            fn kind(_: &()) -> Cow<'_, str> {
                $kind.into()
            }

            fn group(_: &()) -> Cow<'_, str> {
                $group.into()
            }

            fn version(_: &()) -> Cow<'_, str> {
                $version.into()
            }

            fn plural(_: &()) -> Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}
resource!(ServiceObject, "", "v1", "Service", "services");
resource!(SliceObject, "discovery.k8s.io", "v1", "EndpointSlice", "endpointslices");

#[cfg(test)]
mod tests;
