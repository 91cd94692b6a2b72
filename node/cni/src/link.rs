//! A pod's wire, planned as data: a veth pair, a host route, two neighbours that need no ARP.

use keelson_sys::net::{Mac, NetOp, Route};
use sha2::{Digest, Sha256};
use std::{net::Ipv4Addr, path::PathBuf};

/// The next hop of every pod, on no wire: its hardware address is set by hand, its packets meet the host's routes.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

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
    /// The pod's address.
    pub address: Ipv4Addr,
    /// Bytes of an IP packet.
    pub mtu: u32,
}

/// The name of the host's end: 14 bytes (a link's name has at most 15), the same for the same sandbox.
pub fn host_interface(sandbox: &str) -> String {
    let digest = Sha256::digest(sandbox.as_bytes());
    let hex: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("{LINK_PREFIX}{}", &hex[..11])
}

/// Locally administered, made from the address.
pub fn pod_mac(address: Ipv4Addr) -> Mac {
    let [a, b, c, d] = address.octets();
    [0x0a, 0x58, a, b, c, d]
}

/// Six bytes with colons.
pub fn mac_text(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// What to do in the node's namespace, then in the pod's.
pub fn plan_add(link: &PodLink) -> (Vec<NetOp>, Vec<NetOp>) {
    let host = host_interface(&link.sandbox);
    let host_ops = vec![
        NetOp::AddVeth {
            name: host.clone(),
            mac: HOST_MAC,
            peer_name: link.interface.clone(),
            peer_mac: pod_mac(link.address),
            peer_netns: link.netns.clone(),
            mtu: link.mtu,
        },
        NetOp::SetUp { link: host.clone() },
        NetOp::PutNeighbour { link: host.clone(), address: link.address, mac: pod_mac(link.address) },
        NetOp::PutRoute(Route {
            destination: link.address.into(),
            gateway: None,
            link: Some(host),
            onlink: false,
        }),
    ];
    let default = ipnet::Ipv4Net::default();
    let interface = || link.interface.clone();
    let pod_ops = vec![
        NetOp::SetUp { link: "lo".into() },
        NetOp::AddAddress { link: interface(), address: link.address.into() },
        NetOp::SetUp { link: interface() },
        NetOp::PutNeighbour { link: interface(), address: GATEWAY, mac: HOST_MAC },
        NetOp::PutRoute(Route {
            destination: default,
            gateway: Some(GATEWAY),
            link: Some(interface()),
            onlink: true,
        }),
    ];
    (host_ops, pod_ops)
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
    fn neither_end_ever_asks_by_arp() {
        let link = PodLink {
            sandbox: "s".into(),
            netns: "/run/netns/p".into(),
            interface: "eth0".into(),
            address: Ipv4Addr::new(10, 244, 1, 2),
            mtu: 1500,
        };
        let (host, pod) = plan_add(&link);
        let knows = |ops: &[NetOp], address, mac| {
            let wanted = |op: &NetOp| matches!(op, NetOp::PutNeighbour { address: a, mac: m, .. } if *a == address && *m == mac);
            ops.iter().any(wanted)
        };
        assert!(knows(&host, link.address, pod_mac(link.address)));
        assert!(knows(&pod, GATEWAY, HOST_MAC));
    }
}
