//! From a Service and its EndpointSlices to frontends and their backends. Pure.
//!
//! The rules are kube-proxy's, which the conformance suite takes for granted:
//! <https://kubernetes.io/docs/reference/networking/virtual-ips/>. Which endpoints take connections is in `endpoints`.
//!
//! | frontend | sockets of this node reach | packets from outside reach |
//! |---|---|---|
//! | cluster address | the endpoints of `internalTrafficPolicy` | |
//! | node port, external and load balancer address | all (they need no way round through another node) | the endpoints of `externalTrafficPolicy` |
//!
//! Does not own how objects arrive (`index`) or what is done about a plan (`ledger`).

mod announce;
mod endpoints;
mod host_ports;
mod types;

#[cfg(test)]
mod tests;

use std::net::IpAddr;

pub use announce::{Announced, announcer, node_fingerprint};
use endpoints::{Endpoints, ready_here};
pub use host_ports::plan_pod;
use ipnet::IpNet;
pub use types::{
    Backend, Endpoint, ExternalFrontend, FORWARDING, Family, Forwarding, Frontend, FrontendKey, FrontendKind,
    HealthCheck, HostPort, Node, NodeHint, NodePort, Plan, PlannedFrontend, PodView, Protocol, ServicePort,
    ServiceView, SlicePort, SliceView, Unprogrammed,
};

/// Seconds that `sessionAffinity: ClientIP` lasts unless the Service says otherwise (`v1.DefaultClientIPServiceAffinitySeconds`).
pub const AFFINITY_DEFAULT_S: u32 = 10_800;

/// Everything that a Service asks of the kernel of a node. Slices of other Services must not be among `slices`.
pub fn plan<'a>(
    node: &Node,
    service: &ServiceView,
    slices: impl Iterator<Item = &'a SliceView> + Clone,
) -> Plan {
    let mut planner = Planner { node, service, plan: Plan::default() };
    // Without an address of its own a Service is reached at no other either.
    let ports = if service.cluster_ips.is_empty() { &[][..] } else { &service.ports };
    for port in ports {
        match port.protocol {
            Some(protocol) => planner.plan_port(port, protocol, slices.clone()),
            None => planner.plan.unprogrammed.push(Unprogrammed::Protocol(port.number)),
        }
    }
    let mut plan = planner.plan;
    plan.unprogrammed.extend(left_out(node, service).map(Unprogrammed::SourceRanges));
    plan.announced = announce::announced(service, slices.clone());
    plan.unprogrammed.extend(service.unknown_forwarding.clone().map(Unprogrammed::Forwarding));
    plan.health = service.cluster_ips.first().zip(service.health_check_port).map(|(&address, port)| {
        HealthCheck { port, local_endpoints: ready_here(Family::of(address), slices) }
    });
    plan
}

struct Planner<'a> {
    node: &'a Node,
    service: &'a ServiceView,
    plan: Plan,
}

