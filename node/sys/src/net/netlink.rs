//! The kernel's network over rtnetlink.

use super::{
    NetError, NetOp, Netns, Network, ROUTE_PROTOCOL, Route, Tunnel, Way, limit, messages, namespace, tunnel,
};
use crate::sysctl;
use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::AddressAttribute,
    link::{InfoData, InfoVeth, LinkAttribute},
    neighbour::{NeighbourFlags, NeighbourMessage},
    route::{RouteMessage, RouteProtocol},
    tc::TcMessage,
};
use rtnetlink::{
    Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder,
    packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::AsRawFd,
    path::PathBuf,
};

/// The kernel. Holds one socket for the process's own namespace; one for another is opened for as long as it is needed.
pub struct Netlink {
    own: Handle,
}

impl Netlink {
    /// Opens the socket; within a tokio runtime.
    pub fn open() -> Result<Netlink, NetError> {
        Ok(Netlink { own: connect().map_err(NetError::Socket)? })
    }

    async fn session(&self, netns: &Netns) -> Result<Session, NetError> {
        let handle = match netns {
            Netns::Own => self.own.clone(),
            Netns::Path(path) => connect_in(path.clone()).await?,
        };
        Ok(Session { netns: netns.clone(), handle, indexes: HashMap::new() })
    }
}

fn connect() -> io::Result<Handle> {
    let (connection, handle, _messages) = rtnetlink::new_connection()?;
    tokio::spawn(connection);
    Ok(handle)
}

/// A socket belongs to the namespace that its thread was in when it was made.
async fn connect_in(path: PathBuf) -> Result<Handle, NetError> {
    namespace::within(path, || connect().map_err(NetError::Socket)).await
}

#[async_trait]
impl Network for Netlink {
    async fn apply(&self, netns: &Netns, ops: &[NetOp]) -> Result<(), NetError> {
        let mut session = self.session(netns).await?;
        for op in ops {
            session.apply(op).await?;
        }
        Ok(())
    }

    async fn routes(&self) -> Result<Vec<Route>, NetError> {
        let mut session = self.session(&Netns::Own).await?;
        let names = session.link_names().await?;
        let mut ours = Vec::new();
        for family in
            [RouteMessageBuilder::<Ipv4Addr>::new().build(), RouteMessageBuilder::<Ipv6Addr>::new().build()]
        {
            let listed = self.own.route().get(family).execute();
            let listed: Vec<RouteMessage> =
                listed.try_collect().await.map_err(|e| refused("reading routes", e))?;
            ours.extend(
                listed.into_iter().filter(|m| m.header.protocol == RouteProtocol::from(ROUTE_PROTOCOL)),
            );
        }
        Ok(ours.iter().filter_map(|message| messages::route_of(message, &names)).collect())
    }

    async fn tunnel(&self, link: &str) -> Result<Option<Tunnel>, NetError> {
        self.session(&Netns::Own).await?.tunnel(link).await
    }

    async fn way_to(&self, address: IpAddr) -> Result<Way, NetError> {
        let mut answers = self.own.route().get(messages::question(address)).execute();
        match answers.try_next().await {
            Ok(Some(answer)) => Ok(messages::way_of(&answer)),
            Ok(None) => Ok(Way::Nowhere),
            Err(error) if matches!(errno(&error), Some(libc::ENETUNREACH | libc::EHOSTUNREACH)) => {
                Ok(Way::Nowhere)
            }
            Err(error) => Err(refused(&format!("asking for the way to {address}"), error)),
        }
    }

    async fn links(&self) -> Result<Vec<String>, NetError> {
        Ok(self.session(&Netns::Own).await?.link_names().await?.into_values().collect())
    }
}

/// One namespace's socket, and the indexes of links that its operations named.
struct Session {
    netns: Netns,
    handle: Handle,
    indexes: HashMap<String, u32>,
}

