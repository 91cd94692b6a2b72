//! Namespace: empties a namespace that is going away, of every resource that the server serves, and lets it go.
//!
//! Watches Namespaces, and pods to learn when the last one is gone. A resource that cannot be listed or a group that
//! cannot be discovered keeps the namespace: not knowing is not emptiness.

mod plan;
#[cfg(test)]
mod tests;

use crate::shared::Shared;
use async_trait::async_trait;
use keelson_harness::{
    Api, ApiError, Informer, Meta, ObjectKey, Resource, Timestamp,
    api::{DeleteOptions, NAMESPACES, PatchKind, Propagation},
    controller::{self, Next, Queue, Reconcile, ReconcileError},
    discovery::{self, Served},
    views::{MetaOnly, Namespace},
};
use plan::Findings;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// The finalizer that stands for "its content is not deleted".
const FINALIZER: &str = "kubernetes";
/// How soon to look again at content that no pod event announces: finalizers of other controllers.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

pub(crate) struct Namespaces {
    shared: Shared,
    namespaces: Arc<Informer<Namespace>>,
}

pub(crate) async fn run(shared: Shared) {
    let (namespaces, pods) = (shared.informers.namespaces(), shared.informers.pods());
    let shutdown = shared.shutdown.clone();
    let this = Arc::new(Namespaces { shared, namespaces: namespaces.clone() });
    let queue = Queue::<Namespaces>::default();
    let q = queue.clone();
    namespaces.subscribe(&shutdown, move |change| {
        if change.new.as_ref().is_some_and(|n| n.metadata.is_deleting()) {
            q.add(change.latest().metadata.key());
        }
    });
    let (me, q) = (this.clone(), queue.clone());
    pods.subscribe(&shutdown, move |change| {
        let key = ObjectKey { namespace: "".into(), name: change.latest().metadata.namespace.clone() };
        if change.new.is_none() && me.namespaces.get(&key).is_some_and(|n| n.metadata.is_deleting()) {
            q.add(key);
        }
    });
    if namespaces.synced().await && pods.synced().await {
        controller::run(this, queue, shutdown).await;
    }
}

impl Namespaces {
    async fn empty(&self, namespace: &str) -> Result<Findings, ApiError> {
        let found = discovery::discover(&self.shared.api).await?;
        let mut findings = Findings { undiscovered: found.failed.clone(), ..Findings::default() };
        for wave in plan::waves(&found.resources) {
            for served in wave {
                if let Err(e) = empty_of(&self.shared.api, namespace, served, &mut findings).await {
                    findings.failures.push(e.message());
                }
            }
            if !findings.is_empty() {
                break;
            }
        }
        Ok(findings)
    }

    async fn report(&self, live: &Value, name: &str, findings: &Findings) -> Result<(), ApiError> {
        let conditions = plan::conditions(findings, &live["status"]["conditions"], Timestamp::now());
        if live["status"]["phase"] == "Terminating" && live["status"]["conditions"] == json!(conditions) {
            return Ok(());
        }
        let patch = json!({"metadata": {"uid": live["metadata"]["uid"]},
                           "status": {"phase": "Terminating", "conditions": conditions}});
        let api = &self.shared.api;
        api.patch::<MetaOnly>(&NAMESPACES, None, name, Some("status"), PatchKind::Merge, &patch)
            .await
            .map(drop)
    }

    async fn finalize(&self, mut live: Value, name: &str) -> Result<(), ApiError> {
        if let Some(finalizers) = live["spec"]["finalizers"].as_array_mut() {
            finalizers.retain(|f| f != FINALIZER);
        }
        // Conditions were written meanwhile; the finalizer does not depend on them.
        if let Some(metadata) = live["metadata"].as_object_mut() {
            metadata.remove("resourceVersion");
        }
        match self.shared.api.replace::<MetaOnly>(&NAMESPACES, None, name, Some("finalize"), &live).await {
            Err(e) if e.is_not_found() => Ok(()),
            other => other.map(drop),
        }
    }
}

/// Deletes all objects of one resource and counts what stays.
async fn empty_of(
    api: &Api,
    namespace: &str,
    served: &Served,
    findings: &mut Findings,
) -> Result<(), ApiError> {
    let resource = &served.resource;
    if list(api, resource, namespace).await?.is_empty() {
        return Ok(());
    }
    if served.allows(&["deletecollection"]) {
        api.delete_collection(resource, namespace).await?;
    } else {
        for object in list(api, resource, namespace).await? {
            let options = DeleteOptions {
                propagation: Some(Propagation::Background),
                ..DeleteOptions::uid(&object.uid)
            };
            api.ensure_deleted(resource, Some(namespace), &object.name, &options).await?;
        }
    }
    for object in list(api, resource, namespace).await? {
        *findings.remaining.entry(resource.clone()).or_default() += 1;
        findings.grace_seconds =
            findings.grace_seconds.max(object.deletion_grace_period_seconds.unwrap_or(0));
        for finalizer in &object.finalizers {
            *findings.finalizers.entry(finalizer.to_string()).or_default() += 1;
        }
    }
    Ok(())
}

async fn list(api: &Api, resource: &Resource, namespace: &str) -> Result<Vec<Meta>, ApiError> {
    let (mut all, mut token) = (Vec::new(), String::new());
    loop {
        let page = api.list_page::<MetaOnly>(resource, Some(namespace), &token).await?;
        all.extend(page.items.into_iter().map(|o| o.metadata));
        token = page.metadata.r#continue;
        if token.is_empty() {
            return Ok(all);
        }
    }
}

#[async_trait]
impl Reconcile for Namespaces {
    type Key = ObjectKey;
    const NAME: &'static str = "namespace";

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let name = &*key.name;
        let Some(live) = self.shared.api.find::<Value>(&NAMESPACES, None, name).await? else {
            return Ok(Next::Wait);
        };
        let held = live["spec"]["finalizers"].as_array().is_some_and(|f| f.iter().any(|f| f == FINALIZER));
        if live["metadata"]["deletionTimestamp"].is_null() || !held {
            return Ok(Next::Wait);
        }
        let findings = self.empty(name).await?;
        self.report(&live, name, &findings).await?;
        if findings.is_empty() {
            self.finalize(live, name).await?;
            return Ok(Next::Wait);
        }
        if let Some(failure) = findings.failures.first() {
            return Err(failure.clone().into());
        }
        // Pods announce their end; the grace period is only when it would be due.
        Ok(Next::After(LOOK_AGAIN.max(Duration::from_secs(findings.grace_seconds.max(0) as u64 / 2))))
    }
}
