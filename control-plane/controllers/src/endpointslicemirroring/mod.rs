//! EndpointSlice mirroring: slices for the Endpoints that users keep by hand for Services without selector, so that
//! whoever reads slices alone (the data plane, DNS) sees them too.
//!
//! Watches Endpoints, Services and slices.

mod plan;

use crate::shared::Shared;
use async_trait::async_trait;
use keelson_harness::{
    IndexKey, Informer, ObjectKey, OwnerReference,
    api::{DeleteOptions, ENDPOINT_SLICES, ENDPOINTS, PatchKind},
    controller::{self, Next, Queue, Reconcile, ReconcileError},
    views::{EndpointSlice, Endpoints, MetaOnly, SERVICE_NAME, Service},
};
use plan::{Content, MANAGED_BY, MANAGER, Plan, annotations, is_mirrored, labels, plan};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

pub(crate) struct Mirror {
    shared: Shared,
    services: Arc<Informer<Service>>,
    endpoints: Arc<Informer<Endpoints>>,
    slices: Arc<Informer<EndpointSlice>>,
}

pub(crate) async fn run(shared: Shared) {
    let informers = &shared.informers;
    let (services, endpoints, slices) =
        (informers.services(), informers.endpoints(), informers.endpoint_slices());
    let shutdown = shared.shutdown.clone();
    let queue = Queue::<Mirror>::default();
    let this = Arc::new(Mirror {
        shared,
        services: services.clone(),
        endpoints: endpoints.clone(),
        slices: slices.clone(),
    });
    let q = queue.clone();
    services.subscribe(&shutdown, move |change| q.add(change.latest().metadata.key()));
    let q = queue.clone();
    endpoints.subscribe(&shutdown, move |change| q.add(change.latest().metadata.key()));
    let q = queue.clone();
    slices.subscribe(&shutdown, move |change| {
        let meta = &change.latest().metadata;
        if meta.labels.get(MANAGED_BY).is_some_and(|manager| manager == MANAGER)
            && let Some(service) = meta.labels.get(SERVICE_NAME)
        {
            q.add(ObjectKey { namespace: meta.namespace.clone(), name: service.as_str().into() });
        }
    });
    if services.synced().await && endpoints.synced().await && slices.synced().await {
        controller::run(this, queue, shutdown).await;
    }
}

impl Mirror {
    fn slices_of(&self, service: &ObjectKey) -> Vec<Arc<EndpointSlice>> {
        let mut slices = self.slices.by(&IndexKey::Service(service.clone()));
        slices.retain(|s| s.metadata.labels.get(MANAGED_BY).is_some_and(|m| m == MANAGER));
        slices
    }

    async fn execute(
        &self,
        key: &ObjectKey,
        endpoints: &Endpoints,
        plan: Plan,
    ) -> Result<(), ReconcileError> {
        let api = &self.shared.api;
        for (slice, content) in plan.update {
            let (patch, name) = (update(&slice, endpoints, &content), &slice.metadata.name);
            api.patch::<MetaOnly>(&ENDPOINT_SLICES, key.ns(), name, None, PatchKind::Merge, &patch).await?;
        }
        for content in plan.create {
            api.create::<MetaOnly>(&ENDPOINT_SLICES, key.ns(), &body(endpoints, &content)).await?;
        }
        self.delete(key, plan.delete).await
    }

    async fn delete(&self, key: &ObjectKey, slices: Vec<Arc<EndpointSlice>>) -> Result<(), ReconcileError> {
        for slice in slices {
            let options = DeleteOptions::uid(&slice.metadata.uid);
            self.shared
                .api
                .ensure_deleted(&ENDPOINT_SLICES, key.ns(), &slice.metadata.name, &options)
                .await?;
        }
        Ok(())
    }
}

/// The wanted entries, and null for those that are there and not wanted.
fn replaced(wanted: &BTreeMap<String, String>, there: &BTreeMap<String, String>) -> Value {
    let mut patch = json!(wanted);
    for stale in there.keys().filter(|key| !wanted.contains_key(*key)) {
        patch[stale] = Value::Null;
    }
    patch
}

fn update(slice: &EndpointSlice, endpoints: &Endpoints, content: &Content) -> Value {
    json!({
        "metadata": {
            "resourceVersion": slice.metadata.resource_version,
            "labels": replaced(&labels(endpoints), &slice.metadata.labels),
            "annotations": replaced(&annotations(endpoints), &slice.metadata.annotations),
        },
        "endpoints": content.endpoints, "ports": content.ports,
    })
}

fn body(endpoints: &Endpoints, content: &Content) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": content.name, "namespace": endpoints.metadata.namespace,
            "labels": labels(endpoints), "annotations": annotations(endpoints),
            "ownerReferences": [OwnerReference::controller_of(&ENDPOINTS, &endpoints.metadata)],
        },
        "addressType": content.family, "endpoints": content.endpoints, "ports": content.ports,
    })
}

#[async_trait]
impl Reconcile for Mirror {
    type Key = ObjectKey;
    const NAME: &'static str = "endpointslicemirroring";

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let slices = self.slices_of(key);
        let service = self.services.get(key);
        let found = self.endpoints.get(key).filter(|found| is_mirrored(found, service.as_deref()));
        let Some(endpoints) = found else {
            self.delete(key, slices).await?;
            return Ok(Next::Wait);
        };
        match self.execute(key, &endpoints, plan(&endpoints, slices)).await {
            Err(error) => {
                let api = error.downcast_ref::<keelson_harness::ApiError>();
                // The watch has yet to show the slice that is there already: its event brings the key back.
                if api.is_some_and(|e| e.is_namespace_terminating() || e.is_already_exists()) {
                    return Ok(Next::Wait);
                }
                Err(error)
            }
            Ok(()) => Ok(Next::Wait),
        }
    }
}
