//! `v1.Service` and its projection.

use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::{PortSpec, number, protocol, resource};
use crate::plan::{AFFINITY_DEFAULT_S, FORWARDING, Forwarding, ServicePort, ServiceView};

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
    load_balancer_class: Option<String>,
    load_balancer_source_ranges: Option<Vec<String>>,
    ports: Option<Vec<PortSpec>>,
    session_affinity: Option<String>,
    session_affinity_config: Option<AffinityConfig>,
    internal_traffic_policy: Option<String>,
    external_traffic_policy: Option<String>,
    health_check_node_port: Option<i32>,
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
    ingress: Option<Vec<Ingress>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Ingress {
    ip: Option<String>,
    ip_mode: Option<String>,
}

/// A Service, projected.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Service {
    /// Its uid: events are about it.
    pub(crate) uid: Box<str>,
    /// When it was made, in seconds since 1970: the older of two has what both ask for.
    pub(crate) created_s: i64,
    /// What a plan reads.
    pub(crate) view: ServiceView,
}

impl ServiceObject {
    pub(crate) fn project(&self) -> Service {
        let created = self.metadata.creation_timestamp.as_ref();
        Service {
            uid: self.metadata.uid.as_deref().unwrap_or_default().into(),
            created_s: created.map_or(i64::MAX, |time| time.0.as_second()),
            view: self.view(),
        }
    }

    fn view(&self) -> ServiceView {
        let spec = &self.spec;
        let cluster_ips = self.cluster_ips();
        // Neither a headless Service nor an ExternalName has anything to be reached at, whatever else it says.
        if cluster_ips.is_empty() {
            return ServiceView::default();
        }
        let balanced = spec.kind.as_deref() == Some("LoadBalancer");
        let exposed = balanced || spec.kind.as_deref() == Some("NodePort");
        let external_ips: Vec<_> = addresses(spec.external_ips.iter().flatten());
        let external_local =
            spec.external_traffic_policy.as_deref() == Some("Local") && (exposed || !external_ips.is_empty());
        let health_check_port = number(spec.health_check_node_port);
        let ranges = spec.load_balancer_source_ranges.iter().flatten();
        ServiceView {
            cluster_ips,
            external_ips,
            load_balancer_ips: if balanced { self.load_balancer_ips() } else { Vec::new() },
            own_load_balancer: balanced && spec.load_balancer_class.is_none(),
            source_ranges: ranges.filter_map(|range| range.trim().parse::<IpNet>().ok()).collect(),
            ports: spec.ports.iter().flatten().filter_map(|port| service_port(port, exposed)).collect(),
            internal_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
            external_local,
            health_check_port: health_check_port.filter(|_| balanced && external_local),
            affinity_s: self.affinity_s(),
            forwarding: self.forwarding().and_then(Result::ok),
            unknown_forwarding: self.forwarding().and_then(Result::err).map(Into::into),
            node_answers: self.is_cluster_dns(),
        }
    }

    /// The name under which a cluster's DNS is known to everybody; each node has one of its own on that Service's address.
    fn is_cluster_dns(&self) -> bool {
        let name = (self.metadata.namespace.as_deref(), self.metadata.name.as_deref());
        name == (Some("kube-system"), Some("kube-dns"))
    }

    /// What its annotation says; an error holds what is no way of forwarding.
    fn forwarding(&self) -> Option<Result<Forwarding, &str>> {
        let said = self.metadata.annotations.as_ref()?.get(FORWARDING)?.as_str();
        Some(match said {
            "dsr" => Ok(Forwarding::Dsr),
            "snat" => Ok(Forwarding::Snat),
            other => Err(other),
        })
    }

    /// "None" (headless) and "" (not allocated) are no addresses.
    fn cluster_ips(&self) -> Vec<IpAddr> {
        let spec = &self.spec;
        if spec.kind.as_deref() == Some("ExternalName") {
            return Vec::new();
        }
        let listed = spec.cluster_ips.as_deref().unwrap_or_default();
        addresses(if listed.is_empty() { spec.cluster_ip.as_slice() } else { listed })
    }

    /// A load balancer in proxy mode (KEP-1860) wants the traffic itself, also that of the cluster.
    fn load_balancer_ips(&self) -> Vec<IpAddr> {
        let ingress = self.status.load_balancer.as_ref().and_then(|lb| lb.ingress.as_ref());
        let vips =
            ingress.into_iter().flatten().filter(|i| matches!(i.ip_mode.as_deref(), None | Some("VIP")));
        addresses(vips.filter_map(|ingress| ingress.ip.as_ref()))
    }

    fn affinity_s(&self) -> u32 {
        if self.spec.session_affinity.as_deref() != Some("ClientIP") {
            return 0;
        }
        let config = self.spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
        let seconds = config.and_then(|client| client.timeout_seconds).and_then(|s| u32::try_from(s).ok());
        seconds.filter(|&s| s > 0).unwrap_or(AFFINITY_DEFAULT_S)
    }
}

fn addresses<'a>(texts: impl IntoIterator<Item = &'a String>) -> Vec<IpAddr> {
    texts.into_iter().filter_map(|text| text.parse().ok()).collect()
}

/// `None` without a number that is one, which the API refuses.
fn service_port(port: &PortSpec, exposed: bool) -> Option<ServicePort> {
    Some(ServicePort {
        name: port.name.clone().unwrap_or_default(),
        number: number(port.port)?,
        node_port: number(port.node_port).filter(|_| exposed),
        protocol: protocol(port.protocol.as_deref()),
    })
}

resource!(ServiceObject, NamespaceResourceScope, "", "v1", "Service", "services");
