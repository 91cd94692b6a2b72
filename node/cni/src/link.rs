//! A pod's wire, planned as data: a veth pair, a host route a family, two neighbours that need no ARP and no neighbour discovery.

use crate::bandwidth::{self, Bandwidth};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use keelson_sys::net::{Mac, NetOp, Route};
use sha2::{Digest, Sha256};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
};

/// The next hop of every pod, on no wire: its hardware address is set by hand, its packets meet the host's routes.
pub const GATEWAY4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// The same for IPv6, of the pod's own link as IPv6 expects of a router (RFC 4861, section 6.1.2).
pub const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// The next hop of an address's family.
pub fn gateway(of: IpAddr) -> IpAddr {
    if of.is_ipv4() { GATEWAY4.into() } else { GATEWAY6.into() }
}

/// The hardware address of every host end: a pair has only two ends, so they need not differ.
pub const HOST_MAC: Mac = [0xee, 0x4b, 0x4c, 0x00, 0x00, 0x01];

/// What a pod's host-side link is named by, so that strays are found.
pub const LINK_PREFIX: &str = "kln";

/// One pod's wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodLink {
    /// CNI_CONTAINERID.
    pub sandbox: String,
    /// The pod's network namespace.
    pub netns: PathBuf,
    /// The interface's name in the pod.
    pub interface: String,
    /// The pod's addresses, one of each family, the primary one first.
    pub addresses: Vec<IpAddr>,
    /// Bytes of an IP packet.
    pub mtu: u32,
    /// How fast packets may come and go.
    pub bandwidth: Bandwidth,
}

/// The name of the host's end: 14 bytes (a link's name has at most 15), the same for the same sandbox.
pub fn host_interface(sandbox: &str) -> String {
    let digest = Sha256::digest(sandbox.as_bytes());
    let hex: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("{LINK_PREFIX}{}", &hex[..11])
}

/// Locally administered, made from the primary address: all of IPv4's bytes, the last ones of IPv6's.
pub fn pod_mac(addresses: &[IpAddr]) -> Mac {
    let [a, b, c, d] = match addresses.first() {
        Some(IpAddr::V4(v4)) => v4.octets(),
        Some(IpAddr::V6(v6)) => std::array::from_fn(|index| v6.octets()[12 + index]),
        None => [0; 4],
    };
    [0x0a, 0x58, a, b, c, d]
}

/// Six bytes with colons.
pub fn mac_text(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// What to do in the node's namespace, then in the pod's.
pub fn plan_add(link: &PodLink) -> (Vec<NetOp>, Vec<NetOp>) {
    let host = host_interface(&link.sandbox);
    let mac = pod_mac(&link.addresses);
    let mut host_ops = vec![
        NetOp::AddVeth {
            name: host.clone(),
            mac: HOST_MAC,
            peer_name: link.interface.clone(),
            peer_mac: mac,
            peer_netns: link.netns.clone(),
            mtu: link.mtu,
        },
        NetOp::SetUp { link: host.clone() },
    ];
    host_ops.extend(limit_rate(&host, link.bandwidth.ingress_rate, link.mtu));
    for address in &link.addresses {
        let route =
            Route { destination: (*address).into(), gateway: None, link: Some(host.clone()), onlink: false };
        host_ops.push(NetOp::PutNeighbour { link: host.clone(), address: *address, mac });
        host_ops.push(NetOp::PutRoute(route));
    }
    (host_ops, plan_pod(link))
}

fn plan_pod(link: &PodLink) -> Vec<NetOp> {
    let interface = || link.interface.clone();
    let mut ops = Vec::new();
    if link.addresses.iter().any(IpAddr::is_ipv6) {
        ops.push(NetOp::EnableIpv6);
    }
    ops.push(NetOp::SetUp { link: "lo".into() });
    let add = |address: &IpAddr| NetOp::AddAddress { link: interface(), address: (*address).into() };
    ops.extend(link.addresses.iter().map(add));
    ops.extend(limit_rate(&link.interface, link.bandwidth.egress_rate, link.mtu));
    ops.push(NetOp::SetUp { link: interface() });
    for address in &link.addresses {
        let gateway = gateway(*address);
        let everything: IpNet =
            if address.is_ipv4() { Ipv4Net::default().into() } else { Ipv6Net::default().into() };
        ops.push(NetOp::PutNeighbour { link: interface(), address: gateway, mac: HOST_MAC });
        ops.push(NetOp::PutRoute(Route {
            destination: everything,
            gateway: Some(gateway),
            link: Some(interface()),
            // IPv6's next hop is of the link by itself.
            onlink: address.is_ipv4(),
        }));
    }
    ops
}

fn limit_rate(link: &str, bits_per_s: u64, mtu: u32) -> Option<NetOp> {
    let limit = bandwidth::limit(bits_per_s, mtu)?;
    Some(NetOp::LimitRate { link: link.to_owned(), limit })
}

/// Removing one end removes the pair and its routes.
pub fn plan_delete(sandbox: &str) -> Vec<NetOp> {
    vec![NetOp::DeleteLink { link: host_interface(sandbox) }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_name_fits_and_differs_by_sandbox() {
        assert_eq!(host_interface("a").len(), 14);
        assert_ne!(host_interface("a"), host_interface("b"));
    }

    #[test]
    fn neither_end_ever_asks_who_has_an_address() {
        let rows: [&[&str]; 3] = [&["10.244.1.2"], &["10.244.1.2", "fd00::2"], &["fd00::2"]];
        for addresses in rows {
            let link = PodLink {
                sandbox: "s".into(),
                netns: "/run/netns/p".into(),
                interface: "eth0".into(),
                addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
                mtu: 1500,
                bandwidth: Bandwidth::default(),
            };
            let (host, pod) = plan_add(&link);
            let knows = |ops: &[NetOp], address, mac| {
                let wanted = |op: &NetOp| matches!(op, NetOp::PutNeighbour { address: a, mac: m, .. } if *a == address && *m == mac);
                ops.iter().any(wanted)
            };
            for address in &link.addresses {
                assert!(knows(&host, *address, pod_mac(&link.addresses)), "{address}");
                assert!(knows(&pod, gateway(*address), HOST_MAC), "{address}");
            }
        }
    }

    #[test]
    fn each_direction_is_bounded_where_it_is_sent_before_the_pod_sends() {
        let bandwidth = Bandwidth { ingress_rate: 8_000, egress_rate: 16_000 };
        let (sandbox, netns, interface) = ("s".into(), "/run/netns/p".into(), "eth0".into());
        let addresses = vec![GATEWAY4.into()];
        let (host, pod) = plan_add(&PodLink { sandbox, netns, interface, addresses, mtu: 1500, bandwidth });
        let place = |ops: &[NetOp], rate| {
            let wanted =
                |op: &NetOp| matches!(op, NetOp::LimitRate { limit, .. } if limit.bytes_per_s == rate);
            ops.iter().position(wanted)
        };
        assert!(place(&host, 1_000).is_some() && place(&host, 2_000).is_none());
        let up = pod.iter().position(|op| *op == NetOp::SetUp { link: "eth0".into() });
        assert!(place(&pod, 2_000).is_some_and(|at| Some(at) < up));
    }

    #[test]
    fn a_hardware_address_is_the_primary_addresses() {
        let mac = |list: &[&str]| {
            mac_text(pod_mac(&list.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>()))
        };
        assert_eq!(mac(&["10.244.1.2", "fd00::2"]), "0a:58:0a:f4:01:02");
        assert_eq!(mac(&["fd00::1:2"]), "0a:58:00:01:00:02");
    }
}
