//! Keeps the authorizer current: RBAC objects and the pods of nodes, followed through the registry's own watches.

use futures::{StreamExt, stream};
use keelson_auth::authz::{Authorizer, RbacIndex};
use keelson_registry::{
    Registry, WatchEvent, entry::Entry, kind::Kind, options::WatchOptions, status::Status,
};
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

/// Loads the RBAC objects at once and follows them, and pods, until `shutdown`.
pub(crate) fn authorizer(
    registry: &Arc<Registry>,
    authorizer: &Arc<Authorizer>,
    shutdown: &CancellationToken,
) {
    let mut index = RbacIndex::default();
    load(registry, &mut index);
    authorizer.set_rbac(index.snapshot());
    let rbac = follow_rbac(registry.clone(), authorizer.clone(), index);
    let pods = follow_pods(registry.clone(), authorizer.clone());
    let shutdown = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = rbac => {}
            () = pods => {}
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

async fn follow_pods(registry: Arc<Registry>, authorizer: Arc<Authorizer>) {
    let Some(kind) = registry.table().by_resource("", "v1", "pods").cloned() else { return };
    loop {
        if let Err(status) = pods_once(&registry, &authorizer, &kind).await {
            tracing::warn!(%status, "following pods; starting over");
        }
        tokio::time::sleep(RETRY).await;
        authorizer.reset_pods([]);
    }
}

async fn pods_once(registry: &Registry, authorizer: &Authorizer, kind: &Arc<Kind>) -> Result<(), Status> {
    let node_field = kind.selectable_fields.iter().position(|field| field == "spec.nodeName");
    let mut seen = Seen::default();
    let mut events = registry.watch(kind, None, &everything()).await?;
    while let Some(event) = events.next().await {
        match event {
            WatchEvent::Added(entry, _) | WatchEvent::Modified(entry, _) => {
                let node = node_field.map(|at| &*entry.head.fields[at]).unwrap_or_default();
                // What a node may read follows from the spec, of which only ephemeral containers come once the pod is bound.
                if !node.is_empty() && seen.insert(&entry, node) {
                    authorizer.apply_pod(&entry.to_value());
                }
            }
            WatchEvent::Deleted(entry, _) => {
                let node = node_field.map(|at| &*entry.head.fields[at]).unwrap_or_default();
                seen.remove(&entry, node);
                authorizer.delete_pod(entry.head.namespace(), entry.head.name());
            }
            WatchEvent::Bookmark { .. } => {}
            WatchEvent::Error(status) => return Err(status),
        }
    }
    Ok(())
}

/// Pods by hash, and the generation of their spec that has been taken in, so that their status updates are not parsed.
#[derive(Default)]
struct Seen {
    hasher: RandomState,
    pods: HashMap<u64, i64>,
}

impl Seen {
    /// Whether the spec is one that has not been taken in.
    fn insert(&mut self, entry: &Entry, node: &str) -> bool {
        let generation = entry.head.generation;
        let before = self.pods.insert(self.hasher.hash_one((&entry.head.uid, node)), generation);
        before != Some(generation)
    }

    fn remove(&mut self, entry: &Entry, node: &str) {
        self.pods.remove(&self.hasher.hash_one((&entry.head.uid, node)));
    }
}
