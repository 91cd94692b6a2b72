//! Taint eviction: deletes pods from nodes whose NoExecute taints they do not tolerate, or no longer.
//!
//! Watches pods and Nodes. The time of a toleration counts from when the taint was added; where the taint does not say,
//! from when this process saw it. A pod on an unreachable node stays Terminating until its node confirms, but no longer
//! counts for its ReplicaSet, so that its replacement starts elsewhere.

mod plan;

use crate::shared::Shared;
use async_trait::async_trait;
use keelson_harness::{
    Change, IndexKey, Informer, ObjectKey, Timestamp,
    api::{DeleteOptions, PODS, PatchKind},
    controller::{self, Next, Queue, Reconcile, ReconcileError},
    events::Recorder,
    views::{MetaOnly, Node, Pod},
};
use parking_lot::Mutex;
use plan::{Fate, FirstSeen};
use serde_json::json;
use std::sync::Arc;

pub(crate) struct TaintEviction {
    shared: Shared,
    nodes: Arc<Informer<Node>>,
    pods: Arc<Informer<Pod>>,
    recorder: Recorder,
    first_seen: Mutex<FirstSeen>,
}

pub(crate) async fn run(shared: Shared) {
    let (nodes, pods) = (shared.informers.nodes(), shared.informers.pods());
    let recorder = shared.recorder("taint-eviction-controller");
    let shutdown = shared.shutdown.clone();
    let first_seen = Mutex::default();
    let this =
        Arc::new(TaintEviction { shared, nodes: nodes.clone(), pods: pods.clone(), recorder, first_seen });
    let queue = Queue::<TaintEviction>::default();
    let (me, q) = (this.clone(), queue.clone());
    nodes.subscribe(&shutdown, move |change| me.node_changed(change, &q));
    let q = queue.clone();
    pods.subscribe(&shutdown, move |change| {
        let bound = change.new.as_ref().filter(|p| !p.node_name.is_empty());
        let new = |p: &&Arc<Pod>| {
            change.old.as_ref().is_none_or(|o| o.node_name != p.node_name || o.spec != p.spec)
        };
        if let Some(pod) = bound.filter(new) {
            q.add(pod.metadata.key());
        }
    });
    if nodes.synced().await && pods.synced().await {
        controller::run(this, queue, shutdown).await;
    }
}

impl TaintEviction {
    fn node_changed(&self, change: &Change<Node>, queue: &Queue<TaintEviction>) {
        let node = change.latest();
        let taints = |n: Option<&Arc<Node>>| n.map(|n| n.spec.taints.clone()).unwrap_or_default();
        if taints(change.old.as_ref()) == taints(change.new.as_ref()) {
            return;
        }
        let current = taints(change.new.as_ref());
        self.first_seen.lock().note(&node.metadata.name, &current, Timestamp::now());
        let pods = self.pods.by(&IndexKey::Node(node.metadata.name.clone()));
        pods.iter().for_each(|p| queue.add(p.metadata.key()));
    }

    async fn evict(&self, pod: &Pod) -> Result<(), ReconcileError> {
        let (meta, api) = (&pod.metadata, &self.shared.api);
        let message = format!("Marking for deletion Pod {}", meta.key());
        self.recorder.normal(&PODS, meta, "TaintManagerEviction", message);
        let now = Timestamp::now();
        let patch = json!({"metadata": {"uid": meta.uid}, "status": {"conditions": [
            {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager",
             "message": "Taint manager: deleting due to NoExecute taint", "lastTransitionTime": now}]}});
        let ns = Some(&*meta.namespace);
        match api.patch::<MetaOnly>(&PODS, ns, &meta.name, Some("status"), PatchKind::Strategic, &patch).await
        {
            Err(e) if e.is_not_found() || e.is_conflict() => return Ok(()),
            other => drop(other?),
        }
        Ok(api.ensure_deleted(&PODS, ns, &meta.name, &DeleteOptions::uid(&meta.uid)).await?)
    }
}

#[async_trait]
impl Reconcile for TaintEviction {
    type Key = ObjectKey;
    const NAME: &'static str = "taint-eviction";
    const WORKERS: usize = 8;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let Some(pod) = self.pods.get(key).filter(|p| !p.metadata.is_deleting() && !p.is_finished()) else {
            return Ok(Next::Wait);
        };
        let node_key = ObjectKey { namespace: "".into(), name: pod.node_name.clone() };
        let Some(node) = self.nodes.get(&node_key) else { return Ok(Next::Wait) };
        let fate = {
            let first_seen = self.first_seen.lock();
            let added = |taint: &_| first_seen.of(&pod.node_name, taint);
            plan::fate(&node.spec.taints, &pod.spec.tolerations, &added, Timestamp::now())
        };
        match fate {
            Fate::Stays => Ok(Next::Wait),
            Fate::StaysFor(time) => Ok(Next::After(time)),
            Fate::Goes => {
                self.evict(&pod).await?;
                Ok(Next::Wait)
            }
        }
    }
}
