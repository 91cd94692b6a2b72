//! Two nodes, a pod of each with programs and one without.
//!
//! ```text
//!  pod, plain pod ── node 1 ── bridge ── node 2 ── pod, plain pod
//! ```
//! Pods are wired as the CNI plugin plans it.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use keelson_cni::{
    bandwidth::Bandwidth,
    link::{HOST_MAC, PodLink, host_interface, plan_add, pod_mac},
};
use keelson_dataplane::{Dataplane, Options, PacketOptions, PodEndpoint};
use keelson_sys::{
    net::{Netlink, Netns, Network},
    sysctl,
};

use crate::{Result, place::Place, space::Space};

const MTU: u32 = 1500;

/// Between whom.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Pair {
    /// The nodes themselves.
    Nodes,
    /// Pods whose packets the programs redirect.
    Pods,
    /// Pods of which the programs know nothing.
    Unprogrammed,
}

/// A node without programs.
struct Site {
    number: u8,
    space: Space,
    pod: Space,
    plain_pod: Space,
}

struct Node {
    site: Site,
    /// Dropped before its pins are removed.
    _dataplane: Dataplane,
    _place: Place,
}

/// Both nodes; what is between them goes with their namespaces.
pub(crate) struct Lab {
    nodes: [Node; 2],
    _bridge: Space,
}

impl Lab {
    pub(crate) fn new() -> Result<Self> {
        let bridge = Space::new()?;
        bridge.ip("link add bridge type bridge stp_state 0 forward_delay 0")?;
        bridge.ip("link set bridge up")?;
        Ok(Self { nodes: [Node::new(1, &bridge)?, Node::new(2, &bridge)?], _bridge: bridge })
    }

    /// Where a client and a server are, and the server's address.
    pub(crate) fn ends(&self, pair: Pair) -> (&Space, &Space, IpAddr) {
        let [one, two] = self.nodes.each_ref().map(|node| &node.site);
        match pair {
            Pair::Nodes => (&one.space, &two.space, two.address().into()),
            Pair::Pods => (&one.pod, &two.pod, two.pod_address().into()),
            Pair::Unprogrammed => (&one.plain_pod, &two.plain_pod, two.plain_address().into()),
        }
    }
}

impl Node {
    fn new(number: u8, bridge: &Space) -> Result<Self> {
        let place = Place::new(&format!("path-{number}"), true)?;
        let site = Site { number, space: Space::new()?, pod: Space::new()?, plain_pod: Space::new()? };
        site.lay_uplink(bridge)?;
        site.space.within(|| {
            wire(&site.pod, site.pod_address())?;
            wire(&site.plain_pod, site.plain_address())
        })?;
        let dataplane = site.space.within(|| site.attach(&place.options))?;
        Ok(Self { site, _dataplane: dataplane, _place: place })
    }
}

impl Site {
    fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(172, 31, 0, 10 + self.number)
    }

    fn pod_address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 245, self.number, 2)
    }

    fn plain_address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 245, self.number, 3)
    }

    fn lay_uplink(&self, bridge: &Space) -> Result<()> {
        let (name, path) = (format!("node{}", self.number), self.space.path());
        bridge.ip(&format!("link add {name} type veth peer name eth0 netns {}", path.display()))?;
        bridge.ip(&format!("link set {name} master bridge up"))?;
        self.space.ip("link set lo up")?;
        self.space.ip("link set eth0 up")?;
        self.space.ip(&format!("address add {}/24 dev eth0", self.address()))?;
        let (other, gateway) = (3 - self.number, Ipv4Addr::new(172, 31, 0, 13 - self.number));
        self.space.ip(&format!("route add 10.245.{other}.0/24 via {gateway}"))?;
        self.space.within(|| Ok(sysctl::set("net.ipv4.ip_forward", "1", &mut BTreeMap::new())?))
    }

    /// On the node's own thread, as its daemon is: programs find its devices there.
    fn attach(&self, options: &Options) -> Result<Dataplane> {
        let mut options = options.clone();
        let cluster = ["10.245.0.0/16", "172.31.0.0/24"].map(str::parse).into_iter();
        options.packets = Some(PacketOptions {
            object: options.object.clone(),
            uplink: Some("eth0".into()),
            node_addresses: vec![self.address().into()],
            masquerade: true,
            never_masqueraded: cluster.collect::<std::result::Result<_, _>>()?,
            ..PacketOptions::default()
        });
        let mut dataplane = Dataplane::open(&options)?;
        dataplane.attach()?;
        let address = self.pod_address();
        dataplane.packets().ok_or("no per-packet programs")?.add_endpoint(&PodEndpoint {
            address: address.into(),
            link: host_interface(&address.to_string()),
            mac: pod_mac(&[address.into()]),
            host_mac: HOST_MAC,
            shaped: false,
            pod: ("bench".into(), format!("pod{}", self.number).into()),
            uid: "".into(),
        })?;
        Ok(dataplane)
    }
}

fn wire(pod: &Space, address: Ipv4Addr) -> Result<()> {
    let link = PodLink {
        sandbox: address.to_string(),
        netns: pod.path(),
        interface: "eth0".into(),
        addresses: vec![address.into()],
        mtu: MTU,
        bandwidth: Bandwidth::default(),
    };
    let (on_node, in_pod) = plan_add(&link);
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let netlink = Netlink::open()?;
        netlink.apply(&Netns::Own, &on_node).await?;
        netlink.apply(&Netns::Path(pod.path()), &in_pod).await?;
        Ok(())
    })
}
