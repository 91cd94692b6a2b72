//! Node IPAM: a range of pod addresses, one a family, for each node that came without (upstream's range allocator).
//!
//! Watches Nodes. A range is in use as long as some Node holds it in `spec.podCIDRs`, however it got it; one worker gives
//! them and remembers what it gave until the watch shows it. Service ranges inside the cluster's are left out.

mod plan;

pub use plan::{ClusterRange, ClusterRangeError};

use crate::shared::Shared;
use async_trait::async_trait;
use ipnet::IpNet;
use keelson_harness::{
    Informer, ObjectKey,
    api::{NODES, PatchKind},
    controller::{self, Next, Queue, Reconcile, ReconcileError},
    events::Recorder,
    views::{MetaOnly, Node},
};
use parking_lot::Mutex;
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc};

/// What is configured.
#[derive(Clone, Debug)]
pub struct NodeIpam {
    /// One or two ranges, of different families; nodes get one of each.
    pub ranges: Vec<ClusterRange>,
    /// Ranges that no node may have.
    pub reserved: Vec<IpNet>,
}

#[derive(Default)]
struct Given {
    /// By node, while the watch does not show them.
    pending: BTreeMap<Arc<str>, Vec<IpNet>>,
    /// Where to look next, by cluster range: a range that was given back rests as long as possible.
    next: Vec<u32>,
}

pub(crate) struct Nodes {
    shared: Shared,
    nodes: Arc<Informer<Node>>,
    config: NodeIpam,
    recorder: Recorder,
    given: Mutex<Given>,
}

pub(crate) async fn run(shared: Shared, config: NodeIpam) {
    let nodes = shared.informers.nodes();
    let (recorder, shutdown) = (shared.recorder("cidrAllocator"), shared.shutdown.clone());
    let given = Mutex::new(Given { pending: BTreeMap::new(), next: vec![0; config.ranges.len()] });
    let this = Arc::new(Nodes { shared, nodes: nodes.clone(), config, recorder, given });
    let queue = Queue::<Nodes>::default();
    let (me, q) = (this.clone(), queue.clone());
    nodes.subscribe(&shutdown, move |change| {
        q.add(change.latest().metadata.name.clone());
        if change.new.is_none() {
            // Its range is free; somebody may be waiting for one.
            let waiting = me.nodes.all().into_iter().filter(|node| node.spec.pod_cidrs.is_empty());
            waiting.for_each(|node| q.add(node.metadata.name.clone()));
        }
    });
    if nodes.synced().await {
        controller::run(this, queue, shutdown).await;
    }
}

impl Nodes {
    /// A range of each family that nobody has; none if one family has no more.
    fn choose(&self, name: &Arc<str>) -> Option<Vec<IpNet>> {
        let mut given = self.given.lock();
        let nodes = self.nodes.all();
        given.pending.retain(|name, _| {
            let shown = self.nodes.get(&ObjectKey { namespace: "".into(), name: name.clone() });
            shown.is_some_and(|node| node.spec.pod_cidrs.is_empty())
        });
        if let Some(ranges) = given.pending.get(name) {
            return Some(ranges.clone());
        }
        let held = nodes.iter().flat_map(|node| &node.spec.pod_cidrs).filter_map(|range| range.parse().ok());
        let mut used: Vec<IpNet> = held.collect();
        used.extend(given.pending.values().flatten());
        used.extend(&self.config.reserved);
        let mut chosen = Vec::new();
        let mut next = given.next.clone();
        for (cluster, next) in self.config.ranges.iter().zip(&mut next) {
            let (index, range) = cluster.free(used.iter(), *next)?;
            *next = index + 1;
            chosen.push(range);
        }
        given.next = next;
        given.pending.insert(name.clone(), chosen.clone());
        Some(chosen)
    }
}

#[async_trait]
impl Reconcile for Nodes {
    type Key = Arc<str>;
    const NAME: &'static str = "node-ipam";
    /// Two at a time could give one range twice.
    const WORKERS: usize = 1;

    async fn reconcile(&self, name: &Arc<str>) -> Result<Next, ReconcileError> {
        let found = self.nodes.get(&ObjectKey { namespace: "".into(), name: name.clone() });
        let Some(node) = found.filter(|node| node.spec.pod_cidrs.is_empty() && !node.metadata.is_deleting())
        else {
            self.given.lock().pending.remove(name);
            return Ok(Next::Wait);
        };
        let Some(ranges) = self.choose(name) else {
            let message = format!("Node {name} status is now: CIDRNotAvailable");
            self.recorder.normal(&NODES, &node.metadata, "CIDRNotAvailable", message);
            return Err("no range of pod addresses is free".into());
        };
        let texts: Vec<String> = ranges.iter().map(IpNet::to_string).collect();
        let patch = json!({
            "metadata": {"uid": node.metadata.uid},
            "spec": {"podCIDR": texts.first(), "podCIDRs": texts},
        });
        let written: Result<MetaOnly, _> =
            self.shared.api.patch(&NODES, None, name, None, PatchKind::Merge, &patch).await;
        match written {
            // Gone, another of that name, or it came to a range by itself: its event brings the key back.
            Err(e) if e.is_not_found() || e.is_conflict() || e.is_invalid() => {
                self.given.lock().pending.remove(name);
                Ok(Next::Wait)
            }
            // After another failure nobody knows whether it was written: the same ranges are tried again.
            other => {
                other?;
                tracing::info!(node = %name, ranges = ?texts, "the node has its pod addresses");
                Ok(Next::Wait)
            }
        }
    }
}
