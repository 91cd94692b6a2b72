//! The kernel's network over rtnetlink.

use super::{NetError, NetOp, Netns, Network, ROUTE_PROTOCOL, Route};
use async_trait::async_trait;
use futures::TryStreamExt;
use ipnet::Ipv4Net;
use netlink_packet_route::{
    AddressFamily,
    address::AddressScope,
    link::{InfoData, InfoVeth, LinkAttribute},
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope},
};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};
use std::{
    collections::HashMap,
    fs::File,
    io,
    net::{IpAddr, Ipv4Addr},
    os::fd::AsRawFd,
    path::{Path, PathBuf},
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
        Ok(Session { handle, indexes: HashMap::new() })
    }
}

fn connect() -> io::Result<Handle> {
    let (connection, handle, _messages) = rtnetlink::new_connection()?;
    tokio::spawn(connection);
    Ok(handle)
}

/// A socket belongs to the namespace that its thread was in when it was made. The thread is made for this alone and ends:
/// one that came back to a pool in another namespace would mislead whoever runs on it next.
async fn connect_in(path: PathBuf) -> Result<Handle, NetError> {
    let runtime = tokio::runtime::Handle::current();
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let enter = move || {
        let _context = runtime.enter();
        let entered = File::open(&path)
            .and_then(|file| Ok(nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET)?));
        let handle = match entered {
            Ok(()) => connect().map_err(NetError::Socket),
            Err(source) => Err(NetError::Namespace { path, source }),
        };
        // The receiver is gone only when the caller was cancelled.
        let _ = sender.send(handle);
    };
    std::thread::Builder::new().name("netns".into()).spawn(enter).map_err(NetError::Socket)?;
    receiver
        .await
        .unwrap_or_else(|_| Err(NetError::Socket(io::Error::other("the thread ended without an answer"))))
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
        let request = self.own.route().get(RouteMessageBuilder::<Ipv4Addr>::new().build()).execute();
        let messages: Vec<RouteMessage> =
            request.try_collect().await.map_err(|e| refused("reading routes", e))?;
        let ours = messages.iter().filter(|m| m.header.protocol == RouteProtocol::from(ROUTE_PROTOCOL));
        Ok(ours.map(|message| route_of(message, &names)).collect())
    }

    async fn links(&self) -> Result<Vec<String>, NetError> {
        Ok(self.session(&Netns::Own).await?.link_names().await?.into_values().collect())
    }
}

/// One namespace's socket, and the indexes of links that its operations named.
struct Session {
    handle: Handle,
    indexes: HashMap<String, u32>,
}

impl Session {
    async fn apply(&mut self, op: &NetOp) -> Result<(), NetError> {
        let done = match op {
            NetOp::AddVeth { name, mac, peer_name, peer_mac, peer_netns, mtu } => {
                // The file stays open until the kernel has answered.
                let netns = open_netns(peer_netns)?;
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
            NetOp::SetUp { link } => {
                let index = self.index(link).await?;
                self.handle.link().set(LinkUnspec::new_with_index(index).up().build()).execute().await
            }
            NetOp::AddAddress { link, address } => {
                let index = self.index(link).await?;
                let mut request =
                    self.handle.address().add(index, IpAddr::V4(address.addr()), address.prefix_len());
                // What is on lo is for this host alone: the kernel must never choose it as a source towards a pod.
                if link == "lo" {
                    request.message_mut().header.scope = AddressScope::Host;
                }
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
                let request =
                    self.handle.neighbours().add(index, IpAddr::V4(*address)).link_layer_address(mac);
                request.replace().execute().await
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
        let mut builder = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(route.destination.network(), route.destination.prefix_len())
            .protocol(RouteProtocol::from(ROUTE_PROTOCOL))
            .scope(if route.gateway.is_some() { RouteScope::Universe } else { RouteScope::Link });
        if let Some(gateway) = route.gateway {
            builder = builder.gateway(gateway);
        }
        if let Some(link) = &route.link {
            builder = builder.output_interface(self.index(link).await?);
        }
        if route.onlink {
            builder = builder.onlink();
        }
        Ok(builder.build())
    }
}

fn open_netns(path: &Path) -> Result<File, NetError> {
    File::open(path).map_err(|source| NetError::Namespace { path: path.into(), source })
}

/// Whether the kernel says that what was asked for is so already.
fn already(op: &NetOp, error: &rtnetlink::Error) -> bool {
    let Some(errno) = errno(error) else { return false };
    match op {
        NetOp::AddVeth { .. } | NetOp::AddAddress { .. } => errno == libc::EEXIST,
        NetOp::DeleteRoute(_) => errno == libc::ESRCH,
        NetOp::DeleteLink { .. } => errno == libc::ENODEV,
        NetOp::SetUp { .. } | NetOp::PutRoute(_) | NetOp::PutNeighbour { .. } => false,
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

fn route_of(message: &RouteMessage, names: &HashMap<u32, String>) -> Route {
    let mut route = Route {
        destination: Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, message.header.destination_prefix_length),
        gateway: None,
        link: None,
        onlink: false,
    };
    debug_assert_eq!(message.header.address_family, AddressFamily::Inet);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => {
                route.destination = Ipv4Net::new_assert(*address, message.header.destination_prefix_length);
            }
            RouteAttribute::Gateway(RouteAddress::Inet(address)) => route.gateway = Some(*address),
            RouteAttribute::Oif(index) => route.link = names.get(index).cloned(),
            _ => {}
        }
    }
    route
}
