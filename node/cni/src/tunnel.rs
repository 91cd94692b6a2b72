//! The node's end of the tunnel to nodes that are not adjacent: one VXLAN device (RFC 7348), planned and compared as data.
//!
//! ```text
//! pod range of n3 ──route──▶ next hop (n3's own address in the tunnel) ──neighbour──▶ n3's hardware address
//!                                                   n3's address on the nodes' network ◀──forwarding──┘
//! ```
//! All of it follows from Node objects: the hardware address from the node's address, the addresses inside from its pod
//! ranges. The node itself has the first address of its first range of each family there, which no pod gets: what its own
//! processes send by the tunnel is answered by the tunnel. Packets of both families go over the nodes' network of one.
//!
//! Anyone who can send a datagram to a node's port can put packets into its pods' network: VXLAN asks for no proof. That port
//! is to be closed towards the world, as with every network of this kind.

use crate::ipam::Family;
use ipnet::IpNet;
use keelson_sys::net::{Mac, NetOp, TUNNEL_LINK, Tunnel, Vxlan};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv6Addr},
};

/// When packets to another node's pods go by the tunnel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Where the node is not adjacent.
    #[default]
    Auto,
    /// To every node.
    Always,
    /// Never: all nodes are adjacent, or there is no way to them.
    Never,
}

/// The UDP port that Linux took before one was assigned, and the one network on it: those of flannel, whose port Cilium shares.
/// Firewalls know them (<https://github.com/flannel-io/flannel/blob/master/Documentation/backends.md>).
const PORT: u16 = 8472;
const VNI: u32 = 1;

/// Bytes around a packet inside: Ethernet 14, VXLAN 8, UDP 8, and the outer IP header.
pub fn overhead(underlay: Family) -> u32 {
    let ip = match underlay {
        Family::V4 => 20,
        Family::V6 => 40,
    };
    14 + 8 + 8 + ip
}

/// What a node is to be reached by through the tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// Its address on the nodes' network.
    pub(crate) address: IpAddr,
    /// Its hardware address inside.
    pub(crate) mac: Mac,
}

impl End {
    /// The end of the node that has this address.
    pub(crate) fn of(address: IpAddr) -> End {
        End { address, mac: mac(address) }
    }

    /// The next hop towards ranges of a family. IPv6's is of the link alone, as the kernel expects of a router on a link
    /// that has no prefix (RFC 4861, 8).
    pub(crate) fn next_hop(&self, ranges: &[IpNet], family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 => own_address(ranges, family),
            Family::V6 => {
                let [a, b, c, d, e, f] = self.mac.map(u16::from);
                Some(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, a << 8 | b, c << 8 | d, e << 8 | f).into())
            }
        }
    }
}

/// The address that a node has inside, of a family: the first of its first range.
pub(crate) fn own_address(ranges: &[IpNet], family: Family) -> Option<IpAddr> {
    ranges.iter().find(|range| Family::of(range.addr()) == family).map(|range| range.network())
}

/// Locally administered, made from the node's address: all of IPv4's bytes, a digest of IPv6's.
fn mac(node: IpAddr) -> Mac {
    match node {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            [0x0a, 0x4b, a, b, c, d]
        }
        IpAddr::V6(v6) => {
            let digest = Sha256::digest(v6.octets());
            [0x0e, digest[0], digest[1], digest[2], digest[3], digest[4]]
        }
    }
}

/// The device of a node without anybody it leads to. `mtu` is that of the nodes' wires.
pub(crate) fn device(node: IpAddr, ranges: &[IpNet], mtu: u32) -> Tunnel {
    let addresses = [Family::V4, Family::V6].iter().filter_map(|family| own_address(ranges, *family));
    Tunnel {
        device: Vxlan {
            vni: VNI,
            port: PORT,
            local: node,
            mac: mac(node),
            mtu: mtu.saturating_sub(overhead(Family::of(node))),
        },
        addresses: addresses.collect(),
        neighbours: BTreeSet::new(),
        forwarding: BTreeSet::new(),
    }
}

/// What to tell the kernel so that its tunnel becomes the one wanted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    /// Before routes are made that lead there.
    pub(crate) before: Vec<NetOp>,
    /// When no route leads there any more that should not.
    pub(crate) after: Vec<NetOp>,
}

