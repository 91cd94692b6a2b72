//! Moving everything from one store to another.

use crate::contract::{Compare, Export, Exported, Store, StoreError, Txn, TxnOutcome, Write};
use futures::TryStreamExt as _;

/// Why nothing, or not all, was moved.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// There is something in the store that was to be filled.
    #[error("the store is not empty, it has {key:?}: move into an empty one")]
    NotEmpty {
        /// The first key.
        key: String,
    },
    /// Somebody else writes to it.
    #[error("somebody else wrote {key:?} meanwhile: stop every API server first")]
    Contended {
        /// The key.
        key: String,
    },
    /// Reading the one or writing the other failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Writes everything into an empty store: one transaction a key, in the order of the keys' own revisions, so that of two
/// objects the one written later has the higher resourceVersion here too. The revisions themselves are the new store's.
/// `progress` hears after each how many there are.
///
/// # Errors
/// [`MoveError::NotEmpty`] before anything was written; after any other error the store has a part of it.
pub async fn import(
    store: &dyn Store,
    prefix: &str,
    export: Export,
    progress: impl Fn(usize),
) -> Result<usize, MoveError> {
    if let Some(found) = store.list(prefix, None, 1, None).await?.items.first() {
        return Err(MoveError::NotEmpty { key: found.key.to_string() });
    }
    let mut items: Vec<Exported> = export.items.try_collect().await?;
    items.sort_by_key(|item| item.kv.mod_revision);
    let total = items.len();
    for (done, Exported { kv, ttl }) in items.into_iter().enumerate() {
        let compares = vec![Compare::Absent(kv.key.clone())];
        let writes = vec![Write::Put { key: kv.key.clone(), value: kv.value, ttl }];
        if let TxnOutcome::Conflict(_) = store.commit(Txn { compares, writes }).await? {
            return Err(MoveError::Contended { key: kv.key.to_string() });
        }
        progress(done + 1);
    }
    Ok(total)
}
