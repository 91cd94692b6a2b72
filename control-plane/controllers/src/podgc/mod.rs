//! Pod garbage collection: pods of nodes that no longer exist, terminating pods that never had a node, and finished pods
//! beyond a number.
//!
//! Watches pods and Nodes. A node counts as gone only if the server says so after a quarantine: a missing cache entry
//! must not delete a node's pods.

use crate::shared::Shared;
use async_trait::async_trait;
use keelson_harness::{
    IndexKey, Informer, ObjectKey, Timestamp,
    api::{DeleteOptions, NODES, PODS, PatchKind},
    controller::{self, Next, Queue, Reconcile, ReconcileError},
    views::{MetaOnly, Node, Pod},
};
use serde_json::json;
use std::{sync::Arc, time::Duration};

/// Finished pods kept in the cluster.
const FINISHED_MAX: usize = 12_500;
/// How long a node has to be missing.
const QUARANTINE: Duration = Duration::from_secs(40);

/// What to look at.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Work {
    /// The pods of a node that may be gone.
    Node(Arc<str>),
    /// A terminating pod without node.
    Pod(ObjectKey),
    /// The number of finished pods.
    Finished,
}

pub(crate) struct PodGc {
    shared: Shared,
    nodes: Arc<Informer<Node>>,
    pods: Arc<Informer<Pod>>,
}

pub(crate) async fn run(shared: Shared) {
    let (nodes, pods) = (shared.informers.nodes(), shared.informers.pods());
    let shutdown = shared.shutdown.clone();
    let this = Arc::new(PodGc { shared, nodes: nodes.clone(), pods: pods.clone() });
    // Pods are judged by the nodes that are known, so these come first.
    if !nodes.synced().await {
        return;
    }
    let queue = Queue::<PodGc>::default();
    let q = queue.clone();
    nodes.subscribe(&shutdown, move |change| {
        if change.new.is_none() {
            q.add_after(Work::Node(change.latest().metadata.name.clone()), QUARANTINE);
        }
    });
    let (me, q) = (this.clone(), queue.clone());
    pods.subscribe(&shutdown, move |change| {
        if let Some(pod) = &change.new {
            me.hint(pod, change.old.as_deref(), &q);
        }
    });
    if pods.synced().await {
        controller::run(this, queue, shutdown).await;
    }
}

impl PodGc {
    fn hint(&self, pod: &Pod, old: Option<&Pod>, queue: &Queue<PodGc>) {
        if pod.node_name.is_empty() {
            if pod.metadata.is_deleting() {
                queue.add(Work::Pod(pod.metadata.key()));
            }
        } else if old.is_none_or(|o| o.node_name != pod.node_name) {
            let node = ObjectKey { namespace: "".into(), name: pod.node_name.clone() };
            if self.nodes.get(&node).is_none() {
                queue.add_after(Work::Node(pod.node_name.clone()), QUARANTINE);
            }
        }
        if pod.is_finished() && !old.is_some_and(Pod::is_finished) {
            queue.add_after(Work::Finished, Duration::from_secs(20));
        }
    }

    /// Fails what has not ended (there is nobody else who could), then deletes at once.
    async fn remove(&self, pod: &Pod, reason: Option<(&str, &str)>) -> Result<(), ReconcileError> {
        let (meta, api) = (&pod.metadata, &self.shared.api);
        let ns = Some(&*meta.namespace);
        if let Some((reason, message)) = reason.filter(|_| !pod.is_finished()) {
            let now = Timestamp::now();
            let patch = json!({"metadata": {"uid": meta.uid}, "status": {"phase": "Failed", "conditions": [
                {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message,
                 "lastTransitionTime": now}]}});
            match api
                .patch::<MetaOnly>(&PODS, ns, &meta.name, Some("status"), PatchKind::Strategic, &patch)
                .await
            {
                Err(e) if e.is_not_found() || e.is_conflict() => return Ok(()),
                other => drop(other?),
            }
        }
        let options = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::uid(&meta.uid) };
        Ok(api.ensure_deleted(&PODS, ns, &meta.name, &options).await?)
    }

    async fn node_gone(&self, name: &Arc<str>) -> Result<(), ReconcileError> {
        let pods = self.pods.by(&IndexKey::Node(name.clone()));
        if pods.is_empty() || self.shared.api.find::<MetaOnly>(&NODES, None, name).await?.is_some() {
            return Ok(());
        }
        for pod in pods {
            self.remove(&pod, Some(("DeletionByPodGC", "PodGC: node no longer exists"))).await?;
        }
        Ok(())
    }

    async fn bound_finished(&self) -> Result<(), ReconcileError> {
        let mut finished: Vec<Arc<Pod>> = self.pods.all().into_iter().filter(|p| p.is_finished()).collect();
        let surplus = finished.len().saturating_sub(FINISHED_MAX);
        finished.sort_by_key(|p| p.metadata.creation_timestamp);
        for pod in finished.into_iter().take(surplus) {
            self.remove(&pod, None).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Reconcile for PodGc {
    type Key = Work;
    const NAME: &'static str = "pod-garbage-collector";
    const WORKERS: usize = 2;

    async fn reconcile(&self, work: &Work) -> Result<Next, ReconcileError> {
        match work {
            Work::Node(name) => self.node_gone(name).await?,
            Work::Pod(key) => {
                if let Some(pod) =
                    self.pods.get(key).filter(|p| p.node_name.is_empty() && p.metadata.is_deleting())
                {
                    self.remove(&pod, None).await?;
                }
            }
            Work::Finished => self.bound_finished().await?,
        }
        Ok(Next::Wait)
    }
}
