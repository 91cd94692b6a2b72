//! `trace` to a pod: the way from one pod to another and what network policies say, from the tables of both their nodes. What is said of it is
//! in [`words`].

mod words;

use std::{net::IpAddr, str::FromStr};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use keelson_observer::PathReply;
use kube::ResourceExt;
use serde::Serialize;

use crate::{
    Form,
    nodes::{Cluster, query},
    trace::node_of,
};
use words::explain;

/// A protocol, and a port where it has any.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct PortSpec {
    protocol: &'static str,
    port: u16,
}

/// Those that have ports.
const WITH_PORTS: [&str; 3] = ["TCP", "UDP", "SCTP"];

impl FromStr for PortSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("ICMP") {
            return Ok(Self { protocol: "ICMP", port: 0 });
        }
        let (number, protocol) = text.split_once('/').unwrap_or((text, "TCP"));
        let known = WITH_PORTS.into_iter().find(|known| known.eq_ignore_ascii_case(protocol));
        let protocol = known.ok_or_else(|| format!("{protocol:?} is none of TCP, UDP and SCTP"))?;
        let port = number.parse().ok().filter(|&port| port > 0);
        Ok(Self { protocol, port: port.ok_or_else(|| format!("{number:?} is no port"))? })
    }
}

/// A pod at one end.
struct End {
    /// NAMESPACE/NAME.
    name: String,
    node: String,
    addresses: Vec<IpAddr>,
}

impl End {
    fn of(pod: &Pod) -> Result<Self> {
        let name = format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any());
        let ips = pod.status.iter().flat_map(|status| status.pod_ips.iter().flatten());
        let addresses: Vec<IpAddr> = ips.filter_map(|ip| ip.ip.parse().ok()).collect();
        if addresses.is_empty() {
            bail!("pod {name} has no address yet");
        }
        Ok(Self { name, node: node_of(pod)?, addresses })
    }
}

/// What both nodes say of one connection, as JSON.
#[derive(Serialize)]
struct Answer {
    from: IpAddr,
    to: IpAddr,
    protocol: &'static str,
    port: u16,
    /// Of the node of who begins, then of the other if that is another.
    nodes: Vec<PathReply>,
}

pub(crate) async fn run(
    cluster: &Cluster,
    (from, to): (&Pod, &Pod),
    port: Option<PortSpec>,
    output: Form,
) -> Result<()> {
    let ports = port.map_or_else(|| declared(to), |port| vec![port]);
    let (from, to) = (End::of(from)?, End::of(to)?);
    if ports.is_empty() {
        bail!("no container of pod {} declares a port: name one with --port N/PROTO", to.name);
    }
    let mut answers = Vec::new();
    for port in ports {
        answers.push(ask(cluster, &from, &to, port).await?);
    }
    if output == Form::Json {
        println!("{}", serde_json::to_string_pretty(&answers)?);
        return Ok(());
    }
    println!("Pod {} is on node {}, pod {} on node {}.", from.name, from.node, to.name, to.node);
    answers.iter().flat_map(|answer| explain(&from, &to, answer)).for_each(|line| println!("{line}"));
    Ok(())
}

/// Ports that the pod's containers declare, each once.
fn declared(pod: &Pod) -> Vec<PortSpec> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut ports = Vec::new();
    for port in containers.flat_map(|container| container.ports.iter().flatten()) {
        let name = port.protocol.as_deref().unwrap_or("TCP");
        let protocol = WITH_PORTS.into_iter().find(|known| *known == name);
        let spec = protocol.zip(u16::try_from(port.container_port).ok());
        let spec = spec.map(|(protocol, port)| PortSpec { protocol, port });
        ports.extend(spec.filter(|spec| !ports.contains(spec)));
    }
    ports
}

async fn ask(cluster: &Cluster, from: &End, to: &End, port: PortSpec) -> Result<Answer> {
    let PortSpec { protocol, port } = port;
    let pairs = from.addresses.iter().flat_map(|a| to.addresses.iter().map(move |b| (*a, *b)));
    let mut alike = pairs.filter(|(a, b)| a.is_ipv4() == b.is_ipv4());
    let (from_ip, to_ip) = alike
        .next()
        .with_context(|| format!("pods {} and {} have no addresses of one family", from.name, to.name))?;
    let (ip, other, number) = (from_ip.to_string(), to_ip.to_string(), port.to_string());
    let path = query("path", &[("from", &ip), ("to", &other), ("protocol", protocol), ("port", &number)]);
    let mut nodes = vec![cluster.ask(&from.node, &path).await?];
    if to.node != from.node {
        nodes.push(cluster.ask(&to.node, &path).await?);
    }
    Ok(Answer { from: from_ip, to: to_ip, protocol, port, nodes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_as_kubernetes_writes_them() {
        let of = |text: &str| text.parse::<PortSpec>().map(|spec| (spec.protocol, spec.port));
        assert_eq!(of("80"), Ok(("TCP", 80)));
        assert_eq!(of("53/udp"), Ok(("UDP", 53)));
        assert_eq!(of("icmp"), Ok(("ICMP", 0)));
        for wrong in ["0", "65536", "http", "80/QUIC"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
