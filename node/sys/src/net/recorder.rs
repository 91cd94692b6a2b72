//! A network that remembers what it was told, for tests that assert it.

use super::{NetError, NetOp, Netns, Network, Route};
use async_trait::async_trait;
use parking_lot::Mutex;

/// Records operations; its routes and links are what the operations add up to.
#[derive(Default)]
pub struct Recorder {
    calls: Mutex<Vec<(Netns, NetOp)>>,
}

impl Recorder {
    /// Everything so far, in order.
    pub fn calls(&self) -> Vec<(Netns, NetOp)> {
        self.calls.lock().clone()
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
                _ => {}
            }
        }
        Ok(routes)
    }

    async fn links(&self) -> Result<Vec<String>, NetError> {
        let mut links = Vec::new();
        for (netns, op) in self.calls.lock().iter() {
            match op {
                NetOp::AddVeth { name, .. } if *netns == Netns::Own => links.push(name.clone()),
                NetOp::DeleteLink { link } if *netns == Netns::Own => links.retain(|l| l != link),
                _ => {}
            }
        }
        Ok(links)
    }
}
