//! The ways to the pods of the other nodes: for each of a node's ranges a route, straight to its address of that family where
//! that is adjacent, else through the [`tunnel`].

use crate::{
    ipam::Family,
    nodes::pod_cidrs,
    server::Endpoints,
    tunnel::{self, End, Mode},
};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use keelson_sys::net::{NetError, NetOp, Netns, Network, Route, TUNNEL_LINK, Tunnel, Way};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// What matters of another node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Its InternalIPs.
    pub addresses: Vec<IpAddr>,
    /// Its `spec.podCIDRs`.
    pub pod_cidrs: Vec<IpNet>,
}

impl Peer {
    fn address(&self, family: Family) -> Option<IpAddr> {
        self.addresses.iter().copied().find(|address| Family::of(*address) == family)
    }
}

/// Reads a Node; empty is what it has not yet.
pub fn peer(node: &Node) -> Peer {
    let addresses = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    let internal = addresses.filter(|address| address.type_ == "InternalIP");
    Peer {
        addresses: internal.filter_map(|address| address.address.parse().ok()).collect(),
        pod_cidrs: pod_cidrs(node),
    }
}

/// What of this node its ways to others depend on.
#[derive(Clone, Debug)]
pub struct Underlay {
    /// Its addresses, the primary one first: the tunnel goes over the network of that family.
    pub addresses: Vec<IpAddr>,
    /// Bytes of an IP packet on the nodes' wires.
    pub mtu: u32,
    /// When the tunnel is taken.
    pub mode: Mode,
}

impl Underlay {
    /// Bytes of a pod's IP packet, with a tunnel on the node or without.
    pub fn pod_mtu(&self, tunnelled: bool) -> u32 {
        let primary = self.addresses.first().filter(|_| tunnelled);
        self.mtu.saturating_sub(primary.map_or(0, |address| tunnel::overhead(Family::of(*address))))
    }
}

/// What should be.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The routes.
    pub routes: BTreeSet<Route>,
    /// The tunnel, if any route leads there.
    pub tunnel: Option<Tunnel>,
    /// Ranges to which there is no way: of which node, which, and why, in words.
    pub missing: Vec<(String, IpNet, String)>,
}

/// Plans. `ranges` are those of this node, `ways` the kernel's to all addresses of peers. A range of a family in which its node
/// has no address has no route.
pub fn plan(
    own: &Underlay,
    ranges: &[IpNet],
    peers: &BTreeMap<String, Peer>,
    ways: &BTreeMap<IpAddr, Way>,
) -> Plan {
    let mut plan = Plan::default();
    for (name, peer) in peers {
        for range in &peer.pod_cidrs {
            let family = Family::of(range.addr());
            let Some(address) = peer.address(family) else { continue };
            let way = ways.get(&address).copied().unwrap_or(Way::Nowhere);
            let destination = range.trunc();
            let missing = match (own.mode, way) {
                (Mode::Always, _) | (Mode::Auto, Way::Routed) => {
                    match through_tunnel(&mut plan, own, ranges, peer, family) {
                        Some(gateway) => {
                            let (link, onlink) = (Some(TUNNEL_LINK.to_owned()), family == Family::V4);
                            plan.routes.insert(Route { destination, gateway: Some(gateway), link, onlink });
                            continue;
                        }
                        None => "it has no address of the family of this node's primary one".to_owned(),
                    }
                }
                (Mode::Auto | Mode::Never, Way::OnLink) => {
                    let gateway = Some(address);
                    plan.routes.insert(Route { destination, gateway, link: None, onlink: false });
                    continue;
                }
                (Mode::Never, Way::Routed) => format!("{address} is not adjacent, and --tunnel is never"),
                (_, Way::Nowhere) => format!("there is no way to {address}"),
            };
            plan.missing.push((name.clone(), destination, missing));
        }
    }
    plan
}

/// Has the tunnel lead to a peer. Answers the next hop towards its pods of a family.
fn through_tunnel(
    plan: &mut Plan,
    own: &Underlay,
    ranges: &[IpNet],
    peer: &Peer,
    family: Family,
) -> Option<IpAddr> {
    let primary = *own.addresses.first()?;
    let end = End::of(peer.address(Family::of(primary))?);
    let gateway = end.next_hop(&peer.pod_cidrs, family)?;
    let tunnel = plan.tunnel.get_or_insert_with(|| tunnel::device(primary, ranges, own.mtu));
    tunnel.neighbours.insert((gateway, end.mac));
    tunnel.forwarding.insert((end.mac, end.address));
    Some(gateway)
}

