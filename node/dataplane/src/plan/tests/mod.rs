//! Tables of Services and slices against what they make.

mod endpoints;
mod frontends;
mod outside;
mod topology;

use super::*;

fn port(name: &str, number: u16, protocol: Protocol) -> ServicePort {
    ServicePort { name: name.into(), number, node_port: None, protocol: Some(protocol) }
}

fn slice(ports: &[(&str, u16, Protocol)], endpoints: &[Endpoint]) -> SliceView {
    SliceView {
        family: endpoints.first().map_or(Family::V4, |e| Family::of(e.address)),
        ports: ports
            .iter()
            .map(|&(name, number, protocol)| SlicePort {
                name: name.into(),
                number,
                protocol: Some(protocol),
            })
            .collect(),
        endpoints: endpoints.to_vec(),
    }
}

/// An endpoint by its flags: r(eady), s(erving), t(erminating), l(ocal).
fn endpoint(address: &str, flags: &str) -> Endpoint {
    Endpoint {
        address: address.parse().unwrap(),
        ready: flags.contains('r'),
        serving: flags.contains('s'),
        terminating: flags.contains('t'),
        node: None,
        local: flags.contains('l'),
        node_hint: NodeHint::Absent,
        zone_hints: Box::default(),
    }
}

fn service() -> ServiceView {
    ServiceView {
        cluster_ips: vec!["10.96.0.7".parse().unwrap()],
        ports: vec![port("", 80, Protocol::Tcp)],
        ..ServiceView::default()
    }
}

/// A node of one family, with pods.
fn node() -> Node {
    Node {
        addresses: vec![],
        zone: None,
        port_addresses: vec!["127.0.0.1".parse().unwrap(), "192.0.2.1".parse().unwrap()],
        clients: vec!["10.244.1.0/24".parse().unwrap(), "192.0.2.1/32".parse().unwrap()],
    }
}

fn planned(service: &ServiceView, slices: &[SliceView]) -> Plan {
    plan(&node(), service, slices.iter())
}

fn texts(backends: &[Backend]) -> Vec<String> {
    backends.iter().map(ToString::to_string).collect()
}

/// Backends of all frontends for sockets.
fn backends_of(service: &ServiceView, slices: &[SliceView]) -> Vec<String> {
    planned(service, slices).frontends.iter().flat_map(|f| texts(&f.frontend.backends)).collect()
}
