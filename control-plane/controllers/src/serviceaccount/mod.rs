//! ServiceAccount: every namespace has the account `default`, under which pods run that name none.
//!
//! Watches Namespaces and ServiceAccounts. Creates, never changes.

use crate::shared::Shared;
use async_trait::async_trait;
use keelson_harness::{
    Informer, ObjectKey,
    api::SERVICE_ACCOUNTS,
    controller::{self, Next, Queue, Reconcile, ReconcileError},
    views::{MetaOnly, Namespace, ServiceAccount},
};
use serde_json::json;
use std::sync::Arc;

const DEFAULT: &str = "default";

pub(crate) struct ServiceAccounts {
    shared: Shared,
    namespaces: Arc<Informer<Namespace>>,
    accounts: Arc<Informer<ServiceAccount>>,
}

pub(crate) async fn run(shared: Shared) {
    let (namespaces, accounts) = (shared.informers.namespaces(), shared.informers.service_accounts());
    let shutdown = shared.shutdown.clone();
    let this = ServiceAccounts { shared, namespaces: namespaces.clone(), accounts: accounts.clone() };
    let queue = Queue::<ServiceAccounts>::default();
    let q = queue.clone();
    namespaces.subscribe(&shutdown, move |change| {
        if change.new.is_some() {
            q.add(change.latest().metadata.name.clone());
        }
    });
    let q = queue.clone();
    accounts.subscribe(&shutdown, move |change| {
        if change.new.is_none() && &*change.latest().metadata.name == DEFAULT {
            q.add(change.latest().metadata.namespace.clone());
        }
    });
    if namespaces.synced().await && accounts.synced().await {
        controller::run(Arc::new(this), queue, shutdown).await;
    }
}

#[async_trait]
impl Reconcile for ServiceAccounts {
    type Key = Arc<str>;
    const NAME: &'static str = "serviceaccount";

    async fn reconcile(&self, namespace: &Arc<str>) -> Result<Next, ReconcileError> {
        let found = self.namespaces.get(&ObjectKey { namespace: "".into(), name: namespace.clone() });
        let active = found.is_some_and(|n| !n.metadata.is_deleting());
        if !active || self.accounts.get(&ObjectKey::new(namespace, DEFAULT)).is_some() {
            return Ok(Next::Wait);
        }
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
                             "metadata": {"namespace": namespace, "name": DEFAULT}});
        match self.shared.api.create::<MetaOnly>(&SERVICE_ACCOUNTS, Some(namespace), &account).await {
            Err(e) if !e.is_already_exists() && !e.is_namespace_terminating() && !e.is_not_found() => {
                Err(e.into())
            }
            _ => Ok(Next::Wait),
        }
    }
}
