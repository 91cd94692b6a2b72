//! Node lifecycle: notices nodes that fall silent, says so in their conditions, taints them, and marks their pods unready
//! so that Services stop using them. Evicting pods is the taint eviction controller's part.
//!
//! Watches Nodes and Leases. Silence is measured by our clock from when we saw the last sign of life, never by comparing
//! the node's clock with ours; a restart therefore starts every node's grace anew.

mod execute;
mod plan;
#[cfg(test)]
mod tests;

use crate::shared::Shared;
use async_trait::async_trait;
use keelson_harness::{
    Informer, ObjectKey, Timestamp,
    controller::{self, Next, Queue, Reconcile, ReconcileError},
    events::Recorder,
    views::{Lease, Node, Pod},
};
use parking_lot::Mutex;
use plan::{Readiness, ZoneCount};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

const LEASE_NAMESPACE: &str = "kube-node-lease";
/// A node that registered has this long to report its first status.
const STARTUP_GRACE: Duration = Duration::from_secs(60);
const ZONE: &str = "topology.kubernetes.io/zone";

/// Signs of life of one node.
struct Health {
    /// renewTime and the heartbeat of Ready: any change is a sign of life.
    renewed: Option<Timestamp>,
    heartbeat: Option<Timestamp>,
    seen: Instant,
    was_ready: bool,
}

pub(crate) struct NodeLifecycle {
    shared: Shared,
    nodes: Arc<Informer<Node>>,
    pods: Arc<Informer<Pod>>,
    recorder: Recorder,
    grace: Duration,
    health: Mutex<HashMap<Arc<str>, Health>>,
    /// When each zone may taint its next node for eviction.
    next_eviction: Mutex<BTreeMap<String, Instant>>,
}

pub(crate) async fn run(shared: Shared, grace: Duration) {
    let informers = &shared.informers;
    let (nodes, pods, leases) = (informers.nodes(), informers.pods(), informers.leases());
    let recorder = shared.recorder("node-controller");
    let shutdown = shared.shutdown.clone();
    let this = Arc::new(NodeLifecycle {
        shared,
        nodes: nodes.clone(),
        pods: pods.clone(),
        recorder,
        grace,
        health: Mutex::default(),
        next_eviction: Mutex::default(),
    });
    let queue = Queue::<NodeLifecycle>::default();
    subscribe(&this, &leases, &queue);
    if nodes.synced().await && pods.synced().await && leases.synced().await {
        controller::run(this, queue, shutdown).await;
    }
}

fn subscribe(this: &Arc<NodeLifecycle>, leases: &Informer<Lease>, queue: &Queue<NodeLifecycle>) {
    let (me, q) = (this.clone(), queue.clone());
    this.nodes.subscribe(&this.shared.shutdown, move |change| {
        let node = change.latest();
        match &change.new {
            Some(_) => me.heartbeat(&node.metadata.name, ready_heartbeat(node)),
            None => drop(me.health.lock().remove(&node.metadata.name)),
        }
        q.add(node.metadata.name.clone());
    });
    let (me, q) = (this.clone(), queue.clone());
    leases.subscribe(&this.shared.shutdown, move |change| {
        let lease = change.latest();
        if &*lease.metadata.namespace == LEASE_NAMESPACE && change.new.is_some() {
            let was_silent = me.renewal(&lease.metadata.name, lease.spec.renew_time);
            if was_silent {
                q.add(lease.metadata.name.clone());
            }
        }
    });
}

