//! How plugins see the cluster.
//!
//! Like upstream's, they look into the caches, and ask the store only where those show nothing: a refusal for something
//! missing is then never the fault of a cache that lags.

use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use keelson_auth::{
    UserInfo,
    user::names::{APISERVER_USER, MASTERS_GROUP},
};
use keelson_registry::{Context, Entry, Kind, PatchType, Registry, Status, WatchEvent, WatchOptions};
use keelson_semantics::ResourceList;
use serde_json::{Value, json};

/// Who owns what it writes.
const FIELD_MANAGER: &str = "kube-apiserver";

/// Which kind of object is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// A ServiceAccount.
    ServiceAccount,
    /// A pod.
    Pod,
    /// A node; its namespace is empty.
    Node,
    /// A PriorityClass; its namespace is empty.
    PriorityClass,
    /// A RuntimeClass; its namespace is empty.
    RuntimeClass,
    /// An IngressClass; its namespace is empty.
    IngressClass,
    /// A namespace; its own namespace is empty.
    Namespace,
    /// A StorageClass; its namespace is empty.
    StorageClass,
    /// A LimitRange.
    LimitRange,
    /// A ResourceQuota.
    ResourceQuota,
}

impl Wanted {
    fn resource(self) -> (&'static str, &'static str) {
        match self {
            Self::ServiceAccount => ("", "serviceaccounts"),
            Self::Pod => ("", "pods"),
            Self::Node => ("", "nodes"),
            Self::PriorityClass => ("scheduling.k8s.io", "priorityclasses"),
            Self::RuntimeClass => ("node.k8s.io", "runtimeclasses"),
            Self::IngressClass => ("networking.k8s.io", "ingressclasses"),
            Self::Namespace => ("", "namespaces"),
            Self::StorageClass => ("storage.k8s.io", "storageclasses"),
            Self::LimitRange => ("", "limitranges"),
            Self::ResourceQuota => ("", "resourcequotas"),
        }
    }
}

/// What can happen to a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamespaceState {
    /// There is none of that name.
    Missing,
    /// It takes new objects.
    Active,
    /// It is being deleted.
    Terminating,
}

/// What plugins read. Nothing there is `Ok(None)`; not knowing is an error.
#[async_trait]
pub trait Lookup: Send + Sync + 'static {
    /// One object.
    async fn find(&self, wanted: Wanted, namespace: &str, name: &str) -> Result<Option<Value>, Status>;
    /// One object that somebody is about to make: waits for it, but no longer than `within`.
    async fn await_object(
        &self,
        wanted: Wanted,
        namespace: &str,
        name: &str,
        within: Duration,
    ) -> Result<Option<Value>, Status>;
    /// The state of a namespace.
    async fn namespace(&self, name: &str) -> Result<NamespaceState, Status>;
    /// All objects of a kind, of one namespace where the kind has such; as far as the caches know.
    async fn list(&self, wanted: Wanted, namespace: &str) -> Result<Vec<Value>, Status>;
    /// Writes status.used of a ResourceQuota, if it is still what `quota` says; false: it is not, and the caches show
    /// what it is.
    async fn charge(&self, quota: &Value, used: &ResourceList) -> Result<bool, Status>;
}

/// The registry's own caches. Held weakly: the registry holds the chain.
pub struct RegistryLookup(Weak<Registry>);

impl RegistryLookup {
    /// Looks into this registry for as long as it lives.
    pub fn new(registry: &Arc<Registry>) -> Self {
        Self(Arc::downgrade(registry))
    }

    fn registry(&self) -> Result<Arc<Registry>, Status> {
        self.0.upgrade().ok_or_else(|| Status::unavailable("the server is shutting down"))
    }
}

fn kind(registry: &Registry, group: &str, plural: &str) -> Result<Arc<Kind>, Status> {
    let kind = registry.table().by_resource(group, "v1", plural).cloned();
    kind.ok_or_else(|| Status::internal(format!("resource {plural:?} of group {group:?} is not served")))
}

