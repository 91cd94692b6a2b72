//! Endpoints: for each Service with a selector, the object of the same name that showed its pods before there were slices.
//! Deprecated since Kubernetes 1.33, served and written still; nothing of ours reads it.
//!
//! Watches Services, pods and Endpoints. Endpoints that users keep for Services without selector are untouched.

mod plan;

use crate::{
    endpointslice::{selects, shown, trigger},
    shared::Shared,
};
use async_trait::async_trait;
use keelson_harness::{
    Change, IndexKey, Informer, ObjectKey, Timestamp,
    api::{DeleteOptions, ENDPOINTS, PatchKind},
    controller::{self, Next, Queue, Reconcile, ReconcileError},
    views::{Endpoints, MetaOnly, Pod, Service},
};
use parking_lot::Mutex;
use plan::Plan;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const MANAGER: &str = "endpoint-controller";
const HEADLESS: &str = "service.kubernetes.io/headless";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";

pub(crate) struct AllEndpoints {
    shared: Shared,
    services: Arc<Informer<Service>>,
    pods: Arc<Informer<Pod>>,
    endpoints: Arc<Informer<Endpoints>>,
    /// What of each Service and its pods the last change was about.
    triggers: Mutex<HashMap<ObjectKey, trigger::Seen>>,
}

pub(crate) async fn run(shared: Shared) {
    let informers = &shared.informers;
    let (services, pods, endpoints) = (informers.services(), informers.pods(), informers.endpoints());
    let shutdown = shared.shutdown.clone();
    let this = Arc::new(AllEndpoints {
        shared,
        services: services.clone(),
        pods: pods.clone(),
        endpoints: endpoints.clone(),
        triggers: Mutex::default(),
    });
    let queue = Queue::<AllEndpoints>::default();
    let q = queue.clone();
    services.subscribe(&shutdown, move |change| q.add(change.latest().metadata.key()));
    let q = queue.clone();
    endpoints.subscribe(&shutdown, move |change| q.add(change.latest().metadata.key()));
    let (me, q) = (this.clone(), queue.clone());
    pods.subscribe(&shutdown, move |change| me.pod_changed(change, &q));
    if services.synced().await && pods.synced().await && endpoints.synced().await {
        controller::run(this, queue, shutdown).await;
    }
}

impl AllEndpoints {
    fn pod_changed(&self, change: &Change<Pod>, queue: &Queue<AllEndpoints>) {
        if let (Some(old), Some(new)) = (&change.old, &change.new)
            && shown(old) == shown(new)
        {
            return;
        }
        let namespace = change.latest().metadata.namespace.clone();
        for service in self.services.by(&IndexKey::Namespace(namespace)) {
            if change.sides().any(|pod| selects(&service, pod)) {
                queue.add(service.metadata.key());
            }
        }
    }

    async fn write(
        &self,
        service: &Service,
        found: Option<&Endpoints>,
        plan: &Plan,
        trigger: Option<Timestamp>,
    ) -> Result<(), ReconcileError> {
        let (key, api, labels) = (service.metadata.key(), &self.shared.api, labels(service));
        let over = plan.truncated.then_some("truncated");
        let annotations = json!({trigger::ANNOTATION: trigger, OVER_CAPACITY: over});
        let Some(found) = found else {
            let object = json!({
                "apiVersion": "v1", "kind": "Endpoints", "subsets": plan.subsets,
                "metadata": {"name": key.name, "namespace": key.namespace, "labels": labels,
                             "annotations": without_nulls(annotations)},
            });
            return Ok(api.create::<MetaOnly>(&ENDPOINTS, key.ns(), &object).await.map(drop)?);
        };
        let same = found.subsets == plan.subsets
            && *found.metadata.labels == labels
            && found.metadata.annotation(OVER_CAPACITY) == over;
        if same {
            return Ok(());
        }
        let mut patched = json!(labels);
        for stale in found.metadata.labels.keys().filter(|key| !labels.contains_key(*key)) {
            patched[stale] = Value::Null;
        }
        let patch = json!({
            "metadata": {"resourceVersion": found.metadata.resource_version, "labels": patched,
                         "annotations": annotations},
            "subsets": plan.subsets,
        });
        let name = &key.name;
        let written = api.patch::<MetaOnly>(&ENDPOINTS, key.ns(), name, None, PatchKind::Merge, &patch).await;
        Ok(written.map(drop)?)
    }
}

/// Those of the Service, and what says whose they are.
fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = (*service.metadata.labels).clone();
    labels.remove(HEADLESS);
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    if service.spec.cluster_ip.is_empty() || service.spec.cluster_ip == "None" {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels
}

fn without_nulls(mut object: Value) -> Value {
    if let Some(map) = object.as_object_mut() {
        map.retain(|_, value| !value.is_null());
    }
    object
}

#[async_trait]
impl Reconcile for AllEndpoints {
    type Key = ObjectKey;
    const NAME: &'static str = "endpoints";

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let found = self.endpoints.get(key);
        let Some(service) = self.services.get(key) else {
            self.triggers.lock().remove(key);
            let ours = |e: &Arc<Endpoints>| e.metadata.labels.get(MANAGED_BY).is_some_and(|m| m == MANAGER);
            if let Some(found) = found.filter(ours) {
                let options = DeleteOptions::uid(&found.metadata.uid);
                self.shared.api.ensure_deleted(&ENDPOINTS, key.ns(), &key.name, &options).await?;
            }
            return Ok(Next::Wait);
        };
        if service.spec.selector.is_empty()
            || service.spec.r#type == "ExternalName"
            || service.metadata.is_deleting()
        {
            return Ok(Next::Wait);
        }
        let mut pods = self.pods.by(&IndexKey::Namespace(key.namespace.clone()));
        pods.retain(|pod| selects(&service, pod));
        let plan = plan::plan(&service, &pods);
        let (seen, trigger) = trigger::look(self.triggers.lock().get(key), &service, &pods);
        match self.write(&service, found.as_deref(), &plan, trigger).await {
            Err(error) => {
                let api = error.downcast_ref::<keelson_harness::ApiError>();
                if api.is_some_and(|e| e.is_namespace_terminating()) {
                    return Ok(Next::Wait);
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
