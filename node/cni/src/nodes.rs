//! The watch of Nodes: this node's own says which addresses its pods have, the others' where their pods are.
//!
//! ```text
//! Node objects ──watch──▶ own podCIDRs ──judge()──▶ the addresses' pool, and whether the network is ready
//!                    └──▶ peers ──plan()──▶ wanted routes and tunnel ──diff with the kernel's──▶ netlink
//! the kernel's routes ──changes──┘
//! ```

use crate::{
    ranges::{PodRanges, Registered, judge},
    routes::{self, Peer, Underlay, peer},
    server::Endpoints,
};
use futures::{StreamExt, TryStreamExt};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use keelson_sys::net::{Network, route_changes};
use kube::{Api, Client, ResourceExt, runtime::watcher};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Pause before routes that the kernel refused are tried again: what is missing (a link, an address of the node) comes without
/// an event of the API.
const RETRY: Duration = Duration::from_secs(10);

/// Who this node is.
#[derive(Clone, Debug)]
pub struct Own {
    /// Its Node's name.
    pub name: String,
    /// The ranges that it was started with, perhaps none.
    pub given: Vec<IpNet>,
    /// How it reaches the others.
    pub underlay: Underlay,
}

impl Own {
    /// What is known before anything was heard.
    pub fn at_start(&self) -> PodRanges {
        judge(&self.name, &self.given, &Registered::Unheard)
    }
}

/// What others are told of it.
pub struct Told {
    /// Which addresses pods have.
    pub ranges: watch::Sender<PodRanges>,
    /// Bytes of a pod's IP packet.
    pub mtu: watch::Sender<u32>,
}

/// Keeps routes, tunnel and ranges right until `shutdown`. Routes and tunnel stay when the daemon goes.
pub async fn run(
    client: Client,
    own: Own,
    network: Arc<dyn Network>,
    endpoints: Arc<dyn Endpoints>,
    told: Told,
    shutdown: CancellationToken,
) {
    let nodes = keelson_watch::watch(Api::<Node>::all(client), watcher::Config::default());
    let mut events = nodes.take_until(shutdown.cancelled_owned()).boxed();
    let mut underlay = match route_changes() {
        Ok(changes) => changes.boxed(),
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "routes that change are seen at the next change of a node"
            );
            futures::stream::pending().boxed()
        }
    };
    let mut state = State::default();
    let mut unfinished = false;
    loop {
        let changed = tokio::select! {
            event = events.try_next() => match event {
                Ok(Some(event)) => state.step(&own.name, event),
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(%error, "watching nodes; the routes stay as they are");
                    false
                }
            },
            // Before the first list nobody is known to be gone.
            Some(()) = underlay.next() => state.complete,
            () = tokio::time::sleep(RETRY), if unfinished => true,
        };
        if changed {
            // What else has changed by now is seen, too.
            while futures::FutureExt::now_or_never(underlay.next()).flatten().is_some() {}
            unfinished = reach(&own.underlay, &state, &*network, &*endpoints, &told.mtu).await;
        }
        tell(&told.ranges, judge(&own.name, &own.given, &state.own));
    }
}

/// Makes the ways to all peers. Whether it has to be tried again.
async fn reach(
    underlay: &Underlay,
    state: &State,
    network: &dyn Network,
    endpoints: &dyn Endpoints,
    mtu: &watch::Sender<u32>,
) -> bool {
    let ranges = match &state.own {
        Registered::With(ranges) => ranges.as_slice(),
        Registered::Unheard | Registered::Absent => &[],
    };
    match routes::reconcile(underlay, ranges, &state.peers, network, endpoints).await {
        Ok(outcome) => {
            let wanted = underlay.pod_mtu(outcome.tunnelled);
            mtu.send_if_modified(|mtu| std::mem::replace(mtu, wanted) != wanted);
            outcome.unfinished
        }
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "ways to other nodes' pods");
            true
        }
    }
}

fn tell(ranges: &watch::Sender<PodRanges>, found: PodRanges) {
    ranges.send_if_modified(|old| {
        let changed = *old != found;
        if changed {
            match &found {
                PodRanges::Known(nets) => tracing::info!(?nets, "the node's pods have these addresses"),
                PodRanges::Unknown { message, .. } => tracing::info!("{message}"),
            }
            *old = found;
        }
        changed
    });
}

