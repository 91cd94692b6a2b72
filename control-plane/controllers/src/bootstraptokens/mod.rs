//! Bootstrap tokens: removes those that are over, and signs with the others what the cluster says of itself in public.
//!
//! ```text
//!   Secrets of the type in kube-system ─┬─▶ over ──▶ delete                      (upstream's token cleaner)
//!                                       └─▶ for signing ─┐
//!   ConfigMap kube-public/cluster-info ──────────────────┴─▶ jws-kubeconfig-<id>  (upstream's bootstrap signer)
//! ```
//! The ConfigMap is somebody else's (kubeadm's, an administrator's); without it there is nothing to sign. What a token
//! proves is in `keelson_auth::authn::bootstrap`.

mod plan;

use crate::shared::Shared;
use async_trait::async_trait;
use keelson_auth::authn::bootstrap::{Life, NAMESPACE, TokenSecret};
use keelson_harness::{
    api::{CONFIG_MAPS, DeleteOptions, PatchKind, SECRETS},
    controller::{self, Next, Queue, Reconcile, ReconcileError},
    informer::{Collection, Sink, WHOLE, reflect},
    views::{ConfigMap, MetaOnly},
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use time::OffsetDateTime;

const PUBLIC: &str = "kube-public";
const CLUSTER_INFO: &str = "cluster-info";

/// What there is to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Work {
    /// Look at one token's life, by its Secret's name.
    Clean(Arc<str>),
    /// Bring the signatures up to date.
    Sign,
}

/// A Secret with its uid, so that no namesake is deleted for it.
#[derive(Clone)]
struct Known {
    uid: String,
    secret: TokenSecret,
}

pub(crate) struct BootstrapTokens {
    shared: Shared,
    tokens: Arc<Mutex<BTreeMap<String, Known>>>,
}

/// Keeps the tokens, and wakes what hangs on them.
struct Tokens {
    known: Arc<Mutex<BTreeMap<String, Known>>>,
    queue: Queue<BootstrapTokens>,
}

impl Sink<Value> for Tokens {
    fn reset(&self, objects: Vec<Value>) {
        self.known.lock().clear();
        objects.into_iter().for_each(|object| self.apply(object));
        self.queue.add(Work::Sign);
    }

    fn apply(&self, object: Value) {
        let uid = object["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        let secret = TokenSecret::read(&object);
        let name = secret.name.clone();
        self.known.lock().insert(name.clone(), Known { uid, secret });
        self.queue.add(Work::Clean(name.into()));
        self.queue.add(Work::Sign);
    }

    fn delete(&self, object: Value) {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        self.known.lock().remove(name);
        self.queue.add(Work::Sign);
    }
}

/// Wakes the signer; nothing is kept.
struct ClusterInfo(Queue<BootstrapTokens>);

impl Sink<ConfigMap> for ClusterInfo {
    fn reset(&self, _: Vec<ConfigMap>) {
        self.0.add(Work::Sign);
    }

    fn apply(&self, _: ConfigMap) {
        self.0.add(Work::Sign);
    }

    fn delete(&self, _: ConfigMap) {}
}

pub(crate) async fn run(shared: Shared) {
    let queue = Queue::<BootstrapTokens>::default();
    let fields = "type=bootstrap.kubernetes.io/token,metadata.namespace=kube-system";
    let secrets = Collection { resource: SECRETS, accept: WHOLE, fields };
    let fields = "metadata.name=cluster-info,metadata.namespace=kube-public";
    let info = Collection { resource: CONFIG_MAPS, accept: WHOLE, fields };
    let (api, shutdown) = (shared.api.clone(), shared.shutdown.clone());
    let this = Arc::new(BootstrapTokens { shared, tokens: Arc::default() });
    let tokens = Tokens { known: this.tokens.clone(), queue: queue.clone() };
    let woken = ClusterInfo(queue.clone());
    tokio::join!(
        reflect(&api, &secrets, &tokens, &shutdown),
        reflect(&api, &info, &woken, &shutdown),
        controller::run(this, queue, shutdown.clone())
    );
}

impl BootstrapTokens {
    async fn clean(&self, name: &str) -> Result<Next, ReconcileError> {
        let known = self.tokens.lock().get(name).cloned();
        let Some(known) = known.filter(|known| !known.secret.is_deleting) else { return Ok(Next::Wait) };
        let now = OffsetDateTime::now_utc();
        match known.secret.life(now) {
            Life::Unbounded => Ok(Next::Wait),
            Life::Until(end) => Ok(Next::After(plan::until(end, now))),
            Life::Over => {
                let options = DeleteOptions::uid(&known.uid);
                self.shared.api.ensure_deleted(&SECRETS, Some(NAMESPACE), name, &options).await?;
                tracing::info!(name, "a bootstrap token has expired");
                Ok(Next::Wait)
            }
        }
    }

    async fn sign(&self) -> Result<Next, ReconcileError> {
        let api = &self.shared.api;
        let Some(info) = api.find::<ConfigMap>(&CONFIG_MAPS, Some(PUBLIC), CLUSTER_INFO).await? else {
            return Ok(Next::Wait);
        };
        let tokens: Vec<TokenSecret> =
            self.tokens.lock().values().map(|known| known.secret.clone()).collect();
        let changes = plan::signatures(&info.data, &tokens, OffsetDateTime::now_utc())?;
        if changes.is_empty() {
            return Ok(Next::Wait);
        }
        let meta = &info.metadata;
        let patch =
            json!({"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version}, "data": changes});
        let (ns, merge) = (Some(PUBLIC), PatchKind::Merge);
        api.patch::<MetaOnly>(&CONFIG_MAPS, ns, CLUSTER_INFO, None, merge, &patch).await?;
        Ok(Next::Wait)
    }
}

#[async_trait]
impl Reconcile for BootstrapTokens {
    type Key = Work;
    const NAME: &'static str = "bootstrap-tokens";

    async fn reconcile(&self, work: &Work) -> Result<Next, ReconcileError> {
        match work {
            Work::Clean(name) => self.clean(name).await,
            Work::Sign => self.sign().await,
        }
    }
}

/// Beyond an end, so that what was seen once is over when it is looked at.
const MARGIN: Duration = Duration::from_millis(50);
