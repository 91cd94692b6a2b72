//! `discovery.k8s.io/v1.EndpointSlice` and its projection.

use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::{PortSpec, number, protocol, resource};
use crate::plan::{Endpoint, Family, NodeHint, SlicePort, SliceView, node_fingerprint};

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
    hints: Option<Hints>,
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
#[serde(rename_all = "camelCase", default)]
struct Hints {
    for_zones: Option<Vec<Named>>,
    for_nodes: Option<Vec<Named>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Named {
    name: Box<str>,
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
        (Family::of(address) == family).then(|| Endpoint {
            address,
            ready,
            serving: conditions.serving.unwrap_or(ready),
            terminating: conditions.terminating.unwrap_or(false),
            local: self.node_name.as_deref() == Some(node),
            node: self.node_name.as_deref().map(node_fingerprint),
            node_hint: self.node_hint(node),
            zone_hints: self.zone_hints(),
        })
    }

    fn node_hint(&self, node: &str) -> NodeHint {
        match self.hints.as_ref().and_then(|hints| hints.for_nodes.as_deref()) {
            None | Some([]) => NodeHint::Absent,
            Some(nodes) if nodes.iter().any(|hint| &*hint.name == node) => NodeHint::Here,
            Some(_) => NodeHint::Elsewhere,
        }
    }

    fn zone_hints(&self) -> Box<[Box<str>]> {
        let zones = self.hints.iter().flat_map(|hints| hints.for_zones.iter().flatten());
        zones.map(|zone| zone.name.clone()).collect()
    }

    fn ready_pod(&self, node: &str) -> Option<Box<str>> {
        let target = self.target_ref.as_ref().filter(|target| target.kind.as_deref() == Some("Pod"))?;
        let conditions = self.conditions.unwrap_or_default();
        let ready = conditions.ready.unwrap_or(true) && !conditions.terminating.unwrap_or(false);
        let here = self.node_name.as_deref() == Some(node);
        if ready && here { target.uid.clone() } else { None }
    }
}

/// A port without a number stands for all ports, which no Service has.
fn slice_port(port: &PortSpec) -> Option<SlicePort> {
    let number = number(port.port)?;
    Some(SlicePort {
        name: port.name.clone().unwrap_or_default(),
        number,
        protocol: protocol(port.protocol.as_deref()),
    })
}

resource!(SliceObject, NamespaceResourceScope, "discovery.k8s.io", "v1", "EndpointSlice", "endpointslices");
