//! The types of the contract; `lib.rs` says what they promise.

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use std::{sync::Arc, time::Duration};

/// A point in the store's history. Zero is the empty store; the first transaction gets one or more.
pub type Revision = u64;

/// A key with its value and the revision of the transaction that wrote it last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The key, as written.
    pub key: Arc<str>,
    /// The value, as written.
    pub value: Bytes,
    /// Revision of the transaction that wrote this value.
    pub mod_revision: Revision,
    /// Revision of the transaction that created the key (since its last deletion).
    pub create_revision: Revision,
}

/// What must hold for a transaction to take effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compare {
    /// The key does not exist.
    Absent(Arc<str>),
    /// The key exists and was last written at this revision.
    ModRevision(Arc<str>, Revision),
}

/// One write of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Create or replace. With `ttl`, the key is deleted once it is older than that, by a transaction that holds
    /// expiries alone; each Put starts the time anew. Never early. Late by at most a second, in etcd (where keys share
    /// leases, and keys of one lease expire in one transaction) by a twentieth of the `ttl`, at most a minute, and the
    /// few seconds that etcd takes to notice.
    Put {
        /// Key.
        key: Arc<str>,
        /// Whole new value.
        value: Bytes,
        /// Time to live, or for ever.
        ttl: Option<Duration>,
    },
    /// Delete; of an absent key it is no event but not an error.
    Delete {
        /// Key.
        key: Arc<str>,
    },
}

/// N compares and N writes, all or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// All must hold.
    pub compares: Vec<Compare>,
    /// Applied together; a key may occur once.
    pub writes: Vec<Write>,
}

/// How a transaction ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxnOutcome {
    /// Durable, at this revision. A transaction that changed nothing (it deletes absent keys only) takes no revision and
    /// makes no [`Commit`]: it answers with the newest one.
    Committed(Revision),
    /// A compare failed, nothing was written. The current state of every compared key, in the order of the compares.
    Conflict(Vec<Option<KeyValue>>),
}

/// One key's change within a [`Commit`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Created or replaced.
    Put(KeyValue),
    /// Deleted.
    Delete {
        /// Key.
        key: Arc<str>,
    },
}

/// One committed transaction, as watchers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Its revision.
    pub revision: Revision,
    /// Its changes. Never empty in a store of its own; empty where the revision belongs to somebody else's keys in an
    /// etcd that is shared, so that whoever waits for a revision sees it pass.
    pub events: Vec<Event>,
}

/// A consistent read of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The revision that the read shows.
    pub revision: Revision,
    /// In key order.
    pub items: Vec<KeyValue>,
    /// Whether keys follow after the last item (the limit was reached).
    pub more: bool,
}

/// A key with all that is kept of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// As it is stored.
    pub kv: KeyValue,
    /// What is left of its time to live, or for ever.
    pub ttl: Option<Duration>,
}

/// Everything in a store at one revision, while writes go on.
pub struct Export {
    /// The revision that it shows.
    pub revision: Revision,
    /// In key order. Ends after its first error.
    pub items: BoxStream<'static, Result<Exported, StoreError>>,
}

/// Every commit after the revision asked for. Ends after its first error.
pub type WatchStream = BoxStream<'static, Result<Commit, StoreError>>;

/// What can go wrong. The Display text says what the store was doing; the source says why.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The revision asked for is gone.
    #[error("revision {requested} is compacted, the oldest kept is {oldest}")]
    Compacted {
        /// What was asked for.
        requested: Revision,
        /// The oldest revision that can still be read.
        oldest: Revision,
    },
    /// The revision asked for has not happened yet.
    #[error("revision {requested} is in the future, the store is at {current}")]
    Future {
        /// What was asked for.
        requested: Revision,
        /// Where the store is.
        current: Revision,
    },
    /// A watcher fell behind by more than the backend keeps for it.
    #[error("the watcher fell more than {commits_max} commits behind")]
    Lagged {
        /// The backend's maximum.
        commits_max: usize,
    },
    /// A transaction that breaks the contract (a key written twice, no writes, a value over the maximum), or a key that
    /// is not the store's.
    #[error("the request is not valid: {0}")]
    Invalid(String),
    /// The backend cannot be reached or did not answer; the write may or may not have happened.
    #[error("the store is unavailable while {doing}")]
    Unavailable {
        /// What the store was doing.
        doing: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What is on disk is not what was written, or was written by another version.
    #[error("the stored data cannot be used: {0}")]
    Corrupt(String),
    /// The disk has no room. Nothing of the write is there; reads go on, and so do writes once there is space.
    #[error("the store's disk is full, nothing was written: make space in {path} ({reason})")]
    Full {
        /// The folder.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// Another process has the data folder open.
    #[error(
        "the data folder {path} is in use by another process: stop that one, or give this one a folder of its own"
    )]
    Locked {
        /// The folder.
        path: String,
    },
}

impl StoreError {
    /// [`StoreError::Unavailable`] from any error.
    pub(crate) fn unavailable(
        doing: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Unavailable { doing, source: source.into() }
    }
}

/// The contract; see the crate's page.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Runs one transaction; returns once it is durable or refused.
    async fn commit(&self, txn: Txn) -> Result<TxnOutcome, StoreError>;

    /// The newest revision, linearizable: at least that of every commit answered before this call.
    async fn revision(&self) -> Result<Revision, StoreError>;

    /// One key, linearizable.
    async fn get(&self, key: &str) -> Result<Option<KeyValue>, StoreError>;

    /// Keys that start with `prefix` and are greater than `after`, at most `limit` (0: all), at revision `at` (None: now).
    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        at: Option<Revision>,
    ) -> Result<Listing, StoreError>;

    /// Every commit with a revision greater than `after`. Where `after` is compacted or in the future, either this
    /// call fails or the stream's first item does.
    async fn watch(&self, after: Revision) -> Result<WatchStream, StoreError>;

    /// Forgets history before `before`, which becomes the oldest revision to list at and to watch after; the current
    /// values stay. Of what is compacted already it is no error.
    async fn compact(&self, before: Revision) -> Result<(), StoreError>;

    /// Everything, consistently, for snapshots and for moving to another store.
    async fn export(&self) -> Result<Export, StoreError>;

    /// How much the store takes where it lasts: a name and bytes for each copy that could be asked.
    async fn sizes(&self) -> Result<Vec<(String, u64)>, StoreError>;
}
