//! Executes a plan: new ReplicaSet, changed ones, deleted ones, revision, status. Each write of an existing set names the
//! resourceVersion that was planned with, so that a stale cache costs a retry and never a wrong size.

use super::{
    Deployments,
    plan::{Plan, Set},
    revision::REVISION,
    template::{self, POD_TEMPLATE_HASH},
};
use crate::condition;
use keelson_harness::{
    ApiError, OwnerReference,
    api::{DEPLOYMENTS, DeleteOptions, PatchKind, REPLICA_SETS},
    controller::ReconcileError,
    views::{Deployment, DeploymentStatus, MetaOnly, ReplicaSet},
};
use serde_json::{Value, json};

#[derive(Debug, thiserror::Error)]
#[error("the name of the new ReplicaSet {0:?} is taken; the hash is computed anew")]
struct Collision(String);

impl Deployments {
    pub(super) async fn execute(&self, deployment: &Deployment, plan: &Plan) -> Result<(), ReconcileError> {
        for set in plan.new.iter().chain(&plan.old) {
            match &set.existing {
                None => self.create(deployment, set).await?,
                Some(existing) if set.delete => self.delete(existing).await?,
                Some(existing) if set.is_changed() => self.change(deployment, set, existing).await?,
                Some(_) => {}
            }
        }
        if let Some(revision) = plan.revision {
            let patch = json!({"metadata": {"uid": deployment.metadata.uid,
                                            "annotations": {REVISION: revision.to_string()}}});
            self.patch(deployment, None, &patch).await?;
        }
        if plan.status != deployment.status {
            self.patch(deployment, Some("status"), &status_patch(deployment, &plan.status)).await?;
        }
        Ok(())
    }

    async fn patch(&self, deployment: &Deployment, sub: Option<&str>, patch: &Value) -> Result<(), ApiError> {
        let (ns, name) = (&deployment.metadata.namespace, &deployment.metadata.name);
        self.shared
            .api
            .patch::<MetaOnly>(&DEPLOYMENTS, Some(ns), name, sub, PatchKind::Merge, patch)
            .await
            .map(drop)
    }

    async fn create(&self, deployment: &Deployment, set: &Set) -> Result<(), ReconcileError> {
        let body = set_body(deployment, set);
        let ns = Some(&*deployment.metadata.namespace);
        match self.shared.api.create::<MetaOnly>(&REPLICA_SETS, ns, &body).await {
            Ok(_) => {
                self.tell_scaled(deployment, &set.name, 0, set.replicas);
                Ok(())
            }
            Err(e) if e.is_already_exists() => self.collided(deployment, set).await,
            Err(e) if e.is_namespace_terminating() => Ok(()),
            Err(e) => {
                let message = format!("Failed to create new replica set {:?}: {}", set.name, e.message());
                self.recorder.warning(&DEPLOYMENTS, &deployment.metadata, "ReplicaSetCreateError", message);
                Err(e.into())
            }
        }
    }

    /// The name is taken: by our own set that the cache does not show yet, or by a different template with this hash.
    async fn collided(&self, deployment: &Deployment, set: &Set) -> Result<(), ReconcileError> {
        let ns = Some(&*deployment.metadata.namespace);
        let taken = self.shared.api.find::<ReplicaSet>(&REPLICA_SETS, ns, &set.name).await?;
        let wanted = template::comparable(&deployment.spec.template)?;
        let ours = |s: &ReplicaSet| {
            s.metadata.is_controlled_by(&deployment.metadata.uid) && template::is_of(s, &wanted)
        };
        if taken.is_some_and(|s| ours(&s)) {
            return Err(format!("the new ReplicaSet {:?} is not yet in the cache", set.name).into());
        }
        let count = deployment.status.collision_count.unwrap_or(0) + 1;
        let patch = json!({"metadata": {"resourceVersion": deployment.metadata.resource_version},
                           "status": {"collisionCount": count}});
        self.patch(deployment, Some("status"), &patch).await?;
        Err(Collision(set.name.clone()).into())
    }

    async fn change(
        &self,
        deployment: &Deployment,
        set: &Set,
        existing: &ReplicaSet,
    ) -> Result<(), ApiError> {
        let patch = json!({
            "metadata": {"resourceVersion": existing.metadata.resource_version, "annotations": set.annotations},
            "spec": {"replicas": set.replicas, "minReadySeconds": set.min_ready_seconds},
        });
        let (ns, name) = (&existing.metadata.namespace, &existing.metadata.name);
        let api = &self.shared.api;
        api.patch::<MetaOnly>(&REPLICA_SETS, Some(ns), name, None, PatchKind::Merge, &patch).await?;
        self.tell_scaled(deployment, &set.name, existing.spec.replicas, set.replicas);
        Ok(())
    }

    async fn delete(&self, existing: &ReplicaSet) -> Result<(), ApiError> {
        let (ns, name) = (&existing.metadata.namespace, &existing.metadata.name);
        let options = DeleteOptions::uid(&existing.metadata.uid);
        self.shared.api.ensure_deleted(&REPLICA_SETS, Some(ns), name, &options).await
    }

    fn tell_scaled(&self, deployment: &Deployment, set: &str, from: i32, to: i32) {
        let direction = match to.cmp(&from) {
            std::cmp::Ordering::Greater => "up",
            std::cmp::Ordering::Less => "down",
            std::cmp::Ordering::Equal => return,
        };
        let message = format!("Scaled {direction} replica set {set} from {from} to {to}");
        self.recorder.normal(&DEPLOYMENTS, &deployment.metadata, "ScalingReplicaSet", message);
    }
}

fn set_body(deployment: &Deployment, set: &Set) -> Value {
    let template = set.template.as_ref().expect("a set without a template exists already");
    let mut selector = json!(deployment.spec.selector.spec());
    selector["matchLabels"][POD_TEMPLATE_HASH] = template.hash.as_str().into();
    json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {
            "name": set.name, "namespace": deployment.metadata.namespace,
            "labels": template.template["metadata"]["labels"], "annotations": set.annotations,
            "ownerReferences": [OwnerReference::controller_of(&DEPLOYMENTS, &deployment.metadata)],
        },
        "spec": {
            "replicas": set.replicas, "minReadySeconds": set.min_ready_seconds,
            "selector": selector, "template": template.template,
        },
    })
}

fn status_patch(deployment: &Deployment, status: &DeploymentStatus) -> Value {
    let conditions: Vec<Value> = status.conditions.iter().map(condition::to_json).collect();
    json!({"metadata": {"uid": deployment.metadata.uid}, "status": {
        "observedGeneration": status.observed_generation,
        "replicas": status.replicas,
        "updatedReplicas": status.updated_replicas,
        "readyReplicas": status.ready_replicas,
        "availableReplicas": status.available_replicas,
        "unavailableReplicas": status.unavailable_replicas,
        "terminatingReplicas": status.terminating_replicas,
        "collisionCount": status.collision_count,
        "conditions": conditions,
    }})
}
