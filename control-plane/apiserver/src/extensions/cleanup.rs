//! The end of a definition: its objects are deleted, their own finalizers awaited, then its finalizer is removed.

use super::context;
use futures::StreamExt;
use keelson_registry::{
    DeleteOptions, ListOptions, PatchType, Registry, WatchOptions, custom::CLEANUP_FINALIZER, kind::Kind,
    status::Status,
};
use serde_json::json;
use std::{sync::Arc, time::Duration};

/// Before something that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Works until the definition is gone, or is somebody else's to remove. Gives its name back.
pub(super) async fn run(registry: Arc<Registry>, definitions: Arc<Kind>, name: String) -> String {
    loop {
        match once(&registry, &definitions, &name).await {
            Ok(()) => return name,
            Err(status) if status.code == 404 => return name,
            Err(status) => {
                tracing::warn!(definition = name, %status, "deleting the objects of a custom kind")
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn once(registry: &Registry, definitions: &Arc<Kind>, name: &str) -> Result<(), Status> {
    if let Some(kind) = registry.custom_kind(name) {
        empty(registry, &kind).await?;
    }
    let entry = registry.get(definitions, None, name, None).await?;
    let object = entry.to_value();
    let kept: Vec<_> = object["metadata"]["finalizers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|finalizer| finalizer.as_str() != Some(CLEANUP_FINALIZER))
        .collect();
    let patch = json!({
        "metadata": {"finalizers": kept, "resourceVersion": object["metadata"]["resourceVersion"]}
    });
    let body = patch.to_string().into();
    registry.patch(&context(), definitions, None, name, None, PatchType::Merge, body).await.map(|_| ())
}

/// Deletes all objects of a kind and waits until the last is gone. New ones are refused already.
async fn empty(registry: &Registry, kind: &Arc<Kind>) -> Result<(), Status> {
    let options = WatchOptions { resource_version: "0".to_owned(), ..WatchOptions::default() };
    let mut changes = registry.watch(kind, None, &options).await?.fuse();
    let (list, delete) = (ListOptions::default(), DeleteOptions::default());
    registry.delete_collection(&context(), kind, None, &list, &delete).await?;
    while registry.cached_count(kind) > 0 {
        if changes.next().await.is_none() {
            // The kind is served anew, or no longer: look again at what there is.
            return Err(Status::internal("the kind changed while its objects were deleted"));
        }
    }
    Ok(())
}