impl Session {
    async fn apply(&mut self, op: &NetOp) -> Result<(), NetError> {
        let done = match op {
            NetOp::AddVeth { name, mac, peer_name, peer_mac, peer_netns, mtu } => {
                // The file stays open until the kernel has answered.
                let netns = namespace::open(peer_netns)?;
                let peer = LinkMessageBuilder::<LinkUnspec>::new()
                    .name(peer_name)
                    .address(peer_mac.to_vec())
                    .mtu(*mtu)
                    .setns_by_fd(netns.as_raw_fd())
                    .build();
                let link = LinkMessageBuilder::<LinkVeth>::new(name, peer_name)
                    .address(mac.to_vec())
                    .mtu(*mtu)
                    .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
                    .build();
                self.handle.link().add(link).execute().await
            }
            NetOp::AddVxlan { name, vxlan } => {
                self.handle.link().add(tunnel::link(name, vxlan)).execute().await
            }
            NetOp::SetUp { link } => {
                let index = self.index(link).await?;
                self.handle.link().set(LinkUnspec::new_with_index(index).up().build()).execute().await
            }
            NetOp::EnableIpv6 => return self.enable_ipv6().await,
            NetOp::AddAddress { link, address } => {
                let index = self.index(link).await?;
                let mut request = self.handle.address().add(index, address.addr(), address.prefix_len());
                *request.message_mut() = messages::address(index, address, link == "lo");
                request.execute().await
            }
            NetOp::PutRoute(route) => {
                let message = self.message(route).await?;
                self.handle.route().add(message).replace().execute().await
            }
            NetOp::DeleteRoute(route) => {
                let message = self.message(route).await?;
                self.handle.route().del(message).execute().await
            }
            NetOp::PutNeighbour { link, address, mac } => {
                let index = self.index(link).await?;
                let request = self.handle.neighbours().add(index, *address).link_layer_address(mac);
                request.replace().execute().await
            }
            NetOp::DeleteNeighbour { link, address } => {
                let index = self.index(link).await?;
                let mut request = self.handle.neighbours().add(index, *address);
                let message = std::mem::take(request.message_mut());
                self.handle.neighbours().del(message).execute().await
            }
            NetOp::PutForwarding { link, mac, remote } => {
                let message = self.forwarding(link, mac, *remote).await?;
                let mut request = self.handle.neighbours().add_bridge(0, mac).replace();
                *request.message_mut() = message;
                request.execute().await
            }
            NetOp::DeleteForwarding { link, mac, remote } => {
                let message = self.forwarding(link, mac, *remote).await?;
                self.handle.neighbours().del(message).execute().await
            }
            NetOp::LimitRate { link, limit } => {
                let index = self.index(link).await?;
                self.put_qdisc(limit::message(index, limit)).await
            }
            NetOp::DeleteLink { link } => match self.index(link).await {
                Ok(index) => self.handle.link().del(index).execute().await,
                Err(NetError::NoLink(_)) => Ok(()),
                Err(other) => return Err(other),
            },
        };
        match done {
            Err(error) if already(op, &error) => Ok(()),
            other => {
                other.map_err(|source| NetError::Refused { op: format!("{op:?}"), source: Box::new(source) })
            }
        }
    }

    async fn index(&mut self, name: &str) -> Result<u32, NetError> {
        if let Some(index) = self.indexes.get(name) {
            return Ok(*index);
        }
        let mut found = self.handle.link().get().match_name(name.to_string()).execute();
        let index = match found.try_next().await {
            Ok(Some(link)) => link.header.index,
            Ok(None) => return Err(NetError::NoLink(name.into())),
            Err(error) if errno(&error) == Some(libc::ENODEV) => return Err(NetError::NoLink(name.into())),
            Err(error) => return Err(refused("looking a link up", error)),
        };
        self.indexes.insert(name.to_string(), index);
        Ok(index)
    }

    async fn link_names(&mut self) -> Result<HashMap<u32, String>, NetError> {
        let request = self.handle.link().get().execute();
        let links: Vec<_> = request.try_collect().await.map_err(|e| refused("reading links", e))?;
        let name = |attributes: &[LinkAttribute]| {
            attributes
                .iter()
                .find_map(|a| if let LinkAttribute::IfName(name) = a { Some(name.clone()) } else { None })
        };
        Ok(links.iter().filter_map(|link| Some((link.header.index, name(&link.attributes)?))).collect())
    }

    async fn message(&mut self, route: &Route) -> Result<RouteMessage, NetError> {
        let link = match &route.link {
            Some(link) => Some(self.index(link).await?),
            None => None,
        };
        Ok(messages::route(route, link))
    }

    /// An entry of a VXLAN device's own table.
    async fn forwarding(
        &mut self,
        link: &str,
        mac: &[u8],
        remote: IpAddr,
    ) -> Result<NeighbourMessage, NetError> {
        let index = self.index(link).await?;
        let mut request = self.handle.neighbours().add_bridge(index, mac).destination(remote);
        request.message_mut().header.flags = NeighbourFlags::Own;
        Ok(std::mem::take(request.message_mut()))
    }

