//! The model: the whole contract in a persistent map in memory, nothing on disk. What the other backends are compared
//! with, and what tests of the crates above run on. Time is tokio's, so that a paused clock rules its expiries.

use crate::{
    contract::{
        Commit, Event, Export, Exported, KeyValue, Listing, Revision, Store, StoreError, Txn, TxnOutcome,
        WatchStream, Write,
    },
    history::{History, HistoryLimits, Recorded},
};
use async_trait::async_trait;
use imbl::OrdMap;
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, Weak},
};
use tokio::{sync::Notify, time::Instant};

type Root = OrdMap<Arc<str>, Record>;

#[derive(Clone, Debug, PartialEq)]
struct Record {
    kv: KeyValue,
    expires: Option<Instant>,
}

struct Inner {
    root: Root,
    revision: Revision,
    /// The map at every revision that can still be read.
    roots: BTreeMap<Revision, Root>,
    /// Whether the task that deletes what has expired runs.
    expiring: bool,
}

/// The model; a handle to drop, not to clone.
pub struct Model {
    inner: Arc<Shared>,
}

struct Shared {
    inner: Mutex<Inner>,
    history: Arc<History<()>>,
    deadlines_changed: Arc<Notify>,
}

impl Default for Model {
    fn default() -> Self {
        Self::new(HistoryLimits::default())
    }
}

impl Model {
    /// An empty store.
    pub fn new(limits: HistoryLimits) -> Self {
        let roots = BTreeMap::from([(0, Root::new())]);
        let inner = Inner { root: Root::new(), revision: 0, roots, expiring: false };
        let history = History::new(0, (), limits);
        Self {
            inner: Arc::new(Shared {
                inner: Mutex::new(inner),
                history,
                deadlines_changed: Arc::new(Notify::new()),
            }),
        }
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.inner.history.close();
        self.inner.deadlines_changed.notify_one();
    }
}

impl Inner {
    fn conflict(&self, txn: &Txn) -> Option<Vec<Option<KeyValue>>> {
        let found = |key: &Arc<str>| self.root.get(key).map(|record| record.kv.clone());
        let states: Vec<_> = txn.compares.iter().map(|compare| found(compare.key())).collect();
        let holds = txn
            .compares
            .iter()
            .zip(&states)
            .all(|(compare, kv)| compare.holds(kv.as_ref().map(|kv| kv.mod_revision)));
        (!holds).then_some(states)
    }

    /// Performs the writes under the next revision; `None` where they change nothing.
    fn write(&mut self, writes: Vec<Write>) -> Option<Commit> {
        let revision = self.revision + 1;
        let mut events = Vec::with_capacity(writes.len());
        for write in writes {
            match write {
                Write::Put { key, value, ttl } => {
                    let create_revision = self.root.get(&key).map_or(revision, |old| old.kv.create_revision);
                    let kv = KeyValue { key: key.clone(), value, mod_revision: revision, create_revision };
                    let expires = ttl.map(|ttl| Instant::now() + ttl);
                    self.root.insert(key, Record { kv: kv.clone(), expires });
                    events.push(Event::Put(kv));
                }
                Write::Delete { key } => {
                    if self.root.remove(&key).is_some() {
                        events.push(Event::Delete { key });
                    }
                }
            }
        }
        if events.is_empty() {
            return None;
        }
        self.revision = revision;
        self.roots.insert(revision, self.root.clone());
        Some(Commit { revision, events })
    }
}

impl Shared {
    fn run(&self, inner: &mut Inner, writes: Vec<Write>) -> Revision {
        if let Some(commit) = inner.write(writes) {
            self.history.publish((), vec![Recorded { commit, before: Vec::new() }]);
            let oldest = self.history.oldest();
            inner.roots = inner.roots.split_off(&oldest);
        }
        inner.revision
    }

