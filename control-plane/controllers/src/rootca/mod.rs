//! Root CA publisher: the ConfigMap `kube-root-ca.crt` in every namespace, by which pods verify the API server.
//!
//! Without it no projected ServiceAccount token volume mounts. Watches Namespaces, and of all ConfigMaps only those of
//! this name. A copy that differs is put right, also when the CA becomes another.

use crate::{ClusterCa, shared::Shared};
use async_trait::async_trait;
use keelson_harness::{
    Informer, Meta, ObjectKey,
    api::{CONFIG_MAPS, PatchKind},
    controller::{self, Next, Queue, Reconcile, ReconcileError},
    informer::{Collection, Sink, WHOLE, reflect},
    views::{ConfigMap, MetaOnly, Namespace},
};
use serde_json::json;
use std::sync::Arc;
use tokio::sync::watch;

const NAME: &str = "kube-root-ca.crt";
const KEY: &str = "ca.crt";

pub(crate) struct RootCa {
    shared: Shared,
    namespaces: Arc<Informer<Namespace>>,
    cluster_ca: watch::Receiver<ClusterCa>,
}

/// Wakes the namespace of each copy; nothing is kept, the reconciler reads the one it needs.
struct Copies(Queue<RootCa>);

impl Sink<ConfigMap> for Copies {
    fn reset(&self, copies: Vec<ConfigMap>) {
        copies.into_iter().for_each(|c| self.apply(c));
    }

    fn apply(&self, copy: ConfigMap) {
        self.wake(&copy.metadata);
    }

    fn delete(&self, copy: ConfigMap) {
        self.wake(&copy.metadata);
    }
}

impl Copies {
    fn wake(&self, copy: &Meta) {
        self.0.add(copy.namespace.clone());
    }
}

pub(crate) async fn run(shared: Shared, cluster_ca: watch::Receiver<ClusterCa>) {
    let namespaces = shared.informers.namespaces();
    let queue = Queue::<RootCa>::default();
    let q = queue.clone();
    namespaces.subscribe(&shared.shutdown, move |change| {
        if change.new.is_some() {
            q.add(change.latest().metadata.name.clone());
        }
    });
    let copies =
        Collection { resource: CONFIG_MAPS, accept: WHOLE, fields: "metadata.name=kube-root-ca.crt" };
    let (api, shutdown) = (shared.api.clone(), shared.shutdown.clone());
    let mut changes = cluster_ca.clone();
    let this = Arc::new(RootCa { shared, namespaces: namespaces.clone(), cluster_ca });
    let sink = Copies(queue.clone());
    if namespaces.synced().await {
        tokio::join!(
            reflect(&api, &copies, &sink, &shutdown),
            controller::run(this, queue.clone(), shutdown.clone()),
            shutdown.run_until_cancelled(async {
                while changes.changed().await.is_ok() {
                    namespaces.all().iter().for_each(|n| queue.add(n.metadata.name.clone()));
                }
            })
        );
    }
}

#[async_trait]
impl Reconcile for RootCa {
    type Key = Arc<str>;
    const NAME: &'static str = "root-ca-cert-publisher";

    async fn reconcile(&self, namespace: &Arc<str>) -> Result<Next, ReconcileError> {
        let found = self.namespaces.get(&ObjectKey { namespace: "".into(), name: namespace.clone() });
        if found.is_none_or(|n| n.metadata.is_deleting()) {
            return Ok(Next::Wait);
        }
        let (api, ns) = (&self.shared.api, Some(&**namespace));
        let pem = self.cluster_ca.borrow().pem.clone();
        let data = json!({KEY: pem});
        let written = match api.find::<ConfigMap>(&CONFIG_MAPS, ns, NAME).await? {
            Some(copy) if copy.data.len() == 1 && copy.data.get(KEY) == Some(&pem) => {
                return Ok(Next::Wait);
            }
            Some(copy) => {
                let patch = json!([{"op": "test", "path": "/metadata/uid", "value": copy.metadata.uid},
                                   {"op": "add", "path": "/data", "value": data}]);
                api.patch::<MetaOnly>(&CONFIG_MAPS, ns, NAME, None, PatchKind::Json, &patch).await
            }
            None => {
                let about = "The certificate authority that signed the serving certificate of kubernetes.default.svc.";
                let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": data,
                                 "metadata": {"namespace": namespace, "name": NAME,
                                              "annotations": {"kubernetes.io/description": about}}});
                api.create::<MetaOnly>(&CONFIG_MAPS, ns, &map).await
            }
        };
        match written {
            Err(e) if !e.is_already_exists() && !e.is_namespace_terminating() && !e.is_not_found() => {
                Err(e.into())
            }
            _ => Ok(Next::Wait),
        }
    }
}
