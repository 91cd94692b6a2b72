//! ReplicaSet: as many active pods as wanted, never doubled, whatever the cache's lag.
//!
//! Watches ReplicaSets and pods. Owns its pods' creation, deletion and adoption, and the ReplicaSet's status.

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
    api::{PatchKind, REPLICA_SETS},
    controller::{self, Next, Queue, Reconcile, ReconcileError},
    events::Recorder,
    views::{MetaOnly, Pod, ReplicaSet, ReplicaSetStatus},
};
use plan::Failure;
use serde::Deserialize;
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc};
use tokio::time::Instant;

pub(crate) struct ReplicaSets {
    shared: Shared,
    sets: Arc<Informer<ReplicaSet>>,
    pods: Arc<Informer<Pod>>,
    recorder: Recorder,
    expectations: Expectations,
}

pub(crate) async fn run(shared: Shared) {
    let (sets, pods) = (shared.informers.replica_sets(), shared.informers.pods());
    let recorder = shared.recorder("replicaset-controller");
    let shutdown = shared.shutdown.clone();
    let this = Arc::new(ReplicaSets {
        shared,
        sets: sets.clone(),
        pods: pods.clone(),
        recorder,
        expectations: Expectations::default(),
    });
    let queue = Queue::<ReplicaSets>::default();
    subscribe(&this, &queue);
    if sets.synced().await && pods.synced().await {
        controller::run(this, queue, shutdown).await;
    }
}

fn subscribe(this: &Arc<ReplicaSets>, queue: &Queue<ReplicaSets>) {
    let (me, q) = (this.clone(), queue.clone());
    this.sets.subscribe(&this.shared.shutdown, move |change| {
        let key = change.latest().metadata.key();
        if change.new.is_none() {
            me.expectations.forget(&key);
        }
        q.add(key);
    });
    let (me, q) = (this.clone(), queue.clone());
    this.pods.subscribe(&this.shared.shutdown, move |change| me.pod_changed(change, &q));
}

impl ReplicaSets {
    /// Meets expectations first, then wakes the owners (old and new), or for an orphan whoever may adopt it.
    fn pod_changed(&self, change: &Change<Pod>, queue: &Queue<ReplicaSets>) {
        let pod = change.latest();
        let owner = |pod: &Pod| {
            let reference = pod.metadata.controller().filter(|o| &*o.kind == "ReplicaSet")?;
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
            let matching = self.sets.by(&namespace).into_iter();
            matching
                .filter(|s| s.spec.selector.matches(&pod.metadata.labels))
                .for_each(|s| queue.add(s.metadata.key()));
        }
    }

    fn claims(&self, set: &ReplicaSet) -> Claims<Pod> {
        let referring = self.pods.by(&IndexKey::Controller(set.metadata.uid.clone()));
        let orphans = self.pods.by(&IndexKey::Orphans(set.metadata.namespace.clone()));
        claim::claim(&set.metadata, &set.spec.selector, referring, orphans)
    }

    /// Active pods of all ReplicaSets with the same owner.
    fn related(&self, set: &ReplicaSet, own: &[Arc<Pod>]) -> Vec<Arc<Pod>> {
        let Some(owner) = set.metadata.controller() else { return own.to_vec() };
        let siblings = self.sets.by(&IndexKey::Controller(owner.uid.clone()));
        let pods = siblings.iter().flat_map(|s| self.pods.by(&IndexKey::Controller(s.metadata.uid.clone())));
        pods.filter(|p| p.is_active()).collect()
    }

    async fn write_status(&self, set: &ReplicaSet, status: &ReplicaSetStatus) -> Result<(), ReconcileError> {
        if *status == set.status {
            return Ok(());
        }
        let conditions: Vec<_> = status.conditions.iter().map(crate::condition::to_json).collect();
        let patch = json!({"metadata": {"uid": set.metadata.uid}, "status": {
            "replicas": status.replicas,
            "fullyLabeledReplicas": status.fully_labeled_replicas,
            "readyReplicas": status.ready_replicas,
            "availableReplicas": status.available_replicas,
            "terminatingReplicas": status.terminating_replicas,
            "observedGeneration": status.observed_generation,
            "conditions": conditions,
        }});
        let key = set.metadata.key();
        self.shared
            .api
            .patch::<MetaOnly>(&REPLICA_SETS, key.ns(), &key.name, Some("status"), PatchKind::Merge, &patch)
            .await?;
        Ok(())
    }
}

#[async_trait]
impl Reconcile for ReplicaSets {
    type Key = ObjectKey;
    const NAME: &'static str = "replicaset";

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let Some(set) = self.sets.get(key) else { return Ok(Next::Wait) };
        // Asked before the cache is read: what is seen afterwards can only be more.
        let may_change = self.expectations.satisfied(key, Instant::now()) && !set.metadata.is_deleting();
        let claims = self.claims(&set);
        claim::execute(&self.shared.api, &REPLICA_SETS, &set.metadata, &claims).await?;
        let own: Vec<Arc<Pod>> = claims.owned.into_iter().chain(claims.adopt).collect();
        let terminating = own.iter().filter(|p| p.metadata.is_deleting() && !p.is_finished()).count();
        let active: Vec<Arc<Pod>> = own.into_iter().filter(|p| p.is_active()).collect();
        let template: Template = serde_json::from_str(set.spec.template.get())?;
        let now = Timestamp::now();

        let mut failure: Option<Failure> = None;
        if may_change {
            let plan = plan::plan(&set, &active, &self.related(&set, &active), now);
            failure = self.execute(&set, plan).await;
        }
        let (status, soon) =
            plan::status(&set, &active, terminating, &template.metadata.labels, failure.as_ref(), now);
        self.write_status(&set, &status).await?;
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
