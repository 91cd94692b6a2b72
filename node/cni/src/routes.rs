//! Routes to the pods of the other nodes: one for each of a node's ranges, straight to its address of that family.
//!
//! Nodes must be adjacent (one network of layer 2): a route whose next hop is not is refused by the kernel and reported.

use crate::{ipam::Family, nodes::pod_cidrs};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use keelson_sys::net::{NetError, NetOp, Netns, Network, Route};
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

/// Reads a Node; empty is what it has not yet.
pub fn peer(node: &Node) -> Peer {
    let addresses = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    let internal = addresses.filter(|address| address.type_ == "InternalIP");
    Peer {
        addresses: internal.filter_map(|address| address.address.parse().ok()).collect(),
        pod_cidrs: pod_cidrs(node),
    }
}

/// The routes that should be. A range of a family in which the node has no address has none.
pub fn plan(peers: &BTreeMap<String, Peer>) -> BTreeSet<Route> {
    let route = |peer: &Peer, range: &IpNet| {
        let family = Family::of(range.addr());
        let gateway = *peer.addresses.iter().find(|address| Family::of(**address) == family)?;
        Some(Route { destination: range.trunc(), gateway: Some(gateway), link: None, onlink: false })
    };
    peers
        .values()
        .flat_map(|peer| peer.pod_cidrs.iter().filter_map(move |range| route(peer, range)))
        .collect()
}

/// What to tell the kernel so that its routes of ours become those wanted. Pods' own routes have no gateway and stay.
pub fn diff(wanted: &BTreeSet<Route>, present: &[Route]) -> Vec<NetOp> {
    let present: BTreeSet<Route> = present
        .iter()
        .filter(|route| route.gateway.is_some())
        .map(|r| Route { link: None, ..r.clone() })
        .collect();
    let puts = wanted.difference(&present).cloned().map(NetOp::PutRoute);
    let still = |route: &Route| wanted.iter().any(|w| w.destination == route.destination);
    // One to the same destination by another way is replaced, not deleted: no moment without a route.
    let deletes = present.difference(wanted).filter(|route| !still(route)).cloned().map(NetOp::DeleteRoute);
    puts.chain(deletes).collect()
}

/// Makes the kernel's routes those of the peers. One route that fails keeps no other from being made.
pub(crate) async fn reconcile(peers: &BTreeMap<String, Peer>, network: &dyn Network) -> Result<(), NetError> {
    let ops = diff(&plan(peers), &network.routes().await?);
    let mut first_error = None;
    for op in ops {
        if let Err(error) = network.apply(&Netns::Own, std::slice::from_ref(&op)).await {
            tracing::error!(
                ?op,
                error = &error as &dyn std::error::Error,
                "a node that is not adjacent needs an overlay, which is not built yet"
            );
            first_error.get_or_insert(error);
        }
    }
    first_error.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(rows: &[(&str, &[&str], &[&str])]) -> BTreeMap<String, Peer> {
        let peer = |addresses: &[&str], cidrs: &[&str]| Peer {
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            pod_cidrs: cidrs.iter().map(|text| text.parse().unwrap()).collect(),
        };
        rows.iter().map(|(name, addresses, cidrs)| (name.to_string(), peer(addresses, cidrs))).collect()
    }

    fn route(cidr: &str, gateway: Option<&str>) -> Route {
        let gateway = gateway.map(|g| g.parse().unwrap());
        Route { destination: cidr.parse().unwrap(), gateway, link: Some("eth0".into()), onlink: false }
    }

    fn shown(ops: &[NetOp]) -> Vec<String> {
        let show = |op: &NetOp| match op {
            NetOp::PutRoute(r) => format!("put {} via {}", r.destination, r.gateway.unwrap()),
            NetOp::DeleteRoute(r) => format!("delete {}", r.destination),
            other => format!("{other:?}"),
        };
        ops.iter().map(show).collect()
    }

    #[test]
    fn routes_follow_the_nodes_and_leave_pods_alone() {
        let all = peers(&[
            ("n2", &["172.30.0.12"], &["10.244.2.0/24"]),
            ("n3", &["172.30.0.13"], &["10.244.3.0/24"]),
        ]);
        let present = [
            route("10.244.1.7/32", None),
            route("fd00:244:1::7/128", None),
            route("10.244.2.0/24", Some("172.30.0.12")),
            route("10.244.3.0/24", Some("172.30.0.99")),
            route("10.244.4.0/24", Some("172.30.0.14")),
        ];
        let ops = diff(&plan(&all), &present);
        assert_eq!(shown(&ops), ["put 10.244.3.0/24 via 172.30.0.13", "delete 10.244.4.0/24"]);
    }

    #[test]
    fn each_range_goes_by_the_nodes_address_of_its_family() {
        let all = peers(&[
            ("both", &["172.30.0.12", "fd00:172::c"], &["10.244.2.0/24", "fd00:244:2::/64", "10.244.9.0/24"]),
            ("one", &["172.30.0.13"], &["10.244.3.0/24", "fd00:244:3::/64"]),
            ("new", &[], &["10.244.4.0/24"]),
        ]);
        let ops = diff(&plan(&all), &[]);
        let expected = [
            "put 10.244.2.0/24 via 172.30.0.12",
            "put 10.244.3.0/24 via 172.30.0.13",
            "put 10.244.9.0/24 via 172.30.0.12",
            "put fd00:244:2::/64 via fd00:172::c",
        ];
        assert_eq!(shown(&ops), expected);
    }
}