/// Compares. A device that was made otherwise, or has addresses that it should not, is made anew: its routes go with it.
pub(crate) fn diff(wanted: Option<&Tunnel>, present: Option<&Tunnel>) -> Change {
    let link = || TUNNEL_LINK.to_owned();
    let delete = || vec![NetOp::DeleteLink { link: link() }];
    let Some(wanted) = wanted else {
        return Change { before: vec![], after: present.map_or(vec![], |_| delete()) };
    };
    let mut change = Change::default();
    let fits =
        |there: &&Tunnel| there.device == wanted.device && there.addresses.is_subset(&wanted.addresses);
    let kept = present.filter(fits);
    if kept.is_none() {
        change.before = present.map_or(vec![], |_| delete());
        change.before.push(NetOp::AddVxlan { name: link(), vxlan: wanted.device.clone() });
    }
    let nothing = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let (addresses, neighbours, forwarding) =
        kept.map_or((&nothing.0, &nothing.1, &nothing.2), |t| (&t.addresses, &t.neighbours, &t.forwarding));
    let new = wanted.addresses.difference(addresses);
    change.before.extend(new.map(|address| NetOp::AddAddress { link: link(), address: (*address).into() }));
    // Always: one that was found switched off is of no use.
    change.before.push(NetOp::SetUp { link: link() });
    for (mac, remote) in wanted.forwarding.difference(forwarding) {
        change.before.push(NetOp::PutForwarding { link: link(), mac: *mac, remote: *remote });
    }
    for (address, mac) in wanted.neighbours.difference(neighbours) {
        change.before.push(NetOp::PutNeighbour { link: link(), address: *address, mac: *mac });
    }
    // One whose key is wanted otherwise was replaced.
    let gone = neighbours.iter().filter(|(address, _)| !wanted.neighbours.iter().any(|(a, _)| a == address));
    change.after.extend(gone.map(|(address, _)| NetOp::DeleteNeighbour { link: link(), address: *address }));
    let gone = forwarding.iter().filter(|(mac, _)| !wanted.forwarding.iter().any(|(m, _)| m == mac));
    change.after.extend(gone.map(|(mac, remote)| NetOp::DeleteForwarding {
        link: link(),
        mac: *mac,
        remote: *remote,
    }));
    change
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tunnel(peers: &[(&str, &str)]) -> Tunnel {
        let ranges = ["10.244.1.0/24", "fd00:244:1::/64"].map(|net| net.parse().unwrap());
        let mut tunnel = device("192.0.2.1".parse().unwrap(), &ranges, 1500);
        for (node, hop) in peers {
            let end = End::of(node.parse().unwrap());
            tunnel.neighbours.insert((hop.parse().unwrap(), end.mac));
            tunnel.forwarding.insert((end.mac, end.address));
        }
        tunnel
    }

    fn shown(ops: &[NetOp]) -> Vec<String> {
        let show = |op: &NetOp| match op {
            NetOp::AddVxlan { vxlan, .. } => format!("device {} mtu {}", vxlan.local, vxlan.mtu),
            NetOp::AddAddress { address, .. } => format!("address {address}"),
            NetOp::SetUp { .. } => "up".into(),
            NetOp::PutForwarding { remote, .. } => format!("to {remote}"),
            NetOp::PutNeighbour { address, .. } => format!("hop {address}"),
            NetOp::DeleteForwarding { remote, .. } => format!("not to {remote}"),
            NetOp::DeleteNeighbour { address, .. } => format!("no hop {address}"),
            NetOp::DeleteLink { .. } => "no device".into(),
            other => format!("{other:?}"),
        };
        ops.iter().map(show).collect()
    }

    #[test]
    fn what_is_there_already_is_left_alone_and_what_is_not_wanted_goes_last() {
        let (one, two) = (("192.0.2.129", "10.244.2.0"), ("192.0.2.130", "10.244.3.0"));
        const NEW: [&str; 4] =
            ["device 192.0.2.1 mtu 1450", "address 10.244.1.0/32", "address fd00:244:1::/128", "up"];
        let mut other = tunnel(&[one]);
        other.device.mtu = 1400;
        let mut foreign = tunnel(&[one]);
        foreign.addresses.insert("10.244.9.0".parse().unwrap());
        let moved = ("192.0.2.140", "10.244.2.0");
        type Row<'a> = (Option<Tunnel>, Option<Tunnel>, Vec<&'a str>, Vec<&'a str>);
        let rows: [Row<'_>; 8] = [
            (None, None, vec![], vec![]),
            (Some(tunnel(&[])), None, NEW.to_vec(), vec![]),
            (Some(tunnel(&[one])), Some(tunnel(&[one])), vec!["up"], vec![]),
            (
                Some(tunnel(&[one, two])),
                Some(tunnel(&[one])),
                vec!["up", "to 192.0.2.130", "hop 10.244.3.0"],
                vec![],
            ),
            (
                Some(tunnel(&[two])),
                Some(tunnel(&[one, two])),
                vec!["up"],
                vec!["no hop 10.244.2.0", "not to 192.0.2.129"],
            ),
            // A node that has another address keeps its range: the next hop is replaced.
            (
                Some(tunnel(&[moved])),
                Some(tunnel(&[one])),
                vec!["up", "to 192.0.2.140", "hop 10.244.2.0"],
                vec!["not to 192.0.2.129"],
            ),
            (None, Some(tunnel(&[one])), vec![], vec!["no device"]),
            (Some(tunnel(&[])), Some(foreign), [&["no device"][..], &NEW].concat(), vec![]),
        ];
        for (wanted, present, before, after) in rows {
            let change = diff(wanted.as_ref(), present.as_ref());
            assert_eq!(
                (shown(&change.before), shown(&change.after)),
                (
                    before.iter().map(ToString::to_string).collect(),
                    after.iter().map(ToString::to_string).collect()
                )
            );
        }
        assert_eq!(shown(&diff(Some(&tunnel(&[])), Some(&other)).before)[..2], ["no device", NEW[0]]);
    }

    #[test]
    fn every_node_works_out_the_same_end_of_another() {
        let end = End::of("192.0.2.129".parse().unwrap());
        assert_eq!(end.mac, [0x0a, 0x4b, 192, 0, 2, 129]);
        let ranges = ["fd00:244:3::/64", "10.244.3.0/24", "10.245.3.0/24"].map(|net| net.parse().unwrap());
        let hop = |end: &End, family| end.next_hop(&ranges, family).unwrap().to_string();
        assert_eq!(hop(&end, Family::V4), "10.244.3.0");
        assert_eq!(hop(&end, Family::V6), "fe80::a4b:c000:281");
        // Of IPv6 nodes no byte is like another's, and the first one is that of a unicast address that nobody sells.
        let (one, two) = (End::of("2001:db8::1".parse().unwrap()), End::of("2001:db8:1::1".parse().unwrap()));
        assert!(one.mac != two.mac && one.mac[0] & 3 == 2);
        assert_eq!((overhead(Family::V4), overhead(Family::V6)), (50, 70));
    }
}
