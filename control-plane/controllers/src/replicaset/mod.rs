//! ReplicaSet and ReplicationController: as many active pods as wanted, never doubled, whatever the cache's lag.
//!
//! Watches one of these kinds and pods. Owns its pods' creation, deletion and adoption, and its status.

mod expectations;
mod plan;
mod pods;
#[cfg(test)]
mod tests;

use crate::{
    claim::{self, Claims},
    shared::Shared,
};
use async_trait::async_trait;
use expectations::Expectations;
use keelson_harness::{
    Change, IndexKey, Informer, ObjectKey, Timestamp,
    api::PatchKind,
    controller::{self, Next, Queue, Reconcile, ReconcileError},
    events::Recorder,
    views::{MetaOnly, Pod, ReplicaSet, ReplicaSetStatus, ReplicationController, View},
};
use plan::Failure;
use serde::Deserialize;
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc};
use tokio::time::Instant;

/// A kind that says how many pods there are to be.
pub(crate) trait Replicated: View {
    /// The controller's name, in its metrics and in messages.
    const NAME: &'static str;
    /// The name that its events come from.
    const COMPONENT: &'static str;
    /// Does its status count the pods that are going away?
    const TELLS_TERMINATING: bool;

    fn set(&self) -> &ReplicaSet;
}

impl Replicated for ReplicaSet {
    const NAME: &'static str = "replicaset";
    const COMPONENT: &'static str = "replicaset-controller";
    const TELLS_TERMINATING: bool = true;

    fn set(&self) -> &ReplicaSet {
        self
    }
}

impl Replicated for ReplicationController {
    const NAME: &'static str = "replicationmanager";
    const COMPONENT: &'static str = "replication-controller";
    const TELLS_TERMINATING: bool = false;

    fn set(&self) -> &ReplicaSet {
        &self.0
    }
}

pub(crate) struct ReplicaSets<K: Replicated> {
    shared: Shared,
    sets: Arc<Informer<K>>,
    pods: Arc<Informer<Pod>>,
    recorder: Recorder,
    expectations: Expectations,
}

pub(crate) async fn run<K: Replicated>(shared: Shared, sets: Arc<Informer<K>>) {
    let pods = shared.informers.pods();
    let recorder = shared.recorder(K::COMPONENT);
    let shutdown = shared.shutdown.clone();
    let this = Arc::new(ReplicaSets {
        shared,
        sets: sets.clone(),
        pods: pods.clone(),
        recorder,
        expectations: Expectations::default(),
    });
    let queue = Queue::<ReplicaSets<K>>::default();
    subscribe(&this, &queue);
    if sets.synced().await && pods.synced().await {
        controller::run(this, queue, shutdown).await;
    }
}

fn subscribe<K: Replicated>(this: &Arc<ReplicaSets<K>>, queue: &Queue<ReplicaSets<K>>) {
    let (me, q) = (this.clone(), queue.clone());
    this.sets.subscribe(&this.shared.shutdown, move |change| {
        let key = change.latest().meta().key();
        if change.new.is_none() {
            me.expectations.forget(&key);
        }
        q.add(key);
    });
    let (me, q) = (this.clone(), queue.clone());
    this.pods.subscribe(&this.shared.shutdown, move |change| me.pod_changed(change, &q));
}

impl<K: Replicated> ReplicaSets<K> {
    /// Meets expectations first, then wakes the owners (old and new), or for an orphan whoever may adopt it.
    fn pod_changed(&self, change: &Change<Pod>, queue: &Queue<ReplicaSets<K>>) {
        let pod = change.latest();
        let owner = |pod: &Pod| {
            let reference = pod.metadata.controller().filter(|o| *o.kind == *K::RESOURCE.kind)?;
            Some(ObjectKey { namespace: pod.metadata.namespace.clone(), name: reference.name.clone() })
        };
        if let Some(key) = owner(pod) {
            if change.old.is_none() {
                self.expectations.created(&key, 1);
            }
            if change.new.is_none() || pod.metadata.is_deleting() {
                self.expectations.deleted(&key, &pod.metadata.uid);
            }
        }
        let mut owned = false;
        for key in change.sides().filter_map(|p| owner(p)) {
            owned = true;
            queue.add(key);
        }
        if !owned && pod.metadata.controller().is_none() && change.new.is_some() {
            let namespace = IndexKey::Namespace(pod.metadata.namespace.clone());
            let all = self.sets.by(&namespace).into_iter();
            all.filter(|s| s.set().spec.selector.matches(&pod.metadata.labels))
                .for_each(|s| queue.add(s.meta().key()));
        }
    }

