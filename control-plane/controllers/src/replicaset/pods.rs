//! Executes a plan: creates pods in batches that double while they succeed, deletes the surplus at once.

use super::{
    ReplicaSets, Replicated,
    plan::{Failure, Plan},
};
use futures::future::join_all;
use keelson_harness::{
    ApiError, OwnerReference, Resource,
    api::{DeleteOptions, PODS},
    views::{MetaOnly, Pod, ReplicaSet},
};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use tokio::time::Instant;

/// A quota or a webhook that refuses one pod refuses all: the first batch finds out with a single request.
const FIRST_BATCH: usize = 1;

impl<K: Replicated> ReplicaSets<K> {
    pub(super) async fn execute(&self, set: &ReplicaSet, plan: Plan) -> Option<Failure> {
        if plan.create > 0 {
            return self.create(set, plan.create).await;
        }
        if !plan.delete.is_empty() {
            return self.delete(set, &plan.delete).await;
        }
        None
    }

    async fn create(&self, set: &ReplicaSet, wanted: usize) -> Option<Failure> {
        let key = set.metadata.key();
        let pod = match pod_of(&K::RESOURCE, set) {
            Ok(pod) => pod,
            Err(e) => return Some(Failure { reason: "FailedCreate", message: e.to_string() }),
        };
        self.expectations.expect_creates(&key, wanted, Instant::now());
        let (mut done, mut batch) = (0, FIRST_BATCH);
        let mut failure = None;
        while done < wanted && failure.is_none() {
            let size = batch.min(wanted - done);
            let results = join_all((0..size).map(|_| self.create_one(set, &pod))).await;
            let failed = results.iter().filter(|r| r.is_err()).count();
            self.expectations.created(&key, failed);
            failure = results.into_iter().find_map(Result::err);
            done += size;
            batch *= 2;
        }
        self.expectations.created(&key, wanted - done);
        let error = failure.filter(|e| !e.is_namespace_terminating())?;
        Some(Failure { reason: "FailedCreate", message: error.message() })
    }

    async fn create_one(&self, set: &ReplicaSet, pod: &Value) -> Result<(), ApiError> {
        let meta = &set.metadata;
        match self.shared.api.create::<MetaOnly>(&PODS, Some(&meta.namespace), pod).await {
            Ok(pod) => {
                let message = format!("Created pod: {}", pod.metadata.name);
                self.recorder.normal(&K::RESOURCE, meta, "SuccessfulCreate", message);
                Ok(())
            }
            Err(e) => {
                if !e.is_namespace_terminating() {
                    let message = format!("Error creating: {}", e.message());
                    self.recorder.warning(&K::RESOURCE, meta, "FailedCreate", message);
                }
                Err(e)
            }
        }
    }

    async fn delete(&self, set: &ReplicaSet, pods: &[Arc<Pod>]) -> Option<Failure> {
        let key = set.metadata.key();
        let uids = pods.iter().map(|p| p.metadata.uid.clone());
        self.expectations.expect_deletes(&key, uids, Instant::now());
        let results = join_all(pods.iter().map(|pod| self.delete_one(set, pod))).await;
        let error = results.into_iter().find_map(Result::err)?;
        Some(Failure { reason: "FailedDelete", message: error.message() })
    }

    async fn delete_one(&self, set: &ReplicaSet, pod: &Pod) -> Result<(), ApiError> {
        let (meta, name) = (&pod.metadata, &pod.metadata.name);
        let options = DeleteOptions::uid(&meta.uid);
        let result = self.shared.api.delete(&PODS, Some(&meta.namespace), name, &options).await;
        match result {
            Ok(()) => {
                let message = format!("Deleted pod: {name}");
                self.recorder.normal(&K::RESOURCE, &set.metadata, "SuccessfulDelete", message);
                Ok(())
            }
            Err(e) => {
                self.expectations.deleted(&set.metadata.key(), &meta.uid);
                // Gone without us, or another pod by that name: the number is what was wanted.
                if e.is_not_found() || e.is_conflict() {
                    return Ok(());
                }
                let message = format!("Error deleting: {}", e.message());
                self.recorder.warning(&K::RESOURCE, &set.metadata, "FailedDelete", message);
                Err(e)
            }
        }
    }
}

/// The pod of a template: its labels, annotations, finalizers and spec, a generated name, and the owner.
pub(super) fn pod_of(owner: &Resource, set: &ReplicaSet) -> Result<Value, serde_json::Error> {
    let mut template: Value = serde_json::from_str(set.spec.template.get())?;
    let mut metadata = Map::new();
    for field in ["labels", "annotations", "finalizers"] {
        match template["metadata"][field].take() {
            Value::Null => {}
            value => drop(metadata.insert(field.to_owned(), value)),
        }
    }
    metadata.insert("generateName".to_owned(), format!("{}-", set.metadata.name).into());
    metadata.insert("namespace".to_owned(), (&*set.metadata.namespace).into());
    let owner = OwnerReference::controller_of(owner, &set.metadata);
    metadata.insert("ownerReferences".to_owned(), json!([owner]));
    Ok(json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"].take()}))
}
