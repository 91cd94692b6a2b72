//! Claims, volumes and classes that are in use are not removed: a finalizer holds them, which admission gives and which goes here
//! when nothing uses them any more.
//!
//! ```text
//!   claims, volumes, classes (metadata) ──▶ key ──▶ live object ──▶ plan ──▶ finalizers
//!   pods that go ──▶ keys of their claims
//! ```
//! Only metadata of the protected objects is followed. What is read before a finalizer goes is read from the API server: a cache
//! that lags would let a claim go under a pod.

mod plan;

use crate::shared::Shared;
use async_trait::async_trait;
use keelson_harness::{
    Informer, ObjectKey, Resource,
    api::{PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, PatchKind, VOLUME_ATTRIBUTES_CLASSES},
    controller::{self, Next, Queue, Reconcile, ReconcileError},
    informer::{Collection, METADATA, Sink, reflect},
    views::{MetaOnly, Pod},
};
use plan::Kind;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// How long something that goes and is in use waits for the next look: what uses a class tells nobody when it stops.
const AGAIN: Duration = Duration::from_secs(30);

/// One object to look at.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Work {
    kind: Kind,
    key: ObjectKey,
}

pub(crate) struct StorageProtection {
    shared: Shared,
    pods: Arc<Informer<Pod>>,
}

/// Wakes each object of a kind that changes; nothing is kept.
struct Wake {
    kind: Kind,
    queue: Queue<StorageProtection>,
}

impl Sink<MetaOnly> for Wake {
    fn reset(&self, objects: Vec<MetaOnly>) {
        objects.into_iter().for_each(|object| self.apply(object));
    }

    fn apply(&self, object: MetaOnly) {
        let meta = object.metadata;
        if meta.is_deleting() || !meta.has_finalizer(self.kind.finalizer()) {
            self.queue.add(Work { kind: self.kind, key: meta.key() });
        }
    }

    fn delete(&self, _object: MetaOnly) {}
}

fn resource(kind: Kind) -> Resource {
    match kind {
        Kind::Claim => PERSISTENT_VOLUME_CLAIMS,
        Kind::Volume => PERSISTENT_VOLUMES,
        Kind::AttributesClass => VOLUME_ATTRIBUTES_CLASSES,
    }
}

pub(crate) async fn run(shared: Shared) {
    let pods = shared.informers.pods();
    let queue = Queue::<StorageProtection>::default();
    let q = queue.clone();
    pods.subscribe(&shared.shutdown, move |change| {
        if change.new.is_some() {
            return;
        }
        let pod = change.latest();
        for name in &pod.spec.claims {
            for name in [name, &format!("{}-{name}", pod.metadata.name)] {
                let key = ObjectKey::new(&pod.metadata.namespace, name);
                q.add(Work { kind: Kind::Claim, key });
            }
        }
    });
    if !pods.synced().await {
        return;
    }
    let (api, shutdown) = (shared.api.clone(), shared.shutdown.clone());
    let follow = |kind: Kind| {
        let (api, shutdown) = (api.clone(), shutdown.clone());
        let sink = Wake { kind, queue: queue.clone() };
        let all = Collection { resource: resource(kind), accept: METADATA, fields: "" };
        async move { reflect(&api, &all, &sink, &shutdown).await }
    };
    let this = Arc::new(StorageProtection { shared, pods });
    tokio::join!(
        follow(Kind::Claim),
        follow(Kind::Volume),
        follow(Kind::AttributesClass),
        controller::run(this, queue.clone(), shutdown.clone())
    );
}

#[async_trait]
impl Reconcile for StorageProtection {
    type Key = Work;
    const NAME: &'static str = "storage-object-in-use-protection";
    const WORKERS: usize = 2;

    async fn reconcile(&self, work: &Work) -> Result<Next, ReconcileError> {
        let (api, resource) = (&self.shared.api, resource(work.kind));
        let Some(live) = api.find::<Value>(&resource, work.key.ns(), &work.key.name).await? else {
            return Ok(Next::Wait);
        };
        let MetaOnly { metadata } = serde_json::from_value(live.clone())?;
        let is_deleting = metadata.is_deleting();
        let in_use = is_deleting && self.is_in_use(work, &live).await?;
        let Some(finalizers) = plan::finalizers(work.kind, &metadata.finalizers, is_deleting, in_use) else {
            return Ok(if in_use { Next::After(AGAIN) } else { Next::Wait });
        };
        // This very revision: finalizers are replaced whole.
        let (uid, version) = (&metadata.uid, &metadata.resource_version);
        let patch = json!({"metadata": {"uid": uid, "resourceVersion": version, "finalizers": finalizers}});
        let ns = work.key.ns();
        match api.patch::<MetaOnly>(&resource, ns, &work.key.name, None, PatchKind::Merge, &patch).await {
            Err(error) if error.is_not_found() => Ok(Next::Wait),
            written => Ok(written.map(|_| Next::Wait)?),
        }
    }
}

impl StorageProtection {
    /// Whether the API server has such an object.
    async fn any<T: DeserializeOwned>(
        &self,
        resource: &Resource,
        ns: Option<&str>,
        is_one: impl Fn(&T) -> bool,
    ) -> Result<bool, ReconcileError> {
        let mut page = self.shared.api.list_page::<T>(resource, ns, "").await?;
        loop {
            if page.items.iter().any(&is_one) {
                return Ok(true);
            }
            if page.metadata.r#continue.is_empty() {
                return Ok(false);
            }
            page = self.shared.api.list_page(resource, ns, &page.metadata.r#continue).await?;
        }
    }

    async fn is_in_use(&self, work: &Work, live: &Value) -> Result<bool, ReconcileError> {
        let key = &work.key;
        match work.kind {
            Kind::Volume => Ok(plan::is_bound(live)),
            Kind::Claim => {
                let uses = |pod: &Pod| plan::uses_claim(pod, &key.name);
                // The cache can only show too much of it: then the API server need not be asked.
                let here = |pod: &Arc<Pod>| pod.metadata.namespace == key.namespace && uses(pod);
                if self.pods.all().iter().any(here) {
                    return Ok(true);
                }
                self.any(&PODS, key.ns(), uses).await
            }
            Kind::AttributesClass => {
                for resource in [PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES] {
                    if self.any(&resource, None, |object| plan::uses_class(object, &key.name)).await? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
        }
    }
}
