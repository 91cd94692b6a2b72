//! `v1.Pod` of this node, as far as its host ports go.

use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::{number, protocol, resource};
use crate::plan::{HostPort, PodView};

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
    host_network: Option<bool>,
    containers: Vec<Container>,
    init_containers: Option<Vec<Container>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Container {
    restart_policy: Option<String>,
    ports: Option<Vec<ContainerPort>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerPort {
    container_port: Option<i32>,
    host_port: Option<i32>,
    #[serde(rename = "hostIP")]
    host_ip: Option<String>,
    protocol: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodStatus {
    phase: Option<String>,
    #[serde(rename = "podIPs")]
    pod_ips: Option<Vec<PodIp>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct PodIp {
    ip: Option<String>,
}

/// What is read of a pod.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct HostPorts {
    /// When the pod was made, seconds since 1970.
    pub(crate) created_s: i64,
    pub(crate) view: PodView,
}

impl PodObject {
    /// `None` for a pod that has no host ports, none yet, or none any more.
    pub(crate) fn project(&self) -> Option<HostPorts> {
        let over = matches!(self.status.phase.as_deref(), Some("Succeeded" | "Failed"));
        if over || self.spec.host_network == Some(true) {
            return None;
        }
        let ips = self.status.pod_ips.iter().flatten();
        let ips: Vec<IpAddr> = ips.filter_map(|ip| ip.ip.as_ref()?.parse().ok()).collect();
        // An init container that stays (a sidecar) is reached as the others are.
        let stays = |c: &&Container| c.restart_policy.as_deref() == Some("Always");
        let sidecars = self.spec.init_containers.iter().flatten().filter(stays);
        let ports = self.spec.containers.iter().chain(sidecars).flat_map(|c| c.ports.iter().flatten());
        let ports: Vec<HostPort> = ports.filter_map(ContainerPort::project).collect();
        if ips.is_empty() || ports.is_empty() {
            return None;
        }
        let created = self.metadata.creation_timestamp.as_ref();
        Some(HostPorts {
            created_s: created.map_or(i64::MAX, |time| time.0.as_second()),
            view: PodView { ips, ports },
        })
    }
}

impl ContainerPort {
    fn project(&self) -> Option<HostPort> {
        // An address that is not understood admits nobody, rather than everybody.
        let host_ip = self.host_ip.as_deref().filter(|ip| !ip.is_empty());
        let host_ip = host_ip.map(str::parse::<IpAddr>).transpose().ok()?;
        Some(HostPort {
            number: number(self.host_port)?,
            host_ip: host_ip.filter(|ip| !ip.is_unspecified()),
            target: number(self.container_port)?,
            protocol: protocol(self.protocol.as_deref()),
        })
    }
}

resource!(PodObject, NamespaceResourceScope, "", "v1", "Pod", "pods");
