//! ResourceQuota: recounts what the objects of a namespace come to, and writes it to the quota's status.
//!
//! ```text
//!   quota made, its spec changed ────────────────▶ at once ──┐
//!   a counted object went, ended or shrank ──▶ within 200 ms ├──▶ list what it counts ──▶ plan ──▶ status, by
//!   admission charged it ───────────────────────▶ within 5 s ┤                                   compare-and-swap
//!   nothing at all ───────────────────────────▶ in 5 minutes ┘
//! ```
//! Admission charges (`keelson-admission`); here is given back. Pods and Services are heard through the shared informers;
//! of other resources the metadata is watched, only while some quota counts them. A recount may miss an object that was
//! charged and is not written yet; the charge itself brings the next recount.

mod follow;
mod plan;
#[cfg(test)]
mod tests;

use crate::shared::Shared;
use async_trait::async_trait;
use follow::Counted;
use keelson_harness::{
    ApiError, IndexKey, Informer, ObjectKey, Resource,
    api::{PatchKind, RESOURCE_QUOTAS},
    controller::{self, Next, Queue, Reconcile, ReconcileError},
    discovery,
    views::{MetaOnly, ResourceQuota},
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use time::OffsetDateTime;

/// How long hints are gathered: many objects go together.
const GATHER: Duration = Duration::from_millis(200);
/// After a charge: what it was for is written by then, or never.
const AFTER_CHARGE: Duration = Duration::from_secs(5);
/// Upstream's `--resource-quota-sync-period`.
const RESYNC: Duration = Duration::from_secs(300);

pub(crate) struct Quotas {
    shared: Shared,
    quotas: Arc<Informer<ResourceQuota>>,
    counted: Mutex<Counted>,
    queue: Queue<Quotas>,
}

pub(crate) async fn run(shared: Shared) {
    let quotas = shared.informers.resource_quotas();
    let shutdown = shared.shutdown.clone();
    let queue = Queue::<Quotas>::default();
    let this =
        Arc::new(Quotas { shared, quotas: quotas.clone(), counted: Mutex::default(), queue: queue.clone() });
    let me = this.clone();
    quotas.subscribe(&shutdown, move |change| {
        let Some(new) = &change.new else { return me.follow() };
        match &change.old {
            Some(old) if old.spec == new.spec => me.queue.add_after(new.metadata.key(), AFTER_CHARGE),
            _ => {
                me.queue.add(new.metadata.key());
                me.follow();
            }
        }
    });
    if !quotas.synced().await {
        return;
    }
    follow::pods(&this);
    follow::services(&this);
    controller::run(this, queue, shutdown).await;
}

impl Quotas {
    /// An object of a resource takes less than it did.
    fn hint(&self, group: &str, plural: &str, namespace: &Arc<str>) {
        for quota in self.quotas.by(&IndexKey::Namespace(namespace.clone())) {
            if plan::counts(&quota.spec, group, plural) {
                self.queue.add_after(quota.metadata.key(), GATHER);
            }
        }
    }

    /// Everything of a resource may have changed.
    fn hint_everywhere(&self, group: &str, plural: &str) {
        for quota in self.quotas.all() {
            if plan::counts(&quota.spec, group, plural) {
                self.queue.add_after(quota.metadata.key(), GATHER);
            }
        }
    }

    /// All objects of a resource in the namespace, added up by the plan.
    async fn count(
        &self,
        recount: &mut plan::Recount<'_>,
        resource: &Resource,
        ns: &str,
    ) -> Result<(), ApiError> {
        let now = OffsetDateTime::now_utc();
        let mut token = String::new();
        loop {
            let page = self.shared.api.list_page::<Value>(resource, Some(ns), &token).await?;
            for object in &page.items {
                recount.add(&resource.group, &resource.plural, object, now);
            }
            token = page.metadata.r#continue;
            if token.is_empty() {
                return Ok(());
            }
        }
    }
}

#[async_trait]
impl Reconcile for Quotas {
    type Key = ObjectKey;
    const NAME: &'static str = "resourcequota";

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let (api, ns) = (&self.shared.api, &*key.namespace);
        let Some(quota) = api.find::<Value>(&RESOURCE_QUOTAS, Some(ns), &key.name).await? else {
            return Ok(Next::Wait);
        };
        if !quota["metadata"]["deletionTimestamp"].is_null() {
            return Ok(Next::Wait);
        }
        let mut recount = plan::Recount::new(&quota);
        if recount.is_of_unusual_kinds() {
            let served = discovery::discover(api).await?;
            for (group, plural) in recount.sources() {
                let found = served.resources.iter().map(|one| &one.resource);
                let found =
                    found.filter(|one| one.namespaced).find(|one| one.group == group && one.plural == plural);
                match found {
                    Some(resource) => self.count(&mut recount, resource, ns).await?,
                    // A group that gave no answer may be the one: not knowing is not zero.
                    None if served.failed.is_empty() => {}
                    None => return Err(format!("{plural} of group {group:?} cannot be discovered").into()),
                }
            }
        } else {
            for (group, plural) in recount.sources() {
                if let Some(resource) = plan::usual(&group, &plural) {
                    self.count(&mut recount, &resource, ns).await?;
                }
            }
        }
        if let Some(status) = recount.status() {
            let metadata = json!({"uid": quota["metadata"]["uid"], "resourceVersion": quota["metadata"]["resourceVersion"]});
            let patch = json!({"metadata": metadata, "status": status});
            let name = Some("status");
            api.patch::<MetaOnly>(&RESOURCE_QUOTAS, Some(ns), &key.name, name, PatchKind::Merge, &patch)
                .await?;
        }
        Ok(Next::After(RESYNC))
    }
}
