//! The store in etcd: one or several endpoints of one cluster, shared by several API servers. etcd's revisions are
//! ours, unchanged; the past, its compaction and the durability are etcd's.
//!
//! # What is particular
//! - Keys are under one prefix. Revisions count every write to the cluster, so those of whoever else writes to it are
//!   missing in ours; watchers get them as commits without events (see [`crate::Commit`]), so that waiting for a
//!   revision ends. The contract's "exactly one" holds for an etcd of its own.
//! - Keys that expire share leases, and the keys of one lease expire in one transaction.
//! - A write is never sent twice: one whose answer was lost is [`StoreError::Unavailable`] and may have happened.
//! - Nothing here needs etcd to be newer than 3.4; progress requests, which older ones get wrong, are not used.
//! - Of several members one is asked at a time. With a minority of them gone writes go on; without a majority every call
//!   fails within its time limit, and goes on once there is one.

mod compactor;
mod config;
mod convert;
mod endpoints;
mod export;
mod leases;
mod revisions;
mod watch;

pub use config::{EtcdConfig, EtcdTls};

use crate::contract::{
    Compare, Export, KeyValue, Listing, Revision, Store, StoreError, Txn, TxnOutcome, WatchStream, Write,
};
use async_trait::async_trait;
use convert::Refusal;
use endpoints::{Endpoints, Member, Repeat};
use etcd_client::{GetOptions, PutOptions, TxnOp};
use leases::Leases;
use revisions::Revisions;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_util::task::AbortOnDropHandle;
use watch::Watcher;

/// For an error, with what to do about it.
const WRITING: &str = "writing a transaction to etcd: is a majority of its members up and reachable?";

/// Keys asked for in one range request; a long list is made of several, all at one revision.
const PAGE_KEYS_MAX: usize = 500;

/// A connection to etcd. Must be made and used within a tokio runtime.
pub struct Etcd {
    calls: Calls,
    leases: Leases,
    revisions: Revisions,
    _compactor: Option<AbortOnDropHandle<()>>,
    config: EtcdConfig,
}

/// The calls that have one answer, each with its time limit.
#[derive(Clone)]
struct Calls {
    endpoints: Endpoints,
    prefix: Arc<str>,
    timeout: Duration,
}

impl Etcd {
    /// Connects, and waits until the cluster answers a linearizable read, at most as long as the configuration says.
    pub async fn connect(config: EtcdConfig) -> Result<Self, StoreError> {
        const DOING: &str = "connecting to etcd";
        config.check()?;
        let calls = Calls {
            endpoints: Endpoints::new(&config).await?,
            prefix: config.prefix.as_str().into(),
            timeout: config.request_timeout,
        };
        let give_up = Instant::now() + config.connect_patience;
        while let Err(refusal) = calls.revision().await {
            if Instant::now() >= give_up {
                return Err(refusal.unavailable(DOING));
            }
            tracing::info!(endpoints = ?config.endpoints, reason = %refusal, "etcd does not answer yet");
            tokio::time::sleep(config::RETRY_DELAY_MIN).await;
        }
        Ok(Self {
            leases: Leases::new(calls.endpoints.clone()),
            revisions: Revisions::start(calls.clone()),
            _compactor: config.compact_after.map(|age| compactor::start(calls.clone(), age)),
            calls,
            config,
        })
    }

    /// Trusts and shows others from the next connection on, to the same members. Nothing that is under way is broken.
    ///
    /// # Errors
    /// What cannot be used: then nothing changes. Certificate and key that do not belong together are noticed here,
    /// what members do not believe is not.
    pub async fn set_tls(&self, tls: EtcdTls) -> Result<(), StoreError> {
        let config = EtcdConfig { tls: Some(tls), ..self.config.clone() };
        config.check()?;
        self.calls.endpoints.replace(&config).await
    }

    /// Something for the error when a list was compacted: etcd tells the oldest revision to watchers only.
    async fn oldest(&self, requested: Revision) -> Revision {
        let watcher = Watcher::open(&self.calls, 0).await;
        let found = match watcher {
            Ok(mut watcher) => tokio::time::timeout(self.calls.timeout, watcher.next()).await,
            Err(_) => return requested + 1,
        };
        match found {
            Ok(Some(Err(StoreError::Compacted { oldest, .. }))) => oldest,
            _ => requested + 1,
        }
    }

    async fn future(&self, requested: Revision) -> StoreError {
        match self.revisions.newest().await {
            Ok(current) => StoreError::Future { requested, current },
            Err(error) => error,
        }
    }

    /// The writes as etcd's operations.
    async fn operations(&self, writes: &[Write]) -> Result<(Vec<TxnOp>, Vec<i64>), StoreError> {
        let mut operations = Vec::with_capacity(writes.len());
        let mut leases = Vec::new();
        for write in writes {
            operations.push(match write {
                Write::Put { key, value, ttl: None } => TxnOp::put(&**key, &value[..], None),
                Write::Put { key, value, ttl: Some(ttl) } => {
                    let lease = self.leases.lease(*ttl).await?;
                    leases.push(lease);
                    TxnOp::put(&**key, &value[..], Some(PutOptions::new().with_lease(lease)))
                }
                Write::Delete { key } => TxnOp::delete(&**key, None),
            });
        }
        Ok((operations, leases))
    }
}

impl Calls {
    async fn read(&self, from: &[u8], options: GetOptions) -> Result<etcd_client::GetResponse, Refusal> {
        let read = |mut member: Member| {
            let options = options.clone();
            async move { member.kv.get(from, Some(options)).await }
        };
        self.endpoints.call(Repeat::Harmless, read).await
    }