/// What was heard so far, and what of a list that is still arriving.
#[derive(Default)]
struct State {
    own: Registered,
    peers: BTreeMap<String, Peer>,
    listing: BTreeMap<String, Peer>,
    /// Of this node, as the list has it.
    listed: Option<Vec<IpNet>>,
    /// A whole list was heard.
    complete: bool,
}

impl State {
    /// Takes one event; whether anything changed that ways depend on.
    fn step(&mut self, own: &str, event: watcher::Event<Node>) -> bool {
        let before = (self.own.clone(), self.peers.clone());
        match event {
            watcher::Event::Init => {
                self.listing.clear();
                self.listed = None;
            }
            watcher::Event::InitApply(node) if node.name_any() == own => self.listed = Some(pod_cidrs(&node)),
            watcher::Event::InitApply(node) => put(&mut self.listing, &node),
            // Only a whole list may take anything away; and pods have addresses when it is known how they reach others.
            watcher::Event::InitDone => {
                self.peers = std::mem::take(&mut self.listing);
                self.own = self.listed.take().map_or(Registered::Absent, Registered::With);
                self.complete = true;
                return true;
            }
            watcher::Event::Apply(node) if node.name_any() == own => {
                self.own = Registered::With(pod_cidrs(&node));
            }
            watcher::Event::Apply(node) => put(&mut self.peers, &node),
            watcher::Event::Delete(node) if node.name_any() == own => self.own = Registered::Absent,
            watcher::Event::Delete(node) => drop(self.peers.remove(&node.name_any())),
        }
        (&self.own, &self.peers) != (&before.0, &before.1)
    }
}

fn put(peers: &mut BTreeMap<String, Peer>, node: &Node) {
    peers.insert(node.name_any(), peer(node));
}

/// `spec.podCIDRs`; those of a Node that has the older field alone are that one.
pub(crate) fn pod_cidrs(node: &Node) -> Vec<IpNet> {
    let Some(spec) = &node.spec else { return vec![] };
    let many = spec.pod_cidrs.iter().flatten();
    let found: Vec<IpNet> = many.filter_map(|text| text.parse().ok()).collect();
    if found.is_empty() { spec.pod_cidr.iter().filter_map(|text| text.parse().ok()).collect() } else { found }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, cidrs: &[&str]) -> Node {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": name},
            "spec": {"podCIDRs": cidrs},
            "status": {"addresses": [{"type": "InternalIP", "address": "172.30.0.12"}]},
        }))
        .unwrap()
    }

    #[test]
    fn a_list_that_is_still_arriving_takes_nothing_away() {
        let mut state = State::default();
        state.step("n1", watcher::Event::Apply(node("n1", &["10.244.1.0/24"])));
        state.step("n1", watcher::Event::Apply(node("n2", &["10.244.2.0/24"])));
        let own = state.own.clone();
        assert!(!state.step("n1", watcher::Event::Init));
        assert_eq!((state.peers.len(), &state.own), (1, &own));
        assert!(state.step("n1", watcher::Event::InitDone));
        assert_eq!((state.peers.len(), &state.own), (0, &Registered::Absent));
    }

    #[test]
    fn the_own_node_is_no_peer_and_says_the_ranges() {
        let mut state = State::default();
        for event in [
            watcher::Event::Init,
            watcher::Event::InitApply(node("n1", &[])),
            watcher::Event::InitApply(node("n2", &["10.244.2.0/24"])),
            watcher::Event::InitDone,
        ] {
            state.step("n1", event);
        }
        assert_eq!((state.peers.len(), &state.own), (1, &Registered::With(vec![])));
        assert!(state.step("n1", watcher::Event::Apply(node("n1", &["10.244.1.0/24", "fd00:1::/64"]))));
        assert!(!state.step("n1", watcher::Event::Apply(node("n1", &["10.244.1.0/24", "fd00:1::/64"]))));
        assert!(matches!(&state.own, Registered::With(nets) if nets.len() == 2));
    }
}