/// What to tell the kernel so that its routes of ours become those wanted. Pods' own routes have no gateway and stay.
pub fn diff(wanted: &BTreeSet<Route>, present: &[Route]) -> Vec<NetOp> {
    // As they are listed: with the link that the kernel found, and without what it checked.
    let comparable = |route: &Route| Route {
        link: route.link.clone().filter(|link| link == TUNNEL_LINK),
        onlink: false,
        ..route.clone()
    };
    let present: BTreeSet<Route> =
        present.iter().filter(|route| route.gateway.is_some()).map(comparable).collect();
    let puts = wanted.iter().filter(|route| !present.contains(&comparable(route)));
    let puts = puts.cloned().map(NetOp::PutRoute);
    let still = |route: &Route| wanted.iter().any(|w| w.destination == route.destination);
    // One to the same destination by another way is replaced, not deleted: no moment without a route.
    let deletes = present.iter().filter(|route| !still(route)).cloned().map(NetOp::DeleteRoute);
    puts.chain(deletes).collect()
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Something is missing that may come without word of it.
    pub(crate) unfinished: bool,
    /// There is a tunnel.
    pub(crate) tunnelled: bool,
}

/// Makes the kernel's ways those to the peers. What fails keeps nothing else from being made.
pub(crate) async fn reconcile(
    own: &Underlay,
    ranges: &[IpNet],
    peers: &BTreeMap<String, Peer>,
    network: &dyn Network,
    endpoints: &dyn Endpoints,
) -> Result<Outcome, NetError> {
    let mut ways = BTreeMap::new();
    for address in peers.values().flat_map(|peer| &peer.addresses) {
        ways.insert(*address, network.way_to(*address).await?);
    }
    let mut plan = plan(own, ranges, peers, &ways);
    let present = network.tunnel(TUNNEL_LINK).await?;
    let change = tunnel::diff(plan.tunnel.as_ref(), present.as_ref());
    if let Err(error) = prepare(&change.before, plan.tunnel.as_ref(), network, endpoints).await {
        tracing::error!(
            error = chain(&*error),
            "the tunnel to nodes that are not adjacent is not there (a kernel without VXLAN says \
             \"Operation not supported\", one that has another device on its port \"File exists\")"
        );
        give_up_tunnel(&mut plan);
    }
    let mut outcome = Outcome { unfinished: !plan.missing.is_empty(), tunnelled: plan.tunnel.is_some() };
    for (node, range, why) in &plan.missing {
        tracing::error!(node, %range, "no way to the pods of this node: {why}");
    }
    for op in diff(&plan.routes, &network.routes().await?) {
        if let Err(error) = network.apply(&Netns::Own, std::slice::from_ref(&op)).await {
            tracing::error!(?op, error = chain(&error), "a route to another node's pods");
            outcome.unfinished = true;
        }
    }
    // Nothing leads there any more.
    if plan.tunnel.is_none()
        && let Err(error) = endpoints.tunnel(None).await
    {
        tracing::error!(error = chain(&*error), "the data plane still takes packets from the tunnel");
        outcome.unfinished = true;
    }
    network.apply(&Netns::Own, &change.after).await?;
    Ok(outcome)
}

/// The device, and who watches what comes from there.
async fn prepare(
    ops: &[NetOp],
    tunnel: Option<&Tunnel>,
    network: &dyn Network,
    endpoints: &dyn Endpoints,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let Some(tunnel) = tunnel else { return Ok(()) };
    network.apply(&Netns::Own, ops).await?;
    endpoints.tunnel(Some(tunnel.addresses.iter().copied().collect())).await
}

/// Without the device there are no ways through it.
fn give_up_tunnel(plan: &mut Plan) {
    let through = |route: &Route| route.link.as_deref() == Some(TUNNEL_LINK);
    let lost = plan.routes.extract_if(.., through).map(|route| route.destination);
    plan.missing
        .extend(lost.map(|range| ("not adjacent".to_owned(), range, "there is no tunnel".to_owned())));
    plan.tunnel = None;
}