fn ready_heartbeat(node: &Node) -> Option<Timestamp> {
    node.status.conditions.iter().find(|c| c.r#type == "Ready").and_then(|c| c.last_heartbeat_time)
}

impl NodeLifecycle {
    fn with_health<R>(&self, name: &Arc<str>, f: impl FnOnce(&mut Health) -> R) -> R {
        let fresh = || Health { renewed: None, heartbeat: None, seen: Instant::now(), was_ready: false };
        f(self.health.lock().entry(name.clone()).or_insert_with(fresh))
    }

    /// The node wrote its status; our own writing of Unknown leaves the heartbeat as it was.
    fn heartbeat(&self, name: &Arc<str>, heartbeat: Option<Timestamp>) {
        self.with_health(name, |health| {
            if heartbeat.is_some() && health.heartbeat != heartbeat {
                health.heartbeat = heartbeat;
                health.seen = Instant::now();
            }
        });
    }

    /// The node renewed its lease. True: it had been silent for longer than allowed, so it has to be looked at.
    fn renewal(&self, name: &Arc<str>, renewed: Option<Timestamp>) -> bool {
        self.with_health(name, |health| {
            if health.renewed == renewed {
                return false;
            }
            let was_silent = health.seen.elapsed() >= self.grace;
            health.renewed = renewed;
            health.seen = Instant::now();
            was_silent
        })
    }

    fn zone(node: &Node) -> String {
        node.metadata.labels.get(ZONE).cloned().unwrap_or_default()
    }

    /// May a node of this zone be tainted for eviction now? If so, the next one has to wait. `Err`: ask again then.
    fn may_evict(&self, zone: &str) -> Result<(), Option<Duration>> {
        let mut zones: BTreeMap<String, ZoneCount> = BTreeMap::new();
        for node in self.nodes.all() {
            let count = zones.entry(Self::zone(&node)).or_default();
            match node.is_ready() {
                true => count.ready += 1,
                false => count.not_ready += 1,
            }
        }
        let all_down = zones.values().all(|z| z.ready == 0);
        let count = zones.get(zone).copied().unwrap_or_default();
        let interval = plan::eviction_interval(count, all_down).ok_or(None)?;
        let now = Instant::now();
        let mut next = self.next_eviction.lock();
        let at = next.entry(zone.to_owned()).or_insert(now);
        if *at > now {
            return Err(Some(*at - now));
        }
        *at = now + interval;
        Ok(())
    }
}

/// Where eviction is halted because too many nodes are down, the node is looked at again after this long.
const HALTED_LOOK: Duration = Duration::from_secs(10);

#[async_trait]
impl Reconcile for NodeLifecycle {
    type Key = Arc<str>;
    const NAME: &'static str = "node-lifecycle";

    async fn reconcile(&self, name: &Arc<str>) -> Result<Next, ReconcileError> {
        let key = ObjectKey { namespace: "".into(), name: name.clone() };
        let Some(node) = self.nodes.get(&key) else { return Ok(Next::Wait) };
        let (silence, was_ready) = self.with_health(name, |h| (h.seen.elapsed(), h.was_ready));
        let grace = plan::grace(&node, self.grace, STARTUP_GRACE);
        let mut next = match plan::is_silent(silence, grace) {
            Ok(()) => {
                if self.declare_unknown(&node).await? {
                    // The node's event brings it back, with the conditions that decide about taints.
                    return Ok(Next::Wait);
                }
                Next::Wait
            }
            Err(wait) => Next::After(wait),
        };
        let readiness = plan::readiness(&node);
        let mut may_evict = false;
        if readiness != Readiness::Ready && !plan::is_tainted(&node) {
            match self.may_evict(&Self::zone(&node)) {
                Ok(()) => may_evict = true,
                Err(wait) => next = next.or(Next::After(wait.unwrap_or(HALTED_LOOK))),
            }
        }
        if let Some(taints) = plan::taints(&node, may_evict, &Timestamp::now().to_string()) {
            self.write_taints(&node, &taints).await?;
        }
        // A node that reports NotReady still runs its pods and writes their status: they are marked once, at the turn.
        if readiness == Readiness::Unknown || (readiness == Readiness::NotReady && was_ready) {
            self.mark_pods(&node).await?;
        }
        self.with_health(name, |h| h.was_ready = readiness == Readiness::Ready);
        Ok(next)
    }
}