    async fn tunnel(&mut self, link: &str) -> Result<Option<Tunnel>, NetError> {
        let mut found = self.handle.link().get().match_name(link.to_string()).execute();
        let message = match found.try_next().await {
            Ok(Some(message)) => message,
            Ok(None) => return Ok(None),
            Err(error) if errno(&error) == Some(libc::ENODEV) => return Ok(None),
            Err(error) => return Err(refused("looking a link up", error)),
        };
        let Some(device) = tunnel::vxlan_of(&message) else { return Ok(None) };
        let index = message.header.index;
        Ok(Some(Tunnel {
            device,
            addresses: self.addresses(index).await?,
            neighbours: self
                .neighbours(AddressFamily::Unspec, index)
                .await?
                .iter()
                .filter_map(tunnel::neighbour_of)
                .collect(),
            forwarding: self
                .neighbours(AddressFamily::Bridge, index)
                .await?
                .iter()
                .filter_map(tunnel::forwarding_of)
                .collect(),
        }))
    }

    /// Addresses of a link, without those that IPv6 gives each by itself.
    async fn addresses(&self, index: u32) -> Result<BTreeSet<IpAddr>, NetError> {
        let listed = self.handle.address().get().set_link_index_filter(index).execute();
        let listed: Vec<_> = listed.try_collect().await.map_err(|e| refused("reading addresses", e))?;
        let own =
            listed.iter().flat_map(|message| &message.attributes).filter_map(|attribute| match attribute {
                AddressAttribute::Address(address) => Some(*address),
                _ => None,
            });
        let is_link_local =
            |address: &IpAddr| matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
        Ok(own.filter(|address| !is_link_local(address)).collect())
    }

    async fn neighbours(&self, family: AddressFamily, index: u32) -> Result<Vec<NeighbourMessage>, NetError> {
        let listed = self.handle.neighbours().get().set_address_family(family).execute();
        let listed: Vec<NeighbourMessage> =
            listed.try_collect().await.map_err(|e| refused("reading neighbours", e))?;
        Ok(listed.into_iter().filter(|message| message.header.ifindex == index).collect())
    }

    /// rtnetlink's own request has no options.
    async fn put_qdisc(&mut self, message: TcMessage) -> Result<(), rtnetlink::Error> {
        let mut request = NetlinkMessage::from(RouteNetlinkMessage::NewQueueDiscipline(message));
        request.header.flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
        let mut answers = self.handle.request(request)?;
        while let Some(answer) = answers.next().await {
            if let NetlinkPayload::Error(error) = answer.payload
                && error.code.is_some()
            {
                return Err(rtnetlink::Error::NetlinkError(error));
            }
        }
        Ok(())
    }

    async fn enable_ipv6(&self) -> Result<(), NetError> {
        let set = || Ok(sysctl::set("net.ipv6.conf.all.disable_ipv6", "0", &mut BTreeMap::new())?);
        match &self.netns {
            Netns::Own => set(),
            Netns::Path(path) => namespace::within(path.clone(), set).await,
        }
    }
}

/// Whether the kernel says that what was asked for is so already.
fn already(op: &NetOp, error: &rtnetlink::Error) -> bool {
    let Some(errno) = errno(error) else { return false };
    match op {
        NetOp::AddVeth { .. } | NetOp::AddAddress { .. } => errno == libc::EEXIST,
        NetOp::DeleteRoute(_) => errno == libc::ESRCH,
        NetOp::DeleteNeighbour { .. } | NetOp::DeleteForwarding { .. } => errno == libc::ENOENT,
        NetOp::DeleteLink { .. } => errno == libc::ENODEV,
        // One that is there has been looked at: it is another's.
        NetOp::AddVxlan { .. }
        | NetOp::SetUp { .. }
        | NetOp::EnableIpv6
        | NetOp::LimitRate { .. }
        | NetOp::PutRoute(_)
        | NetOp::PutNeighbour { .. }
        | NetOp::PutForwarding { .. } => false,
    }
}

/// The positive errno in the kernel's answer.
fn errno(error: &rtnetlink::Error) -> Option<i32> {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.code.map(|code| -code.get()),
        _ => None,
    }
}

fn refused(doing: &str, error: rtnetlink::Error) -> NetError {
    NetError::Refused { op: doing.to_string(), source: Box::new(error) }
}