async fn entry(
    registry: &Registry,
    group: &str,
    plural: &str,
    namespace: &str,
    name: &str,
) -> Result<Option<Arc<Entry>>, Status> {
    let kind = kind(registry, group, plural)?;
    let namespace = (!namespace.is_empty()).then_some(namespace);
    if let Some(entry) = registry.cached(&kind, namespace, name) {
        return Ok(Some(entry));
    }
    match registry.get(&kind, namespace, name, None).await {
        Ok(entry) => Ok(Some(entry)),
        Err(status) if status.code == 404 => Ok(None),
        Err(status) => Err(status),
    }
}

#[async_trait]
impl Lookup for RegistryLookup {
    async fn find(&self, wanted: Wanted, namespace: &str, name: &str) -> Result<Option<Value>, Status> {
        let (group, plural) = wanted.resource();
        let entry = entry(&*self.registry()?, group, plural, namespace, name).await?;
        Ok(entry.map(|entry| entry.to_value()))
    }

    async fn await_object(
        &self,
        wanted: Wanted,
        namespace: &str,
        name: &str,
        within: Duration,
    ) -> Result<Option<Value>, Status> {
        if let Some(object) = self.find(wanted, namespace, name).await? {
            return Ok(Some(object));
        }
        let (group, plural) = wanted.resource();
        let registry = self.registry()?;
        let options =
            WatchOptions { field_selector: format!("metadata.name={name}"), ..WatchOptions::default() };
        let scope = (!namespace.is_empty()).then_some(namespace);
        let mut events = registry.watch(&kind(&registry, group, plural)?, scope, &options).await?;
        let first = async {
            while let Some(event) = events.next().await {
                match event {
                    WatchEvent::Added(entry, _) | WatchEvent::Modified(entry, _) => {
                        return Ok(Some(entry.to_value()));
                    }
                    WatchEvent::Error(status) => return Err(status),
                    WatchEvent::Deleted(..) | WatchEvent::Bookmark { .. } => {}
                }
            }
            Ok(None)
        };
        tokio::time::timeout(within, first).await.unwrap_or(Ok(None))
    }

    async fn namespace(&self, name: &str) -> Result<NamespaceState, Status> {
        Ok(match entry(&*self.registry()?, "", "namespaces", "", name).await? {
            None => NamespaceState::Missing,
            Some(entry) if entry.head.deleting => NamespaceState::Terminating,
            Some(_) => NamespaceState::Active,
        })
    }

    async fn list(&self, wanted: Wanted, namespace: &str) -> Result<Vec<Value>, Status> {
        let registry = self.registry()?;
        let (group, plural) = wanted.resource();
        let kind = kind(&registry, group, plural)?;
        let namespace = (!namespace.is_empty()).then_some(namespace);
        Ok(registry.cached_all(&kind, namespace).iter().map(|entry| entry.to_value()).collect())
    }

    async fn charge(&self, quota: &Value, used: &ResourceList) -> Result<bool, Status> {
        let registry = self.registry()?;
        let of = |key: &str| quota["metadata"][key].as_str().unwrap_or_default();
        let metadata = json!({"uid": of("uid"), "resourceVersion": of("resourceVersion")});
        let patch = json!({"metadata": metadata, "status": {"used": used}});
        let mut context = Context::new(Arc::new(UserInfo::authenticated(APISERVER_USER, [MASTERS_GROUP])));
        FIELD_MANAGER.clone_into(&mut context.field_manager);
        let kind = kind(&registry, "", "resourcequotas")?;
        let (namespace, form) = (Some(of("namespace")), PatchType::Merge);
        let body = patch.to_string().into();
        match registry.patch(&context, &kind, namespace, of("name"), Some("status"), form, body).await {
            Ok(_) => Ok(true),
            // Gone or another one's by now; both show when the quotas are read again.
            Err(status) if matches!(status.code, 404 | 409) => Ok(false),
            Err(status) => Err(status),
        }
    }
}
