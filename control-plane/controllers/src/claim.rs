//! Which objects a controller owns: those that refer to it, orphans that its selector matches (adopted), less those that
//! it no longer matches (released). The rule is that of ControllerRefManager; the same for pods and ReplicaSets.

use keelson_harness::{
    Api, ApiError, Meta, OwnerReference, Resource,
    api::PatchKind,
    views::{MetaOnly, Selector, View},
};
use serde_json::json;
use std::sync::Arc;

/// The outcome of looking at all candidates.
#[derive(Debug)]
pub(crate) struct Claims<T> {
    /// Its own already.
    pub(crate) owned: Vec<Arc<T>>,
    /// Orphans to take.
    pub(crate) adopt: Vec<Arc<T>>,
    /// Its own, to let go.
    pub(crate) release: Vec<Arc<T>>,
}

/// Sorts the candidates. A controller that is going away neither adopts nor releases.
pub(crate) fn claim<T: View>(
    owner: &Meta,
    selector: &Selector,
    referring: Vec<Arc<T>>,
    orphans: Vec<Arc<T>>,
) -> Claims<T> {
    let mut claims = Claims { owned: Vec::new(), adopt: Vec::new(), release: Vec::new() };
    for object in referring {
        match selector.matches(&object.meta().labels) || owner.is_deleting() {
            true => claims.owned.push(object),
            false => claims.release.push(object),
        }
    }
    let free = |o: &Arc<T>| !o.meta().is_deleting() && selector.matches(&o.meta().labels);
    if !owner.is_deleting() {
        claims.adopt.extend(orphans.into_iter().filter(free));
    }
    claims
}

/// Writes adoptions and releases. True: something was written, and the next look should wait for it to be seen.
pub(crate) async fn execute<T: View>(
    api: &Api,
    resource: &Resource,
    owner: &Meta,
    claims: &Claims<T>,
) -> Result<bool, ApiError> {
    if !claims.adopt.is_empty() {
        // The cache may not know yet that the owner was deleted: only the server's word allows adoption.
        let live = api.find::<MetaOnly>(resource, owner.key().ns(), &owner.name).await?;
        let alive = live.is_some_and(|o| o.metadata.uid == owner.uid && !o.metadata.is_deleting());
        if !alive {
            return Ok(false);
        }
    }
    let reference = OwnerReference::controller_of(resource, owner);
    for object in &claims.adopt {
        patch(api, object.as_ref(), json!([reference])).await?;
    }
    for object in &claims.release {
        patch(api, object.as_ref(), json!([{"$patch": "delete", "uid": owner.uid}])).await?;
    }
    Ok(!claims.adopt.is_empty() || !claims.release.is_empty())
}

async fn patch<T: View>(api: &Api, object: &T, owners: serde_json::Value) -> Result<(), ApiError> {
    let meta = object.meta();
    let patch = json!({"metadata": {"uid": meta.uid, "ownerReferences": owners}});
    let key = meta.key();
    match api.patch::<MetaOnly>(&T::RESOURCE, key.ns(), &key.name, None, PatchKind::Strategic, &patch).await {
        // Gone, or another object by that name now: nothing to adopt or release.
        Err(e) if e.is_not_found() || e.is_conflict() || e.is_invalid() => Ok(()),
        other => other.map(drop),
    }
}
