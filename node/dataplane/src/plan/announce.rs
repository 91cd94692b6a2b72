//! Which node answers for a load balancer's address on the wire that the nodes share. Pure.
//!
//! Every node comes to the same answer by itself: of the nodes that may, the one with the highest hash of its name and the
//! address. When a node goes only its own addresses move. While nodes learn of a change at different moments two may answer,
//! or none: clients ask again, and either node serves them.

use std::net::IpAddr;

use super::{ServiceView, SliceView};
use crate::flows::fingerprint;

/// An address that some node is to answer for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Announced {
    /// Itself.
    pub address: IpAddr,
    /// Fingerprints of the only nodes that may, sorted; `None` for all.
    pub only: Option<Vec<u64>>,
}

/// A node's name as endpoints keep it.
pub fn node_fingerprint(name: &str) -> u64 {
    fingerprint("", name)
}

/// Those of a Service. A load balancer of another class announces for itself.
pub(super) fn announced<'a>(
    service: &ServiceView,
    slices: impl Iterator<Item = &'a SliceView>,
) -> Vec<Announced> {
    if !service.own_load_balancer || service.load_balancer_ips.is_empty() {
        return Vec::new();
    }
    let only = service.external_local.then(|| {
        let endpoints = slices.flat_map(|slice| &slice.endpoints);
        let mut nodes: Vec<u64> = endpoints.filter(|e| e.ready).filter_map(|e| e.node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    });
    service.load_balancer_ips.iter().map(|&address| Announced { address, only: only.clone() }).collect()
}

/// Who answers for an address; `None` where nobody may.
pub fn announcer<'a>(announced: &Announced, nodes: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let may = |node: &&str| {
        announced.only.as_ref().is_none_or(|only| only.binary_search(&node_fingerprint(node)).is_ok())
    };
    let address = announced.address.to_string();
    nodes.filter(may).max_by_key(|node| (mixed(fingerprint(&address, node)), *node))
}

/// All bits depend on all others (the finalizer of SplitMix64): names that differ in their last letter alone do not
/// come out in one order for all addresses.
fn mixed(hash: u64) -> u64 {
    let hash = (hash ^ hash >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ hash >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ hash >> 31
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn address(n: u32) -> Announced {
        Announced { address: IpAddr::from(std::net::Ipv4Addr::from(0xc000_0200 + n)), only: None }
    }

    #[test]
    fn addresses_are_shared_out_and_only_a_lost_nodes_move() {
        let nodes = ["n1", "n2", "n3", "n4"];
        let all: Vec<_> = (0..400).map(address).collect();
        let before: Vec<_> = all.iter().map(|a| announcer(a, nodes.into_iter()).unwrap()).collect();
        let mut shares: BTreeMap<_, u32> = BTreeMap::new();
        before.iter().for_each(|node| *shares.entry(node).or_default() += 1);
        assert!(shares.len() == 4 && shares.values().all(|n| (60..=140).contains(n)), "{shares:?}");
        for (announced, was) in all.iter().zip(before) {
            let now = announcer(announced, ["n4", "n1", "n3"].into_iter()).unwrap();
            assert!(now == was || was == "n2", "{} moved from {was} to {now}", announced.address);
        }
    }

    #[test]
    fn only_nodes_with_endpoints_answer_for_a_local_one() {
        let mut announced = address(1);
        for node in ["n1", "n2", "n3"] {
            announced.only = Some(vec![node_fingerprint(node)]);
            assert_eq!(announcer(&announced, ["n1", "n2", "n3"].into_iter()), Some(node));
        }
        announced.only = Some(vec![]);
        assert_eq!(announcer(&announced, ["n1"].into_iter()), None);
    }
}
