//! Deployment: rolls ReplicaSets from one template to the next, keeps history, reports progress.
//!
//! Watches Deployments, ReplicaSets, and pods for Recreate. Owns its ReplicaSets' creation, size, annotations and
//! deletion, and the Deployment's revision annotation and status. Never touches pods.

mod bounds;
mod execute;
mod plan;
mod revision;
mod status;
mod template;
#[cfg(test)]
mod tests;

use crate::{claim, shared::Shared};
use async_trait::async_trait;
use keelson_harness::{
    IndexKey, Informer, Meta, ObjectKey, Timestamp,
    api::DEPLOYMENTS,
    controller::{self, Next, Queue, Reconcile, ReconcileError},
    events::Recorder,
    views::{Deployment, Pod, ReplicaSet},
};
use plan::{Plan, Snapshot};
use std::sync::Arc;

pub(crate) struct Deployments {
    shared: Shared,
    deployments: Arc<Informer<Deployment>>,
    sets: Arc<Informer<ReplicaSet>>,
    pods: Arc<Informer<Pod>>,
    recorder: Recorder,
}

pub(crate) async fn run(shared: Shared) {
    let informers = &shared.informers;
    let (deployments, sets, pods) = (informers.deployments(), informers.replica_sets(), informers.pods());
    let recorder = shared.recorder("deployment-controller");
    let shutdown = shared.shutdown.clone();
    let this = Arc::new(Deployments {
        shared,
        deployments: deployments.clone(),
        sets: sets.clone(),
        pods: pods.clone(),
        recorder,
    });
    let queue = Queue::<Deployments>::default();
    subscribe(&this, &queue);
    if deployments.synced().await && sets.synced().await && pods.synced().await {
        controller::run(this, queue, shutdown).await;
    }
}

fn subscribe(this: &Arc<Deployments>, queue: &Queue<Deployments>) {
    let q = queue.clone();
    this.deployments.subscribe(&this.shared.shutdown, move |change| q.add(change.latest().metadata.key()));
    let (me, q) = (this.clone(), queue.clone());
    this.sets.subscribe(&this.shared.shutdown, move |change| {
        let mut owned = false;
        for key in change.sides().filter_map(|s| owner(&s.metadata)) {
            owned = true;
            q.add(key);
        }
        if !owned && change.new.is_some() {
            me.wake_adopters(&change.latest().metadata, &q);
        }
    });
    let (me, q) = (this.clone(), queue.clone());
    // Only Recreate waits for pods, for the last one to end.
    this.pods.subscribe(&this.shared.shutdown, move |change| {
        let ended = change.new.as_ref().is_none_or(|p| p.is_finished());
        if ended && let Some(key) = me.owner_of_pod(change.latest()) {
            q.add(key);
        }
    });
}

/// The key of the Deployment that controls an object.
fn owner(meta: &Meta) -> Option<ObjectKey> {
    let reference = meta.controller().filter(|o| &*o.kind == "Deployment")?;
    Some(ObjectKey { namespace: meta.namespace.clone(), name: reference.name.clone() })
}

impl Deployments {
    fn wake_adopters(&self, set: &Meta, queue: &Queue<Deployments>) {
        if set.controller().is_some() {
            return;
        }
        let all = self.deployments.by(&IndexKey::Namespace(set.namespace.clone())).into_iter();
        all.filter(|d| d.spec.selector.matches(&set.labels)).for_each(|d| queue.add(d.metadata.key()));
    }

    fn owner_of_pod(&self, pod: &Pod) -> Option<ObjectKey> {
        let set = pod.metadata.controller().filter(|o| &*o.kind == "ReplicaSet")?;
        let key = ObjectKey { namespace: pod.metadata.namespace.clone(), name: set.name.clone() };
        let owner = owner(&self.sets.get(&key)?.metadata)?;
        self.deployments.get(&owner).filter(|d| !bounds::is_rolling(&d.spec)).map(|_| owner)
    }
}

impl Deployments {
    fn plan(&self, deployment: &Deployment, sets: &[Arc<ReplicaSet>]) -> Result<Plan, serde_json::Error> {
        let with_pods = |set: &ReplicaSet| {
            let pods = self.pods.by(&IndexKey::Controller(set.metadata.uid.clone()));
            pods.iter().any(|p| !p.is_finished())
        };
        plan::plan(&Snapshot { deployment, sets, with_pods: &with_pods, now: Timestamp::now() })
    }
}

#[async_trait]
impl Reconcile for Deployments {
    type Key = ObjectKey;
    const NAME: &'static str = "deployment";

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let Some(deployment) = self.deployments.get(key) else { return Ok(Next::Wait) };
        if deployment.spec.selector.is_empty() {
            let message = "This deployment is selecting all pods. A non-empty selector is required.";
            self.recorder.warning(&DEPLOYMENTS, &deployment.metadata, "SelectingAll", message);
            return Ok(Next::Wait);
        }
        let meta = &deployment.metadata;
        let referring = self.sets.by(&IndexKey::Controller(meta.uid.clone()));
        let orphans = self.sets.by(&IndexKey::Orphans(meta.namespace.clone()));
        let claims = claim::claim(meta, &deployment.spec.selector, referring, orphans);
        if claim::execute(&self.shared.api, &DEPLOYMENTS, meta, &claims).await? {
            // The sets change; their events bring the key back.
            return Ok(Next::Wait);
        }
        let plan = self.plan(&deployment, &claims.owned)?;
        self.execute(&deployment, &plan).await?;
        Ok(plan.recheck.map_or(Next::Wait, Next::After))
    }
}
