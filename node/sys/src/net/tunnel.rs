//! The node's VXLAN device (RFC 7348) as values, and out of rtnetlink's messages. Pure.
//!
//! Neither multicast nor learning: who is behind which hardware address, and at which node, is only ever told by us.

use super::Mac;
use netlink_packet_route::{
    link::{InfoData, InfoVxlan, LinkAttribute, LinkInfo, LinkMessage},
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState},
};
use rtnetlink::{LinkMessageBuilder, LinkVxlan};
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv6Addr},
};

/// The name of the one device, by which a later daemon, the data plane and `down` know it.
pub const TUNNEL_LINK: &str = "keelson-vxlan";

/// What the device is made with; none of it is changed while it exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vxlan {
    /// Number of the network, of 24 bits.
    pub vni: u32,
    /// UDP port of all nodes.
    pub port: u16,
    /// The node's address to which the others send.
    pub local: IpAddr,
    /// The device's hardware address.
    pub mac: Mac,
    /// Bytes of an IP packet inside.
    pub mtu: u32,
}

/// The device and what it knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// As it was made.
    pub device: Vxlan,
    /// The node's own addresses there.
    pub addresses: BTreeSet<IpAddr>,
    /// Next hops, and the hardware address of each.
    pub neighbours: BTreeSet<(IpAddr, Mac)>,
    /// Hardware addresses, and the node that has each.
    pub forwarding: BTreeSet<(Mac, IpAddr)>,
}

/// The way to an address, as the kernel's routes have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It is a neighbour: adjacent.
    OnLink,
    /// By a router.
    Routed,
    /// There is none.
    Nowhere,
}

/// The request for a device, switched off.
pub(super) fn link(name: &str, vxlan: &Vxlan) -> LinkMessage {
    let builder =
        LinkVxlan::new(name, vxlan.vni).port(vxlan.port).append_info_data(InfoVxlan::Learning(false));
    let builder = match vxlan.local {
        IpAddr::V4(v4) => builder.local(v4),
        IpAddr::V6(v6) => builder.local6(v6),
    };
    LinkMessageBuilder::<LinkVxlan>::address(builder, vxlan.mac.to_vec()).mtu(vxlan.mtu).build()
}

/// A device as the kernel lists it; `None` for what is no VXLAN, or not as ours are: a local address, no learning.
pub(super) fn vxlan_of(link: &LinkMessage) -> Option<Vxlan> {
    let (mut mac, mut mtu, mut data) = (None, None, None);
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::Address(bytes) => mac = Mac::try_from(bytes.as_slice()).ok(),
            LinkAttribute::Mtu(bytes) => mtu = Some(*bytes),
            LinkAttribute::LinkInfo(infos) => {
                data = infos.iter().find_map(|info| match info {
                    LinkInfo::Data(InfoData::Vxlan(data)) => Some(data),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    let (mut vni, mut port, mut local, mut learning) = (None, None, None, true);
    for info in data? {
        match info {
            InfoVxlan::Id(id) => vni = Some(*id),
            InfoVxlan::Port(number) => port = Some(*number),
            InfoVxlan::Local(v4) => local = Some(IpAddr::V4(*v4)),
            InfoVxlan::Local6(v6) => local = Some(IpAddr::V6(*v6)),
            InfoVxlan::Learning(on) => learning = *on,
            _ => {}
        }
    }
    if learning {
        return None;
    }
    Some(Vxlan { vni: vni?, port: port?, local: local?, mac: mac?, mtu: mtu? })
}

/// An entry that somebody made for good, of a table of next hops: its address and hardware address.
pub(super) fn neighbour_of(message: &NeighbourMessage) -> Option<(IpAddr, Mac)> {
    if message.header.state != NeighbourState::Permanent {
        return None;
    }
    Some((destination(message)?, mac(message)?))
}

/// An entry of a forwarding table: a hardware address and who has it.
pub(super) fn forwarding_of(message: &NeighbourMessage) -> Option<(Mac, IpAddr)> {
    Some((mac(message)?, destination(message)?))
}

fn mac(message: &NeighbourMessage) -> Option<Mac> {
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(bytes) => Mac::try_from(bytes.as_slice()).ok(),
        _ => None,
    })
}

/// In a forwarding table the family is that of bridges, and the address's length says its own.
fn destination(message: &NeighbourMessage) -> Option<IpAddr> {
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => Some(IpAddr::V4(*v4)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => Some(IpAddr::V6(*v6)),
        NeighbourAttribute::Destination(NeighbourAddress::Other(bytes)) => match bytes.len() {
            4 => <[u8; 4]>::try_from(bytes.as_slice()).ok().map(IpAddr::from),
            16 => <[u8; 16]>::try_from(bytes.as_slice()).ok().map(|octets| Ipv6Addr::from(octets).into()),
            _ => None,
        },
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_what_it_was_asked_to_be_when_the_kernel_lists_it() {
        for local in ["192.0.2.1", "2001:db8::1"] {
            let wanted = Vxlan {
                vni: 1,
                port: 8472,
                local: local.parse().unwrap(),
                mac: [2, 0, 0, 0, 0, 1],
                mtu: 1450,
            };
            let mut message = link("one", &wanted);
            assert_eq!(vxlan_of(&message), Some(wanted));
            // One that learns is not ours.
            for attribute in &mut message.attributes {
                if let LinkAttribute::LinkInfo(infos) = attribute {
                    for info in infos {
                        if let LinkInfo::Data(InfoData::Vxlan(data)) = info {
                            data.push(InfoVxlan::Learning(true));
                        }
                    }
                }
            }
            assert_eq!(vxlan_of(&message), None);
        }
    }
}