    fn claims(&self, set: &ReplicaSet) -> Claims<Pod> {
        let referring = self.pods.by(&IndexKey::Controller(set.metadata.uid.clone()));
        let orphans = self.pods.by(&IndexKey::Orphans(set.metadata.namespace.clone()));
        claim::claim(&set.metadata, &set.spec.selector, referring, orphans)
    }

    /// Active pods of all sets with the same owner.
    fn related(&self, set: &ReplicaSet, own: &[Arc<Pod>]) -> Vec<Arc<Pod>> {
        let Some(owner) = set.metadata.controller() else { return own.to_vec() };
        let siblings = self.sets.by(&IndexKey::Controller(owner.uid.clone()));
        let pods = siblings.iter().flat_map(|s| self.pods.by(&IndexKey::Controller(s.meta().uid.clone())));
        pods.filter(|p| p.is_active()).collect()
    }

    async fn write_status(&self, set: &ReplicaSet, status: &ReplicaSetStatus) -> Result<(), ReconcileError> {
        if *status == set.status {
            return Ok(());
        }
        let conditions: Vec<_> = status.conditions.iter().map(crate::condition::to_json).collect();
        let mut patch = json!({"metadata": {"uid": set.metadata.uid}, "status": {
            "replicas": status.replicas,
            "fullyLabeledReplicas": status.fully_labeled_replicas,
            "readyReplicas": status.ready_replicas,
            "availableReplicas": status.available_replicas,
            "observedGeneration": status.observed_generation,
            "conditions": conditions,
        }});
        if let Some(terminating) = status.terminating_replicas {
            patch["status"]["terminatingReplicas"] = terminating.into();
        }
        let key = set.metadata.key();
        self.shared
            .api
            .patch::<MetaOnly>(&K::RESOURCE, key.ns(), &key.name, Some("status"), PatchKind::Merge, &patch)
            .await?;
        Ok(())
    }
}

#[async_trait]
impl<K: Replicated> Reconcile for ReplicaSets<K> {
    type Key = ObjectKey;
    const NAME: &'static str = K::NAME;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let Some(found) = self.sets.get(key) else { return Ok(Next::Wait) };
        let set = found.set();
        // Asked before the cache is read: what is seen afterwards can only be more.
        let may_change = self.expectations.satisfied(key, Instant::now()) && !set.metadata.is_deleting();
        let claims = self.claims(set);
        claim::execute(&self.shared.api, &K::RESOURCE, &set.metadata, &claims).await?;
        let own: Vec<Arc<Pod>> = claims.owned.into_iter().chain(claims.adopt).collect();
        let terminating = K::TELLS_TERMINATING
            .then(|| own.iter().filter(|p| p.metadata.is_deleting() && !p.is_finished()).count());
        let active: Vec<Arc<Pod>> = own.into_iter().filter(|p| p.is_active()).collect();
        let template: Template = serde_json::from_str(set.spec.template.get())?;
        let now = Timestamp::now();

        let mut failure: Option<Failure> = None;
        if may_change {
            let plan = plan::plan(set, &active, &self.related(set, &active), now);
            failure = self.execute(set, plan).await;
        }
        let (status, soon) =
            plan::status(set, &active, terminating, &template.metadata.labels, failure.as_ref(), now);
        self.write_status(set, &status).await?;
        match failure {
            Some(failure) => Err(failure.message.into()),
            None => Ok(soon.map_or(Next::Wait, Next::After)),
        }
    }
}

#[derive(Deserialize)]
struct Template {
    #[serde(default)]
    metadata: TemplateMeta,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TemplateMeta {
    labels: BTreeMap<String, String>,
}
