//! Our values as rtnetlink's messages, and back. Pure.

use super::{ROUTE_PROTOCOL, Route, Way};
use ipnet::IpNet;
use netlink_packet_route::{
    AddressFamily,
    address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope, CacheInfo},
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType},
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

/// The question for the way to an address.
pub(super) fn question(address: IpAddr) -> RouteMessage {
    match address {
        IpAddr::V4(v4) => RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(v4, 32).build(),
        IpAddr::V6(v6) => RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(v6, 128).build(),
    }
}

/// What the kernel's answer to it says.
pub(super) fn way_of(answer: &RouteMessage) -> Way {
    let routed = |attribute: &RouteAttribute| {
        matches!(
            attribute,
            RouteAttribute::Gateway(_) | RouteAttribute::Via(_) | RouteAttribute::MultiPath(_)
        )
    };
    match answer.header.kind {
        RouteType::Unicast if answer.attributes.iter().any(routed) => Way::Routed,
        RouteType::Unicast => Way::OnLink,
        // Refused, or this node's own address, which no other node can have.
        _ => Way::Nowhere,
    }
}

/// Whether news of a route may change the way to other nodes: not those of ours, nor what every new link has.
pub(super) fn is_of_underlay(route: &RouteMessage) -> bool {
    const TABLE_MAIN: u8 = 254;
    let is_local = |address: &RouteAddress| matches!(ip(address), Some(IpAddr::V6(v6)) if v6.is_unicast_link_local() || v6.is_multicast());
    route.header.table == TABLE_MAIN
        && route.header.protocol != RouteProtocol::from(ROUTE_PROTOCOL)
        && !route.attributes.iter().any(|a| matches!(a, RouteAttribute::Destination(to) if is_local(to)))
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
    fn a_neighbour_is_who_has_no_router_before_it() {
        let gateway = RouteAttribute::Gateway(RouteAddress::Inet(Ipv4Addr::new(192, 0, 2, 1)));
        let rows = [
            (RouteType::Unicast, vec![RouteAttribute::Oif(2)], Way::OnLink),
            (RouteType::Unicast, vec![RouteAttribute::Oif(2), gateway], Way::Routed),
            (RouteType::Local, vec![], Way::Nowhere),
            (RouteType::Unreachable, vec![RouteAttribute::Oif(1)], Way::Nowhere),
        ];
        for (kind, attributes, way) in rows {
            let mut answer = question(Ipv4Addr::new(192, 0, 2, 9).into());
            answer.header.kind = kind;
            answer.attributes.extend(attributes);
            assert_eq!(way_of(&answer), way, "{answer:?}");
        }
    }

    #[test]
    fn pods_come_and_go_without_news_of_the_underlay() {
        let of = |destination: &str, protocol: u8| {
            let route_to =
                Route { destination: destination.parse().unwrap(), gateway: None, link: None, onlink: false };
            let mut message = route(&route_to, Some(7));
            message.header.protocol = RouteProtocol::from(protocol);
            message
        };
        const KERNEL: u8 = 2;
        assert!(is_of_underlay(&of("192.0.2.0/24", KERNEL)));
        for (destination, protocol) in
            [("10.244.1.7/32", ROUTE_PROTOCOL), ("fe80::/64", KERNEL), ("ff00::/8", KERNEL)]
        {
            assert!(!is_of_underlay(&of(destination, protocol)), "{destination}");
        }
    }

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
