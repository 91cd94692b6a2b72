//! Our values as rtnetlink's messages, and back. Pure.

use super::{ROUTE_PROTOCOL, Route};
use ipnet::IpNet;
use netlink_packet_route::{
    AddressFamily,
    address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope, CacheInfo},
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope},
};
use rtnetlink::{AddressMessageBuilder, RouteMessageBuilder};
use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// An address of the link `index`. Whose link is `lo` is for this host alone: it must never be chosen as a source towards a
/// pod. For IPv4 its scope says so; IPv6 knows no scope but an address's own, so that one is deprecated from the start
/// (RFC 6724, section 5, rule 3).
pub(super) fn address(index: u32, address: &IpNet, of_loopback: bool) -> AddressMessage {
    match address {
        IpNet::V4(v4) => {
            let builder = AddressMessageBuilder::<Ipv4Addr>::new().index(index);
            let mut message = builder.address(v4.addr(), v4.prefix_len()).build();
            if of_loopback {
                message.header.scope = AddressScope::Host;
            }
            message
        }
        IpNet::V6(v6) => {
            let builder = AddressMessageBuilder::<Ipv6Addr>::new().index(index);
            let mut message = builder.address(v6.addr(), v6.prefix_len()).build();
            // No duplicate address detection: whoever gives the address knows that nobody has it, and nobody waits.
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
            if of_loopback {
                let mut times = CacheInfo::default();
                (times.ifa_preferred, times.ifa_valid) = (0, u32::MAX);
                message.attributes.push(AddressAttribute::CacheInfo(times));
            }
            message
        }
    }
}

/// A route; `link` is the index of the one that it names.
pub(super) fn route(route: &Route, link: Option<u32>) -> RouteMessage {
    let scope = if route.gateway.is_some() { RouteScope::Universe } else { RouteScope::Link };
    let mut message = match route.destination {
        IpNet::V4(to) => {
            RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(to.network(), to.prefix_len()).build()
        }
        IpNet::V6(to) => {
            RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(to.network(), to.prefix_len()).build()
        }
    };
    message.header.protocol = RouteProtocol::from(ROUTE_PROTOCOL);
    message.header.scope = scope;
    message.attributes.extend(route.gateway.map(|gateway| {
        RouteAttribute::Gateway(match gateway {
            IpAddr::V4(v4) => RouteAddress::Inet(v4),
            IpAddr::V6(v6) => RouteAddress::Inet6(v6),
        })
    }));
    message.attributes.extend(link.map(RouteAttribute::Oif));
    if route.onlink {
        message.header.flags |= netlink_packet_route::route::RouteFlags::Onlink;
    }
    message
}

/// A route as the kernel lists it; None if it is of another family than IP.
pub(super) fn route_of(message: &RouteMessage, names: &HashMap<u32, String>) -> Option<Route> {
    let unspecified = match message.header.address_family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    let (mut destination, mut gateway, mut link) = (unspecified, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(to) => destination = ip(to)?,
            RouteAttribute::Gateway(by) => gateway = Some(ip(by)?),
            RouteAttribute::Oif(index) => link = names.get(index).cloned(),
            _ => {}
        }
    }
    let destination = IpNet::new(destination, message.header.destination_prefix_length).ok()?;
    Some(Route { destination, gateway, link, onlink: false })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_what_it_was_when_the_kernel_lists_it() {
        let names = HashMap::from([(7, "eth0".to_string())]);
        let rows = [
            ("10.244.2.0/24", Some("172.30.0.12"), None),
            ("10.244.1.7/32", None, Some("eth0")),
            ("fd00:10:244:2::/64", Some("fd00:172:30::c"), None),
            ("fd00:10:244:1::7/128", None, Some("eth0")),
        ];
        for (destination, gateway, link) in rows {
            let wanted = Route {
                destination: destination.parse().unwrap(),
                gateway: gateway.map(|text| text.parse().unwrap()),
                link: link.map(str::to_owned),
                onlink: false,
            };
            let message = route(&wanted, link.map(|_| 7));
            assert_eq!(message.header.protocol, RouteProtocol::from(ROUTE_PROTOCOL));
            assert_eq!(route_of(&message, &names), Some(wanted));
        }
    }
}
