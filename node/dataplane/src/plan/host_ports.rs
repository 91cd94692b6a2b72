//! Host ports of a pod: ports of its node that lead to the pod alone.
//!
//! <https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#ports>. As at the reference CNI plugin
//! `portmap`: reached from outside, from the node itself (loopback too) and from pods, at every address of the node unless
//! `hostIP` names one; who connects from outside is seen by his own address.

use std::net::{IpAddr, SocketAddr};

use super::{
    ExternalFrontend, Family, Frontend, FrontendKey, FrontendKind, HostPort, Node, Plan, PlannedFrontend,
    PodView, Protocol, Unprogrammed,
};

/// What a pod's host ports ask of the kernel of its node.
pub fn plan_pod(node: &Node, pod: &PodView) -> Plan {
    let mut plan = Plan::default();
    for port in &pod.ports {
        let Some(protocol) = port.protocol else {
            plan.unprogrammed.push(Unprogrammed::Protocol(port.number));
            continue;
        };
        if protocol == Protocol::Sctp && port.number != port.target {
            plan.unprogrammed.push(Unprogrammed::SctpPort { port: port.number, target: port.target });
            continue;
        }
        for address in addresses(node, port) {
            // The pod's address of the family, or nothing to lead to.
            let family = Family::of(address);
            let Some(&ip) = pod.ips.iter().find(|&&ip| Family::of(ip) == family) else { continue };
            let key = FrontendKey { address, port: port.number, protocol };
            if plan.frontends.iter().any(|planned| planned.frontend.key == key) {
                continue;
            }
            let backends = vec![SocketAddr::new(ip, port.target)];
            if !address.is_loopback() {
                plan.external.push(ExternalFrontend {
                    key,
                    backends: backends.clone(),
                    local_backends_only: true,
                    source_ranges: Vec::new(),
                    affinity_s: 0,
                    forwarding: None,
                });
            }
            let frontend = Frontend { key, backends, affinity_s: 0 };
            plan.frontends.push(PlannedFrontend { kind: FrontendKind::HostPort, frontend });
        }
    }
    plan
}

fn addresses(node: &Node, port: &HostPort) -> Vec<IpAddr> {
    match port.host_ip {
        Some(ip) => vec![ip],
        None => node.addresses.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn port(host_ip: Option<&str>, protocol: Option<Protocol>) -> HostPort {
        HostPort { number: 8080, host_ip: host_ip.map(ip), target: 80, protocol }
    }

    #[test]
    fn it_is_reached_at_all_addresses_or_the_one_that_is_named() {
        let node = Node { addresses: ["127.0.0.1", "::1", "192.0.2.1"].map(ip).to_vec(), ..Node::default() };
        let tcp = Some(Protocol::Tcp);
        let rows: [(&[HostPort], &[&str], &[&str]); 5] = [
            (&[port(None, tcp)], &["127.0.0.1", "192.0.2.1"], &["192.0.2.1"]),
            (&[port(Some("192.0.2.1"), tcp)], &["192.0.2.1"], &["192.0.2.1"]),
            (&[port(Some("127.0.0.1"), tcp)], &["127.0.0.1"], &[]),
            // Twice is once; the pod has no IPv6 address.
            (&[port(None, tcp), port(Some("192.0.2.1"), tcp)], &["127.0.0.1", "192.0.2.1"], &["192.0.2.1"]),
            (&[port(Some("2001:db8::1"), tcp)], &[], &[]),
        ];
        for (ports, inside, outside) in rows {
            let pod = PodView { ips: vec![ip("10.244.0.5")], ports: ports.to_vec() };
            let plan = plan_pod(&node, &pod);
            let found: Vec<_> = plan.frontends.iter().map(|p| p.frontend.key.address).collect();
            assert_eq!(found, inside.iter().map(|text| ip(text)).collect::<Vec<_>>(), "{ports:?}");
            let found: Vec<_> = plan.external.iter().map(|e| e.key.address).collect();
            assert_eq!(found, outside.iter().map(|text| ip(text)).collect::<Vec<_>>(), "{ports:?}");
            let leads = |p: &PlannedFrontend| p.frontend.backends == ["10.244.0.5:80".parse().unwrap()];
            assert!(plan.frontends.iter().all(leads));
        }
    }

    #[test]
    fn what_cannot_be_is_told() {
        let pod = PodView { ips: vec![ip("10.244.0.5")], ports: vec![port(None, None)] };
        assert_eq!(plan_pod(&Node::default(), &pod).unprogrammed, [Unprogrammed::Protocol(8080)]);
        let node = Node { addresses: vec![ip("192.0.2.1")], ..Node::default() };
        let mut port = port(None, Some(Protocol::Sctp));
        let differs = plan_pod(&node, &PodView { ports: vec![port.clone()], ..pod.clone() });
        assert_eq!(differs.unprogrammed, [Unprogrammed::SctpPort { port: 8080, target: 80 }]);
        assert!(differs.frontends.is_empty() && differs.external.is_empty());
        port.target = port.number;
        let same = plan_pod(&node, &PodView { ports: vec![port], ..pod });
        assert_eq!((same.unprogrammed.len(), same.frontends.len(), same.external.len()), (0, 1, 1));
    }
}
