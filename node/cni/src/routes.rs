//! Routes to the pods of the other nodes: one a node, straight to its address.
//!
//! ```text
//! Node objects ──watch──▶ peers ──plan()──▶ wanted routes ──diff with the kernel's──▶ netlink
//! ```
//! Nodes must be adjacent (one network of layer 2): a route whose next hop is not is refused by the kernel and reported.

use futures::{StreamExt, TryStreamExt};
use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::Node;
use keelson_sys::net::{NetError, NetOp, Netns, Network, Route};
use kube::{
    Api, Client, ResourceExt,
    runtime::{WatchStreamExt, watcher},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::Arc,
};
use tokio_util::sync::CancellationToken;

/// What matters of another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its InternalIP.
    pub address: Ipv4Addr,
    /// Its spec.podCIDR.
    pub pod_cidr: Ipv4Net,
}

/// The routes that should be: one for each peer, none for this node.
pub fn plan(own_name: &str, peers: &BTreeMap<String, Peer>) -> BTreeSet<Route> {
    let others = peers.iter().filter(|(name, _)| *name != own_name);
    let route = |peer: &Peer| Route {
        destination: peer.pod_cidr.trunc(),
        gateway: Some(peer.address),
        link: None,
        onlink: false,
    };
    others.map(|(_, peer)| route(peer)).collect()
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

/// Reads a Node; None if it has no address or no range yet.
pub fn peer(node: &Node) -> Option<Peer> {
    let addresses = node.status.as_ref()?.addresses.as_ref()?;
    let internal = addresses.iter().find(|address| address.type_ == "InternalIP")?;
    let pod_cidr = node.spec.as_ref()?.pod_cidr.as_ref()?;
    Some(Peer { address: internal.address.parse().ok()?, pod_cidr: pod_cidr.parse().ok()? })
}

/// Keeps the routes right until `shutdown`. They stay when the daemon goes.
pub async fn run(client: Client, own_name: String, network: Arc<dyn Network>, shutdown: CancellationToken) {
    let nodes = watcher(Api::<Node>::all(client), watcher::Config::default()).default_backoff();
    let mut events = nodes.take_until(shutdown.cancelled_owned()).boxed();
    let mut state = State::default();
    loop {
        match events.try_next().await {
            Ok(Some(event)) => {
                if state.step(event)
                    && let Err(error) = reconcile(&own_name, &state.peers, &*network).await
                {
                    tracing::error!(error = &error as &dyn std::error::Error, "routes to other nodes' pods");
                }
            }
            Ok(None) => return,
            Err(error) => tracing::warn!(%error, "watching nodes; the routes stay as they are"),
        }
    }
}

/// The peers known so far, and those of a list that is still arriving.
#[derive(Default)]
struct State {
    peers: BTreeMap<String, Peer>,
    listing: BTreeMap<String, Peer>,
}

impl State {
    /// Takes one event; whether the peers changed.
    fn step(&mut self, event: watcher::Event<Node>) -> bool {
        let before = self.peers.clone();
        match event {
            watcher::Event::Init => self.listing.clear(),
            watcher::Event::InitApply(node) => put(&mut self.listing, &node),
            // Only a whole list may take peers away.
            watcher::Event::InitDone => {
                self.peers = std::mem::take(&mut self.listing);
                return true;
            }
            watcher::Event::Apply(node) => put(&mut self.peers, &node),
            watcher::Event::Delete(node) => drop(self.peers.remove(&node.name_any())),
        }
        self.peers != before
    }
}

fn put(peers: &mut BTreeMap<String, Peer>, node: &Node) {
    if let Some(peer) = peer(node) {
        peers.insert(node.name_any(), peer);
    }
}

/// One route that fails keeps no other from being made.
async fn reconcile(
    own_name: &str,
    peers: &BTreeMap<String, Peer>,
    network: &dyn Network,
) -> Result<(), NetError> {
    let ops = diff(&plan(own_name, peers), &network.routes().await?);
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

    fn peers(rows: &[(&str, &str, &str)]) -> BTreeMap<String, Peer> {
        let peer = |address: &str, cidr: &str| Peer {
            address: address.parse().unwrap(),
            pod_cidr: cidr.parse().unwrap(),
        };
        rows.iter().map(|(name, address, cidr)| (name.to_string(), peer(address, cidr))).collect()
    }

    fn route(cidr: &str, gateway: Option<&str>) -> Route {
        let gateway = gateway.map(|g| g.parse().unwrap());
        Route { destination: cidr.parse().unwrap(), gateway, link: Some("eth0".into()), onlink: false }
    }

    #[test]
    fn routes_follow_the_nodes_and_leave_pods_alone() {
        let all = peers(&[
            ("n1", "172.30.0.11", "10.244.1.0/24"),
            ("n2", "172.30.0.12", "10.244.2.0/24"),
            ("n3", "172.30.0.13", "10.244.3.0/24"),
        ]);
        let wanted = plan("n1", &all);
        let present = [
            route("10.244.1.7/32", None),
            route("10.244.2.0/24", Some("172.30.0.12")),
            route("10.244.3.0/24", Some("172.30.0.99")),
            route("10.244.4.0/24", Some("172.30.0.14")),
        ];
        let ops = diff(&wanted, &present);
        let shown: Vec<String> = ops
            .iter()
            .map(|op| match op {
                NetOp::PutRoute(r) => format!("put {} via {}", r.destination, r.gateway.unwrap()),
                NetOp::DeleteRoute(r) => format!("delete {}", r.destination),
                other => format!("{other:?}"),
            })
            .collect();
        assert_eq!(shown, ["put 10.244.3.0/24 via 172.30.0.13", "delete 10.244.4.0/24"]);
    }

    #[test]
    fn a_list_that_is_still_arriving_takes_no_peer_away() {
        let mut state = State { peers: peers(&[("n2", "172.30.0.12", "10.244.2.0/24")]), ..State::default() };
        assert!(!state.step(watcher::Event::Init));
        assert_eq!(state.peers.len(), 1);
        assert!(state.step(watcher::Event::InitDone));
        assert!(state.peers.is_empty());
    }
}
