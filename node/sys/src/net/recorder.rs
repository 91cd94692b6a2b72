//! A network that remembers what it was told, for tests that assert it.

use super::{NetError, NetOp, Netns, Network, Route, Tunnel, Way};
use async_trait::async_trait;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// Records operations; its routes and links are what the operations add up to. Who is not said to be adjacent is nowhere.
#[derive(Default)]
pub struct Recorder {
    calls: Mutex<Vec<(Netns, NetOp)>>,
    ways: Mutex<BTreeMap<IpAddr, Way>>,
}

impl Recorder {
    /// Everything so far, in order.
    pub fn calls(&self) -> Vec<(Netns, NetOp)> {
        self.calls.lock().clone()
    }

    /// From now on this is the way to an address.
    pub fn set_way(&self, address: IpAddr, way: Way) {
        self.ways.lock().insert(address, way);
    }
}

/// What becomes of a tunnel by an operation on its device.
fn step(tunnel: &mut Option<Tunnel>, name: &str, op: &NetOp) {
    if let NetOp::AddVxlan { name: of, vxlan } = op {
        if of == name {
            let (addresses, neighbours, forwarding) = <(BTreeSet<_>, BTreeSet<_>, BTreeSet<_>)>::default();
            *tunnel = Some(Tunnel { device: vxlan.clone(), addresses, neighbours, forwarding });
        }
        return;
    }
    let Some(there) = tunnel else { return };
    match op {
        NetOp::DeleteLink { link } if link == name => *tunnel = None,
        NetOp::AddAddress { link, address } if link == name => drop(there.addresses.insert(address.addr())),
        NetOp::PutNeighbour { link, address, mac } if link == name => {
            there.neighbours.retain(|(other, _)| other != address);
            there.neighbours.insert((*address, *mac));
        }
        NetOp::DeleteNeighbour { link, address } if link == name => {
            there.neighbours.retain(|(other, _)| other != address);
        }
        NetOp::PutForwarding { link, mac, remote } if link == name => {
            there.forwarding.retain(|(other, _)| other != mac);
            there.forwarding.insert((*mac, *remote));
        }
        NetOp::DeleteForwarding { link, mac, remote } if link == name => {
            there.forwarding.remove(&(*mac, *remote));
        }
        _ => {}
    }
}

#[async_trait]
impl Network for Recorder {
    async fn apply(&self, netns: &Netns, ops: &[NetOp]) -> Result<(), NetError> {
        self.calls.lock().extend(ops.iter().map(|op| (netns.clone(), op.clone())));
        Ok(())
    }

    async fn routes(&self) -> Result<Vec<Route>, NetError> {
        let mut routes = Vec::new();
        for (netns, op) in self.calls.lock().iter() {
            match op {
                NetOp::PutRoute(route) if *netns == Netns::Own => {
                    routes.retain(|r: &Route| r.destination != route.destination);
                    routes.push(route.clone());
                }
                NetOp::DeleteRoute(route) if *netns == Netns::Own => routes.retain(|r| r != route),
                // A link takes its routes along.
                NetOp::DeleteLink { link } if *netns == Netns::Own => {
                    routes.retain(|r| r.link.as_ref() != Some(link));
                }
                _ => {}
            }
        }
        Ok(routes)
    }

    async fn tunnel(&self, link: &str) -> Result<Option<Tunnel>, NetError> {
        let mut tunnel = None;
        let calls = self.calls.lock();
        calls
            .iter()
            .filter(|(netns, _)| *netns == Netns::Own)
            .for_each(|(_, op)| step(&mut tunnel, link, op));
        Ok(tunnel)
    }

    async fn way_to(&self, address: IpAddr) -> Result<Way, NetError> {
        Ok(self.ways.lock().get(&address).copied().unwrap_or(Way::Nowhere))
    }

    async fn links(&self) -> Result<Vec<String>, NetError> {
        let mut links = Vec::new();
        for (netns, op) in self.calls.lock().iter() {
            match op {
                NetOp::AddVeth { name, .. } | NetOp::AddVxlan { name, .. } if *netns == Netns::Own => {
                    links.push(name.clone())
                }
                NetOp::DeleteLink { link } if *netns == Netns::Own => links.retain(|l| l != link),
                _ => {}
            }
        }
        Ok(links)
    }
}