    /// Deletes what has expired, each key in a transaction of its own, and says when to look again.
    fn expire(&self) -> Option<Instant> {
        let mut inner = self.inner.lock();
        let now = Instant::now();
        let due: Vec<_> = inner
            .root
            .iter()
            .filter(|(_, record)| record.expires.is_some_and(|at| at <= now))
            .map(|(key, _)| key.clone())
            .collect();
        for key in due {
            self.run(&mut inner, vec![Write::Delete { key }]);
        }
        inner.root.values().filter_map(|record| record.expires).min()
    }
}

/// Holds the store only while it looks, so that dropping the last handle ends it.
async fn keep_expiring(shared: Weak<Shared>, deadlines_changed: Arc<Notify>) {
    loop {
        let next = match shared.upgrade() {
            Some(shared) if !shared.history.is_closed() => shared.expire(),
            _ => return,
        };
        let changed = deadlines_changed.notified();
        match next {
            Some(at) => tokio::select! {
                () = tokio::time::sleep_until(at) => (),
                () = changed => (),
            },
            None => changed.await,
        }
    }
}

#[async_trait]
impl Store for Model {
    async fn commit(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        txn.check()?;
        let mut inner = self.inner.inner.lock();
        if let Some(states) = inner.conflict(&txn) {
            return Ok(TxnOutcome::Conflict(states));
        }
        let expires = txn.writes.iter().any(|write| matches!(write, Write::Put { ttl: Some(_), .. }));
        let revision = self.inner.run(&mut inner, txn.writes);
        if expires {
            if !std::mem::replace(&mut inner.expiring, true) {
                let changed = self.inner.deadlines_changed.clone();
                tokio::spawn(keep_expiring(Arc::downgrade(&self.inner), changed));
            }
            self.inner.deadlines_changed.notify_one();
        }
        Ok(TxnOutcome::Committed(revision))
    }

    async fn sizes(&self) -> Result<Vec<(String, u64)>, StoreError> {
        let inner = self.inner.inner.lock();
        let bytes = inner.root.iter().map(|(key, record)| key.len() + record.kv.value.len()).sum::<usize>();
        Ok(vec![("model".to_owned(), bytes as u64)])
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        Ok(self.inner.history.revision())
    }

    async fn get(&self, key: &str) -> Result<Option<KeyValue>, StoreError> {
        Ok(self.inner.inner.lock().root.get(key).map(|record| record.kv.clone()))
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        at: Option<Revision>,
    ) -> Result<Listing, StoreError> {
        let inner = self.inner.inner.lock();
        let revision = self.inner.history.view(at)?.revision;
        let root = if revision == inner.revision { Some(&inner.root) } else { inner.roots.get(&revision) };
        let Some(root) = root else {
            return Err(StoreError::Compacted { requested: revision, oldest: self.inner.history.oldest() });
        };
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let mut matching = root
            .range::<_, str>((from, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(_, record)| record.kv.clone());
        let items = matching.by_ref().take(if limit == 0 { usize::MAX } else { limit }).collect();
        Ok(Listing { revision, items, more: matching.next().is_some() })
    }

    async fn watch(&self, after: Revision) -> Result<WatchStream, StoreError> {
        self.inner.history.watch(after)
    }

    async fn export(&self) -> Result<Export, StoreError> {
        let inner = self.inner.inner.lock();
        let (root, revision, now) = (inner.root.clone(), inner.revision, Instant::now());
        let item = move |(_, record): (Arc<str>, Record)| {
            let ttl = record.expires.map(|at| at.saturating_duration_since(now));
            Ok(Exported { kv: record.kv, ttl })
        };
        Ok(Export { revision, items: Box::pin(futures::stream::iter(root.into_iter().map(item))) })
    }

    async fn compact(&self, before: Revision) -> Result<(), StoreError> {
        let mut inner = self.inner.inner.lock();
        self.inner.history.compact(before)?;
        let oldest = self.inner.history.oldest();
        inner.roots = inner.roots.split_off(&oldest);
        Ok(())
    }
}
