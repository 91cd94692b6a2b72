//! Services and EndpointSlices as they come over the wire, with only the fields that DNS reads, and their projections.

use crate::index::{Endpoint, EndpointSet, Port, Protocol, Service};
use k8s_openapi::{NamespaceResourceScope, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use serde::Deserialize;
use std::{borrow::Cow, net::IpAddr};

/// Which Service a slice belongs to (`discovery.LabelServiceName`).
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// `v1.Service`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ServiceObject {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: ServiceSpec,
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
    external_name: Option<Box<str>>,
    ports: Option<Vec<PortSpec>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct PortSpec {
    name: Option<Box<str>>,
    protocol: Option<String>,
    port: Option<i32>,
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
#[serde(default)]
struct EndpointSpec {
    addresses: Option<Vec<String>>,
    conditions: Option<Conditions>,
    hostname: Option<Box<str>>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct Conditions {
    ready: Option<bool>,
}

impl ServiceObject {
    /// None for a Service that has no address (yet).
    pub(crate) fn project(&self) -> Option<Service> {
        let spec = &self.spec;
        if spec.kind.as_deref() == Some("ExternalName") {
            return spec.external_name.clone().map(Service::ExternalName);
        }
        if spec.cluster_ip.as_deref() == Some("None") {
            return Some(Service::Headless);
        }
        let listed = spec.cluster_ips.as_deref().unwrap_or_default();
        let texts = if listed.is_empty() { spec.cluster_ip.as_slice() } else { listed };
        let addresses: Box<[IpAddr]> = texts.iter().filter_map(|text| text.parse().ok()).collect();
        let ports = spec.ports.iter().flatten().filter_map(PortSpec::project).collect();
        (!addresses.is_empty()).then_some(Service::ClusterIp { addresses, ports })
    }
}

impl SliceObject {
    /// The Service's name and what it has here. None for a slice of host names, or of no Service.
    pub(crate) fn project(&self) -> Option<(&str, EndpointSet)> {
        let v4 = match self.address_type.as_str() {
            "IPv4" => true,
            "IPv6" => false,
            _ => return None,
        };
        let service = self.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
        let ready = self.endpoints.iter().flatten().filter(|endpoint| endpoint.is_ready());
        let endpoints = ready.filter_map(EndpointSpec::project).filter(|e| e.address.is_ipv4() == v4);
        let ports = self.ports.iter().flatten().filter_map(PortSpec::project);
        Some((service, EndpointSet { endpoints: endpoints.collect(), ports: ports.collect() }))
    }
}

impl PortSpec {
    /// A port without a number stands for all ports, and one of an unknown protocol for none that has a name.
    fn project(&self) -> Option<Port> {
        let protocol = match self.protocol.as_deref() {
            None | Some("TCP") => Protocol::Tcp,
            Some("UDP") => Protocol::Udp,
            Some("SCTP") => Protocol::Sctp,
            Some(_) => return None,
        };
        let number = u16::try_from(self.port?).ok()?;
        Some(Port { name: self.name.clone().unwrap_or_default(), protocol, number })
    }
}

impl EndpointSpec {
    /// Absent means ready. Who publishes unready addresses says ready of all of them (API reference, EndpointConditions).
    fn is_ready(&self) -> bool {
        self.conditions.and_then(|conditions| conditions.ready).unwrap_or(true)
    }

    /// Its first address; the API says that the others are for nobody.
    fn project(&self) -> Option<Endpoint> {
        let address = self.addresses.as_ref()?.first()?.parse().ok()?;
        Some(Endpoint { address, hostname: self.hostname.clone().filter(|hostname| !hostname.is_empty()) })
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
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn service(spec: Value) -> Option<Service> {
        let object = json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": spec});
        serde_json::from_value::<ServiceObject>(object).unwrap().project()
    }

    fn addresses(spec: Value) -> Vec<String> {
        match service(spec) {
            Some(Service::ClusterIp { addresses, .. }) => addresses.iter().map(ToString::to_string).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_service_is_its_addresses_its_endpoints_or_an_alias() {
        assert_eq!(addresses(json!({"clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"]})), ["10.96.0.7"]);
        assert_eq!(addresses(json!({"clusterIP": "10.96.0.7"})), ["10.96.0.7"]);
        let dual = json!({"clusterIP": "fd00::7", "clusterIPs": ["fd00::7", "10.96.0.7"]});
        assert_eq!(addresses(dual), ["fd00::7", "10.96.0.7"]);
        assert_eq!(service(json!({"clusterIP": "None", "clusterIPs": ["None"]})), Some(Service::Headless));
        let alias = json!({"type": "ExternalName", "externalName": "example.com"});
        assert_eq!(service(alias), Some(Service::ExternalName("example.com".into())));
        assert_eq!(service(json!({"type": "ExternalName"})), None);
        assert_eq!(service(json!({"clusterIP": ""})), None, "not allocated yet");
    }

    #[test]
    fn a_slice_is_its_ready_endpoints() {
        let object = json!({
            "metadata": {"name": "web-x", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 80}, {"name": "any", "protocol": "UDP"}],
            "endpoints": [
                {"addresses": ["10.244.1.1"], "conditions": {"ready": true, "terminating": true}, "hostname": "a"},
                {"addresses": ["10.244.1.2"], "conditions": {"ready": false, "serving": true}},
                {"addresses": ["10.244.1.3"], "conditions": {}, "hostname": ""},
                {"addresses": ["10.244.1.4", "10.244.1.5"]},
                {"addresses": ["fd00::1"]},
                {"addresses": []},
            ],
        });
        let slice: SliceObject = serde_json::from_value(object.clone()).unwrap();
        let (name, set) = slice.project().unwrap();
        let found: Vec<_> =
            set.endpoints.iter().map(|e| (e.address.to_string(), e.hostname.as_deref())).collect();
        assert_eq!(name, "web");
        let expected =
            [("10.244.1.1".into(), Some("a")), ("10.244.1.3".into(), None), ("10.244.1.4".into(), None)];
        assert_eq!(found, expected);
        assert_eq!(set.ports.len(), 1, "a port without a number has no record");
        let mut names = object;
        names["addressType"] = json!("FQDN");
        assert!(serde_json::from_value::<SliceObject>(names).unwrap().project().is_none());
    }
}
