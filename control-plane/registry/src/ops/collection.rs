//! DELETE of a collection: what a list selects, one after another, a few at a time.

use super::Registry;
use crate::{
    context::Context,
    entry::Entry,
    kind::Kind,
    options::{DeleteOptions, ListOptions},
    status::Status,
};
use futures::{StreamExt, TryStreamExt, stream};
use keelson_store::Revision;
use std::sync::Arc;

/// At most this many deletions of one request are in flight; a group commit takes them together.
const IN_FLIGHT_MAX: usize = 64;

/// What was deleted.
#[derive(Debug)]
pub struct DeletedCollection {
    /// metadata.resourceVersion of the answer's list.
    pub revision: Revision,
    /// The objects as they were selected.
    pub items: Vec<Arc<Entry>>,
}

impl Registry {
    /// Deletes all that the list options select. Objects that are gone meanwhile are no error.
    pub async fn delete_collection(
        &self,
        context: &Context,
        kind: &Arc<Kind>,
        namespace: Option<&str>,
        list: &ListOptions,
        options: &DeleteOptions,
    ) -> Result<DeletedCollection, Status> {
        options.check()?;
        let selected = self.list(kind, namespace, list).await?;
        stream::iter(selected.items.iter().cloned())
            .map(|entry| async move {
                let namespace = kind.namespaced.then(|| entry.head.namespace());
                match self.delete(context, kind, namespace, entry.head.name(), options).await {
                    Ok(_) => Ok(()),
                    Err(status) if status.code == 404 => Ok(()),
                    Err(status) => Err(status),
                }
            })
            .buffer_unordered(IN_FLIGHT_MAX)
            .try_collect::<()>()
            .await?;
        Ok(DeletedCollection { revision: selected.revision, items: selected.items })
    }
}
