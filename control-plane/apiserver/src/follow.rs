//! Keeps the authorizer current: RBAC objects, the pods of nodes and what else relates objects to nodes, followed through the
//! registry's own watches.

use futures::{StreamExt, future::join_all, stream};
use keelson_auth::authz::{Authorizer, RbacIndex, Related};
use keelson_registry::{
    Registry, WatchEvent, entry::Entry, kind::Kind, options::WatchOptions, status::Status,
};
use serde_json::Value;
use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};
use tokio_util::sync::CancellationToken;

const RBAC: &str = "rbac.authorization.k8s.io";
/// Changes taken in before the snapshot is made anew.
const BATCH_MAX: usize = 512;
/// Before a lost watch is begun again.
const RETRY: Duration = Duration::from_millis(200);

/// Loads the RBAC objects at once and follows them, and what nodes are related by, until `shutdown`.
pub(crate) fn authorizer(
    registry: &Arc<Registry>,
    authorizer: &Arc<Authorizer>,
    shutdown: &CancellationToken,
) {
    let mut index = RbacIndex::default();
    load(registry, &mut index);
    authorizer.set_rbac(index.snapshot());
    let rbac = follow_rbac(registry.clone(), authorizer.clone(), index);
    let related = Related::ALL.map(|kind| follow_related(registry.clone(), authorizer.clone(), kind));
    let shutdown = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = rbac => {}
            _ = join_all(related) => {}
        }
    });
}

fn rbac_kinds(registry: &Registry) -> Vec<Arc<Kind>> {
    ["clusterroles", "clusterrolebindings", "roles", "rolebindings"]
        .iter()
        .filter_map(|plural| registry.table().by_resource(RBAC, "v1", plural).cloned())
        .collect()
}

fn load(registry: &Registry, index: &mut RbacIndex) {
    let objects: Vec<_> = rbac_kinds(registry)
        .iter()
        .flat_map(|kind| registry.cached_all(kind, None))
        .map(|entry| entry.to_value())
        .collect();
    for error in index.reset(&objects) {
        tracing::error!(%error, "an RBAC object grants nothing");
    }
}

/// From now on, beginning with what exists.
fn everything() -> WatchOptions {
    WatchOptions { resource_version: "0".to_owned(), ..WatchOptions::default() }
}

async fn follow_rbac(registry: Arc<Registry>, authorizer: Arc<Authorizer>, mut index: RbacIndex) {
    loop {
        if let Err(status) = rbac_once(&registry, &authorizer, &mut index).await {
            tracing::warn!(%status, "following RBAC objects; starting over");
        }
        tokio::time::sleep(RETRY).await;
        load(&registry, &mut index);
        authorizer.set_rbac(index.snapshot());
    }
}

async fn rbac_once(
    registry: &Registry,
    authorizer: &Authorizer,
    index: &mut RbacIndex,
) -> Result<(), Status> {
    let mut watches = Vec::new();
    for kind in rbac_kinds(registry) {
        let events = registry.watch(&kind, None, &everything()).await?;
        watches.push(events.map(move |event| (kind.clone(), event)));
    }
    let mut batches = stream::select_all(watches).ready_chunks(BATCH_MAX);
    while let Some(batch) = batches.next().await {
        for (kind, event) in batch {
            match event {
                WatchEvent::Added(entry, _) | WatchEvent::Modified(entry, _) => {
                    if let Err(error) = index.apply(&entry.to_value()) {
                        tracing::error!(%error, "an RBAC object grants nothing");
                        index.delete(&kind.kind, entry.head.namespace(), entry.head.name());
                    }
                }
                WatchEvent::Deleted(entry, _) => {
                    index.delete(&kind.kind, entry.head.namespace(), entry.head.name());
                }
                WatchEvent::Bookmark { .. } => {}
                WatchEvent::Error(status) => return Err(status),
            }
        }
        authorizer.set_rbac(index.snapshot());
    }
    Ok(())
}

async fn follow_related(registry: Arc<Registry>, authorizer: Arc<Authorizer>, related: Related) {
    let (group, plural) = related.resource();
    let Some(kind) = registry.table().by_resource(group, "v1", plural).cloned() else { return };
    loop {
        if let Err(status) = related_once(&registry, &authorizer, related, &kind).await {
            tracing::warn!(%status, plural, "following what nodes are related by; starting over");
        }
        tokio::time::sleep(RETRY).await;
        authorizer.forget_all(related);
    }
}

async fn related_once(
    registry: &Registry,
    authorizer: &Authorizer,
    related: Related,
    kind: &Arc<Kind>,
) -> Result<(), Status> {
    let node_field = kind.selectable_fields.iter().position(|field| field == "spec.nodeName");
    let mut seen = Seen::default();
    let mut events = registry.watch(kind, None, &everything()).await?;
    while let Some(event) = events.next().await {
        match event {
            WatchEvent::Added(entry, _) | WatchEvent::Modified(entry, _) if related == Related::Pod => {
                let node = node_field.map(|at| &*entry.head.fields[at]).unwrap_or_default();
                // What a node may read follows from the spec, of which only ephemeral containers come once the pod is bound.
                if !node.is_empty() && seen.is_new(&entry, node) {
                    let pod = entry.to_value();
                    authorizer.relate(related, &pod);
                    seen.insert(&entry, node, &pod);
                }
            }
            WatchEvent::Added(entry, _) | WatchEvent::Modified(entry, _) => {
                authorizer.relate(related, &entry.to_value());
            }
            WatchEvent::Deleted(entry, _) => {
                let node = node_field.map(|at| &*entry.head.fields[at]).unwrap_or_default();
                seen.remove(&entry, node);
                authorizer.forget(related, entry.head.namespace(), entry.head.name());
            }
            WatchEvent::Bookmark { .. } => {}
            WatchEvent::Error(status) => return Err(status),
        }
    }
    Ok(())
}

/// Pods by hash, and the generation of their spec that has been taken in, so that their status updates are not parsed. Pods that
/// claim devices are: the names of claims that are made for them come by their status.
#[derive(Default)]
struct Seen {
    hasher: RandomState,
    pods: HashMap<u64, i64>,
}

impl Seen {
    fn key(&self, entry: &Entry, node: &str) -> u64 {
        self.hasher.hash_one((&entry.head.uid, node))
    }

    /// Whether there is anything that has not been taken in.
    fn is_new(&self, entry: &Entry, node: &str) -> bool {
        self.pods.get(&self.key(entry, node)) != Some(&entry.head.generation)
    }

    fn insert(&mut self, entry: &Entry, node: &str, pod: &Value) {
        let claims = !pod["spec"]["resourceClaims"].is_null()
            || !pod["status"]["extendedResourceClaimStatus"].is_null();
        if !claims {
            self.pods.insert(self.key(entry, node), entry.head.generation);
        }
    }

    fn remove(&mut self, entry: &Entry, node: &str) {
        self.pods.remove(&self.key(entry, node));
    }
}
