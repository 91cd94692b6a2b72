//! Devices by which pods' networks of others reach the pods of other nodes, wrapped into something: found by their kind, whoever made
//! them and whatever their names.

use std::{collections::HashMap, net::IpAddr};

use futures::{Stream, TryStreamExt};
use netlink_packet_route::{
    RouteNetlinkMessage,
    address::AddressAttribute,
    link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
};
use rtnetlink::MulticastGroup;

use super::{NetError, news::subscribe};

/// What goes in and out of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Ethernet frames.
    Ethernet,
    /// IP packets, with nothing before them.
    None,
}

/// A device that wraps what it is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlay {
    /// Its name.
    pub name: String,
    /// Its index: one that is made anew has another.
    pub index: u32,
    /// What it takes.
    pub framing: Framing,
    /// The node's addresses there, without those that IPv6 gives each link by itself.
    pub addresses: Vec<IpAddr>,
}

/// Those of this process's namespace that are switched on, by name; within a tokio runtime.
pub async fn overlays() -> Result<Vec<Overlay>, NetError> {
    let (connection, handle, _messages) = rtnetlink::new_connection().map_err(NetError::Socket)?;
    tokio::spawn(connection);
    let failed = |doing: &str| {
        let op = doing.to_owned();
        move |source| NetError::Refused { op, source: Box::new(source) }
    };
    let links: Vec<LinkMessage> =
        handle.link().get().execute().try_collect().await.map_err(failed("reading links"))?;
    let mut addresses: HashMap<u32, Vec<IpAddr>> = HashMap::new();
    let mut listed = handle.address().get().execute();
    while let Some(message) = listed.try_next().await.map_err(failed("reading addresses"))? {
        // Of a link between two ends the second is the other's.
        let local = message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(address) => Some(*address),
            _ => None,
        });
        let plain = message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        });
        let is_link_local = |ip: &IpAddr| matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
        let own = local.or(plain).filter(|address| !is_link_local(address));
        addresses.entry(message.header.index).or_default().extend(own);
    }
    let mut found: Vec<Overlay> = links.iter().filter_map(|link| overlay(link, &mut addresses)).collect();
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

/// Something for each time that the answer of [`overlays`] may be another; within a tokio runtime.
pub fn overlay_changes() -> Result<impl Stream<Item = ()> + Send + Unpin, NetError> {
    let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
    subscribe(&groups, |message| match message {
        RouteNetlinkMessage::NewLink(link) | RouteNetlinkMessage::DelLink(link) => framing(link).is_some(),
        RouteNetlinkMessage::NewAddress(_) | RouteNetlinkMessage::DelAddress(_) => true,
        _ => false,
    })
}

fn overlay(link: &LinkMessage, addresses: &mut HashMap<u32, Vec<IpAddr>>) -> Option<Overlay> {
    let framing = framing(link).filter(|_| link.header.flags.contains(LinkFlags::Up))?;
    let name = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })?;
    let index = link.header.index;
    Some(Overlay { name, index, framing, addresses: addresses.remove(&index).unwrap_or_default() })
}

/// `None` for what wraps nothing. Kinds as `ip link add type` has them (ip-link(8)).
fn framing(link: &LinkMessage) -> Option<Framing> {
    let kind = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => infos.iter().find_map(|info| match info {
            LinkInfo::Kind(kind) => Some(kind),
            _ => None,
        }),
        _ => None,
    })?;
    match kind {
        InfoKind::Vxlan | InfoKind::Geneve | InfoKind::GreTap | InfoKind::GreTap6 => Some(Framing::Ethernet),
        InfoKind::Wireguard
        | InfoKind::IpIp
        | InfoKind::Ip6Tnl
        | InfoKind::SitTun
        | InfoKind::GreTun
        | InfoKind::GreTun6 => Some(Framing::None),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wraps_is_known_by_its_kind() {
        let rows = [
            (Some(InfoKind::Vxlan), true, Some(Framing::Ethernet)),
            (Some(InfoKind::Geneve), true, Some(Framing::Ethernet)),
            (Some(InfoKind::Wireguard), true, Some(Framing::None)),
            (Some(InfoKind::IpIp), true, Some(Framing::None)),
            (Some(InfoKind::Vxlan), false, None),
            (Some(InfoKind::Veth), true, None),
            (Some(InfoKind::Bridge), true, None),
            (None, true, None),
        ];
        for (kind, up, expected) in rows {
            let mut link = LinkMessage::default();
            link.header.index = 7;
            link.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
            link.attributes.push(LinkAttribute::IfName("one".into()));
            let shown = format!("{kind:?} {up}");
            link.attributes.extend(kind.map(|kind| LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind)])));
            let own: IpAddr = "10.244.1.0".parse().unwrap();
            let found = overlay(&link, &mut HashMap::from([(7, vec![own]), (8, vec![])]));
            assert_eq!(found.as_ref().map(|found| found.framing), expected, "{shown}");
            assert!(found.is_none_or(|found| found.name == "one" && found.addresses == [own]));
        }
    }
}
