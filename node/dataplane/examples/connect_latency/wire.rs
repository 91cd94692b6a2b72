//! What lies between client and servers: pods and a node, or loopback. Addresses of all that is measured.

use std::{
    collections::BTreeMap,
    fmt,
    net::{Ipv4Addr, SocketAddr},
    str::FromStr,
};

use keelson_cni::bandwidth::Bandwidth;
use keelson_cni::link::{PodLink, plan_add};
use keelson_sys::{
    net::{Netlink, Netns, Network},
    sysctl,
};

use crate::{Result, space::Space};

pub(crate) const SERVICE_PORT: u16 = 80;
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 1);
/// A server each; on loopback the first alone, with two ports.
const SERVERS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 244, 0, 2), Ipv4Addr::new(10, 244, 0, 3)];
const SERVER_PORTS: [u16; 2] = [8080, 8081];
const MTU: u32 = 1500;

/// Address of a Service by its number; from 10.96.1.0 on.
pub(crate) fn service(number: usize) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 96, 1, 0)) + number as u32)
}

/// The way of a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Path {
    /// Client pod, node, server pod: a namespace each, veth pairs and routes as the CNI plugin plans them.
    Pod,
    /// Everything in one namespace.
    Loopback,
}

impl Path {
    /// Where the two servers listen.
    pub(crate) fn backends(self) -> [SocketAddr; 2] {
        match self {
            Path::Pod => [0, 1].map(|n| SocketAddr::new(SERVERS[n].into(), SERVER_PORTS[n])),
            Path::Loopback => [0, 1].map(|n| SocketAddr::new(SERVERS[0].into(), SERVER_PORTS[n])),
        }
    }
}

impl FromStr for Path {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "pod" => Ok(Path::Pod),
            "loopback" => Ok(Path::Loopback),
            other => Err(format!("the path is pod or loopback, not {other:?}")),
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Path::Pod => "pod",
            Path::Loopback => "loopback",
        })
    }
}

/// Where to start the client and the two servers; this thread is on the node.
pub(crate) struct Wire {
    pub(crate) client: Space,
    pub(crate) servers: [Space; 2],
}

/// Lays it. This thread's namespace becomes the node's.
pub(crate) fn lay(path: Path) -> Result<Wire> {
    let node = Space::new()?;
    node.enter()?;
    match path {
        Path::Pod => pods(),
        Path::Loopback => {
            node.ip("link set lo up")?;
            node.ip(&format!("address add {}/32 dev lo", SERVERS[0]))?;
            node.ip(&format!("route add 10.96.0.0/16 dev lo src {}", SERVERS[0]))?;
            Ok(Wire { client: Space::own()?, servers: [Space::own()?, Space::own()?] })
        }
    }
}

fn pods() -> Result<Wire> {
    sysctl::set("net.ipv4.ip_forward", "1", &mut BTreeMap::new())?;
    let wire = Wire { client: Space::new()?, servers: [Space::new()?, Space::new()?] };
    let pods = [(CLIENT, &wire.client), (SERVERS[0], &wire.servers[0]), (SERVERS[1], &wire.servers[1])];
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let netlink = Netlink::open()?;
        for (address, space) in pods {
            let link = PodLink {
                sandbox: address.to_string(),
                netns: space.path(),
                interface: "eth0".into(),
                addresses: vec![address.into()],
                mtu: MTU,
                bandwidth: Bandwidth::default(),
            };
            let (on_node, in_pod) = plan_add(&link);
            netlink.apply(&Netns::Own, &on_node).await?;
            netlink.apply(&Netns::Path(space.path()), &in_pod).await?;
        }
        Ok::<_, Box<dyn std::error::Error>>(())
    })?;
    Ok(wire)
}
