//! LoadBalancer: gives Services of that type addresses of the configured pools, and takes them back when the type changes
//! or the Service goes. That packets to them arrive is the data plane's and the network's part.
//!
//! Watches Services. The addresses in a Service's status are the record of who has which; one worker gives them, and
//! remembers what it gave until the watch shows it. The finalizer is upstream's, so that a Service that is deleted keeps
//! its address until this controller has seen it. Services of another class are somebody else's.

mod plan;
mod pool;
#[cfg(test)]
mod tests;

pub use pool::{NotAPool, Pool};

use crate::shared::Shared;
use async_trait::async_trait;
use keelson_harness::{
    Informer, ObjectKey, Timestamp,
    api::{PatchKind, SERVICES},
    controller::{self, Next, Queue, Reconcile, ReconcileError},
    events::Recorder,
    views::{MetaOnly, Service},
};
use parking_lot::Mutex;
use plan::{Plan, is_ours, plan, shown, wants};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

const FINALIZER: &str = "service.kubernetes.io/load-balancer-cleanup";
/// The condition that says whether the Service has its addresses.
const CONDITION: &str = "keelson.dev/LoadBalancerAddress";

pub(crate) struct LoadBalancers {
    shared: Shared,
    services: Arc<Informer<Service>>,
    pools: Vec<Pool>,
    recorder: Recorder,
    queue: Queue<LoadBalancers>,
    /// What was given, also while the watch does not show it yet.
    held: Mutex<BTreeMap<ObjectKey, Vec<IpAddr>>>,
}

pub(crate) async fn run(shared: Shared, pools: Vec<Pool>) {
    let services = shared.informers.services();
    let (recorder, shutdown) = (shared.recorder("service-controller"), shared.shutdown.clone());
    let queue = Queue::<LoadBalancers>::default();
    let this = Arc::new(LoadBalancers {
        shared,
        services: services.clone(),
        pools,
        recorder,
        queue: queue.clone(),
        held: Mutex::default(),
    });
    let me = this.clone();
    services.subscribe(&shutdown, move |change| {
        me.queue.add(change.latest().metadata.key());
        let had = change.old.as_deref().map(shown).unwrap_or_default();
        let has = change.new.as_deref().map(shown).unwrap_or_default();
        me.wake_if_freed(&had, &has);
    });
    if services.synced().await {
        controller::run(this, queue, shutdown).await;
    }
}

impl LoadBalancers {
    /// Remembers what a Service has now.
    fn hold(&self, key: ObjectKey, addresses: Vec<IpAddr>) {
        let now = addresses.clone();
        let before = match addresses.is_empty() {
            true => self.held.lock().remove(&key),
            false => self.held.lock().insert(key, addresses),
        };
        self.wake_if_freed(&before.unwrap_or_default(), &now);
    }

    /// An address is free when neither a status shows it nor we remember to have given it; whichever comes last wakes
    /// those who may be waiting for it.
    fn wake_if_freed(&self, before: &[IpAddr], now: &[IpAddr]) {
        if before.iter().any(|address| !now.contains(address)) {
            self.services.all().iter().filter(|s| wants(s)).for_each(|s| self.queue.add(s.metadata.key()));
        }
    }

    /// What other Services have. Of two that show the same address the older one has it.
    fn taken(&self, service: &Service) -> BTreeSet<IpAddr> {
        let own = service.metadata.key();
        let held = self.held.lock();
        let given = held.iter().filter(|(key, _)| **key != own).flat_map(|(_, addresses)| addresses.clone());
        let mut taken: BTreeSet<IpAddr> = given.collect();
        let mine: BTreeSet<IpAddr> = shown(service).into_iter().collect();
        let age = |s: &Service| (s.metadata.creation_timestamp, s.metadata.uid.clone());
        for other in self.services.all() {
            if other.metadata.key() != own {
                let is_older = age(&other) < age(service);
                taken.extend(shown(&other).into_iter().filter(|address| is_older || !mine.contains(address)));
            }
        }
        taken
    }

