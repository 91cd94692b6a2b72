//! Encryption at rest: a store in front of a store, which seals values on their way down and opens them on their way up.
//! Whoever uses it, the watch cache first of all, has plain text; what lasts has not. Keys are not sealed.
//!
//! [`Store::export`] is the one exception: it gives what is stored, so that a snapshot keeps its secrets.

mod cipher;
mod keyring;

pub use cipher::Algorithm;
pub use keyring::{Keyring, Provider, Rule, SealedCipher};

use crate::contract::{
    Commit, Compare, Event, Export, Exported, KeyValue, Listing, Revision, Store, StoreError, Txn,
    TxnOutcome, WatchStream, Write,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use parking_lot::RwLock;
use std::sync::Arc;

/// The ring that counts now; it may be exchanged at any time.
type Ring = Arc<RwLock<Arc<Keyring>>>;

/// A store whose values are sealed as a [`Keyring`] says.
pub struct Encrypted {
    inner: Arc<dyn Store>,
    ring: Ring,
}

impl Encrypted {
    /// In front of `inner`.
    pub fn new(inner: Arc<dyn Store>, ring: Keyring) -> Self {
        Self { inner, ring: Arc::new(RwLock::new(Arc::new(ring))) }
    }

    /// Other keys from now on. Whatever is there should stay readable with them; [`Encrypted::rewrite`] makes it
    /// independent of the old ones.
    pub fn set(&self, ring: Keyring) {
        *self.ring.write() = Arc::new(ring);
    }

    /// Writes everything again that is sealed with another key than today's first, or not sealed but should be, or sealed
    /// but should not. Each is a transaction of its own, at its own revision; what changes meanwhile is written anew
    /// already. Returns how many there were.
    pub async fn rewrite(&self) -> Result<usize, StoreError> {
        let ring = self.ring.read().clone();
        let mut export = self.inner.export().await?;
        let mut rewritten = 0;
        while let Some(Exported { kv, ttl }) = export.items.try_next().await? {
            if !ring.is_stale(&kv.key, &kv.value) {
                continue;
            }
            let compare = Compare::ModRevision(kv.key.clone(), kv.mod_revision);
            let KeyValue { key, value, .. } = open(&ring, kv)?;
            let txn = Txn { compares: vec![compare], writes: vec![Write::Put { key, value, ttl }] };
            if let TxnOutcome::Committed(_) = self.inner.commit(seal(&ring, txn)).await? {
                rewritten += 1;
            }
        }
        Ok(rewritten)
    }
}

fn seal(ring: &Keyring, mut txn: Txn) -> Txn {
    for write in &mut txn.writes {
        if let Write::Put { key, value, .. } = write
            && let Some(sealed) = ring.seal(key, value)
        {
            *value = Bytes::from(sealed);
        }
    }
    txn
}

fn open(ring: &Keyring, mut kv: KeyValue) -> Result<KeyValue, StoreError> {
    if let Some(value) = ring.open(&kv.key, &kv.value)? {
        kv.value = Bytes::from(value);
    }
    Ok(kv)
}

fn open_commit(ring: &Keyring, commit: Commit) -> Result<Commit, StoreError> {
    let event = |event| match event {
        Event::Put(kv) => open(ring, kv).map(Event::Put),
        deletion @ Event::Delete { .. } => Ok(deletion),
    };
    let events = commit.events.into_iter().map(event).collect::<Result<_, _>>()?;
    Ok(Commit { revision: commit.revision, events })
}

#[async_trait]
impl Store for Encrypted {
    async fn commit(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        // What is sealed may be longer.
        txn.check()?;
        let ring = self.ring.read().clone();
        match self.inner.commit(seal(&ring, txn)).await? {
            TxnOutcome::Conflict(states) => {
                let opened = states.into_iter().map(|state| state.map(|kv| open(&ring, kv)).transpose());
                Ok(TxnOutcome::Conflict(opened.collect::<Result<_, _>>()?))
            }
            committed @ TxnOutcome::Committed(_) => Ok(committed),
        }
    }

    async fn sizes(&self) -> Result<Vec<(String, u64)>, StoreError> {
        self.inner.sizes().await
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        self.inner.revision().await
    }

    async fn get(&self, key: &str) -> Result<Option<KeyValue>, StoreError> {
        let found = self.inner.get(key).await?;
        let ring = self.ring.read().clone();
        found.map(|kv| open(&ring, kv)).transpose()
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        at: Option<Revision>,
    ) -> Result<Listing, StoreError> {
        let mut listing = self.inner.list(prefix, after, limit, at).await?;
        let ring = self.ring.read().clone();
        listing.items = listing.items.into_iter().map(|kv| open(&ring, kv)).collect::<Result<_, _>>()?;
        Ok(listing)
    }

    async fn watch(&self, after: Revision) -> Result<WatchStream, StoreError> {
        let stream = self.inner.watch(after).await?;
        let rings = self.ring.clone();
        // It ends after its first error, also after one of ours.
        let opened = stream.map(move |commit| open_commit(&rings.read().clone(), commit?));
        Ok(Box::pin(opened.scan(false, |ended, item| {
            let goes_on = !std::mem::replace(ended, item.is_err());
            futures::future::ready(goes_on.then_some(item))
        })))
    }

    async fn compact(&self, before: Revision) -> Result<(), StoreError> {
        self.inner.compact(before).await
    }

    async fn export(&self) -> Result<Export, StoreError> {
        self.inner.export().await
    }
}