    /// The revision of a linearizable range that is empty: it costs etcd a read index and no data.
    async fn revision(&self) -> Result<Revision, Refusal> {
        let answer = self.read(self.prefix.as_bytes(), GetOptions::new().with_count_only()).await?;
        Ok(convert::revision(answer.header()))
    }

    async fn write(&self, txn: etcd_client::Txn) -> Result<etcd_client::TxnResponse, Refusal> {
        let write = |mut member: Member| {
            let txn = txn.clone();
            async move { member.kv.txn(txn).await }
        };
        self.endpoints.call(Repeat::Never, write).await
    }

    async fn compact(&self, before: Revision) -> Result<(), Refusal> {
        let before = convert::signed(before);
        let compact = |mut member: Member| async move { member.kv.compact(before, None).await };
        self.endpoints.call(Repeat::Harmless, compact).await.map(|_| ())
    }

    fn check_key(&self, key: &str) -> Result<(), StoreError> {
        if key.starts_with(&*self.prefix) {
            return Ok(());
        }
        Err(StoreError::Invalid(format!(
            "the key {key:?} is not under {:?}, where this store lives in etcd",
            self.prefix
        )))
    }

    /// The part of a range that is ours.
    fn narrow<'a>(&'a self, prefix: &'a str) -> Result<&'a str, StoreError> {
        if self.prefix.starts_with(prefix) {
            return Ok(&self.prefix);
        }
        self.check_key(prefix).map(|()| prefix)
    }
}

#[async_trait]
impl Store for Etcd {
    async fn commit(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        txn.check()?;
        for key in txn.compares.iter().map(Compare::key).chain(txn.writes.iter().map(Write::key)) {
            self.calls.check_key(key)?;
        }
        let compares: Vec<_> = txn.compares.iter().map(convert::compare).collect();
        let reads: Vec<_> = txn.compares.iter().map(|compare| TxnOp::get(&**compare.key(), None)).collect();
        let mut lease_lost = false;
        loop {
            let (operations, leases) = self.operations(&txn.writes).await?;
            let request =
                etcd_client::Txn::new().when(compares.clone()).and_then(operations).or_else(reads.clone());
            match self.calls.write(request).await {
                Ok(answer) => return convert::outcome(&answer),
                // The transaction did not happen, so that it may be tried with a new lease.
                Err(Refusal::LeaseNotFound) if !lease_lost => {
                    lease_lost = true;
                    self.leases.forget(&leases).await;
                }
                Err(refusal) => return Err(refusal.unavailable(WRITING)),
            }
        }
    }

    async fn sizes(&self) -> Result<Vec<(String, u64)>, StoreError> {
        let sizes = self.calls.endpoints.sizes().await;
        Ok(sizes.into_iter().map(|(index, bytes)| (format!("etcd-{index}"), bytes)).collect())
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        self.revisions.newest().await
    }

    async fn get(&self, key: &str) -> Result<Option<KeyValue>, StoreError> {
        self.calls.check_key(key)?;
        match self.calls.read(key.as_bytes(), GetOptions::new()).await {
            Ok(answer) => answer.kvs().first().map(convert::key_value).transpose(),
            Err(refusal) => Err(refusal.unavailable("reading a key from etcd")),
        }
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        at: Option<Revision>,
    ) -> Result<Listing, StoreError> {
        let prefix = self.calls.narrow(prefix)?;
        let mut from = convert::range_start(prefix, after);
        let mut listing = Listing { revision: at.unwrap_or(0), items: Vec::new(), more: true };
        while listing.more && (limit == 0 || listing.items.len() < limit) {
            let left = if limit == 0 { PAGE_KEYS_MAX } else { limit - listing.items.len() };
            let options = GetOptions::new()
                .with_range(convert::range_end(prefix))
                .with_limit(i64::try_from(left.min(PAGE_KEYS_MAX)).unwrap_or(i64::MAX))
                .with_revision(convert::signed(listing.revision));
            let answer = match self.calls.read(&from, options).await {
                Ok(answer) => answer,
                Err(Refusal::Compacted) => {
                    let oldest = self.oldest(listing.revision).await;
                    return Err(StoreError::Compacted { requested: listing.revision, oldest });
                }
                Err(Refusal::Future) => return Err(self.future(listing.revision).await),
                Err(refusal) => return Err(refusal.unavailable("listing keys from etcd")),
            };
            if listing.revision == 0 {
                listing.revision = convert::revision(answer.header());
            }
            listing.more = answer.more();
            for kv in answer.kvs() {
                listing.items.push(convert::key_value(kv)?);
            }
            from = convert::range_start(prefix, listing.items.last().map(|kv| &*kv.key));
        }
        Ok(listing)
    }

    async fn watch(&self, after: Revision) -> Result<WatchStream, StoreError> {
        let current = self.revisions.newest().await?;
        if after > current {
            return Err(StoreError::Future { requested: after, current });
        }
        let watcher = Watcher::open(&self.calls, after).await?;
        Ok(Box::pin(futures::stream::unfold(watcher, |mut watcher| async {
            let item = watcher.next().await?;
            Some((item, watcher))
        })))
    }

    async fn export(&self) -> Result<Export, StoreError> {
        let revision = self.revisions.newest().await?;
        Ok(export::export(self.calls.clone(), revision))
    }

    async fn compact(&self, before: Revision) -> Result<(), StoreError> {
        if before == 0 {
            return Ok(());
        }
        match self.calls.compact(before).await {
            Ok(()) | Err(Refusal::Compacted) => Ok(()),
            Err(Refusal::Future) => Err(self.future(before).await),
            Err(refusal) => Err(refusal.unavailable("compacting etcd")),
        }
    }
}