    async fn give(&self, service: &Service) -> Result<(), ReconcileError> {
        if !service.metadata.has_finalizer(FINALIZER) {
            // Its event brings the key back.
            return self.set_finalizer(service, true).await;
        }
        let plan = plan(service, &self.pools, &self.taken(service));
        self.hold(service.metadata.key(), plan.addresses.clone());
        let known = service.status.conditions.iter().find(|c| c.r#type == CONDITION);
        let (status, reason, message) = told(&plan);
        let same_condition =
            known.is_some_and(|c| c.status == status && c.reason == reason && c.message == message);
        if same_condition && shown(service) == plan.addresses {
            return Ok(());
        }
        let since = known.filter(|c| c.status == status).and_then(|c| c.last_transition_time);
        let condition = json!({
            "type": CONDITION, "status": status, "reason": reason, "message": message,
            "lastTransitionTime": since.unwrap_or_else(Timestamp::now),
        });
        self.patch_status(service, &plan.addresses, condition).await?;
        if plan.missing.is_some() && !same_condition {
            let message = format!("Error syncing load balancer: {message}");
            self.recorder.warning(&SERVICES, &service.metadata, "SyncLoadBalancerFailed", message);
        } else if plan.missing.is_none() {
            self.recorder.normal(
                &SERVICES,
                &service.metadata,
                "EnsuredLoadBalancer",
                "Ensured load balancer",
            );
        }
        Ok(())
    }

    /// The status first: whoever sees the finalizer gone sees no address either.
    async fn take_back(&self, service: &Service) -> Result<(), ReconcileError> {
        let condition = json!({"$patch": "delete", "type": CONDITION});
        let told = service.status.conditions.iter().any(|c| c.r#type == CONDITION);
        if told || !shown(service).is_empty() {
            return self.patch_status(service, &[], condition).await;
        }
        self.set_finalizer(service, false).await?;
        self.hold(service.metadata.key(), Vec::new());
        self.recorder.normal(&SERVICES, &service.metadata, "DeletedLoadBalancer", "Deleted load balancer");
        Ok(())
    }

    async fn patch_status(
        &self,
        service: &Service,
        addresses: &[IpAddr],
        condition: Value,
    ) -> Result<(), ReconcileError> {
        let ingress: Vec<Value> =
            addresses.iter().map(|ip| json!({"ip": ip.to_string(), "ipMode": "VIP"})).collect();
        let patch = json!({
            "metadata": precondition(service),
            "status": {"loadBalancer": {"ingress": ingress}, "conditions": [condition]},
        });
        self.patch(service, Some("status"), PatchKind::Strategic, &patch).await
    }

    async fn set_finalizer(&self, service: &Service, on: bool) -> Result<(), ReconcileError> {
        let mut finalizers: Vec<&str> = service.metadata.finalizers.iter().map(|name| &**name).collect();
        finalizers.retain(|name| *name != FINALIZER);
        if on {
            finalizers.push(FINALIZER);
        }
        let mut metadata = precondition(service);
        metadata["finalizers"] = json!(finalizers);
        self.patch(service, None, PatchKind::Merge, &json!({"metadata": metadata})).await
    }

    async fn patch(
        &self,
        service: &Service,
        sub: Option<&str>,
        kind: PatchKind,
        patch: &Value,
    ) -> Result<(), ReconcileError> {
        let key = service.metadata.key();
        let written: Result<MetaOnly, _> =
            self.shared.api.patch(&SERVICES, key.ns(), &key.name, sub, kind, patch).await;
        match written {
            // Gone meanwhile: nothing to write.
            Err(e) if e.is_not_found() => Ok(()),
            other => Ok(other.map(drop)?),
        }
    }
}

/// This very revision.
fn precondition(service: &Service) -> Value {
    json!({"uid": service.metadata.uid, "resourceVersion": service.metadata.resource_version})
}

/// Status, reason and message of the condition.
fn told(plan: &Plan) -> (&'static str, &'static str, String) {
    match &plan.missing {
        None => ("True", "Allocated", "every address is allocated".to_owned()),
        Some(missing) => ("False", missing.reason, missing.message.clone()),
    }
}

#[async_trait]
impl Reconcile for LoadBalancers {
    type Key = ObjectKey;
    const NAME: &'static str = "service-lb";
    /// Two at a time could give one address twice.
    const WORKERS: usize = 1;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ReconcileError> {
        let Some(service) = self.services.get(key) else {
            self.hold(key.clone(), Vec::new());
            return Ok(Next::Wait);
        };
        if wants(&service) {
            self.give(&service).await?;
        } else if service.metadata.has_finalizer(FINALIZER) && is_ours(&service) {
            self.take_back(&service).await?;
        } else {
            self.hold(key.clone(), Vec::new());
        }
        Ok(Next::Wait)
    }
}
