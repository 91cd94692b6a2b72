//! EndpointSlice: for each Service with a selector, slices that name its pods and their conditions.
//!
//! Watches Services, pods, slices and nodes' zones. A pod that turns unready or starts to terminate is written at
//! once: connections go where the slices say. Services without selector and slices of other managers are untouched.

pub(crate) mod endpoints;
mod plan;
#[cfg(test)]
mod tests;
pub(crate) mod trigger;

use crate::shared::Shared;
use async_trait::async_trait;
use keelson_harness::{
    Change, IndexKey, Informer, ObjectKey, OwnerReference, Timestamp,
    api::{DeleteOptions, ENDPOINT_SLICES, PatchKind, SERVICES},
    controller::{self, Next, Queue, Reconcile, ReconcileError},
    events::Recorder,
    views::{EndpointSlice, MetaOnly, Node, Pod, SERVICE_NAME, Service},
};
use parking_lot::Mutex;
use plan::{Content, MANAGED_BY, MANAGER, Plan};
use serde_json::{Value, json};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::time::Instant;

const ZONE: &str = "topology.kubernetes.io/zone";
/// A created slice that the watch does not show within this time is no longer waited for.
const UNSEEN_MAX: Duration = Duration::from_secs(60);

pub(crate) struct EndpointSlices {
    shared: Shared,
    services: Arc<Informer<Service>>,
    pods: Arc<Informer<Pod>>,
    slices: Arc<Informer<EndpointSlice>>,
    nodes: Arc<Informer<Node>>,
    recorder: Recorder,
    /// What of each Service and its pods the slices' last change was about.
    triggers: Mutex<HashMap<ObjectKey, trigger::Seen>>,
    /// Slices that were created and are not yet in the cache, by Service.
    unseen: Mutex<HashMap<ObjectKey, (Vec<ObjectKey>, Instant)>>,
}

pub(crate) async fn run(shared: Shared) {
    let informers = &shared.informers;
    let (services, pods) = (informers.services(), informers.pods());
    let (slices, nodes) = (informers.endpoint_slices(), informers.nodes());
    let recorder = shared.recorder("endpoint-slice-controller");
    let shutdown = shared.shutdown.clone();
    let this = Arc::new(EndpointSlices {
        shared,
        services: services.clone(),
        pods: pods.clone(),
        slices: slices.clone(),
        nodes: nodes.clone(),
        recorder,
        triggers: Mutex::default(),
        unseen: Mutex::default(),
    });
    let queue = Queue::<EndpointSlices>::default();
    subscribe(&this, &queue);
    if services.synced().await && pods.synced().await && slices.synced().await && nodes.synced().await {
        controller::run(this, queue, shutdown).await;
    }
}

fn subscribe(this: &Arc<EndpointSlices>, queue: &Queue<EndpointSlices>) {
    let q = queue.clone();
    this.services.subscribe(&this.shared.shutdown, move |change| q.add(change.latest().metadata.key()));
    let q = queue.clone();
    this.slices.subscribe(&this.shared.shutdown, move |change| {
        let slice = &change.latest().metadata;
        if slice.labels.get(MANAGED_BY).is_some_and(|m| m == MANAGER)
            && let Some(service) = slice.labels.get(SERVICE_NAME)
        {
            q.add(ObjectKey { namespace: slice.namespace.clone(), name: service.as_str().into() });
        }
    });
    let (me, q) = (this.clone(), queue.clone());
    this.pods.subscribe(&this.shared.shutdown, move |change| me.pod_changed(change, &q));
    let (me, q) = (this.clone(), queue.clone());
    this.nodes.subscribe(&this.shared.shutdown, move |change| me.node_changed(change, &q));
}

/// What of a pod an endpoint shows.
pub(crate) fn shown(pod: &Pod) -> impl PartialEq + '_ {
    let labels = &pod.metadata.labels;
    (&pod.status.ips, pod.is_ready(), pod.metadata.is_deleting(), pod.is_finished(), &pod.node_name, labels)
}

impl EndpointSlices {
    fn pod_changed(&self, change: &Change<Pod>, queue: &Queue<EndpointSlices>) {
        if let (Some(old), Some(new)) = (&change.old, &change.new)
            && shown(old) == shown(new)
        {
            return;
        }
        let pod = change.latest();
        for service in self.services.by(&IndexKey::Namespace(pod.metadata.namespace.clone())) {
            if change.sides().any(|p| selects(&service, p)) {
                queue.add(service.metadata.key());
            }
        }
    }

    /// A node that came or moved to another zone takes its pods' endpoints with it.
    fn node_changed(&self, change: &Change<Node>, queue: &Queue<EndpointSlices>) {
        let zone =
            |node: &Option<Arc<Node>>| node.as_ref().and_then(|n| n.metadata.labels.get(ZONE).cloned());
        if zone(&change.old) == zone(&change.new) {
            return;
        }
        for pod in self.pods.by(&IndexKey::Node(change.latest().metadata.name.clone())) {
            for service in self.services.by(&IndexKey::Namespace(pod.metadata.namespace.clone())) {
                if selects(&service, &pod) {
                    queue.add(service.metadata.key());
                }
            }
        }
    }

    fn pods_of(&self, service: &Service) -> Vec<Arc<Pod>> {
        let mut pods = self.pods.by(&IndexKey::Namespace(service.metadata.namespace.clone()));
        pods.retain(|p| selects(service, p));
        pods
    }