impl Planner<'_> {
    fn plan_port<'s>(
        &mut self,
        port: &ServicePort,
        protocol: Protocol,
        slices: impl Iterator<Item = &'s SliceView> + Clone,
    ) {
        let service = self.service;
        for &cluster_ip in &service.cluster_ips {
            let family = Family::of(cluster_ip);
            let endpoints = Endpoints::of(port, protocol, family, slices.clone());
            let key = |address, port| FrontendKey { address, port, protocol };
            let local = service.internal_local;
            let internal = if local { endpoints.local() } else { endpoints.cluster(self.zone()) };
            if self.keeps_port(protocol, port.number, &endpoints) {
                self.add(FrontendKind::ClusterIp, key(cluster_ip, port.number), internal, &endpoints);
            }
            for (kind, address, number) in externals(self.node, service, port) {
                if Family::of(address) == family && self.keeps_port(protocol, number, &endpoints) {
                    self.add_external(kind, key(address, number), &endpoints);
                }
            }
        }
        // Nobody's to bind, in either family; SCTP's bind() passes no hook.
        let node_port = port.node_port.filter(|_| protocol != Protocol::Sctp);
        self.plan.node_ports.extend(node_port.map(|number| (number, protocol)));
    }

    /// Whether packets to a port reach all endpoints as they are, where they have to; else users are told. Not some of the
    /// endpoints: one of them would get all the traffic of others.
    fn keeps_port(&mut self, protocol: Protocol, port: u16, endpoints: &Endpoints<'_>) -> bool {
        let other = endpoints.other_port(port).filter(|_| protocol == Protocol::Sctp);
        let Some(target) = other else { return true };
        let told = Unprogrammed::SctpPort { port, target };
        if !self.plan.unprogrammed.contains(&told) {
            self.plan.unprogrammed.push(told);
        }
        false
    }

    fn add(&mut self, kind: FrontendKind, key: FrontendKey, backends: Vec<Backend>, of: &Endpoints<'_>) {
        let left_alone = kind == FrontendKind::ClusterIp && self.service.node_answers && backends.is_empty();
        // One address may be given twice: as the load balancer's and in `externalIPs`.
        if left_alone || self.plan.frontends.iter().any(|planned| planned.frontend.key == key) {
            return;
        }
        let affinity_s = self.service.affinity_s;
        self.plan.frontends.push(PlannedFrontend { kind, frontend: Frontend { key, backends, affinity_s } });
        if key.protocol == Protocol::Udp {
            self.plan.serving_udp.push((key, of.serving()));
        }
    }

    fn add_external(&mut self, kind: FrontendKind, key: FrontendKey, endpoints: &Endpoints<'_>) {
        let ranges = if kind == FrontendKind::LoadBalancer { &self.service.source_ranges[..] } else { &[] };
        if admits_all(ranges, self.node, Family::of(key.address)) {
            self.add(kind, key, endpoints.cluster(self.zone()), endpoints);
        }
        let known = self.plan.external.iter().any(|external| external.key == key);
        if key.address.is_loopback() || known {
            return;
        }
        let local = self.service.external_local;
        self.plan.external.push(ExternalFrontend {
            key,
            backends: if local { endpoints.local() } else { endpoints.cluster(self.zone()) },
            local_backends_only: local,
            source_ranges: of_family(ranges, Family::of(key.address)).copied().collect(),
            affinity_s: self.service.affinity_s,
            forwarding: self.service.forwarding,
        });
    }

    fn zone(&self) -> Option<&str> {
        self.node.zone.as_deref()
    }
}

/// Where a port is reached from outside: by which right, at which address and number.
fn externals<'a>(
    node: &'a Node,
    service: &'a ServiceView,
    port: &'a ServicePort,
) -> impl Iterator<Item = (FrontendKind, IpAddr, u16)> + use<'a> {
    let balanced = service.load_balancer_ips.iter().map(|&a| (FrontendKind::LoadBalancer, a, port.number));
    let external = service.external_ips.iter().map(|&a| (FrontendKind::ExternalIp, a, port.number));
    let numbers = port.node_port.into_iter();
    let own = numbers.flat_map(|n| node.port_addresses.iter().map(move |&a| (FrontendKind::NodePort, a, n)));
    balanced.chain(external).chain(own)
}

/// Load balancer addresses that sockets of this node do not get, although the Service has their family.
fn left_out(node: &Node, service: &ServiceView) -> impl Iterator<Item = IpAddr> {
    let has = |family| service.cluster_ips.iter().any(|&ip| Family::of(ip) == family);
    let addresses = service.load_balancer_ips.iter().copied().filter(move |&ip| has(Family::of(ip)));
    addresses.filter(|&ip| !admits_all(&service.source_ranges, node, Family::of(ip)))
}

/// Whether each client of this node is in one of the ranges. As for kube-proxy, ranges of the other family restrict
/// nothing.
fn admits_all(ranges: &[IpNet], node: &Node, family: Family) -> bool {
    let mut ranges = of_family(ranges, family).peekable();
    if ranges.peek().is_none() {
        return true;
    }
    let ranges: Vec<_> = ranges.collect();
    let mut clients = of_family(&node.clients, family).peekable();
    clients.peek().is_some() && clients.all(|client| ranges.iter().any(|range| range.contains(client)))
}

fn of_family(nets: &[IpNet], family: Family) -> impl Iterator<Item = &IpNet> {
    nets.iter().filter(move |net| Family::of(net.addr()) == family)
}