/// An error with its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::NoEndpoints;
    use keelson_sys::net::Recorder;

    fn peers(rows: &[(&str, &[&str], &[&str])]) -> BTreeMap<String, Peer> {
        let peer = |addresses: &[&str], cidrs: &[&str]| Peer {
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            pod_cidrs: cidrs.iter().map(|text| text.parse().unwrap()).collect(),
        };
        rows.iter().map(|(name, addresses, cidrs)| (name.to_string(), peer(addresses, cidrs))).collect()
    }

    fn own(mode: Mode) -> Underlay {
        let addresses = ["172.30.0.11", "fd00:172::b"].map(|text| text.parse().unwrap()).to_vec();
        Underlay { addresses, mtu: 1500, mode }
    }

    fn ranges() -> [IpNet; 2] {
        ["10.244.1.0/24", "fd00:244:1::/64"].map(|net| net.parse().unwrap())
    }

    /// The nodes' own networks are adjacent, what lies elsewhere in these is behind a router.
    fn ways(peers: &BTreeMap<String, Peer>) -> BTreeMap<IpAddr, Way> {
        let is_in = |net: &str, address: &IpAddr| net.parse::<IpNet>().unwrap().contains(address);
        let way = |address: &IpAddr| match address {
            of if is_in("172.30.0.0/24", of) || is_in("fd00:172::/64", of) => Way::OnLink,
            of if is_in("172.30.0.0/16", of) || is_in("fd00:172::/32", of) => Way::Routed,
            _ => Way::Nowhere,
        };
        peers.values().flat_map(|peer| &peer.addresses).map(|address| (*address, way(address))).collect()
    }

    fn planned(mode: Mode, peers: &BTreeMap<String, Peer>) -> Plan {
        plan(&own(mode), &ranges(), peers, &ways(peers))
    }

    fn route(cidr: &str, gateway: Option<&str>, link: &str) -> Route {
        let gateway = gateway.map(|g| g.parse().unwrap());
        Route { destination: cidr.parse().unwrap(), gateway, link: Some(link.into()), onlink: false }
    }

    fn shown(ops: &[NetOp]) -> Vec<String> {
        let show = |op: &NetOp| match op {
            NetOp::PutRoute(r) => {
                let by = r.link.as_ref().map_or(String::new(), |link| format!(" by {link}"));
                format!("put {} via {}{by}", r.destination, r.gateway.unwrap())
            }
            NetOp::DeleteRoute(r) => format!("delete {}", r.destination),
            other => format!("{other:?}"),
        };
        ops.iter().map(show).collect()
    }

    const NEAR: (&str, &[&str], &[&str]) =
        ("n2", &["172.30.0.12", "fd00:172::c"], &["10.244.2.0/24", "fd00:244:2::/64", "10.244.9.0/24"]);
    const FAR: (&str, &[&str], &[&str]) =
        ("n3", &["172.30.1.13", "fd00:172:0:1::d"], &["10.244.3.0/24", "fd00:244:3::/64"]);

    #[test]
    fn routes_follow_the_nodes_and_leave_pods_alone() {
        let all = peers(&[
            ("n2", &["172.30.0.12"], &["10.244.2.0/24"]),
            ("n3", &["172.30.0.13"], &["10.244.3.0/24"]),
            FAR,
        ]);
        let present = [
            route("10.244.1.7/32", None, "kln1"),
            route("fd00:244:1::7/128", None, "kln1"),
            route("10.244.2.0/24", Some("172.30.0.12"), "eth0"),
            route("10.244.3.0/24", Some("172.30.0.99"), "eth0"),
            route("10.244.4.0/24", Some("172.30.0.14"), "eth0"),
            route("fd00:244:3::/64", Some("fe80::a4b:ac1e:10d"), TUNNEL_LINK),
        ];
        let with =
            |peers: &BTreeMap<String, Peer>| shown(&diff(&planned(Mode::Auto, peers).routes, &present));
        let by = ["put 10.244.3.0/24 via 10.244.3.0 by keelson-vxlan", "delete 10.244.4.0/24"];
        assert_eq!(with(&all), by);
        // It has moved to the nodes' own network.
        let near = peers(&[
            ("n2", &["172.30.0.12"], &["10.244.2.0/24"]),
            ("n3", &["172.30.0.13", "fd00:172::d"], &["10.244.3.0/24", "fd00:244:3::/64"]),
        ]);
        let puts = ["put 10.244.3.0/24 via 172.30.0.13", "put fd00:244:3::/64 via fd00:172::d"];
        assert_eq!(with(&near), [&puts[..], &by[1..]].concat());
    }

    #[test]
    fn each_range_goes_by_the_nodes_address_of_its_family() {
        let all = peers(&[
            NEAR,
            ("one", &["172.30.0.13"], &["10.244.3.0/24", "fd00:244:3::/64"]),
            ("new", &[], &["10.244.4.0/24"]),
        ]);
        let plan = planned(Mode::Auto, &all);
        let expected = [
            "put 10.244.2.0/24 via 172.30.0.12",
            "put 10.244.3.0/24 via 172.30.0.13",
            "put 10.244.9.0/24 via 172.30.0.12",
            "put fd00:244:2::/64 via fd00:172::c",
        ];
        assert_eq!(shown(&diff(&plan.routes, &[])), expected);
        assert_eq!((plan.tunnel, plan.missing), (None, vec![]));
    }

    #[test]
    fn the_tunnel_is_taken_where_the_mode_and_the_wires_say() {
        let all = peers(&[NEAR, FAR, ("gone", &["203.0.113.1"], &["10.244.7.0/24"])]);
        // Ranges by the tunnel, nodes behind it, ranges without a way.
        let rows = [
            (
                Mode::Auto,
                vec!["10.244.3.0/24", "fd00:244:3::/64"],
                vec!["172.30.1.13"],
                vec!["10.244.7.0/24"],
            ),
            (
                Mode::Always,
                vec![
                    "10.244.2.0/24",
                    "10.244.3.0/24",
                    "10.244.7.0/24",
                    "10.244.9.0/24",
                    "fd00:244:2::/64",
                    "fd00:244:3::/64",
                ],
                vec!["172.30.0.12", "172.30.1.13", "203.0.113.1"],
                vec![],
            ),
            (Mode::Never, vec![], vec![], vec!["10.244.7.0/24", "10.244.3.0/24", "fd00:244:3::/64"]),
        ];
        for (mode, by_tunnel, nodes, missing) in rows {
            let plan = planned(mode, &all);
            let through = plan.routes.iter().filter(|route| route.link.is_some());
            let through: Vec<String> = through.map(|route| route.destination.to_string()).collect();
            let (left, lost) = (plan.routes.len() - through.len(), plan.missing.len());
            assert_eq!(
                (through, left + by_tunnel.len() + lost),
                (by_tunnel.iter().map(ToString::to_string).collect(), 6),
                "{mode:?}"
            );
            let forwarding = plan.tunnel.iter().flat_map(|tunnel| &tunnel.forwarding);
            assert!(forwarding.map(|(_, node)| node.to_string()).eq(nodes), "{mode:?}");
            assert!(plan.missing.iter().map(|(_, range, _)| range.to_string()).eq(missing), "{mode:?}");
        }
    }

    #[test]
    fn pods_leave_room_for_what_is_around_their_packets() {
        let mut underlay = own(Mode::Auto);
        assert_eq!((underlay.pod_mtu(false), underlay.pod_mtu(true)), (1500, 1450));
        underlay.addresses.reverse();
        assert_eq!(underlay.pod_mtu(true), 1430);
        let tunnel = plan(&underlay, &ranges(), &peers(&[FAR]), &ways(&peers(&[FAR]))).tunnel.unwrap();
        assert_eq!((tunnel.device.mtu, tunnel.device.local), (1430, "fd00:172::b".parse().unwrap()));
        assert_eq!(tunnel.addresses.len(), 2);
    }

    #[tokio::test]
    async fn a_second_daemon_changes_nothing_and_the_last_far_node_takes_the_tunnel_along() {
        let network = Recorder::default();
        let all = peers(&[NEAR, FAR]);
        ways(&all).into_iter().for_each(|(address, way)| network.set_way(address, way));
        let run = async |peers: &BTreeMap<String, Peer>| {
            let before = network.calls().len();
            let outcome =
                reconcile(&own(Mode::Auto), &ranges(), peers, &network, &NoEndpoints).await.unwrap();
            (outcome, network.calls().split_off(before))
        };
        let (outcome, calls) = run(&all).await;
        assert_eq!(outcome, Outcome { unfinished: false, tunnelled: true });
        let made = |op: &NetOp| matches!(op, NetOp::AddVxlan { .. });
        let routed = |op: &NetOp| matches!(op, NetOp::PutRoute(route) if route.link.is_some());
        let (device, route) =
            (calls.iter().position(|(_, op)| made(op)), calls.iter().position(|(_, op)| routed(op)));
        assert!(device.is_some() && device < route, "{calls:?}");
        let (_, again) = run(&all).await;
        assert_eq!(again, [(Netns::Own, NetOp::SetUp { link: TUNNEL_LINK.into() })]);
        let (outcome, last) = run(&peers(&[NEAR])).await;
        assert!(!outcome.tunnelled && network.tunnel(TUNNEL_LINK).await.unwrap().is_none());
        assert!(matches!(last.last(), Some((_, NetOp::DeleteLink { .. }))), "{last:?}");
    }
}