    fn slices_of(&self, service: &ObjectKey) -> Vec<Arc<EndpointSlice>> {
        let mut slices = self.slices.by(&IndexKey::Service(service.clone()));
        slices.retain(|s| s.metadata.labels.get(MANAGED_BY).is_some_and(|m| m == MANAGER));
        slices
    }

    fn zone(&self, node: &str) -> Option<String> {
        self.nodes.get(&ObjectKey::new("", node))?.metadata.labels.get(ZONE).cloned()
    }

    /// While a slice that we created is not in the cache, the plan would create it again. Its event brings the key back.
    fn must_wait(&self, service: &ObjectKey) -> Option<Duration> {
        let mut all = self.unseen.lock();
        let (slices, since) = all.get_mut(service)?;
        slices.retain(|slice| self.slices.get(slice).is_none());
        let left = UNSEEN_MAX.saturating_sub(since.elapsed());
        if slices.is_empty() || left.is_zero() {
            all.remove(service);
            return None;
        }
        Some(left)
    }

    async fn execute(
        &self,
        service: &Service,
        plan: Plan,
        trigger: Option<Timestamp>,
    ) -> Result<(), ReconcileError> {
        let api = &self.shared.api;
        let ns = Some(&*service.metadata.namespace);
        let labels = plan::labels(service);
        // Updates first: they take endpoints away, and those must stop receiving before new ones are added.
        for (slice, content) in plan.update {
            let patch = update(&slice, &content, &labels, trigger);
            let name = &slice.metadata.name;
            api.patch::<MetaOnly>(&ENDPOINT_SLICES, ns, name, None, PatchKind::Merge, &patch).await?;
        }
        for content in plan.create {
            let made: MetaOnly =
                api.create(&ENDPOINT_SLICES, ns, &body(service, &content, &labels, trigger)).await?;
            let mut unseen = self.unseen.lock();
            let entry = unseen.entry(service.metadata.key()).or_insert_with(|| (Vec::new(), Instant::now()));
            entry.0.push(made.metadata.key());
        }
        for slice in plan.delete {
            let options = DeleteOptions::uid(&slice.metadata.uid);
            api.ensure_deleted(&ENDPOINT_SLICES, ns, &slice.metadata.name, &options).await?;
        }
        Ok(())
    }
}

pub(crate) fn selects(service: &Service, pod: &Pod) -> bool {
    let selector = &service.spec.selector;
    !selector.is_empty() && selector.iter().all(|(k, v)| pod.metadata.labels.get(k) == Some(v))
}

fn update(
    slice: &EndpointSlice,
    content: &Content,
    labels: &std::collections::BTreeMap<String, String>,
    trigger: Option<Timestamp>,
) -> Value {
    let mut patched = json!(labels);
    for stale in slice.metadata.labels.keys().filter(|k| !labels.contains_key(*k)) {
        patched[stale] = Value::Null;
    }
    json!({
        "metadata": {"resourceVersion": slice.metadata.resource_version, "labels": patched,
                     "annotations": {trigger::ANNOTATION: trigger}},
        "endpoints": content.endpoints, "ports": content.group.ports,
    })
}

fn body(
    service: &Service,
    content: &Content,
    labels: &std::collections::BTreeMap<String, String>,
    trigger: Option<Timestamp>,
) -> Value {
    let mut slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "generateName": format!("{}-", service.metadata.name),
            "namespace": service.metadata.namespace, "labels": labels,
            "ownerReferences": [OwnerReference::controller_of(&SERVICES, &service.metadata)],
        },
        "addressType": content.group.family, "endpoints": content.endpoints, "ports": content.group.ports,
    });
    if let Some(trigger) = trigger {
        slice["metadata"]["annotations"] = json!({trigger::ANNOTATION: trigger});
    }
    slice
}

#[async_trait]
impl Reconcile for EndpointSlices {
    type Key = ObjectKey;
    const NAME: &'static str = "endpointslice";

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let Some(service) = self.services.get(key) else {
            // The slices go with their owner, by the garbage collector.
            self.unseen.lock().remove(key);
            self.triggers.lock().remove(key);
            return Ok(Next::Wait);
        };
        if service.spec.selector.is_empty()
            || service.spec.r#type == "ExternalName"
            || service.metadata.is_deleting()
        {
            return Ok(Next::Wait);
        }
        if let Some(left) = self.must_wait(key) {
            return Ok(Next::After(left));
        }
        let pods = self.pods_of(&service);
        let desired = endpoints::desired(&service, pods.iter().map(|p| &**p), &|node| self.zone(node));
        let plan = plan::plan(&service, desired, self.slices_of(key));
        let (seen, trigger) = trigger::look(self.triggers.lock().get(key), &service, &pods);
        match self.execute(&service, plan, trigger).await {
            Err(error) => {
                let api = error.downcast_ref::<keelson_harness::ApiError>();
                if api.is_some_and(|e| e.is_namespace_terminating()) {
                    return Ok(Next::Wait);
                }
                if api.is_some_and(|e| !e.is_conflict() && !e.is_not_found()) {
                    let message = format!("Error updating Endpoint Slices for Service {key}: {error}");
                    self.recorder.warning(
                        &SERVICES,
                        &service.metadata,
                        "FailedToUpdateEndpointSlices",
                        message,
                    );
                }
                Err(error)
            }
            Ok(()) => {
                self.triggers.lock().insert(key.clone(), seen);
                Ok(Next::Wait)
            }
        }
    }
}
