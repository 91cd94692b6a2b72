//! The addresses of this process's own links, and word of when they or the routes change.

use std::{io, net::IpAddr};

use futures::Stream;
use netlink_packet_route::RouteNetlinkMessage;
use rtnetlink::MulticastGroup;

use super::{NetError, messages, news::subscribe};

/// Addresses of all links, `lo` included, in no order.
pub fn own_addresses() -> io::Result<Vec<IpAddr>> {
    let addresses = nix::ifaddrs::getifaddrs()?.filter_map(|interface| interface.address);
    let ip = |address: nix::sys::socket::SockaddrStorage| {
        let v4 = address.as_sockaddr_in().map(|v4| v4.ip().into());
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| v6.ip().into()))
    };
    Ok(addresses.filter_map(ip).collect())
}

/// Something for each time that an address comes or goes; within a tokio runtime.
pub fn address_changes() -> Result<impl Stream<Item = ()> + Send + Unpin, NetError> {
    subscribe(&[MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr], |message| {
        matches!(message, RouteNetlinkMessage::NewAddress(_) | RouteNetlinkMessage::DelAddress(_))
    })
}

/// Something for each time that a route comes or goes by which other nodes may be reached: none of ours, and not what IPv6 gives
/// each link by itself. Within a tokio runtime.
pub fn route_changes() -> Result<impl Stream<Item = ()> + Send + Unpin, NetError> {
    subscribe(&[MulticastGroup::Ipv4Route, MulticastGroup::Ipv6Route], |message| match message {
        RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route) => {
            messages::is_of_underlay(route)
        }
        _ => false,
    })
}
