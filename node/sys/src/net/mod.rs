//! Links, addresses, routes and neighbours: what the node asks of netlink, as values.
//!
//! A caller plans a list of [`NetOp`]s (pure, tested as data) and hands it to a [`Network`]: the kernel
//! ([`Netlink`]) or a recorder ([`Recorder`]). Every operation is idempotent: what is there already is no error, nor is
//! the absence of what is to be deleted. Reads ([`Network::routes`]) are separate, so that an executor can read back.

mod addresses;
mod departures;
mod driver;
mod frame;
mod limit;
mod messages;
mod namespace;
mod netlink;
mod news;
mod overlay;
mod recorder;
mod tunnel;

pub use addresses::{address_changes, own_addresses, route_changes};
pub use departures::{Departures, keep_departures};
pub use driver::driver;
pub use frame::{Frames, hardware_address, send_frame};
pub use limit::RateLimit;
pub use netlink::Netlink;
pub use overlay::{Framing, Overlay, overlay_changes, overlays};
pub use recorder::Recorder;
pub use tunnel::{TUNNEL_LINK, Tunnel, Vxlan, Way};

use async_trait::async_trait;
use ipnet::IpNet;
use std::{net::IpAddr, path::PathBuf};

/// A network namespace, as seen from this process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Netns {
    /// The one that the process lives in.
    Own,
    /// The one that a file stands for (/proc/PID/ns/net or a bind mount of it).
    Path(PathBuf),
}

/// The index of a link of this thread's own namespace; `None` when there is none of that name.
pub fn link_index(name: &str) -> std::io::Result<Option<u32>> {
    match nix::net::if_::if_nametoindex(name) {
        Ok(index) => Ok(Some(index)),
        Err(nix::errno::Errno::ENODEV) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A link's hardware address.
pub type Mac = [u8; 6];

/// Who made a route (`rtm_protocol`): the number of Keelson's own, so that no other's is ever touched.
pub const ROUTE_PROTOCOL: u8 = 75;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetOp {
    /// A veth pair: one end here, the other in `peer_netns`; both with the addresses and the MTU (bytes) given.
    AddVeth {
        /// Name of this end.
        name: String,
        /// Hardware address of this end.
        mac: Mac,
        /// Name of the other end.
        peer_name: String,
        /// Hardware address of the other end.
        peer_mac: Mac,
        /// Where the other end is put.
        peer_netns: PathBuf,
        /// Bytes of an IP packet.
        mtu: u32,
    },
    /// A VXLAN device, switched off: it learns nothing, and sends what it does not know to nobody.
    AddVxlan {
        /// Its name.
        name: String,
        /// As it is to be.
        vxlan: Vxlan,
    },
    /// Switches a link on.
    SetUp {
        /// The link's name.
        link: String,
    },
    /// Lets the namespace's links have IPv6 addresses, whatever it was made with (`net.ipv6.conf.all.disable_ipv6`).
    EnableIpv6,
    /// An address on a link, usable at once: nobody is asked whether another has it. On `lo` it is the host's own alone: the
    /// kernel never chooses it as a source.
    AddAddress {
        /// The link's name.
        link: String,
        /// With its prefix.
        address: IpNet,
    },
    /// A route; replaces one to the same destination.
    PutRoute(Route),
    /// Removes a route of ours.
    DeleteRoute(Route),
    /// A neighbour that is never asked for: no ARP, no neighbour discovery.
    PutNeighbour {
        /// The link's name.
        link: String,
        /// Its IP address.
        address: IpAddr,
        /// Its hardware address.
        mac: Mac,
    },
    /// Removes such a neighbour.
    DeleteNeighbour {
        /// The link's name.
        link: String,
        /// Its IP address.
        address: IpAddr,
    },
    /// Which node a hardware address behind a VXLAN device belongs to; replaces another.
    PutForwarding {
        /// The device's name.
        link: String,
        /// The hardware address.
        mac: Mac,
        /// The node's address.
        remote: IpAddr,
    },
    /// Removes such an entry.
    DeleteForwarding {
        /// The device's name.
        link: String,
        /// The hardware address.
        mac: Mac,
        /// The node's address.
        remote: IpAddr,
    },
    /// Bounds how fast a link sends; replaces an earlier bound. It goes with the link.
    LimitRate {
        /// The link's name.
        link: String,
        /// The bound.
        limit: RateLimit,
    },
    /// Removes a link (and with it its peer).
    DeleteLink {
        /// The link's name.
        link: String,
    },
}

/// A route of ours.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// Where to.
    pub destination: IpNet,
    /// Next hop; None: the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// Out of this link; None: the kernel finds the one that reaches the gateway.
    pub link: Option<String>,
    /// The gateway is on the link although no address of the link says so.
    pub onlink: bool,
}

/// What failed, and what the kernel said.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// A namespace could not be entered.
    #[error("entering the network namespace {}", path.display())]
    Namespace {
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A kernel parameter of a namespace could not be set.
    #[error("setting a kernel parameter")]
    Sysctl(#[from] crate::sysctl::SysctlError),
    /// The netlink socket could not be opened.
    #[error("opening a netlink socket")]
    Socket(#[source] std::io::Error),
    /// An operation names a link that is not there.
    #[error("there is no link {0}")]
    NoLink(String),
    /// The kernel refused an operation.
    #[error("{op} refused by the kernel")]
    Refused {
        /// What was asked for.
        op: String,
        /// Why.
        #[source]
        source: Box<rtnetlink::Error>,
    },
}

/// The kernel's network, or a recorder of what it would have been told.
#[async_trait]
pub trait Network: Send + Sync + 'static {
    /// Carries out the operations in order; stops at the first that fails.
    async fn apply(&self, netns: &Netns, ops: &[NetOp]) -> Result<(), NetError>;

    /// The routes of ours ([`ROUTE_PROTOCOL`]), of both families, in no order.
    async fn routes(&self) -> Result<Vec<Route>, NetError>;

    /// The VXLAN device of that name and what it knows; `None` when there is none, or it was made by somebody else.
    async fn tunnel(&self, link: &str) -> Result<Option<Tunnel>, NetError>;

    /// The way to an address.
    async fn way_to(&self, address: IpAddr) -> Result<Way, NetError>;

    /// Names of the links of the process's own namespace.
    async fn links(&self) -> Result<Vec<String>, NetError>;
}
